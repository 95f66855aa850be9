"""Claim: a two-way LSTM over rows of pixels reads MNIST digits from 5,000 pictures: accuracy of at least 0.965, mean of
3 seeds, on 1,000 test pictures.

The settings are chosen on every fifth training picture, held out of the training part; the candidates were written down
before the test part was looked at.

``--quick``: one seed, three epochs; ``--search``: the choice alone.
"""

from __future__ import annotations

import tarfile

import polars as pl
from common import data_file
from nested import Pair, Settings, Task, blocks, main

import inputlayer as il

ALL = {"units": 96, "layers": 1, "reduce": "max", "dropout": 0.3, "epochs": 25, "lr": 2e-3, "batch": 32}
CANDIDATES: dict[str, Settings] = {
    "maximum": ALL,
    "mean": {**ALL, "reduce": "mean"},
    "maximum, two layers": {**ALL, "layers": 2},
}


def pictures(part: str) -> pl.DataFrame:
    """``"train"`` or ``"test"``: `digit`, text, and `picture`, the bytes of a file."""
    rows = []
    with tarfile.open(data_file("mnist/mnist_6000.tar")) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            held = archive.extractfile(member)
            if held is not None and member.name.startswith(f"{part}/") and member.name.endswith(".png"):
                rows.append({"picture": held.read(), "digit": member.name.split("/")[1]})
    return pl.DataFrame(rows)


def model(settings: Settings) -> il.Model:
    columns = {"picture": il.Image(), "digit": il.Category()}
    options = {name: settings[name] for name in ("units", "layers", "dropout", "reduce")}
    schema = il.Schema(columns, il.Cells(steps="picture"), target="digit")
    return il.Model(il.InputLayer(schema), il.LSTM(bidirectional=True, **options))


def parts(split: int) -> Pair:
    return pictures("train"), pictures("test")


def folds(train: pl.DataFrame, split: int) -> list[Pair]:
    return blocks(train, pl.int_range(pl.len()) % 5, 1)


TASK = Task(
    title="MNIST by rows, 1,000 test pictures, trained on 5,000",
    candidates=CANDIDATES,
    model=model,
    parts=parts,
    folds=folds,
    claims={"accuracy": 0.965},
    seeds=3,
)

if __name__ == "__main__":
    main(TASK)
