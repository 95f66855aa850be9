"""Groups: all rows that share the `by` values are one sequence, of their own length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from inputlayer.sequence.base import Index, Rows, Sequence, check_names, positive


@dataclass(frozen=True)
class Groups(Sequence):
    """One sequence per group of rows.

    Parameters
    ----------
    by
        The column, or columns, whose values name the group.
    order
        The column that orders the rows of a group; without one they keep the table's order.
    per_step
        Whether every row has a target of its own, rather than the group one. A prediction then has a line for each row,
        and in ``row`` its number in the table, from 0.
    max_length
        Keep only the last so many rows of a longer group.

    Examples
    --------
    >>> Groups("session", order="time", max_length=200).by_names
    ('session',)
    """

    kind: ClassVar[str] = "groups"

    by: str | tuple[str, ...]
    order: str | None = None
    per_step: bool = False
    max_length: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.by, list):
            object.__setattr__(self, "by", tuple(self.by))
        check_names(self.order, self.by, needs_by=True)
        if self.max_length is not None:
            positive("max_length", self.max_length)

    @property
    def target_rows(self) -> int:
        return 0 if self.per_step else 1

    def index(self, rows: Rows, cells: np.ndarray | None, *, training: bool) -> Index:
        first, last = rows.offsets[:-1], rows.offsets[1:]
        start = first if self.max_length is None else np.maximum(first, last - self.max_length)
        return Index(start, last - start, start, np.arange(len(first)), self.target_rows)
