"""Windows: every run of `length` rows of a series is a sequence, the `horizon` rows after it are its target."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import numpy as np
import polars as pl

from inputlayer.errors import OptionError
from inputlayer.sequence.base import Index, Rows, Sequence, check_names, positive, repeated


@dataclass(frozen=True)
class Windows(Sequence):
    """Sliding windows over one or many series.

    Parameters
    ----------
    order
        The column that orders the rows: time, integer or float. It need not be among the schema's columns; then it only
        sorts.
    length
        Look-back, in rows.
    horizon
        Rows predicted after it. 0: the target is that of the window's last row.
    by
        The column, or columns, that tell one series from another.
    stride
        Rows from one training window to the next. Evaluation always uses every window.
    max_gap
        Windows over a larger step of the order column are dropped and counted: a number in the units of the column,
        or for times a `timedelta` or a text such as ``"2h"`` or ``"1d"``.
    pad_short
        Whether windows that would begin before a series does are kept, shorter.

    Examples
    --------
    >>> Windows("date", length=336, horizon=96, by="site").target_rows
    96
    """

    kind: ClassVar[str] = "windows"

    order: str
    length: int
    horizon: int = 1
    by: str | tuple[str, ...] | None = None
    stride: int = 1
    max_gap: float | str | timedelta | None = None
    pad_short: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.by, list):
            object.__setattr__(self, "by", tuple(self.by))
        check_names(self.order, self.by, needs_order=True)
        positive("length", self.length)
        positive("horizon", self.horizon, 0)
        positive("stride", self.stride)
        if self.max_gap is not None and self.gap_limit(timed=isinstance(self.max_gap, str | timedelta)) <= 0:
            raise OptionError(f"max_gap={self.max_gap!r}: a positive step is needed")

    @property
    def target_rows(self) -> int:
        return max(self.horizon, 1)

    @property
    def past_targets(self) -> bool:
        return self.horizon > 0

    @property
    def fixed_length(self) -> int | None:
        return None if self.pad_short else self.length

    def gap_limit(self, *, timed: bool) -> float:
        """`max_gap` in the units of the encoded order column (microseconds for times)."""
        gap = self.max_gap
        if isinstance(gap, str):
            try:
                gap = _duration(gap)
            except (ValueError, pl.exceptions.PolarsError):
                raise OptionError(
                    f"max_gap={self.max_gap!r} is no duration. Write it as '90s', '15m', '2h', '1d'"
                ) from None
        if isinstance(gap, timedelta):
            return gap / timedelta(microseconds=1)
        if timed:
            raise OptionError(f"max_gap={gap!r}: the order column holds times, so give a duration such as '2h'")
        return float(gap) if gap is not None else np.inf

    def index(self, rows: Rows, cells: np.ndarray | None, *, training: bool) -> Index:
        first, last = rows.offsets[:-1], rows.offsets[1:]
        # More than there are rows is as good as any such number, and fits the small integers below.
        length, horizon = min(self.length, rows.count + 1), self.horizon
        # `end` is one past the look-back; with a horizon the target starts there, without one it is the row before.
        lead = 0 if horizon else 1
        least = 1 if self.pad_short else length
        low = np.maximum(first + least, first + rows.context + lead)
        high = last - horizon
        stride = min(self.stride, rows.count + 1) if training else 1
        counts = np.maximum(0, (high - low) // stride + 1)
        # A million windows: as int64 these four arrays would be as large as a table of eight numbers.
        whole = np.int32 if rows.count < 2**31 else np.int64
        series = repeated(np.arange(len(first), dtype=whole), counts)
        end: np.ndarray = np.arange(len(series), dtype=whole)
        end -= (np.cumsum(counts) - counts).astype(whole)[series]  # the number of the window in its series
        end *= stride
        end += low.astype(whole)[series]
        start = end - whole(length)
        if self.pad_short:
            np.maximum(start, first.astype(whole)[series], out=start)
            lengths = end - start
        else:
            lengths = repeated(np.array([length], dtype=whole), np.array([len(end)]))
        index = Index(start, lengths, end - whole(lead) if lead else end, series, self.target_rows)
        return self._drop_gaps(index, rows)

    def _drop_gaps(self, index: Index, rows: Rows) -> Index:
        if self.max_gap is None or rows.order is None or not len(index):
            return index
        wide = np.zeros(rows.count + 1, dtype=index.start.dtype)
        limit = self.gap_limit(timed=rows.timed)
        wide[1:-1] = np.diff(rows.order) > limit
        wide[rows.offsets] = 0  # the step from one series to the next is none
        before = np.cumsum(wide, dtype=wide.dtype, out=wide)
        stop = index.ahead + self.target_rows
        return index.keep(before[stop - 1] == before[index.start], "gap")

    def options(self) -> dict[str, Any]:
        given = super().options()
        if isinstance(given.get("max_gap"), timedelta):
            given["max_gap"] = f"{given['max_gap'].total_seconds():g}s"
        return {"order": self.order, **given}


def _duration(text: str) -> timedelta:
    """'2h' -> timedelta.

    >>> _duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    start = pl.Series([0]).cast(pl.Datetime("us"))
    moved = start.dt.offset_by(text)
    step = moved.to_physical()[0]
    return timedelta(microseconds=int(step))
