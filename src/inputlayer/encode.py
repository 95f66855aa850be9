"""Encoding: a table through the fitted half into wires, rows sorted by series and order, and the sequences among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl

from inputlayer.blocks import Block, accepted
from inputlayer.columns.base import Column, DType, Ragged, Where, Wires, wire_name
from inputlayer.errors import Problems
from inputlayer.fit import Fitted, is_timed
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
    ragged: wires with a number of entries of their own per row; raw: targets in raw units (N,) float64, where kept;
    weight (N,) float32 or None; receipt: of the rows that are no context.
    """

    packed: dict[DType, np.ndarray]
    slots: dict[str, Slot]
    ragged: dict[str, Ragged]
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
        names = [n for n in [*self.slots, *self.ragged] if n == name or n.startswith(f"{name}.")]
        return {n[len(name) + 1 :]: self.wire(n) for n in names}


def encode(
    fitted: Fitted,
    table: Table,
    context: Sequence[Table] = (),
    *,
    targets: bool = True,
    raw: bool = False,
    training: bool = False,
    checked: bool = True,
) -> Encoded:
    """Encode `table`, with `context` tables as look-back only.

    Parameters
    ----------
    targets
        Whether target columns are read where they are no input.
    raw
        Whether to keep the targets' raw values, for scores.
    training
        Whether the sequences are for training (`stride`, weights).
    checked
        Whether it is an error that no sequence is found.

    Raises
    ------
    TableError
        With every problem of the tables.
    """
    sequence = fitted.schema.sequence
    refuse(bool(context) and not isinstance(sequence, Windows), "context has no effect: only Windows look back")
    problems = Problems()
    writer = _Writer(fitted, sum(t.height for t in (table, *context)), targets=targets, raw=raw, training=training)
    for i, part in enumerate((table, *context)):
        for block in accepted(
            fitted.schema, part, problems, targets=targets, weight=training, title="Encoding the table"
        ):
            writer.add(block, problems, context=i > 0)
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

    def __init__(self, fitted: Fitted, count: int, *, targets: bool, raw: bool, training: bool) -> None:
        self.fitted, self.count, self.at = fitted, count, 0
        schema = fitted.schema
        self.columns = {n: schema.columns[n] for n in schema.columns if targets or n in schema.inputs}
        self.slots: dict[str, Slot] = {}
        self.flat: dict[str, list[np.ndarray]] = {}
        self.lengths: dict[str, list[np.ndarray]] = {}
        widths: dict[DType, int] = {}
        for name, column in self.columns.items():
            for suffix, wire in column.wires(fitted.states[name]).items():
                full = wire_name(name, suffix)
                if wire.ragged:
                    self.flat[full], self.lengths[full] = [], []
                    continue
                start = widths.get(wire.dtype, 0)
                widths[wire.dtype] = start + int(np.prod(wire.shape, dtype=int))
                self.slots[full] = Slot(wire.dtype, start, widths[wire.dtype], wire.shape)
        self.packed: dict[DType, np.ndarray] = {d: np.empty((count, w), dtype=d) for d, w in widths.items()}
        kept = [t for t in schema.targets if raw and schema.columns[t].kind == "number"]
        self.raw = {t: np.empty(count) for t in kept}
        self.weight = np.empty(count, dtype=np.float32) if training and schema.weight is not None else None
        self.order: np.ndarray | None = None
        self.keys: list[pl.DataFrame] = []
        self.context = np.zeros(count, dtype=bool)
        self.receipt = ReceiptWriter(schema)
        self.timed = False

    def add(self, block: Block, problems: Problems, *, context: bool) -> None:
        schema, stop = self.fitted.schema, self.at + block.frame.height
        rows = slice(self.at, stop)
        for name, column in self.columns.items():
            column.check(block.values[name], self.fitted.states[name], Where(name, block.first_row, problems))
            if problems:
                continue  # nothing will come of this table but the message
            for suffix, array in column.encode(block.values[name], self.fitted.states[name]).items():
                self._place(wire_name(name, suffix), array, rows)
        for name, array in self.raw.items():
            array[rows] = block.values[name]
        if self.weight is not None:
            self.weight[rows] = block.frame[schema.weight].cast(pl.Float32).fill_null(0.0).to_numpy()
        if block.order is not None:
            if self.order is None:
                self.order = np.empty(self.count, dtype=block.order.dtype)
            self.order[rows] = block.order
            self.timed = is_timed(schema, block)
        self.keys.append(block.frame.select(schema.sequence.by_names))
        self.context[rows] = context
        if not context:
            self.receipt.add(block)
        self.at = stop

    def _place(self, name: str, array: np.ndarray | Ragged, rows: slice) -> None:
        if isinstance(array, Ragged):
            self.flat[name].append(array.flat)
            self.lengths[name].append(array.lengths)
            return
        slot = self.slots[name]
        self.packed[slot.dtype][rows, slot.start : slot.stop] = array.reshape(len(array), -1)

    def finish(self, problems: Problems) -> Encoded:
        """Sort, and cut into series."""
        series, keys = self._series()
        moved = self._sorting(series)
        if moved is not None:
            self._move(moved)
            series = series[moved] if series is not None else None
        counts = np.bincount(series, minlength=keys.height) if series is not None else np.array([self.count])
        offsets = np.concatenate(([0], np.cumsum(counts)))
        rows = Rows(offsets, keys, np.zeros(len(counts), dtype=np.int64), self.order, moved, self.timed)
        _check_order(rows, self.fitted, problems)
        self._mark_context(rows, problems)
        ragged = {n: _joined(self.flat[n], self.lengths[n]) for n in self.flat}
        if moved is not None:
            ragged = {n: _gathered(r, moved) for n, r in ragged.items()}
        return Encoded(self.packed, self.slots, ragged, rows, self.raw, self.weight, self.receipt.receipt())

    def _series(self) -> tuple[np.ndarray | None, pl.DataFrame]:
        by = list(self.fitted.schema.sequence.by_names)
        if not by or not self.keys:
            return None, pl.DataFrame(height=1)
        frame = pl.concat(self.keys, how="vertical_relaxed")
        self.keys = []
        keys = frame.unique().sort(by)
        found = frame.join(keys.with_row_index("_series"), on=by, how="left", maintain_order="left", nulls_equal=True)
        return found["_series"].to_numpy().astype(np.int64), keys

    def _sorting(self, series: np.ndarray | None) -> np.ndarray | None:
        """The order of rows by series and order column, or None where they stand so already."""
        columns = [c for c in (self.order, series) if c is not None]  # np.lexsort: the last is the first to sort by
        if not columns or self.count < 2:
            return None
        step = [np.diff(c) for c in columns]
        later = step[0] >= 0 if len(columns) == 1 else (step[1] > 0) | ((step[1] == 0) & (step[0] >= 0))
        return None if later.all() else np.lexsort(columns)

    def _move(self, moved: np.ndarray) -> None:
        self.packed = {d: a[moved] for d, a in self.packed.items()}
        self.raw = {n: a[moved] for n, a in self.raw.items()}
        self.weight = self.weight[moved] if self.weight is not None else None
        self.order = self.order[moved] if self.order is not None else None
        self.context = self.context[moved]

    def _mark_context(self, rows: Rows, problems: Problems) -> None:
        if not self.context.any():
            return
        rows.context = np.add.reduceat(self.context, rows.offsets[:-1]).astype(np.int64)
        place = np.arange(rows.count) - np.repeat(rows.offsets[:-1], np.diff(rows.offsets))
        late = self.context & (place >= np.repeat(rows.context, np.diff(rows.offsets)))
        if late.any():
            names = key_text(rows.keys)
            series = sorted({names[g] for g in rows.series()[late]})
            problems.add(
                f"{int(late.sum())} rows of the context do not lie before the table's own rows"
                + (f", in series {', '.join(map(repr, series[:5]))}" if series != [""] else ""),
                remedy="A context is what came before: cut the tables with il.split",
            )


def _check_order(rows: Rows, fitted: Fitted, problems: Problems) -> None:
    """Note rows of one series that share a value of the order column: their order would be chance."""
    if rows.order is None or rows.count < 2:
        return
    same = np.zeros(rows.count, dtype=bool)
    same[1:] = rows.order[1:] == rows.order[:-1]
    same[rows.offsets[:-1][rows.offsets[:-1] < rows.count]] = False
    at = np.flatnonzero(same)
    if len(at):
        source = rows.source[at] if rows.source is not None else at
        name = fitted.schema.sequence.order_name
        by = fitted.schema.sequence.by_names
        shown = rows.order[at[:5]].tolist()
        values = [str(pl.Series([v]).cast(pl.Datetime("us"))[0]) for v in shown] if rows.timed else shown
        problems.add(
            "has the same value twice in one series",
            column=name,
            rows=source.tolist(),
            values=values,
            remedy="Drop the repeated rows"
            + ("" if by else ", or name the column that tells the series apart: by=..."),
        )


def _settle(encoded: Encoded, fitted: Fitted, problems: Problems, *, targets: bool) -> None:
    """Columns with one value per series: check that it is one, and give it to the rows that lack it."""
    schema, rows = fitted.schema, encoded.rows
    grouped = isinstance(schema.sequence, Groups)
    if not (grouped or isinstance(schema.sequence, Windows)) or not rows.count:
        return
    names = [n for n in schema.static if not encoded.column(n) == {}]
    if grouped and schema.sequence.target_rows and targets:
        names += [t for t in schema.targets]
    series, starts = rows.series(), rows.offsets[:-1]
    for name in names:
        wires = encoded.column(name)
        present = ~schema.columns[name].missing(wires)
        first = np.minimum.reduceat(np.where(present, np.arange(rows.count), rows.count), starts)
        known = np.where(first < rows.count, first, starts)[series]
        differs = np.zeros(rows.count, dtype=bool)
        for wire in wires.values():
            if isinstance(wire, Ragged):
                continue
            same = wire[known] == wire
            differs |= present & ~same.reshape(rows.count, -1).all(axis=1)
            wire[...] = wire[known]
        if name in encoded.raw:
            encoded.raw[name] = encoded.raw[name][known]
        if differs.any():
            keys = key_text(rows.keys)
            bad = sorted({keys[g] for g in series[differs]})
            shown = ", ".join(map(repr, bad[:5])) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
            problems.add(
                f"has several values within one {'group' if grouped else 'series'}: {shown}",
                column=name,
                remedy="A target of a group needs one value; use per_step=True for one per row"
                if name in schema.targets
                else "Take role='static' away",
            )


def real_targets(encoded: Encoded, fitted: Fitted) -> np.ndarray:
    """Which targets have a value, (N, K) bool."""
    columns: list[tuple[str, Column]] = [(t, fitted.schema.columns[t]) for t in fitted.schema.targets]
    return np.stack([~c.missing(encoded.column(t)) for t, c in columns], axis=1)


def _index(encoded: Encoded, fitted: Fitted, *, training: bool, targets: bool) -> Index:
    sequence = fitted.schema.sequence
    cell = sequence.steps_column
    cells = None
    if cell is not None:
        cells = next(r for n, r in encoded.ragged.items() if n == cell or n.startswith(f"{cell}.")).lengths
    index = sequence.index(encoded.rows, cells, training=training)
    if not targets or not len(index):
        return index
    before = np.concatenate(([0], np.cumsum(real_targets(encoded, fitted).any(axis=1))))
    stop = index.ahead + (index.targets or index.length)
    return index.keep(before[stop] > before[index.ahead], "no target")


def _none_found(encoded: Encoded, fitted: Fitted, problems: Problems) -> None:
    skipped = encoded.index.skipped
    if not encoded.rows.count:
        problems.add("the table has no rows")
    elif skipped:
        reasons = ", ".join(f"{n} for {reason!r}" for reason, n in skipped.items())
        problems.add(f"no sequence is left: {reasons}")
    else:
        sequence = fitted.schema.sequence
        need = f"{sequence.length} + {sequence.horizon} rows" if isinstance(sequence, Windows) else "a row"
        keys, counts = key_text(encoded.rows.keys), np.diff(encoded.rows.offsets) - encoded.rows.context
        has = ", ".join(
            f"series {k!r} has {n}" if k else f"it has {n}" for k, n in list(zip(keys, counts, strict=True))[:5]
        )
        problems.add(
            f"no sequence fits: one needs {need}, {has}", remedy="Give more rows, or the rows before them as context="
        )


def _joined(flat: list[np.ndarray], lengths: list[np.ndarray]) -> Ragged:
    counts = np.concatenate(lengths) if lengths else np.zeros(0, dtype=np.int64)
    return Ragged(np.concatenate(flat), np.concatenate(([0], np.cumsum(counts))))


def _gathered(ragged: Ragged, moved: np.ndarray) -> Ragged:
    lengths = ragged.lengths[moved]
    flat = ragged.flat[ranges(ragged.offsets[:-1][moved], lengths)]
    return Ragged(flat, np.concatenate(([0], np.cumsum(lengths))))
