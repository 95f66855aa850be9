"""Claim: one raw record to a prediction in raw units takes an exported file at most 0.4 times what Python takes, and
1,000 records at most 1.1 times.

A record: 96 hours of a load with gaps, of wind directions as text, and of times; an LSTM of 64 forecasts 24 hours. Both
sides start from the same dict of lists and end in raw units: `OnnxModel.predict` and `Model.predict`. Beside them the
parts alone: a run of onnxruntime on arrays made before, the network on a batch made before, and Keras' `predict` of an
LSTM and a dense layer of the same sizes, on numbers that are scaled already. 1,000 records: a table of 1,000 series.
One thread each. All systems take turns, a few calls each, so that a busy moment meets them all; the best call counts,
by the clock and by processor time.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import PEERS, System, in_new_process, machine, table

if "--one" not in sys.argv:  # Keras' Python has none of these
    import onnxruntime
    import torch

    import inputlayer as il
    from inputlayer.onnx import parity
    from inputlayer.onnx.feeds import feeds

LENGTH, HORIZON, UNITS, SERIES = 96, 24, 64, 1000
TURNS = 15


def rows(series: int, count: int = LENGTH) -> dict[str, list[Any]]:
    draw = np.random.default_rng(series)
    times = (np.datetime64("2024-01-01T00:00") + np.arange(count) * np.timedelta64(1, "h")).astype(str).tolist()
    load = draw.normal(50, 10, series * count).round(2).tolist()
    return {
        "site": [f"site {i}" for i in range(series) for _ in range(count)],
        "time": times * series,
        "load": [None if i % 17 == 3 else x for i, x in enumerate(load)],
        "wind": draw.choice(["N", "E", "S", "W"], series * count).tolist(),
    }


def trained() -> il.Model:
    columns = {"time": il.Timestamp(parts=("hour",)), "load": il.Number(), "wind": il.Category()}
    schema = il.Schema(columns, il.Windows("time", LENGTH, HORIZON, by="site"), target="load")
    model = il.Model(il.InputLayer(schema, [il.InstanceNorm("last")]), il.LSTM(UNITS))
    model.fit(rows(2, 400), epochs=1)
    return model


Calls = dict[str, Callable[[], Any]]


def in_turns(calls: Calls, repeats: int) -> dict[str, tuple[float, float]]:
    """Seconds and processor seconds of the best call of each."""
    best = dict.fromkeys(calls, (np.inf, np.inf))
    for call in calls.values():
        call()
    for _ in range(TURNS):
        for name, call in calls.items():
            for _ in range(repeats):
                start, cpu = time.perf_counter(), time.process_time()
                call()
                lap = time.perf_counter() - start, time.process_time() - cpu
                best[name] = min(best[name][0], lap[0]), min(best[name][1], lap[1])
    return best


def calls(model: il.Model, served: il.OnnxModel, session: Any, given: dict[str, list[Any]]) -> Calls:
    network = model.network.eval()
    sequences, _ = parity.sequences(network, served.told, il.Table.of(_longer(given)), 10**6)
    count = len(set(given["site"]))
    chosen = np.arange(count)
    arrays, names = feeds(served.told, sequences, chosen), [a["name"] for a in served.told["answers"]]
    batch = il.InputLayer.batches(model.layer, _longer(given), count)
    first = next(iter(batch))

    def forward() -> np.ndarray:
        with torch.inference_mode():
            return network.raw(network(first))

    assert len(first) == len(chosen) == count
    return {
        "`OnnxModel.predict`": lambda: served.predict(given),
        "`Model.predict`": lambda: model.predict(given),
        "onnxruntime alone": lambda: session.run(names, arrays),
        "PyTorch alone": forward,
    }


def _longer(given: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The same windows, with the hours of the horizon behind each, as a backtest has them."""
    count = len(set(given["site"]))
    return rows(count, LENGTH + HORIZON)


def keras() -> dict[str, Any]:
    """Runs with Keras' Python."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras as k

    model = k.Sequential([k.Input((LENGTH, 8)), k.layers.LSTM(UNITS), k.layers.Dense(HORIZON)])
    found = {}
    for count, repeats in ((1, 3), (SERIES, 1)):
        x = np.random.default_rng(0).normal(size=(count, LENGTH, 8)).astype(np.float32)
        seconds, cpu = in_turns({"": lambda x=x: model.predict(x, batch_size=256, verbose=0)}, repeats)[""]
        found |= {f"wall {count}": seconds, f"cpu {count}": cpu}
    return found


KERAS = System(
    "Keras `predict`, numbers only", keras, environment={"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
)


def main() -> None:
    torch.set_num_threads(1)
    model = trained()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.export(path)
        served = il.OnnxModel(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options)
    found = {
        count: in_turns(calls(model, served, session, rows(count)), repeats)
        for count, repeats in ((1, 10), (SERIES, 1))
    }
    peer = in_new_process(__file__, KERAS) if Path(PEERS).exists() else {"error": "not installed: make peers"}
    print("## One record, and 1,000\n\nAt most 0.4 x and 1.1 x `Model.predict` is claimed of `OnnxModel.predict`.\n")
    lines = []
    for count, claim in ((1, 0.4), (SERIES, 1.1)):
        against = found[count]["`Model.predict`"]
        for name, (seconds, cpu) in found[count].items():
            ratio = seconds / against[0]
            verdict = f"{ratio:.3f}" + (
                f" ({'within' if ratio <= claim else 'ABOVE'} {claim})" if "Onnx" in name else ""
            )
            lines.append([f"{count:,}", name, f"{seconds * 1e3:,.2f}", f"{cpu * 1e3:,.2f}", verdict])
        wall, cpu = peer.get(f"wall {count}"), peer.get(f"cpu {count}")
        shown = [f"{wall * 1e3:,.2f}", f"{cpu * 1e3:,.2f}"] if wall and cpu else [str(peer.get("error", "-")), "-"]
        lines.append([f"{count:,}", KERAS.name, *shown, f"{wall / against[0]:.3f}" if wall else "-"])
    print(table(["records", "", "best, ms", "best, CPU ms", "x `Model.predict`"], lines))
    print(f"\n{machine()} onnxruntime {onnxruntime.__version__}, 1 thread each.\n")


if __name__ == "__main__":
    print("\n" + json.dumps(keras())) if "--one" in sys.argv else main()
