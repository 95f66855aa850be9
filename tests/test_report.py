"""The report: its numbers against plain computations, its page against what a page must not do."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import inputlayer as il
from inputlayer.errors import MissingExtraError, SeenRowsError
from inputlayer.report import Report
from inputlayer.report.histogram import Histogram
from samples import ROADS, panel, windows

Trained = tuple[il.Model, il.Table, list[il.Table]]


def trained(schema: il.Schema, frame: Any, head: Any = None, stages: Any = (), **split: Any) -> Trained:
    """A model of two epochs, the test part and its context."""
    # Of three groups two are trained on, and by this seed they are of two classes.
    parts = {"valid": 0.0, "seed": 1} if schema == ROADS["groups"][0] else {"valid": 0.2}
    train, valid, test = il.split(frame, schema, **({"test": 0.34} | parts | split))
    assert test is not None
    model = il.Model(il.InputLayer(schema, stages), il.LSTM(units=4), head)
    model.fit(train, valid, epochs=2)
    before = [t for t in (train, valid) if t is not None]
    return model, test, before if isinstance(schema.sequence, il.Windows) else []


@pytest.fixture(scope="module")
def roads() -> dict[str, Trained]:
    return {name: trained(schema, frame) for name, (schema, frame) in ROADS.items()}


class Page(HTMLParser):
    """What a page holds: its tags, their attributes, its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    handle_startendtag = handle_starttag

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}

    @property
    def ids(self) -> list[str]:
        return [str(a["id"]) for _, a in self.tags if "id" in a]


def check_page(html: str) -> Page:
    """No script, nothing from elsewhere, every plot has its words, every name is there once."""
    page = Page(html)
    assert not page.names & {"script", "iframe", "object", "embed", "link", "img", "form", "audio", "video", "base"}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "xlink:href"):
                assert str(value).startswith(("#", "data:image/png;base64,")), (tag, value)
    assert not re.search(r"url\((?!#)|@import", html)
    assert len(page.ids) == len(set(page.ids))
    for mark in re.findall(r'(?:href="|url\()#([^")]+)', html):
        assert mark in page.ids
    drawings = [a for tag, a in page.tags if tag == "div" and a.get("role") == "img"]
    assert drawings
    assert all(a.get("aria-label") for a in drawings)
    return page


# -- every road -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROADS)
def test_every_road_has_its_page(roads: dict[str, Trained], name: str) -> None:
    model, test, context = roads[name]
    report = model.report(test, context=context)
    numbers = report.to_dict()
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    expected = model.evaluate(test, context=context)
    assert report.scores == expected
    page = check_page(report.to_html())
    for column in model.layer.schema.columns:
        assert column in page.text
    for title in ("The raw data", "What the body sees", "The learning curve", "Prediction against truth"):
        assert title in page.text


def test_the_same_numbers_give_the_same_bytes(roads: dict[str, Trained]) -> None:
    model, test, context = roads["windows"]
    first, second = (model.report(test, context=context) for _ in range(2))
    assert first.to_dict() == second.to_dict()
    assert first.to_html() == second.to_html()


def test_rows_that_were_fitted_on_are_refused(roads: dict[str, Trained]) -> None:
    model, _, context = roads["windows"]
    with pytest.raises(SeenRowsError, match="allow_seen=True"):
        model.report(context[0])
    seen = model.report(context[0], allow_seen=True)
    assert "CAREFUL" in seen.to_html()


def test_without_the_target_nothing_is_scored() -> None:
    schema, frame = ROADS["groups"]
    model, test, _ = trained(schema, frame)
    report = model.report(test.frame().drop("label"))
    assert report.scores is None
    assert report.to_dict()["outcome"] is None
    assert "nothing to score" in check_page(report.to_html()).text


# -- the numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x",
    [
        np.random.default_rng(0).normal(size=5_000),
        np.random.default_rng(0).normal(size=5_000) * 1e-3 + 1e9,
        np.append(np.random.default_rng(0).normal(size=5_000), [-9_999.0, np.nan, np.inf]),
        np.arange(7.0).repeat(9),
        np.full(3, 3.3),
        np.array([0.0]),
        np.array([-1e308, 1e308]),
        np.array([5e-324, 0.0]),
    ],
)
def test_a_histogram_counts_what_numpy_counts_however_it_is_cut(x: np.ndarray) -> None:
    whole, cut = Histogram.of(x), Histogram()
    for part in np.array_split(x, 7):
        cut = cut.merge(Histogram.of(part))
    told = whole.to_dict()
    assert told is not None
    assert told == cut.to_dict()
    finite = x[np.isfinite(x)]
    assert (told["count"], told["min"], told["max"]) == (len(finite), finite.min(), finite.max())
    assert len(told["counts"]) <= 40
    assert told["below"] + sum(told["counts"]) + told["above"] == len(finite)
    place = np.floor(finite / told["width"] - told["low"] / told["width"])
    assert told["counts"] == [int((place == i).sum()) for i in range(len(told["counts"]))]


def test_an_outlier_does_not_hide_the_rest() -> None:
    told = Histogram.of(np.append(np.arange(10_000) / 10_000, -9_999.0)).to_dict()
    assert told is not None
    assert told["below"] == 1
    assert told["low"] >= -1


def test_no_numbers_have_no_histogram() -> None:
    assert Histogram.of(np.array([np.nan])).to_dict() is None
    assert Histogram().merge(Histogram()).count == 0


def test_raw_data_is_that_of_the_table(roads: dict[str, Trained]) -> None:
    model, test, context = roads["windows"]
    numbers = model.report(test, context=context).to_dict()
    frame, raw = test.frame(), numbers["raw"]
    load = frame["load"].to_numpy()
    assert (raw["load"]["numbers"]["min"], raw["load"]["numbers"]["max"]) == (load.min(), load.max())
    assert raw["temp"]["numbers"]["count"] == frame["temp"].count()
    counted = frame["wind"].drop_nulls().value_counts().sort("count", "wind", descending=[True, False])
    assert raw["wind"]["common"] == [list(row) for row in counted.rows()]
    assert dict(raw["holiday"]["common"]) == {str(v).lower(): n for v, n in frame["holiday"].value_counts().rows()}
    assert raw["time"]["numbers"]["times"][:2] == [str(frame["time"].min())[:16], str(frame["time"].max())[:16]]
    (wind,) = [c for c in numbers["shown"]["columns"] if c["name"] == "wind"]
    assert wind["shown"]["missing"] == frame["wind"].null_count() / frame.height


def test_steps_in_a_cell_are_counted(roads: dict[str, Trained]) -> None:
    model, test, _ = roads["cells"]
    raw = model.report(test).to_dict()["raw"]["wave"]
    lengths = test.frame()["wave"].list.len()
    assert (raw["steps"]["min"], raw["steps"]["max"]) == (lengths.min(), lengths.max())
    assert raw["numbers"]["count"] == lengths.sum()


def test_what_a_stage_makes_of_a_column_is_counted() -> None:
    stages = [il.InstanceNorm("last", columns=["load"]), il.Patch(3)]
    model, test, context = trained(windows(), panel(), stages=stages)
    passing = model.report(test, context=context).to_dict()["passing"]
    assert [s.split("(")[0] for s in passing["steps"]] == ["columns' modules", "InstanceNorm", "Patch"]
    state: Any = model.fitted.states["load"]
    raw = [window for _, window in looked_back(test, context)]
    scaled = np.concatenate([(w - state.mean) / state.spread for w in raw])
    levelled = np.concatenate([(w - w[-1]) / state.spread for w in raw])
    for found, expected in zip(passing["columns"]["load"], (scaled, levelled, levelled), strict=True):
        assert found["count"] == len(expected)
        assert [found["min"], found["max"]] == pytest.approx([expected.min(), expected.max()], abs=1e-5)
    # Missing numbers are filled in, and do not count.
    kept = sum(int((~np.isnan(w)).sum()) for _, w in looked_back(test, context, "temp"))
    flags = 2  # of the gap, and the steps since the last number seen
    assert passing["columns"]["temp"][0]["count"] == kept + flags * len(scaled)


def looked_back(test: il.Table, context: list[il.Table], name: str = "load") -> list[tuple[str, np.ndarray]]:
    """The look-back of every test window of six steps, sliced by hand."""
    windows = []
    before = pl.concat([t.frame() for t in context])
    for (site,), own in test.frame().sort("site", "time").group_by("site", maintain_order=True):
        past = before.filter(pl.col("site") == site).sort("time")
        values = pl.concat([past, own])[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        for first in range(past.height, len(values) - 2):
            windows.append((site, values[max(first - 6, 0) : first]))
    return windows


@pytest.mark.parametrize("quantiles", [None, (0.1, 0.5, 0.9)])
def test_the_worst_and_the_typical_are_those_of_the_backtest(quantiles: tuple[float, ...] | None) -> None:
    head = None if quantiles is None else il.Regression("quantile", quantiles=quantiles)
    model, test, context = trained(windows(), panel(), head)
    outcome = model.report(test, context=context).to_dict()["outcome"]
    spread = model.fitted.states["load"].spread  # type: ignore[attr-defined]  # of numbers
    backtest = model.backtest(test, context=context)
    errors = (
        backtest.with_columns(((pl.col("load") - pl.col("load_true")) / spread).pow(2).alias("off"))
        .group_by("site", "origin", maintain_order=True)
        .agg(pl.col("off").mean().sqrt())
    )
    assert outcome["median"] == pytest.approx(errors["off"].median())
    first = outcome["sequences"][0]
    worst = errors.sort("off", descending=True).row(0)
    assert (first["what"], first["label"]["site"], first["label"]["origin"]) == ("worst", worst[0], str(worst[1]))
    assert first["error"] == pytest.approx(worst[2])
    rows = backtest.filter((pl.col("site") == worst[0]) & (pl.col("origin") == worst[1]))
    assert first["true"] == pytest.approx(rows["load_true"].to_list(), rel=1e-5)
    assert first["predicted"] == pytest.approx(rows["load"].to_list(), rel=1e-5)
    low = rows["load_q10"].to_list() if quantiles else None
    assert first["low"] == (pytest.approx(low, rel=1e-5) if low else None)
    typical = [s["error"] for s in outcome["sequences"] if s["what"] == "typical"]
    nearest = (errors["off"] - errors["off"].median()).abs().min()
    assert abs(typical[0] - outcome["median"]) >= nearest  # the nearest may share a row with the worst
    assert outcome["errors"]["load"]["count"] == backtest.height


def test_no_two_of_the_worst_share_a_row(roads: dict[str, Trained]) -> None:
    model, test, context = roads["windows"]
    chosen = model.report(test, context=context).to_dict()["outcome"]["sequences"]
    origins = [(s["label"]["site"], np.datetime64(s["label"]["origin"])) for s in chosen]
    assert len(origins) > 3
    for i, (site, origin) in enumerate(origins):
        for other, moment in origins[:i]:
            assert other != site or abs(origin - moment) >= np.timedelta64(3, "h")


def test_confident_mistakes_are_those_of_the_backtest() -> None:
    model, test, _ = trained(*ROADS["groups, per step"])
    outcome = model.report(test).to_dict()["outcome"]
    backtest = model.backtest(test).with_columns(pl.max_horizontal("p_false", "p_true").alias("sure"))
    wrong = backtest.filter(pl.col("hot") != pl.col("hot_true")).sort("sure", descending=True)
    assert [m["sure"] for m in outcome["mistakes"]] == pytest.approx(wrong["sure"].head(8).to_list())
    assert outcome["mistakes"][0]["true"] == str(wrong["hot_true"][0]).lower()
    assert sum(b["count"] for b in outcome["sure"]) == backtest.height
    right = sum(b["right"] * b["count"] for b in outcome["sure"])
    assert right == pytest.approx((backtest["hot"] == backtest["hot_true"]).sum())


def test_the_picture_is_what_the_body_sees(roads: dict[str, Trained]) -> None:
    model, test, context = roads["windows"]
    picture = model.report(test, context=context).to_dict()["picture"]
    encoded = model.layer.encoded(test, context)
    assert (picture["steps"], picture["width"]) == (6, model.layer.width)
    assert len(picture["features"]) == model.layer.width
    assert 0 <= picture["sequence"] < len(encoded.index)
    load = picture["features"].index("load")
    site, window = looked_back(test, context)[picture["sequence"]]
    state: Any = model.fitted.states["load"]
    assert site in ("north", "south")
    assert [row[load] for row in picture["x"]] == pytest.approx((window - state.mean) / state.spread, rel=6e-3)


def test_per_channel_has_its_page() -> None:
    frame = panel().with_columns(other=pl.col("load") * 3 + 1)
    schema = il.Schema(
        {"load": il.Number(), "other": il.Number()}, il.Windows("time", 6, 3, by="site"), ["load", "other"]
    )
    model, test, context = trained(schema, frame, stages=[il.PerChannel(), il.Patch(2)])
    report = model.report(test, context=context)
    passing = report.to_dict()["passing"]["columns"]
    assert passing["load"][1] is None
    assert passing["channel"][1]["count"] == passing["load"][0]["count"] + passing["other"][0]["count"]
    assert "PerChannel makes 2 of it" in check_page(report.to_html()).text


def test_missing_targets_are_no_errors() -> None:
    frame = panel().with_columns(load=pl.when(pl.int_range(pl.len()) % 4 == 0).then(None).otherwise(pl.col("load")))
    model, test, context = trained(windows(), frame)
    report = model.report(test, context=context)
    backtest = model.backtest(test, context=context)
    assert report.to_dict()["outcome"]["errors"]["load"]["count"] == backtest["load_true"].count()
    check_page(report.to_html())


# -- the page ---------------------------------------------------------------------------------------------------------

WICKED = "<script>alert(1)</script>"


def test_names_and_values_are_shown_not_run() -> None:
    load, wind = f"{WICKED} $\\foo$ -->", '"><img src=x onerror=alert(1)>'
    frame = panel().select(
        "time", pl.col("load").alias(load), pl.lit(WICKED).alias(wind), site=pl.lit("</style>" + WICKED)
    )
    frame = frame.head(40)
    schema = il.Schema({load: il.Number(), wind: il.Category()}, il.Windows("time", 6, 3, by="site"), load)
    model, test, context = trained(schema, frame)
    page = check_page(model.report(test, context=context).to_html())
    assert WICKED in page.text
    assert wind in page.text


def test_classes_are_shown_not_run() -> None:
    draw = np.random.default_rng(0)
    labels = [WICKED, "<b>other</b>", "漢字"]
    frame = pl.DataFrame({"mass": draw.random(60), "label": draw.choice(labels, 60), "note": ["<i>" + "x" * 300] * 60})
    schema = il.Schema({"mass": il.Number(), "note": il.Category(), "label": il.Category()}, il.Cells(), "label")
    model, test, _ = trained(schema, frame)
    report = model.report(test)
    page = check_page(report.to_html())
    assert page.names.isdisjoint({"b"})
    assert all(label in page.text for label in labels)
    cells = report.to_dict()["outcome"]["mistakes"][0]["cells"]
    assert cells["note"].startswith("<i>xxx")
    assert len(cells["note"]) == 160


COMPARISON: dict[str, Any] = {
    "metric": "rmse", "unit": "°C", "better": "lower", "seeds": [0, 1],
    "fixed": {"body": "LSTM(32)", "epochs": 3}, "interrupted": False,
    "sentences": ["The full layer beats the best baseline."],
    "rows": [
        {
            "name": "full layer", "group": "full", "change": "", "mean": 3.5, "spread": 0.1, "by_seed": [3.4, 3.6],
            "difference": None, "seconds": 1.5, "parameters": 1000, "bytes": 2000,
        },
        {
            "name": f"without {WICKED}", "group": "column", "change": "left out", "mean": 3.9, "spread": None,
            "by_seed": [3.9, None], "difference": {"mean": 0.4, "low": 0.1, "high": 0.7}, "seconds": None,
            "parameters": None, "bytes": None,
        },
        {
            "name": "ridge", "group": "baseline", "change": "", "mean": 3.6, "spread": None, "by_seed": None,
            "difference": {"mean": 0.1, "low": None, "high": None}, "seconds": None, "parameters": None, "bytes": None,
        },
    ],
}  # fmt: skip


def test_a_comparison_alone_has_its_page(tmp_path: Path) -> None:
    Report({"comparison": COMPARISON}).leave(tmp_path, pytest.fail)
    page = check_page((tmp_path / "report.html").read_text(encoding="utf-8"))
    for text in ("The full layer beats", "+0.4", "+0.1 to +0.7", "1,000", "LSTM(32)", f"without {WICKED}"):
        assert text in page.text


def test_a_comparison_stands_beside_a_model(roads: dict[str, Trained]) -> None:
    model, test, context = roads["windows"]
    numbers = model.report(test, context=context).to_dict()
    page = check_page(Report(numbers | {"comparison": COMPARISON}).to_html())
    assert "What the input layer buys" in page.text
    assert "The raw data" in page.text


def test_without_matplotlib_it_is_said_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    report, said = Report({"comparison": COMPARISON}), []
    with pytest.raises(MissingExtraError, match=r"inputlayer\[report\]"):
        report.to_html()
    report.leave(tmp_path, said.append)
    assert len(said) == 1
    assert "inputlayer[report]" in said[0]
    assert list(tmp_path.iterdir()) == []


def test_the_settings_of_the_user_change_nothing(roads: dict[str, Trained]) -> None:
    import matplotlib

    model, test, context = roads["windows, horizon 0"]
    report = model.report(test, context=context)
    before = report.to_html()
    with matplotlib.rc_context({"text.usetex": True, "font.size": 30, "svg.fonttype": "path"}):
        assert report.to_html() == before
        assert matplotlib.rcParams["font.size"] == 30


def test_booleans_are_spelt_as_predictions_are(roads: dict[str, Trained]) -> None:
    model, test, context = roads["groups, per step"]
    told = model.report(test, context=context)
    assert {"<th>false</th>", "<th>true</th>"} <= set(re.findall(r"<th>[^<]*</th>", told.to_html()))
    assert told.to_dict()["outcome"]["mistakes"]
    assert {m[n] for m in told.to_dict()["outcome"]["mistakes"] for n in ("predicted", "true")} <= {"true", "false"}
