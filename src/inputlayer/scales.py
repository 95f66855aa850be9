"""How numbers are scaled: learnt from the training rows, applied in double precision, undone, and written as ONNX.

The scales, x being a raw number and everything counted on training rows only:

    standard   (x - mean) / standard deviation
    minmax     (x - minimum) / (maximum - minimum)
    robust     (x - median) / interquartile range
    log        standard, of sign(x) log(1 + |x|)
    quantile   x's place among at most 1,000 training quantiles, as a uniform variable of mean 0 and variance 1
    none       x
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from inputlayer.errors import Problems
from inputlayer.statistics import Moments, Sample

if TYPE_CHECKING:
    from inputlayer.graph import Graph

ScaleName = Literal["standard", "minmax", "robust", "quantile", "log", "none"]
SCALES: tuple[str, ...] = get_args(ScaleName)
MAX_KNOTS = 1_000
_SAMPLED = ("robust", "quantile")
# A uniform variable on [-QUANTILE_LIMIT, QUANTILE_LIMIT] has mean 0 and variance 1.
QUANTILE_LIMIT = 3.0**0.5
_EMPTY_RANGE = 1e-6  # of the standard deviation
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Seen:
    """The numbers of the training rows in a few: how many there were and were missing, and raw moments."""

    count: int
    missing: int
    mean: float
    spread: float
    minimum: float
    maximum: float

    @property
    def constant(self) -> bool:
        """Whether all values were the same."""
        return self.minimum == self.maximum


@dataclass(frozen=True)
class Gathered:
    """What one block of numbers gives towards a `Scale`; mergeable."""

    scale: str
    missing: int
    moments: Moments
    logged: Moments | None
    sample: Sample | None

    @classmethod
    def of(cls, x: np.ndarray, rows: np.ndarray, scale: str, *, sample: bool = False) -> Self:
        """Gather the numbers `x` (n,), NaN being missing, of the rows numbered `rows` (n,) int64.

        A sample for quantiles is kept where the scale needs one, or `sample` asks for it.
        """
        real = ~np.isnan(x)
        kept, at = (x, rows) if real.all() else (x[real], rows[real])
        return cls(
            scale=scale,
            missing=len(x) - len(kept),
            moments=Moments.of(kept),
            logged=Moments.of(signed_log(kept)) if scale == "log" else None,
            sample=Sample.of(kept, at) if sample or scale in _SAMPLED else None,
        )

    def merge(self, other: Self) -> Self:
        """Both blocks, `self` being the earlier."""
        return type(self)(
            scale=self.scale,
            missing=self.missing + other.missing,
            moments=self.moments.merge(other.moments),
            logged=self.logged.merge(other.logged) if self.logged and other.logged else None,
            sample=self.sample.merge(other.sample) if self.sample and other.sample else None,
        )

    def seen(self) -> Seen:
        """The raw numbers in a few; zeros if there were none."""
        m = self.moments
        if m.count == 0:
            return Seen(0, self.missing, 0.0, 0.0, 0.0, 0.0)
        return Seen(m.count, self.missing, float(m.mean), float(m.spread), float(m.minimum), float(m.maximum))

    def finish(self) -> Scale:
        """The scale that fits these numbers."""
        seen = self.seen()
        if seen.count == 0 or self.scale == "none":
            return Scale(self.scale)
        if self.sample is not None and self.scale in _SAMPLED:
            quantile = self.scale == "quantile"
            return _quantile_scale(self.sample, seen.count) if quantile else _robust_scale(self.sample, seen)
        if self.logged is not None:
            return Scale(self.scale, float(self.logged.mean), _usable(float(self.logged.spread)))
        if self.scale == "minmax":
            return Scale(self.scale, seen.minimum, _usable(seen.maximum - seen.minimum))
        return Scale(self.scale, seen.mean, _usable(seen.spread))


def _no_numbers() -> np.ndarray:
    return np.zeros(0)


@dataclass(frozen=True)
class Scale:
    """One learnt scale. `center`, `spread`: of the affine ones, and of log's; `knots`, `levels`: of quantile's.

    >>> Scale("standard", center=10.0, spread=2.0).forward(np.array([10.0, 13.0]))
    array([0. , 1.5], dtype=float32)
    """

    name: str
    center: float = 0.0
    spread: float = 1.0
    knots: np.ndarray = field(default_factory=_no_numbers)
    levels: np.ndarray = field(default_factory=_no_numbers)

    @property
    def exact(self) -> bool:
        """Whether the ONNX twin gives the very same bits."""
        return self.name not in ("log", "quantile")

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Raw numbers (...) float64 -> scaled (...) float32; NaN stays NaN, nothing becomes infinite."""
        if self.name == "quantile" and len(self.knots):
            return np.asarray(np.interp(x, self.knots, self.levels), np.float32)
        with np.errstate(over="ignore"):
            if self.name == "log":
                x = signed_log(x)
            z = (x - self.center) / self.spread
        return np.asarray(np.clip(z, -_LARGEST, _LARGEST), np.float32)

    def back(self, y: np.ndarray) -> np.ndarray:
        """Scaled numbers (...) -> raw units (...) float64."""
        y = np.asarray(y, np.float64)
        if self.name == "quantile" and len(self.knots):
            return np.asarray(np.interp(y, self.levels, self.knots))
        x = y * self.spread + self.center
        return np.sign(x) * np.expm1(np.abs(x)) if self.name == "log" else x

    def mean(self, seen: Seen) -> float:
        """The training mean in scaled units, taken in the space that the scale is affine in."""
        return 0.0 if self.name in ("log", "quantile") else float(self.forward(np.array([seen.mean]))[0])

    def onnx(self, g: Graph, x: str) -> str:
        """`forward` in a graph: float64 -> float32, bit for bit where the scale is `exact`."""
        if self.name == "quantile" and len(self.knots):
            return g.cast(_interpolate(g, x, self.knots, self.levels), np.float32)
        if self.name == "log":
            x = _signed_log(g, x)
        z = g("Div", g("Sub", x, _double(g, self.center)), _double(g, self.spread))
        # Clip loses NaN in some runtimes, so it goes around.
        clipped = g("Clip", z, _double(g, -_LARGEST), _double(g, _LARGEST))
        return g.cast(g("Where", g("IsNaN", z), z, clipped), np.float32)

    def onnx_back(self, g: Graph, y: str) -> str:
        """`back` in a graph: float32 -> float64."""
        y = g.cast(y, np.float64)
        if self.name == "quantile" and len(self.knots):
            return _interpolate(g, y, self.levels, self.knots)
        x = g("Add", g("Mul", y, _double(g, self.spread)), _double(g, self.center))
        if self.name != "log":
            return x
        return g("Mul", g("Sign", x), g("Sub", g("Exp", g("Abs", x)), _double(g, 1.0)))

    def describe(self, seen: Seen) -> dict[str, Any]:
        """What was learnt, for people."""
        numbers = {"mean": seen.mean, "spread": seen.spread, "minimum": seen.minimum, "maximum": seen.maximum}
        learnt: dict[str, Any] = {"scale": self.name, **numbers, "count": seen.count, "missing": seen.missing}
        if self.name in ("robust", "log"):
            learnt |= {"center": self.center, "divisor": self.spread}
        if self.name == "quantile":
            learnt["knots"] = len(self.knots)
        return learnt | {"constant": seen.constant and seen.count > 0}


def signed_log(x: np.ndarray) -> np.ndarray:
    """sign(x) log(1 + |x|): logarithmic far from 0, linear near it, for numbers of either sign.

    >>> signed_log(np.array([-1.0, 0.0])).round(4)
    array([-0.6931,  0.    ])
    """
    return np.asarray(np.sign(x) * np.log1p(np.abs(x)))


def note_unusable(seen: Sequence[Seen], column: str, problems: Problems) -> None:
    """Note why nothing can be learnt from a column's numbers: there are none, or they are too large.

    If bad cells of the column are noted already, they tell why there are none.
    """
    if not any(s.count for s in seen):
        if not any(problem.column == column for problem in problems):
            remedy = "Remove the column from the schema, or give rows that have values."
            problems.add("all values are missing", column=column, remedy=remedy)
    elif not all(math.isfinite(s.maximum - s.minimum) for s in seen):
        problems.add("the range of the numbers overflows", column=column, remedy="Divide them by a large number first.")


def _usable(spread: float) -> float:
    return spread if 0 < spread < math.inf else 1.0


def _robust_scale(sample: Sample, seen: Seen) -> Scale:
    low, median, high = (float(q) for q in sample.quantiles(np.array([0.25, 0.5, 0.75])))
    # More than half of the numbers may be nearly the same: then the standard deviation tells more than an empty range.
    usable = high - low > _EMPTY_RANGE * seen.spread
    return Scale("robust", median, high - low if usable else _usable(seen.spread))


def _quantile_scale(sample: Sample, count: int) -> Scale:
    shares = np.linspace(0.0, 1.0, min(MAX_KNOTS, count))
    values = np.asarray(sample.quantiles(shares), np.float64)
    # A value that many rows share spans several quantiles. It gets the middle of them, so that knots and levels both
    # rise strictly and the way back is unique.
    knots, place = np.unique(values, return_inverse=True)
    levels = np.bincount(place, weights=shares) / np.bincount(place) if len(knots) > 1 else np.array([0.5])
    return Scale("quantile", knots=knots, levels=(2.0 * levels - 1.0) * QUANTILE_LIMIT)


# -- twin --------------------------------------------------------------------------------------------------------------


def _double(g: Graph, value: float) -> str:
    return g.constant(np.float64(value))


def _signed_log(g: Graph, x: str) -> str:
    # There is no log1p: log(u) * a / (u - 1) with u = 1 + a is as exact, also for small a.
    a, one = g("Abs", x), _double(g, 1.0)
    u = g("Add", a, one)
    lost = g("Sub", u, one)
    tiny = g("Equal", lost, _double(g, 0.0))
    ratio = g("Div", a, g("Where", tiny, one, lost))
    return g("Mul", g("Sign", x), g("Where", tiny, a, g("Mul", g("Log", u), ratio)))


def _interpolate(g: Graph, x: str, at: np.ndarray, values: np.ndarray) -> str:
    """np.interp: a binary search for the knot at or below x, unrolled, then the line from it to the next."""
    if len(at) == 1:
        return g("Where", g("IsNaN", x), x, g.constant(values))
    inside = g("Max", g("Min", x, _double(g, float(at[-1]))), _double(g, float(at[0])))
    inside = g("Where", g("IsNaN", x), x, inside)
    steps = [2**k for k in reversed(range((len(at) - 1).bit_length()))]
    padded = g.constant(np.concatenate([at, np.full(sum(steps) + 1 - len(at), np.inf)]))
    place = g.constant(0)
    for step in steps:
        ahead = g("Add", place, g.constant(step))
        found = g("LessOrEqual", g("Gather", padded, ahead), inside)
        place = g("Where", found, ahead, place)
    place = g("Min", place, g.constant(len(at) - 2))
    slopes = g.constant(np.diff(values) / np.diff(at))
    rise = g("Mul", g("Gather", slopes, place), g("Sub", inside, g("Gather", g.constant(at), place)))
    return g("Add", rise, g("Gather", g.constant(values), place))
