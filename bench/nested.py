"""Settings chosen within the training part: what the scripts on classes share.

Every candidate is trained on one part of the training part and judged by the log loss on the rest of it, once for each
fold; the candidate with the lowest mean is trained anew on the whole training part, for the same number of epochs, and
scored on the test part. So no test row has a say in which candidate it is scored with. Where the parts are drawn at
random, this is done anew for each split. The few candidates themselves were drawn up by looking at such folds, never at
a test part, unless a script says otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from common import table
from data import Clock
from scipy import stats

import inputlayer as il

Settings = Mapping[str, Any]
Pair = tuple[Any, Any]  # tables: what is trained on, what is judged or tested on

WORKERS = 2
TRAINING = ("epochs", "lr", "weight_decay", "batch")


class Task(NamedTuple):
    """A claim's data and candidates.

    model   the untrained model of a candidate
    parts   number of the split -> training and test part
    folds   training part, number of the split -> pairs of its parts
    claims  score -> what its mean over splits and seeds is to reach
    splits  how many; `seeds`: models trained with the chosen settings, of each split
    """

    title: str
    candidates: Mapping[str, Settings]
    model: Callable[[Settings], il.Model]
    parts: Callable[[int], Pair]
    folds: Callable[[Any, int], Sequence[Pair]]
    claims: Mapping[str, float]
    splits: int = 1
    seeds: int = 1


def drawn(rows: Any, schema: il.Schema, share: float, seed: int) -> Pair:
    """`rows` without a random `share` of them, and that share; classes in equal shares."""
    rest, _, share_of = il.split(rows, schema, valid=0, test=share, seed=seed, stratify=True)
    return rest, share_of


def blocks(rows: pl.DataFrame, place: pl.Expr, count: int) -> list[Pair]:
    """`count` folds: rows whose `place`, a whole number, is that of the fold are held out."""
    return [(rows.filter(place != number), rows.filter(place == number)) for number in range(count)]


def scored(task: Task, name: str, pair: Pair, seed: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    settings = dict(task.candidates[name])
    if "--quick" in sys.argv:
        settings["epochs"] = min(settings["epochs"], 3)
    model = task.model(settings)
    training = {option: settings[option] for option in TRAINING if option in settings}
    model.fit(pair[0], seed=seed, device="cpu", **training)
    return model.evaluate(pair[1])


def judged(task: Task, name: str, split: int, fold: int) -> dict[str, float]:
    """A candidate's scores on a fold of the training part."""
    train, _ = task.parts(split)
    found = scored(task, name, task.folds(train, split)[fold], seed=split + fold)
    return {score: float(found[score]) for score in ("log_loss", "accuracy")}


def final(task: Task, name: str, split: int, seed: int) -> dict[str, float]:
    """The chosen candidate's scores on the test part, and its baselines' accuracy."""
    found = scored(task, name, task.parts(split), seed=split + seed)
    baselines = {baseline: float(each["accuracy"]) for baseline, each in found["baselines"].items()}
    return {**{score: float(found[score]) for score in (*task.claims, "log_loss")}, **baselines}


def choose(task: Task, pool: Executor, splits: Sequence[int]) -> list[str]:
    """The best candidate of each split; prints what they were judged by."""
    folds = 1 if "--quick" in sys.argv else len(task.folds(task.parts(0)[0], 0))
    jobs = [(name, split, fold) for name in task.candidates for split in splits for fold in range(folds)]
    each = dict(zip(jobs, pool.map(judged, [task] * len(jobs), *zip(*jobs, strict=True)), strict=True))

    def mean(name: str, split: int, score: str) -> float:
        return float(np.mean([each[name, split, fold][score] for fold in range(folds)]))

    heads = [f"{score}, split {split}" for split in splits for score in ("log loss", "accuracy")]
    scores = [(split, score) for split in splits for score in ("log_loss", "accuracy")]
    rows = [[name, *(f"{mean(name, *score):.4f}" for score in scores)] for name in task.candidates]
    print(f"## {task.title}\n\nMeans of {folds} fold(s) of the training part:\n")
    print(table(["candidate", *heads], rows) + "\n")
    return [min(task.candidates, key=lambda name, split=split: mean(name, split, "log_loss")) for split in splits]  # type: ignore[misc]


def report(task: Task, chosen: Sequence[str], scores: Mapping[tuple[int, int], Mapping[str, float]]) -> str:
    """The test scores of each run, their mean, and whether the claims are met."""
    shown = list(dict.fromkeys(score for found in scores.values() for score in found))
    rows = [[s, seed, chosen[s], *(f"{found[n]:.4f}" for n in shown)] for (s, seed), found in scores.items()]
    values = {score: [found[score] for found in scores.values()] for score in shown}
    rows.append(["mean", "", "", *(f"{np.mean(values[score]):.4f}" for score in shown)])
    lines = [table(["split", "seed", "chosen", *shown], rows), ""]
    for score, least in task.claims.items():
        reached = "reaches" if np.mean(values[score]) >= least else "DOES NOT REACH"
        lines.append(f"The mean {score} {reached} {least} ({doubt(values[score])}).")
    return "\n".join(lines)


def doubt(values: Sequence[float]) -> str:
    """Student's 95 % interval of the mean; it speaks of the runs, not of other data."""
    if len(values) < 2:
        return "one run, no interval"
    half = float(stats.t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return f"95 % interval over runs ± {half:.4f}"


def main(task: Task) -> None:
    """Print how the choice was made, then the scores. ``--quick``: one split, one fold, one seed, three epochs;
    ``--search``: the choice alone, without a look at the test part."""
    quick = "--quick" in sys.argv
    clock, splits, seeds = Clock(), range(1 if quick else task.splits), range(1 if quick else task.seeds)
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        chosen = choose(task, pool, splits)
        print("Chosen: " + ", ".join(dict.fromkeys(chosen)) + ".\n")
        if "--search" not in sys.argv:
            jobs = [(split, seed) for split in splits for seed in seeds]
            names = [chosen[split] for split, _ in jobs]
            found = pool.map(final, [task] * len(jobs), names, *zip(*jobs, strict=True))
            print(report(task, chosen, dict(zip(jobs, found, strict=True))))
    print(f"\n{clock.line(1)} {WORKERS} runs at a time.\n")
