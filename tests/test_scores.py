from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics

from inputlayer.scores import ClassScores, RegressionScores

LEVELS = (0.1, 0.5, 0.9)


def batches(rng: np.random.Generator, quantiles: int) -> list[tuple[np.ndarray, np.ndarray]]:
    parts = []
    for size in (7, 1, 12):
        true = rng.normal([5.0, -300.0, 0.0], [1.0, 40.0, 1.0], (size, 4, 3))
        predicted = np.sort(true[..., None] + rng.normal(0, 2.0, (size, 4, 3, quantiles)), axis=-1)
        true[rng.random(true.shape) < 0.2] = np.nan
        true[..., 2] = np.nan
        true[0, 1] = np.nan
        parts.append((predicted, true))
    return parts


def joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([p for p, _ in parts]), np.concatenate([t for _, t in parts])


def test_regression_is_scikit_learns() -> None:
    parts = batches(np.random.default_rng(0), 1)
    scores = RegressionScores(("a", "b", "none"), np.array([1.0, 40.0, 1.0]), None)
    for predicted, true in parts:
        scores.add(predicted, true)
    result = scores.result()
    predicted, true = joined(parts)
    expected = {}
    for k, (name, spread) in enumerate({"a": 1.0, "b": 40.0}.items()):
        real = ~np.isnan(true[..., k])
        y, z = true[..., k][real], predicted[..., k, 0][real]
        expected[name] = {
            "mse": metrics.mean_squared_error(y, z),
            "mae": metrics.mean_absolute_error(y, z),
            "rmse": metrics.root_mean_squared_error(y, z),
            "mse_standardised": metrics.mean_squared_error(y / spread, z / spread),
            "mae_standardised": metrics.mean_absolute_error(y / spread, z / spread),
        }
        assert result["by_target"][name] == pytest.approx(expected[name], rel=1e-12)
    for measure in expected["a"]:
        assert result[measure] == pytest.approx(np.mean([e[measure] for e in expected.values()]), rel=1e-12)
    assert result["left_out"] == {"none": "no true value"}
    assert result["sequences"] == int((~np.isnan(true)).any(axis=(1, 2)).sum())
    error = np.sqrt(np.nanmean((predicted[..., :2, 0] - true[..., :2]) ** 2, axis=0)).mean(axis=-1)
    np.testing.assert_allclose(result["by_step"], error, rtol=1e-12)
    json.dumps(result, allow_nan=False)


def test_quantiles_are_scikit_learns() -> None:
    parts = batches(np.random.default_rng(1), 3)
    scores = RegressionScores(("a", "b", "none"), np.ones(3), LEVELS)
    for predicted, true in parts:
        scores.add(predicted, true)
    predicted, true = joined(parts)
    real = ~np.isnan(true[..., 0])
    y, z = true[..., 0][real], predicted[..., 0, :][real]
    found = scores.result()["by_target"]["a"]
    pinball = [metrics.mean_pinball_loss(y, z[:, q], alpha=level) for q, level in enumerate(LEVELS)]
    assert found["pinball"] == pytest.approx(np.mean(pinball), rel=1e-12)
    assert found["coverage"] == pytest.approx(((z[:, 0] <= y) & (y <= z[:, 2])).mean(), rel=1e-12)
    assert found["nominal"] == pytest.approx(0.8)
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, z[:, 1]), rel=1e-12)


def test_steps_may_grow_from_batch_to_batch() -> None:
    scores = RegressionScores(("a",), np.ones(1), None)
    scores.add(np.zeros((1, 1, 1, 1)), np.full((1, 1, 1), 3.0))
    scores.add(np.zeros((1, 3, 1, 1)), np.array([[[4.0], [np.nan], [2.0]]]))
    assert scores.result()["by_step"] == [pytest.approx(12.5**0.5), None, 2.0]
    scores.add(np.zeros((1, 1, 1, 1)), np.zeros((1, 1, 1)))
    assert scores.result()["mse"] == pytest.approx((9 + 16 + 4 + 0) / 4)


def test_nothing_true_gives_no_score() -> None:
    scores = RegressionScores(("a",), np.ones(1), None)
    scores.add(np.zeros((2, 1, 1, 1)), np.full((2, 1, 1), np.nan))
    assert scores.result() == {
        "by_target": {}, "by_step": [None], "sequences": 0, "left_out": {"a": "no true value"},
    }  # fmt: skip
    classes = ClassScores(("a", "b"))
    classes.add(np.full((1, 1, 2), 0.5), np.array([[-1]]), np.array([[False]]))
    assert classes.result() == {"sequences": 0, "left_out": "no true value"}


@pytest.mark.parametrize("count", [2, 5])
def test_classes_are_scikit_learns(count: int) -> None:
    rng = np.random.default_rng(count)
    labels = tuple("abcdef"[:count])
    scores = ClassScores((*labels, "never")) if count == 5 else ClassScores(labels)
    size = len(scores.classes)
    p = rng.dirichlet(np.ones(count), (40, 3))
    p = np.concatenate([p, np.zeros((40, 3, size - count))], axis=-1)
    truth = rng.integers(0, count, (40, 3))
    real = rng.random((40, 3)) < 0.8
    for part in (slice(0, 1), slice(1, 30), slice(30, 40)):
        scores.add(p[part], truth[part], real[part])
    result = scores.result()
    y, z = truth[real], p[real].argmax(-1)
    assert result["accuracy"] == pytest.approx(metrics.accuracy_score(y, z))
    assert result["f1"] == pytest.approx(metrics.f1_score(y, z, average="macro"))
    assert result["log_loss"] == pytest.approx(metrics.log_loss(y, p[real], labels=range(size)))
    assert result["confusion"]["counts"] == metrics.confusion_matrix(y, z, labels=range(size)).tolist()
    assert result["confusion"]["labels"] == list(scores.classes)
    assert result["sequences"] == int(real.any(axis=1).sum())
    assert ("f1_positive" in result) == (count == 2)
    if count == 2:
        assert result["f1_positive"] == pytest.approx(metrics.f1_score(y, z))
        assert result["positive"] == "b"
    json.dumps(result, allow_nan=False)


def test_a_class_that_training_never_saw_is_wrong() -> None:
    scores = ClassScores(("a", "b"))
    scores.add(np.array([[[0.9, 0.1]], [[0.9, 0.1]]]), np.array([[0], [-1]]), np.ones((2, 1), dtype=bool))
    result = scores.result()
    assert result["accuracy"] == 0.5
    assert result["unseen"] == 1
    assert result["confusion"]["counts"] == [[1, 0], [0, 0]]
    assert result["f1"] == pytest.approx(2 / 3)
    assert result["log_loss"] == pytest.approx(-(np.log(0.9) + np.log(np.finfo(float).eps)) / 2)
