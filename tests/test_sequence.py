"""Windows, groups and cells: options that make sense, gaps, context, and what is skipped."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

import inputlayer as il
from inputlayer.errors import OptionError
from inputlayer.sequence import Rows


def rows(counts: list[int], order: list[int] | None = None, context: list[int] | None = None, **options: Any) -> Rows:
    offsets = np.concatenate(([0], np.cumsum(counts)))
    held = np.array(context or [0] * len(counts))
    times = None if order is None else np.array(order)
    return Rows(offsets, pl.DataFrame({"k": range(len(counts))}), held, times, **options)


def test_windows_by_hand() -> None:
    index = il.Windows("t", 3, 2).index(rows([6, 4, 5]), None, training=False)
    assert index.start.tolist() == [0, 1, 10]
    assert index.length.tolist() == [3, 3, 3]
    assert index.ahead.tolist() == [3, 4, 13]
    assert index.series.tolist() == [0, 0, 2]
    assert index.targets == 2


def test_stride_thins_training_only() -> None:
    windows = il.Windows("t", 2, 1, stride=3)
    assert windows.index(rows([9, 4]), None, training=True).start.tolist() == [0, 3, 6, 9]
    assert len(windows.index(rows([9, 4]), None, training=False)) == 9


def test_short_windows_begin_where_their_series_does() -> None:
    index = il.Windows("t", 3, 1, pad_short=True).index(rows([3, 1, 2]), None, training=False)
    assert index.start.tolist() == [0, 0, 4]
    assert index.length.tolist() == [1, 2, 1]


@pytest.mark.parametrize(("horizon", "start"), [(2, [1, 2]), (0, [2, 3, 4])])
def test_context_holds_no_target(horizon: int, start: list[int]) -> None:
    index = il.Windows("t", 3, horizon).index(rows([7], context=[4]), None, training=False)
    assert index.start.tolist() == start


def test_gaps_drop_windows_over_them_and_are_counted() -> None:
    order = [0, 1, 2, 9, 10, 11, 12, 99, 100, 101]
    index = il.Windows("t", 2, 1, max_gap=1).index(rows([7, 3], order), None, training=False)
    assert index.start.tolist() == [0, 3, 4, 7]
    assert index.skipped == {"gap": 2}


@pytest.mark.parametrize("gap", ["2h", timedelta(hours=2)])
def test_gaps_of_times_are_durations(gap: Any) -> None:
    hour = 3_600_000_000
    order = [0, hour, 3 * hour, 6 * hour, 7 * hour]
    index = il.Windows("t", 1, 1, max_gap=gap).index(rows([5], order, timed=True), None, training=False)
    assert index.start.tolist() == [0, 1, 3]
    with pytest.raises(OptionError, match="the order column holds times, so give a duration such as '2h'"):
        il.Windows("t", 1, 1, max_gap=2).index(rows([5], order, timed=True), None, training=False)


def test_a_gap_goes_to_a_file_and_back() -> None:
    windows = il.Windows("t", 1, max_gap=timedelta(minutes=90))
    assert il.Windows(**windows.options()).gap_limit(timed=True) == windows.gap_limit(timed=True)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: il.Windows("t", 0), "length=0"),
        (lambda: il.Windows("t", 2.0), "length=2.0"),  # type: ignore[arg-type]
        (lambda: il.Windows("t", True), "length=True"),
        (lambda: il.Windows("t", 2, -1), "horizon=-1"),
        (lambda: il.Windows("t", 2, stride=0), "stride=0"),
        (lambda: il.Windows("t", 2, max_gap="soon"), "max_gap='soon' is no duration"),
        (lambda: il.Windows("t", 2, max_gap=-1), "max_gap=-1: a positive step"),
        (lambda: il.Windows("t", 2, max_gap="0h"), "max_gap='0h': a positive step"),
        (lambda: il.Groups("g", max_length=0), "max_length=0"),
        (lambda: il.Groups(()), "by="),
        (lambda: il.Windows("t", 2, by=("a", "a")), "by="),
        (lambda: il.Windows("t", 2, by="t"), "by="),
        (lambda: il.Windows(None, 2), "order="),  # type: ignore[arg-type]
    ],
)
def test_options_that_make_no_sense_are_refused(made: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        made()


def test_lists_of_names_become_tuples() -> None:
    assert il.Windows("t", 2, by=["a", "b"]).by == ("a", "b")  # type: ignore[arg-type]
    assert il.Groups(["a"]).by_names == ("a",)  # type: ignore[arg-type]


def test_reprs_leave_defaults_out() -> None:
    assert repr(il.Windows("t", 2)) == "Windows(order='t', length=2)"
    assert repr(il.Windows("t", 2, 1, by="a", stride=3)) == "Windows(order='t', length=2, by='a', stride=3)"
