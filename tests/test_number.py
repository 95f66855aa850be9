from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inputlayer.columns.base import Where
from inputlayer.columns.number import Number
from inputlayer.errors import OptionError, Problems

NAN = math.nan


def accept(column, cells, dtype=None):
    problems = Problems()
    return column.accept(pl.Series("load", cells, dtype=dtype), Where("load", 0, problems)), [str(p) for p in problems]


def learn(column, cells, dtype=pl.Float64):
    problems = Problems()
    state = column.finish(column.learn(accept(column, cells, dtype)[0], 0), Where("load", 0, problems))
    return state, [str(p) for p in problems]


def fill(columns, *steps):
    """What the module makes of one sequence per column, given as wires."""
    module = Number.module({str(i): (c, learn(c, [0.0, 10.0])[0]) for i, c in enumerate(columns)})
    part = module({str(i): torch.tensor([s]) for i, s in enumerate(steps)})
    return part, module


# -- cells ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        ([1, None, 3], pl.Int8),
        ([1, None, 3], pl.UInt64),
        ([1.0, NAN, 3.0], pl.Float32),
        ([Decimal(1), None, Decimal(3)], pl.Decimal(10, 2)),
    ],
)
def test_numbers_of_any_type_are_taken(cells, dtype):
    values, problems = accept(Number(), cells, dtype)
    np.testing.assert_array_equal(values, [1.0, NAN, 3.0])
    assert values.dtype == np.float64
    assert not problems


@pytest.mark.parametrize("dtype", [pl.Null, pl.String, pl.Boolean, pl.Date, pl.List(pl.Int64)])
def test_a_column_of_nulls_is_missing_whatever_its_type(dtype):
    values, problems = accept(Number(), [None, None], dtype)
    assert np.isnan(values).all()
    assert not problems


def test_sentinels_are_missing():
    column = Number(sentinels=(-9999, -999.9))
    np.testing.assert_array_equal(accept(column, [-9999, 5])[0], [NAN, 5])
    # -999.9 in single precision is another double than the one in the schema.
    np.testing.assert_array_equal(accept(column, [-999.9, 5], pl.Float32)[0], [NAN, 5])
    assert learn(column, [-9999, 2.0, 4.0])[0].seen.mean == 3.0


def test_text_names_rows_and_values():
    _, problems = accept(Number(), ["1.5", "x", None, "", "1e3"])
    assert problems == [
        "column 'load': is not a number (row 1 = 'x', row 3 = ''). Correct these cells, or name them in"
        " il.read(..., missing=...) if they mean missing."
    ]


def test_text_is_never_converted_silently():
    _, problems = accept(Number(), ["1.5", "2"])
    assert len(problems) == 1
    assert "is text, not a number (row 0 = '1.5', row 1 = '2'). Convert it first:" in problems[0]
    assert "pl.col('load').cast(pl.Float64)" in problems[0]


@pytest.mark.parametrize(
    ("cells", "remedy"),
    [([True, None], "Flag"), ([[1.0], None], "Series"), (pl.Series([0, None]).cast(pl.Date), "Timestamp")],
)
def test_other_types_name_the_kind_to_use(cells, remedy):
    _, problems = accept(Number(), cells)
    assert len(problems) == 1
    assert "not numbers (row 0 = " in problems[0]
    assert remedy in problems[0]
    assert "row 1" not in problems[0]


def test_infinite_numbers_are_noted():
    values, problems = accept(Number(), [1.0, math.inf, -math.inf])
    assert "is infinite (row 1 = inf, row 2 = -inf)" in problems[0]
    assert np.isfinite(values).tolist() == [True, False, False]


# -- what is learnt ------------------------------------------------------------------------------------------------


def test_all_missing_is_a_problem():
    _, problems = learn(Number(), [None, NAN])
    assert problems == [
        "column 'load': all values are missing. Remove the column from the schema, or give rows that have values."
    ]


def test_a_range_beyond_doubles_is_a_problem():
    _, problems = learn(Number(scale="minmax"), [-1.7e308, 1.7e308])
    assert "the range of the numbers overflows" in problems[0]


def test_a_constant_column_has_spread_1_and_says_so():
    for scale in ("standard", "minmax", "robust", "quantile", "log"):
        column = Number(scale=scale)
        state, problems = learn(column, [5.0, 5.0, 5.0])
        assert not problems
        assert state.spread == 1.0
        assert column.describe(state)["constant"] is True
        assert column.encode(np.array([5.0]), state)[""].tolist() == [0.0]
        assert column.back(np.zeros(1), state).tolist() == pytest.approx([5.0])
    assert column.describe(learn(column, [5.0, 6.0])[0])["constant"] is False


def test_a_large_mean_keeps_a_small_spread():
    draw = np.random.default_rng(0)
    x = 1e9 + 1e-3 * draw.standard_normal(10_000)
    column = Number()
    state, _ = learn(column, x)
    z = column.encode(x, state)[""]
    assert abs(z.astype(np.float64).std() - 1) < 1e-4
    np.testing.assert_allclose(column.back(z, state), x, rtol=0, atol=1e-9 + np.spacing(1e9))


def test_robust_is_the_median_and_the_quartiles():
    state, _ = learn(Number(scale="robust"), [1.0, 2.0, 3.0, 4.0, 100.0])
    assert (state.scale.center, state.scale.spread) == (3.0, 2.0)
    # More than half the same: the quartiles coincide, the deviation does not.
    state, _ = learn(Number(scale="robust"), [0.0] * 7 + [8.0])
    assert state.scale.spread == pytest.approx(np.std([0.0] * 7 + [8.0]))


def test_log():
    column = Number(scale="log")
    state, _ = learn(column, [0.0, math.e - 1, 1 - math.e])  # signed logs 0, 1, -1
    z = column.encode(np.array([math.e**2 - 1]), state)[""]
    assert z == pytest.approx(2 / math.sqrt(2 / 3))


def test_quantile_is_uniform_with_mean_0_and_variance_1():
    x = np.random.default_rng(0).exponential(size=5000)
    column = Number(scale="quantile")
    state, _ = learn(column, x)
    z = column.encode(x, state)[""]
    assert len(state.scale.knots) == 1000
    assert abs(z.mean()) < 1e-3
    assert abs(z.std() - 1) < 1e-3
    assert column.encode(np.array([-1e9, 1e9]), state)[""].tolist() == pytest.approx([-math.sqrt(3), math.sqrt(3)])


def test_quantile_gives_tied_values_the_middle_of_their_ranks():
    column = Number(scale="quantile")
    state, _ = learn(column, [0.0, 0.0, 0.0, 7.0, 9.0])  # ranks 0, 1/4, 1/2 -> 1/4
    z = column.encode(np.array([0.0, 7.0]), state)[""]
    np.testing.assert_allclose(z, [-0.5 * math.sqrt(3), 0.5 * math.sqrt(3)], atol=1e-6)
    np.testing.assert_allclose(column.back(z, state), [0.0, 7.0], atol=1e-6)


def test_flag_follows_training_unless_asked():
    assert learn(Number(), [1.0, None, 3.0])[0].flag
    assert not learn(Number(), [1.0, 2.0])[0].flag
    assert learn(Number(flag=True), [1.0, 2.0])[0].flag
    assert not learn(Number(flag=False), [1.0, None])[0].flag


@given(
    st.lists(st.floats(-1e12, 1e12, allow_subnormal=False), min_size=2, max_size=30),
    st.sampled_from(["standard", "minmax", "robust"]),
)
def test_back_undoes_encode(x, scale):
    column = Number(scale=scale)
    values = np.array(x)
    state, _ = learn(column, x)
    z = column.encode(values, state)[""].astype(np.float64)
    allowed = 1e-6 * state.scale.spread * (1 + np.abs(z).max()) + 1e-15 * np.abs(values).max()
    assert np.abs(column.back(z, state) - values).max() <= allowed


# -- gaps ----------------------------------------------------------------------------------------------------------


def test_mean_and_zero():
    # The training numbers are 0 and 10: mean 5, deviation 5.
    part, module = fill([Number(flag=True), Number(fill="zero", flag=False)], [1.0, NAN], [1.0, NAN])
    assert part.values[0].tolist() == [[1.0, 1.0], [0.0, -1.0]]
    assert part.present[0].tolist() == [[True, True], [False, False]]
    assert part.extras[0].tolist() == [[0.0], [1.0]]
    assert module.channels == ("0", "1")
    assert module.extras == ("0 missing",)
    assert module.held == (False, False)


def test_forward_holds_the_last_number_of_the_same_sequence():
    part, module = fill([Number(fill="forward"), Number()], [NAN, 2.0, NAN, NAN, 3.0], [NAN, 2.0, NAN, 1.0, NAN])
    assert part.values[0, :, 0].tolist() == [0.0, 2.0, 2.0, 2.0, 3.0]
    assert part.values[0, :, 1].tolist() == [0.0, 2.0, 0.0, 1.0, 0.0]
    assert module.held == (True, False)
    module = Number.module({"a": (Number(fill="forward"), learn(Number(), [0.0, 10.0])[0])})
    two = module({"a": torch.tensor([[1.0, 2.0], [NAN, NAN]])})
    assert two.values[..., 0].tolist() == [[1.0, 2.0], [0.0, 0.0]]


def test_since_counts_from_before_the_first_step():
    part, module = fill([Number(since=True)], [NAN, NAN, 4.0, NAN, 5.0])
    np.testing.assert_allclose(part.extras[0, :, 0], np.log1p([1, 2, 0, 1, 0]), rtol=1e-6)
    assert module.extras == ("0 since",)


def test_clip_is_for_the_input_only():
    column = Number(clip=2.0)
    state, _ = learn(column, [0.0, 10.0])
    wire = column.encode(np.array([1000.0, -1000.0, 6.0]), state)[""]
    assert wire.tolist() == pytest.approx([199.0, -201.0, 0.2])
    part = Number.module({"a": (column, state)})({"a": torch.from_numpy(wire)[None]})
    assert part.values.flatten().tolist() == pytest.approx([2.0, -2.0, 0.2])


def test_many_columns_cost_as_many_operations_as_one():
    def operations(count):
        state, _ = learn(Number(), [0.0, 10.0])
        module = Number.module({str(i): (Number(), state) for i in range(count)})
        wires = {str(i): torch.zeros(2, 3) for i in range(count)}
        with torch.profiler.profile() as profile:
            module(wires)
        # Stacking looks at each wire; what follows is one tensor.
        return sum(event.count for event in profile.key_averages() if event.key in ("aten::where", "aten::isnan"))

    assert operations(50) == operations(1)


# -- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fil": "zero"}, "Number has no option 'fil'. Did you mean 'fill'.* Its options: role, scale,"),
        ({"scale": "standart"}, "scale='standart' is not one of .* Did you mean 'standard'"),
        ({"fill": "median"}, "fill='median' is not one of"),
        ({"flag": "yes"}, "flag='yes' is not one of"),
        ({"since": None}, "since=None is not one of"),
        ({"sentinels": (NAN,)}, "nan is not a finite number. NaN and null always mean missing"),
        ({"sentinels": ("x",)}, "'x' is not a finite number"),
        ({"clip": 0}, "clip=0 is not a number above 0"),
        ({"clip": True}, "clip=True is not a number above 0"),
        ({"clip": 2.0, "scale": "quantile"}, "clip=2.0 has no effect: scale='quantile'"),
        ({"fill": "forward", "role": "static"}, "fill='forward' has no effect: a static column"),
        ({"since": True, "role": "static"}, "since=True has no effect: a static column"),
        ({"fill": "zero", "role": "target"}, "fill='zero' has no effect: a column with role='target' is no input"),
        ({"clip": 3.0, "role": "target"}, "clip=3.0 has no effect"),
        ({"flag": True, "role": "target"}, "flag=True has no effect"),
        ({"role": "targets"}, "role='targets' is not one of"),
    ],
)
def test_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Number(**options)


def test_one_sentinel_may_stand_alone():
    assert Number(sentinels=-9999).sentinels == (-9999.0,)
    assert Number(sentinels=[-9999, 0]).options() == {"sentinels": [-9999.0, 0.0]}
