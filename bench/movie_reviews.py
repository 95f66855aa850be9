"""Claim: whether a sentence of a film review praises or pans is told from the raw sentence with an accuracy of at least
0.77: mean of five random 90/10 splits, no pretrained vectors, settings chosen within each training part (on a random
tenth of it).

The sentence may stand in two columns: its words are the steps; in the second they are one vector at each step, the mean
of their embeddings, which is what a bag of words sees.

``--quick``: one split, three epochs; ``--search``: the choice alone.
"""

from __future__ import annotations

from typing import Any

from data import movie_reviews
from nested import Pair, Settings, Task, drawn, main

import inputlayer as il

ALL = {"bag": False, "reduce": "mean", "dropout": 0.3, "epochs": 3, "lr": 1e-3, "batch": 32}
CANDIDATES: dict[str, Settings] = {
    "maximum": {**ALL, "reduce": "max"},
    "mean": ALL,
    "maximum, with the bag": {**ALL, "reduce": "max", "bag": True},
}


def schema(settings: Settings) -> il.Schema:
    columns: dict[str, Any] = {"sentence": il.Text(dropout=settings["dropout"]), "label": il.Category()}
    if settings["bag"]:
        columns["bag"] = il.Text(dropout=settings["dropout"])
    return il.Schema(columns, il.Cells(steps="sentence"), target="label")


def model(settings: Settings) -> il.Model:
    body = il.LSTM(units=64, bidirectional=True, dropout=0.5, reduce=settings["reduce"])
    return il.Model(il.InputLayer(schema(settings)), body)


def parts(split: int) -> Pair:
    return drawn(movie_reviews(), schema(ALL), 0.1, split)


def folds(train: Any, split: int) -> list[Pair]:
    return [drawn(train, schema(ALL), 0.1, split)]


TASK = Task(
    title="Movie reviews, 10,662 sentences",
    candidates=CANDIDATES,
    model=model,
    parts=parts,
    folds=folds,
    claims={"accuracy": 0.77},
    splits=5,
)

if __name__ == "__main__":
    main(TASK)
