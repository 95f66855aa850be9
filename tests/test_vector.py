from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch

import inputlayer as il
from inputlayer.columns.base import Where
from inputlayer.columns.vector import Vector
from inputlayer.errors import OptionError, Problems

NAN = math.nan


def accept(column, cells, dtype=None, first_row=0):
    problems = Problems()
    values = column.accept(pl.Series("x", cells, dtype=dtype), Where("x", first_row, problems))
    return values, [str(p) for p in problems]


def learn(column, *blocks):
    problems, statistic = Problems(), None
    for cells in blocks:
        found = column.learn(column.accept(pl.Series("x", cells), Where("x", 0, problems)), 0)
        statistic = found if statistic is None else statistic.merge(found)
    return column.finish(statistic, Where("x", 0, problems)), [str(p) for p in problems]


def test_lists_and_arrays_of_any_number_type_are_the_same():
    x = np.arange(6.0).reshape(3, 2)
    for dtype in (pl.List(pl.Float64), pl.List(pl.Int8), pl.Array(pl.Float32, 2)):
        values, problems = accept(Vector(), pl.Series(x.tolist()).cast(dtype))
        assert not problems
        np.testing.assert_array_equal(values, x)


def test_bad_cells_are_noted_with_their_rows():
    cells = [[1.0, 2.0], [1.0], None, [1.0, None], [NAN, NAN], [0.0, math.inf], [], [3.0, 4.0]]
    values, problems = accept(Vector(), cells, first_row=10)
    remedy = "Correct these cells, or make them null."
    assert problems == [
        "column 'x': does not have 2 numbers (row 11 = '[1.0]', row 16 = '[]'). Give every cell the same number of"
        " entries.",
        f"column 'x': lacks some of its numbers (row 13 = '[1.0, None]'). {remedy}",
        f"column 'x': holds an infinite number (row 15 = '[0.0, inf]'). {remedy}",
    ]
    assert np.isnan(values).all(axis=1).tolist() == [False, True, True, True, True, True, True, False]


def test_a_given_size_is_held_to():
    _, problems = accept(Vector(size=3), [[1.0, 2.0], [3.0, 4.0]])
    assert problems == [
        "column 'x': does not have 3 numbers (row 0 = '[1.0, 2.0]', row 1 = '[3.0, 4.0]'). Correct these cells, or"
        " size=3."
    ]


@pytest.mark.parametrize("cells", [[1.0, 2.0], ["a"], [["a"]], [[[1.0]]], [[True]]])
def test_what_is_no_list_of_numbers_is_noted(cells):
    values, problems = accept(Vector(), cells)
    assert len(problems) == 1
    assert "holds " in problems[0]
    assert len(values) == len(cells)


def test_empty_lists_alone_are_noted():
    assert "does not have any numbers" in accept(Vector(), [[], []], pl.List(pl.Float64))[1][0]


def test_sizes_that_differ_from_block_to_block_are_a_problem():
    _, problems = learn(Vector(), [[1.0, 2.0]], [None], [[1.0, 2.0, 3.0]])
    assert problems == ["column 'x': holds cells of 2 and of 3 numbers. Give every cell the same number of entries."]


def test_another_size_at_serving_is_noted():
    column, problems = Vector(), Problems()
    state, _ = learn(column, [[1.0, 2.0], [3.0, 4.0]])
    values, _ = accept(column, [[1.0], None])
    column.check(values, state, Where("x", 5, problems))
    assert [str(p) for p in problems] == [
        "column 'x': had 2 numbers in training (row 5 = '1 numbers'). Give vectors of the same making."
    ]


def test_nothing_but_missing_cells_is_a_problem():
    assert "all values are missing" in learn(Vector(), [None, None])[1][0]


def test_moments_are_exact_at_a_large_mean():
    x = 1e9 + 1e-3 * np.random.default_rng(0).standard_normal((1000, 2))
    state, _ = learn(Vector(), list(x[:300]), list(x[300:]))
    exact = x - 1e9
    np.testing.assert_allclose(state.divisor, exact.std(axis=0), rtol=1e-6)


def test_a_huge_number_at_serving_stays_finite():
    column = Vector()
    state, _ = learn(column, [[1.0], [1.0 + 1e-12]])
    assert np.isfinite(column.encode(np.array([[1e308]]), state)[""]).all()


def test_a_flag_only_where_training_missed_some():
    column = Vector()
    for cells, extras in (([[1.0], [2.0]], ("x[0]",)), ([[1.0], None], ("x[0]", "x missing"))):
        module = column.module({"x": (column, learn(column, cells)[0])})
        assert module.extras == extras
        given = module({"x": torch.tensor([[[2.0], [NAN]]])}).extras
        assert given[..., 0].tolist() == [[2.0, 0.0]]
        assert given[0, :, 1:].flatten().tolist() == ([0.0, 1.0] if len(extras) > 1 else [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size=0 is not a whole number"),
        ({"scale": "robust"}, "scale='robust' is not one of 'standard', 'none'"),
        ({"role": "target"}, "a vector cannot be a target"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(OptionError, match=message):
        Vector(**options)


def test_a_vector_at_each_step_of_a_window(tmp_path):
    rng = np.random.default_rng(0)
    rows = pl.DataFrame(
        {
            "t": range(80),
            "load": rng.normal(size=80),
            "scene": [None if i % 7 == 0 else rng.normal(size=3).tolist() for i in range(80)],
        }
    )
    schema = il.Schema({"load": il.Number(), "scene": il.Vector()}, il.Windows("t", length=8, horizon=2), target="load")
    train, valid, test = il.split(rows, schema)
    model = il.Model(il.InputLayer(schema, stages=[il.InstanceNorm("last")]), il.LSTM(units=3))
    model.fit(train, valid, epochs=1, device="cpu")
    assert model.layer.plan.extras == ("scene[0]", "scene[1]", "scene[2]", "scene missing")
    model.save(tmp_path / "m.safetensors")
    told = il.load(tmp_path / "m.safetensors").backtest(test, context=valid)
    assert told.equals(model.backtest(test, context=valid))
    assert "entries 3, scaled standard" in " ".join(str(model.show(test)).split())
