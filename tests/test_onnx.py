"""An exported file answers as Python does: every road, kind, stage, body and head; and it says what it cannot take."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import inputlayer as il
from samples import ROADS

from inputlayer.onnx.export import Exported  # isort: skip


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
    model = trained(schema, frame)
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
