"""All nine kinds in one schema, in mixed roles: trained, saved, reloaded, predicting the same, for every sequence."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import inputlayer as il
from inputlayer.columns import KINDS
from inputlayer.columns.base import Column

SITES, EACH = 6, 14
RAGGED = ("series", "text", "audio", "image")


def rows(seed: int = 0) -> dict[str, list[Any]]:
    """A few sites, each with as many hours; every column but the target's misses some cells."""
    draw = np.random.default_rng(seed)
    count = SITES * EACH

    def some(make: Any) -> list[Any]:
        return [None if draw.random() < 0.15 else make() for _ in range(count)]

    def one_each(cells: list[Any]) -> list[Any]:
        return [cells[i // EACH] for i in range(count)]

    columns = {
        "number": some(lambda: draw.normal()),
        "category": some(lambda: "NESW"[draw.integers(4)]),
        "flag": some(lambda: bool(draw.random() < 0.5)),
        "time": [datetime(2024, 1, 1) + timedelta(hours=i % EACH) for i in range(count)],
        "series": some(lambda: draw.normal(size=draw.integers(1, 5)).tolist()),
        "text": some(lambda: " ".join(draw.choice(["good", "bad", "film", "so"], draw.integers(1, 6)))),
        "vector": some(lambda: draw.normal(size=3).tolist()),
        "audio": some(lambda: draw.normal(0, 0.1, draw.integers(300, 900)).tolist()),
        "image": some(lambda: draw.integers(0, 256, (4, 3)).tolist()),
    }
    # One of each kind for a whole site as well, missing in one of them.
    for name in [n for n in columns if n not in ("time", "category")]:
        cells = columns[name]
        columns[f"site {name}"] = one_each([None, *[next(c for c in cells[i:] if c is not None) for i in range(SITES)]])
    site = [f"s{i // EACH}" for i in range(count)]
    load = [0.3 * i + float(draw.normal()) for i in range(count)]
    return {**columns, "site": site, "load": load, "label": [["p", "n"][i // EACH % 2] for i in range(count)]}


def kinds(role: str = "observed") -> dict[str, Column]:
    """One column of each kind but the times, in a role."""
    options: dict[str, dict[str, Any]] = {
        "series": {"width": 3}, "text": {"min_count": 1, "width": 3}, "audio": {"rate": 8000, "bands": 8, "width": 3},
        "image": {"width": 3},
    }  # fmt: skip
    return {k: kind(role=role, **options.get(k, {})) for k, kind in KINDS.items() if k != "timestamp"}


def columns(target: str) -> dict[str, Column]:
    """Observed ones of every kind, static ones of most, and the target."""
    static = {f"site {n}": c for n, c in kinds("static").items() if n != "category"}
    goal = {"load": il.Number(), "label": il.Category()}[target]
    return {"time": il.Timestamp(parts=("hour",)), **kinds(), **static, target: goal}


def known(given: dict[str, Column], *names: str) -> dict[str, Column]:
    return {n: replace(c, role="known") if n in names else c for n, c in given.items()}


def schemas() -> dict[str, il.Schema]:
    """Every sequence over the same table."""
    found = {
        "windows": il.Schema(
            # Of some kinds what lies ahead is known as well: pooled, where a cell holds several entries.
            {**known(columns("load"), "flag", "text", "vector", "series"), "site": il.Category(role="static")},
            il.Windows("time", length=5, horizon=2, by="site"),
            target="load",
        ),
        "windows, horizon 0": il.Schema(columns("load"), il.Windows("time", 4, 0, by="site"), target="load"),
        "groups": il.Schema(columns("label"), il.Groups("site", order="time"), target="label"),
        "cells": il.Schema(columns("load"), il.Cells(), target="load"),
    }
    for name in RAGGED:
        found[f"cells, steps={name}"] = il.Schema(columns("load"), il.Cells(steps=name), target="load")
    return found


def trained(schema: il.Schema, table: dict[str, list[Any]]) -> il.Model:
    model = il.Model(il.InputLayer(schema), il.LSTM(units=4, bidirectional=True))
    model.fit(table, epochs=1, batch=16, device="cpu")
    return model


def told(model: il.Model, table: dict[str, list[Any]]) -> pl.DataFrame:
    windows = isinstance(model.layer.schema.sequence, il.Windows)
    return model.backtest(table) if windows else model.predict(table)


@pytest.mark.parametrize("name", schemas())
def test_nine_kinds_in_one_model(name: str, tmp_path: Path) -> None:
    schema, table = schemas()[name], rows()
    assert {c.kind for c in schema.columns.values()} == set(KINDS)
    model = trained(schema, table)
    model.save(tmp_path / "m.safetensors")
    again = il.load(tmp_path / "m.safetensors")
    wanted = told(model, table)
    assert told(again, table).equals(wanted)
    assert wanted.height
    numbers = wanted.select(pl.selectors.float()).to_numpy()
    assert np.isfinite(numbers).all()
    extras = {extra.removesuffix(" missing") for extra in model.layer.plan.extras if extra.endswith(" missing")}
    if not name.startswith("cells, steps="):
        assert {"series", "text", "audio", "image", "vector"} <= extras
    assert str(model.show(table))


@pytest.mark.parametrize("name", schemas())
def test_padding_and_mates_change_nothing(name: str) -> None:
    schema, table = schemas()[name], rows()
    model = trained(schema, table)
    network = model.network.eval()
    batches = model.layer.batches(table, 7)
    with torch.inference_mode():
        for batch in batches:
            together = network(batch)
            for i, number in enumerate(batch.index.tolist()):
                alone = network(batches.gather(torch.tensor([number])))[0]
                assert torch.allclose(together[i, : len(alone)], alone, atol=1e-5)


@pytest.mark.parametrize("name", ["windows", "groups", "cells"])
def test_missing_cells_of_every_kind_at_once(name: str) -> None:
    schema, table = schemas()[name], rows()
    model = trained(schema, table)
    kept = {"time", "site", "load", "label"}
    gone = {n: cells if n in kept else [None] * len(cells) for n, cells in table.items()}
    predicted = told(model, gone).select(pl.selectors.float()).to_numpy()
    assert np.isfinite(predicted).all()
