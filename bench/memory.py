"""Claim: memory is that of the encoded table, and fitting the layer alone needs none that grows with the table.

Parquet files of 8 numbers and a whole-number order column. Each figure is the highest resident memory of a process of
its own, read from the operating system at its end, so that the libraries' own memory is in it.

Training: look-back 336, a horizon of 24, LSTM(4): `Model.fit` for one epoch, from the file. What a table of 1,000,000
rows takes above one of 10,000 is compared with the encoded table: 8 float32 a row, 32 MB; with the order column, which
is kept too, 40 MB. Training windows start every 256 rows, so that an epoch takes seconds. In a second pair of runs they
start at every row, to show what 256 times as many windows take; Ctrl-C ends that training after 60 batches, because
the rest of a million is more of the same.

Fitting: `layer.fit` alone, on 1,000,000 and 4,000,000 rows.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import FILES, THREADS, System, main_on_files, table

MB = 1e6
NUMBERS, LOOK_BACK, HORIZON = 8, 336, 24
SMALL, LARGE, HUGE = 10_000, 1_000_000, 4_000_000
STEPS = 60
# stride -> what is said of it
WAYS = {256: "a window every 256 rows, one epoch", 1: f"a window every row, {STEPS} batches"}


def peak() -> float:
    """The highest resident memory of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # unlike `ru_maxrss`, it knows nothing of the process that started this one
        (line,) = (row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024) / MB


def file(rows: int) -> Path:
    return Path(os.environ[FILES]) / f"{rows}.parquet"


def write(rows: int) -> None:
    """Random walks, rounded to three digits as a logger would, in row groups of 250,000."""
    import polars as pl

    draw = np.random.default_rng(rows)
    columns = {f"x{i}": draw.normal(size=rows).cumsum().round(3) for i in range(NUMBERS)}
    pl.DataFrame({"step": np.arange(rows), **columns}).write_parquet(file(rows), row_group_size=250_000)


def layer(stride: int) -> Any:
    import torch

    import inputlayer as il

    torch.set_num_threads(THREADS)
    columns = {f"x{i}": il.Number() for i in range(NUMBERS)}
    sequence = il.Windows("step", length=LOOK_BACK, horizon=HORIZON, stride=stride)
    return il.InputLayer(il.Schema(columns, sequence, target="x0"))


def fit_and_train(rows: int, stride: int) -> dict[str, Any]:
    from lightning.pytorch import Callback  # before all else, so that what it takes hides nothing

    import inputlayer as il

    class Enough(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, number: int) -> None:
            if number + 1 == STEPS:
                signal.raise_signal(signal.SIGINT)

    model = il.Model(layer(stride), il.LSTM(units=4))
    model.fit(il.read(file(rows)), epochs=1, device="cpu", callbacks=[Enough()] if stride == 1 else [])
    return {"peak": peak()}


def fit_alone(rows: int) -> dict[str, Any]:
    import inputlayer as il

    layer(1).fit(il.read(file(rows)))
    return {"peak": peak()}


def trained(rows: int, stride: int) -> str:
    return f"train {rows:,} stride {stride}"


def fitted(rows: int) -> str:
    return f"fit {rows:,}"


SYSTEMS = [
    *(
        System(trained(rows, stride), partial(fit_and_train, rows, stride), peer=False)
        for stride in WAYS
        for rows in (SMALL, LARGE)
    ),
    *(System(fitted(rows), partial(fit_alone, rows), peer=False) for rows in (SMALL, LARGE, HUGE)),
]


def report(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The worst of the rounds counts: the highest peak of the larger table, the lowest of the smaller one."""
    peaks = {name: [run.get("peak", float("nan")) for run in runs] for name, runs in found.items()}
    encoded, order = LARGE * NUMBERS * 4 / MB, LARGE * 8 / MB
    training, fitting = [], []
    for stride, said in WAYS.items():
        small, large = (peaks.get(trained(rows, stride), [float("nan")]) for rows in (SMALL, LARGE))
        more = max(large) - min(small)
        figures = (f"{min(small):.0f}", f"{max(large):.0f}", f"{more:.0f}")
        training.append([said, *figures, f"{more / encoded:.2f}", f"{more / (encoded + order):.2f}"])
    for rows in (SMALL, LARGE, HUGE):
        held, first = (peaks.get(fitted(n), [float("nan")]) for n in (rows, LARGE))
        growth = f"{100 * (max(held) / min(first) - 1):+.1f} %" if rows != LARGE else "-"
        fitting.append([f"{rows:,}", f"{min(held):.0f}", f"{max(held):.0f}", growth])
    heads = [f"{SMALL:,} rows, MB", f"{LARGE:,} rows, MB", "more, MB"]
    times = [f"/ wires ({encoded:.0f} MB)", f"/ wires and order ({encoded + order:.0f} MB)"]
    return "\n".join(
        [
            "## Memory",
            "",
            "`Model.fit` with one epoch; at most 2 x the encoded table is claimed.",
            "",
            table(["training", *heads, *times], training),
            "",
            "`layer.fit` alone; at most 10 % more at 4 times the rows is claimed.",
            "",
            table(["rows", "least, MB", "most, MB", f"against {LARGE:,}"], fitting),
        ]
    )


if __name__ == "__main__":
    main_on_files(__file__, SYSTEMS, report, write, (SMALL, LARGE, HUGE))
