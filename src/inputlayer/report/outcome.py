"""Where the model is wrong: the worst and the typical sequences, the most confident mistakes.

Both classes watch `evaluation.score`, and keep a few numbers a sequence; what is shown is predicted once more in the
end. So the worst ones are the worst of all, and no backtest is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import polars as pl

from inputlayer.baselines import Baselines
from inputlayer.batch import Batch, Batches
from inputlayer.encode import Encoded
from inputlayer.heads import Classes
from inputlayer.network import Network
from inputlayer.plain import class_name
from inputlayer.prediction import forecasts, outputs, truth
from inputlayer.report.histogram import Histogram
from inputlayer.report.passing import short
from inputlayer.sequence import Cells, Windows
from inputlayer.table import Table

_EACH = 3  # worst, and typical, sequences
_LENGTH = 500  # steps of a sequence that are told
_POINTS = 1_000  # of truth against prediction
_MISTAKES = 8
_BINS = 10  # of how sure a prediction is
_TEXT = 160  # characters of a cell
_DIGITS = 6


class NumberOutcome:
    """Of predicted numbers: each sequence's error, the histogram of all errors, some predictions against the truth."""

    def __init__(self, network: Network, encoded: Encoded) -> None:
        self.network, self.encoded = network, encoded
        schema, learnt = network.layer.schema, network.layer.learnt
        states: list[Any] = [learnt.states[t] for t in schema.targets]
        self.targets, self.spreads = schema.targets, np.array([s.spread for s in states])
        self.middle = (getattr(network.head, "quantiles", None) or (0.5,)).index(0.5)
        self.error = np.full(len(encoded.index), np.nan)
        self.histograms = {t: Histogram() for t in self.targets}
        self.single = (encoded.index.targets or int(encoded.index.length.max())) == 1
        self.every = -(-len(encoded.index) // _POINTS)
        self.points: list[np.ndarray] = []

    def __call__(self, batch: Batch, y: np.ndarray, true: np.ndarray) -> None:
        chosen = batch.index.cpu().numpy()
        off = y[..., self.middle] - true
        self.error[chosen] = _rms(off / self.spreads)
        for k, target in enumerate(self.targets):
            self.histograms[target] = self.histograms[target].merge(Histogram.of(off[..., k]))
        some = chosen % self.every == 0
        if self.single and some.any():
            pairs = np.stack([true[some, 0], y[some, 0, :, self.middle]], axis=-1)
            self.points.append(
                np.concatenate([np.repeat(chosen[some], len(self.targets))[:, None], pairs.reshape(-1, 2)], 1)
            )

    def to_dict(self, baselines: Baselines | None, best: str | None, table: Table) -> dict[str, Any]:
        """`errors` by target, `sequences` (worst first), `points`: (truth, prediction) by target; `best` baseline."""
        worst, typical = self._chosen()
        told = self._sequences(sorted([*worst, *typical]), baselines, best, table) if worst else {}
        kinds = [("worst", worst), ("typical", typical)]
        median = float(np.nanmedian(self.error)) if worst else None
        return {
            "kind": "numbers",
            "errors": {t: h.to_dict() for t, h in self.histograms.items()},
            "median": median,
            "baseline": best,
            "sequences": [{"what": what, **told[i]} for what, chosen in kinds for i in chosen],
            "points": self._points(),
        }

    def _chosen(self) -> tuple[list[int], list[int]]:
        """The sequences of the largest error, and those nearest to the median; no two share a target row."""
        scored = np.flatnonzero(~np.isnan(self.error))
        if not len(scored):
            return [], []
        error = self.error[scored]
        worst = self._apart(scored[np.argsort(-error, kind="stable")], [])
        near = scored[np.argsort(np.abs(error - np.median(error)), kind="stable")]
        return worst, self._apart(near, worst)

    def _apart(self, order: np.ndarray, taken: Sequence[int]) -> list[int]:
        index, found = self.encoded.index, [*taken]
        for i in order:
            begin, end = _rows(index, i)
            if all(end <= _rows(index, j)[0] or begin >= _rows(index, j)[1] for j in found):
                found.append(int(i))
            if len(found) == len(taken) + _EACH:
                break
        return found[len(taken) :]

    def _sequences(
        self, chosen: list[int], baselines: Baselines | None, best: str | None, table: Table
    ) -> dict[int, dict[str, Any]]:
        few = only(self.encoded, chosen)
        told: dict[int, dict[str, Any]] = {}
        labels = identities(self.network, few, table)
        for batch, y in outputs(self.network, Batches(few, self.network.layer.learnt, len(chosen)), "Reporting"):
            true = truth(self.network, few, batch)
            beside = baselines.predict(few, batch)[best] if baselines is not None and best is not None else None
            for row, i in enumerate(batch.index.tolist()):
                steps = few.index.targets or int(few.index.length[i])
                other = None if beside is None else beside[row, :steps]
                told[chosen[i]] = {
                    "sequence": chosen[i],
                    "label": labels[i],
                    "error": float(self.error[chosen[i]]),
                    "steps": steps,
                    **self._furthest(few, i, y[row, :steps], true[row, :steps], other),
                }
        return told

    def _furthest(
        self, few: Encoded, i: int, y: np.ndarray, true: np.ndarray, beside: np.ndarray | None
    ) -> dict[str, Any]:
        """The target that is furthest off: y (n, K, Q), true and `beside` (n, K)."""
        off = _rms(((y[..., self.middle] - true) / self.spreads).T[:, :, None])
        k = int(np.argmax(np.where(np.isnan(off), -1.0, off)))
        several = y.shape[-1] > 1
        return {
            "target": self.targets[k],
            "past": _short(self._past(few, i, self.targets[k])),
            "true": _short(true[:, k]),
            "predicted": _short(y[:, k, self.middle]),
            "low": _short(y[:, k, 0]) if several else None,
            "high": _short(y[:, k, -1]) if several else None,
            "baseline": None if beside is None else _short(beside[:, k]),
        }

    def _past(self, few: Encoded, i: int, target: str) -> np.ndarray:
        """The end of the look-back."""
        sequence, index = self.network.layer.schema.sequence, few.index
        if not isinstance(sequence, Windows) or not sequence.horizon:
            return np.zeros(0)
        past = few.raw[target][int(index.start[i]) : int(index.ahead[i])]
        return past[-max(3 * sequence.horizon, 24) :]

    def _points(self) -> dict[str, list[list[float | None]]] | None:
        if not self.points:
            return None
        found = np.concatenate(self.points)
        found = found[np.argsort(found[:, 0], kind="stable")][:, 1:].reshape(-1, len(self.targets), 2)
        return {t: [_short(p) for p in found[:, k] if not np.isnan(p).any()] for k, t in enumerate(self.targets)}


class ClassOutcome:
    """Of predicted classes: the most confident mistakes, and how often the model is right when it is how sure."""

    def __init__(self, network: Network, encoded: Encoded) -> None:
        assert isinstance(network.head, Classes)
        self.network, self.encoded, self.labels = network, encoded, list(network.head.labels)
        # By confidence: predictions, right ones, the sum of the confidence.
        self.sure = np.zeros((_BINS, 3))
        # Confidence, probability of the true class, sequence, step, predicted and true class.
        self.mistakes = np.zeros((0, 6))

    def __call__(self, batch: Batch, y: np.ndarray, true: np.ndarray) -> None:
        assert batch.real is not None
        real = batch.real.cpu().numpy()[..., 0]
        at, step = np.nonzero(real)
        p, classes = y[:, :, 0][real], true[..., 0][real]
        won = p.argmax(axis=-1)
        sure = p[np.arange(len(p)), won]
        right = won == classes
        place = np.minimum((sure * _BINS).astype(np.int64), _BINS - 1)
        for i, weights in enumerate((None, right, sure)):
            self.sure[:, i] += np.bincount(place, weights=weights, minlength=_BINS)
        given = np.where(classes >= 0, p[np.arange(len(p)), np.maximum(classes, 0)], 0.0)
        found = np.stack([sure, given, batch.index.cpu().numpy()[at], step, won, classes], axis=1)[~right]
        found = np.concatenate([self.mistakes, found])
        self.mistakes = found[np.lexsort((found[:, 3], found[:, 2], -found[:, 0]))][:_MISTAKES]

    def to_dict(self, table: Table) -> dict[str, Any]:
        """`mistakes`, most confident first; `sure`: from, to, predictions, share of right ones, mean confidence."""
        chosen = sorted({int(i) for i in self.mistakes[:, 2]})
        labels = (
            dict(zip(chosen, identities(self.network, only(self.encoded, chosen), table), strict=True))
            if chosen
            else {}
        )
        cells = self._cells(chosen, table)
        mistakes = []
        for sure, given, i, step, won, true in self.mistakes.tolist():
            mistakes.append(
                {
                    "sequence": int(i),
                    "step": int(step) if self.encoded.index.targets == 0 else None,
                    "label": labels[int(i)],
                    "cells": cells.get(int(i), {}),
                    "predicted": class_name(self.labels[int(won)]),
                    "sure": sure,
                    "true": class_name(self.labels[int(true)]) if true >= 0 else None,
                    "probability": given,
                }
            )
        bins = [
            {"low": i / _BINS, "high": (i + 1) / _BINS, "count": int(n), "right": right / n, "sure": sure / n}
            for i, (n, right, sure) in enumerate(self.sure.tolist())
            if n
        ]
        return {"kind": "classes", "mistakes": mistakes, "sure": bins}

    def _cells(self, chosen: list[int], table: Table) -> dict[int, dict[str, str]]:
        """What a person can read of the rows, where a row is a sequence."""
        schema, index = self.network.layer.schema, self.encoded.index
        if not isinstance(schema.sequence, Cells) or not chosen:
            return {}
        names = [n for n in schema.inputs if not table.columns[n].is_nested() and table.columns[n] != pl.Binary]
        frame = table.take(index.ahead[chosen].astype(np.int64)).frame()
        return {
            i: {n: _brief(frame[n][row]) for n in names if frame[n][row] is not None} for row, i in enumerate(chosen)
        }


def only(encoded: Encoded, chosen: Sequence[int]) -> Encoded:
    """The same rows with the sequences numbered `chosen` alone, ascending."""
    mask = np.zeros(len(encoded.index), dtype=bool)
    mask[list(chosen)] = True
    few = copy(encoded)
    few.index = encoded.index.keep(mask, "not shown")
    return few


def identities(network: Network, few: Encoded, table: Table) -> list[dict[str, str]]:
    """What tells each sequence from the others, as in a backtest: the keys, ``origin`` of windows, ``row`` of cells."""
    sequence, index = network.layer.schema.sequence, few.index
    frame = pl.concat(forecasts(network, few, table, len(index)))
    count = len(sequence.by_names) + (isinstance(sequence, Windows) or not sequence.by_names)
    rows = np.full(len(index), index.targets) if index.targets else np.asarray(index.length)
    firsts = frame[(np.cumsum(rows) - rows).tolist()]
    return [{n: str(v) for n, v in zip(frame.columns[:count], row, strict=False)} for row in firsts.rows()]


def _rows(index: Any, i: int) -> tuple[int, int]:
    begin = int(index.ahead[i])
    return begin, begin + (index.targets or int(index.length[i]))


def _rms(x: np.ndarray) -> np.ndarray:
    """x (B, n, K) -> (B,) over what is there; NaN where nothing is."""
    real = ~np.isnan(x)
    count = real.sum(axis=(1, 2))
    total = np.square(np.where(real, x, 0.0)).sum(axis=(1, 2))
    mean: np.ndarray = np.divide(total, count, out=np.full(len(x), np.nan), where=count > 0)
    return np.asarray(np.sqrt(mean))


def _short(x: np.ndarray) -> list[float | None]:
    return [short(v, _DIGITS) for v in x[:_LENGTH]]


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
