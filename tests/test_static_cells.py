"""A static column of many entries a cell, such as a text, counts wherever it is read: predicted, streamed, exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import inputlayer as il

pytest.importorskip("onnxruntime")

LENGTH = 4
SEQUENCES: dict[str, Any] = {
    "ahead": il.Windows("t", LENGTH, horizon=2, by="site"),
    "short, ahead": il.Windows("t", 50, horizon=2, by="site", pad_short=True),
    "now": il.Windows("t", LENGTH, horizon=0, by="site"),
    "groups": il.Groups("site", order="t"),
    "a target per step": il.Groups("site", order="t", per_step=True),
}
KINDS: dict[str, tuple[Any, tuple[Any, Any], Any]] = {
    "text": (il.Text(role="static", min_count=1), ("it rises", "it falls"), "it stands"),
    "series": (il.Series(role="static"), ([1.0, 2.0], [float("nan"), -3.0, 1.0]), [1.0, 5.0]),
    "audio": (il.Audio(role="static", rate=1000, bands=4), ([0.5, 0.1] * 40, [0.2] * 50), [0.5, 0.2] * 40),
    "image": (il.Image(role="static"), ([[1, 200]], [[250, 4]]), [[9, 9]]),
    "vector": (il.Vector(role="static"), ([1.0, 2.0], [-3.0, 1.0]), [2.0, 2.0]),
    "category": (il.Category(role="static"), ("up", "down"), "level"),
}
ROWS = 6


def rows(cells: tuple[Any, Any], kept: tuple[int, ...] = tuple(range(ROWS))) -> dict[str, list[Any]]:
    """Two series of like loads; the cells stand in the rows `kept` of each."""
    load = [float(i % 3) for i in range(ROWS)]
    named = [cell if i in kept else None for cell in cells for i in range(ROWS)]
    sites, t = ["a"] * ROWS + ["b"] * ROWS, [*range(ROWS), *range(ROWS)]
    return {"site": sites, "t": t, "temp": load * 2, "load": load * 2, "about": named}


def drawn(sequence: Any, column: Any, table: Any) -> il.Model:
    role = {} if getattr(sequence, "horizon", 0) else {"role": "target"}
    columns = {"temp": il.Number(), "about": column, "load": il.Number(**role)}
    if sequence.kind == "groups" and not sequence.per_step:
        table = {**table, "load": [1.0] * ROWS + [2.0] * ROWS}
    model = il.Model(il.InputLayer(il.Schema(columns, sequence, target="load")), il.LSTM(6))
    model.fit(table, epochs=0, seed=3)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.mul_(3)  # so that a static cell that is not read is seen
    return model


def both(name: str, kind: str, folder: Path) -> tuple[il.Model, il.OnnxModel, Any, np.ndarray]:
    """A model and the file it wrote, the table they are of, and what is predicted of it."""
    column, cells, _ = KINDS[kind]
    whole = rows(cells)
    model = drawn(SEQUENCES[name], column, whole)
    model.export(folder / "model.onnx")
    return model, il.OnnxModel(folder / "model.onnx"), whole, model.predict(whole)["load"].to_numpy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SEQUENCES)
def test_it_counts_wherever_the_series_holds_it(name: str, kind: str, tmp_path: Path) -> None:
    _, cells, other = KINDS[kind]
    model, served, whole, wanted = both(name, kind, tmp_path)
    half = len(wanted) // 2
    assert np.abs(wanted[:half] - wanted[half:]).max() > 1e-3  # only this column tells the series apart
    for kept in (range(ROWS), (0,), (2,), (1, 4), (ROWS - 1,)):
        table = rows(cells, tuple(kept))
        np.testing.assert_allclose(model.predict(table)["load"], wanted, rtol=0, atol=1e-6)
        np.testing.assert_allclose(served.predict(table)["load"], wanted, rtol=0, atol=1e-5)
    mixed = {**whole, "about": [*whole["about"][:-1], other]}
    for predict in (model.predict, served.predict):
        with pytest.raises(il.TableError, match=r"'about': has several values within one (series|group): 'b'"):
            predict(mixed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SEQUENCES)
def test_a_stream_is_told_once(name: str, kind: str, tmp_path: Path) -> None:
    _, cells, other = KINDS[kind]
    model, served, _, wanted = both(name, kind, tmp_path)
    wanted = wanted.reshape(2, -1)
    ends = wanted if getattr(SEQUENCES[name], "horizon", 0) else wanted[:, -1]
    for stream in (model.stream(), served.stream()):
        pushed = pl.DataFrame(rows(cells, (0,)), strict=False).to_dicts()
        answers = [stream.push(row) for row in pushed]
        for series in (0, 1):
            found = answers[(series + 1) * ROWS - 1]["load"]
            np.testing.assert_allclose(found, ends[series], rtol=0, atol=1e-5)
        with pytest.raises(il.TableError, match=r"'about': has several values within one (series|group): 'a'"):
            stream.push({**pushed[ROWS - 1], "t": ROWS, "about": other})


def test_a_text_that_decides_the_answer_is_learnt_and_predicted(tmp_path: Path) -> None:
    table: dict[str, list[Any]] = {"site": [], "t": [], "load": [], "about": []}
    for i, start in enumerate(np.random.default_rng(0).normal(size=40).tolist()):
        up = i % 2 == 0  # of this the look-back says nothing
        table["site"] += [f"s{i}"] * 13
        table["t"] += range(13)
        table["load"] += [start + 0.01 * t for t in range(10)] + [start + (1.0 if up else -1.0)] * 3
        table["about"] += ["it will rise" if up else "it will fall"] * 13
    columns = {"load": il.Number(), "about": il.Text(role="static", min_count=1)}
    schema = il.Schema(columns, il.Windows("t", 10, horizon=3, by="site"), target="load")
    model = il.Model(il.InputLayer(schema, [il.InstanceNorm("last")]), il.LSTM(8))
    model.fit(table, epochs=15, batch=8, lr=0.02, seed=0)
    frame = pl.DataFrame(table)
    asked = frame.filter(pl.col("t") < 10)
    direct = model.backtest(frame).sort("site", "step")
    found = model.predict(asked).sort("site", "step")
    np.testing.assert_allclose(found["load"], direct["load"], rtol=0, atol=1e-6)
    assert (direct["load"] - direct["load_true"]).abs().mean() < 0.3  # 1.0 without the text
    model.export(tmp_path / "model.onnx")
    served = il.OnnxModel(tmp_path / "model.onnx").predict(asked)
    np.testing.assert_allclose(served["load"], model.predict(asked)["load"], rtol=0, atol=1e-5)
