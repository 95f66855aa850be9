"""What a server may be handed in place of a good row is refused, by tables and streams, here and from a file."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inputlayer as il
from inputlayer import store

pytest.importorskip("onnxruntime")

START, ROWS = datetime(2024, 1, 1), 40
MILLISECONDS = 1_704_096_000_000
COLUMNS: dict[str, Any] = {
    "t": il.Timestamp(parts=("hour",)),
    "x": il.Number(),
    "wind": il.Category(),
    "code": il.Category(),
    "flag": il.Flag(),
    "note": il.Text(min_count=1),
    "vec": il.Vector(),
    "ser": il.Series(channels=2, axes="time channel"),
    "snd": il.Audio(rate=1000, bands=4),
    "pic": il.Image(),
    "y": il.Number(),
}
SEQUENCES: dict[str, Any] = {
    "windows": il.Windows("t", 4, horizon=1, by="g"),
    "groups": il.Groups("g", order="t", per_step=True),
}


def row(i: int, **cells: Any) -> dict[str, Any]:
    good = {
        "g": "ab"[i % 2],
        "t": START + timedelta(hours=i // 2),
        "x": float(i % 7),
        "wind": "NS"[i % 3 % 2],
        "code": i % 3,
        "flag": bool(i % 2),
        "note": "a good day",
        "vec": [1.0, 2.0 + i],
        "ser": [[1.0, 2.0], [3.0, 4.0 + i]],
        "snd": [0.1, 0.2] * 100,
        "pic": [[1, 2], [3, i]],
        "y": float(i % 5),
    }
    return good | cells


Both = tuple[il.Model, il.OnnxModel]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Both]:
    """By kind of sequence, a model and its file."""
    found = {}
    for name, sequence in SEQUENCES.items():
        model = il.Model(il.InputLayer(il.Schema(COLUMNS, sequence, target="y")), il.LSTM(4))
        model.fit([row(i) for i in range(ROWS)], epochs=0)
        path = tmp_path_factory.mktemp(name) / "model.onnx"
        model.export(path)
        found[name] = model, il.OnnxModel(path)
    return found


@pytest.fixture(params=SEQUENCES)
def both(request: pytest.FixtureRequest, made: dict[str, Both]) -> Both:
    return made[request.param]


_NO_FILE = "is no file that is there|is a file, which the graph does not decode"
_NO_SOUND = "is a sound with samples that are missing or infinite"
_NO_SIZE = "had 2 numbers in training|does not have 2 numbers"
BAD: dict[str, tuple[str, Any, str]] = {
    "infinite": ("x", np.inf, "is infinite"),
    "minus infinite": ("x", -np.inf, "is infinite"),
    "text": ("x", "12", "is text, not a number"),
    "a word": ("x", "abc", "is not a number"),
    "bytes for a number": ("x", b"12", "holds Binary, not numbers"),
    "a list for a number": ("x", [1.0], r"holds List(\(Float64\))?, not numbers"),
    "a dict for a number": ("x", {"a": 1}, r"holds (Struct|dict)"),
    "a complex number": ("x", 1 + 2j, "is not a number|holds complex, not numbers"),
    "bytes for a word": ("wind", b"N", "holds cells of type Binary; a category is text or whole numbers"),
    "a number for a word": ("wind", 3, "held text in training and holds whole numbers now"),
    "half a character": ("wind", "\ud800", "holds half of a surrogate pair"),
    "a word for a code": ("code", "a", "held whole numbers in training and holds text now"),
    "beyond 64 bits": ("code", 2**70, "is beyond 64 bits|holds decimal numbers"),
    "bytes for a flag": ("flag", b"yes", "is not a flag|holds"),
    "no flag": ("flag", 7, "is not a flag"),
    "bytes of no text": ("note", b"\xff", "is not text in UTF-8"),
    "a number for a text": ("note", 3, "holds Int64, not text"),
    "half a character of a text": ("note", "a\ud800", "holds half of a surrogate pair"),
    "milliseconds": ("t", MILLISECONDS, "holds numbers, not times"),
    "milliseconds as decimals": ("t", float(MILLISECONDS), "holds numbers, not times"),
    "no time": ("t", "soon", "is not a time"),
    "None for a time": ("t", None, "has no value, so the row has no place in its series"),
    "bytes for a time": ("t", b"2024-01-01", "not times|is not a time"),
    "a wrong size": ("vec", [1.0], _NO_SIZE),
    "no vector": ("vec", 3.0, "holds Float64"),
    "an infinite vector": ("vec", [1.0, np.inf], "holds an infinite number"),
    "half a vector": ("vec", [1.0, None], "lacks some of its numbers"),
    "a word in a vector": ("vec", [1.0, "x"], r"holds lists with text in place of numbers \(row 0 = 'x' at \[1\] of"),
    "a list in a vector": ("vec", [1.0, [2.0]], "holds lists with lists of numbers in place of numbers"),
    "a word in a step": ("ser", [[1.0, 2.0], ["x", 3.0]], r"\(row 0 = 'x' at \[1\]\[0\] of"),
    "a wrong number of channels": ("ser", [[1.0, 2.0, 3.0]], "does not have 2 numbers in each step"),
    "no channels": ("ser", [1.0, 2.0], r"holds List\(Float64\)|does not have 2 numbers in each step"),
    "an infinite step": ("ser", [[1.0, np.inf]], "holds an infinite number"),
    "no samples": ("snd", [], "is a sound without any samples"),
    "an infinite sample": ("snd", [0.1, np.inf], _NO_SOUND),
    "a missing sample": ("snd", [0.1, None], _NO_SOUND),
    "no sound": ("snd", b"RIFF", "cannot be read as sound|is a file, which the graph does not decode"),
    "no file of a sound": ("snd", "none.wav", _NO_FILE),
    "uneven rows of pixels": ("pic", [[1, 2], [3]], "all of one length|is not of the size 2 x 2 x 1"),
    "a dark pixel": ("pic", [[1, 2], [3, -1]], "holds pixels that are no whole numbers from 0 to 255"),
    "a bright pixel": ("pic", [[1, 2], [3, 256]], "holds pixels that are no whole numbers from 0 to 255"),
    "no picture": ("pic", b"GIF", "cannot be read as a picture|is a file, which the graph does not decode"),
    "no file of a picture": ("pic", "none.png", _NO_FILE),
    "no series": ("g", None, "has no value, so the row belongs to no series"),
}
ANSWERS: dict[int, str] = {}  # of each model, to the row after those that all streams here are given first
NEEDS = {"no sound": "soundfile", "no picture": "PIL"}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_cell_is_refused_everywhere(case: str, made: dict[str, Both]) -> None:
    if case in NEEDS:
        pytest.importorskip(NEEDS[case])
    column, cell, message = BAD[case]
    bad = [row(ROWS + i, **{column: cell}) for i in range(8)]
    for model in made[list(SEQUENCES)[list(BAD).index(case) % 2]]:
        stream = model.stream()
        stream.push([row(i) for i in range(ROWS - 8, ROWS)])
        for ask in (lambda m=model: m.predict(bad), lambda s=stream: s.push(bad[0]), lambda s=stream: s.push(bad)):
            with pytest.raises(il.TableError, match=rf"(?s)column '{column}': .*({message})"):
                ask()
        if id(model) not in ANSWERS:
            untouched = model.stream()
            untouched.push([row(i) for i in range(ROWS - 8, ROWS)])
            ANSWERS[id(model)] = str(untouched.push(row(ROWS)))
        assert str(stream.push(row(ROWS))) == ANSWERS[id(model)]


MIXED: dict[str, tuple[str, Any, str]] = {
    "text among numbers": ("x", "1", r"holds text among numbers \(row 11 = '1'\). A column is of one type: make these"),
    "a list among numbers": ("x", [1.0], r"holds lists among numbers \(row 11 = \[1.0\]"),
    "a dict among numbers": ("x", {}, r"holds dicts among numbers \(row 11 = {}"),
    "a complex number among others": ("x", 1 + 2j, "holds complex among numbers"),
    "a boolean among numbers": ("x", True, r"holds booleans among numbers \(row 11 = True"),
    "a number among booleans": ("flag", 1, r"holds numbers among booleans \(row 11 = 1"),
    "a number among words": ("wind", 1, r"holds numbers among text \(row 11 = 1"),
    "a word among codes": ("code", "a", r"holds text among numbers \(row 11 = 'a'"),
    "a number among texts": ("note", 3, "holds numbers among text"),
    "bytes among numbers": ("x", b"1", r"holds bytes among numbers \(row 11 = b'1'\). Decode them first"),
    "bytes among words": ("wind", b"N", "holds bytes among text"),
    "bytes among texts": ("note", b"good", "holds bytes among text"),
    "bytes among lists": ("snd", b"RIFF", "holds bytes among lists"),
    "bytes among vectors": ("vec", b"ab", "holds bytes among lists"),
    "half a character among words": ("wind", "\ud800", r"holds half of a surrogate pair, .* \(row 11 = '.ud800'\)"),
    "an infinite one among numbers": ("x", np.inf, r"is infinite \(row 11 = inf\)"),
    "a number among times": ("t", MILLISECONDS, r"holds numbers among times \(row 11 = 1704096000000\)"),
    "text among times": ("t", "2024-01-01 05:00", r"holds text among times \(row 11 = '2024-01-01 05:00'\)"),
    "a zone among times without": (
        "t",
        START.replace(tzinfo=UTC),
        "holds times with a zone among times without a zone",
    ),
}


@pytest.mark.parametrize("case", MIXED)
def test_one_bad_cell_among_good_ones_is_refused(case: str, both: Both) -> None:
    column, cell, message = MIXED[case]
    rows = [*(row(i) for i in range(11)), row(11, **{column: cell})]
    for model in both:
        with pytest.raises(il.TableError, match=f"column '{column}': {message}"):
            model.predict(rows)


def test_what_is_missing_is_answered(both: Both) -> None:
    gaps = dict.fromkeys(set(COLUMNS) - {"t"})
    rows = [row(i) for i in range(10)] + [row(i, **gaps) for i in (10, 11)]
    model, served = both
    wanted = model.predict(rows)["y"].to_numpy()
    np.testing.assert_allclose(served.predict(rows)["y"], wanted, rtol=1e-5, atol=1e-6)
    for each in both:
        stream = each.stream()
        last = [stream.push(one) for one in rows][-1]
        np.testing.assert_allclose(np.ravel(last["y"])[-1], wanted[-1], rtol=1e-5, atol=1e-6)


def test_no_rows_and_no_table(both: Both) -> None:
    empty: dict[str, list[Any]] = {name: [] for name in row(0)}
    for model in both:
        for table in (empty, il.Table.of([row(0)]).frame().clear()):
            with pytest.raises(il.TableError, match="the table has no rows"):
                model.predict(table)
        for table in (None, 7, "rows", [1, 2], [None], np.ones((2, 3))):
            with pytest.raises(il.InputLayerError):
                model.predict(table)
        assert model.stream().push([]) == []


def test_sequences_without_a_step(tmp_path: Path) -> None:
    table = {"wave": [[1.0, 2.0], [3.0], [0.5] * 4] * 4, "note": ["a b", "b", "a"] * 4, "y": [1.0, 2.0, 0.0] * 4}
    for steps in ("wave", "note"):
        columns = {"wave": il.Series(), "note": il.Text(min_count=1), "y": il.Number()}
        model = il.Model(il.InputLayer(il.Schema(columns, il.Cells(steps=steps), target="y")), il.LSTM(4))
        model.fit(table, epochs=0)
        model.export(tmp_path / "model.onnx")
        served = il.OnnxModel(tmp_path / "model.onnx")
        for cells in ({"wave": [[], None], "note": ["", None]}, {"wave": [[], [1.0]], "note": [" ", "a"]}):
            wanted = model.predict(cells)["y"]
            assert wanted.is_finite().all()
            np.testing.assert_allclose(served.predict(cells)["y"], wanted, rtol=1e-5, atol=1e-6)


def test_a_batch_without_a_step(tmp_path: Path) -> None:
    schema = il.Schema({"x": il.Number(), "y": il.Number()}, il.Groups("g", order="t"), target="y")
    model = il.Model(il.InputLayer(schema), il.LSTM(4))
    table = {"g": [0, 0, 1, 1], "t": [0, 1, 0, 1], "x": [1.0, 2.0, 3.0, 4.0], "y": [1.0, 1.0, 2.0, 2.0]}
    model.fit(table, epochs=0)
    model.export(tmp_path / "model.onnx")
    served = il.OnnxModel(tmp_path / "model.onnx")
    for shape, message in (((2, 0), "column 'x': has no steps"), ((0, 3), "column 'x': holds no sequence")):
        with pytest.raises(il.TableError, match=message):
            served.predict({"x": np.ones(shape)})
    with pytest.raises(il.OptionError, match="between 1 and 3"):
        served.predict({"x": np.ones((2, 3))}, lengths=[0, 3])


def test_a_state_with_a_seal_of_its_own_is_read_with_suspicion(both: Both, tmp_path: Path) -> None:
    # A digest finds damage, and tells nothing of who wrote it.
    model, served = both
    stream = model.stream()
    stream.push([row(i) for i in range(9)])
    stream.save(tmp_path / "state")
    header, tensors = store.read(tmp_path / "state")
    draw, kept = random.Random(0), json.loads(tensors["cells"].tobytes())
    wrong = [None, 7, "x", [], {}, [[]], {"time": "soon"}, {"bytes": 3}, {"none": "x"}, {"a": 1, "b": 2}]
    refused = 0
    for number in range(40):
        told = json.loads(json.dumps(kept))
        series = draw.choice(told)
        part = draw.choice(["series", "rows", "static", "row", "cell"])
        if part == "series":
            told[draw.randrange(len(told))] = draw.choice(wrong)
        elif part in series:
            series[part] = draw.choice(wrong)
        elif part == "row":
            series["rows"][draw.randrange(len(series["rows"]))] = draw.choice(wrong)
        else:
            one = draw.choice(series["rows"])
            one[draw.choice(list(one))] = draw.choice(wrong)
        cells = np.frombuffer(json.dumps(told).encode(), np.uint8)
        store.write(tmp_path / "wrong", header, tensors | {"cells": cells})
        try:
            (model, served)[number % 2].stream(tmp_path / "wrong")
        except il.ArtefactError:
            refused += 1
    assert refused > 20
