"""Cells: every row is a sample of its own; one column's cell may hold its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from inputlayer.sequence.base import Index, Rows, Sequence


@dataclass(frozen=True)
class Cells(Sequence):
    """One sequence per row.

    Parameters
    ----------
    steps
        The column whose cell unrolls into steps (words, audio frames, picture rows, a list of numbers). The other
        columns then hold one value for the whole sequence. Without it a row is a sequence of one step.

    Examples
    --------
    >>> Cells(steps="review").steps_column
    'review'
    """

    kind: ClassVar[str] = "cells"

    steps: str | None = None

    @property
    def steps_column(self) -> str | None:
        return self.steps

    @property
    def fixed_length(self) -> int | None:
        return 1 if self.steps is None else None

    def index(self, rows: Rows, cells: np.ndarray | None, *, training: bool) -> Index:
        ahead = np.arange(rows.count)
        length = np.ones(rows.count, dtype=np.int64) if cells is None else cells.astype(np.int64)
        start = ahead if cells is None else np.cumsum(length) - length
        return Index(start, length, ahead, ahead, 1)
