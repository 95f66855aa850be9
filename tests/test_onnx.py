"""An exported file answers as Python does: every road, kind, stage, body and head; and it says what it cannot take."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import inputlayer as il
from inputlayer.bodies import BODIES, DECODERS
from inputlayer.bodies.base import Body, Decoder
from inputlayer.columns import KINDS
from inputlayer.graph import Graph
from inputlayer.heads import HEADS
from inputlayer.onnx import cells, drawn
from inputlayer.onnx.base import sealed
from inputlayer.onnx.export import Exported
from inputlayer.stages import STAGES, Stage
from samples import ROADS, panel


def exported(model: il.Model, folder: Path, table: Any = None) -> tuple[Exported, il.OnnxModel]:
    path = folder / "model.onnx"
    told = model.export(path, table)
    return told, il.OnnxModel(path)


def next_rows(frame: pl.DataFrame, horizon: int) -> pl.DataFrame:
    """What is known ahead of `panel`."""
    last = frame.group_by("site", maintain_order=True).agg(pl.col("time").max())
    steps = [last.with_columns(pl.col("time") + timedelta(hours=h), holiday=h % 2 == 0) for h in range(1, horizon + 1)]
    return pl.concat(steps)


def assert_same(found: dict[str, np.ndarray], wanted: pl.DataFrame) -> None:
    assert list(found) == wanted.columns
    for name in wanted.columns:
        column = wanted[name].to_numpy()
        if column.dtype.kind == "f":
            np.testing.assert_allclose(found[name], column, rtol=1e-5, atol=1e-5)
        else:
            assert (found[name] == column).all(), name


@pytest.mark.parametrize("road", ROADS)
def test_a_table_is_answered_as_python_answers_it(road: str, tmp_path: Path) -> None:
    schema, frame = ROADS[road]
    model = drawn_model(schema, frame)
    told, served = exported(model, tmp_path, frame)
    assert told.error <= 1e-6
    ahead = {"future": next_rows(frame, 3)} if schema.horizon else {}
    assert_same(served.predict(frame, **ahead), model.predict(frame, **ahead))


def test_windows_of_numbers(tmp_path: Path) -> None:
    frame = {"day": list(range(60)), "load": [float(i % 7) for i in range(60)]}
    schema = il.Schema({"load": il.Number()}, il.Windows("day", length=14, horizon=2), target="load")
    model = drawn_model(schema, frame, [il.InstanceNorm("last")])
    _, served = exported(model, tmp_path)
    assert_same(served.predict(frame), model.predict(frame))
    whole = np.lib.stride_tricks.sliding_window_view(np.array(frame["load"]), 14)[:-2]
    wanted = model.backtest(frame)["load"].to_numpy().reshape(-1, 2)
    np.testing.assert_allclose(served.predict({"load": whole})["load"], wanted, rtol=1e-6)


def test_serving_loads_neither_torch_nor_polars(tmp_path: Path) -> None:
    schema, frame = ROADS["groups"]
    exported(drawn_model(schema, frame), tmp_path)
    code = (
        "import sys, inputlayer as il\n"
        "model = il.OnnxModel('model.onnx')\n"
        "rows = {'temp': [1.0, None], 'wind': ['N', None], 'holiday': [True, None], 'site': ['a', 'a']}\n"
        "print(len(model.predict(rows | {'time': ['2024-01-01', '2024-01-02T03:00']})['label']))\n"
        "print([m for m in ('torch', 'polars', 'onnx', 'pandas', 'lightning') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n[]\n", "")


def test_what_needs_more_says_so_where_only_serving_is_installed() -> None:
    code = "import sys; sys.modules['polars'] = None; import inputlayer as il; il.OnnxModel; il.read"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    wanted = "MissingExtraError: inputlayer.read needs the package 'polars'. Install it with: pip install inputlayer"
    assert done.stderr.splitlines()[-1] == f"inputlayer.errors.{wanted}"


def test_one_row_by_itself_is_told_from_a_table(served: il.OnnxModel) -> None:
    one = {"day": 1, "load": 2.5, "wind": "N"}
    found = message(lambda: served.predict(one))
    assert found == message(lambda: numbers_model().predict(one))
    assert found == ["the table is one row by itself. Give a list of rows, if only of one: [row]"]
    assert repr(served) == "OnnxModel(load from load, wind, day)"


# -- every kind in every place ----------------------------------------------------------------------------------------

ROWS = 24


def columns_of(kind: str, role: str) -> tuple[dict[str, Any], dict[str, pl.Series]]:
    """Every example of a kind as a column of its own, and cells for it: what its author trains on and probes with."""
    made, cells = {}, {}
    for i, example in enumerate(KINDS[kind].examples()):
        options = {f.name: getattr(example.column, f.name) for f in fields(example.column)} | {"role": role}
        try:
            made[f"{kind}{i}"] = type(example.column)(**options)
        except il.OptionError:  # an option that has no effect in this role
            continue
        column = pl.Series([*example.train, *example.probe], dtype=example.dtype, strict=example.dtype is not None)
        cells[f"{kind}{i}"] = column.gather(pl.Series(np.arange(ROWS) % len(column)))
    return made, cells


def rows_of(cells: dict[str, pl.Series], static: bool) -> pl.DataFrame:
    """Two series of a dozen rows, a target with gaps, and the cells, one for each series where they are static."""
    at = np.arange(ROWS)
    frame = pl.DataFrame(
        {"t": at % 12, "g": ["a" if i < 12 else "b" for i in at], "y": [None if i % 7 == 3 else i / 4 for i in at]}
    )
    return frame.with_columns((c.gather(pl.Series(at // 12)) if static else c).alias(name) for name, c in cells.items())


SEQUENCES: dict[str, Any] = {
    "windows": il.Windows("t", 4, 2, by="g"),
    "short windows": il.Windows("t", 5, 0, by="g", pad_short=True),
    "groups": il.Groups("g", "t", per_step=True, max_length=9),
    "cells": il.Cells(),
}
PLACES = [
    (kind, sequence, role)
    for kind in KINDS
    for sequence, roles in (
        ("windows", ("observed", "known", "static")),
        ("short windows", ("observed",)),
        ("groups", ("observed", "static")),
        ("cells", ("observed",)),
    )
    for role in roles
]


def drawn_model(schema: il.Schema, frame: Any, stages: Any = (), body: Any = None, head: Any = None) -> il.Model:
    model = il.Model(il.InputLayer(schema, stages), body or il.LSTM(3), head)
    model.fit(frame, epochs=0)
    return model


@pytest.mark.parametrize(("kind", "sequence", "role"), PLACES)
def test_every_kind_in_every_place(kind: str, sequence: str, role: str, tmp_path: Path) -> None:
    made, cells = columns_of(kind, role)
    if not made:
        with pytest.raises(il.OptionError):
            type(KINDS[kind].examples()[0].column)(role=role)
        return
    frame = rows_of(cells, role == "static")
    schema = il.Schema({**made, "y": il.Number(fill="forward")}, SEQUENCES[sequence], target="y")
    told, served = exported(drawn_model(schema, frame), tmp_path, frame)
    assert told.error <= 2e-6
    assert served.self_test() <= 1e-6


@pytest.mark.parametrize(
    ("kind", "example"), [(k, i) for k, c in KINDS.items() if c.steps for i in range(len(c.examples()))]
)
def test_every_kind_as_the_steps(kind: str, example: int, tmp_path: Path) -> None:
    made, cells = columns_of(kind, "observed")
    name = f"{kind}{example}"
    frame = rows_of({name: cells[name]}, False).with_columns(label=pl.lit("x"), size=pl.lit(1.0))
    columns = {name: made[name], "y": il.Flag(), "size": il.Number(), "label": il.Category()}
    schema = il.Schema(columns, il.Cells(steps=name), target="y")
    model = drawn_model(schema, frame.with_columns(y=pl.col("t") > 5), body=il.GRU(3, reduce="attention"))
    told, served = exported(model, tmp_path, frame)
    assert told.error <= 2e-6
    assert_same(served.predict(frame), model.predict(frame))


# -- every stage, body, decoder and head ------------------------------------------------------------------------------

_PARTS = il.Schema(
    {
        "a": il.Number(),
        "b": il.Number(scale="log"),
        "size": il.Number(role="static"),
        "wind": il.Category(role="known"),
        "t": il.Timestamp(parts=("hour",), elapsed=True),
    },
    il.Windows("t", 8, 3, by="g", pad_short=True),
    target=["a", "b"],
)
STAGE_CASES = [
    pytest.param([stage], id=f"{kind}-{i}") for kind, c in STAGES.items() for i, stage in enumerate(c.examples())
] + [pytest.param([il.Difference(), il.InstanceNorm("standard"), il.PerChannel(2), il.Patch(3)], id="all")]
BODY_CASES = [
    *(pytest.param(body, id=f"{kind}-{i}") for kind, c in BODIES.items() for i, body in enumerate(c.examples())),
    *(pytest.param(il.LSTM(3, decoder=d), id=kind) for kind, c in DECODERS.items() for d in c.examples()),
]


def many(rows: tuple[int, ...] = (14, 11)) -> pl.DataFrame:
    """Series of two targets with gaps, an hour apart, some of them from another scale."""
    draw = np.random.default_rng(1)
    frames = []
    for i, count in enumerate(rows):
        a = draw.normal(100 * i, 3, count)
        frames.append(
            pl.DataFrame(
                {
                    "g": ["north", "south", "east"][i],
                    "t": [datetime(2024, 3, 30) + timedelta(hours=h) for h in range(count)],
                    "a": pl.Series([None if draw.random() < 0.2 else v for v in a.tolist()], dtype=pl.Float64),
                    "b": np.abs(a),
                    "size": float(i),
                    "wind": ["N", "S", None, "W"][i : i + 1] * count,
                }
            )
        )
    return pl.concat(frames)


@pytest.mark.parametrize("stages", STAGE_CASES)
def test_every_stage(stages: Any, tmp_path: Path) -> None:
    try:
        model = drawn_model(_PARTS, many(), stages)
    except (il.StageError, il.OptionError):
        pytest.skip("a stage of this example cannot stand before these columns")
    assert exported(model, tmp_path, many())[0].error <= 5e-6


@pytest.mark.parametrize("body", BODY_CASES)
def test_every_body_and_decoder(body: Any, tmp_path: Path) -> None:
    model = drawn_model(_PARTS, many(), [il.InstanceNorm("last"), il.PerChannel(2)], body)
    assert exported(model, tmp_path, many())[0].error <= 5e-6


@pytest.mark.parametrize("head", [h for c in HEADS.values() for h in c.examples()], ids=lambda h: str(h.options()))
@pytest.mark.parametrize("per_step", [False, True])
def test_every_head(head: Any, per_step: bool, tmp_path: Path) -> None:
    label = isinstance(head, il.Classes)
    frame = many((4, 9, 1)).with_columns(y=pl.col("b").cast(pl.Int64) % 3 if label else pl.col("b"))
    if not per_step:
        frame = frame.with_columns(pl.col("y").first().over("g"))
    if label and head.options()["weights"] not in (None, "balanced"):
        frame = frame.with_columns(y=pl.when(pl.col("y") > 0).then(pl.lit("a")).otherwise(pl.lit("z")))
    columns = {"a": il.Number(), "y": il.Category() if label else il.Number()}
    model = drawn_model(il.Schema(columns, il.Groups("g", "t", per_step=per_step), target="y"), frame, head=head)
    _, served = exported(model, tmp_path, frame)
    assert_same(served.predict(frame), model.predict(frame))
    crossed = served.predict(frame)
    levels = [name for name in crossed if "_q" in name]
    assert all((crossed[a] <= crossed[b]).all() for a, b in pairwise(levels))


# -- what cannot go in -------------------------------------------------------------------------------------------------


def numbers_model() -> il.Model:
    frame = {"day": list(range(40)), "load": [float(i % 7) for i in range(40)], "wind": ["N", "S"] * 20}
    columns = {"load": il.Number(sentinels=(-9999,)), "wind": il.Category()}
    return drawn_model(il.Schema(columns, il.Windows("day", 5, 2), target="load"), frame)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> il.OnnxModel:
    return exported(numbers_model(), tmp_path_factory.mktemp("numbers"))[1]


ALL_SCHEMA = il.Schema(
    {
        "number": il.Number(),
        "word": il.Category(),
        "code": il.Category(),
        "flag": il.Flag(),
        "text": il.Text(min_count=1),
        "when": il.Timestamp(parts=("hour",), elapsed=True),
        "there": il.Timestamp(parts=("hour",), elapsed=False),
        "vector": il.Vector(),
        "y": il.Number(),
    },
    il.Groups("g", "t"),
    target="y",
)


def good() -> dict[str, list[Any]]:
    berlin = [datetime(2024, 3, 31, h, tzinfo=ZoneInfo("Europe/Berlin")) for h in (0, 1, 4, 5)]
    return {
        "g": ["a", "a", "b", "b"],
        "t": [1, 2, 1, 2],
        "number": [1.0, None, 3.0, 4.5],
        "word": ["x", "y", None, ""],
        "code": [7, 8, None, 7],
        "flag": ["yes", "no", "1", None],
        "text": ["A b", None, "", "c!"],
        "when": ["2024-01-31T10:00", "2024-01-31 11:00:30.25", None, "2024-02-01"],
        "there": berlin,
        "vector": [[1.0, 2.0], None, [3.0, 4.0], [5.0, 6.5]],
        "y": [1.0, 1.0, 2.0, 2.0],
    }


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[il.Model, il.OnnxModel]:
    model = drawn_model(ALL_SCHEMA, good())
    return model, exported(model, tmp_path_factory.mktemp("all"), good())[1]


BAD: dict[str, dict[str, Any]] = {
    "a word among numbers": {"number": ["1", "abc", None, "4"]},
    "numbers as text": {"number": ["1", "2", "3", "4"]},
    "infinite": {"number": [1.0, np.inf, 3.0, -np.inf]},
    "booleans for numbers": {"number": [True, False, True, None]},
    "times for numbers": {"number": [datetime(2024, 1, 1)] * 4},
    "whole numbers for words": {"word": [1, 2, 3, 4]},
    "decimals for words": {"word": [1.5, 2.5, None, 1.5]},
    "words for whole numbers": {"code": ["a", "b", "c", "d"]},
    "bytes for words": {"word": [b"x", b"y", b"x", b"x"]},
    "no flags": {"flag": ["yes", "maybe", "1", "7"]},
    "numbers for text": {"text": [1, 2, 3, 4]},
    "no UTF-8": {"text": [b"ok", b"\xff", None, b"\xfe"]},
    "milliseconds": {"when": [1_706_694_000_000, 1_706_697_600_000, None, 1_706_745_600_000]},
    "no time": {"when": ["2024-01-31", "31.01.2024", "yesterday", None]},
    "a zone where there was none": {"when": ["2024-01-31T10:00Z", None, None, None]},
    "a zone in some": {"when": ["2024-01-31T10:00Z", "2024-01-31T10:00", None, None]},
    "no zone where there was one": {"there": [datetime(2024, 1, 1)] * 4},
    "a short vector": {"vector": [[1.0], [2.0], [1.0], [1.0]]},
    "an infinite vector": {"vector": [[1.0, np.inf], None, [1.0, 2.0], [1.0, 2.0]]},
    "half a vector": {"vector": [[1.0, None], None, [1.0, 2.0], [1.0, 2.0]]},
    "no vector": {"vector": [1.0, 2.0, 3.0, 4.0]},
    "no order": {"t": [1, None, 1, 2]},
    "order of text": {"t": ["1", "2", "1", "2"]},
    "order of times as text": {"t": ["2024-01-01", "2024-01-02", "2024-01-01", None]},
    "order of times, and a word": {"t": ["2024-01-01", "soon", " ", None]},
    "order of times, and a zone": {"t": ["2024-01-01", "2024-01-02T00:00Z", "2024-01-01", "2024-01-02"]},
    "twice": {"t": [1, 1, 1, 2]},
    "no group": {"g": ["a", None, "b", "b"]},
    "no column": {"number": None},
    "uneven": {"number": [1.0]},
    "no list": {"number": 7.0},
    "several": {"number": [1.0, np.inf, 3.0, 4.0], "flag": ["maybe"] * 4, "when": [1, 2, 3, 4]},
}


def message(call: Any) -> list[str]:
    with pytest.raises(il.TableError) as error:
        call()
    return sorted(str(problem) for problem in error.value.problems)


@pytest.mark.parametrize("case", BAD)
def test_errors_are_those_of_python(case: str, both: tuple[il.Model, il.OnnxModel]) -> None:
    model, served = both
    given = {name: cells for name, cells in {**good(), **BAD[case]}.items() if cells is not None}
    del given["y"]
    assert message(lambda: served.predict(given)) == message(lambda: model.predict(given))


FAR = {"min_value": datetime(1, 1, 2), "max_value": datetime(9999, 12, 30)}
# Clocks go forward and back as the zones' tables say, and polars' tables end in 2100.
NEAR = {"min_value": datetime(1950, 1, 1), "max_value": datetime(2099, 12, 30)}
ANY_ROW = st.fixed_dictionaries(
    {
        "number": st.none() | st.floats(allow_infinity=False),
        "word": st.none() | st.sampled_from(["x", "y"]) | st.text(),
        "code": st.none() | st.sampled_from([7, 8]) | st.integers(-(2**63), 2**63 - 1),
        "flag": st.none() | st.booleans(),
        "text": st.none() | st.text() | st.lists(st.sampled_from(["a", "B", "c!", "\u00df"])).map(" ".join),
        "when": st.none() | st.datetimes(**FAR),
        "there": st.none() | st.datetimes(**NEAR, timezones=st.just(ZoneInfo("Europe/Berlin"))),
        "vector": st.none() | st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=2),
    }
)


@settings(max_examples=60)
@given(st.lists(ANY_ROW, min_size=1, max_size=6))
def test_any_rows_are_answered_as_python_answers_them(
    both: tuple[il.Model, il.OnnxModel], rows: list[dict[str, Any]]
) -> None:
    model, served = both
    table = {name: [row[name] for row in rows] for name in rows[0]}
    table |= {"g": ["ab"[i % 2] for i in range(len(rows))], "t": list(range(len(rows)))}
    assert_same(served.predict(table), model.predict(table))


def test_what_tables_hold_may_come_from_any_library(both: tuple[il.Model, il.OnnxModel]) -> None:
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    model, served = both
    plain = good() | {"flag": [True, False, True, None], "when": [datetime(2024, 1, 31, h) for h in (10, 11, 12, 13)]}
    wanted, frame = model.predict(plain), pl.DataFrame(plain)
    rows = [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]
    assert frame["there"].dtype == pl.Datetime("us", "Europe/Berlin")
    objects = pandas.DataFrame({name: pandas.Series(cells, dtype=object) for name, cells in plain.items()})
    for table in (
        plain,
        rows,
        frame,
        frame.lazy(),
        il.Table.of(frame),
        frame.to_arrow(),
        objects,
        objects.convert_dtypes(),
    ):
        assert_same(served.predict(table), wanted)
    assert isinstance(frame.to_arrow(), arrow.Table)
    assert_same(served.predict(frame.sample(4, shuffle=True, seed=1)), wanted)


def test_windows_that_cannot_be_predicted(served: il.OnnxModel) -> None:
    model = numbers_model()
    for table in (
        {"day": [1, 2, 3], "load": [1.0, 2.0, 3.0], "wind": ["N"] * 3},
        {"day": [], "load": [], "wind": []},
        {"day": [1, 2, 3, 4, 4], "load": [1.0] * 5, "wind": ["N"] * 5},
        {"day": ["2024-01-01"] * 5, "load": [1.0] * 5, "wind": ["N"] * 5},
        {"load": [1.0] * 5},
    ):
        assert message(lambda table=table: served.predict(table)) == message(lambda table=table: model.predict(table))


def test_batches_that_do_not_fit(served: il.OnnxModel) -> None:
    wind = np.full((3, 5), "N")
    for load, text in (
        (np.ones((3, 4)), r"column 'load': has the shape \(3, 4\), not \(batch, 5\)"),
        (np.ones((0, 5)), "column 'load': holds no sequence"),
        (np.ones((2, 5)), r"column 'wind': has the shape \(3, 5\), not \(2, 5\)"),
        (np.full((3, 5), np.inf), "column 'load': is infinite"),
        (np.full((3, 5), "1"), "column 'load': is text, not a number"),
        (np.ones((3, 5, 1)), "'load'"),
    ):
        with pytest.raises(il.TableError, match=text):
            served.predict({"load": load, "wind": wind})
    with pytest.raises(il.TableError, match="column 'wind': is missing from the batch"):
        served.predict({"load": np.ones((3, 5))})
    with pytest.raises(il.OptionError, match="lengths= has no effect: every sequence"):
        served.predict({"load": np.ones((3, 5)), "wind": wind}, lengths=[5, 5, 5])
    with pytest.raises(il.TableError, match="cannot be made of ndarray; give a dict"):
        served.predict(np.ones((3, 5)))


def test_lengths_of_a_batch(tmp_path: Path) -> None:
    schema = il.Schema({"a": il.Number(), "b": il.Number()}, il.Groups("g", "t"), target="b")
    frame = many((4, 9, 1)).with_columns(pl.col("b").first().over("g"))
    model = drawn_model(schema, frame)
    served = exported(model, tmp_path)[1]
    padded = np.zeros((3, 9))
    for i, group in enumerate(frame.partition_by("g", maintain_order=True)):
        padded[i, : group.height] = group["a"].to_numpy()
    found = served.predict({"a": padded}, lengths=[4, 9, 1])["b"]
    wanted = model.predict(frame).sort("g")["b"].to_numpy()
    np.testing.assert_allclose(found[[2, 0, 1]], wanted, rtol=1e-6)
    for lengths, text in (([4, 9], "3 whole numbers"), ([4, 9, 0], "between 1 and 9"), ([4, 9, 10], "between 1 and 9")):
        with pytest.raises(il.OptionError, match=text):
            served.predict({"a": padded}, lengths=lengths)


def test_known_rows_ahead_are_checked_as_python_checks_them(tmp_path: Path) -> None:
    schema, frame = ROADS["windows"]
    model = drawn_model(schema, frame)
    served = exported(model, tmp_path)[1]
    ahead = next_rows(frame, 3)
    for future in (
        None,
        ahead.drop("holiday"),
        ahead.head(5),
        ahead.with_columns(pl.col("time") - timedelta(hours=5)),
        ahead.with_columns(pl.col("time") + pl.col("time").dt.hour() * timedelta(hours=1)),
        ahead.with_columns(site=pl.lit("west")),
        ahead.with_columns(holiday=pl.lit("maybe")),
        ahead.with_columns(load=pl.lit(1.0)),
    ):
        found = message(lambda future=future: served.predict(frame, future=future))
        assert found == message(lambda future=future: model.predict(frame, future=future))


def test_times_ahead_that_no_clock_tells_are_asked_for_as_python_asks(tmp_path: Path) -> None:
    frame = panel((60,)).select("time", "load").filter(~pl.int_range(pl.len()).is_in([20, 40]))
    schema = il.Schema({"load": il.Number(), "time": il.Timestamp()}, il.Windows("time", 6, 3), target="load")
    model = drawn_model(schema, frame)
    served = exported(model, tmp_path)[1]
    assert message(lambda: served.predict(frame)) == message(lambda: model.predict(frame))
    assert "steps of the training rows are not regular" in message(lambda: served.predict(frame))[0]


# -- the file ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("file") / "model.onnx"
    numbers_model().export(path)
    return path.read_bytes()


def refused(content: bytes, text: str) -> None:
    with pytest.raises(il.ArtefactError, match=text):
        il.OnnxModel.of(content)


def test_a_file_that_was_changed_is_refused(content: bytes) -> None:
    draw = np.random.default_rng(0)
    for at in draw.integers(0, len(content), 200).tolist():
        changed = bytearray(content)
        changed[at] ^= 1 << int(draw.integers(0, 8))
        refused(bytes(changed), "the model")
    for end in draw.integers(0, len(content), 50).tolist():
        refused(content[:end], "the model")


def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    import onnx

    refused(b"", "was not written by inputlayer")
    refused(b"PNG, perhaps", "is no ONNX file")
    bare = Graph()
    bare.output("y", bare.cast(bare.input("x", np.float64, ("n",)), np.float32), np.float32, ("n",))
    refused(bare.model({}).SerializeToString(), "was not written by inputlayer")
    newer = onnx.load_from_string(content)
    for entry in newer.metadata_props:
        entry.value = entry.value.replace('"format": 1', '"format": 9')
    refused(newer.SerializeToString(), "has format 9, and this version reads up to 1")
    with pytest.raises(il.ArtefactError, match="there is no file"):
        il.OnnxModel(tmp_path / "none.onnx")
    with pytest.raises(il.ArtefactError, match="cannot be read"):
        il.OnnxModel(tmp_path)


def test_a_graph_that_answers_otherwise_is_refused(content: bytes) -> None:
    import onnx

    other = onnx.load_from_string(content)
    weight = next(t for t in other.graph.initializer if len(t.dims) == 3)
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 1.5, weight.name))
    kept = [entry for entry in other.metadata_props if entry.key != "inputlayer.sha256"]
    del other.metadata_props[:]
    other.metadata_props.extend(kept)
    key, value = sealed(other.SerializeToString())
    other.metadata_props.add(key=key, value=value)
    refused(other.SerializeToString(), "answers otherwise here")


def test_the_same_model_gives_the_same_bytes_and_none_of_the_users_rows(tmp_path: Path) -> None:
    model = drawn_model(il.Schema({"word": il.Category(), "y": il.Flag()}, il.Cells(), target="y"), SECRET)
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in paths:
        model.export(path, {"word": ["a secret never in training"]})
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"a secret" not in paths[0].read_bytes()


SECRET = {"word": ["a", "b", "a"], "y": [True, False, True]}


def test_an_empty_batch_is_an_error_of_any_runtime_and_no_crash(content: bytes) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(content)
    with pytest.raises(Exception, match="the batch holds no sequence"):
        session.run(None, {"load": np.zeros((0, 5)), "wind": np.zeros((0, 5), object)})


def test_the_file_tells_what_it_is(content: bytes) -> None:
    import onnx

    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert {o.domain: o.version for o in model.opset_import} == {"": 21, "ai.onnx.ml": 4}
    assert [i.name for i in model.graph.input] == ["load", "wind"]
    told = il.OnnxModel.of(content).told
    assert told["receipt"]["rows"] == 40
    assert {"inputlayer", "torch", "onnx", "onnxruntime"} == set(told["versions"])
    assert told["parity"]["error"] <= 1e-6


# -- refused before anything is written --------------------------------------------------------------------------------


class Own(nn.Module):
    width = 3

    def forward(self, x: Any, lengths: Any, future: Any, key: Any = None) -> Any:
        return x.new_zeros(len(x), 1, 3)


def test_a_body_of_ones_own_is_refused_and_nothing_written(tmp_path: Path) -> None:
    model = drawn_model(il.Schema({"word": il.Category(), "y": il.Flag()}, il.Cells(), target="y"), SECRET, body=Own())
    with pytest.raises(il.OptionError, match="the body Own has no ONNX twin"):
        model.export(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


class OwnStage(Stage):
    kind = "own"

    def options(self) -> dict[str, Any]:
        return {}

    def plan(self, plan: Any) -> Any:
        return plan

    def forward(self, steps: Any) -> Any:
        return steps, None

    def back(self, y: Any, memo: Any) -> Any:
        return y


class HalfStage(OwnStage):
    def onnx(self, g: Any, steps: Any) -> Any:
        return steps, None


class OwnDecoder(Decoder):
    kind = "own"

    def options(self) -> dict[str, Any]:
        return {}

    def build(self, plan: Any, state: int, outputs: int) -> None:
        self.width, self.leave = 3, nn.Linear(state, 3 * plan.horizon)

    def forward(self, state: Any, future: Any, key: Any = None) -> Any:
        return self.leave(state).view(len(state), -1, 3)


class OwnBody(Body):
    kind, width = "own", 3

    def build(self, plan: Any, outputs: int) -> None:
        pass

    def forward(self, x: Any, lengths: Any, future: Any, key: Any = None) -> Any:
        return x.new_zeros(len(x), 2, 3)


@dataclass(frozen=True)
class OwnKind(il.Number):
    kind = "own"


def test_parts_of_ones_own_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "own", OwnKind)
    frame = {"day": list(range(40)), "load": [float(i % 7) for i in range(40)], "temp": [0.5] * 40}
    schema = il.Schema({"load": il.Number(), "temp": OwnKind()}, il.Windows("day", 5, horizon=2), target="load")
    for body, named in ((il.LSTM(3, decoder=OwnDecoder()), "the decoder OwnDecoder"), (OwnBody(), "the body OwnBody")):
        model = drawn_model(schema, frame, [OwnStage(), HalfStage()], body=body)
        with pytest.raises(il.OptionError) as error:
            model.export(tmp_path / "model.onnx")
        for text in ("column 'temp': OwnKind", named, "the stage OwnStage", "the stage HalfStage"):
            assert f"{text} has no ONNX twin" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_everything_without_a_twin_is_named_at_once(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    frame = {"text": ["good film", "bad film"] * 3, "when": ["1.1.24"] * 6, "y": [True, False] * 3}
    columns = {"text": il.Text(tokens="bpe"), "when": il.Timestamp(format="%-d.%-m.%y", parts=()), "y": il.Flag()}
    model = drawn_model(il.Schema(columns, il.Cells(), target="y"), frame, body=Own())
    with pytest.raises(il.OptionError) as error:
        model.export(tmp_path / "model.onnx")
    for text in ("column 'text': tokens='bpe'", "column 'when'", "the body Own"):
        assert text in str(error.value)
    with pytest.raises(il.ArtefactError, match="could not be written"):
        numbers_model().export(tmp_path / "no folder" / "model.onnx")


def test_before_fit() -> None:
    with pytest.raises(il.NotFittedError):
        il.Model(il.InputLayer(ALL_SCHEMA), il.LSTM(3)).export("model.onnx")


def test_every_kind_can_be_drawn_and_taken_in() -> None:
    assert set(drawn.KINDS) == set(cells.KINDS) == set(KINDS)
