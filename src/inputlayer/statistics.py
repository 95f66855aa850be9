"""Statistics that are gathered block by block and merged: moments, counts, quantiles, the step of a clock.

Each has ``of(block)``, which counts one block, and ``merge(other)``, which returns the statistic of both and changes
neither. All merges here are exact: how blocks are grouped has no say in the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import polars as pl

_HELD = 2**19  # values a Sample keeps at most; it halves at need, so never fewer than about 2**18
_ALL = 2**64  # every hash lies below this threshold


@dataclass(frozen=True)
class Moments:
    """Count, mean, spread and range of numbers.

    Within a block, deviations from the block's mean are summed in double precision, after a shift that keeps a spread
    of 1e-3 around a mean of 1e9 (the corrected two-pass algorithm of Chan, Golub and LeVeque, "Algorithms for computing
    the sample variance", 1983). Between blocks their update formula would lose digits with each merge, so the sums of x
    and of x squared are kept as exact rationals: one block costs microseconds, and no cancellation is left.

    >>> moments = Moments.of(np.array([1.0, 2.0])).merge(Moments.of(np.array([6.0])))
    >>> moments.count, moments.mean, moments.spread
    (3, 3.0, 2.160246899469287)
    """

    count: int = 0
    total: Fraction = Fraction(0)
    squares: Fraction = Fraction(0)
    minimum: float = math.inf
    maximum: float = -math.inf

    @classmethod
    def of(cls, x: np.ndarray) -> Moments:
        """Count one block `x` (rows,) float64; raises ValueError if a value is NaN or infinite."""
        if not len(x):
            return cls()
        low, high = float(x.min()), float(x.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"moments need finite numbers, not values from {low} to {high}")
        size = math.frexp(max(abs(low), abs(high)))[1]
        if abs(size) > 400:  # the squares would leave the range of doubles; a power of two changes no digit
            x = np.ldexp(x, -size)
        else:
            size = 0
        # Held between the extremes, for a rounded mean would give a constant block a spread.
        shift = min(max(float(x.mean()), math.ldexp(low, -size)), math.ldexp(high, -size))
        deviation = x - shift
        # NumPy's pairwise sums, not a BLAS dot: that one splits by the number of threads.
        first, second = Fraction(float(deviation.sum())), Fraction(float(np.square(deviation).sum()))
        center, n, scale = Fraction(shift), len(x), Fraction(2) ** size
        squares = second + 2 * center * first + n * center * center
        return cls(n, (first + n * center) * scale, squares * scale * scale, low, high)

    def merge(self, other: Moments) -> Moments:
        """The moments of both."""
        return Moments(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    @property
    def mean(self) -> float:
        """The mean; NaN of no values."""
        return float(self.total / self.count) if self.count else math.nan

    @property
    def spread(self) -> float:
        """The population standard deviation, 0 of a constant; NaN of no values."""
        if not self.count:
            return math.nan
        variance = self.squares / self.count - (self.total / self.count) ** 2
        if variance <= 0:
            return 0.0
        # The root of a variance that is itself too large or too small for a double.
        half = (variance.numerator.bit_length() - variance.denominator.bit_length()) // 2
        return math.ldexp(math.sqrt(variance / Fraction(4) ** half), half)


@dataclass(frozen=True)
class Counts:
    """How often each value occurs; missing values are not counted.

    >>> counts = Counts.of(pl.Series(["b", "a", None, "b"])).merge(Counts.of(pl.Series(["c", "a"])))
    >>> counts.ordered()
    {'a': 2, 'b': 2, 'c': 1}
    >>> list(counts.ordered(min_count=2, max_size=1))
    ['a']
    """

    values: dict[str | int, int]

    @classmethod
    def of(cls, values: pl.Series) -> Counts:
        """Count one block `values` (rows,) of strings, integers or booleans."""
        counts = values.drop_nulls().rename("value").value_counts(name="count")
        return cls(dict(zip(counts["value"].to_list(), counts["count"].to_list(), strict=True)))

    def merge(self, other: Counts) -> Counts:
        """The counts of both."""
        merged = self.values.copy()
        for value, count in other.values.items():
            merged[value] = merged.get(value, 0) + count
        return Counts(merged)

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self.values.values())

    def ordered(self, min_count: int = 1, max_size: int | None = None) -> dict[str | int, int]:
        """At most `max_size` values seen at least `min_count` times, most frequent first, ties by value."""
        kept = [(value, count) for value, count in self.values.items() if count >= min_count]
        kept.sort(key=lambda item: (-item[1], item[0]))
        return dict(kept[:max_size])


@dataclass(frozen=True, eq=False)
class Sample:
    """Quantiles of numbers, exact up to 100,000 rows.

    Beyond 2**19 values, those are kept whose row number hashes below a threshold, which is halved until they fit: a
    uniform sample that depends on nothing but which rows there are. With at least about 2**18 values kept, the rank
    error stays below 0.5 % (Dvoretzky, Kiefer and Wolfowitz, with Massart's constant, 1990: odds of 1 in 200,000).

    >>> Sample.of(np.array([4.0, 1.0, 3.0]), np.array([0, 1, 2])).quantiles([0.0, 0.5, 1.0])
    array([1., 3., 4.])
    """

    values: np.ndarray
    hashes: np.ndarray
    threshold: int = _ALL

    @classmethod
    def of(cls, x: np.ndarray, rows: np.ndarray) -> Sample:
        """Take one block `x` (rows,) float64, without NaN, with the number of each row, `rows` (rows,) int64."""
        return cls._fitting(x, splitmix64(rows), _ALL)

    def merge(self, other: Sample) -> Sample:
        """The sample of both."""
        threshold = min(self.threshold, other.threshold)
        values = np.concatenate([self._below(threshold)[0], other._below(threshold)[0]])
        hashes = np.concatenate([self._below(threshold)[1], other._below(threshold)[1]])
        return self._fitting(values, hashes, threshold)

    @property
    def exact(self) -> bool:
        """Whether every row is held."""
        return self.threshold == _ALL

    def quantiles(self, q: Sequence[float] | np.ndarray) -> np.ndarray:
        """The quantiles at `q` (n,) between 0 and 1, linear between neighbours; (n,) float64, NaN of no values."""
        if not len(self.values):
            return np.full(len(q), math.nan)
        return np.asarray(np.quantile(self.values, q), dtype=np.float64)

    def _below(self, threshold: int) -> tuple[np.ndarray, np.ndarray]:
        if threshold == self.threshold:
            return self.values, self.hashes
        kept = self.hashes < np.uint64(threshold)
        return self.values[kept], self.hashes[kept]

    @classmethod
    def _fitting(cls, values: np.ndarray, hashes: np.ndarray, threshold: int) -> Sample:
        while len(values) > _HELD:
            threshold //= 2
            kept = hashes < np.uint64(threshold)
            values, hashes = values[kept], hashes[kept]
        return cls(values, hashes, threshold)


def splitmix64(numbers: np.ndarray) -> np.ndarray:
    """Hash integers (n,) to uniform uint64.

    After Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.

    >>> splitmix64(np.array([0, 1]))
    array([16294208416658607535, 10451216379200822465], dtype=uint64)
    """
    z: np.ndarray = numbers.astype(np.int64, copy=False).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    return z


@dataclass(frozen=True)
class Clock:
    """Range and step of a time column in integer units.

    `step` is the largest span that divides every difference between two of the times (their greatest common divisor),
    so an hourly column with holes still has a step of an hour; it is 0 while all times are equal.

    >>> clock = Clock.of(np.array([30, 10])).merge(Clock.of(np.array([70])))
    >>> clock.minimum, clock.maximum, clock.step, clock.count
    (10, 70, 20, 3)
    """

    count: int = 0
    minimum: int = 0
    maximum: int = 0
    step: int = 0

    @classmethod
    def of(cls, t: np.ndarray) -> Clock:
        """Take one block `t` (rows,) int64, in any order."""
        if not len(t):
            return cls()
        low, high = int(t.min()), int(t.max())
        # Unsigned, because the differences of int64 times need 64 bits themselves.
        since = t.astype(np.int64).view(np.uint64) - np.array(low, dtype=np.int64).view(np.uint64)
        step = int(np.gcd.reduce(since[:64]))
        if step:
            since = since % np.uint64(step)
        off = since[since != 0]  # nearly always empty: a division costs less than a divisor
        step = math.gcd(step, int(np.gcd.reduce(off))) if len(off) else step
        return cls(len(t), low, high, step)

    def merge(self, other: Clock) -> Clock:
        """The clock of both."""
        if not self.count or not other.count:
            return self if self.count else other
        return Clock(
            self.count + other.count,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            math.gcd(self.step, other.step, self.minimum - other.minimum),
        )
