"""Windows as plain arrays: past and horizon of the targets, and what linear models see of all numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from inputlayer.encode import Encoded
from inputlayer.fit import Fitted
from inputlayer.receipt import key_text
from inputlayer.seasons import Calendar
from inputlayer.sequence import Windows

_CHUNK = 1 << 21  # numbers gathered at a time


class Past:
    """Gathers windows of numbers. Targets are in units of their training spread, from their training mean.

    Parameters
    ----------
    fitted
        Of a schema of Windows with a horizon, whose targets are numbers.
    levels
        (G + 1, K) the mean of each training series in the receipt's order, and 0 for others; None: taken as 0.
    calendar
        What is taken off the targets beside it, for deviations.
    targets
        The numbers of the targets to look at; None: all.
    """

    def __init__(
        self,
        fitted: Fitted,
        levels: np.ndarray | None = None,
        calendar: Calendar | None = None,
        targets: Sequence[int] | None = None,
    ) -> None:
        schema = fitted.schema
        assert isinstance(schema.sequence, Windows)
        self.fitted = fitted
        self.length, self.horizon = schema.sequence.length, schema.horizon
        kept = range(len(schema.targets)) if targets is None else targets
        self.targets = tuple(schema.targets[k] for k in kept)
        self.levels = levels[:, kept] if levels is not None and len(levels) else None
        self.calendar = None if calendar is None else calendar.of(kept)
        states: list[Any] = [fitted.states[t] for t in self.targets]
        self.mean = np.array([s.mean for s in states])
        self.spread = np.array([s.spread for s in states])
        numbers = [n for n in schema.steps if schema.columns[n].kind == "number"]
        self.others = [n for n in numbers if n not in self.targets]
        self.known = [n for n in schema.future if n in self.others]
        # A target may be no input, and then its past is nobody's to use.
        self.seen = [k for k, t in enumerate(self.targets) if t in schema.past_targets]
        self._series: tuple[Encoded, np.ndarray] | None = None

    @property
    def all_seen(self) -> bool:
        """Whether the past of every target is an input."""
        return len(self.seen) == len(self.targets)

    @property
    def width(self) -> int:
        """Inputs of a model of all numbers."""
        return self.length * (len(self.seen) + len(self.others)) + self.horizon * len(self.known)

    def scaled(self, encoded: Encoded, rows: np.ndarray) -> np.ndarray:
        """The targets at `rows` (...): (..., K) float64, NaN where missing."""
        return _once(rows, lambda at: self._scaled(encoded, at))

    def _scaled(self, encoded: Encoded, rows: np.ndarray) -> np.ndarray:
        found = np.empty((*rows.shape, len(self.targets)))
        for k, name in enumerate(self.targets):
            if name in encoded.raw:
                raw = encoded.raw[name][rows]
            else:
                wire = encoded.wire(name)
                assert isinstance(wire, np.ndarray)
                raw = self.fitted.schema.columns[name].back(wire[rows], self.fitted.states[name])
            found[..., k] = (raw - self.mean[k]) / self.spread[k]
        return found

    def raw(self, scaled: np.ndarray) -> np.ndarray:
        """Undo the units: (..., K)."""
        back: np.ndarray = scaled * self.spread + self.mean
        return back

    def rows(self, encoded: Encoded, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the windows `chosen` (B,), (B, length), the last one at the end, and which of them are real."""
        start, length = encoded.index.start[chosen], encoded.index.length[chosen]
        at = (start + length)[:, None] + np.arange(-self.length, 0)
        real = at >= start[:, None]
        return np.where(real, at, start[:, None]), real

    def ahead(self, encoded: Encoded, chosen: np.ndarray) -> np.ndarray:
        """The rows of the horizon, (B, H)."""
        rows: np.ndarray = encoded.index.ahead[chosen][:, None] + np.arange(self.horizon)
        return rows

    def window(self, encoded: Encoded, chosen: np.ndarray) -> np.ndarray:
        """The targets' past, less what is usual, (B, length, K), NaN where missing."""
        at, real = self.rows(encoded, chosen)
        return np.where(real[..., None], self.deviations(encoded, at), np.nan)

    def deviations(self, encoded: Encoded, rows: np.ndarray) -> np.ndarray:
        """The targets at `rows` (...), less what is usual: (..., K), NaN where missing."""
        return _once(rows, lambda at: np.asarray(self._scaled(encoded, at) - self._usual(encoded, at)))

    def usual(self, encoded: Encoded, rows: np.ndarray) -> np.ndarray:
        """What series and calendar let expect at `rows` (...): (..., K), in the targets' units."""
        return _once(rows, lambda at: self._usual(encoded, at))

    def _usual(self, encoded: Encoded, rows: np.ndarray) -> np.ndarray:
        usual = np.zeros((*rows.shape, len(self.targets)))
        if self.levels is not None:
            usual += self.levels[self.series(encoded, rows)]
        if self.calendar is not None:
            assert encoded.rows.order is not None
            usual += self.calendar.at(encoded.rows.order[rows])
        return usual

    def series(self, encoded: Encoded, rows: np.ndarray) -> np.ndarray:
        """The place in `levels` of the series of each row; the last one, which is 0, for those training never saw."""
        if self._series is None or self._series[0] is not encoded:
            place = {key: i for i, key in enumerate(self.fitted.receipt.keys)}
            unknown = len(place)
            self._series = encoded, np.array([place.get(key, unknown) for key in key_text(encoded.rows.keys)])
        return np.asarray(self._series[1][np.searchsorted(encoded.rows.offsets, rows, side="right") - 1])

    def own(self, encoded: Encoded, chosen: np.ndarray) -> np.ndarray:
        """The targets' past for linear models, (K, B, length), without NaN: gaps are bridged."""
        return np.stack([filled(x) for x in np.moveaxis(self.window(encoded, chosen), -1, 0)])

    def all(self, encoded: Encoded, chosen: np.ndarray) -> np.ndarray:
        """The past of all numbers, and what is known of the horizon, (B, width), without NaN."""
        at, real = self.rows(encoded, chosen)
        parts = list(self.own(encoded, chosen)[self.seen]) if self.seen else []
        parts += [filled(np.where(real, self._other(encoded, n, at), np.nan)) for n in self.others]
        later = self.ahead(encoded, chosen)
        parts += [filled(self._other(encoded, n, later)) for n in self.known]
        return np.concatenate(parts, axis=1)

    def _other(self, encoded: Encoded, name: str, rows: np.ndarray) -> np.ndarray:
        """A number that is no target, as the network gets it, from its training mean."""
        wire = encoded.wire(name)
        state: Any = self.fitted.states[name]
        assert isinstance(wire, np.ndarray)
        found: np.ndarray = wire[rows].astype(np.float64) - state.scale.mean(state.seen)
        return found

    def chunks(self, chosen: np.ndarray) -> Iterator[np.ndarray]:
        """Cut the windows `chosen` so that little is gathered at once."""
        size = max(1, _CHUNK // (self.width + self.horizon * len(self.targets)))
        for first in range(0, len(chosen), size):
            yield chosen[first : first + size]


def _once(rows: np.ndarray, values: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """``values(rows)``; where windows overlap, each row is worked out once."""
    if not rows.size:
        return values(rows)
    low, high = int(rows.min()), int(rows.max()) + 1
    return values(np.arange(low, high))[rows - low] if high - low < rows.size else values(rows)


def filled(x: np.ndarray) -> np.ndarray:
    """`x` (B, n) with its gaps on the line between their neighbours, or held at the ends; 0 where a row has no value.

    >>> filled(np.array([[np.nan, 1.0, np.nan, 3.0, np.nan]])).tolist()
    [[1.0, 1.0, 2.0, 3.0, 3.0]]
    """
    real = ~np.isnan(x)
    if real.all():
        return x
    at, end = np.arange(x.shape[1]), x.shape[1]
    before = np.maximum.accumulate(np.where(real, at, -1), axis=1)
    after = np.minimum.accumulate(np.where(real, at, end)[:, ::-1], axis=1)[:, ::-1]
    low = np.clip(np.where(before < 0, after, before), 0, end - 1)
    high = np.clip(np.where(after == end, before, after), 0, end - 1)
    start, stop = (np.take_along_axis(x, place, axis=1) for place in (low, high))
    line = start + (stop - start) * (at - low) / np.maximum(high - low, 1)
    return np.where(np.isnan(line), 0.0, line)


def last_real(x: np.ndarray) -> np.ndarray:
    """The last real value along axis 1 of `x` (B, n, K): (B, K), 0 where there is none.

    >>> last_real(np.array([[[1.0], [2.0], [np.nan]]])).tolist()
    [[2.0]]
    """
    real = ~np.isnan(x)
    at = np.where(real, np.arange(x.shape[1])[:, None], 0).max(axis=1)
    found = np.take_along_axis(x, at[:, None, :], axis=1)[:, 0]
    return np.where(np.isnan(found), 0.0, found)


def one_period_before(x: np.ndarray, period: int, horizon: int) -> np.ndarray:
    """The values of `x` (B, n, K) whole periods before each step of the horizon, the latest real ones: (B, H, K).

    >>> x = np.array([[[1.0], [2.0], [np.nan], [4.0]]])
    >>> one_period_before(x, 2, 3)[..., 0].tolist()
    [[1.0, 4.0, 1.0]]
    """
    length = x.shape[1]
    at = length + np.arange(horizon) % period - period
    found = x[:, at]
    while (at >= period).any() and np.isnan(found).any():
        at = np.where(at >= period, at - period, at)
        found = np.where(np.isnan(found), x[:, at], found)
    return np.where(np.isnan(found), last_real(x)[:, None], found)
