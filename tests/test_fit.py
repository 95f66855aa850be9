"""Fitting: the same rows give the same bytes however they are read, and rows held out change nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inputlayer as il
from inputlayer import store, table
from inputlayer.errors import TableError
from inputlayer.fit import Fitted, fit
from inputlayer.schema import Schema
from inputlayer.table import Table
from samples import ROADS, panel, waves, windows


def packed(state: Any) -> bytes:
    described, arrays = store.pack(state)
    flat = b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays))
    return json.dumps(described, sort_keys=True).encode() + flat


def fitted_bytes(schema: Schema, data: Any) -> bytes:
    fitted: Fitted = fit(schema, Table.of(data))
    states = b"".join(name.encode() + packed(state) for name, state in fitted.states.items())
    return states + packed(fitted.receipt)


def cut_into(monkeypatch: pytest.MonkeyPatch, reader: int, block: int) -> None:
    """Let every source yield `reader` rows at a time, and blocks hold `block` rows."""
    stream, blocks = table._Part.stream, Table.blocks

    def in_pieces(self: Any, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        for frame in stream(self, columns, rows):
            yield from frame.iter_slices(reader)

    monkeypatch.setattr(table._Part, "stream", in_pieces)
    monkeypatch.setattr(Table, "blocks", lambda self, columns=None, rows=block: blocks(self, columns, rows))


@pytest.mark.parametrize("road", ROADS)
def test_fitted_bytes_do_not_depend_on_how_rows_are_read(road: str, monkeypatch: pytest.MonkeyPatch) -> None:
    schema, frame = ROADS[road]
    found = []
    for reader in (1, 7, 1000):
        with monkeypatch.context() as patch:
            cut_into(patch, reader, block=16)
            found.append(fitted_bytes(schema, frame))
    assert found[0] == found[1] == found[2]


def test_row_groups_of_a_parquet_file_do_not_matter(tmp_path: Any) -> None:
    schema, frame = ROADS["windows"]
    found = []
    for size in (7, 1000):
        frame.write_parquet(tmp_path / f"{size}.parquet", row_group_size=size)
        found.append(fitted_bytes(schema, il.read(tmp_path / f"{size}.parquet")))
    assert found[0] == found[1] == fitted_bytes(schema, frame)


def alike(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal, numbers to 1e-12."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == pytest.approx(other, rel=1e-12, abs=1e-12)) if isinstance(one, float) else bool(one == other)


@pytest.mark.parametrize("road", [r for r in ROADS if not r.startswith("groups")])
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32))
def test_shuffled_rows_teach_the_same(road: str, seed: int) -> None:
    # Vocabularies, counts and quantiles exactly, moments to the last bits of a double.
    schema, frame = ROADS[road]
    whole = fit(schema, Table.of(frame))
    mixed = fit(schema, Table.of(frame.sample(fraction=1.0, shuffle=True, seed=seed)))
    assert packed(whole.receipt) == packed(mixed.receipt)
    for name, state in whole.states.items():
        described, arrays = store.pack(state)
        again, others = store.pack(mixed.states[name])
        assert alike(described, again), name
        assert arrays.keys() == others.keys()
        assert all(np.array_equal(arrays[n], others[n]) for n in arrays), name


SPOIL = {
    "reorder": lambda held: held.reverse(),
    "delete": lambda held: held[::2],
    "append": lambda held: pl.concat([held, held.with_columns(pl.col("time").dt.offset_by("1y"))]),
    "missing": lambda held: held.with_columns(temp=pl.lit(None, pl.Float64), wind=pl.lit(None, pl.String)),
    "huge": lambda held: held.with_columns(load=pl.lit(1e12), temp=pl.lit(-1e12), holiday=True),
    "new categories": lambda held: held.with_columns(wind=pl.lit("storm")),
    "new series": lambda held: held.with_columns(site="new " + pl.col("site")),
}


@pytest.mark.parametrize("change", SPOIL)
def test_held_out_rows_change_nothing_that_is_learnt(change: str) -> None:
    schema, frame = windows(), panel((60, 60))
    train, valid, _ = il.split(frame, schema, valid=0.3, test=0.2)
    assert valid is not None
    spoilt = SPOIL[change](valid.frame())
    learnt = []
    for held in (valid, spoilt):
        model = il.Model(il.InputLayer(schema), il.LSTM(4))
        model.fit(train, held, epochs=0)
        learnt.append(b"".join(packed(s) for s in model.fitted.states.values()) + packed(model.fitted.receipt))
    assert learnt[0] == learnt[1]


def test_the_training_part_is_cut_without_a_look_at_the_rest() -> None:
    schema, frame = windows(), panel((60, 60))
    train, *_ = il.split(frame, schema, valid=0.3, test=0.2)
    cut = train.frame()["time"].max()
    late = pl.col("time") > cut
    spoilt = pl.concat([frame.filter(~late), frame.filter(late).with_columns(load=pl.lit(9e9)).reverse()])
    again, *_ = il.split(spoilt, schema, valid=0.3, test=0.2)
    assert fitted_bytes(schema, again) == fitted_bytes(schema, train)


# -- what cannot be learnt ---------------------------------------------------------------------------------------------


def test_all_problems_come_in_one_message() -> None:
    frame = panel((8,)).with_columns(
        load=pl.Series(["1.5", "x", *["2"] * 6]), temp=pl.lit(None, pl.Float64), time=pl.lit(None, pl.Datetime)
    )
    with pytest.raises(TableError) as found:
        fit(windows(), Table.of(frame))
    text = str(found.value)
    assert "column 'load': is not a number (row 1 = 'x')" in text
    assert "column 'temp': all values are missing" in text
    assert "column 'time': has no value" in text
    assert "a window needs 9 rows (length 6 + horizon 3), series 'north' has 8" in text
    assert text.count("load") == 1  # what is said once is not said again as "all values are missing"


def test_a_message_with_rows_says_where_their_count_begins() -> None:
    def said(**cells: Any) -> str:
        with pytest.raises(TableError) as found:
            fit(windows(), Table.of(panel((40,)).with_columns(**cells)))
        return str(found.value)

    bad = pl.Series(["1.5", "x", *["2"] * 38])
    assert said(load=bad).endswith("if they mean missing. Rows count from 0.")
    assert said(load=bad, temp=bad).startswith("the table does not fit the schema, 2 problems (rows count from 0):")
    assert "from 0" not in said(temp=pl.lit(None, pl.Float64))


def test_missing_columns_are_named_with_the_nearest() -> None:
    with pytest.raises(TableError, match=r"column 'load': is missing from the table. Did you mean 'lod'\?"):
        fit(windows(), Table.of(panel().rename({"load": "lod"})))


@pytest.mark.parametrize("road", ROADS)
def test_an_empty_table_teaches_nothing(road: str) -> None:
    schema, frame = ROADS[road]
    with pytest.raises(TableError, match="the table has no rows"):
        fit(schema, Table.of(frame.clear()))


def test_infinite_values_are_refused_with_their_rows() -> None:
    frame = panel().with_columns(load=pl.when(pl.int_range(pl.len()) == 4).then(np.inf).otherwise(pl.col("load")))
    with pytest.raises(TableError, match=r"column 'load': is infinite \(row 4 = inf\)"):
        fit(windows(), Table.of(frame))


def test_rows_without_a_series_are_refused() -> None:
    frame = panel().with_columns(site=pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise(pl.col("site")))
    with pytest.raises(
        TableError, match=r"column 'site': has no value, so the row belongs to no series \(row 3 = None\)"
    ):
        fit(windows(), Table.of(frame))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (["1"] * 40, "column 'w': is text, not a number"),
        ([1.0, None, *[1.0] * 38], r"column 'w': has no value, .* \(row 1 = None\)"),
        ([1.0, -2.0, *[1.0] * 38], r"column 'w': is a negative weight \(row 1 = -2.0\)"),
        ([1.0, np.inf, *[1.0] * 38], r"column 'w': is infinite \(row 1 = inf\)"),
    ],
)
def test_a_weight_is_a_number_of_at_least_0(weights: list[Any], message: str) -> None:
    schema = il.Schema({"load": il.Number()}, il.Windows("time", 6, 3), target="load", weight="w")
    frame = panel((40,)).with_columns(w=pl.Series(weights, strict=False))
    with pytest.raises(TableError, match=message):
        fit(schema, Table.of(frame))


# -- the clock and the receipt -----------------------------------------------------------------------------------------


def test_the_clock_is_that_of_the_training_rows() -> None:
    clock = fit(windows(), Table.of(panel())).clock
    assert clock is not None
    assert (clock.step, clock.regular, clock.timed) == (3.6e9, True, True)
    holes = fit(windows(), Table.of(panel()[::3].vstack(panel((60,))[41:44]))).clock
    assert holes is not None
    assert not holes.regular


def test_groups_are_known_by_content_whatever_the_order_of_rows() -> None:
    schema, frame = ROADS["groups"]
    one, other = (fit(schema, Table.of(f)).receipt for f in (frame, frame.reverse()))
    assert packed(one) == packed(other)
    assert one.same(other)


def test_receipts_of_windows_hold_each_series_span() -> None:
    receipt = fit(windows(), Table.of(panel((40, 25)).reverse())).receipt
    assert (receipt.rows, receipt.keys, receipt.counts.tolist()) == (65, ("north", "south"), [40, 25])
    assert (receipt.last - receipt.first).tolist() == [39 * 3_600_000_000, 24 * 3_600_000_000]


def test_keys_of_several_columns_stay_apart() -> None:
    frame = pl.DataFrame({"a": ["x|y", "x"] * 8, "b": ["z", "y|z"] * 8, "t": list(range(16)), "v": [1.0, 2.0] * 8})
    schema = il.Schema({"v": il.Number()}, il.Windows("t", 2, 1, by=("a", "b")), target="v")
    assert len(fit(schema, Table.of(frame)).receipt.keys) == 2


def test_content_hashes_do_not_see_keys_types_or_places() -> None:
    schema, frame = ROADS["cells"]
    one = fit(schema, Table.of(frame)).receipt
    again = fit(schema, Table.of(frame.reverse().with_columns(pl.col("mass").cast(pl.Float32)))).receipt
    other = fit(schema, Table.of(waves(seed=1))).receipt
    assert one.overlap(again)[0] == len(one.hashes) == 24
    assert one.overlap(other)[0] == 0
    grouped, rows = ROADS["groups"]
    renamed = rows.with_columns(site=pl.col("site") + "!", time=pl.col("time").dt.cast_time_unit("ns"))
    seen = fit(grouped, Table.of(rows)).receipt
    assert seen.overlap(fit(grouped, Table.of(renamed)).receipt)[0] == 3
