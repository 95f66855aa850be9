"""What InstanceNorm("last") buys: the same LSTM with and without it on ETTh1 and ETTh2, horizon 96, look-back 96.

Everything else is fixed: all 7 channels in and out, LSTM(64), squared error, Adam at 1e-3 along half a cosine, batches
of 64, at most 8 epochs with a patience of 3, the seeds. Errors are those of the published tables: MSE and MAE in units
of the training spread, over every window of the test part. The interval of the difference is Student's, over the pairs
of runs with the same seed: it speaks of the seeds, not of other test data.

``--quick``: one seed, one epoch.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import torch
from common import table
from data import ETT_PART, Clock, ett, ett_schema
from scipy import stats

import inputlayer as il

SEEDS, EPOCHS, WORKERS = 3, 8, 2
MEASURES = ("mse_standardised", "mae_standardised")


class Job(NamedTuple):
    data: str
    norm: bool
    seed: int
    epochs: int


def run(job: Job) -> dict[str, dict[str, float]]:
    """MSE and MAE of the model and of each baseline."""
    torch.set_num_threads(1)
    schema = ett_schema(length=96, horizon=96)
    train, valid, test = il.split(ett(job.data), schema, valid=ETT_PART, test=ETT_PART)
    stages = [il.InstanceNorm("last")] if job.norm else []
    model = il.Model(il.InputLayer(schema, stages), il.LSTM(units=64))
    history = model.fit(train, valid, epochs=job.epochs, patience=3, seed=job.seed, device="cpu")
    print(job, f"{sum(history.seconds):.0f} s, best epoch {history.best_epoch}", file=sys.stderr, flush=True)
    scores = model.evaluate(test, context=valid)
    return {"model": dict(scores), **scores["baselines"]}


def both(values: np.ndarray) -> str:
    """Mean and spread over seeds."""
    return f"{values.mean():.4f} ± {values.std(ddof=1):.4f}" if len(values) > 1 else f"{values.mean():.4f}"


def difference(first: np.ndarray, second: np.ndarray) -> str:
    """The mean of second - first with its 95 % interval, seed by seed."""
    change = second - first
    if len(change) < 2:
        return f"{change.mean():+.4f}"
    half = stats.t.ppf(0.975, len(change) - 1) * change.std(ddof=1) / np.sqrt(len(change))
    return f"{change.mean():+.4f} [{change.mean() - half:+.4f}, {change.mean() + half:+.4f}]"


def report(data: str, plain: list[dict[str, dict[str, float]]], normed: list[dict[str, dict[str, float]]]) -> str:
    rows: list[list[str]] = [[f"{data}, without"], [f"{data}, with InstanceNorm('last')"], [f"{data}, difference"]]
    others = [name for name in plain[0] if name != "model"]
    rows += [[f"{data}, {name}"] for name in others]
    for measure in MEASURES:
        first, second = (np.array([found["model"][measure] for found in runs]) for runs in (plain, normed))
        cells = [both(first), both(second), difference(first, second)]
        cells += [f"{plain[0][name][measure]:.4f}" for name in others]
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell)
    return table(["", "MSE", "MAE"], rows)


def main() -> None:
    clock, quick = Clock(), "--quick" in sys.argv
    seeds, epochs = (1, 1) if quick else (SEEDS, EPOCHS)
    jobs = [Job(data, norm, s, epochs) for data in ("ETTh1", "ETTh2") for norm in (False, True) for s in range(seeds)]
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        found = list(pool.map(run, jobs))
    print(f"## InstanceNorm: {seeds} seed(s), mean ± spread; difference with its 95 % interval\n")
    for number, data in enumerate(("ETTh1", "ETTh2")):
        runs = found[2 * number * seeds : 2 * (number + 1) * seeds]
        print(report(data, runs[:seeds], runs[seeds:]) + "\n")
    print(f"{clock.line(1)} {WORKERS} runs at a time.\n")


if __name__ == "__main__":
    main()
