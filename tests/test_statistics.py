"""Statistics: against exact rationals, and the same however the rows are cut into blocks."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inputlayer import statistics
from inputlayer.statistics import Clock, Counts, Moments, Sample

DRAW = np.random.default_rng(0)


def cut(x: Any, at: list[int]) -> list[Any]:
    edges = [0, *sorted(place % (len(x) + 1) for place in at), len(x)]
    return [x[a:b] for a, b in itertools.pairwise(edges)]


def merged(parts: list[Any]) -> Any:
    return reduce(lambda a, b: a.merge(b), parts)


def exact(x: np.ndarray) -> tuple[Fraction, Fraction]:
    """Mean and variance as rationals."""
    values = [Fraction(float(value)) for value in x]
    mean = sum(values, Fraction(0)) / len(values)
    return mean, sum(((value - mean) ** 2 for value in values), Fraction(0)) / len(values)


def assert_exact(moments: Moments, x: np.ndarray, tolerance: float) -> None:
    mean, variance = exact(x)
    assert moments.count == len(x)
    assert moments.mean == pytest.approx(float(mean), rel=4e-16, abs=float(np.abs(x).max()) * 1e-16)
    # Compared as rationals: at the far ends the variance itself is no double, and the spread a rounded one.
    spread, error = Fraction(moments.spread), Fraction(moments.spread) * Fraction(tolerance) + Fraction(5e-324)
    assert max(spread - error, 0) ** 2 <= variance <= (spread + error) ** 2
    assert (moments.minimum, moments.maximum) == (x.min(), x.max())


NUMBERS = {
    "mean 1e9, spread 1e-3": 1e9 + DRAW.normal(size=3000) * 1e-3,
    "mean 1e15, spread 1": 1e15 + DRAW.normal(size=3000),
    "mean 0": DRAW.normal(size=3000),
    "a trend": np.linspace(-1e9, 1e9, 3000),
    "huge": DRAW.normal(size=300) * 1e300,
    "tiny": DRAW.normal(size=300) * 1e-300,
    "denormal": np.arange(300) * 5e-324,
    "alternating": np.tile([1e16, -1e16, 1.0], 100),
    "widest": np.array([1.7e308, -1.7e308]),
    "whole": np.arange(2.0**53, 2.0**53 + 300),
    "one far away": np.r_[1e12, np.zeros(2999)],
    "two": np.array([0.1, 0.3]),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("rows", [1, 7, 1000, 10**6])
def test_moments_equal_exact_rationals(name: str, rows: int) -> None:
    x = NUMBERS[name]
    assert_exact(merged([Moments.of(part) for part in np.split(x, range(rows, len(x), rows))]), x, 1e-12)


@settings(max_examples=100, deadline=None)
@given(
    x=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60).map(np.array),
    at=st.lists(st.integers(0, 100), max_size=5),
)
def test_moments_of_any_numbers_in_any_blocks(x: np.ndarray, at: list[int]) -> None:
    parts = [Moments.of(part) for part in cut(x, at)]
    assert_exact(merged(parts), x, 1e-12)
    # Exact sums: neither grouping nor order of the blocks has a say, to the last bit.
    assert reduce(lambda a, b: b.merge(a), parts) == merged(parts) == merged(parts[::-1])


def test_moments_of_shuffled_rows_agree() -> None:
    x = 1e9 + DRAW.normal(size=200_000)
    one, other = Moments.of(x), merged([Moments.of(part) for part in cut(DRAW.permutation(x), [65_536, 131_072])])
    assert one.mean == pytest.approx(other.mean, rel=1e-15)
    assert one.spread == pytest.approx(other.spread, rel=1e-12)


@pytest.mark.parametrize("value", [0.1, 0.0, -1e300, 5e-324, 1e9 + 0.1])
def test_a_constant_has_no_spread(value: float) -> None:
    x = np.full(1001, value)
    moments = merged([Moments.of(part) for part in cut(x, [300, 301])])
    assert (moments.mean, moments.spread) == (value, 0.0)


def test_moments_of_nothing() -> None:
    nothing = Moments.of(np.zeros(0))
    assert (nothing.count, math.isnan(nothing.mean), math.isnan(nothing.spread)) == (0, True, True)
    assert nothing.merge(Moments.of(np.ones(2))) == Moments.of(np.ones(2))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_moments_refuse_what_is_not_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="moments need finite numbers"):
        Moments.of(np.array([1.0, bad]))


def test_a_block_is_not_changed() -> None:
    x, rows = np.array([1e300, 1.0]), np.array([5, 6])
    x.flags.writeable = rows.flags.writeable = False
    Moments.of(x)
    Sample.of(x, rows).quantiles([0.5])
    Clock.of(rows)


# -- counts -----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.sampled_from(["a", "b", "é", "B", "", None])), at=st.lists(st.integers(0, 100), max_size=4))
def test_counts_in_any_blocks_and_order(values: list[str | None], at: list[int]) -> None:
    counts = merged([Counts.of(pl.Series(part, dtype=pl.String)) for part in cut(values, at)])
    expected = sorted(((value, values.count(value)) for value in {*values} - {None}), key=lambda v: (-v[1], v[0]))
    assert list(counts.ordered().items()) == expected
    assert counts.count == len(values) - values.count(None)


def test_counts_are_cut_by_rarity_then_size() -> None:
    counts = Counts.of(pl.Series([3, 3, 3, 2, 2, 10, 10, 7]))
    assert counts.ordered(min_count=2) == {3: 3, 2: 2, 10: 2}
    assert list(counts.ordered(min_count=2)) == [3, 2, 10]
    assert list(counts.ordered(max_size=2)) == [3, 2]
    assert Counts.of(pl.Series([None, None], dtype=pl.String)).ordered() == {}


def test_merging_counts_changes_neither() -> None:
    one, other = Counts({"a": 1}), Counts({"a": 2, "b": 1})
    assert one.merge(other).values == {"a": 3, "b": 1}
    assert (one.values, other.values) == ({"a": 1}, {"a": 2, "b": 1})


# -- quantiles --------------------------------------------------------------------------------------------------------


def test_quantiles_are_exact_up_to_100_000_rows() -> None:
    x, q = DRAW.normal(size=100_000), [0.0, 0.01, 0.25, 0.5, 0.99, 1.0]
    sample = merged([Sample.of(*part) for part in zip(np.split(x, 4), np.split(np.arange(100_000), 4), strict=True)])
    assert sample.exact
    assert (sample.quantiles(q) == np.quantile(x, q)).all()


@pytest.mark.parametrize("order", ["random", "sorted", "periodic"])
def test_beyond_that_the_rank_error_is_at_most_half_a_percent(order: str) -> None:
    rows = 1_500_000
    x = {"random": DRAW.random(rows), "sorted": np.arange(rows) / rows, "periodic": np.arange(rows) % 1000 / 1000}[
        order
    ]
    numbers = np.arange(rows)
    sample = merged([Sample.of(x[i : i + 65_536], numbers[i : i + 65_536]) for i in range(0, rows, 65_536)])
    q = np.linspace(0, 1, 201)
    found, ranked = sample.quantiles(q), np.sort(x)
    low, high = np.searchsorted(ranked, found, "left") / rows, np.searchsorted(ranked, found, "right") / rows
    assert not sample.exact
    assert 2**18 * 0.98 < len(sample.values) <= 2**19
    assert (low - 0.005 <= q).all()
    assert (q <= high + 0.005).all()


@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 200), held=st.integers(1, 60), at=st.lists(st.integers(0, 300), max_size=5))
def test_samples_do_not_depend_on_the_blocks(size: int, held: int, at: list[int]) -> None:
    x, numbers = DRAW.random(size), np.arange(size) * 7
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_HELD", held)
        whole = Sample.of(x, numbers)
        parts = [Sample.of(*part) for part in zip(cut(x, at), cut(numbers, at), strict=True)]
        for one in (merged(parts), merged(parts[::-1]), reduce(lambda a, b: b.merge(a), parts)):
            assert one.threshold == whole.threshold
            assert sorted(one.values) == sorted(whole.values)
            assert np.array_equal(one.quantiles([0.1, 0.5]), whole.quantiles([0.1, 0.5]), equal_nan=True)


# -- clocks -----------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    t=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9).map(lambda i: i * 3600), min_size=1, max_size=80),
    at=st.lists(st.integers(0, 100), max_size=5),
)
def test_clocks_in_any_blocks(t: list[int], at: list[int]) -> None:
    clock = merged([Clock.of(part) for part in cut(np.array(t, dtype=np.int64), at)])
    assert clock == Clock(len(t), min(t), max(t), math.gcd(*(one - t[0] for one in t)))


def test_a_step_that_shows_only_late() -> None:
    t = np.arange(1000) * 60
    t[700] += 45
    assert Clock.of(t).step == 15
    assert Clock.of(t[:700]).step == 60
