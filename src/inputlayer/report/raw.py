"""What the raw data looks like: each column's values, in one pass over the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from inputlayer.columns.base import Ragged, Where
from inputlayer.encode import Encoded
from inputlayer.errors import Problems
from inputlayer.report.histogram import Histogram
from inputlayer.schema import Schema
from inputlayer.statistics import Counts
from inputlayer.table import Table
from inputlayer.times import NAT, wall

_COMMON = 10  # values told


@dataclass
class _Seen:
    """What is known of one column's cells so far; a kind fills what fits it."""

    numbers: Histogram = field(default_factory=Histogram)
    values: Counts = field(default_factory=lambda: Counts({}))
    zone: str | None = None


def _numbers(seen: _Seen, cells: np.ndarray | Ragged) -> None:
    seen.numbers = seen.numbers.merge(Histogram.of(cells.flat if isinstance(cells, Ragged) else cells))


def _times(seen: _Seen, cells: Any) -> None:
    seen.numbers = seen.numbers.merge(Histogram.of(cells.utc[cells.utc != NAT]))
    seen.zone = cells.zone


def _values(seen: _Seen, cells: pl.Series) -> None:
    seen.values = seen.values.merge(Counts.of(cells))


def _flags(seen: _Seen, cells: np.ndarray) -> None:
    _values(seen, pl.Series(cells).replace_strict([1, 2], ["false", "true"], default=None, return_dtype=pl.String))


_LOOKS: dict[str, Callable[[_Seen, Any], None]] = {
    "number": _numbers,
    "vector": _numbers,
    "series": _numbers,
    "timestamp": _times,
    "category": _values,
    "flag": _flags,
}
"""How to take in the accepted cells of a kind. Of other kinds only the number of steps in a cell is told."""


def raw_data(schema: Schema, table: Table, encoded: Encoded) -> dict[str, dict[str, Any]]:
    """By column: `numbers`, a histogram; or the commonest values.

    A histogram of times counts microseconds since 1970, and its `times` are its least and greatest, and where the cells
    begin and end, on the clock of the column's zone. `common` holds up to ten values with their counts, `values` is how
    many different ones there are; `steps` is a histogram of the steps in a cell, of kinds whose cells hold several.
    What a column does not have is None. Missing cells count nowhere. `encoded` is the same table, after it.
    """
    read = {n: c for n, c in schema.columns.items() if n in table.columns and c.kind in _LOOKS}
    seen = {n: _Seen() for n in read}
    for frame in table.blocks(list(read)) if read else ():
        for name, column in read.items():
            # Nothing is wrong with these cells: they have been encoded before.
            cells = column.accept(frame[name], Where(name, 0, Problems()))
            _LOOKS[column.kind](seen[name], cells)
    return {n: _told(seen.get(n), _steps(encoded, n), timed=c.kind == "timestamp") for n, c in schema.columns.items()}


def _told(seen: _Seen | None, steps: Histogram, *, timed: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"numbers": None, "common": None, "values": None, "steps": steps.to_dict()}
    if seen is None:
        return told
    told["numbers"] = numbers = seen.numbers.to_dict()
    if timed and numbers is not None:
        end = numbers["low"] + numbers["width"] * len(numbers["counts"])
        ends = [numbers["min"], numbers["max"], max(numbers["low"], numbers["min"]), min(end, numbers["max"])]
        numbers["times"] = [_time(int(utc), seen.zone) for utc in ends]
    if seen.values.values:
        common = seen.values.ordered(max_size=_COMMON)
        told |= {"common": [list(pair) for pair in common.items()], "values": len(seen.values.values)}
    return told


def _time(utc: int, zone: str | None) -> str:
    """A time to the minute, and to the day where that says all."""
    clock = datetime(1970, 1, 1) + timedelta(microseconds=int(wall(np.array([utc]), zone)[0]))
    return clock.isoformat(sep=" ", timespec="minutes").removesuffix(" 00:00")


def _steps(encoded: Encoded, name: str) -> Histogram:
    """The steps in each cell, where cells hold several."""
    for wire in encoded.column(name).values():
        if isinstance(wire, Ragged):
            return Histogram.of(wire.lengths)
    return Histogram()
