from __future__ import annotations

import math
import re

import numpy as np
import polars as pl
import pytest
import torch

from inputlayer.columns.base import Where
from inputlayer.columns.series import Series
from inputlayer.errors import OptionError, Problems

NAN = math.nan
NESTED = pl.List(pl.List(pl.Float64))


def accept(column, cells, dtype=None, first_row=0):
    problems = Problems()
    cells = pl.Series("x", cells, dtype=dtype)
    return column.accept(cells, Where("x", first_row, problems)), [str(p) for p in problems]


def learn(column, cells, dtype=None):
    problems = Problems()
    state = column.finish(column.learn(accept(column, cells, dtype)[0], 0), Where("x", 0, problems))
    return state, [str(p) for p in problems]


def test_a_list_of_numbers_is_one_channel():
    values, problems = accept(Series(), [[1, 2], [None], [3, 4, 5]])
    np.testing.assert_array_equal(values.flat, [[1], [2], [NAN], [3], [4], [5]])
    assert values.lengths.tolist() == [2, 1, 3]
    assert not problems


@pytest.mark.parametrize("arrays", [False, True])
def test_both_layouts_of_channels_give_the_same_steps(arrays):
    x = np.arange(12.0).reshape(2, 3, 2)  # cells, steps, channels
    given = (x, x.transpose(0, 2, 1)) if arrays else (x.tolist(), x.transpose(0, 2, 1).tolist())
    for cells, axes in zip(given, ("time channel", "channel time"), strict=True):
        values, problems = accept(Series(channels=2, axes=axes), np.ascontiguousarray(cells) if arrays else cells)
        assert not problems
        np.testing.assert_array_equal(values.flat, x.reshape(6, 2))
        assert values.offsets.tolist() == [0, 3, 6]


def test_cells_of_uneven_length_in_channel_order():
    cells = [[[1, 2, 3], [10, 20, 30]], [[4], [40]], [[5, 6], [50, None]]]
    values, problems = accept(Series(channels=2, axes="channel time"), cells)
    assert not problems
    np.testing.assert_array_equal(values.flat, [[1, 10], [2, 20], [3, 30], [4, 40], [5, 50], [6, NAN]])


def test_bad_cells_are_noted_with_their_rows():
    cells = [[[1.0, 2.0]], None, [], [[1.0]], [[1.0, 2.0], None], [[math.inf, 0.0]]]
    values, problems = accept(Series(channels=2, axes="time channel"), cells, NESTED, first_row=10)
    assert problems == [
        "column 'x': does not have 2 numbers in each step (row 13 = '[[1.0]]', row 14 = '[[1.0, 2.0], None]')."
        " Correct these cells, or channels=2.",
        "column 'x': holds an infinite number (row 15 = '[[inf, 0.0]]'). Correct these cells, or make the number null.",
    ]
    assert len(values.offsets) == 7


def test_channels_of_unequal_length_are_noted():
    _, problems = accept(Series(channels=2, axes="channel time"), [[[1, 2], [3]], [[1], [2], [3]], [[], []]])
    assert len(problems) == 1
    assert "does not have 2 channels of equal length (row 0 = '[[1, 2], [3]]', row 1" in problems[0]
    assert "row 2 = '[[], []]'" in problems[0]


@pytest.mark.parametrize(
    ("cells", "axes", "message"),
    [
        ([1.0, 2.0], "time", "holds Float64 .* With axes='time' a cell is a list of numbers"),
        ([["a"]], "time", r"holds text that is no number \(row 0 = 'a' at \[0\] of \['a'\]\)"),
        ([["a"]], "time channel", r"holds List\(String\)"),
        ([[True]], "time", r"holds List\(Boolean\)"),
        ([[1.0]], "time channel", "a cell is a list of lists of numbers"),
    ],
)
def test_other_types_are_noted(cells, axes, message):
    values, problems = accept(Series(axes=axes), cells)
    assert len(problems) == 1
    assert re.search(message, problems[0])
    assert values.lengths.tolist() == [0] * len(cells)


def test_moments_are_of_real_steps_per_channel():
    column = Series(channels=2, axes="time channel")
    state, problems = learn(column, [[[1, 5], [3, None]], [[5, 5], [7, 5], [4, 5]]])
    assert not problems
    assert [s.mean for s in state.seen] == [4.0, 5.0]
    assert state.seen[0].spread == 2.0
    assert [s.missing for s in state.seen] == [0, 1]
    assert state.flags == (False, True)
    assert state.steps == (2, 3)
    assert [c["constant"] for c in column.describe(state)["channels"]] == [False, True]


def test_a_null_or_empty_cell_is_missing():
    column = Series(width=2)
    values, problems = accept(column, [[1.0, 2.0, 3.0], None, [], [5.0]], pl.List(pl.Float64))
    assert not problems
    assert values.lengths.tolist() == [3, 0, 0, 1]
    state, _ = learn(column, [[1.0, 2.0, 3.0], None, [], [5.0]], pl.List(pl.Float64))
    assert (state.missing, state.steps) == (2, (1, 3))
    assert column.missing(column.encode(values, state)).tolist() == [False, True, True, False]


def test_a_pooled_cell_is_the_mean_over_its_steps():
    column = Series(fill="zero", flag=True, width=2)
    state, _ = learn(column, [[0.0, 2.0], None], pl.List(pl.Float64))  # mean 1, spread 1: 0 stands for -1
    module = Series.pool({"x": (column, state)})
    assert module.extras == ("x[0]", "x[1]", "x missing")
    cells = torch.tensor([[[[1.0], [NAN], [NAN]], [[NAN], [NAN], [NAN]]]])
    found = module({"x": cells, "x.lengths": torch.tensor([[2, 0]])}).extras[0]
    steps = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])  # the number, and whether it was missing
    torch.testing.assert_close(found[0, :2], torch.relu(module.means[0].layer(steps)).mean(dim=0))
    assert found[0, 2] == 0
    assert found[1].tolist() == [0.0, 0.0, 1.0]
    found.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


def test_nothing_to_learn_from_is_a_problem():
    _, problems = learn(Series(), [[None, NAN]], pl.List(pl.Float64))
    assert "all values are missing" in problems[0]


def test_gaps_are_filled_per_channel():
    column = Series(fill="forward", flag=True)
    state, _ = learn(column, [[0.0, 10.0]])
    module = Series.module({"x": (column, state), "y": (Series(), learn(Series(), [[0.0, 10.0]])[0])})
    part = module({"x": torch.tensor([[[NAN], [2.0], [NAN]]]), "y": torch.tensor([[[1.0], [NAN], [3.0]]])})
    assert module.channels == ("x[0]", "y[0]")
    assert module.extras == ("x[0] missing",)
    assert part.values[0].tolist() == [[0.0, 1.0], [2.0, 0.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels=0 is not a whole number"),
        ({"channels": 3}, "axes='time' holds one channel, not channels=3. Say axes='time channel'"),
        ({"axes": "channels"}, "axes='channels' is not one of"),
        ({"scale": "z"}, "scale='z' is not one of"),
        ({"role": "target"}, "a series cannot be a target"),
        ({"width": 0}, "width=0 is not a whole number"),
    ],
)
def test_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Series(**options)
