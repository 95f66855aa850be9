"""The artefact: one file that gives the same model back, or says why it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

import inputlayer as il
from inputlayer import store
from inputlayer.artefact import fingerprint
from inputlayer.columns import KINDS
from inputlayer.errors import ArtefactError
from samples import ROADS, panel


def trained(road: str, path: Path) -> tuple[il.Model, Any]:
    schema, frame = ROADS[road]
    stages = [] if road == "cells" else [il.InstanceNorm("last")]
    model = il.Model(il.InputLayer(schema, stages), il.LSTM(4, bidirectional=True))
    model.fit(frame, epochs=1, batch=16)
    model.save(path)
    return model, frame


@pytest.mark.parametrize("road", ROADS)
def test_a_reloaded_model_is_the_same(road: str, tmp_path: Path) -> None:
    path, again = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    model, frame = trained(road, path)
    loaded = il.load(path)
    loaded.save(again)
    assert path.read_bytes() == again.read_bytes()
    assert_frame_equal(loaded.backtest(frame), model.backtest(frame), check_exact=True)
    given, mine = loaded.evaluate(frame, allow_seen=True), model.evaluate(frame, allow_seen=True)
    assert given == mine
    assert loaded.layer.schema == model.layer.schema
    assert list(loaded.layer.schema.columns) == list(model.layer.schema.columns)
    assert repr(loaded.layer.schema.sequence) == repr(model.layer.schema.sequence)
    assert loaded.history is not None
    assert model.history is not None
    assert loaded.history.train_loss == model.history.train_loss


def test_the_same_training_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        trained("windows", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_reloaded_model_trains_on(tmp_path: Path) -> None:
    model, frame = trained("windows", tmp_path / "m")
    loaded = il.load(tmp_path / "m")
    one, other = (m.continue_fit(frame, epochs=1, seed=3) for m in (model, loaded))
    assert one.train_loss == other.train_loss


def test_a_seen_row_stays_seen(tmp_path: Path) -> None:
    _, frame = trained("groups", tmp_path / "m")
    with pytest.raises(il.SeenRowsError):
        il.load(tmp_path / "m").evaluate(frame)


def test_options_of_all_parts_are_kept(tmp_path: Path) -> None:
    frame = panel((40, 25))
    schema = il.Schema(
        {"load": il.Number(scale="robust", clip=5.0, sentinels=(-99,)), "temp": il.Number(role="target")},
        il.Windows("time", 6, 2, by=("site",), max_gap="2h", pad_short=True),
        target=("load", "temp"),
    )
    head = il.Regression("quantile", quantiles=(0.1, 0.5, 0.9))
    model = il.Model(il.InputLayer(schema), il.LSTM(3, layers=2, reduce="mean", dropout=0.1), head)
    model.fit(frame, epochs=0)
    model.save(tmp_path / "m")
    loaded = il.load(tmp_path / "m")
    assert loaded.layer.schema == schema
    assert loaded.network.head.options() == head.options()
    assert_frame_equal(loaded.predict(frame), model.predict(frame), check_exact=True)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("artefact") / "m"
    trained("cells", path)
    return path.read_bytes()


@pytest.mark.parametrize("kept", [0, 4, 9, 500, -1])
def test_a_truncated_file_is_refused(saved: bytes, kept: int, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(saved[:kept])
    with pytest.raises(ArtefactError, match=r"m\.safetensors"):
        il.load(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04 a zip file", b"load,wind\n1,2\n", b"\x80\x04\x95pickle" * 9])
def test_a_foreign_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"m\.safetensors"):
        il.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises((ArtefactError, FileNotFoundError), match="nowhere"):
        il.load(tmp_path / "nowhere.safetensors")


def test_another_of_our_files_is_no_model(tmp_path: Path) -> None:
    store.write(tmp_path / "m", {"kind": "checkpoint"}, {})
    with pytest.raises(ArtefactError, match="holds a 'checkpoint', not a model"):
        il.load(tmp_path / "m")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": None},
        {"columns": ["wave"]},
        {"states": {}},
        {"stages": [{"kind": "os.system"}]},
        {"body": {"kind": "lstm", "units": 5}},
        {"body": {"kind": "builtins.eval"}},
        {"head": {"kind": "regression", "loss": "nothing"}},
        {"receipt": {"rows": "many"}},
        {"clock": 3},
        {"seen": [{}]},
        {"history": {"lr": 1}},
    ],
)
def test_a_header_that_makes_no_sense_is_refused(saved: bytes, change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(saved)
    header, tensors = store.read(path)
    store.write(path, {**{k: v for k, v in header.items() if k != "format"}, **change}, tensors)
    with pytest.raises(ArtefactError, match=r"m\.safetensors"):
        il.load(path)


@dataclass(frozen=True, kw_only=True)
class Own(il.Number):
    kind = "own"


def test_a_kind_of_ones_own_has_to_be_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def schema() -> il.Schema:
        return il.Schema({"x": Own(), "y": il.Number()}, il.Cells(), target="y")

    with pytest.raises(il.SchemaError, match=r"column 'x': has the kind 'own', .* Register it: .*\.register\(Own\)"):
        schema()
    monkeypatch.setitem(KINDS, "own", Own)
    model = il.Model(il.InputLayer(schema()), il.LSTM(4))
    model.fit({"x": [1.0, 2.0] * 4, "y": [0.5, 1.5] * 4}, epochs=0)
    model.save(tmp_path / "m")
    assert il.load(tmp_path / "m").layer.schema == model.layer.schema
    monkeypatch.delitem(KINDS, "own")
    with pytest.raises(ArtefactError, match=r"column 'x' has the kind 'own', .* Import the module that registers it"):
        il.load(tmp_path / "m")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m"
    model, _ = trained("cells", path)
    before = path.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ArtefactError, match="no space left"):
        model.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_body_that_is_known_needs_none(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(saved)
    with pytest.raises(ArtefactError, match="has a body of its own"):
        il.load(path, body=il.LSTM(4))


def test_what_is_trained_on_has_a_fingerprint() -> None:
    schema, frame = ROADS["windows"]
    layer = il.InputLayer(schema).fit(frame)
    one = fingerprint(layer.learnt, layer.encoded(frame))
    assert one == fingerprint(layer.learnt, layer.encoded(frame.reverse()))
    assert one != fingerprint(layer.learnt, layer.encoded(frame[:40]))
