"""`show`: every number can be told by hand, the picture fits a page, and looking changes nothing."""

from __future__ import annotations

import json
from importlib import import_module
from io import StringIO
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console

import inputlayer as il
from inputlayer.network import Network
from inputlayer.prediction import backtest
from inputlayer.wording import learnt, undone


def table(rows: int = 60) -> dict[str, Any]:
    day = np.arange(rows)
    return {
        "day": day,
        "load": 10.0 + day % 7,
        "wind": np.where(day % 2, 2.0, -2.0),
        "sky": np.where(day % 3, "sun", "rain"),
        "on": day % 2 == 0,
    }


def windows(**columns: il.Number) -> il.Schema:
    given = {"load": il.Number(), "wind": il.Number(clip=2.5), "sky": il.Category(), "on": il.Flag(), **columns}
    return il.Schema(given, il.Windows("day", length=6, horizon=2), target="load")


def network(layer: il.InputLayer, body: torch.nn.Module | None = None) -> Network:
    made = Network(layer, body or il.LSTM(units=4))
    made.build()
    return made


def by_name(shown: il.Shown) -> dict[str, Any]:
    return {c["name"]: c for c in shown.to_dict()["columns"]}


def test_each_column_tells_what_is_out_of_the_ordinary() -> None:
    layer = il.InputLayer(windows()).fit(table())
    test = pl.DataFrame(table(20)).with_columns(
        day=pl.col("day") + 100,
        wind=pl.when(pl.col("day") < 5).then(9.0).otherwise(1.0),  # scaled by mean 0, spread 2: 4.5 and 0.5
        sky=pl.when(pl.col("day") < 2)
        .then(None)
        .when(pl.col("day") < 12)
        .then(pl.lit("snow"))
        .otherwise(pl.col("sky")),
        on=pl.lit(True),
    )
    columns = by_name(il.show(layer, test))
    assert columns["wind"]["shown"] == {
        "count": 20,
        "missing": 0.0,
        "gaps": None,
        "unseen": None,
        "clipped": 0.25,
        "constant": False,
    }
    assert columns["sky"]["shown"] == {
        "count": 20,
        "missing": 0.1,
        "gaps": None,
        "unseen": 0.5,
        "clipped": None,
        "constant": False,
    }
    assert columns["on"]["shown"]["constant"] is True
    assert columns["load"]["places"] == ["steps", "target"]
    assert columns["wind"]["learnt"]["spread"] == 2.0
    assert columns["sky"]["features"] == [f"sky[{i}]" for i in range(columns["sky"]["learnt"]["width"])]
    text = str(il.show(layer, test))
    assert "25 % clipped" in text
    assert "10 % missing" in text
    assert "50 % unseen" in text


def test_sentinels_are_told_apart_from_other_missing_numbers() -> None:
    given = table(100)
    given["wind"] = [None, -9999.0, -9999.0, *given["wind"][3:]]
    shown = il.show(il.InputLayer(windows(wind=il.Number(sentinels=(-9999,)))).fit(given), given)
    told = {c["name"]: c["shown"] for c in shown.to_dict()["columns"]}
    assert (told["wind"]["missing"], told["wind"]["sentinels"]) == (0.03, 0.02)
    assert "sentinels" not in told["load"]
    assert "2.0 % sentinels" in str(shown)
    assert "-9,999 means missing" in learnt(shown.to_dict()["columns"][1]["learnt"])


def test_context_rows_are_named_and_not_counted() -> None:
    whole = il.Table.of(table())
    layer = il.InputLayer(windows()).fit(whole.take(np.arange(40)))
    told = il.show(layer, whole.take(np.arange(40, 60)), whole.take(np.arange(40))).to_dict()
    assert (told["table"]["rows"], told["table"]["context_rows"], told["table"]["sequences"]) == (20, 40, 19)
    assert {c["shown"]["count"] for c in told["columns"]} == {20}


def groups() -> tuple[il.Schema, dict[str, Any]]:
    rng = np.random.default_rng(0)
    size = np.arange(1, 13)
    group = np.repeat(np.arange(12), size)
    raw = {"group": group, "speed": rng.normal(50, 9, len(group)), "kind": np.where(group % 2, "a", "b")}
    raw["speed"][::5] = np.nan
    return il.Schema(
        {"speed": il.Number(fill="forward"), "kind": il.Category()}, il.Groups("group"), target="kind"
    ), raw


def test_numbers_are_those_of_the_real_steps() -> None:
    schema, raw = groups()
    layer = il.InputLayer(schema, stages=[il.InstanceNorm("mean")]).fit(raw)
    told = il.show(layer, raw).to_dict()
    inputs = layer(next(iter(layer.batches(raw, 12))))
    real = torch.arange(12) < inputs.lengths[:, None]
    x = inputs.x[real].double()
    line = told["road"][-1]
    assert line["what"] == "joined"
    assert line["shape"] == list(inputs.x.shape) == [12, 12, layer.width]
    np.testing.assert_allclose(
        [line[k] for k in ("min", "max", "mean", "spread")],
        [x.min(), x.max(), x.mean(), x.std(correction=0)],
        rtol=1e-6,
        atol=1e-9,
    )
    values = [r for r in told["road"] if r["part"] == "values"]
    assert [r["what"] for r in values] == ["columns' modules", "InstanceNorm(mode='mean')"]
    assert values[0]["missing"] == np.isnan(raw["speed"]).mean()
    assert told["sample"]["padding"] == pytest.approx(1 - 78 / 144)


def test_the_line_stands_in_the_text_with_the_actual_numbers() -> None:
    layer = il.InputLayer(windows()).fit(table())
    shown = il.show(layer, table(30))
    line = f"input layer ends · float32 (23, 6, {layer.width}) · LSTM begins"
    assert shown.to_dict()["end"]["line"] == line
    assert line in str(shown)
    assert line in shown.to_html()


def test_another_body_is_called_by_its_name() -> None:
    class Flat(torch.nn.Module):
        width = 3

        def forward(self, x: torch.Tensor, lengths: Any, future: Any, key: Any) -> torch.Tensor:
            return x[:, -2:, :3]

    shown = il.show(network(il.InputLayer(windows()).fit(table()), Flat()), table(30))
    assert shown.to_dict()["end"]["line"].endswith("· Flat begins")


def test_text_fits_and_holds_no_escape_codes() -> None:
    name = "a column with quite a long name\x1b[31m <b>"
    many = {f"c{i}": il.Number() for i in range(60)}
    raw = table() | {n: np.arange(60.0) * 1e7 for n in many} | {name: np.arange(60.0)}
    shown = il.show(il.InputLayer(windows(**{name: il.Number()}, **many)).fit(raw), raw)
    text = str(shown)
    assert max(map(len, text.splitlines())) <= 110
    assert "\x1b" not in text
    assert "… and 25 more columns" in text
    assert len(shown.to_dict()["columns"]) == 65
    assert "<b>" not in shown.to_html()
    assert "&lt;b&gt;" in shown.to_html()
    out = StringIO()
    Console(file=out, width=60, force_terminal=True).print(shown)
    assert "input layer ends" in out.getvalue()


def test_what_was_learnt_from_is_told_from_what_is_shown() -> None:
    schema, raw = groups()
    first = np.flatnonzero(raw["group"] < 8)
    whole = il.Table.of(raw)
    layer = il.InputLayer(schema).fit(whole.take(first))
    rest = whole.take(np.flatnonzero(raw["group"] >= 8))
    assert "36 rows in 8 groups; none of the shown rows is among them" in str(il.show(layer, rest))
    assert "CAREFUL: 8 of the 12 shown groups are among them" in str(il.show(layer, whole))
    blind = il.show(layer, pl.DataFrame(raw).drop("kind"))
    assert blind.to_dict()["receipt"]["seen"] is None
    assert "cannot be told without the target" in " ".join(str(blind).split())
    assert by_name(blind)["kind"]["shown"] is None
    assert "CAREFUL: 1 of the 1 shown series" in str(il.show(il.InputLayer(windows()).fit(table()), table(30)))


def test_a_bounded_sample_goes_down_the_road() -> None:
    layer = il.InputLayer(windows()).fit(table())
    shown = il.show(layer, table(3_000))
    assert shown.to_dict()["sample"] == {"sequences": 1_024, "of": 2_993, "padding": 0.0}
    assert shown.to_dict()["end"]["shape"][0] == 1_024
    assert "1,024 of 2,993 sequences, evenly spread" in str(shown)


def test_looking_changes_nothing() -> None:
    net = network(il.InputLayer(windows()).fit(table())).train()
    weights, draw = {k: v.clone() for k, v in net.state_dict().items()}, torch.random.get_rng_state()
    first, second = il.show(net, table(30)), il.show(net, table(30))
    assert first.to_dict() == second.to_dict()
    assert net.training
    assert net.body.training
    assert torch.equal(draw, torch.random.get_rng_state())
    assert all(torch.equal(v, weights[k]) for k, v in net.state_dict().items())


def test_a_network_tells_the_way_back_and_its_predictions() -> None:
    layer = il.InputLayer(windows(), stages=[il.InstanceNorm("last")]).fit(table())
    net = network(layer)
    after = il.show(net, table(30)).to_dict()["after"]
    raw = pl.concat(backtest(net, il.Table.of(table(30)), (), 8192))["load"]
    (told,) = after["predictions"]
    assert (told["min"], told["max"]) == (raw.min(), raw.max())
    assert told["learnt"] == [10.0, 16.0]
    assert after["body"]["name"] == "LSTM(units=4)"
    assert after["body"]["shape"] == [23, 2, 1]
    assert [b.split(" ")[0] for b in after["back"]] == ["InstanceNorm(mode='last')", "load"]


def test_classes_tell_how_often_each_won() -> None:
    schema, raw = groups()
    (told,) = il.show(network(il.InputLayer(schema).fit(raw)), raw).to_dict()["after"]["predictions"]
    assert {c["class"] for c in told["classes"]} == {"a", "b"}
    assert sum(c["won"] for c in told["classes"]) == pytest.approx(1)
    assert sum(c["probability"] for c in told["classes"]) == pytest.approx(1)


def test_targets_per_step_leave_out_the_padding() -> None:
    _, raw = groups()
    columns = {"speed": il.Number(), "next": il.Number(role="target")}
    schema = il.Schema(columns, il.Groups("group", per_step=True), target="next")
    raw["next"] = np.arange(len(raw["group"]), dtype=float)
    net = network(il.InputLayer(schema).fit(raw))
    (told,) = il.show(net, raw).to_dict()["after"]["predictions"]
    predicted = pl.concat(backtest(net, il.Table.of(raw), (), 8192))["next"]
    assert told["mean"] == pytest.approx(predicted.mean())


def test_a_broken_network_is_shown_as_one() -> None:
    net = network(il.InputLayer(windows()).fit(table()))
    with torch.no_grad():
        next(net.body.parameters()).fill_(float("nan"))
    shown = il.show(net, table(30))
    json.dumps(shown.to_dict(), allow_nan=False)
    assert shown.to_dict()["after"]["predictions"][0]["not_finite"] == 46
    assert "46 NOT FINITE" in str(shown)


def test_cells_with_axes() -> None:
    x = np.random.default_rng(0).normal(size=(20, 5, 3))
    x[0, 0, 0] = np.nan
    whole = il.from_array(x, axes="sample time feature", y=["a", "b"] * 10)
    columns = {"x": il.Series(channels=3, axes="time channel"), "y": il.Category()}
    layer = il.InputLayer(il.Schema(columns, il.Cells(steps="x"), target="y")).fit(whole)
    shown = il.show(layer, whole)
    assert "axes 'sample time feature'" in str(shown)
    assert by_name(shown)["x"]["shown"]["gaps"] == 1 / 300
    assert by_name(shown)["x"]["shown"]["missing"] == 0.0
    json.dumps(shown.to_dict(), allow_nan=False)


@pytest.mark.parametrize("steps", ["clip", "film", None])
def test_sounds_and_pictures_are_told_in_words(steps: str | None) -> None:
    draw = np.random.default_rng(0)
    raw = {
        "clip": [[0.0] * 500, None, *(draw.normal(0, 0.1, 900).tolist() for _ in range(6))],
        "film": [None, [[0, 0], [0, 0]], *(draw.integers(0, 256, (2, 2)).tolist() for _ in range(6))],
        "y": [float(i) for i in range(8)],
    }
    columns = {"clip": il.Audio(rate=8000, bands=8, width=2), "film": il.Image(width=3), "y": il.Number()}
    shown = il.show(il.InputLayer(il.Schema(columns, il.Cells(steps=steps), target="y")).fit(raw), raw)
    found = by_name(shown)
    # A silent sound and a black picture are there: only the null of each is missing.
    assert [found[n]["shown"]["missing"] for n in ("clip", "film")] == [1 / 8, 1 / 8]
    assert learnt(found["clip"]["learnt"]) == "7 sounds at 8,000 Hz, 4 to 9 steps of 8 bands, 1 missing"
    assert learnt(found["film"]["learnt"]) == "7 pictures of 2 x 2, grey, 1 missing"
    if steps is None:
        assert found["clip"]["features"] == ["clip[0]", "clip[1]", "clip missing"]
    json.dumps(shown.to_dict(), allow_nan=False)


@pytest.mark.parametrize("scale", ["standard", "minmax", "robust", "quantile", "log", "none"])
def test_every_scale_is_told_with_its_way_back(scale: Any) -> None:
    columns = by_name(il.show(il.InputLayer(windows(load=il.Number(scale=scale))).fit(table()), table(30)))
    told = columns["load"]["learnt"]
    assert learnt(told).startswith("not scaled: mean" if scale == "none" else f"{scale}: mean")
    back = undone("load", "number", told)
    if " * " in back:
        spread, center = (float(part) for part in back.removeprefix("load = output * ").split(" + "))
        scaled = (16.0 - center) / spread
        column = il.Number(scale=scale)
        state = il.InputLayer(windows(load=column)).fit(table()).learnt.states["load"]
        assert scaled == pytest.approx(float(column.encode(np.array([16.0]), state)[""][0]), rel=0.01)
    else:
        assert scale in ("quantile", "log", "none")


def test_a_layer_of_static_columns_alone() -> None:
    raw = {"group": np.arange(12) // 3, "age": np.arange(12) // 3 * 1.0, "kind": ["a"] * 6 + ["b"] * 6}
    schema = il.Schema({"age": il.Number(role="static"), "kind": il.Category()}, il.Groups("group"), target="kind")
    assert il.show(il.InputLayer(schema).fit(raw), raw).to_dict()["end"]["shape"] == [4, 3, 1]


def test_nothing_is_shown_of_what_is_not_fitted() -> None:
    with pytest.raises(il.NotFittedError, match="The input layer is not fitted yet"):
        il.show(il.InputLayer(windows()), table())
    with pytest.raises(il.NotFittedError, match="The network is not fitted yet"):
        il.show(Network(il.InputLayer(windows()).fit(table()), il.LSTM(units=4)), table())


def test_a_public_name_stays_when_the_file_of_that_name_is_imported() -> None:
    import_module("inputlayer.show")
    import_module("inputlayer.split")
    assert callable(il.show)
    assert callable(il.split)
