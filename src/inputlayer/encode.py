"""Encoding: a table through the fitted half into wires, sorted by series and order, and the sequences among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl

from inputlayer.blocks import Block, accepted
from inputlayer.columns.base import Column, DType, Ragged, Where, Wires, wire_name
from inputlayer.errors import Problems, listed
from inputlayer.fit import Fitted, check_timed, is_timed
from inputlayer.order import check_unique, mark_context, series_of, sorting, warn_of_gap
from inputlayer.receipt import Receipt, ReceiptWriter, key_text
from inputlayer.schema import refuse
from inputlayer.sequence import Groups, Index, Rows, Windows
from inputlayer.sequence.base import ranges
from inputlayer.table import Table


class Slot(NamedTuple):
    """Where a wire lies among the packed ones: ``packed[dtype][:, start:stop]``, each row's entry of `shape`."""

    dtype: DType
    start: int
    stop: int
    shape: tuple[int, ...]


@dataclass
class Encoded:
    """A table's wires, sorted, and its sequences.

    packed: by dtype, (N, width), all wires that have one entry per row, side by side, so that a batch is one gather;
    ragged: wires with a number of entries of their own per row; names: the wires of each column; raw: targets in raw
    units (N,) float64, where kept; weight (N,) float32 or None; receipt: of the rows that are no context.
    """

    packed: dict[DType, np.ndarray]
    slots: dict[str, Slot]
    ragged: dict[str, Ragged]
    names: dict[str, tuple[str, ...]]
    rows: Rows
    raw: dict[str, np.ndarray]
    weight: np.ndarray | None
    receipt: Receipt
    index: Index = field(init=False)

    def wire(self, name: str) -> np.ndarray | Ragged:
        """One wire by name, (N, *entry): a view."""
        if name in self.ragged:
            return self.ragged[name]
        slot = self.slots[name]
        block = self.packed[slot.dtype][:, slot.start : slot.stop]
        return block.reshape(len(block), *slot.shape) if slot.shape else block[:, 0]

    def column(self, name: str) -> Wires:
        """All wires of one column, by suffix."""
        return {n[len(name) + 1 :]: self.wire(n) for n in self.names.get(name, ())}


def encode(
    fitted: Fitted,
    table: Table,
    context: Sequence[Table] = (),
    *,
    ahead: Table | None = None,
    targets: bool = True,
    raw: bool = False,
    training: bool = False,
    weighted: bool = False,
    checked: bool = True,
    noted: bool = True,
) -> Encoded:
    """Encode `table`, with `context` tables as look-back only.

    Parameters
    ----------
    ahead
        Further rows of `table`, which may have other types.
    targets
        Whether target columns are read where they are no input.
    raw
        Whether to keep the targets' raw values, for scores.
    training
        Whether the sequences are for training (`stride`, weights).
    weighted
        Whether row weights are read all the same: the loss that stops a training counts rows as its own loss does.
    checked
        Whether it is an error that no sequence is found.
    noted
        Whether to note in a receipt which rows there were: for training and for scores. Otherwise it stays empty.

    Raises
    ------
    TableError
        With every problem of the tables.
    """
    sequence = fitted.schema.sequence
    refuse(bool(context) and not isinstance(sequence, Windows), "context has no effect: only Windows look back")
    problems = Problems()
    own = [("", table)] if ahead is None else [("", table), ("in future=: ", ahead)]
    parts = [*own, *(("in the context: ", t) for t in context)]
    count, weighted = sum(part.height for _, part in parts), training or weighted
    writer = _Writer(fitted, count, targets=targets, raw=raw, weight=weighted and fitted.schema.weight is not None)
    for i, (name, part) in enumerate(parts):
        found, before = Problems(), i >= len(own)
        for block in accepted(fitted.schema, part, found, targets=targets, weight=weighted, title="Encoding"):
            writer.add(block, found, context=before, noted=noted and not before)
        problems.extend(found, name)
    if not count:
        problems.add("the table has no rows")
    problems.raise_if_any()
    encoded = writer.finish(problems)
    problems.raise_if_any()
    _settle(encoded, fitted, problems, targets=targets)
    problems.raise_if_any()
    encoded.index = _index(encoded, fitted, training=training, targets=targets)
    if checked and not len(encoded.index):
        _none_found(encoded, fitted, problems)
    problems.raise_if_any()
    return encoded


class _Writer:
    """Encodes blocks into arrays of the final size, then sorts them if need be."""

    def __init__(self, fitted: Fitted, count: int, *, targets: bool, raw: bool, weight: bool) -> None:
        self.fitted, self.count, self.at = fitted, count, 0
        schema = fitted.schema
        self.columns = {n: schema.columns[n] for n in schema.columns if targets or n in schema.inputs}
        self.names: dict[str, tuple[str, ...]] = {}
        self.slots: dict[str, Slot] = {}
        self.flat: dict[str, _Growing] = {}
        self.lengths: dict[str, _Growing] = {}
        widths: dict[DType, int] = {}
        for name, column in self.columns.items():
            wires = column.wires(fitted.states[name])
            self.names[name] = tuple(wire_name(name, suffix) for suffix in wires)
            for full, wire in zip(self.names[name], wires.values(), strict=True):
                if wire.ragged:
                    self.flat[full] = _Growing(np.zeros((0, *wire.shape), wire.dtype))
                    self.lengths[full] = _Growing(np.zeros(0, np.int64))
                    continue
                start = widths.get(wire.dtype, 0)
                widths[wire.dtype] = start + int(np.prod(wire.shape, dtype=int))
                self.slots[full] = Slot(wire.dtype, start, widths[wire.dtype], wire.shape)
        self.packed: dict[DType, np.ndarray] = {d: np.empty((count, w), dtype=d) for d, w in widths.items()}
        kept = [t for t in schema.targets if raw and schema.columns[t].kind == "number"]
        self.raw = {t: np.empty(count) for t in kept}
        self.weight = np.empty(count, dtype=np.float32) if weight else None
        self.order: np.ndarray | None = None
        self.keys: list[pl.DataFrame] = []
        self.context: np.ndarray | None = None
        self.own = 0  # rows before those of the context
        self.receipt = ReceiptWriter(schema)
        self.timed: bool | None = None

    def add(self, block: Block, problems: Problems, *, context: bool, noted: bool) -> None:
        rows = slice(self.at, self.at + block.frame.height)
        self.at = rows.stop
        for name, column in self.columns.items():
            column.check(block.values[name], self.fitted.states[name], Where(name, block.first_row, problems))
        self._check_order(block, problems)
        if problems:
            return  # nothing will come of this table but the message
        for name, column in self.columns.items():
            for suffix, array in column.encode(block.values[name], self.fitted.states[name]).items():
                self._place(wire_name(name, suffix), array, rows)
        for name, array in self.raw.items():
            array[rows] = block.values[name]
        if self.weight is not None and block.weight is not None:
            self.weight[rows] = block.weight
        if block.order is not None:
            self._place_order(block.order, rows)
        self.keys.append(block.frame.select(self.fitted.schema.sequence.by_names))
        if context:
            self.own = rows.start if self.context is None else self.own
            self.context = np.zeros(self.count, dtype=bool) if self.context is None else self.context
            self.context[rows] = True
        if noted:
            self.receipt.add(block)

    def _check_order(self, block: Block, problems: Problems) -> None:
        """Note an order column that holds times here and numbers in training or in another table, or the reverse."""
        if block.order is None:
            return
        before, self.timed, clock = self.timed, is_timed(self.fitted.schema, block.frame), self.fitted.clock
        if self.timed != before:  # else it was noted of an earlier block, or of the rows that these lie ahead of
            known = clock.timed if clock is not None else self.timed if before is None else before
            check_timed(self.fitted.schema, block.frame, known, problems)

    def _place(self, name: str, array: np.ndarray | Ragged, rows: slice) -> None:
        if isinstance(array, Ragged):
            self.flat[name].add(array.flat)
            self.lengths[name].add(array.lengths)
            return
        slot = self.slots[name]
        self.packed[slot.dtype][rows, slot.start : slot.stop] = array.reshape(len(array), -1)

    def _place_order(self, order: np.ndarray, rows: slice) -> None:
        if self.order is None:
            self.order = np.empty(self.count, dtype=order.dtype)
        elif self.order.dtype != order.dtype:  # whole numbers in one table, decimal ones in another
            self.order = self.order.astype(np.float64)
        self.order[rows] = order

    def finish(self, problems: Problems) -> Encoded:
        """Sort, and cut into series."""
        series, keys = series_of(pl.concat(self.keys, how="vertical_relaxed") if self.keys else pl.DataFrame())
        self.keys = []
        moved = sorting(series, self.order)
        if moved is not None:
            self._move(moved)
        counts = np.bincount(series, minlength=keys.height) if series is not None else np.array([self.count])
        offsets = np.concatenate(([0], np.cumsum(counts)))
        none = np.zeros(len(counts), dtype=np.int64)
        rows = Rows(offsets, keys, none, self.order, moved, bool(self.timed))
        own = self.count if self.context is None else self.own
        check_unique(rows, self.fitted.schema.sequence, own, problems)
        if self.context is not None:
            mark_context(rows, self.context, problems)
            warn_of_gap(rows, self.fitted.schema.sequence, self.fitted.clock)
        ragged = {n: _ragged(self.flat[n].array, self.lengths[n].array) for n in self.flat}
        if moved is not None:
            ragged = {n: _gathered(r, moved) for n, r in ragged.items()}
        return Encoded(self.packed, self.slots, ragged, self.names, rows, self.raw, self.weight, self.receipt.receipt())

    def _move(self, moved: np.ndarray) -> None:
        # One array after the other, so that only one stands in memory twice.
        for dtype in self.packed:
            self.packed[dtype] = self.packed[dtype][moved]
        for name in self.raw:
            self.raw[name] = self.raw[name][moved]
        self.weight = self.weight[moved] if self.weight is not None else None
        self.order = self.order[moved] if self.order is not None else None
        self.context = self.context[moved] if self.context is not None else None


def _settle(encoded: Encoded, fitted: Fitted, problems: Problems, *, targets: bool) -> None:
    """Columns with one value per series: check that it is one, and give it to the rows that lack it."""
    schema, rows = fitted.schema, encoded.rows
    grouped = isinstance(schema.sequence, Groups)
    if not (grouped or isinstance(schema.sequence, Windows)) or not rows.count:
        return
    names = list(schema.static)
    if grouped and schema.sequence.target_rows and targets:
        names += schema.targets
    if not names:
        return
    series, starts = rows.series(), rows.offsets[:-1]
    for name in names:
        wires = encoded.column(name)
        present = ~schema.columns[name].missing(wires)
        first = np.minimum.reduceat(np.where(present, np.arange(rows.count), rows.count), starts)
        known = np.where(first < rows.count, first, starts)[series]
        differs = np.zeros(rows.count, dtype=bool)
        for full in encoded.names[name]:
            differs |= present & _spread(encoded, full, known)
        if name in encoded.raw:
            encoded.raw[name] = encoded.raw[name][known]
        if differs.any():
            keys = key_text(rows.keys)
            bad = listed(sorted({keys[g] for g in series[differs]}))
            what = "group" if grouped else "series"
            problems.add(
                f"has several values within one {what}" + (f": {bad}" if rows.keys.width else ""),
                column=name,
                remedy="A target of a group needs one value; use per_step=True for one per row"
                if name in schema.targets
                else "Take role='static' away",
            )


def _spread(encoded: Encoded, full: str, known: np.ndarray) -> np.ndarray:
    """Give each row the entries of the wire `full` that row ``known[i]`` has; which rows had others, (N,) bool."""
    wire = encoded.wire(full)
    if not isinstance(wire, Ragged):
        same = (wire[known] == wire).reshape(len(known), -1).all(axis=1)
        wire[...] = wire[known]
        return np.asarray(~same)
    whole = encoded.ragged[full] = _gathered(wire, known)
    differs = np.asarray(wire.lengths != whole.lengths)
    alike = np.flatnonzero(~differs)
    own, new = (r.flat[ranges(r.offsets[:-1][alike], r.lengths[alike])] for r in (wire, whole))
    unequal = (own != new) & ~((own != own) & (new != new))  # NaN is like NaN
    unequal = unequal.any(axis=tuple(range(1, unequal.ndim)))
    differs[np.repeat(alike, wire.lengths[alike])[unequal]] = True
    return differs


def real_targets(encoded: Encoded, fitted: Fitted) -> np.ndarray:
    """Which targets have a value, (N, K) bool."""
    columns: list[tuple[str, Column]] = [(t, fitted.schema.columns[t]) for t in fitted.schema.targets]
    return np.stack([~c.missing(encoded.column(t)) for t, c in columns], axis=1)


def _index(encoded: Encoded, fitted: Fitted, *, training: bool, targets: bool) -> Index:
    sequence = fitted.schema.sequence
    cell = sequence.steps_column
    cells = None
    if cell is not None:
        cells = next(r for n, r in encoded.ragged.items() if n in encoded.names[cell]).lengths
    index = sequence.index(encoded.rows, cells, training=training)
    if not targets or not len(index):
        return index
    real = np.asarray(real_targets(encoded, fitted).any(axis=1))
    if real.all():
        return index
    before = np.zeros(len(real) + 1, dtype=index.start.dtype)
    np.cumsum(real, dtype=before.dtype, out=before[1:])
    stop = index.ahead + (index.targets or index.length)
    return index.keep(before[stop] > before[index.ahead], "no target")


def _none_found(encoded: Encoded, fitted: Fitted, problems: Problems) -> None:
    skipped = encoded.index.skipped
    if skipped:
        reasons = ", ".join(f"{n} for {reason!r}" for reason, n in skipped.items())
        problems.add(f"no sequence is left: {reasons}")
    else:
        sequence = fitted.schema.sequence
        need = f"{sequence.length} + {sequence.horizon} rows" if isinstance(sequence, Windows) else "a row"
        keys, counts = key_text(encoded.rows.keys), np.diff(encoded.rows.offsets) - encoded.rows.context
        named = encoded.rows.keys.width > 0
        has = ", ".join(
            f"series {k!r} has {n}" if named else f"it has {n}" for k, n in list(zip(keys, counts, strict=True))[:5]
        )
        problems.add(
            f"no sequence fits: one needs {need}, {has}", remedy="Give more rows, or the rows before them as context="
        )


class _Growing:
    """An array that grows at its end, in place: the parts and the whole never stand in memory together."""

    def __init__(self, empty: np.ndarray) -> None:
        self.array = empty

    def add(self, more: np.ndarray) -> None:
        """Put `more` (n, *entry) behind what is there."""
        before = len(self.array)
        self.array.resize((before + len(more), *more.shape[1:]), refcheck=False)
        self.array[before:] = more


def _ragged(flat: np.ndarray, lengths: np.ndarray) -> Ragged:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Ragged(flat, offsets)


def _gathered(ragged: Ragged, moved: np.ndarray) -> Ragged:
    lengths = ragged.lengths[moved]
    return _ragged(ragged.flat[ranges(ragged.offsets[:-1][moved], lengths)], lengths)
