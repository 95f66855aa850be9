"""Histograms of numbers that come block by block: exact counts, whatever the range turns out to be."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_CELLS = 16_384  # kept at most
_DRAWN = 40  # of which are told at most
_TAIL = 0.001  # the share at each end that may be left out where it would squeeze all the rest
_DIGITS = 50  # a cell's number fits a double, and so an int64


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many numbers lie in each of up to 16,384 cells, and their range.

    Cells are ``[i * 2**power, (i + 1) * 2**power)``, as narrow as the range allows. Where it grows, pairs of cells
    become one, so that the counts stay exact, and do not depend on how the numbers were cut into blocks.

    >>> both = Histogram.of(np.array([0.0, 1.0, 1.5])).merge(Histogram.of(np.array([1e6])))
    >>> both.count, both.minimum, both.maximum, int(both.counts[0])
    (4, 0.0, 1000000.0, 3)
    """

    power: int = 0
    first: int = 0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    minimum: float = math.inf
    maximum: float = -math.inf

    @classmethod
    def of(cls, x: np.ndarray) -> Histogram:
        """Count one block `x`, of any shape; what is not finite is left out."""
        x = np.asarray(x, dtype=np.float64).ravel()
        finite = np.isfinite(x)
        x = x if finite.all() else x[finite]
        if not len(x):
            return cls()
        low, high = float(x.min()), float(x.max())
        power = _power(low, high)
        at = np.floor(np.ldexp(x, -power)).astype(np.int64)
        first = int(at.min())
        return cls(power, first, np.bincount(at - first), low, high)

    def merge(self, other: Histogram) -> Histogram:
        """The histogram of both."""
        if not self.count or not other.count:
            return self if self.count else other
        low, high = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        power = _power(low, high)
        first = math.floor(math.ldexp(low, -power))
        counts = np.zeros(math.floor(math.ldexp(high, -power)) - first + 1, dtype=np.int64)
        for one in (self, other):
            begin, coarse = one._coarser(power - one.power)
            counts[begin - first : begin - first + len(coarse)] += coarse
        return Histogram(power, first, counts, low, high)

    @property
    def count(self) -> int:
        """How many numbers were counted."""
        return int(self.counts.sum())

    def _coarser(self, by: int) -> tuple[int, np.ndarray]:
        """The first cell and the counts, with `by` more halvings of the number of cells."""
        cells = (self.first + np.arange(len(self.counts))) >> min(by, 63)
        return int(cells[0]), np.bincount(cells - cells[0], weights=self.counts).astype(np.int64)

    def to_dict(self) -> dict[str, Any] | None:
        """As JSON values, or None of no numbers: at most 40 cells from `low` on, each `width` wide, and their `counts`.

        Where up to 0.1 % at an end would squeeze all the rest into a quarter, they are left out of the cells, and
        `below` and `above` say how many they are; `count`, `min` and `max` are those of all numbers.
        """
        if not self.count:
            return None
        before = np.cumsum(self.counts)
        share = before / before[-1]
        start, stop = int(np.searchsorted(share, _TAIL, "right")), int(np.searchsorted(share, 1 - _TAIL)) + 1
        if 4 * (stop - start) > len(self.counts):
            start, stop = 0, len(self.counts)
        kept = Histogram(self.power, self.first + start, self.counts[start:stop])
        by = 0
        while (kept.first + stop - start - 1 >> by) - (kept.first >> by) >= _DRAWN:
            by += 1
        first, counts = kept._coarser(by)
        width = math.ldexp(1.0, self.power + by)
        return {
            "count": self.count,
            "min": self.minimum,
            "max": self.maximum,
            "low": first * width,
            "width": width,
            "counts": counts.tolist(),
            "below": int(self.counts[:start].sum()),
            "above": int(self.counts[stop:].sum()),
        }


def _power(low: float, high: float) -> int:
    """The smallest power of two whose cells number `_CELLS` at most from `low` to `high`."""
    largest = math.frexp(max(abs(low), abs(high)))[1]
    span = math.frexp(high / 2 - low / 2)[1] + 1  # halves, because the whole may be infinite
    power = max(span - _CELLS.bit_length(), largest - _DIGITS)
    while math.floor(math.ldexp(high, -power)) - math.floor(math.ldexp(low, -power)) >= _CELLS:
        power += 1
    return power
