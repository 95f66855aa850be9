"""A stream behind an exported file answers as that of the model, and refuses what that refuses."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import inputlayer as il
from inputlayer import plain
from inputlayer.errors import ArtefactError, OptionError, TableError
from inputlayer.sequence import Windows
from samples import START, assert_refused_without_effect, groups, panel, windows
from test_streaming import BAD, CELLS, known, rows, session_schema, trained

pytest.importorskip("onnxruntime")
CLOSE = 1e-5


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return panel((30, 22))


def served(model: il.Model, folder: Any) -> il.OnnxModel:
    model.export(folder / "model.onnx")
    return il.OnnxModel(folder / "model.onnx")


def same(one: Any, other: Any) -> None:
    assert (one is None) == (other is None)
    if one is None:
        return
    assert list(one) == list(other)
    for name, value in one.items():
        if isinstance(value, str | bool):
            assert value == other[name]
        else:
            size = max(1.0, float(np.abs(value).max()))
            assert np.allclose(value, other[name], rtol=0, atol=CLOSE * size)
            assert np.shape(value) == np.shape(other[name])


CASES = {
    "short windows, both directions": (windows(horizon=0, pad_short=True), lambda: il.GRU(6, bidirectional=True)),
    "a target per step": (session_schema(), lambda: il.LSTM(8, layers=2)),
    "gru": (session_schema(), lambda: il.GRU(8, layers=2)),
    "the group so far": (groups(), lambda: il.LSTM(8)),
    "the last rows of a group": (session_schema(max_length=5), lambda: il.LSTM(8, bidirectional=True)),
}


@pytest.mark.parametrize("name", CASES)
def test_answers_of_both_are_the_same_with_a_save_in_the_middle(table, tmp_path, name):
    schema, body = CASES[name]
    model = trained(schema, table, body())
    file = served(model, tmp_path)
    python, onnx = model.stream(), file.stream()
    mixed = [*rows(table[:12]), *rows(table[30:36])]
    for row in mixed:
        same(python.push(row), onnx.push(row))
    onnx.save(tmp_path / "onnx")
    python.save(tmp_path / "python")
    both = [rows(table)[12], rows(table)[36]]
    wanted = model.stream(tmp_path / "python").push(both)
    # Each goes on from what the other saved, as from its own.
    for stream in (model.stream(tmp_path / "onnx"), file.stream(tmp_path / "onnx"), file.stream(tmp_path / "python")):
        assert len(stream) == 2
        for one, other in zip(wanted, stream.push(both), strict=True):
            same(one, other)


def test_stages_of_the_training_alone_are_no_hindrance(table, tmp_path):
    model = trained(groups(), table, il.LSTM(4), [il.Noise(0.1)])
    python, onnx = model.stream(), served(model, tmp_path).stream()
    for row in rows(table[:9]):
        same(python.push(row), onnx.push(row))


def test_what_is_known_ahead(table, tmp_path):
    model, own = trained(windows(), table, stages=[il.InstanceNorm("last")]), table.filter(pl.col("site") == "north")
    python, onnx = model.stream(), served(model, tmp_path).stream()
    for i, row in enumerate(rows(own[:20])):
        ahead = known(own, i, 3)
        same(python.push(row, future=ahead), onnx.push(row, future=ahead))
    row, ahead = rows(own)[20], known(own, 20, 3)
    words = [{"time": str(a["time"]), "holiday": "yes" if a["holiday"] else "no"} for a in ahead]
    for wrong in (
        None,
        ahead[::-1],
        [{"time": a["time"]} for a in ahead],
        [{**a, "holiday": "perhaps"} for a in ahead],
    ):
        messages = []
        for stream in (python, onnx):
            with pytest.raises(TableError) as caught:
                stream.push(row, future=wrong)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
    same(python.push(row, future=ahead), onnx.push(row, future=words))


def test_the_clock_alone(tmp_path):
    schema = il.Schema({"t": il.Timestamp(parts=("hour",)), "x": il.Number()}, Windows("t", 4, horizon=2), target="x")
    table = {"t": [START + timedelta(hours=h) for h in range(60)], "x": [float(h % 7) for h in range(60)]}
    model = trained(schema, table)
    python, onnx = model.stream(), served(model, tmp_path).stream()
    for t, x in zip(table["t"][:9], table["x"], strict=False):
        answer = python.push({"t": t, "x": x})
        same(answer, onnx.push({"t": str(t), "x": x}))
    cut = {name: cells[:9] for name, cells in table.items()}
    assert np.allclose(answer["x"], model.predict(cut)["x"], rtol=0, atol=CLOSE)


@pytest.mark.parametrize(("change", "message"), BAD, ids=[str(next(iter(c.items()))) for c, _ in BAD])
def test_a_refused_row_changes_nothing(table, tmp_path_factory, change, message):
    if "file" not in _FILES:
        _FILES["file"] = served(trained(session_schema(), table), tmp_path_factory.mktemp("onnx"))
    assert_refused_without_effect(_FILES["file"], table, change, message)


_FILES: dict[str, il.OnnxModel] = {}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["windows", "groups"]), st.lists(CELLS, min_size=1, max_size=14))
def test_any_rows_get_the_same_answers(tmp_path_factory, kind, given_rows):
    if kind not in _BOTH:
        schema = windows(length=4, horizon=0, pad_short=True) if kind == "windows" else session_schema()
        model = trained(schema, panel((30, 22)), il.LSTM(8, layers=2))
        _BOTH[kind] = model, served(model, tmp_path_factory.mktemp("onnx"))
    python, onnx = (made.stream() for made in _BOTH[kind])
    time = START
    for cells in given_rows:
        time += timedelta(seconds=cells["step"])
        row = {**{n: c for n, c in cells.items() if n != "step"}, "time": time, "size": 3.0}
        same(python.push(row), onnx.push(row))


_BOTH: dict[str, Any] = {}


def test_what_cannot_be_carried_is_refused_and_a_state_of_another_file_too(table, tmp_path):
    model = trained(groups(), table, il.LSTM(4, bidirectional=True))
    with pytest.raises(OptionError, match="bidirectional=True also reads every sequence from its end"):
        served(model, tmp_path).stream()
    file = served(trained(groups(), table), tmp_path)
    file.stream().save(tmp_path / "state")
    other = served(trained(groups(), table, il.GRU(8)), tmp_path)
    with pytest.raises(ArtefactError, match="by a stream of another model"):
        other.stream(tmp_path / "state")


def test_columns_that_are_not_plain(tmp_path):
    words = ["fine", "the wind blows", None, "rain and rain and rain", ""]
    draw = np.random.default_rng(0)
    berlin = ZoneInfo("Europe/Berlin")
    table = [
        {
            "t": i,
            "g": 1,
            "note": words[i % 5],
            "face": draw.normal(size=3),
            "wave": draw.normal(size=1 + i % 4).tolist(),
            "about": "a small one" if i % 3 == 1 else None,
            "when": datetime(2024, 3, 31, tzinfo=berlin) + timedelta(hours=i),
            "day": date(2024, 1, 1 + i),
            "y": np.float32(i % 3),
        }
        for i in range(24)
    ]
    columns = {
        "note": il.Text(min_count=1),
        "face": il.Vector(),
        "wave": il.Series(),
        "about": il.Text(min_count=1, role="static"),
        "when": il.Timestamp(parts=("hour",), elapsed=True),
        "day": il.Timestamp(parts=("weekday",)),
        "y": il.Number(),
    }
    table[0]["about"] = "a small one"
    for sequence in (Windows("t", 4, horizon=1), il.Groups("g", order="t", per_step=True)):
        model = trained(il.Schema(columns, sequence, target="y"), table)
        file = served(model, tmp_path)
        python, onnx = model.stream(), file.stream()
        for row in table[:9]:
            given = {**row, "wave": list(row["wave"])}
            same(python.push(given), onnx.push(given))
            given["wave"][0] = 1e9  # what becomes of a cell later changes nothing
        python.save(tmp_path / "python")
        onnx.save(tmp_path / "onnx")
        wanted = python.push(table[9])
        for state in ("python", "onnx"):
            same(wanted, model.stream(tmp_path / state).push(table[9]))
            same(wanted, file.stream(tmp_path / state).push(table[9]))


def test_cells_of_other_types_are_saved_or_named(tmp_path):
    model = trained(il.Schema({"y": il.Number()}, Windows("t", 3), target="y"), {"t": list(range(9)), "y": [1.0] * 9})
    stream = model.stream()
    pushed = [{"t": 1, "y": Decimal("1.5")}, {"t": 2, "y": np.float32(2)}]
    stream.push(pushed)
    stream.save(tmp_path / "state")
    more = {"t": 3, "y": float("nan")}
    assert model.stream(tmp_path / "state").push(more)["y"] == stream.push(more)["y"]
    with pytest.raises(ArtefactError, match=r"cannot save a cell of type object"):
        plain.to_json([object()])


def test_neither_torch_nor_polars_is_loaded(table, tmp_path):
    served(trained(session_schema(), table), tmp_path)
    row = {**rows(table)[0], "time": str(rows(table)[0]["time"])}
    code = (
        f"import sys, inputlayer as il; s = il.OnnxModel({str(tmp_path / 'model.onnx')!r}).stream(); s.push({row!r});"
        f" s.save({str(tmp_path / 'state')!r}); print(*{{'torch', 'polars'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
