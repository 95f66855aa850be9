"""A whole sequence in a row of numbers: what a linear model sees where the steps have no fixed place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from inputlayer.columns.base import Ragged
from inputlayer.encode import Encoded
from inputlayer.fit import Fitted
from inputlayer.sequence import Index
from inputlayer.sequence.base import ranges

_STEPS = 1 << 19  # steps pooled at a time
_NUMBERS = 1_500  # numbers of a sequence at most
_CODES = 64  # codes of a category that are counted, the most frequent first
_STATISTICS = ("mean", "last", "spread", "minimum", "maximum")


class Pooled:
    """Turns sequences of encoded rows into rows of numbers.

    Per number (columns Number, the channels of Series): mean, last, standard deviation, minimum and maximum over its
    real steps, or as many of these as fit in 1,500 numbers; per Category and Flag the share of steps of each code, and
    the last step's; the logarithm of the number of steps where it varies. Static columns count as one step.
    """

    def __init__(self, fitted: Fitted, *, per_step: bool = False) -> None:
        schema = fitted.schema
        steps = {n: schema.columns[n].kind for n in schema.steps}
        static = {n: schema.columns[n].kind for n in schema.static}
        self.fitted = fitted
        # With a target of its own, a step is judged by itself.
        self.single = per_step or schema.sequence.fixed_length == 1
        self.uneven = not per_step and schema.sequence.fixed_length is None
        # The steps of a series are rows of numbers where they are the sequence's, and no others.
        cell = schema.sequence.steps_column
        self.numbers = [n for n, kind in steps.items() if kind == "number" or (kind == "series" and n == cell)]
        self.codes = [n for n, kind in steps.items() if kind in ("category", "flag")]
        self.static_numbers = [n for n, kind in static.items() if kind == "number"]
        self.static_codes = [n for n, kind in static.items() if kind in ("category", "flag")]

    @property
    def names(self) -> list[str]:
        """The columns that can be pooled."""
        return [*self.numbers, *self.codes, *self.static_numbers, *self.static_codes]

    @property
    def empty(self) -> bool:
        """Whether no column can be pooled."""
        return not self.names

    def __call__(self, encoded: Encoded, start: np.ndarray, length: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Sequences of steps ``start .. start + length`` (S,), static columns in `row` (S,) -> (S, F) float64.

        NaN where a sequence has no real step.
        """
        cuts = list(_chunks(length))
        parts = [self._pool(encoded, start[c], length[c], row[c]) for c in cuts]
        return np.concatenate(parts) if parts else self._pool(encoded, start, length, row)

    def _pool(self, encoded: Encoded, start: np.ndarray, length: np.ndarray, row: np.ndarray) -> np.ndarray:
        rows = ranges(start, length)
        sequence = np.repeat(np.arange(len(start)), length)
        parts = [np.log1p(length.astype(np.float64))[:, None]] if self.uneven else []
        if self.numbers:
            x = np.concatenate([_numbers(encoded, n)[rows] for n in self.numbers], axis=1).astype(np.float64)
            parts += self._statistics(x, sequence, len(start))
        for name in self.codes:
            codes = _codes(encoded, name)
            parts.append(_shares(codes[rows], sequence, len(start), self._size(name)))
            if not self.single:
                some = np.flatnonzero(length)
                parts.append(_shares(codes[(start + length - 1)[some]], some, len(start), self._size(name)))
        parts += [_numbers(encoded, n)[row].astype(np.float64) for n in self.static_numbers]
        for name in self.static_codes:
            parts.append(_shares(_codes(encoded, name)[row], np.arange(len(row)), len(row), self._size(name)))
        return np.concatenate(parts, axis=1)

    def _statistics(self, x: np.ndarray, sequence: np.ndarray, count: int) -> list[np.ndarray]:
        if self.single:
            return [x]
        fitting = max(1, _NUMBERS // x.shape[1])
        found = statistics(x, sequence, count)
        return [found[s] for s in _STATISTICS[:fitting]]

    def _size(self, name: str) -> int:
        known = len(self.fitted.schema.columns[name].classes(self.fitted.states[name])) + 2
        return min(known, _CODES, max(3, _NUMBERS // len(self.codes + self.static_codes)))


def statistics(x: np.ndarray, sequence: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Statistics (count, C) over the real steps of `x` (R, C); `sequence` (R,) ascending says which each belongs to.

    >>> found = statistics(np.array([[1.0], [3.0], [np.nan]]), np.array([0, 0, 2]), 3)
    >>> found["mean"].ravel().tolist(), found["last"].ravel().tolist()
    ([2.0, nan, nan], [3.0, nan, nan])
    """
    width = x.shape[1]
    empty = np.full((count, width), np.nan)
    if not len(x):
        return dict.fromkeys(_STATISTICS, empty)
    held, starts = np.unique(sequence, return_index=True)
    real = ~np.isnan(x)
    n = np.add.reduceat(real, starts, dtype=np.float64)
    some = n > 0
    n = np.where(some, n, np.nan)
    mean = np.add.reduceat(np.where(real, x, 0.0), starts) / n
    place = np.searchsorted(held, sequence)
    square = np.add.reduceat(np.where(real, np.square(x - mean[place]), 0.0), starts) / n
    at = np.maximum.reduceat(np.where(real, np.arange(len(x))[:, None], 0), starts)
    found = {
        "mean": mean,
        "last": np.where(some, np.take_along_axis(x, at, axis=0), np.nan),
        "spread": np.sqrt(square),
        "minimum": np.where(some, np.minimum.reduceat(np.where(real, x, np.inf), starts), np.nan),
        "maximum": np.where(some, np.maximum.reduceat(np.where(real, x, -np.inf), starts), np.nan),
    }
    for name, values in found.items():
        whole = empty.copy()
        whole[held] = values
        found[name] = whole
    return found


def target_rows(index: Index) -> tuple[np.ndarray, np.ndarray]:
    """The sequence and the row of each training target."""
    count = index.length if not index.targets else np.full(len(index), index.targets)
    first = index.start if not index.targets else index.ahead
    return np.repeat(np.arange(len(index)), count), ranges(first, count)


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and inverse spread of each column of `x` (S, F), NaN aside; 0 for the inverse spread of a constant."""
    real = ~np.isnan(x)
    count = np.maximum(real.sum(axis=0), 1)
    mean = np.where(real, x, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(real, np.square(x - mean), 0.0).sum(axis=0) / count)
    varies = spread > 1e-7 * (1.0 + np.abs(mean))
    return mean, np.where(varies, 1.0 / np.where(varies, spread, 1.0), 0.0)


def standard(x: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Pooled numbers in training units: the mean where there is none, and no further than training can judge."""
    z = (x - inputs[0]) * inputs[1]
    return np.clip(np.where(np.isnan(z), 0.0, z), -10.0, 10.0)


def _shares(codes: np.ndarray, sequence: np.ndarray, count: int, size: int) -> np.ndarray:
    """The share of each sequence's steps with each code, (count, size); rarer codes than are counted are left out."""
    kept = codes < size
    cells = sequence[kept] * size + codes[kept]
    counts = np.bincount(cells, minlength=count * size).reshape(count, size).astype(np.float64)
    steps = np.bincount(sequence, minlength=count)
    return np.asarray(counts / np.maximum(steps, 1)[:, None])


def _numbers(encoded: Encoded, name: str) -> np.ndarray:
    wire = next(iter(encoded.column(name).values()))
    array = wire.flat if isinstance(wire, Ragged) else wire
    return array.reshape(len(array), -1)


def _codes(encoded: Encoded, name: str) -> np.ndarray:
    wire = encoded.wire(name)
    assert isinstance(wire, np.ndarray)
    return wire.astype(np.int64)


def _chunks(length: np.ndarray) -> Iterator[slice]:
    """Cut sequences so that each part has about as many steps as fit."""
    ends = np.cumsum(length)
    first = 0
    while first < len(length):
        before = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, before + _STEPS, side="right")), first + 1)
        yield slice(first, last)
        first = last
