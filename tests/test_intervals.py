"""Intervals of differences: worked out by hand, and by simulation of a known difference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from inputlayer.intervals import Difference, Measure, difference, even_blocks, time_blocks

MEAN = Measure("mse", "")
ROOT = Measure("rmse", "", root=True)


def summed(losses: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """(S, windows) -> (S, B, 1)."""
    return np.stack([np.bincount(blocks, weights=row) for row in losses])[..., None]


def test_one_seed_is_students_interval_over_blocks() -> None:
    draw = np.random.default_rng(0)
    ours, other = draw.normal(5, 1, (1, 8, 1)), draw.normal(4, 1, (1, 8, 1))
    found = difference(MEAN, ours, other, np.ones((8, 1)))
    gaps = (ours - other).ravel()
    low, high = stats.t.interval(0.95, 7, gaps.mean(), stats.sem(gaps))
    assert found == pytest.approx((gaps.mean(), low, high))


def test_two_seeds_and_two_blocks_by_hand() -> None:
    # Differences [[0, 2], [4, 10]]: mean 4; seeds 1 and 7, blocks 2 and 6, which leave [[1, -1], [-1, 1]].
    # Mean squares: seeds 2 * (9 + 9) / 1 = 36, blocks 2 * (4 + 4) / 1 = 16, rest 4. Variance (36 + 16 - 4) / 4 = 12.
    # Degrees of freedom: 48^2 / (36^2 + 16^2 + 4^2) = 2304 / 1568.
    ours = np.array([[0.0, 2.0], [4.0, 10.0]])[..., None]
    half = stats.t.ppf(0.975, 2304 / 1568) * np.sqrt(12)
    found = difference(MEAN, ours, np.zeros((1, 2, 1)), np.ones((2, 1)))
    # A loss is never below 0, so the mean of ours less that of the other is that of ours.
    assert found == pytest.approx((4.0, 4 - half, 4 + half))


@pytest.mark.parametrize(
    ("horizon", "seeds", "by_seed"), [(1, 3, 0.0), (1, 3, 0.2), (7, 3, 0.0), (7, 3, 0.2), (7, 1, 0.0), (24, 5, 0.2)]
)
def test_a_known_difference_is_covered(horizon: int, seeds: int, by_seed: float) -> None:
    """Errors of overlapping windows move together; so do those of one seed. 95 % is meant, of 300 trials."""
    draw = np.random.default_rng(horizon + seeds)
    count, trials = 40 * horizon + 100, 300
    blocks = time_blocks(np.arange(count), np.zeros(count, dtype=int), horizon)
    counts = np.bincount(blocks)[:, None].astype(float)
    kernel = np.ones(horizon) / np.sqrt(horizon)

    def moving(rows: int) -> np.ndarray:
        return np.stack([np.convolve(draw.normal(size=count + horizon - 1), kernel, "valid") for _ in range(rows)])

    covered = 0
    for _ in range(trials):
        other = 6 + moving(1)
        ours = other + 1.0 + 0.5 * moving(1) + by_seed * draw.normal(size=(seeds, 1)) + 0.3 * moving(seeds)
        found = difference(MEAN, summed(ours, blocks), summed(np.repeat(other, seeds, 0), blocks), counts)
        covered += found.low <= 1.0 <= found.high
    assert 0.88 <= covered / trials <= 1.0


def test_pairing_takes_out_what_both_share() -> None:
    draw = np.random.default_rng(0)
    shared = draw.normal(10, 3, (1, 20, 1))
    ours, other = (shared + draw.normal(0, 0.1, (3, 20, 1)) for _ in range(2))
    paired = difference(MEAN, ours, other, np.ones((20, 1)))
    apart = difference(MEAN, ours, other[:, ::-1], np.ones((20, 1)))
    assert paired.high - paired.low < 0.2 * (apart.high - apart.low)


def test_blocks_without_a_target_do_not_count() -> None:
    ours, other, counts = np.full((3, 4, 2), 4.0), np.full((1, 4, 2), 1.0), np.ones((4, 2))
    ours[:, 1:3], other[:, 1:3], counts[1:3] = 0.0, 0.0, 0.0
    assert difference(ROOT, ours, other, counts) == Difference(1.0, 1.0, 1.0)
    counts[3], ours[:, 3], other[:, 3] = 0.0, 0.0, 0.0
    alone = difference(ROOT, ours, other, counts)
    assert alone.mean == 1.0
    assert np.isnan(alone.low)
    assert np.isnan(alone.high)


def test_blocks_hold_the_same_time_of_all_series() -> None:
    times = np.concatenate([np.arange(40), np.arange(20, 60)]) * 3600.0
    blocks = time_blocks(times, np.repeat([0, 1], 40), horizon=5)
    assert blocks.max() == 5
    assert all(len(np.unique(blocks[times == t])) == 1 for t in times)
    assert np.unique(np.bincount(blocks[:40])).tolist() == [10]


def test_one_window_of_each_series_is_a_block() -> None:
    assert time_blocks(np.zeros(7), np.arange(7), horizon=12).tolist() == list(range(7))


def test_few_sequences_are_few_blocks() -> None:
    assert time_blocks(np.arange(3), np.zeros(3, dtype=int), horizon=12).tolist() == [0, 0, 1]
    assert time_blocks(np.arange(1), np.zeros(1, dtype=int), horizon=12).tolist() == [0]
    assert even_blocks(np.arange(3)).tolist() == [0, 1, 2]
    assert time_blocks(np.zeros(0), np.zeros(0, dtype=int), horizon=1).tolist() == []


def test_few_seeds_and_blocks_whose_rest_outweighs_both_have_one_degree_of_freedom() -> None:
    """Seeds that swing against each other from block to block: the formula alone would give an interval of 1e100."""
    ours = np.array([[[12.0], [8.0]], [[8.0], [12.001]]])
    found = difference(Measure("mae", ""), ours, np.full((1, 2, 1), 10.0), np.ones((2, 1)))
    assert found.mean == pytest.approx(0.00025)
    assert found.high - found.mean == pytest.approx(12.706 * 0.00025, rel=1e-3)
