"""Linear models on many inputs: ridge regression summed up block by block, and logistic regression."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_ALPHAS = np.logspace(-5, 2, 15)  # per row
_FLOOR = -30.0  # the logit of a class that the sampled rows did not hold


@dataclass(frozen=True)
class Linear:
    """``x @ weight + bias``: weight (p, m) float32, bias (m,) float64. `alpha` is the penalty that was chosen."""

    weight: np.ndarray
    bias: np.ndarray
    alpha: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(B, p) -> (B, m)."""
        y: np.ndarray = x @ self.weight.astype(np.float64) + self.bias
        return y


def ridge(blocks: Iterable[tuple[np.ndarray, np.ndarray]]) -> Linear | None:
    """Ridge regression with intercept on standardised inputs, from blocks of x (n, p) and y (n, m) without NaN.

    Only sums of products are kept, so that windows that overlap are never laid out together. The penalty is the one
    with the least generalised cross-validation error (Golub, Heath and Wahba 1979), summed over outputs, each divided
    by its variance. None if there are fewer than two rows.

    >>> x = np.arange(20.0)[:, None]
    >>> ridge([(x, 3 * x + 1)])(np.array([[100.0]])).round(1).tolist()
    [[301.0]]
    """
    sums = _Sums()
    for x, y in blocks:
        sums.add(x, y)
    return sums.solve() if sums.n > 1 else None


class _Sums:
    def __init__(self) -> None:
        self.n = 0
        self.parts: list[np.ndarray] = []

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        if not len(x):
            return
        parts = [x.sum(axis=0), y.sum(axis=0), x.T @ x, x.T @ y, np.square(y).sum(axis=0)]
        self.parts = [a + b for a, b in zip(self.parts, parts, strict=True)] if self.n else parts
        self.n += len(x)

    def solve(self) -> Linear:
        n = self.n
        sx, sy, xx, xy, yy = self.parts
        mx, my = sx / n, sy / n
        xx = xx - n * np.outer(mx, mx)
        xy = xy - n * np.outer(mx, my)
        yy = np.maximum(yy - n * my**2, 0.0)
        spread = np.sqrt(np.maximum(np.diag(xx) / n, 0.0))
        # Of a constant input only rounding is left: it gets no weight.
        usable = spread > 1e-7 * (1.0 + np.abs(mx))
        scale = np.where(usable, 1.0 / np.where(usable, spread, 1.0), 0.0)
        values, vectors = np.linalg.eigh(xx * np.outer(scale, scale))
        values = np.maximum(values, 0.0)
        c = vectors.T @ (xy * scale[:, None])
        alpha = n * float(_ALPHAS[self._errors(values, c, yy).argmin()])
        weight = (vectors @ (c / (values + alpha)[:, None])) * scale[:, None]
        weight = weight.astype(np.float32)
        return Linear(weight, my - mx @ weight.astype(np.float64), alpha)

    def _errors(self, values: np.ndarray, c: np.ndarray, yy: np.ndarray) -> np.ndarray:
        """The generalised cross-validation error of each penalty."""
        errors = np.full(len(_ALPHAS), np.inf)
        inverse = np.divide(1.0, yy, out=np.zeros_like(yy), where=yy > 0)
        explained = np.square(c) @ inverse  # (p,)
        for i, alpha in enumerate(self.n * _ALPHAS):
            shrunk = 1.0 / (values + alpha)
            left = float((inverse > 0).sum() - explained @ (2 * shrunk - values * shrunk**2))
            freedom = 1.0 - (1.0 + float((values * shrunk).sum())) / self.n
            if freedom > 0.01:
                errors[i] = max(left, 0.0) / freedom**2
        # Where inputs outnumber rows, no small penalty can be judged: the largest is safe.
        errors[-1] = min(errors[-1], np.finfo(np.float64).max)
        return errors


def logistic(x: np.ndarray, classes: np.ndarray, count: int) -> Linear | None:
    """Logistic regression from x (n, p), standardised, to logits of `count` classes; `classes` (n,) are their indices.

    None if the rows hold fewer than two classes.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    present = np.unique(classes)
    if len(present) < 2:
        return None
    with warnings.catch_warnings():
        # Far enough is good enough: it need not be the last digit of a baseline.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = LogisticRegression(C=1.0, max_iter=200).fit(x, classes)
    weight, bias = np.zeros((x.shape[1], count)), np.full(count, _FLOOR)
    two = len(present) == 2
    # Of two classes scikit-learn keeps the logit of the second one only.
    weight[:, present] = np.concatenate([0 * found.coef_, found.coef_]).T if two else found.coef_.T
    bias[present] = np.concatenate([[0.0], found.intercept_]) if two else found.intercept_
    return Linear(weight.astype(np.float32), bias, 1.0)


def softmax(logits: np.ndarray) -> np.ndarray:
    """(..., C) logits -> probabilities.

    >>> softmax(np.array([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p: np.ndarray = e / e.sum(axis=-1, keepdims=True)
    return p
