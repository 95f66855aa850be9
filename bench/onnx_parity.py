"""Claim: an exported ONNX file gives the wires of Python and its predictions, within 1e-5 in training units.

On up to 10,000 sequences each of PM2.5, ETTh1, SMS and Japanese Vowels: numbers with gaps, times, categories, text, and
lists of 12 channels. Wires: whole numbers and standardised numbers the very same, a logarithm within 1e-6. Predictions:
the largest difference, of numbers in units of the target's training spread, of classes in probability.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pm25
import polars as pl
import torch
from common import CHANNELS, machine, table
from data import ett, japanese_vowels, sms_spam

import inputlayer as il
from inputlayer.batch import Batches
from inputlayer.encode import Encoded
from inputlayer.graph import Graph
from inputlayer.network import Network
from inputlayer.onnx import parity, twin
from inputlayer.onnx.feeds import Sequences, apart, batches

MOST = 10_000
WIRES, ANSWERS = 1e-6, 1e-5


class Case(NamedTuple):
    """A trained model, and the table that both are asked about."""

    model: il.Model
    rows: Any


def beijing() -> Case:
    rows = pm25.hours()
    model = pm25.model(pm25.CHOSEN)
    model.fit(rows[: pm25.HOURS], epochs=1)
    return Case(model, rows[pm25.HOURS : pm25.HOURS + MOST + 25])


def transformer() -> Case:
    """All seven channels, their calendar, one LSTM for each channel, in patches."""
    rows = ett("ETTh1").frame()
    columns = {"date": il.Timestamp(format="%Y-%m-%d %H:%M:%S"), **{name: il.Number() for name in CHANNELS}}
    schema = il.Schema(columns, il.Windows("date", length=96, horizon=24), target=list(CHANNELS))
    layer = il.InputLayer(schema, [il.InstanceNorm("last"), il.PerChannel(), il.Patch(24)])
    model = il.Model(layer, il.LSTM(64, decoder=il.Segments(12)))
    model.fit(rows[:8640], epochs=1)
    return Case(model, rows[: MOST + 119])


def messages() -> Case:
    rows = sms_spam().select("label", "message")
    schema = il.Schema({"message": il.Text(), "label": il.Category()}, il.Cells(steps="message"), target="label")
    model = il.Model(il.InputLayer(schema), il.LSTM(32, bidirectional=True, reduce="max"))
    model.fit(rows[:3000], epochs=1)
    return Case(model, rows)


def voices() -> Case:
    train = japanese_vowels("TRAIN")
    columns = {"voice": il.Series(channels=12, axes="channel time"), "speaker": il.Category()}
    schema = il.Schema(columns, il.Cells(steps="voice"), target="speaker")
    model = il.Model(il.InputLayer(schema), il.LSTM(64, bidirectional=True, reduce="attention"))
    model.fit(train, epochs=2)
    return Case(model, pl.concat([train, japanese_vowels("TEST")]))


CASES: dict[str, Callable[[], Case]] = {
    "PM2.5": beijing, "ETTh1": transformer, "SMS": messages, "Japanese Vowels": voices,
}  # fmt: skip


def wires_apart(network: Network, told: dict[str, Any], given: Sequences, encoded: Encoded) -> float:
    """The largest difference of any wire, of all sequences."""
    fitted = network.layer.learnt
    g, raws = Graph(), twin.raw_inputs(fitted)
    twin.declare(g, raws)
    wired, _ = twin.to_wires(g, fitted, raws)
    names = {f"{place}/{name}": (place, name) for place, found in wired.items() for name in found}
    source = Batches(encoded, fitted, 256, targets=False)
    for full, (place, name) in names.items():
        dtype = getattr(source.gather(torch.zeros(1, dtype=torch.int64)), place)[name].numpy().dtype
        g.output(full, wired[place][name], dtype, ())
    model = g.model({})
    for output in model.graph.output:  # the shape is the runtime's to find out
        output.type.tensor_type.ClearField("shape")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    inputs = {i.name for i in session.get_inputs()}
    worst = 0.0
    for chosen, feeds in batches(told, given):
        found = session.run(list(names), {n: a for n, a in feeds.items() if n in inputs})
        batch = source.gather(torch.from_numpy(chosen))
        for (place, name), x in zip(names.values(), found, strict=True):
            wanted = getattr(batch, place)[name].numpy()
            real = np.arange(x.shape[1]) < batch.lengths.numpy()[:, None] if place == "steps" else np.ones(len(x), bool)
            cut = x[:, : wanted.shape[1]] if place == "steps" else x
            mask = real[:, : wanted.shape[1]] if place == "steps" else real
            worst = max(worst, _distance(cut[mask], wanted[mask]))
    return worst


def _distance(found: np.ndarray, wanted: np.ndarray) -> float:
    same = (found == wanted) | ((found != found) & (wanted != wanted))
    apart = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
    return float(np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart)).max(initial=0.0))


def measured(case: Case, folder: Path) -> list[str]:
    path = folder / "model.onnx"
    case.model.export(path)
    served, network = il.OnnxModel(path), case.model.network.eval()
    given, encoded = parity.sequences(network, served.told, il.Table.of(case.rows), MOST)
    session = onnxruntime.InferenceSession(path)
    answers = apart(served.told, parity.in_graph(session, served.told, given), parity.in_python(network, encoded))
    wires = wires_apart(network, served.told, given, encoded)
    steps = int(encoded.index.length.sum())
    verdict = "yes" if wires <= WIRES and answers <= ANSWERS else "NO"
    size = f"{path.stat().st_size / 1e6:.2f}"
    return [f"{len(given):,}", f"{steps:,}", "0" if wires == 0 else f"{wires:.1e}", f"{answers:.1e}", verdict, size]


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for name, make in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            rows.append([name, *measured(make(), Path(folder))])
    print("## An exported file beside Python\n\nAt most 1e-6 between wires and 1e-5 between predictions is claimed.\n")
    print(table(["data", "sequences", "steps", "wires apart", "predictions apart", "within", "file, MB"], rows))
    print(f"\n{machine()} onnxruntime {onnxruntime.__version__}.\n")


if __name__ == "__main__":
    main()
