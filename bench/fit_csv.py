"""Claim: fitting a layer on a CSV file of 2,000,000 rows takes at most 2.5 times as long as polars reads that file.

8 numbers and 1 category of 50 values; 1 cell in 100 of two of the numbers is empty. Timed: `polars.read_csv(path)`, and
`il.InputLayer(schema).fit(path)`, which opens the file, guesses and checks the columns' types, learns all statistics
and writes the receipt. Three files, by what is done with the rows: windows over a whole-number order column; windows
over a time column, which polars is told to parse too (`try_parse_dates`); and samples of one row each (`Cells`), with
no order column, where the receipt holds a hash of each row's content.

Each run is a process of its own, polars and ours in turn, the file in the system's cache; imports are left out.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import System, installed, main, table

ROWS, NUMBERS, VALUES = 2_000_000, 8, 50
FILES = "BENCH_CSV_FILES"  # the folder of the files, for the processes that are measured
ORDERS = {"step": "`Windows`, whole-number order", "time": "`Windows`, time order", "": "`Cells`, no order"}


def file(order: str) -> Path:
    return Path(os.environ[FILES]) / f"{order or 'rows'}.csv"


def write() -> None:
    """Numbers with five to nine digits, as loggers write them."""
    import polars as pl

    draw = np.random.default_rng(0)
    columns: dict[str, Any] = {f"x{i}": (100 * draw.normal(size=ROWS)).round(3 + i % 4) for i in range(NUMBERS)}
    for name in ("x1", "x5"):
        columns[name] = pl.Series(columns[name]).set(pl.Series(draw.random(ROWS) < 0.01), None)
    words = np.array([f"kind {i}" for i in range(VALUES)])
    frame = pl.DataFrame({**columns, "kind": words[draw.integers(0, VALUES, ROWS)]})
    minutes = np.datetime64("2020-01-01T00:00:00", "us") + np.arange(ROWS) * np.timedelta64(60, "s")
    orders = {"step": np.arange(ROWS), "time": minutes}
    for order in ORDERS:
        made = frame.with_columns(pl.Series(order, orders[order])) if order else frame
        made.write_csv(file(order), datetime_format="%Y-%m-%d %H:%M:%S")


def read(order: str) -> dict[str, Any]:
    import polars as pl

    pl.DataFrame({"x": [1.0]}).select(pl.col("x").sum())  # starts the threads
    return timed(lambda: pl.read_csv(file(order), try_parse_dates=order == "time"))


def fit(order: str) -> dict[str, Any]:
    import inputlayer as il

    columns: dict[str, Any] = {f"x{i}": il.Number() for i in range(NUMBERS)}
    columns["kind"] = il.Category()
    sequence = il.Windows(order, length=96, horizon=24) if order else il.Cells()
    layer = il.InputLayer(il.Schema(columns, sequence, target="x0"))
    return timed(lambda: layer.fit(file(order)))


def timed(work: Any) -> dict[str, Any]:
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}


def reading(order: str) -> str:
    return f"read {order or 'rows'}"


def fitting(order: str) -> str:
    return f"fit {order or 'rows'}"


SYSTEMS = [
    System(name(order), partial(work, order), peer=False)
    for order in ORDERS
    for name, work in ((reading, read), (fitting, fit))
]


def report(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    rows = []
    for order, said in ORDERS.items():
        if not any(run for run in found.get(fitting(order), [])):
            continue
        pairs = {}
        for figure in ("seconds", "cpu"):
            pairs[figure] = [[run.get(figure, float("nan")) for run in found[n(order)]] for n in (reading, fitting)]
        (polars, ours), cpu = pairs["seconds"], pairs["cpu"]
        best, median = min(ours) / min(polars), statistics.median(ours) / statistics.median(polars)
        size = f"{file(order).stat().st_size / 1e6:.0f}"
        each = [", ".join(f"{seconds:.2f}" for seconds in runs) for runs in (polars, ours)]
        rows.append([said, size, *each, f"{best:.2f}", f"{median:.2f}", f"{min(cpu[1]) / min(cpu[0]):.2f}"])
    heads = [
        "file",
        "MB",
        "polars read_csv, s",
        "layer.fit, s",
        "best / best",
        "median / median",
        "CPU time, best / best",
    ]
    claim = "`layer.fit` of 2,000,000 rows against `polars.read_csv`; at most 2.5 times as long is claimed."
    return f"## Fitting a CSV file\n\n{claim}\n\n" + table(heads, rows) + f"\n\npolars {installed('polars')}."


def run() -> None:
    if FILES in os.environ:  # one of the processes that are measured
        main(__file__, SYSTEMS, report)
        return
    sys.argv += [] if "--rounds" in sys.argv else ["--rounds", "3"]
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FILES] = folder
        write()
        main(__file__, SYSTEMS, report)


if __name__ == "__main__":
    run()
