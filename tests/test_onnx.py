"""An exported file answers as Python does: every road, kind, stage, body and head; and it says what it cannot take."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import inputlayer as il
from inputlayer.bodies import BODIES, DECODERS
from inputlayer.columns import KINDS
from inputlayer.heads import HEADS
from inputlayer.onnx.export import Exported
from inputlayer.stages import STAGES
from samples import ROADS


def trained(schema: il.Schema, frame: Any, stages: Any = (), body: Any = None, head: Any = None) -> il.Model:
    model = il.Model(il.InputLayer(schema, stages), body or il.LSTM(4), head)
    model.fit(frame, epochs=1)
    return model


def exported(model: il.Model, folder: Path, table: Any = None) -> tuple[Exported, il.OnnxModel]:
    path = folder / "model.onnx"
    told = model.export(path, table)
    return told, il.OnnxModel(path)


def next_rows(frame: pl.DataFrame, horizon: int) -> pl.DataFrame:
    """What is known ahead of `panel`."""
    last = frame.group_by("site", maintain_order=True).agg(pl.col("time").max())
    steps = [last.with_columns(pl.col("time") + timedelta(hours=h), holiday=h % 2 == 0) for h in range(1, horizon + 1)]
    return pl.concat(steps)


def assert_same(found: dict[str, np.ndarray], wanted: pl.DataFrame) -> None:
    assert list(found) == wanted.columns
    for name in wanted.columns:
        column = wanted[name].to_numpy()
        if column.dtype.kind == "f":
            np.testing.assert_allclose(found[name], column, rtol=1e-5, atol=1e-5)
        else:
            assert (found[name] == column).all(), name


@pytest.mark.parametrize("road", ROADS)
def test_a_table_is_answered_as_python_answers_it(road: str, tmp_path: Path) -> None:
    schema, frame = ROADS[road]
    model = drawn_model(schema, frame)
    told, served = exported(model, tmp_path, frame)
    assert told.error <= 1e-6
    ahead = {"future": next_rows(frame, 3)} if schema.horizon else {}
    assert_same(served.predict(frame, **ahead), model.predict(frame, **ahead))


def test_windows_of_numbers(tmp_path: Path) -> None:
    frame = {"day": list(range(60)), "load": [float(i % 7) for i in range(60)]}
    schema = il.Schema({"load": il.Number()}, il.Windows("day", length=14, horizon=2), target="load")
    model = trained(schema, frame, [il.InstanceNorm("last")])
    _, served = exported(model, tmp_path)
    assert_same(served.predict(frame), model.predict(frame))
    whole = np.lib.stride_tricks.sliding_window_view(np.array(frame["load"]), 14)[:-2]
    wanted = model.backtest(frame)["load"].to_numpy().reshape(-1, 2)
    np.testing.assert_allclose(served.predict({"load": whole})["load"], wanted, rtol=1e-6)


def test_serving_loads_neither_torch_nor_polars(tmp_path: Path) -> None:
    schema, frame = ROADS["groups"]
    exported(trained(schema, frame), tmp_path)
    code = (
        "import sys, inputlayer as il\n"
        "model = il.OnnxModel('model.onnx')\n"
        "rows = {'temp': [1.0, None], 'wind': ['N', None], 'holiday': [True, 0], 'site': ['a', 'a']}\n"
        "print(len(model.predict(rows | {'time': ['2024-01-01', '2024-01-02T03:00']})['label']))\n"
        "print([m for m in ('torch', 'polars', 'onnx', 'pandas', 'lightning') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n[]\n", "")


# -- every kind in every place ----------------------------------------------------------------------------------------

ROWS = 24


def columns_of(kind: str, role: str) -> tuple[dict[str, Any], dict[str, pl.Series]]:
    """Every example of a kind as a column of its own, and cells for it: what its author trains on and probes with."""
    made, cells = {}, {}
    for i, example in enumerate(KINDS[kind].examples()):
        options = {f.name: getattr(example.column, f.name) for f in fields(example.column)} | {"role": role}
        try:
            made[f"{kind}{i}"] = type(example.column)(**options)
        except il.OptionError:  # an option that has no effect in this role
            continue
        column = pl.Series([*example.train, *example.probe], dtype=example.dtype, strict=example.dtype is not None)
        cells[f"{kind}{i}"] = column.gather(pl.Series(np.arange(ROWS) % len(column)))
    return made, cells


def rows_of(cells: dict[str, pl.Series], static: bool) -> pl.DataFrame:
    """Two series of a dozen rows, a target with gaps, and the cells, one for each series where they are static."""
    at = np.arange(ROWS)
    frame = pl.DataFrame(
        {"t": at % 12, "g": ["a" if i < 12 else "b" for i in at], "y": [None if i % 7 == 3 else i / 4 for i in at]}
    )
    return frame.with_columns((c.gather(pl.Series(at // 12)) if static else c).alias(name) for name, c in cells.items())


SEQUENCES: dict[str, Any] = {
    "windows": il.Windows("t", 4, 2, by="g"),
    "short windows": il.Windows("t", 5, 0, by="g", pad_short=True),
    "groups": il.Groups("g", "t", per_step=True, max_length=9),
    "cells": il.Cells(),
}
PLACES = [
    (kind, sequence, role)
    for kind in KINDS
    for sequence, roles in (
        ("windows", ("observed", "known", "static")),
        ("short windows", ("observed",)),
        ("groups", ("observed", "static")),
        ("cells", ("observed",)),
    )
    for role in roles
]


def drawn_model(schema: il.Schema, frame: Any, stages: Any = (), body: Any = None, head: Any = None) -> il.Model:
    model = il.Model(il.InputLayer(schema, stages), body or il.LSTM(3), head)
    model.fit(frame, epochs=0)
    return model


@pytest.mark.parametrize(("kind", "sequence", "role"), PLACES)
def test_every_kind_in_every_place(kind: str, sequence: str, role: str, tmp_path: Path) -> None:
    made, cells = columns_of(kind, role)
    if not made:
        with pytest.raises(il.OptionError):
            type(KINDS[kind].examples()[0].column)(role=role)
        return
    frame = rows_of(cells, role == "static")
    schema = il.Schema({**made, "y": il.Number(fill="forward")}, SEQUENCES[sequence], target="y")
    told, served = exported(drawn_model(schema, frame), tmp_path, frame)
    assert told.error <= 2e-6
    assert served.self_test() <= 1e-6


@pytest.mark.parametrize(
    ("kind", "example"), [(k, i) for k, c in KINDS.items() if c.steps for i in range(len(c.examples()))]
)
def test_every_kind_as_the_steps(kind: str, example: int, tmp_path: Path) -> None:
    made, cells = columns_of(kind, "observed")
    name = f"{kind}{example}"
    frame = rows_of({name: cells[name]}, False).with_columns(label=pl.lit("x"), size=pl.lit(1.0))
    columns = {name: made[name], "y": il.Flag(), "size": il.Number(), "label": il.Category()}
    schema = il.Schema(columns, il.Cells(steps=name), target="y")
    model = drawn_model(schema, frame.with_columns(y=pl.col("t") > 5), body=il.GRU(3, reduce="attention"))
    told, served = exported(model, tmp_path, frame)
    assert told.error <= 2e-6
    assert_same(served.predict(frame), model.predict(frame))


# -- every stage, body, decoder and head ------------------------------------------------------------------------------

_PARTS = il.Schema(
    {
        "a": il.Number(),
        "b": il.Number(scale="log"),
        "size": il.Number(role="static"),
        "wind": il.Category(role="known"),
        "t": il.Timestamp(parts=("hour",), elapsed=True),
    },
    il.Windows("t", 8, 3, by="g", pad_short=True),
    target=["a", "b"],
)
STAGE_CASES = [
    pytest.param([stage], id=f"{kind}-{i}") for kind, c in STAGES.items() for i, stage in enumerate(c.examples())
] + [pytest.param([il.Difference(), il.InstanceNorm("standard"), il.PerChannel(2), il.Patch(3)], id="all")]
BODY_CASES = [
    *(pytest.param(body, id=f"{kind}-{i}") for kind, c in BODIES.items() for i, body in enumerate(c.examples())),
    *(pytest.param(il.LSTM(3, decoder=d), id=kind) for kind, c in DECODERS.items() for d in c.examples()),
]


def many(rows: tuple[int, ...] = (14, 11)) -> pl.DataFrame:
    """Series of two targets with gaps, an hour apart, some of them from another scale."""
    draw = np.random.default_rng(1)
    frames = []
    for i, count in enumerate(rows):
        a = draw.normal(100 * i, 3, count)
        frames.append(
            pl.DataFrame(
                {
                    "g": ["north", "south", "east"][i],
                    "t": [datetime(2024, 3, 30) + timedelta(hours=h) for h in range(count)],
                    "a": pl.Series([None if draw.random() < 0.2 else v for v in a.tolist()], dtype=pl.Float64),
                    "b": np.abs(a),
                    "size": float(i),
                    "wind": ["N", "S", None, "W"][i : i + 1] * count,
                }
            )
        )
    return pl.concat(frames)


@pytest.mark.parametrize("stages", STAGE_CASES)
def test_every_stage(stages: Any, tmp_path: Path) -> None:
    try:
        model = drawn_model(_PARTS, many(), stages)
    except (il.StageError, il.OptionError):
        pytest.skip("a stage of this example cannot stand before these columns")
    assert exported(model, tmp_path, many())[0].error <= 5e-6


@pytest.mark.parametrize("body", BODY_CASES)
def test_every_body_and_decoder(body: Any, tmp_path: Path) -> None:
    model = drawn_model(_PARTS, many(), [il.InstanceNorm("last"), il.PerChannel(2)], body)
    assert exported(model, tmp_path, many())[0].error <= 5e-6


@pytest.mark.parametrize("head", [h for c in HEADS.values() for h in c.examples()], ids=lambda h: str(h.options()))
@pytest.mark.parametrize("per_step", [False, True])
def test_every_head(head: Any, per_step: bool, tmp_path: Path) -> None:
    label = isinstance(head, il.Classes)
    frame = many((4, 9, 1)).with_columns(y=pl.col("b").cast(pl.Int64) % 3 if label else pl.col("b"))
    if not per_step:
        frame = frame.with_columns(pl.col("y").first().over("g"))
    if label and head.options()["weights"] not in (None, "balanced"):
        frame = frame.with_columns(y=pl.when(pl.col("y") > 0).then(pl.lit("a")).otherwise(pl.lit("z")))
    columns = {"a": il.Number(), "y": il.Category() if label else il.Number()}
    model = drawn_model(il.Schema(columns, il.Groups("g", "t", per_step=per_step), target="y"), frame, head=head)
    _, served = exported(model, tmp_path, frame)
    assert_same(served.predict(frame), model.predict(frame))
    crossed = served.predict(frame)
    levels = [name for name in crossed if "_q" in name]
    assert all((crossed[a] <= crossed[b]).all() for a, b in pairwise(levels))
