"""What must hold on every backend of Keras: test_keras.py runs this file once for each, in a process of its own."""

from __future__ import annotations

import doctest
import inspect
import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import polars as pl
import pytest
import torch
from keras import ops

import inputlayer as il
from inputlayer.errors import ArtefactError, OptionError, TableError
from inputlayer.keras.batches import _grown
from inputlayer.keras.kinds import HALVES, _elapsed
from inputlayer.times import elapsed
from samples import ROADS, panel, windows

GAPS = [[[1.0, None], [2.0, 5.0], [None, None]], [[None, 1.0]], [[3.0, 2.0], [None, 4.0]]] * 3
NOTES = ["a good film", "bad, bad film!", None, "good good film a", "what?", ""]


def texts(rows: int = 24) -> pl.DataFrame:
    """A sentence, a vector and a number in each row; some are missing."""
    draw = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "note": [NOTES[i % len(NOTES)] for i in range(rows)],
            "vector": [None if i % 7 == 3 else draw.integers(-8, 8, 3).astype(float).tolist() for i in range(rows)],
            "time": list(range(rows)),
            "y": draw.integers(0, 9, rows) / 4,
        }
    )


def sentences(**options: Any) -> il.Schema:
    """Tokens as steps."""
    columns = {"note": il.Text(min_count=1, **options), "y": il.Number()}
    return il.Schema(columns, il.Cells(steps="note"), target="y")


CASES: dict[str, tuple[il.Schema, pl.DataFrame]] = {
    **ROADS,
    "gaps": (
        il.Schema(
            {"x": il.Series(channels=2, axes="time channel", fill="forward"), "y": il.Number()},
            il.Cells(steps="x"),
            target="y",
        ),
        pl.DataFrame({"x": GAPS, "y": [float(i) for i in range(9)]}),
    ),
    "embedded": (
        il.Schema(
            {
                "load": il.Number(embedding="periodic", size=3, sigma=1.0),
                "temp": il.Number(embedding="piecewise", fill="forward", since=True),
                "size": il.Number(role="static", embedding="periodic", size=2),
            },
            il.Windows("time", 6, 3, by="site"),
            target="load",
        ),
        panel(),
    ),
    "tokens": (sentences(), texts()),
    "pooled": (
        il.Schema(
            {"note": il.Text(min_count=1), "vector": il.Vector(), "y": il.Number(clip=1.0)},
            il.Windows("time", length=4),
            target="y",
        ),
        texts(),
    ),
    "static text": (
        il.Schema(
            {"vector": il.Vector(role="static"), "note": il.Text(role="static"), "x": il.Series(), "y": il.Number()},
            il.Cells(steps="x"),
            target="y",
        ),
        texts().with_columns(pl.Series("x", [[1.0, 2.0, 3.0][: 1 + i % 3] for i in range(24)])),
    ),
}


def fitted(case: str) -> il.InputLayer:
    """A fitted layer whose embeddings are any numbers, but for the rows of missing and unseen."""
    schema, frame = CASES[case]
    return il.InputLayer(schema).fit(frame).eval()


def lstm(layer: il.InputLayer, outputs: int) -> Any:
    """Ours, an LSTM, and a projection, as a function of the wires."""
    part = il.keras.InputLayer(layer)
    wires = part.inputs()
    model = keras.Model(wires, keras.layers.Dense(outputs)(keras.layers.LSTM(3)(part(wires))))
    model.compile("adam", "mse")
    return model


def numbers(x: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(x))


# -- the same numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_output_and_mask_are_those_of_the_torch_layer(case: str) -> None:
    layer, frame = fitted(case), CASES[case][1]
    part, batches = il.keras.InputLayer(layer), il.keras.dataset(layer, frame, 5)
    assert part.width == layer.width
    for at, batch in enumerate(layer.batches(frame, 5)):
        wires = batches[at][0]
        x = part(wires)
        with torch.no_grad():
            wanted = layer(batch).x.numpy()
        steps = wanted.shape[1]
        assert np.abs(numbers(x)[:, :steps] - wanted).max() <= 1e-5
        assert not numbers(x)[:, steps:].any()
        real = np.arange(x.shape[1]) < batch.lengths.numpy()[:, None]
        assert numbers(x._keras_mask).tolist() == real.tolist()
        assert part.compute_output_shape({k: w.shape for k, w in wires.items()}) == tuple(x.shape)


def test_elapsed_time_is_carried_exactly() -> None:
    draw = np.random.default_rng(0)
    steps = [draw.integers(0, 3, (40, 9)), draw.integers(0, 86_400, (40, 9)), draw.integers(0, 10**6, (40, 9))]
    time = np.stack(steps, axis=-1).astype(np.int32)
    time[:4] = [
        [1, 0, 0],
        [0, 86_399, 999_999],
        [1, 0, 0],
        [0, -1, 0],
        [1, 0, 0],
        [1, 0, 1],
        [2, 0, 0],
        [1] * 3,
        [5] * 3,
    ]
    for unit in (1, 10**6, 86_400 * 10**6):
        wanted = elapsed(torch.from_numpy(time), unit).numpy()[..., 0]
        assert np.allclose(numbers(_elapsed(ops.convert_to_tensor(time), unit)), wanted, atol=1e-6)


@pytest.mark.parametrize("case", ["cells", "groups", "tokens"])
def test_padding_changes_nothing(case: str) -> None:
    layer = fitted(case)
    model = lstm(layer, 2)
    wires = il.keras.dataset(layer, CASES[case][1], 5)[0][0]
    static = set(layer.schema.static)
    longer = {
        name: w
        if name in static or name == "sequence.length"
        else np.pad(w, [(0, 0), (0, 3), *[(0, 0)] * (w.ndim - 2)], constant_values=1)
        for name, w in wires.items()
    }
    assert np.abs(numbers(model(wires)) - numbers(model(longer))).max() <= 1e-6
    alone = {name: w[:1] for name, w in wires.items()}
    assert np.abs(numbers(model(wires))[:1] - numbers(model(alone))).max() <= 1e-6


# -- training, and files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["windows", "groups", "tokens", "static text"])
def test_a_model_trains_and_comes_back_from_its_file(case: str, tmp_path: Path) -> None:
    layer, frame = fitted(case), CASES[case][1]
    model = lstm(layer, max(1, layer.schema.horizon))
    tables = [w for part in model.layers if isinstance(part, il.keras.InputLayer) for w in part.trainable_weights]
    before = [numbers(t).copy() for t in tables]
    history = model.fit(il.keras.dataset(layer, frame, 5, shuffle=True), epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    for then, now in zip(before, map(numbers, tables), strict=True):
        assert not now[0].any()  # a missing value stays zero
        assert (then[2:] != now[2:]).any()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    (part,) = (p for p in again.layers if isinstance(p, il.keras.InputLayer))
    wanted = model.predict(il.keras.dataset(layer, frame), verbose=0)
    assert np.abs(again.predict(il.keras.dataset(part.layer, frame), verbose=0) - wanted).max() <= 1e-6
    assert part.layer.schema == layer.schema
    assert part.layer.learnt.receipt.same(layer.learnt.receipt)


def test_periodic_embeddings_are_trained_and_kept_in_a_file(tmp_path: Path) -> None:
    layer, frame = fitted("embedded"), CASES["embedded"][1]
    model = lstm(layer, 3)
    (part,) = (p for p in model.layers if isinstance(p, il.keras.InputLayer))
    before = [numbers(w).copy() for w in part.trainable_weights]
    assert [w.shape for w in before] == [(1, 3), (1, 6, 3), (1, 3), (1, 2), (1, 4, 2), (1, 2)]
    model.fit(il.keras.dataset(layer, frame, 5, shuffle=True), epochs=1, verbose=0)
    assert (before[0] != numbers(part.trainable_weights[0])).all()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    wanted = model.predict(il.keras.dataset(layer, frame), verbose=0)
    assert np.abs(again.predict(il.keras.dataset(layer, frame), verbose=0) - wanted).max() <= 1e-6


def test_a_sequential_model_trains_and_comes_back(tmp_path: Path) -> None:
    layer, frame = fitted("windows"), CASES["windows"][1]
    model = keras.Sequential([il.keras.InputLayer(layer), keras.layers.LSTM(3), keras.layers.Dense(3)])
    model.compile("adam", "mse")
    batches = il.keras.dataset(layer, frame, 16)
    model.fit(batches, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert np.abs(again.predict(batches, verbose=0) - model.predict(batches, verbose=0)).max() <= 1e-6


def test_dropped_tokens_are_unseen_in_training_only() -> None:
    layer = il.InputLayer(sentences(dropout=0.9)).fit(texts())
    part = il.keras.InputLayer(layer)
    wires = il.keras.dataset(layer, texts(), 24)[0][0]
    quiet, loud = numbers(part(wires)), numbers(part(wires, training=True))
    assert (quiet == numbers(part(wires, training=False))).all()
    assert (quiet != loud).any(axis=-1).mean() > 0.3
    assert not loud[wires["note"] == 0].any()


def test_the_configuration_is_json() -> None:
    config = il.keras.InputLayer(fitted("windows")).get_config()
    assert json.loads(json.dumps(config)) == config
    config["layer"]["states"]["wind"]["state"]["width"] = "wide"
    with pytest.raises(ArtefactError, match=r"configuration of an InputLayer cannot be read: .*width"):
        il.keras.InputLayer.from_config(config)


# -- batches ----------------------------------------------------------------------------------------------------------


def test_batches_name_their_sequences_and_change_their_order() -> None:
    layer, frame = fitted("cells"), CASES["cells"][1]
    batches = il.keras.dataset(layer, frame, 5, shuffle=True)
    first = batches.index
    assert sorted(first) == list(range(24))
    lengths = frame["wave"].list.len().to_numpy()
    given = [batches[at][0]["sequence.length"] for at in range(len(batches))]
    assert np.concatenate(given).tolist() == lengths[first].tolist()
    batches.on_epoch_end()
    assert batches.index.tolist() != first.tolist()
    assert len(il.keras.dataset(layer, frame.drop("score"))[0]) == 1


def test_targets_that_are_absent_weigh_nothing() -> None:
    frame = panel((14, 12)).with_columns(load=pl.when(pl.col("time").dt.hour() == 8).then(None).otherwise("load"))
    layer = il.InputLayer(windows()).fit(frame)
    _, target, weight = il.keras.dataset(layer, frame)[0]
    assert target.shape == (len(weight), 3)
    assert weight.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 1]
    with pytest.raises(TableError, match="no sequence has all of its target"):
        il.keras.dataset(layer, panel((9,)).with_columns(load=pl.when(pl.int_range(9) != 7).then("load")))


def test_classes_are_numbered_and_unseen_ones_weigh_nothing() -> None:
    schema, frame = ROADS["groups"]
    layer = il.InputLayer(schema).fit(frame)
    assert il.keras.dataset(layer, frame)[0][1].tolist() == [[1], [0], [0]]  # south, east, north: by length
    odd = frame.with_columns(label=pl.when(pl.col("site") == "north").then(pl.lit("new")).otherwise("label"))
    _, target, weight = il.keras.dataset(layer, odd)[0]
    assert target.tolist() == [[1], [0], [0]]
    assert weight.tolist() == [1, 1, 0]


def test_a_target_at_each_step_is_weighted_by_step() -> None:
    schema, frame = ROADS["groups, per step"]
    wires, target, weight = il.keras.dataset(il.InputLayer(schema).fit(frame), frame)[0]
    assert target.shape == (*weight.shape, 1)
    assert weight.sum(axis=1).tolist() == wires["sequence.length"].tolist()


def test_few_lengths_are_compiled() -> None:
    lengths = {_grown(n, 0) for n in range(1, 1001)}
    assert all(_grown(n, at) >= n for n in range(1, 100) for at in (0, 1))
    assert len(lengths) == 1000 if keras.backend.backend() == "torch" else len(lengths) <= 40


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_what_has_no_keras_half_is_refused_by_name() -> None:
    frame = panel()
    with pytest.raises(OptionError, match=r"stages have no Keras half yet \(instance_norm\)"):
        il.keras.InputLayer(il.InputLayer(windows(), stages=[il.InstanceNorm("last")]).fit(frame))
    with pytest.raises(il.NotFittedError, match="not fitted"):
        il.keras.InputLayer(il.InputLayer(windows()))
    layer = il.InputLayer(windows()).fit(frame)
    wires = il.keras.dataset(layer, frame)[0][0]
    del wires["wind"]
    with pytest.raises(OptionError, match="the wires lack 'wind'"):
        il.keras.InputLayer(layer).call(wires)


def test_a_kind_without_a_half_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = fitted("windows")
    monkeypatch.delitem(HALVES, "category")
    with pytest.raises(OptionError, match=r"column 'wind': Category has no Keras half\. These have: number, flag"):
        il.keras.InputLayer(layer)


def test_the_documentation_lists_the_kinds() -> None:
    listed = re.search(r"Kinds with a Keras half: (.*)\.", inspect.getdoc(il.keras) or "")
    assert listed
    assert set(listed[1].split(", ")) == set(HALVES)


def test_the_example_runs() -> None:
    found = doctest.DocTestFinder(recurse=False).find(il.keras.InputLayer, "InputLayer", globs={})
    assert sum(len(test.examples) for test in found)
    assert all(doctest.DocTestRunner().run(test).failed == 0 for test in found)
