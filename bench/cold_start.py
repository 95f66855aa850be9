"""Claim: from a cold process to the first prediction of an exported file takes at most 0.3 s and 150 MB, and loads
neither PyTorch nor polars.

Timed inside a new interpreter, from its first line to the prediction in raw units; the interpreter's own start is not
in it. The files are in the system's cache. Memory: the largest resident size of the whole process, as Linux tells it
(what getrusage tells holds the size of the process that started it). Below: the same prediction from the model's own
file, which needs PyTorch and polars.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, machine, table

import inputlayer as il

SECONDS, MEGABYTES, ROUNDS = 0.3, 150, 9
HEAVY = ("torch", "polars", "pandas", "onnx", "lightning", "sklearn", "onnxruntime", "numpy")
CODE = """
import sys, time
start, cpu = time.perf_counter(), time.process_time()
import json
import inputlayer as il
rows = json.loads({rows!r})
found = {call}
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
lines = open("/proc/self/status").read().splitlines()
size = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3
print(json.dumps([seconds, cpu, size, [name for name in {heavy} if name in sys.modules]]))
"""
CALLS = {
    "`il.OnnxModel(path).predict(rows)`": "il.OnnxModel('model.onnx').predict(rows)['load']",
    "`il.load(path).predict(rows)`": "il.load('model.safetensors').predict(rows)['load']",
}


def rows(count: int) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    times = (np.datetime64("2024-01-01T00:00") + np.arange(count) * np.timedelta64(1, "h")).astype(str).tolist()
    load, wind = draw.normal(50, 10, count).round(2).tolist(), draw.choice(["N", "E", "S", "W"], count).tolist()
    return {"time": times, "load": [None if i % 17 == 3 else x for i, x in enumerate(load)], "wind": wind}


def made(folder: Path) -> None:
    columns = {"time": il.Timestamp(parts=("hour",)), "load": il.Number(), "wind": il.Category()}
    schema = il.Schema(columns, il.Windows("time", length=96, horizon=24), target="load")
    model = il.Model(il.InputLayer(schema, [il.InstanceNorm("last")]), il.LSTM(64))
    model.fit(rows(600), epochs=1)
    model.export(folder / "model.onnx")
    model.save(folder / "model.safetensors")


def timed(call: str, folder: Path) -> tuple[float, float, float, list[str]]:
    code = CODE.format(rows=json.dumps(rows(96)), call=call, heavy=HEAVY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    seconds, cpu, size, loaded = json.loads(done.stdout)
    return seconds, cpu, size, loaded


def main() -> None:
    lines = []
    with tempfile.TemporaryDirectory() as name:
        made(Path(name))
        for label, call in CALLS.items():
            timed(call, Path(name))  # writes the compiled files, and brings them into the system's cache
            runs = [timed(call, Path(name)) for _ in range(ROUNDS)]
            seconds = [run[0] for run in runs]
            figures = [f"{x:.2f}" for x in (min(seconds), statistics.median(seconds), min(run[1] for run in runs))]
            lines.append([label, *figures, f"{max(run[2] for run in runs):.0f}", ", ".join(runs[0][3])])
    print(f"## Cold start\n\nAt most {SECONDS} s and {MEGABYTES} MB is claimed of the first line.\n")
    head = ["", "best, s", "median, s", "best, CPU s", "most memory, MB", "loads"]
    print(table(head, lines))
    print(f"\n{machine()} Load average at the end: {os.getloadavg()[0]:.1f}.\n")


if __name__ == "__main__":
    main()
