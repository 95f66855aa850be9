"""Rows of plain cells -> wires, without a table: a table of one row costs more than a network does.

Where a cell is not plain (see plain.py), or a kind is not known here, there is no answer, and the rows are read as any
table is. So this file may lack a kind; what it has is held to `accept` and `encode` by a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from inputlayer import plain
from inputlayer.codes import FIRST, MISSING, UNSEEN
from inputlayer.columns.base import Ragged, wire_name
from inputlayer.columns.category import Category, CategoryState
from inputlayer.columns.flag import FALSE, Flag
from inputlayer.columns.number import Number, spellings
from inputlayer.columns.timestamp import Timestamp, TimestampState
from inputlayer.fit import Fitted
from inputlayer.times import NAT, Times

_LARGEST = float(np.finfo(np.float32).max)

Wired = dict[str, np.ndarray]
Row = Mapping[str, Any]
Cells = Sequence[Any]


class Quick:
    """Reads the columns `names` of rows, with the one that orders them; those of `by` must not be missing."""

    def __init__(self, fitted: Fitted, names: Iterable[str], by: Sequence[str] = ()) -> None:
        schema, names = fitted.schema, list(names)
        sequence = schema.sequence
        columns = {name: (schema.columns[name], fitted.states[name]) for name in names}
        self._numbers = Numbers({n: pair for n, pair in columns.items() if isinstance(pair[0], Number)})
        self._order, self._by = sequence.order_name, tuple(by)
        clock = fitted.clock
        self._timed = None if clock is None else clock.timed
        self._others = {n: _reader(n, *pair) for n, pair in columns.items() if not isinstance(pair[0], Number)}
        self._order_time = self._order if isinstance(schema.columns.get(str(self._order)), Timestamp) else None
        self._form: str | None = getattr(schema.columns.get(str(self._order)), "format", None)
        self.able = all(self._others.values())

    def __call__(self, rows: Sequence[Row]) -> tuple[list[float], Wired] | None:
        """Order and wires of `rows`, (N, *entry); None if they have to be read as a table."""
        if not self.able:
            return None
        try:
            order = self._orders(rows)
            found = self._numbers(rows)
            if order is None or found is None or any(row[n] is None for row in rows for n in self._by):
                return None
            for name, read in self._others.items():
                wires = read([row[name] for row in rows]) if read is not None else None
                if wires is None:
                    return None
                found |= wires
        except KeyError:  # a column is missing
            return None
        return order, found

    def _orders(self, rows: Sequence[Row]) -> list[float] | None:
        """Numbers to sort by; none where no column orders the rows."""
        if self._order is None:
            return []
        cells = [row[self._order] for row in rows]
        kinds = set(map(type, cells))
        if self._order_time is None and kinds <= {int, float} and self._timed is not True:
            return cells if all(-np.inf < c < np.inf for c in cells) else None
        found = None if self._form is not None else plain.times(cells)
        if found is None or self._timed is False or (self._order_time is None and str in kinds):
            return None
        return None if NAT in found[0] else found[0].tolist()


class Numbers:
    """All number columns at once."""

    def __init__(self, columns: Mapping[str, tuple[Any, Any]]) -> None:
        self.names, pairs = list(columns), list(columns.values())
        scales = [state.scale for _, state in pairs]
        affine = [scale.name not in ("log", "quantile") for scale in scales]
        self.center = np.array([s.center if a else 0.0 for s, a in zip(scales, affine, strict=True)])
        self.spread = np.array([s.spread if a else 1.0 for s, a in zip(scales, affine, strict=True)])
        self.curved = [(i, s) for i, (s, a) in enumerate(zip(scales, affine, strict=True)) if not a]
        self.sentinels = [(i, spellings(column.sentinels)) for i, (column, _) in enumerate(pairs) if column.sentinels]

    def __call__(self, rows: Sequence[Row]) -> Wired | None:
        """Wires of `rows`, with the same bits as `Number.encode` gives."""
        x = plain.numbers([row[name] for row in rows for name in self.names])
        if x is None:
            return None
        x = x.reshape(len(rows), len(self.names))
        for i, marks in self.sentinels:
            x[np.isin(x[:, i], marks), i] = np.nan
        z = (x - self.center) / self.spread
        z = np.minimum(np.maximum(z, -_LARGEST), _LARGEST).astype(np.float32)
        for i, scale in self.curved:
            z[:, i] = scale.forward(x[:, i])
        return {name: z[:, i] for i, name in enumerate(self.names)}


def _reader(name: str, column: Any, state: Any) -> Callable[[Cells], Wired | None] | None:
    """What reads one column; None for a kind that is not known here."""
    if isinstance(column, Category):
        return _category(name, state)
    if isinstance(column, Flag):
        return lambda cells: None if (x := plain.flags(cells)) is None else {name: (x + FALSE).astype(np.uint8)}
    if isinstance(column, Timestamp) and column.format is None:
        return lambda cells: _times(name, column, state, cells)
    return None


def _category(name: str, state: CategoryState) -> Callable[[Cells], Wired | None]:
    codes: dict[Any, int] = {value: FIRST + i for i, value in enumerate(state.vocabulary)}
    codes |= {None: MISSING, "": MISSING} if state.text else {None: MISSING}
    plain_cells = plain.words if state.text else plain.whole

    def read(cells: Cells) -> Wired | None:
        if plain_cells(cells) is None:
            return None
        return {name: np.array([codes.get(cell, UNSEEN) for cell in cells], np.int32)}

    return read


def _times(name: str, column: Timestamp, state: TimestampState, cells: Cells) -> Wired | None:
    found = plain.times(cells)
    if found is None or found[1] not in (None, state.zone is not None):
        return None
    utc, zoned = found
    wires = column.encode(Times(utc, "UTC" if zoned else None, np.zeros(len(utc), bool)), state)
    return {wire_name(name, suffix): wire for suffix, wire in wires.items() if not isinstance(wire, Ragged)}
