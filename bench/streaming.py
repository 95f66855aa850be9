"""Claim: 10,000 rows of Beijing's PM2.5 pushed one by one, with all that is kept saved to a file and taken up again in
the middle, are predicted as the whole table is: within 1e-6, in units of the target's training spread, from windows and
from a state carried. One row through the exported file, with onnxruntime and NumPy alone, takes at most 0.4 of what it
takes with PyTorch.

Windows: 24 hours of 9 columns, the level taken off, LSTM(64), the next hour. Carried: each year is a group, a target at
each hour, LSTM(64). The weights are as good as drawn: one epoch of 2,000 hours.

``--quick``: 1,000 rows.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from common import table
from data import Clock
from pm25 import hours

import inputlayer as il

FIT, ROWS, TURNS = 2000, 10_000, 20


def columns() -> dict[str, Any]:
    numbers = {name: il.Number(fill="forward", since=name == "seen") for name in ("seen", "DEWP", "TEMP", "PRES")}
    skewed = {name: il.Number(scale="log") for name in ("Iws", "Is", "Ir")}
    return {"date": il.Timestamp(parts=("hour",)), **numbers, **skewed, "cbwd": il.Category(), "pm": il.Number()}


def windows(train: pl.DataFrame) -> il.Model:
    schema = il.Schema(columns(), il.Windows("date", length=24, horizon=1), target="pm")
    model = il.Model(il.InputLayer(schema, stages=[il.InstanceNorm("last")]), il.LSTM(64))
    model.fit(train, epochs=1, device="cpu")
    return model


def carried(train: pl.DataFrame) -> il.Model:
    schema = il.Schema(columns(), il.Groups("year", order="date", per_step=True), target="pm")
    model = il.Model(il.InputLayer(schema), il.LSTM(64))
    model.fit(train, epochs=1, device="cpu")
    return model


def pushed(maker: Any, rows: list[dict[str, Any]], file: Path) -> tuple[np.ndarray, float]:
    """Every answer, NaN where there is none, with a save in the middle; and rows per second of the quickest stretch."""
    stream, answers, seconds = maker.stream(), [], []
    half, stretch = len(rows) // 2, len(rows) // TURNS
    for start in range(0, len(rows), stretch):
        if start <= half < start + stretch:
            stream.save(file)
            stream = maker.stream(file)
        before = time.perf_counter()
        answers += [stream.push(row) for row in rows[start : start + stretch]]
        seconds.append(time.perf_counter() - before)
    values = [np.nan if answer is None else float(np.ravel(answer["pm"])[0]) for answer in answers]
    return np.array(values), stretch / min(seconds)


def turns(python: Any, onnx: Any, rows: list[dict[str, Any]]) -> np.ndarray:
    """Median seconds of one row with each, in turns, so that both see the same machine: by the clock, of the processor.

    Shape: (2 clocks, 2 systems).
    """
    streams, laps = (python.stream(), onnx.stream()), np.zeros((len(rows), 2, 2))
    for i, row in enumerate(rows):
        for j, stream in enumerate(streams):
            before = time.perf_counter(), time.process_time()
            stream.push(row)
            laps[i, :, j] = time.perf_counter() - before[0], time.process_time() - before[1]
    medians: np.ndarray = np.median(laps[len(rows) // 10 :], axis=0)  # the first rows have no whole window
    return medians


def main() -> None:
    torch.set_num_threads(1)
    clock, count = Clock(), 1_000 if "--quick" in sys.argv else ROWS
    every = hours().with_columns(year=pl.col("date").dt.year())
    test = every[FIT : FIT + count]
    rows, lines = test.to_dicts(), []
    for name, model in (("windows of 24 rows", windows(every[:FIT])), ("state carried", carried(every[:FIT]))):
        whole = model.backtest(test)["pm"].to_numpy()
        spread = model.fitted.states["pm"].spread
        with tempfile.TemporaryDirectory() as folder:
            model.export(Path(folder) / "model.onnx")
            onnx = il.OnnxModel(Path(folder) / "model.onnx")
            apart, rates = [], []
            for maker in (model, onnx):
                found, rate = pushed(maker, rows, Path(folder) / "state")
                found = found[~np.isnan(found)][: len(whole)]
                assert len(found) == len(whole)
                apart.append(float(np.abs(found - whole).max()) / spread)
                rates.append(rate)
            each = turns(model, onnx, rows[:2_000])
        times = [f"{1e6 * one:.0f}, {1e6 * other:.0f}: {other / one:.2f}" for one, other in each]
        lines.append([name, *(f"{x:.1e}" for x in apart), *(f"{x:,.0f}" for x in rates), *times])
    head = ["", "Python from batch", "ONNX from batch", "Python rows/s", "ONNX rows/s"]
    print(table([*head, "µs a row, Python, ONNX: ratio", "of the processor"], lines))
    print(f"Target: at most 1e-6 (in units of the training spread) and 0.4. {clock.line(1)}")


if __name__ == "__main__":
    main()
