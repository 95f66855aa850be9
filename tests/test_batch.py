"""Batches: each sequence's own rows, as a plain Python loop would slice them; padding and mates change nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import inputlayer as il
from inputlayer.batch import Batch, Batches
from inputlayer.encode import encode
from inputlayer.errors import OptionError, TableError
from inputlayer.fit import fit
from inputlayer.table import Table
from samples import ROADS, groups, panel

Sequences = dict[tuple[float, ...], tuple[float, ...]]


def rows_of(series: dict[str, list[tuple[int, bool]]], seed: int) -> pl.DataFrame:
    """A shuffled table: for each series its order values, and whether the target is missing there."""
    rows = [
        {"key": key, "t": t, "x": float(i), "y": None if gap else float(i)}
        for i, (key, (t, gap)) in enumerate((k, row) for k, part in series.items() for row in part)
    ]
    return pl.DataFrame(rows, schema={"key": pl.String, "t": pl.Int64, "x": pl.Float64, "y": pl.Float64}).sample(
        fraction=1.0, shuffle=True, seed=seed
    )


@st.composite
def series(draw: Any) -> dict[str, list[tuple[int, bool]]]:
    """One to three series of uneven length, with gaps in their order and missing targets."""
    found = {}
    for key in ("a", "b", "c")[: draw(st.integers(1, 3))]:
        steps = draw(st.lists(st.tuples(st.sampled_from([1, 1, 1, 4]), st.booleans()), min_size=1, max_size=14))
        times = np.cumsum([s for s, _ in steps]).tolist()
        found[key] = [(t, gap) for t, (_, gap) in zip(times, steps, strict=True)]
    return found


def naive_windows(frame: pl.DataFrame, w: il.Windows, *, training: bool, context: int = -1) -> Iterator[Any]:
    """Steps and targets of each window of one series after another; targets up to time `context` are not allowed."""
    for _, part in sorted(frame.group_by("key"), key=lambda p: str(p[0])):
        rows = part.sort("t").to_dicts()
        first = None
        for end in range(1 if w.pad_short else w.length, len(rows) - w.horizon + 1):
            past = rows[max(0, end - w.length) : end]
            ahead = rows[end : end + w.horizon] if w.horizon else past[-1:]
            if ahead[0]["t"] <= context:
                continue
            first = end if first is None else first
            if training and (end - first) % w.stride:
                continue
            span = [*past, *ahead] if w.horizon else past
            gaps = [after["t"] - before["t"] for before, after in itertools.pairwise(span)]
            if w.max_gap is not None and any(g > float(w.max_gap) for g in gaps):  # type: ignore[arg-type]
                continue
            if all(r["y"] is None for r in ahead):
                continue
            yield [r["x"] for r in past], [r["y"] for r in ahead]


def gathered(batches: Batches) -> list[tuple[list[float], list[float | None]]]:
    """Steps and targets of each sequence, in the order of their numbers."""
    found: dict[int, tuple[list[float], list[float | None]]] = {}
    for batch in batches:
        assert batch.target is not None
        assert batch.real is not None
        for i, number in enumerate(batch.index.tolist()):
            length = int(batch.lengths[i])
            past = batch.steps["x"][i, :length].tolist()
            count = length if batches.index.targets == 0 else batches.index.targets
            ahead = zip(batch.target[i, :count, 0].tolist(), batch.real[i, :count, 0].tolist(), strict=True)
            found[number] = past, [v if real else None for v, real in ahead]
            assert not batch.real[i, count:].any()
    return [found[n] for n in sorted(found)]


def plain(sequence: Any) -> il.Schema:
    columns = {"x": il.Number(scale="none"), "y": il.Number(scale="none", role="target")}
    return il.Schema(columns, sequence, target="y")


@settings(max_examples=40)
@given(
    table=series(),
    length=st.integers(1, 4),
    horizon=st.integers(0, 3),
    stride=st.integers(1, 3),
    max_gap=st.sampled_from([None, 2, 5]),
    pad_short=st.booleans(),
    training=st.booleans(),
    size=st.integers(1, 5),
    seed=st.integers(0, 5),
)
def test_windows_are_what_a_loop_slices(
    table: Any,
    length: int,
    horizon: int,
    stride: int,
    max_gap: Any,
    pad_short: bool,
    training: bool,
    size: int,
    seed: int,
) -> None:
    windows = il.Windows("t", length, horizon, by="key", stride=stride, max_gap=max_gap, pad_short=pad_short)
    frame = rows_of(table, seed)
    fitted = fit(plain(il.Windows("t", 1, 0, by="key")), Table.of(FULL))
    fitted = type(fitted)(plain(windows), fitted.states, fitted.receipt, fitted.clock)
    encoded = encode(fitted, Table.of(frame), training=training, checked=False)
    expected = list(naive_windows(frame, windows, training=training))
    found = gathered(Batches(encoded, fitted, size, shuffle=training, seed=seed))
    assert found == expected
    assert len(expected) == len(encoded.index)


FULL = rows_of({"a": [(t, False) for t in range(1, 40)]}, 0)


@pytest.mark.filterwarnings("ignore:the context of series")  # rows are left out at random, at the border too
@settings(max_examples=20)
@given(table=series(), cut=st.integers(0, 12), length=st.integers(1, 4), horizon=st.integers(0, 2))
def test_context_is_look_back_only(table: Any, cut: int, length: int, horizon: int) -> None:
    frame = rows_of(table, 0)
    before, own = frame.filter(pl.col("t") <= cut), frame.filter(pl.col("t") > cut)
    if not own.height:
        return
    windows = il.Windows("t", length, horizon, by="key")
    fitted = fit(plain(windows), Table.of(FULL))
    context = [Table.of(before)] if before.height else []
    encoded = encode(fitted, Table.of(own), context, checked=False)
    expected = list(naive_windows(frame, windows, training=False, context=cut))
    assert gathered(Batches(encoded, fitted, 4)) == expected


@settings(max_examples=15)
@given(table=series(), per_step=st.booleans(), longest=st.sampled_from([None, 1, 3]), size=st.integers(1, 4))
def test_groups_are_what_a_loop_slices(table: Any, per_step: bool, longest: int | None, size: int) -> None:
    frame = rows_of(table, 1)
    if not per_step:  # one target for each group, missing here and there
        frame = frame.with_columns(
            y=pl.when(pl.col("y").is_not_null()).then(pl.col("key").rank("dense").cast(pl.Float64))
        )
    fitted = fit(plain(il.Groups("key", "t", per_step, longest)), Table.of(FULL.with_columns(y=pl.lit(1.0))))
    encoded = encode(fitted, Table.of(frame), checked=False)
    expected = []
    for _, part in sorted(frame.group_by("key"), key=lambda p: str(p[0])):
        rows = part.sort("t").to_dicts()
        kept = rows[-longest:] if longest else rows
        # The group's target may stand in a row that max_length cuts off.
        known = [r["y"] for r in (kept if per_step else rows) if r["y"] is not None]
        if known:
            expected.append(([r["x"] for r in kept], [r["y"] for r in kept] if per_step else known[:1]))
    assert gathered(Batches(encoded, fitted, size)) == expected


@settings(max_examples=15)
@given(
    lists=st.lists(
        st.tuples(st.lists(st.integers(-9, 9), min_size=1, max_size=5), st.booleans()), min_size=1, max_size=9
    ),
    size=st.integers(1, 4),
    shuffle=st.booleans(),
)
def test_cells_are_what_a_loop_slices(lists: Any, size: int, shuffle: bool) -> None:
    schema = il.Schema(
        {"x": il.Series(scale="none"), "y": il.Number(scale="none", role="target")}, il.Cells(steps="x"), target="y"
    )
    fitted = fit(schema, Table.of({"x": [[1.0, 2.0]], "y": [1.0]}))
    frame = pl.DataFrame(
        {"x": [[float(v) for v in x] for x, _ in lists], "y": [None if gap else 2.0 for _, gap in lists]},
        schema={"x": pl.List(pl.Float64), "y": pl.Float64},
    )
    encoded = encode(fitted, Table.of(frame), checked=False)
    batches = Batches(encoded, fitted, size, shuffle=shuffle)
    expected = [([[float(v)] for v in x], [2.0]) for x, gap in lists if not gap]
    assert gathered(batches) == expected
    assert all(batch.steps["x"].shape[1] >= 1 for batch in batches)


def test_a_sequence_without_steps_has_one_padded_step() -> None:
    schema, frame = ROADS["cells"]
    layer = il.InputLayer(schema).fit(frame)
    encoded = layer.encoded(frame)
    encoded.index.length[:] = 0
    batches = Batches(encoded, layer.learnt, 5)
    model = il.Model(layer, il.LSTM(4, bidirectional=True))
    model.fit(frame, epochs=0)
    for batch in batches:
        x = model.layer(batch).x
        assert x.shape == (len(batch), 1, layer.width)
        assert not x.any()
        assert torch.isfinite(model.network(batch)).all()
    nothing = batches.gather(torch.zeros(0, dtype=torch.int64))
    assert model.layer(nothing).x.shape == (0, 1, layer.width)


def test_a_batch_of_no_windows_has_its_shape() -> None:
    layer, batches = batches_of("windows")
    assert layer(batches.gather(torch.zeros(0, dtype=torch.int64))).x.shape == (0, 6, layer.width)


# -- order, size, device ----------------------------------------------------------------------------------------------


def batches_of(road: str, size: int = 4, **options: Any) -> tuple[il.InputLayer, Batches]:
    schema, frame = ROADS[road]
    layer = il.InputLayer(schema).fit(frame)
    return layer, Batches(layer.encoded(frame), layer.learnt, size, **options)


@pytest.mark.parametrize("road", ROADS)
def test_every_epoch_holds_every_sequence_once_in_its_own_order(road: str) -> None:
    _, batches = batches_of(road, shuffle=True, seed=3)
    orders = []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        orders.append([batch.index.tolist() for batch in batches])
        assert sorted(n for b in orders[-1] for n in b) == list(range(batches.sequences))
        assert len(orders[-1]) == len(batches)
    assert orders[0] == orders[2]
    assert batches.sequences < 4 or orders[0] != orders[1]


def test_sequences_of_like_length_stand_together() -> None:
    frame = pl.concat([panel((n,)).with_columns(site=pl.lit(str(i))) for i, n in enumerate([2, 9, 2, 9, 2, 9, 2, 9])])
    layer = il.InputLayer(groups()).fit(frame.with_columns(label=pl.lit("a")))
    encoded = layer.encoded(frame.with_columns(label=pl.lit("a")))
    assert Batches(encoded, layer.learnt, 4, shuffle=True).padding() == 0.0
    assert Batches(encoded, layer.learnt, 4, pool=1).padding() > 0.3


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_a_batch_holds_at_least_one_sequence(size: Any) -> None:
    layer, _ = batches_of("windows")
    with pytest.raises(OptionError, match="size="):
        layer.batches(panel(), size)


def test_moving_a_batch_moves_every_tensor() -> None:
    _, batches = batches_of("windows")
    moved = next(iter(batches)).to("meta")
    tensors = [*moved.steps.values(), *moved.future.values(), *moved.static.values(), moved.lengths, moved.index]
    assert all(t.device.type == "meta" for t in [*tensors, moved.target, moved.real] if t is not None)


def test_no_sequence_is_an_error_that_counts_why() -> None:
    layer = il.InputLayer(plain(il.Windows("t", 2, 1, max_gap=1))).fit(FULL)
    gaps = rows_of({"a": [(5 * t, False) for t in range(6)]}, 0)
    with pytest.raises(TableError, match="no sequence is left: 4 for 'gap'"):
        layer.batches(gaps)
    with pytest.raises(TableError, match="no sequence is left: 4 for 'no target'"):
        layer.batches(rows_of({"a": [(t, True) for t in range(6)]}, 0))
    with pytest.raises(TableError, match=r"no sequence fits: one needs 2 \+ 1 rows, it has 2"):
        layer.batches(FULL[:2])


# -- law 4 and 7: batch mates and padding -----------------------------------------------------------------------------


def alone(batches: Batches, number: int) -> Batch:
    return batches.gather(torch.tensor([number]))


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("stages", [(), (il.InstanceNorm("standard"),)])
def test_padding_and_mates_change_nothing(road: str, stages: tuple[Any, ...]) -> None:
    schema, frame = ROADS[road]
    if stages and road == "cells":
        stages = (il.InstanceNorm("mean"),)
    layer = il.InputLayer(schema, stages).fit(frame)
    model = il.Model(layer, il.LSTM(4, layers=2, bidirectional=True))
    model.fit(frame, epochs=0)
    model.network.eval()
    batches = Batches(model.layer.encoded(frame), model.fitted, 1000)
    (whole,) = batches
    with torch.inference_mode():
        together = model.network(whole)
        for i, number in enumerate(whole.index.tolist()):
            single = model.network(alone(batches, number))[0]
            assert torch.allclose(together[i, : len(single)], single, atol=1e-6)


@pytest.mark.parametrize("road", ["windows", "windows, horizon 0"])
def test_rows_before_a_window_do_not_matter(road: str) -> None:
    # Fill, time since seen and elapsed time begin anew in each window: the last one alone gives the same input.
    schema, frame = ROADS[road]
    layer = il.InputLayer(schema).fit(frame)
    north = frame.filter(pl.col("site") == "north")
    whole, last = layer.batches(north, 1000), layer.batches(north.tail(6 + schema.horizon), 1000)
    with torch.inference_mode():
        expected = layer(alone(whole, whole.sequences - 1))
        found = layer(alone(last, 0))
    assert torch.equal(expected.x, found.x)
    assert torch.equal(expected.future, found.future)
