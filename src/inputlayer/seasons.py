"""What repeats: the calendar's cycles in training targets, and the period after which a series is most like itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

_HOUR = 3_600_000_000  # microseconds
_DAY = 24 * _HOUR
_BLOCK = 65_536
_HARMONICS = 6  # waves of the year's curve, at most
_PRIOR = 2.0  # a cell of the week is drawn towards the hour's mean as if by so many rows


@dataclass(frozen=True)
class Calendar:
    """Training means by calendar cell, to be added up: of the day of the year (smoothed), and of the hour or weekday.

    Parameters
    ----------
    zone
        The time zone whose calendar counts; None for UTC or naive times.
    year
        (366, K) the deviation from the series' mean by day of the year; (0, K) where it is not used.
    cells
        (C, K) what is left by cell: C is 24 (hour of the day), 168 (weekday x hour), 7 (weekday) or 0 (not used).

    Examples
    --------
    >>> calendar = Calendar(None, np.zeros((0, 1)), np.arange(24.0)[:, None])
    >>> calendar.at(np.array([0, 5 * 3_600_000_000])).tolist()
    [[0.0], [5.0]]
    """

    zone: str | None
    year: np.ndarray
    cells: np.ndarray

    @property
    def empty(self) -> bool:
        """Whether no cycle was found."""
        return not len(self.year) and not len(self.cells)

    def at(self, order: np.ndarray) -> np.ndarray:
        """The deviations from the series' mean at times `order` (...) int64, microseconds UTC: (..., K) float64."""
        local = local_time(order.reshape(-1), self.zone)
        found = np.zeros((len(local), self.year.shape[1]))
        if len(self.year):
            found += self.year[yearday(local)]
        if len(self.cells):
            found += self.cells[week_cell(local, len(self.cells))]
        return found.reshape(*order.shape, -1)

    def of(self, targets: Sequence[int]) -> Calendar:
        """That of some of the targets."""
        return Calendar(self.zone, self.year[:, targets], self.cells[:, targets])


def learn_calendar(
    order: np.ndarray, deviations: Callable[[slice], np.ndarray], step: float, zone: str | None
) -> Calendar:
    """Learn the cycles that span and step of the data allow.

    Parameters
    ----------
    order
        (N,) int64, microseconds UTC, of all training rows.
    deviations
        Rows -> (n, K) float64, targets less their series' mean, in units in which targets compare; NaN is missing.
    step
        The usual step from row to row, in microseconds.

    The day of the year needs a year of data. Its mean is a sum of a few waves, which errs less than a running mean does
    (Narapusetty, DelSole and Tippett, "Optimal estimation of the climatological mean", 2009). Hours need steps below a
    day; weekdays two weeks of data. Which of hour, weekday x hour, or none is used is tried out: the means of each half
    of the rows on the other half.
    """
    blocks = [slice(a, a + _BLOCK) for a in range(0, len(order), _BLOCK)]
    span = float(order.max() - order.min())
    width = deviations(slice(0, 1)).shape[1]
    none = np.zeros((0, width))
    year = none
    if span >= 365 * _DAY:
        first, length = order.min(), 365.2425 * _DAY
        count = max(1, int(span / length))  # what is over belongs to the last year

        def of_year(rows: slice) -> np.ndarray:
            years: np.ndarray = np.minimum(((order[rows] - first) / length).astype(np.int64), count - 1)
            return years

        year = _smooth_year(_sums(_each(order, zone, blocks), yearday, deviations, 366, of_year, count))
    left = Calendar(zone, year, none)

    def residual(rows: slice) -> np.ndarray:
        return np.asarray(deviations(rows) - left.at(order[rows]))

    sizes = [24] if step <= _DAY / 2 else []
    if span >= 14 * _DAY and step <= 1.5 * _DAY:
        sizes.append(168 if sizes else 7)
    best, cells = 0.0, none
    middle = float(np.median(order))
    for size in sizes:
        halves = _sums(
            _each(order, zone, blocks),
            lambda local, size=size: week_cell(local, size),  # type: ignore[misc]
            residual,
            size,
            lambda rows: np.asarray(order[rows] > middle),
            2,
        )
        # A target that the cells do not help goes without.
        gain = np.maximum(_gain(halves), 0.0)
        if gain.sum() > best:
            best, cells = float(gain.sum()), np.where(gain > 0, _means(halves.sum(axis=0)), 0.0)
    return Calendar(zone, year, cells)


def local_time(order: np.ndarray, zone: str | None) -> np.ndarray:
    """Microseconds UTC -> microseconds of the wall clock in `zone`."""
    if zone is None or zone == "UTC":
        return order
    times = pl.Series(order).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
    wall: np.ndarray = times.dt.replace_time_zone(None).to_physical().to_numpy()
    return wall


def yearday(local: np.ndarray) -> np.ndarray:
    """The day of the year, from 0.

    >>> yearday(np.array([0, 86_400_000_000 * 365])).tolist()
    [0, 0]
    """
    days = (local // _DAY).astype("datetime64[D]")
    found: np.ndarray = (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64)
    return found


def week_cell(local: np.ndarray, size: int) -> np.ndarray:
    """The hour (24 cells), the weekday from Monday (7), or both (168, the weekday's hours together).

    >>> week_cell(np.array([0, 3_600_000_000]), 168).tolist()
    [72, 73]
    """
    hour, weekday = local // _HOUR % 24, (local // _DAY + 3) % 7  # 1970 began on a Thursday
    cell: np.ndarray = hour if size == 24 else weekday if size == 7 else weekday * 24 + hour
    return cell


def _each(order: np.ndarray, zone: str | None, blocks: list[slice]) -> Iterator[tuple[slice, np.ndarray]]:
    for rows in blocks:
        yield rows, local_time(order[rows], zone)


def _sums(
    blocks: Iterator[tuple[slice, np.ndarray]],
    cell: Callable[[np.ndarray], np.ndarray],
    values: Callable[[slice], np.ndarray],
    size: int,
    part: Callable[[slice], np.ndarray],
    parts: int,
) -> np.ndarray:
    """Counts and sums of `values` by part of the data and cell, (parts, 2, size, K)."""
    total: np.ndarray | None = None
    for rows, local in blocks:
        y = values(rows)
        at = cell(local) + part(rows) * size
        found = np.zeros((2, size * parts, y.shape[1]))
        for k in range(y.shape[1]):
            real = ~np.isnan(y[:, k])
            found[0, :, k] = np.bincount(at[real], minlength=found.shape[1])
            found[1, :, k] = np.bincount(at[real], weights=y[real, k], minlength=found.shape[1])
        total = found if total is None else total + found
    assert total is not None
    return np.asarray(total.reshape(2, parts, size, -1).transpose(1, 0, 2, 3))


def _waves(harmonics: int) -> np.ndarray:
    """Sines and cosines of the day of the year, (366, 1 + 2 harmonics), the first a constant."""
    turn = 2 * np.pi * np.arange(366) / 365.2425
    waves = [f(k * turn) for k in range(1, harmonics + 1) for f in (np.sin, np.cos)]
    return np.stack([np.ones(366), *waves], axis=1)


def _curve(sums: np.ndarray, harmonics: int) -> np.ndarray:
    """The least-squares curve (366, K) through the days' means."""
    count, total = sums
    waves = _waves(harmonics)
    curve = np.empty_like(total)
    for k in range(total.shape[1]):
        # A trace of a penalty, for days that leave a wave open: twelve of them, in monthly data.
        products = waves.T @ (count[:, k, None] * waves) + 1e-6 * (1.0 + count[:, k].sum()) * np.eye(waves.shape[1])
        curve[:, k] = waves @ np.linalg.solve(products, waves.T @ total[:, k])
    return np.asarray(curve)


def _smooth_year(years: np.ndarray) -> np.ndarray:
    """The year's curve from counts and sums by year (Y, 2, 366, K); how many waves is tried out on left-out years."""
    whole = years.sum(axis=0)
    if len(years) < 2:
        return _curve(whole, 2)
    tried = range(1, _HARMONICS + 1)
    gains = np.array([sum(_gained(_curve(whole - year, h), year).sum() for year in years) for h in tried])
    if gains.max() <= 0:
        return np.zeros((0, whole.shape[2]))
    # The fewest waves that do about as well as the best: a chance difference is no reason for a rougher curve.
    return _curve(whole, 1 + int(np.argmax(gains >= 0.99 * gains.max())))


def _gained(means: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """By how much `means` (C, K) lower the squared error (K,) of values with counts and sums (2, C, K)."""
    count, total = sums
    return np.asarray((2 * means * total - count * means**2).sum(axis=0))


def _means(sums: np.ndarray) -> np.ndarray:
    """Means by cell (C, K), those of weekday x hour drawn towards those of the hour."""
    count, total = sums
    prior = np.zeros_like(total)
    if len(total) == 168:
        hours = sums.reshape(2, 7, 24, -1).sum(axis=1)
        prior = np.tile(hours[1] / np.maximum(hours[0], 1), (7, 1))
    return np.asarray((total + _PRIOR * prior) / (count + _PRIOR))


def _gain(halves: np.ndarray) -> np.ndarray:
    """By how much the squared error of each target (K,) falls if each half is predicted by the means of the other."""
    # Of each half its own mean is taken off first: a level that drifts says nothing about the cycle.
    first, second = (np.stack([n, total - n * total.sum(axis=0) / np.maximum(n.sum(axis=0), 1)]) for n, total in halves)
    return np.asarray(_gained(_means(second), first) + _gained(_means(first), second))


def likely_periods(step: float | None, x: np.ndarray, longest: int) -> list[int]:
    """Periods in rows, 2 .. `longest`, worth a try: day, week and year, and where the autocorrelation peaks.

    Parameters
    ----------
    step
        Microseconds from row to row if the order column holds regular times.
    x
        (n,) consecutive training values of one series, NaN where missing.
    """
    found = []
    for cycle in (_DAY, 7 * _DAY, 365 * _DAY):
        if step and cycle % step == 0:
            found.append(int(cycle / step))
    peak = _peak(x, longest)
    return sorted({p for p in [*found, *([peak] if peak else [])] if 2 <= p <= longest})


def _peak(x: np.ndarray, longest: int) -> int:
    """The lag at which the autocorrelation has its highest local maximum, 0 if none stands out from chance."""
    real = ~np.isnan(x)
    longest = min(longest, len(x) // 3)
    if real.sum() < 8 or longest < 3:
        return 0
    x = np.where(real, x - x[real].mean(), 0.0)
    size = 1 << (2 * len(x) - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(x, size)) ** 2
    r = np.fft.irfft(spectrum, size)[: longest + 2]
    if r[0] <= 0:
        return 0
    r = r / r[0]
    lags = np.arange(2, longest + 1)
    peaks = lags[(r[lags] > r[lags - 1]) & (r[lags] >= r[lags + 1]) & (r[lags] > 2 / np.sqrt(real.sum()))]
    return int(peaks[r[peaks].argmax()]) if len(peaks) else 0
