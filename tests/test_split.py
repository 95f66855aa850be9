"""Splitting: three tables that share no row; windows in time, groups whole, cells by row."""

from __future__ import annotations

import functools
import operator
from datetime import date, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inputlayer as il
from inputlayer.errors import OptionError, TableError
from samples import ROADS, cells, groups, panel, waves, windows

SHARE = st.sampled_from([0, 0.1, 0.3, 5])


def parts(frame: pl.DataFrame, schema: il.Schema, **options: Any) -> list[pl.DataFrame]:
    found = il.split(frame.with_row_index("row"), schema, **options)
    return [frame.clear().with_row_index("row") if t is None else t.frame() for t in found]


@pytest.mark.parametrize("road", ["windows", "cells"])
@settings(max_examples=10)
@given(valid=SHARE, test=SHARE)
def test_every_row_is_in_one_part_in_its_own_order(road: str, valid: Any, test: Any) -> None:
    schema, frame = ROADS[road]
    found = parts(frame, schema, valid=valid, test=test)
    rows = [p["row"].to_list() for p in found]
    assert sorted(functools.reduce(operator.iadd, rows, [])) == list(range(frame.height))
    assert all(r == sorted(r) for r in rows)


def test_windows_are_cut_in_time_for_all_series() -> None:
    train, valid, test = parts(panel((60, 40)).sample(fraction=1.0, shuffle=True, seed=0), windows(), test=0.1)
    assert train["time"].max() < valid["time"].min()  # type: ignore[operator]
    assert valid["time"].max() < test["time"].min()  # type: ignore[operator]
    assert test.height == 10


@pytest.mark.parametrize("moment", ["2024-01-02T06:00", datetime(2024, 1, 2, 6), date(2024, 1, 2)])
def test_a_part_may_begin_at_a_time(moment: Any) -> None:
    train, _, test = parts(panel((60, 40)), windows(), valid=0, test=moment)
    hour = 0 if type(moment) is date else 6
    assert test["time"].min() == datetime(2024, 1, 2, hour)
    assert train["time"].max() < test["time"].min()  # type: ignore[operator]


def test_a_moment_is_one_of_the_columns_zone() -> None:
    frame = panel((60,)).with_columns(pl.col("time").dt.replace_time_zone("Europe/Berlin"))
    _, _, test = parts(frame, windows(), valid=0, test="2024-01-02T06:00")
    assert test["time"].dt.hour()[0] == 6
    assert test.height == 30
    aware = datetime.fromisoformat("2024-01-02T06:00+00:00")
    assert parts(frame, windows(), valid=0, test=aware)[2]["time"].dt.hour()[0] == 7
    with pytest.raises(OptionError, match="is no value of the order column 'time'"):
        il.split(panel((60,)), windows(), test=aware)


def test_a_moment_may_be_written_as_the_column_is() -> None:
    schema = il.Schema(
        {"time": il.Timestamp(format="%d.%m.%Y %H:%M"), "load": il.Number()}, il.Windows("time", 3), target="load"
    )
    frame = panel((60,)).with_columns(pl.col("time").dt.strftime("%d.%m.%Y %H:%M"))
    for moment in ("02.01.2024 06:00", datetime(2024, 1, 2, 6)):
        assert parts(frame, schema, valid=0, test=moment)[2].height == 30
    with pytest.raises(OptionError, match="'soon' is no value of the order column 'time', which holds String"):
        il.split(frame, schema, test="soon")


@pytest.mark.parametrize("moment", ["2024-13-01", "soon"])
def test_a_moment_that_is_none_is_refused(moment: str) -> None:
    with pytest.raises(OptionError, match=f"'{moment}' is no value of the order column"):
        il.split(panel(), windows(), valid=moment)


def test_integers_are_cut_by_rows_or_values() -> None:
    schema = il.Schema({"x": il.Number()}, il.Windows("t", 2), target="x")
    frame = pl.DataFrame({"t": range(100, 120), "x": [1.0] * 20})
    assert [p.height for p in parts(frame, schema, valid=3, test=5)] == [12, 3, 5]
    assert parts(frame, schema, valid=0, test="117")[2]["t"].to_list() == [117, 118, 119]


def test_groups_stay_whole() -> None:
    frame = pl.concat([panel((4,), seed=i).with_columns(site=pl.lit(str(i))) for i in range(10)])
    found = parts(frame.with_columns(label=pl.lit("a")).reverse(), groups(), valid=2, test=0.3)
    sites = [set(p["site"]) for p in found]
    assert [len(s) for s in sites] == [5, 2, 3]
    assert not sites[0] & sites[1] | sites[0] & sites[2] | sites[1] & sites[2]


def test_the_seed_says_which() -> None:
    one, again, other = (parts(waves(60), cells(), seed=s)[2]["row"].to_list() for s in (1, 1, 2))
    assert one == again != other


def test_stratified_parts_keep_their_shares() -> None:
    schema = il.Schema({"x": il.Number(), "c": il.Category()}, il.Cells(), target="c")
    frame = pl.DataFrame({"x": range(200), "c": ["a"] * 150 + ["b"] * 40 + [None] * 10})
    for part, size in zip(parts(frame, schema, stratify=True), (120, 40, 40), strict=True):
        counts = dict(part["c"].fill_null("none").value_counts().iter_rows())
        assert counts == {"a": size * 3 // 4, "b": size // 5, "none": size // 20}


@pytest.mark.parametrize(
    ("schema", "options", "message"),
    [
        (windows(), {"seed": 1}, "seed and stratify have no effect"),
        (windows(), {"stratify": True}, "seed and stratify have no effect"),
        (windows(), {"valid": 1.0}, "valid=1.0: give a share below 1"),
        (windows(), {"test": -1}, "test=-1: give a share"),
        (windows(), {"valid": 0.6, "test": 0.6}, "leave no rows to train on"),
        (windows(), {"valid": 64, "test": 1}, "leave no rows to train on|gives no rows"),
        (windows(), {"test": "2025-01-01"}, "test='2025-01-01' gives no rows"),
        (windows(), {"valid": "2024-01-02", "test": "2024-01-01T12:00"}, "valid='2024-01-02' gives no rows"),
        (groups(), {"test": "2025-01-01"}, "only windows are cut at a time"),
        (groups(), {"valid": 0.01}, "valid=0.01 gives no rows"),
    ],
)
def test_parts_without_rows_or_sense_are_refused(schema: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        il.split(panel(), schema, **options)


def test_numbers_cannot_be_stratified() -> None:
    with pytest.raises(OptionError, match="stratify=True needs one target of classes"):
        il.split(waves(), cells(), stratify=True)


def test_what_is_missing_is_said_at_once() -> None:
    with pytest.raises(TableError, match=r"(?s)'load': is missing .*'wind': is missing"):
        il.split(panel().drop("load", "wind"), windows())
    holes = panel().with_columns(time=pl.when(pl.int_range(pl.len()) != 2).then(pl.col("time")))
    with pytest.raises(TableError, match=r"column 'time': has no value.*\(row 2 = None\)"):
        il.split(holes, windows())
