"""Settings chosen within each training part: what the scripts on single sentences share.

For each split of the data, every candidate is trained on a part of the training part and judged by the log loss on the
rest of it; the best is trained anew on the whole training part, for the same number of epochs, and scored once on the
test part. So no test row has a say in which candidate it is scored with. The few candidates themselves were drawn up by
looking at such parts of the first two splits' training parts, never at a test part.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from common import table
from data import Clock

import inputlayer as il

WORKERS = 2


class Task(NamedTuple):
    """A claim's data and candidates: `schema` and `model` make those of one candidate."""

    title: str
    rows: Callable[[], pl.DataFrame]
    candidates: Mapping[str, Mapping[str, Any]]
    schema: Callable[[Mapping[str, Any]], il.Schema]
    body: Callable[[Mapping[str, Any]], il.LSTM]
    training: Mapping[str, Any]
    test: float
    valid: float
    splits: int
    scores: Sequence[str]


def parts(task: Task, split: int, settings: Mapping[str, Any]) -> tuple[il.Table, il.Table]:
    """The training and the test part of one split, classes in equal shares."""
    train, _, test = il.split(task.rows(), task.schema(settings), valid=0, test=task.test, seed=split, stratify=True)
    assert test is not None
    return train, test


def scored(task: Task, settings: Mapping[str, Any], train: il.Table, test: il.Table, seed: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    model = il.Model(il.InputLayer(task.schema(settings)), task.body(settings))
    model.fit(train, epochs=settings["epochs"], seed=seed, device="cpu", **task.training)
    return model.evaluate(test)


def judged(task: Task, name: str, split: int) -> float:
    """A candidate's log loss on a part of the training part."""
    settings = task.candidates[name]
    whole, _ = parts(task, split, settings)
    train, _, valid = il.split(whole, task.schema(settings), valid=0, test=task.valid, seed=split, stratify=True)
    assert valid is not None
    return float(scored(task, settings, train, valid, split)["log_loss"])


def final(task: Task, name: str, split: int) -> dict[str, float]:
    """The chosen candidate's scores on the test part, and the majority's accuracy."""
    settings = task.candidates[name]
    found = scored(task, settings, *parts(task, split, settings), split)
    majority = found["baselines"]["majority"]["accuracy"]
    return {**{s: float(found[s]) for s in task.scores}, "majority": float(majority)}


def main(task: Task) -> None:
    """Print the losses of the choice, then the scores. ``--quick``: one split."""
    clock, splits = Clock(), range(1 if "--quick" in sys.argv else task.splits)
    names = list(task.candidates)
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        jobs = [(name, split) for split in splits for name in names]
        losses = dict(zip(jobs, pool.map(judged, [task] * len(jobs), *zip(*jobs, strict=True)), strict=True))
        chosen = [min(names, key=lambda name, split=split: losses[name, split]) for split in splits]  # type: ignore[misc]
        scores = list(pool.map(final, [task] * len(splits), chosen, splits))
    print(f"## {task.title}\n")
    rows = [[name, *(f"{losses[name, split]:.4f}" for split in splits)] for name in names]
    print(table(["log loss on a part of the training part", *(f"split {s}" for s in splits)], rows))
    print()
    shown = [*task.scores, "majority"]
    rows = [[split, chosen[split], *(f"{scores[split][s]:.4f}" for s in shown)] for split in splits]
    rows.append(["mean", "", *(f"{np.mean([found[s] for found in scores]):.4f}" for s in shown)])
    print(table(["split", "chosen", *shown], rows))
    print(f"\n{clock.line(1)} {WORKERS} runs at a time.\n")
