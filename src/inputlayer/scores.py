"""Scores that are summed batch by batch, so that the predictions of a large table are never held at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# As scikit-learn's log_loss does it: a probability of 0 counts as the smallest step of doubles.
_LEAST = float(np.finfo(np.float64).eps)


def score_text(score: float, digits: int = 4) -> str:
    """A score with `digits` that count; whole where it is large.

    >>> score_text(0.5), score_text(3.56341), score_text(9999.7), score_text(0.0000123456)
    ('0.5', '3.563', '10,000', '1.235e-05')
    """
    return f"{score:,.0f}" if 10**digits - 0.5 <= abs(score) < 1e12 else f"{score:.{digits}g}"


class RegressionScores:
    """Errors of predicted numbers, per target and step.

    Parameters
    ----------
    targets
        The names of the K targets.
    spreads
        (K,) their training standard deviations, by which the standardised errors are divided.
    quantiles
        The levels of the Q predicted quantiles; None where the prediction is one number.

    Examples
    --------
    >>> scores = RegressionScores(("load",), np.array([2.0]), None)
    >>> scores.add(np.array([[[[1.0]], [[5.0]]]]), np.array([[[2.0], [np.nan]]]))
    >>> result = scores.result()
    >>> result["rmse"], result["mse_standardised"], result["by_step"]
    (1.0, 0.25, [1.0, None])
    """

    def __init__(self, targets: Sequence[str], spreads: np.ndarray, quantiles: Sequence[float] | None) -> None:
        self.targets, self.spreads = tuple(targets), np.asarray(spreads, np.float64)
        self.levels = None if quantiles is None else np.asarray(quantiles, np.float64)
        # The point forecast is the median, or the quantile nearest to it.
        self.point = 0 if self.levels is None else int(np.abs(self.levels - 0.5).argmin())
        self.sequences = 0
        kinds = 4 if self.levels is None else 4 + len(self.levels)
        # Per step and target: count, sum of |error|, sum of error squared, covered, then pinball per quantile.
        self.sums = np.zeros((0, len(self.targets), kinds))

    def add(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """Count a batch: `predicted` (B, n, K, Q) and `true` (B, n, K) in raw units, NaN where there is no truth."""
        real = ~np.isnan(true)
        error = np.where(real, predicted[..., self.point] - true, 0.0)
        parts = [real, np.abs(error), np.square(error), np.zeros_like(error)]
        if self.levels is not None:
            low, high = predicted.min(axis=-1), predicted.max(axis=-1)
            parts[3] = real & (low <= true) & (true <= high)
            parts += [_pinball(predicted[..., q], true, level, real) for q, level in enumerate(self.levels)]
        sums = np.stack([p.sum(axis=0, dtype=np.float64) for p in parts], axis=-1)
        if len(sums) > len(self.sums):  # sequences of uneven length: a later batch may have more steps
            self.sums = np.concatenate([self.sums, np.zeros((len(sums) - len(self.sums), *sums.shape[1:]))])
        self.sums[: len(sums)] += sums
        self.sequences += int(real.any(axis=(1, 2)).sum())

    def result(self) -> dict[str, Any]:
        """The scores: JSON values.

        Means over targets of `mse`, `mae`, `rmse` (raw units), `mse_standardised`, `mae_standardised`, and for
        quantiles `pinball` (Koenker and Bassett 1978, averaged over the quantiles), `coverage` (share of truths from
        the lowest to the highest quantile) beside its `nominal` share. `by_target` holds them for each; `by_step` the
        rmse of each step, None where it has no truth; `left_out` names the targets without any.
        """
        counts = self.sums[..., 0].sum(axis=0)
        has = counts > 0
        by_target = {t: self._of(k) for k, t in enumerate(self.targets) if has[k]}
        first = next(iter(by_target.values()), {})
        result: dict[str, Any] = {m: float(np.mean([s[m] for s in by_target.values()])) for m in first}
        result["by_target"] = by_target
        result["by_step"] = [_rmse(step) for step in self.sums]
        result["sequences"] = self.sequences
        if not has.all():
            result["left_out"] = {t: "no true value" for k, t in enumerate(self.targets) if not has[k]}
        return result

    def _of(self, k: int) -> dict[str, float]:
        sums = self.sums[:, k].sum(axis=0)
        mae, mse = sums[1] / sums[0], sums[2] / sums[0]
        spread = self.spreads[k]
        scores = {
            "mse": mse,
            "mae": mae,
            "rmse": np.sqrt(mse),
            "mse_standardised": mse / spread**2,
            "mae_standardised": mae / spread,
        }
        if self.levels is not None:
            scores["pinball"] = (sums[4:] / sums[0]).mean()
            scores["coverage"] = sums[3] / sums[0]
            scores["nominal"] = self.levels.max() - self.levels.min()
        return {name: float(value) for name, value in scores.items()}


def _pinball(predicted: np.ndarray, true: np.ndarray, level: float, real: np.ndarray) -> np.ndarray:
    over = predicted - true
    loss: np.ndarray = np.where(real, np.maximum((1.0 - level) * over, -level * over), 0.0)
    return loss


def _rmse(sums: np.ndarray) -> float | None:
    """The mean over targets of one step's rmse, from `sums` (K, ...)."""
    with_truth = sums[sums[:, 0] > 0]
    return float(np.sqrt(with_truth[:, 2] / with_truth[:, 0]).mean()) if len(with_truth) else None


class ClassScores:
    """Scores of predicted classes.

    Parameters
    ----------
    classes
        The labels of the C classes, in the order of their index.

    Examples
    --------
    >>> scores = ClassScores(("a", "b"))
    >>> p = np.array([[[0.9, 0.1]], [[0.2, 0.8]], [[0.6, 0.4]]])
    >>> scores.add(p, np.array([[0], [1], [1]]), np.ones((3, 1), dtype=bool))
    >>> result = scores.result()
    >>> round(result["accuracy"], 4), result["confusion"]["counts"]
    (0.6667, [[1, 0], [1, 1]])
    """

    def __init__(self, classes: Sequence[Any]) -> None:
        self.classes = tuple(classes)
        # Rows are true classes, the last one those that training never saw; columns are predicted ones.
        self.table = np.zeros((len(self.classes) + 1, len(self.classes)), dtype=np.int64)
        self.loss = 0.0
        self.sequences = 0

    def add(self, probabilities: np.ndarray, truth: np.ndarray, real: np.ndarray) -> None:
        """Count a batch: `probabilities` (B, n, C); `truth` (B, n) int64, -1 for a class that training never saw.

        `real` (B, n) bool says where there is a truth. An unseen class counts as wrong, with a probability of 0.
        """
        size = len(self.classes)
        p, true = probabilities[real], truth[real]
        seen = true >= 0
        cells = np.where(seen, true, size) * size + p.argmax(axis=-1)
        self.table += np.bincount(cells, minlength=self.table.size).reshape(self.table.shape)
        given = np.where(seen, p[np.arange(len(p)), np.where(seen, true, 0)], 0.0)
        self.loss -= float(np.log(np.clip(given, _LEAST, 1.0)).sum())
        self.sequences += int(real.any(axis=1).sum())

    def result(self) -> dict[str, Any]:
        """The scores: JSON values.

        `accuracy`; `f1`, the mean over classes that occur in truth or prediction, and for two classes also
        `f1_positive`, that of the second one, named by `positive`; `log_loss` in nats; `confusion` with `labels` and
        `counts`, a row per true class; `unseen`, how many truths were of a class that training never saw.
        """
        size, table = len(self.classes), self.table
        total = int(table.sum())
        if not total:
            return {"sequences": 0, "left_out": "no true value"}
        right = np.diag(table).astype(np.float64)
        both = table[:size].sum(axis=1) + table.sum(axis=0)
        f1 = np.divide(2 * right, both, out=np.zeros(size), where=both > 0)
        result: dict[str, Any] = {
            "accuracy": float(right.sum() / total),
            "f1": float(f1[both > 0].mean()),
            "log_loss": self.loss / total,
            "confusion": {"labels": list(self.classes), "counts": table[:size].tolist()},
            "sequences": self.sequences,
        }
        if size == 2:
            result |= {"f1_positive": float(f1[1]), "positive": self.classes[1]}
        if table[size].any():
            result["unseen"] = int(table[size].sum())
        return result
