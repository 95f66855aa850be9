from __future__ import annotations

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch

from inputlayer.columns.base import Where
from inputlayer.columns.flag import Flag, FlagState
from inputlayer.errors import Problems, TableError
from inputlayer.graph import Graph


def accept(cells, dtype=None):
    where = Where("holiday", 10, Problems())
    codes = Flag().accept(pl.Series(cells, dtype=dtype), where)
    where.problems.raise_if_any()
    return codes


def learnt(cells):
    where = Where("holiday", 0, Problems())
    state = Flag().finish(Flag().learn(accept(cells), 0), where)
    where.problems.raise_if_any()
    return state


@pytest.mark.parametrize("example", Flag.examples())
def test_examples_by_hand(example):
    state = learnt(example.train)
    codes = Flag().encode(accept(example.probe), state)[""]
    assert codes.dtype == np.uint8
    assert codes.tolist() == example.wires[""]


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        (["True", "NO", "", None, "y"], None),
        (["True", "NO", None, None, "y"], pl.Categorical),
        ([1, 0, None, None, 1], None),
        ([1, 0, None, None, 1], pl.UInt8),
        ([1.0, -0.0, float("nan"), None, 1.0], None),
        ([True, False, None, None, True], None),
    ],
)
def test_every_way_to_say_yes(cells, dtype):
    assert accept(cells, dtype).tolist() == [2, 1, 0, 0, 2]


def test_all_missing():
    assert accept([None, None]).tolist() == [0, 0]
    with pytest.raises(TableError, match="column 'holiday': all values are missing"):
        learnt([None, None])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["yes", "maybe", "no"], r"column 'holiday': is not a flag \(row 11 = 'maybe'\)\. A flag is true or false"),
        ([0, 2, -1], r"is not a flag \(row 11 = 2, row 12 = -1\)"),
        ([0.5], r"is not a flag \(row 10 = 0\.5\)"),
        ([[True]], r"is not a flag \(row 10 = "),
    ],
)
def test_bad_cells(cells, message):
    with pytest.raises(TableError, match=message):
        accept(cells)


def test_counts_merge():
    whole = Flag().learn(accept([True, None, False, True]), 0)
    merged = Flag().learn(accept([True, None]), 0).merge(Flag().learn(accept([False, True]), 2))
    assert whole.rows.tolist() == merged.rows.tolist() == [1, 1, 2]
    assert Flag().describe(learnt([True, None, True])) == {"false": 0, "true": 2, "missing": 1, "constant": True}


def test_classes_and_back():
    state = FlagState(1, 1, 0)
    assert Flag().classes(state) == (False, True)
    assert Flag().class_counts(state) == (1, 1)
    assert Flag().back(np.array([1, 0]), state).dtype == bool
    assert Flag().back(np.array([[0, 1], [1, -1]]), state).tolist() == [[False, True], [True, None]]


def test_module_and_twin():
    states = {"holi.day": FlagState(5, 5, 0), "open": FlagState(5, 5, 2)}
    net = Flag.module({name: (Flag(), state) for name, state in states.items()})
    assert net.extras == ("holi.day", "open", "open missing")
    codes = {"holi.day": accept([True, False, None]), "open": accept([None, False, True])}
    out = net({name: torch.from_numpy(c)[None] for name, c in codes.items()}).extras
    assert out.tolist() == [[[1, 0, 1], [-1, -1, 0], [0, 1, 0]]]

    g = Graph()
    wires = {n: Flag().onnx(g, g.input(n, *Flag().onnx_input(s)[:1], ("B", "T")), s)[""] for n, s in states.items()}
    for name, wire in wires.items():
        g.output(name + " code", wire, np.uint8, ("B", "T"))
    g.output("extras", net.onnx(g, wires).extras, np.float32, ("B", "T", "E"))
    g.output("label", Flag().onnx_back(g, g.input("class", np.int64, ("B",)), states["open"]), bool, ("B",))
    feed = {n: Flag().onnx_values(c, states[n])[None] for n, c in codes.items()}
    session = onnxruntime.InferenceSession(g.model({}).SerializeToString())
    first, second, extras, label = session.run(None, {**feed, "class": np.array([0, 1])})
    assert np.array_equal(first[0], codes["holi.day"])
    assert np.array_equal(second[0], codes["open"])
    assert np.array_equal(extras, out.numpy())
    assert label.tolist() == [False, True]


def test_module_without_gaps():
    net = Flag.module({"a": (Flag(), FlagState(1, 1, 0))})
    assert net.extras == ("a",)
    assert net({"a": torch.tensor([[1, 2]], dtype=torch.uint8)}).extras.tolist() == [[[-1], [1]]]
