"""Claim: spam among SMS messages (duplicates dropped) is found with an accuracy of at least 0.985 and an F1 of at least
0.94: mean of three stratified 80/20 splits, each with its own seed, no pretrained weights, settings chosen within each
training part (on a random fifth of it).

The message stands in two columns: its words are the steps; its characters are one vector at each step, the mean of
their embeddings, since the digits of a number never seen before tell as much as a word.

``--quick``: one split, three epochs; ``--search``: the choice alone.
"""

from __future__ import annotations

from typing import Any

from data import sms_spam
from nested import Pair, Settings, Task, drawn, main

import inputlayer as il

ALL = {"epochs": 6, "lr": 1e-3, "batch": 32}
CANDIDATES: dict[str, Settings] = {
    "words": {"characters": False, "dropout": 0.1, **ALL},
    "words and characters": {"characters": True, "dropout": 0.1, **ALL},
    "the same, less dropped": {"characters": True, "dropout": 0.0, **ALL},
    "the same, more dropped, longer": {"characters": True, "dropout": 0.2, **ALL, "epochs": 8},
}


def schema(settings: Settings) -> il.Schema:
    columns: dict[str, Any] = {"message": il.Text(dropout=settings["dropout"]), "label": il.Category()}
    if settings["characters"]:
        columns["letters"] = il.Text(tokens="character", lower=False)
    return il.Schema(columns, il.Cells(steps="message"), target="label")


def model(settings: Settings) -> il.Model:
    body = il.LSTM(units=48, bidirectional=True, dropout=0.3, reduce="max")
    return il.Model(il.InputLayer(schema(settings)), body)


def parts(split: int) -> Pair:
    return drawn(sms_spam(), schema(CANDIDATES["words"]), 0.2, split)


def folds(train: Any, split: int) -> list[Pair]:
    return [drawn(train, schema(CANDIDATES["words"]), 0.2, split)]


TASK = Task(
    title="SMS spam, 5,171 messages",
    candidates=CANDIDATES,
    model=model,
    parts=parts,
    folds=folds,
    claims={"accuracy": 0.985, "f1_positive": 0.94},
    splits=3,
)

if __name__ == "__main__":
    main(TASK)
