"""Small tables and schemas for tests of the whole road: all kinds of columns, all three sequences."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

import inputlayer as il

START = datetime(2024, 1, 1)


def panel(rows: tuple[int, ...] = (40, 25), seed: int = 0) -> pl.DataFrame:
    """Hourly rows of a few sites, in order. Numbers are eighths, so that their sums are exact in any order."""
    draw = np.random.default_rng(seed)
    frames = []
    for i, count in enumerate(rows):
        load = draw.integers(-80, 80, count) / 8
        frames.append(
            pl.DataFrame(
                {
                    "site": ["north", "south", "east"][i],
                    "time": [START + timedelta(hours=h) for h in range(count)],
                    "load": load,
                    "temp": pl.Series([None if draw.random() < 0.2 else v for v in load], dtype=pl.Float64),
                    "wind": pl.Series([[None, "N", "S", "W"][k] for k in draw.integers(0, 4, count)], dtype=pl.String),
                    "holiday": draw.random(count) < 0.3,
                    "size": float(10 * i),
                    "label": ["a", "b", "a"][i],
                    "hot": load > 1,
                }
            )
        )
    return pl.concat(frames)


def windows(length: int = 6, horizon: int = 3, **options: Any) -> il.Schema:
    """Windows over `panel`, with every kind that has one value per row, and every role."""
    return il.Schema(
        columns={
            "time": il.Timestamp(parts=("hour",), elapsed=True),
            "load": il.Number(),
            "temp": il.Number(scale="quantile", fill="forward", since=True),
            "wind": il.Category(),
            "holiday": il.Flag(role="known" if horizon else "observed"),
            "size": il.Number(role="static"),
            "site": il.Category(role="static"),
        },
        sequence=il.Windows("time", length, horizon, by="site", **options),
        target="load",
    )


def groups(**options: Any) -> il.Schema:
    """Groups of `panel`: one class for each site, or with per_step=True one for each row."""
    target = "hot" if options.get("per_step") else "label"
    kinds = {"hot": il.Flag(), "label": il.Category()}
    return il.Schema(
        columns={
            "temp": il.Number(fill="forward"),
            "wind": il.Category(),
            "holiday": il.Flag(),
            "time": il.Timestamp(parts=("hour",)),
            target: kinds[target],
        },
        sequence=il.Groups("site", order="time", **options),
        target=target,
    )


def waves(rows: int = 24, seed: int = 0) -> pl.DataFrame:
    """A row per sample; its cell holds the steps, of uneven number."""
    draw = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "wave": [(draw.integers(-8, 8, draw.integers(1, 7)) / 4).tolist() for _ in range(rows)],
            "wind": [[None, "N", "S"][k] for k in draw.integers(0, 3, rows)],
            "mass": draw.integers(0, 50, rows) / 8,
            "score": draw.integers(0, 50, rows) / 8,
        }
    )


def cells() -> il.Schema:
    """Samples of `waves`."""
    return il.Schema(
        columns={"wave": il.Series(), "wind": il.Category(), "mass": il.Number(), "score": il.Number()},
        sequence=il.Cells(steps="wave"),
        target="score",
    )


ROADS: dict[str, tuple[il.Schema, pl.DataFrame]] = {
    "windows": (windows(), panel()),
    "windows, horizon 0": (windows(horizon=0), panel()),
    "groups": (groups(), panel((9, 5, 7))),
    "groups, per step": (groups(per_step=True), panel((9, 5, 7))),
    "cells": (cells(), waves()),
}


def assert_refused_without_effect(model: Any, table: pl.DataFrame, change: dict[str, Any], message: str) -> None:
    """A stream of `model` (or of its file) refuses the tenth row of `panel` when changed, and is as it was before."""
    stream, untouched = model.stream(), model.stream()
    for row in table[:9].to_dicts():
        stream.push(row)
        untouched.push(row)
    row = table.to_dicts()[9]
    for wrong in ({**row, **change}, [{**row, **change}, row]):
        with pytest.raises(il.TableError, match=message):
            stream.push(wrong)
    assert stream.push(row) == untouched.push(row)
