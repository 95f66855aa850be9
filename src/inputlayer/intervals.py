"""Two models on the same test sequences: how far their scores differ, and how surely."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_BLOCKS = 500  # more of them change nothing but the time that they take


@dataclass(frozen=True)
class Measure:
    """A score that is made of summed losses.

    name    as `Model.evaluate` has it; unit: of the score, in words
    root    whether the score is a root of the mean loss; higher: whether more is better

    Shape: losses (..., B blocks of sequences, K targets), counts of target steps (B, K) -> (...): the mean over the
    targets that have a value.

    >>> Measure("rmse", "°C", root=True).score(np.array([[8.0], [10.0]]), np.array([[1.0], [1.0]]))
    array(3.)
    """

    name: str
    unit: str
    root: bool = False
    higher: bool = False

    def score(self, losses: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The score of all blocks together."""
        return self._of(losses.sum(axis=-2), counts.sum(axis=0))

    def without(self, losses: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """The score without each of the blocks, (..., B)."""
        return self._of(losses.sum(axis=-2, keepdims=True) - losses, counts.sum(axis=0) - counts)

    def _of(self, losses: np.ndarray, counts: np.ndarray) -> np.ndarray:
        some = counts > 0
        means = np.divide(losses, counts, out=np.zeros(losses.shape), where=np.broadcast_to(some, losses.shape))
        # What was taken from a sum may leave a rounding error below zero.
        score = np.maximum(means, 0).sum(axis=-1) / some.sum(axis=-1)
        return np.asarray(np.sqrt(score) if self.root else score)


class Difference(NamedTuple):
    """One score less the other, and the ends of its 95 % interval; NaN where a single block allows none."""

    mean: float
    low: float
    high: float


def difference(measure: Measure, ours: np.ndarray, other: np.ndarray, counts: np.ndarray) -> Difference:
    """`ours` less `other`, with a 95 % interval that is paired over seeds and over blocks of test sequences.

    Parameters
    ----------
    ours, other
        Losses (S seeds, B blocks, K targets); what has no seeds, such as a baseline, has S = 1.
    counts
        Target steps that the losses are summed over, (B, K).

    Notes
    -----
    Seeds and blocks are two crossed samples, the one of trainings, the other of test data. For each seed the difference
    is jackknifed over blocks: leaving each out gives a pseudo-value for it. A two-way analysis of variance of these,
    (S, B), splits what varies with the seed from what varies with the test data; the variance of the mean is
    (MS_seed + MS_block - MS_rest) / (S * B), and no less than the larger of the first two alone. The interval is
    Student's, with Satterthwaite's degrees of freedom, no fewer than those of the smaller of the two samples, so that
    three seeds count as three. With one seed it speaks of
    the test data only. Blocks (see `time_blocks`) stand for the dependence of neighbouring sequences.

    References
    ----------
    Dorfman, Berbaum and Metz 1992, "Receiver operating characteristic rating analysis: generalization to the population
    of readers and patients with the jackknife method" (readers are seeds here, patients blocks); Satterthwaite 1946,
    "An approximate distribution of estimates of variance components"; Künsch 1989, "The jackknife and the bootstrap
    for general stationary observations" (blocks).

    Examples
    --------
    >>> counts = np.full((10, 1), 28.0)
    >>> difference(Measure("rmse", "°C", root=True), np.full((3, 10, 1), 28.0), np.full((1, 10, 1), 112.0), counts)
    Difference(mean=-1.0, low=-1.0, high=-1.0)
    """
    from scipy.special import stdtrit

    real = counts.sum(axis=1) > 0
    ours, other, counts = ours[:, real], other[:, real], counts[real]
    whole = measure.score(ours, counts) - measure.score(other, counts)
    mean, blocks = float(whole.mean()), len(counts)
    if blocks < 2:
        return Difference(mean, math.nan, math.nan)
    left = measure.without(ours, counts) - measure.without(other, counts)
    variance, freedom = _variance(blocks * whole[:, None] - (blocks - 1) * left)
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(variance)
    return Difference(mean, mean - half, mean + half)


def _variance(values: np.ndarray) -> tuple[float, float]:
    """Of the mean of `values` (S, B), whose rows and columns are samples of their own; and its degrees of freedom."""
    seeds, blocks = values.shape
    if seeds == 1:
        return float(values.var(ddof=1)) / blocks, blocks - 1
    mean, rows, columns = values.mean(), values.mean(axis=1), values.mean(axis=0)
    rest = values - rows[:, None] - columns + mean
    by_seed = blocks * float(((rows - mean) ** 2).sum()) / (seeds - 1)
    by_block = seeds * float(((columns - mean) ** 2).sum()) / (blocks - 1)
    both = float((rest**2).sum()) / ((seeds - 1) * (blocks - 1))
    total = max(by_seed + by_block - both, by_seed, by_block)
    spread = by_seed**2 / (seeds - 1) + by_block**2 / (blocks - 1) + both**2 / ((seeds - 1) * (blocks - 1))
    # Where the rest outweighs both, which few seeds and blocks let happen, the formula falls far below one; the samples
    # themselves have no fewer.
    least = min(seeds, blocks) - 1
    return total / values.size, max(total**2 / spread, least) if spread else least


def time_blocks(times: np.ndarray, series: np.ndarray, horizon: int) -> np.ndarray:
    """The block of each window, (S,) int64: windows whose forecasts begin at about the same time, of all series.

    A block spans twice the horizon, so that few windows share a target with a window of another block, and no less than
    the cube root of the number of times, which is what other dependence asks for (Hall, Horowitz and Jing 1995, "On
    blocking rules for the bootstrap with dependent data"). Where that gives fewer blocks than there are series, each
    series is a block.

    Parameters
    ----------
    times, series
        When each window's forecast begins, and the number of its series.
    horizon
        Rows ahead.

    >>> time_blocks(np.arange(8), np.zeros(8, int), horizon=2).tolist()
    [0, 0, 0, 0, 1, 1, 1, 1]
    """
    ranks = np.unique(times, return_inverse=True)[1]
    count = int(ranks.max(initial=-1)) + 1
    length = max(2 * horizon, math.ceil(round(count ** (1 / 3), 6)), 1)
    each = np.unique(series, return_inverse=True)[1]
    # At least two: an interval from so few is wide, and says so.
    blocks = min(max(count // length, 2), count)
    if blocks < each.max(initial=-1) + 1:
        return even_blocks(each)
    return np.asarray(ranks * blocks // max(count, 1))


def even_blocks(order: np.ndarray) -> np.ndarray:
    """Blocks of neighbours in `order` (S,), whole numbers from 0; at most 500 blocks.

    >>> even_blocks(np.arange(1000)).tolist()[-3:]
    [498, 499, 499]
    """
    count = int(order.max(initial=-1)) + 1
    blocks = min(count, _BLOCKS)
    return np.asarray(order * blocks // max(count, 1))
