"""Claim: `il.recipe`, given the training rows and a schema and tuned by nothing else, reaches an RMSE of 25.5 on PM2.5
one hour ahead (mean of 3 seeds) and names the speaker of JapaneseVowels with an accuracy of 0.985 (mean of 5 seeds).

PM2.5: rows, split and schema of ``bench/pm25.py``. The schema is what its user chose: 24 hours of look-back, the wind's
direction as a category, the hour of the day, PM2.5 once as the protocol has it and once with its gaps left open, the
wind's speed and the rain on a logarithmic scale. Stages, body, loss and training are the recipe's; that script has its
own, chosen for this data. JapaneseVowels: the 270 training utterances, 12 channels whose steps are the sequence's, and
the speaker; nothing there is a choice.

Nothing is chosen here, so no part is held out to choose by: each model trains on all training rows for as many epochs
as the recipe says, and is scored once on the test part. The recipe's constants are the same for all data.

``--workers 1``: runs at a time; ``--quick``: one seed each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import japanese_vowels
import numpy as np
import pm25
import torch
from common import table
from data import Clock

import inputlayer as il

WORKERS = 2


class Claim(NamedTuple):
    """Training part, test part and schema; the score, what its mean over `seeds` is to reach, and whether at most."""

    task: str
    data: Callable[[], tuple[Any, Any, il.Schema]]
    score: str
    target: float
    at_most: bool
    seeds: int

    def met(self, mean: float) -> bool:
        return mean <= self.target if self.at_most else mean >= self.target


def hours() -> tuple[Any, Any, il.Schema]:
    return *pm25.parts(), pm25.schema()


def voices() -> tuple[Any, Any, il.Schema]:
    return *japanese_vowels.parts(0), japanese_vowels.schema()


CLAIMS: Mapping[str, Claim] = {
    "PM2.5, one hour ahead": Claim("forecast", hours, "rmse", 25.5, True, 3),
    "JapaneseVowels": Claim("classify", voices, "accuracy", 0.985, False, 5),
}


def run(name: str, seed: int) -> tuple[float, float]:
    """The score on the test part, and the seconds of training."""
    torch.set_num_threads(1)
    claim = CLAIMS[name]
    train, test, schema = claim.data()
    model = il.recipe(claim.task, train, schema).model()
    history = model.fit(train, seed=seed, device="cpu")
    # A class needs no rows before its own; a forecast's first windows reach back into the training part.
    scores = model.evaluate(test, context=train) if claim.task == "forecast" else model.evaluate(test)
    print(name, seed, f"{scores[claim.score]:.4f}, {sum(history.seconds):.0f} s", file=sys.stderr, flush=True)
    return float(scores[claim.score]), sum(history.seconds)


def row(name: str, found: np.ndarray) -> list[str]:
    """One line of the table: `found` (seeds, 2) are scores and seconds."""
    claim, mean = CLAIMS[name], float(found[:, 0].mean())
    said = f"{'at most' if claim.at_most else 'at least'} {claim.target}: {'met' if claim.met(mean) else 'NOT MET'}"
    digits = 3 if claim.at_most else 4
    each = ", ".join(f"{score:.{digits}f}" for score in found[:, 0])
    return [name, claim.score, f"{mean:.{digits}f}", each, said, f"{found[:, 1].mean():.0f}"]


def main() -> None:
    given, clock = sys.argv[1:], Clock()
    workers = int(given[given.index("--workers") + 1]) if "--workers" in given else WORKERS
    jobs = [(name, seed) for name, c in CLAIMS.items() for seed in range(1 if "--quick" in given else c.seeds)]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        found = dict(zip(jobs, pool.map(run, *zip(*jobs, strict=True)), strict=True))
    rows = [row(name, np.array([pair for job, pair in found.items() if job[0] == name])) for name in CLAIMS]
    print("## The recipe without tuning, on the test part\n")
    print(table(["data", "score", "mean", "by seed", "claim", "seconds of a training"], rows))
    print(f"\n{clock.line(1)} {workers} run(s) at a time.\n")


if __name__ == "__main__":
    main()
