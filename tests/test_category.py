from __future__ import annotations

import time

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inputlayer.columns.base import Where
from inputlayer.columns.category import Category
from inputlayer.errors import OptionError, Problems, TableError
from inputlayer.graph import Graph

BALANCED = ["b", "a", "b", None, "c", "a", "b"]


def where(first_row=0):
    return Where("wind", first_row, Problems())


def learnt(column, cells, dtype=None):
    w = where()
    state = column.finish(column.learn(column.accept(pl.Series(cells, dtype=dtype), w), 0), w)
    w.problems.raise_if_any()
    return state


def codes(column, state, cells, dtype=None):
    w = where()
    values = column.accept(pl.Series(cells, dtype=dtype), w)
    column.check(values, state, w)
    w.problems.raise_if_any()
    return column.encode(values, state)[""]


@pytest.mark.parametrize("example", Category.examples())
def test_examples_by_hand(example):
    state = learnt(example.column, example.train)
    got = codes(example.column, state, example.probe)
    assert got.dtype == np.int32
    assert got.tolist() == example.wires[""]


def test_counts_rare_and_width():
    state = learnt(Category(min_count=2), BALANCED)
    assert (state.words, state.counts, state.rare, state.rare_rows, state.missing) == (("b", "a"), (3, 2), 1, 1, 1)
    assert state.width == round(1.6 * 2**0.56)
    assert learnt(Category(), list(range(10_000))).width == 50
    assert learnt(Category(width=7), BALANCED).width == 7


def test_statistic_does_not_depend_on_blocks():
    column, cells = Category(), pl.Series(BALANCED)
    parts = [column.learn(column.accept(cells[i : i + 2], where()), i) for i in range(0, 7, 2)]
    merged = parts[0].merge(parts[1]).merge(parts[2]).merge(parts[3])
    assert column.finish(merged, where()) == learnt(column, BALANCED)


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["a", "b", "c"])])
def test_categoricals_and_enums_are_text(dtype):
    assert learnt(Category(), BALANCED, dtype) == learnt(Category(), BALANCED)


def test_all_missing_floats_fit_any_vocabulary():
    state = learnt(Category(), BALANCED)
    assert codes(Category(), state, [None, float("nan")], pl.Float64).tolist() == [0, 0]
    assert codes(Category(), state, [None, None]).tolist() == [0, 0]
    assert codes(Category(), state, [], pl.String).tolist() == []


@pytest.mark.parametrize(
    ("cells", "dtype", "message"),
    [
        ([True, None], None, r"column 'wind': holds booleans.*row 0 = True.*Use Flag\(\)"),
        ([None, 1.5], None, r"holds decimal numbers.*row 1 = 1\.5.*Use Number\(\)"),
        ([[1]], pl.List(pl.Int64), r"(?s)holds cells of type List\(Int64\).*row 0.*Turn the column into text"),
        ([1, 2**63], pl.UInt64, r"is beyond 64 bits \(row 1 = 9223372036854775808\)"),
    ],
)
def test_refused_cells(cells, dtype, message):
    w = where()
    accepted = Category().accept(pl.Series(cells, dtype=dtype), w)
    assert len(accepted) == len(cells)
    with pytest.raises(TableError, match=message):
        w.problems.raise_if_any()


def test_text_and_numbers_are_never_coerced():
    state = learnt(Category(), ["1", "2"])
    with pytest.raises(TableError, match=r"held text in training and holds whole numbers now \(row 1 = 1\)"):
        codes(Category(), state, [None, 1])
    with pytest.raises(TableError, match="held text in training"):
        Category().encode(pl.Series([1]), state)
    with pytest.raises(TableError, match="held whole numbers in training and holds text now"):
        codes(Category(), learnt(Category(), [1, 2]), ["1"])


def test_nothing_to_learn():
    with pytest.raises(TableError, match="all values are missing"):
        learnt(Category(), [None, None])
    with pytest.raises(TableError, match="no value is in at least min_count=2 rows"):
        learnt(Category(min_count=2), ["a", "b"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_count": 0}, "min_count=0 is not a whole number of at least 1"),
        ({"max_size": 1.5}, r"max_size=1\.5 is not"),
        ({"width": True}, "width=True is not"),
        ({"width": 4, "role": "target"}, "no effect with role='target'"),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(OptionError, match=message):
        Category(**options)


@given(st.lists(st.sampled_from(["", "x", "ü", "None", "a.b", "nan"]), min_size=1), st.lists(st.text(max_size=3)))
@settings(max_examples=40, deadline=None)
def test_back_undoes_encode(train, probe):
    train = [*train, "seen"]
    state = learnt(Category(), train)
    assert Category().classes(state) == state.words
    got = Category().back(codes(Category(), state, train + probe).astype(np.int64) - 2, state)
    assert got.tolist() == [cell if cell and cell in train else None for cell in train + probe]


def test_back_keeps_shape_and_type():
    state = learnt(Category(), [7, 7, 5])
    got = Category().back(np.array([[0, 1], [-1, -2]]), state)
    assert got.tolist() == [[7, 5], [None, None]]
    assert Category().back(np.array([[0, 1]]), state).dtype == np.int64
    assert Category().class_counts(state) == (2, 1)


def module():
    torch.manual_seed(0)
    wind, site = learnt(Category(min_count=2), BALANCED), learnt(Category(width=2), [3, 3, 1])
    return Category.module({"wind.dir [0]": (Category(), wind), "site": (Category(), site)})


def test_embeddings():
    net = module()
    wires = {
        "wind.dir [0]": torch.tensor([[0, 1, 2, 3]], dtype=torch.int32),
        "site": torch.zeros(1, 4, dtype=torch.int32),
    }
    out = net(wires).extras
    width = len(net.extras) - 2
    assert net.extras[-2:] == ("site[0]", "site[1]")
    assert net.extras[0] == "wind.dir [0][0]"
    assert out.shape == (1, 4, width + 2)
    assert torch.equal(out[0, 0], torch.zeros(width + 2))
    mean = (3 * out[0, 2] + 2 * out[0, 3]) / 5  # b was seen 3 times, a twice
    torch.testing.assert_close(out[0, 1], mean)
    out[0, :2].sum().backward()
    assert torch.equal(net.tables[0].weight.grad[0], torch.zeros(width))
    assert net.tables[0].weight.grad[1:].abs().min() > 0


def test_twin_equals_encode_and_module():
    g = Graph()
    cells = [["a", "zzz", None, "b"], [3, 1, 9, None]]
    columns = [Category(min_count=2), Category(width=2)]
    states = [learnt(columns[0], BALANCED), learnt(columns[1], [3, 3, 1])]
    net = Category.module({"a.b": (columns[0], states[0]), "c": (columns[1], states[1])}).eval()
    wires, feed, expected = {}, {}, {}
    for name, column, state, raw in zip(["a.b", "c"], columns, states, cells, strict=True):
        dtype, trailing = column.onnx_input(state)
        assert trailing == ()
        values = column.accept(pl.Series(raw), where())
        wires[name] = column.onnx(g, g.input(name, dtype, ("B", "T")), state)[""]
        g.output(name + " code", wires[name], np.int32, ("B", "T"))
        feed[name] = column.onnx_values(values, state)[None]
        expected[name] = column.encode(values, state)[""][None]
    g.output("extras", net.onnx(g, wires).extras, np.float32, ("B", "T", "E"))
    index = g.input("class", np.int64, ("B",))
    g.output("label", columns[0].onnx_back(g, index, states[0]), object, ("B",))
    g.output("number", columns[1].onnx_back(g, index, states[1]), np.int64, ("B",))
    feed["class"] = np.array([1, 0])
    session = onnxruntime.InferenceSession(g.model({}).SerializeToString())
    a, c, extras, label, number = session.run(None, feed)
    assert np.array_equal(a, expected["a.b"])
    assert np.array_equal(c, expected["c"])
    with torch.no_grad():
        assert np.array_equal(extras, net({k: torch.from_numpy(v) for k, v in expected.items()}).extras.numpy())
    assert (label.tolist(), number.tolist()) == (["a", "b"], [1, 3])


def test_describe_is_plain():
    got = Category(min_count=2).describe(learnt(Category(min_count=2), BALANCED))
    assert got == {
        "values": "text",
        "size": 2,
        "common": [["b", 3], ["a", 2]],
        "rare values": 1,
        "rare rows": 1,
        "missing": 1,
        "width": 2,
    }


@pytest.mark.slow
def test_encode_is_fast():
    words = np.array([f"station {i}" for i in range(50)])
    cells = pl.Series(words[np.random.default_rng(0).integers(0, 50, 2_000_000)])
    state = learnt(Category(), words.tolist())
    spent = []
    for _ in range(3):
        start = time.perf_counter()
        Category().encode(cells, state)
        spent.append(time.perf_counter() - start)
    assert min(spent) < 0.2
