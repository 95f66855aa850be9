"""Rows pushed one at a time get the predictions that the whole table gets; what is kept can be saved and loaded."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import inputlayer as il
from inputlayer import plain
from inputlayer.columns import KINDS
from inputlayer.columns.base import Ragged, Where
from inputlayer.errors import ArtefactError, OptionError, Problems, TableError
from inputlayer.fit import Fitted, fit
from inputlayer.quick import Quick
from inputlayer.table import Table
from samples import START, assert_refused_without_effect, groups, panel, windows

CLOSE = 1e-6


def trained(schema: il.Schema, table: Any, body: Any = None, stages: Any = (), head: Any = None) -> il.Model:
    model = il.Model(il.InputLayer(schema, stages), body or il.LSTM(8), head)
    model.fit(table, epochs=0, seed=1)
    with torch.no_grad():  # far from initial weights, so that a mistake is seen
        for weight in model.network.parameters():
            weight.mul_(2)
    return model


def rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return frame.to_dicts()


def known(frame: pl.DataFrame, at: int, horizon: int) -> list[dict[str, Any]]:
    return rows(frame[at + 1 : at + 1 + horizon].select("time", "holiday"))


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return panel((30, 22))


# -- windows ----------------------------------------------------------------------------------------------------------


def test_windows_equal_the_backtest(table):
    model = trained(windows(), table, stages=[il.InstanceNorm("last")])
    backtest = model.backtest(table).filter(pl.col("site") == "north")
    own, stream = table.filter(pl.col("site") == "north"), model.stream()
    answers = [stream.push(row, future=known(own, i, 3) if i < 27 else None) for i, row in enumerate(rows(own[:27]))]
    assert answers[:5] == [None] * 5
    found = np.concatenate([answer["load"] for answer in answers[5:]])
    assert np.allclose(found, backtest["load"], rtol=0, atol=CLOSE * 10)


def test_many_series_interleaved_equal_one_at_a_time(table):
    schema = windows(horizon=0, pad_short=True)
    model = trained(schema, table, il.GRU(6, layers=2, bidirectional=True))
    shuffled = table.with_columns(pl.int_range(pl.len()).over("site").alias("n")).sort("n", "site").drop("n")
    alone, together = model.stream(), model.stream()
    one = [alone.push(row) for row in rows(shuffled)]
    many = [a for i in range(0, shuffled.height, 7) for a in together.push(rows(shuffled[i : i + 7]))]
    assert len(alone) == 2
    for a, b, row in zip(one, many, rows(shuffled), strict=True):
        assert a.keys() == b.keys() == {"load"}
        assert a["load"] == pytest.approx(b["load"], abs=CLOSE * 10), row
    backtest = model.backtest(table).sort("origin", "site")
    assert np.allclose([a["load"] for a in one], backtest["load"], rtol=0, atol=CLOSE * 10)


def test_no_answer_across_a_gap():
    schema = il.Schema({"x": il.Number(), "load": il.Number()}, il.Windows("t", 3, horizon=0, max_gap=2), target="load")
    table = {"t": [0, 1, 2, 3, 9, 10, 11, 12], "x": [1.0, 5, 2, 7, 3, 8, 2, 6], "load": [0.0, 1, 0, 1, 0, 1, 0, 1]}
    model = trained(schema, table)
    stream = model.stream()
    answers = [stream.push({"t": t, "x": x}) for t, x in zip(table["t"], table["x"], strict=True)]
    assert [a is not None for a in answers] == [False, False, True, True, False, False, True, True]
    found = [a["load"] for a in answers if a]
    assert np.allclose(found, model.backtest(table)["load"], rtol=0, atol=CLOSE)


def test_what_is_known_ahead_must_be_given_and_follow(table):
    model, own = trained(windows(), table), table.filter(pl.col("site") == "north")
    stream = model.stream()
    for row in rows(own[:5]):
        assert stream.push(row) is None  # nothing is due, so nothing need be known
    row, ahead = rows(own)[5], known(own, 5, 3)
    with pytest.raises(TableError, match=r"'holiday' must be known ahead.*future=, a list of the next 3 rows"):
        stream.push(row)
    with pytest.raises(OptionError, match="list of the next 3 rows"):
        stream.push(row, future=ahead[:2])
    with pytest.raises(TableError, match="in future=: does not follow the row before"):
        stream.push(row, future=ahead[::-1])
    with pytest.raises(TableError, match="in future=: leaves the regular steps"):
        stream.push(row, future=[ahead[0], ahead[2], {**ahead[2], "time": ahead[2]["time"] + timedelta(hours=1)}])
    with pytest.raises(TableError, match="column 'holiday': is missing from future="):
        stream.push(row, future=[{"time": a["time"]} for a in ahead])
    with pytest.raises(TableError, match="in future=: is not a flag"):
        stream.push(row, future=[{**a, "holiday": "maybe"} for a in ahead])
    words = [{"time": str(a["time"]), "holiday": "yes" if a["holiday"] else "no"} for a in ahead]
    copy = model.stream()
    for earlier in rows(own[:5]):
        copy.push(earlier)
    assert stream.push(row, future=ahead)["load"] == pytest.approx(copy.push(row, future=words)["load"], abs=0)


def test_future_without_effect_is_refused():
    schema = il.Schema({"load": il.Number()}, il.Windows("t", 3), target="load")
    model = trained(schema, {"t": list(range(9)), "load": [1.0, 5, 2, 7, 3, 8, 2, 6, 1]})
    with pytest.raises(OptionError, match="future= has no effect"):
        model.stream().push({"t": 1, "load": 2.0}, future=[{"t": 2}])


# -- groups -----------------------------------------------------------------------------------------------------------

GROUPS: dict[str, Any] = {
    "lstm": lambda: il.LSTM(8, layers=2, dropout=0.3),
    "gru": lambda: il.GRU(8, layers=2),
}


def session_schema(**options: Any) -> il.Schema:
    return il.Schema(
        columns={
            "time": il.Timestamp(parts=("hour",), elapsed=True),
            "temp": il.Number(scale="quantile", fill="forward", since=True),
            "load": il.Number(scale="log", since=True, clip=1.0),
            "wind": il.Category(),
            "holiday": il.Flag(),
            "size": il.Number(role="static"),
            "hot": il.Flag(),
        },
        sequence=il.Groups("site", order="time", **{"per_step": True, **options}),
        target="hot",
    )


@pytest.mark.parametrize("body", GROUPS)
def test_carried_state_equals_the_group_so_far(table, body):
    model = trained(session_schema(), table, GROUPS[body]())
    whole, stream = model.predict(table), model.stream()
    assert "the state carried" in repr(stream)
    answers = [stream.push(row) for row in rows(table)]
    assert np.allclose([a["p_true"] for a in answers], whole["p_true"], rtol=0, atol=CLOSE)
    assert [a["hot"] for a in answers] == whole["hot"].to_list()
    part = table[:7]
    assert answers[6]["p_true"] == pytest.approx(model.predict(part)["p_true"][-1], abs=CLOSE)


def test_a_class_for_the_group_so_far(table):
    model = trained(groups(), table)
    stream = model.stream()
    for i, row in enumerate(rows(table[:9])):
        answer, batch = stream.push(row), model.predict(table[: i + 1])
        assert answer["label"] == batch["label"][0]
        assert answer["p_a"] == pytest.approx(batch["p_a"][0], abs=CLOSE)


def test_stages_of_the_training_alone_are_no_hindrance(table):
    model = trained(groups(), table, il.Ensemble(il.LSTM(4), 2), (il.Noise(0.1), il.Stretch(1.2)))
    stream = model.stream()
    for i, row in enumerate(rows(table[:9])):
        assert stream.push(row)["p_a"] == pytest.approx(model.predict(table[: i + 1])["p_a"][0], abs=CLOSE)


@pytest.mark.parametrize(
    ("body", "stages", "message"),
    [
        (il.LSTM(4, bidirectional=True), (), "bidirectional=True also reads every sequence from its end"),
        (il.LSTM(4, reduce="attention"), (), "reduce='attention' looks at all steps again. Use reduce='last'"),
        (il.GRU(4), (il.InstanceNorm("mean"),), "InstanceNorm looks at the whole sequence again at each row"),
        (il.LSTM(4, reduce="mean"), (il.Patch(2),), "(?s)Patch looks .*; reduce='mean' looks"),
    ],
)
def test_what_cannot_be_carried_is_refused_and_kept_rows_serve(table, body, stages, message):
    model = trained(groups(), table, body, stages)
    with pytest.raises(OptionError, match=message) as caught:
        model.stream()
    assert "max_length" in str(caught.value)
    kept = trained(groups(max_length=4), table, body, stages)
    stream = kept.stream()
    for i, row in enumerate(rows(table[:9])):
        assert stream.push(row)["p_a"] == pytest.approx(kept.predict(table[: i + 1])["p_a"][0], abs=CLOSE)


def test_cells_and_bodies_of_ones_own_are_refused(table):
    class Own(torch.nn.Module):
        width = 1

        def forward(self, x, lengths, future, key=None):
            return x[..., :1]

    with pytest.raises(OptionError, match="Own, a body of your own, has no state that is known here"):
        trained(session_schema(), table, Own()).stream()
    cells = il.Schema({"load": il.Number(), "hot": il.Flag()}, il.Cells(), target="hot")
    with pytest.raises(OptionError, match="Cells have no rows to come"):
        trained(cells, table).stream()


def test_a_static_value_that_comes_late_is_refused_where_it_changes_the_past(table):
    model = trained(session_schema(), table)
    first, second, third = rows(table[:3])
    stream = model.stream()
    stream.push({**first, "size": None})
    with pytest.raises(TableError, match="column 'size': has a value that earlier rows lack"):
        stream.push(second)
    stream.push({**second, "size": None})
    other = model.stream()
    other.push(first)
    other.push({**second, "size": None})  # it is known
    with pytest.raises(TableError, match=r"column 'size': has several values within one group: 'north'"):
        other.push({**third, "size": 99.0})


# -- rows that are refused --------------------------------------------------------------------------------------------

BAD: list[tuple[dict[str, Any], str]] = [
    ({"time": START}, "column 'time': comes before the last row of its series"),
    ({"time": START + timedelta(hours=8)}, "column 'time': has the same value twice in one series"),
    ({"time": None}, "column 'time': has no value, so the row has no place in its series"),
    ({"time": 1704096000000}, "column 'time': holds numbers, not times"),
    ({"time": "soon"}, "column 'time': is not a time"),
    ({"load": math.inf}, "column 'load': is infinite"),
    ({"load": "12"}, "column 'load': is text, not a number"),
    ({"load": True}, "column 'load': holds Boolean, not numbers"),
    ({"wind": 3}, "column 'wind': held text in training and holds whole numbers now"),
    ({"holiday": 7}, "column 'holiday': is not a flag"),
    ({"site": None}, "column 'site': has no value, so the row belongs to no series"),
    ({"site": 5}, "column 'site': held text in training|column 'site': is no text"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[str(next(iter(c.items()))) for c, _ in BAD])
def test_a_refused_row_changes_nothing(table, change, message):
    assert_refused_without_effect(trained(session_schema(), table), table, change, message)


def test_a_missing_column_and_what_is_no_row_are_named(table):
    stream = trained(session_schema(), table).stream()
    row = rows(table)[0]
    with pytest.raises(TableError, match=r"column 'temp': is missing from the table"):
        stream.push({n: c for n, c in row.items() if n != "temp"})
    for wrong in (table, [1, 2], "row", None):
        with pytest.raises(OptionError, match="push takes a row as a dict"):
            stream.push(wrong)
    assert stream.push([]) == []
    assert len(stream) == 0


def test_the_same_errors_as_predict(table):
    model = trained(windows(horizon=0), table)
    row = {**rows(table)[0], "load": 1.0, "temp": "x", "holiday": "perhaps", "wind": True}
    messages = []
    for ask in (lambda: model.stream().push(row), lambda: model.predict([row])):
        with pytest.raises(TableError) as caught:
            ask()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "3 problems" in messages[0]


# -- put away and taken up --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [windows(horizon=0), session_schema(), session_schema(max_length=3)])
def test_saved_in_the_middle_it_goes_on_as_if_nothing_had_been(table, schema, tmp_path):
    model = trained(schema, table)
    stream = model.stream()
    half = [*rows(table[:10]), *rows(table[30:41])]
    for row in half:
        stream.push(row)
    stream.save(tmp_path / "state.safetensors")
    again = il.load(saved_model(model, tmp_path)).stream(tmp_path / "state.safetensors")
    assert len(again) == len(stream) == 2
    for row in [*rows(table[10:14]), *rows(table[41:45])]:
        assert again.push(row) == stream.push(row)
    stream.save(tmp_path / "one.safetensors")
    again.save(tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()


def saved_model(model, folder):
    model.save(folder / "model.safetensors")
    return folder / "model.safetensors"


def test_an_empty_stream_can_be_saved(table, tmp_path):
    model = trained(session_schema(), table)
    model.stream().save(tmp_path / "state")
    assert len(model.stream(tmp_path / "state")) == 0


def test_keys_of_any_plain_kind_survive(tmp_path):
    keys = [("a/b", 1, START), ("ü", -5, START + timedelta(days=1))]
    table = [{"s": s, "n": n, "d": d, "t": t, "x": float(t * n), "y": 1.0 * t} for s, n, d in keys for t in range(5)]
    schema = il.Schema(
        {"x": il.Number(), "y": il.Number()}, il.Windows("t", 2, horizon=0, by=("s", "n", "d")), target="y"
    )
    model = trained(schema, table)
    stream = model.stream()
    stream.push(table)
    stream.save(tmp_path / "state")
    again = model.stream(tmp_path / "state")
    more = [{**row, "t": 9} for row in (table[0], table[5])]
    assert again.push(more) == stream.push(more)
    assert stream.forget(table[0])
    assert not stream.forget(table[0])
    assert len(stream) == 1


def test_a_state_of_another_model_or_kind_is_refused(table, tmp_path):
    model, other = trained(session_schema(), table), trained(session_schema(), table, il.LSTM(8, layers=2))
    stream = model.stream()
    stream.push(rows(table[:1]))
    stream.save(tmp_path / "state")
    with pytest.raises(ArtefactError, match="by a stream of another model"):
        other.stream(tmp_path / "state")
    model.continue_fit(table, epochs=1)
    with pytest.raises(ArtefactError, match="or of this one before it was trained on"):
        model.stream(tmp_path / "state")
    with pytest.raises(ArtefactError, match="holds a 'model', not the state of a stream"):
        model.stream(saved_model(model, tmp_path))
    with pytest.raises(ArtefactError, match="there is no file"):
        model.stream(tmp_path / "none")
    (tmp_path / "state").write_bytes((tmp_path / "state").read_bytes()[:-3])
    with pytest.raises(ArtefactError, match="truncated"):
        model.stream(tmp_path / "state")


def test_a_stream_keeps_its_weights(table):
    model = trained(session_schema(), table)
    stream, copy = model.stream(), model.stream()
    stream.push(rows(table[:1]))
    copy.push(rows(table[:1]))
    model.continue_fit(table, epochs=1, lr=0.1)
    assert stream.push(rows(table)[1]) == copy.push(rows(table)[1])
    assert model.stream().push(rows(table)[1]) != copy.push(rows(table)[2])


# -- any rows at all --------------------------------------------------------------------------------------------------

CELLS = st.fixed_dictionaries(
    {
        "step": st.integers(1, 5000),
        "temp": st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-9, 9)),
        "load": st.one_of(st.none(), st.floats(-1e3, 1e3)),
        "wind": st.one_of(st.none(), st.sampled_from(["N", "S", "W", "unseen", ""])),
        "holiday": st.one_of(st.none(), st.booleans(), st.sampled_from([0, 1])),
        "site": st.sampled_from(["north", "south", "else"]),
    }
)
MODELS: dict[str, il.Model] = {}


def any_model(name: str) -> il.Model:
    if name not in MODELS:
        schema = windows(length=4, horizon=0, pad_short=True) if name == "windows" else session_schema()
        MODELS[name] = trained(schema, panel((30, 22)), il.LSTM(8, layers=2))
    return MODELS[name]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["windows", "groups"]), st.lists(CELLS, min_size=1, max_size=14), st.integers(0, 14))
def test_pushed_equals_predicted_on_the_rows_so_far(tmp_path_factory, kind, given_rows, cut):
    model, time, stream, made = any_model(kind), START, any_model(kind).stream(), []
    for i, cells in enumerate(given_rows):
        time += timedelta(seconds=cells["step"])
        row = {**{n: c for n, c in cells.items() if n != "step"}, "time": time, "size": 3.0}
        made.append(row)
        if i == cut:
            path = tmp_path_factory.mktemp("stream") / "state"
            stream.save(path)
            stream = model.stream(path)
        answer = stream.push(row)
        own = [r for r in made if r["site"] == row["site"]]
        whole = model.predict(pl.DataFrame(own, infer_schema_length=None))
        for name, value in answer.items():
            wanted = whole[name][-1]
            assert value == wanted if isinstance(wanted, bool) else abs(value - wanted) <= CLOSE * max(1, abs(wanted))


# -- the quick way ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_quick_way_is_the_long_way(kind):
    quick_ones = 0
    for example in KINDS[kind].examples():
        if example.column.role != "observed" or kind == "series":
            continue
        cells = [*example.train, *example.probe]
        schema = il.Schema({"x": example.column, "y": il.Number()}, il.Groups("g"), target="y")
        frame = pl.DataFrame(
            [
                pl.Series("x", cells, dtype=example.dtype, strict=example.dtype is not None),
                pl.Series("y", [1.0] * len(cells)),
            ]
        ).with_columns(g=pl.lit("a"))
        fitted = fit(schema, Table.of(frame[: len(example.train)]))
        read = Quick(fitted, ["x"])
        for row in frame.to_dicts():
            found = read([row])
            if found is not None:
                quick_ones += 1
                wanted = long_way(fitted, row)
                assert found[1].keys() == wanted.keys()
                for name, wire in wanted.items():
                    assert found[1][name].dtype == wire.dtype
                    assert np.array_equal(found[1][name], wire, equal_nan=wire.dtype.kind == "f")
    assert bool(quick_ones) == (kind in ("number", "category", "flag", "timestamp"))


def long_way(fitted: Fitted, row: dict[str, Any]) -> dict[str, np.ndarray]:
    column, state, problems = fitted.schema.columns["x"], fitted.states["x"], Problems()
    cells = Table.of([row]).frame()["x"]
    values = column.accept(cells, Where("x", 0, problems))
    column.check(values, state, Where("x", 0, problems))
    assert not problems
    wires = column.encode(values, state)
    assert not any(isinstance(wire, Ragged) for wire in wires.values())
    return {f"x.{suffix}" if suffix else "x": wire for suffix, wire in wires.items()}


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.datetimes(),
        st.datetimes(timezones=st.timezones()),
        st.datetimes().map(lambda t: t.isoformat(" ", "seconds")),
        st.datetimes(timezones=st.timezones()).map(lambda t: t.isoformat("T", "minutes")),
        st.text("0123456789-:TZ+ .", max_size=26),
    )
)
def test_plain_times_are_read_as_tables_read_them(cell):
    found = plain.times([cell])
    if found is None:
        return
    from inputlayer.times import read_times

    problems = Problems()
    wanted = read_times(Table.of({"x": [cell]}).frame()["x"], None, Where("x", 0, problems))
    assert not problems
    assert found[0].tolist() == wanted.utc.tolist()
    assert found[1] == (wanted.zone is not None)


def test_columns_that_are_not_plain_take_the_long_way(tmp_path):
    """Vectors and pooled text: no quick way, entries of uneven number, and the same answers."""
    draw = np.random.default_rng(0)
    words = ["fine", "the wind blows", None, "rain and rain and rain", ""]
    table = [{"t": i, "note": words[i % 5], "face": draw.normal(size=3).tolist(), "y": float(i % 3)} for i in range(24)]
    columns = {"note": il.Text(min_count=1), "face": il.Vector(), "y": il.Number()}
    for sequence in (il.Windows("t", 4, horizon=1), il.Groups("g", order="t", per_step=True)):
        model = trained(il.Schema(columns, sequence, target="y"), [{**row, "g": 1} for row in table])
        stream = model.stream()
        for i, row in enumerate(table):
            answer = stream.push({**row, "g": 1})
            if i == 12:
                stream.save(tmp_path / "state")
                stream = model.stream(tmp_path / "state")
            if answer is not None:
                whole = model.predict([{**r, "g": 1} for r in table[: i + 1]])["y"]
                assert float(np.ravel(answer["y"])[-1]) == pytest.approx(whole[-1], abs=CLOSE)


def test_quantiles_have_the_names_of_predict():
    schema = il.Schema({"load": il.Number()}, il.Windows("t", 3, horizon=2), target="load")
    table = {"t": list(range(12)), "load": [float(i * i % 7) for i in range(12)]}
    model = trained(schema, table, head=il.Regression("quantile", quantiles=[0.1, 0.5, 0.9]))
    answer = model.stream().push([{"t": t, "load": x} for t, x in zip(table["t"], table["load"], strict=True)])[-1]
    whole = model.predict(table)
    assert list(answer) == ["load", "load_q10", "load_q50", "load_q90"]
    for name, values in answer.items():
        assert np.allclose(values, whole[name], rtol=0, atol=CLOSE)


def test_datetimes_with_a_zone_and_text_come_to_the_same(table):
    zoned = table.with_columns(pl.col("time").dt.replace_time_zone("Europe/Berlin"))
    model = trained(session_schema(), zoned)
    one, two = model.stream(), model.stream()
    for row in rows(zoned[:5]):
        assert isinstance(row["time"], datetime)
        assert one.push(row) == two.push({**row, "time": row["time"].isoformat()})
    with pytest.raises(TableError, match="had the zone Europe/Berlin in training and has none now"):
        one.push({**rows(zoned)[6], "time": rows(table)[6]["time"]})
