"""The contract of a sequence: which rows make one, and how a table splits.

After encoding, rows stand sorted by series and order (`Rows`). A sequence kind turns them into an `Index`: where each
sequence starts, how long it is, and where its target rows begin. Nothing is copied: batches are gathered from it.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
import polars as pl

from inputlayer.columns.base import Where, brief
from inputlayer.errors import OptionError, Problems
from inputlayer.times import NAT, read_times

Size = float | int | str
"""Of a split: a share (float below 1), a number of rows (int), or the time where the part begins (text, date)."""


@dataclass
class Rows:
    """How the encoded rows are ordered.

    offsets (G + 1,): rows ``offsets[g]:offsets[g + 1]`` are series g, in order; keys: a frame of G rows with the `by`
    columns; context (G,): how many of its first rows are look-back only; order (N,) int64 or float64, or None where
    rows keep the table's order; timed: whether order holds times; source (N,): the table's row each came from, or None
    where nothing moved.
    """

    offsets: np.ndarray
    keys: pl.DataFrame
    context: np.ndarray
    order: np.ndarray | None = None
    source: np.ndarray | None = None
    timed: bool = False

    @property
    def count(self) -> int:
        """All rows."""
        return int(self.offsets[-1])

    def series(self) -> np.ndarray:
        """The series of each row, (N,) int64."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


@dataclass
class Index:
    """The sequences: start (S,), length (S,), ahead (S,) the first target row, series (S,), all int32 or int64;
    where all sequences share a value, it may be a view of one number.

    `targets` is how many rows from `ahead` on are targets: the horizon, 1, or 0 for "as many as there are steps".
    `skipped` counts, by reason, the sequences left out.
    """

    start: np.ndarray
    length: np.ndarray
    ahead: np.ndarray
    series: np.ndarray
    targets: int
    skipped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.start)

    def keep(self, mask: np.ndarray, reason: str) -> Index:
        """Only the sequences where `mask` is set; the others are counted under `reason`."""
        if mask.all():
            return self
        skipped = {**self.skipped, reason: self.skipped.get(reason, 0) + int((~mask).sum())}
        count = np.array([mask.sum()])
        length, series = (repeated(a[:1], count) if a.strides == (0,) else a[mask] for a in (self.length, self.series))
        return Index(self.start[mask], length, self.ahead[mask], series, self.targets, skipped)


@dataclass(frozen=True)
class Sequence:
    """Which rows make one sequence. One subclass, in one file, per way."""

    kind: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__repr__ = brief  # type: ignore[method-assign]  # set before @dataclass, which then leaves it alone

    @property
    def order_name(self) -> str | None:
        """The column that orders the rows, where one does."""
        return getattr(self, "order", None)

    @property
    def by_names(self) -> tuple[str, ...]:
        """The columns whose values tell one series (or group) from another."""
        return as_names(getattr(self, "by", None))

    @property
    def steps_column(self) -> str | None:
        """The column whose cell unrolls into steps, where one does."""
        return None

    @property
    def target_rows(self) -> int:
        """Target rows of one sequence: the horizon; 1; or 0 for one per step."""
        return 1

    @property
    def past_targets(self) -> bool:
        """Whether a target's past is an input."""
        return False

    @property
    def fixed_length(self) -> int | None:
        """Steps of every sequence, where they all have the same number."""
        return None

    def index(self, rows: Rows, cells: np.ndarray | None, *, training: bool) -> Index:
        """The sequences among `rows`; `cells` (N,) are the steps in each row's cell, for `Cells`."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """The constructor's arguments that differ from the defaults, as JSON values."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}


def order_values(values: pl.Series, where: Where) -> np.ndarray:
    """The order column -> (rows,) int64 (UTC microseconds for times) or float64; notes what cannot be sorted."""
    dtype = values.dtype
    if dtype.is_temporal() and not isinstance(dtype, pl.Duration | pl.Time):
        numbers = values.dt.cast_time_unit("us") if isinstance(dtype, pl.Datetime) else values.cast(pl.Datetime("us"))
        numbers = numbers.to_physical()
    elif dtype.is_integer() or dtype.is_float():
        numbers = values.fill_nan(None) if dtype.is_float() else values.cast(pl.Int64, strict=False)
    else:
        _note_unordered(values, where)
        return np.arange(len(values))
    if numbers.null_count():
        where.add("has no value, so the row has no place in its series", numbers.is_null().to_numpy(), values)
        numbers = numbers.fill_null(0)
    return numbers.to_numpy()


def _note_unordered(values: pl.Series, where: Where) -> None:
    """Note a column that is neither time nor number; of times that one bad cell made text in a file, the bad cells."""
    if values.dtype == pl.String:
        read = read_times(values, None, Where(where.column, where.first_row, Problems()))
        if read.bad.any() and (read.utc != NAT).any():
            read_times(values, None, where)
            gaps = (read.utc == NAT) & ~read.bad
            where.add("has no value, so the row has no place in its series", gaps, values)
            return
    where.problems.add(
        f"holds {values.dtype}, which is not a time or a number, and so cannot order the rows",
        column=where.column,
        remedy="Add it to the columns as il.Timestamp(), or convert it first",
    )


def positive(option: str, value: int, least: int = 1) -> None:
    """Refuse a count below `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(f"{option}={value!r}: a whole number of at least {least} is needed")


def check_names(order: object, by: object, *, needs_order: bool = False, needs_by: bool = False) -> None:
    """Refuse names of columns that are none, that come twice, or that are too few."""
    if not (isinstance(order, str) or (order is None and not needs_order)):
        raise OptionError(f"order={order!r}: give the name of the column that orders the rows")
    names = (by,) if isinstance(by, str) else by
    if names is None and not needs_by:
        return
    if not isinstance(names, tuple) or not names or not all(isinstance(n, str) for n in names):
        raise OptionError(f"by={by!r}: give the name of a column, or several")
    if len({*names, order}) < len(names) + 1:
        raise OptionError(f"by={by!r} names a column twice, or the one that orders the rows")


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Join the ranges ``starts[i] .. starts[i] + counts[i]``.

    >>> ranges(np.array([0, 10]), np.array([2, 3])).tolist()
    [0, 1, 10, 11, 12]
    """
    total = int(counts.sum())
    firsts = np.repeat(starts - np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
    return firsts + np.arange(total)


def repeated(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`np.repeat`; of a single value, a view that takes no memory.

    >>> repeated(np.array([4]), np.array([3])).tolist()
    [4, 4, 4]
    """
    return np.broadcast_to(values, counts) if len(values) == 1 else np.repeat(values, counts)


def as_names(by: str | Many[str] | None) -> tuple[str, ...]:
    """One name or several, as a tuple."""
    return () if by is None else (by,) if isinstance(by, str) else tuple(by)
