from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import Ridge

from inputlayer.baselines import Baselines, fit_baselines
from inputlayer.batch import Batches
from inputlayer.columns import Category, Flag, Number, Series, Text, Timestamp
from inputlayer.encode import Encoded, encode
from inputlayer.evaluation import blind_to
from inputlayer.fit import Fitted, fit
from inputlayer.linear import ridge
from inputlayer.schema import Schema
from inputlayer.seasons import likely_periods, local_time
from inputlayer.sequence import Cells, Groups, Windows
from inputlayer.table import Table

START = datetime(2021, 1, 1)


def learnt(schema: Schema, frame: pl.DataFrame) -> tuple[Fitted, Baselines]:
    table = Table.of(frame)
    fitted = fit(schema, table)
    baselines = fit_baselines(fitted, encode(fitted, table, training=True))
    described, arrays = baselines.state()
    restored = Baselines.restore(fitted, described, arrays)
    assert restored.left_out == baselines.left_out
    return fitted, restored


def forecasts(
    schema: Schema, train: pl.DataFrame, test: pl.DataFrame, size: int = 64
) -> tuple[Baselines, dict[str, np.ndarray], Encoded]:
    fitted, baselines = learnt(schema, train)
    encoded = encode(fitted, Table.of(test), raw=True)
    parts = [baselines.predict(encoded, batch) for batch in Batches(encoded, fitted, size)]
    found = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    assert all(np.isfinite(y).all() for y in found.values())
    return baselines, found, encoded


def hourly(count: int, first: int = 0, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng([seed, first])
    hours = np.arange(first, first + count)
    y = 10 + 3 * np.sin(2 * np.pi * hours / 24) + rng.normal(0, 0.1, count)
    time = [START + timedelta(hours=int(h)) for h in hours]
    return pl.DataFrame({"time": time, "y": y, "z": 100 - 2 * y + rng.normal(0, 1, count)})


HOURLY = {"time": Timestamp(), "y": Number(), "z": Number()}


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean((a - b) ** 2)))


def test_forecasts_of_an_hourly_cycle() -> None:
    schema = Schema(HOURLY, Windows("time", 48, 6), ("y", "z"))
    baselines, found, encoded = forecasts(schema, hourly(1000), hourly(200, 1000))
    assert list(found) == [
        "repeat last", "seasonal", "calendar mean", "ridge", "ridge on deviations", "ridge on all numbers",
    ]  # fmt: skip
    assert baselines.left_out == {}
    assert baselines.learnt.period == 24
    y = encoded.raw["y"]
    at = encoded.index.ahead[:, None] + np.arange(6)
    np.testing.assert_allclose(found["repeat last"][..., 0], np.repeat(y[at[:, :1] - 1], 6, axis=1), rtol=1e-12)
    np.testing.assert_allclose(found["seasonal"][..., 0], y[at - 24], rtol=1e-12)
    for name in ("calendar mean", "ridge", "ridge on deviations", "ridge on all numbers"):
        assert found[name].shape == (len(encoded.index), 6, 2)
        assert rmse(found[name][..., 0], y[at]) < 0.13, name


def test_batches_do_not_matter() -> None:
    schema = Schema(HOURLY, Windows("time", 48, 6), "y")
    whole = forecasts(schema, hourly(500), hourly(150, 500), size=1000)[1]
    for name, y in forecasts(schema, hourly(500), hourly(150, 500), size=7)[1].items():
        np.testing.assert_allclose(y, whole[name], rtol=1e-9)


def test_ridge_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5)) + 7
    x[:, 3] = 5.0
    y = x @ rng.normal(size=(5, 2)) + rng.normal(size=(200, 2))
    model = ridge([(x[:150], y[:150]), (x[150:150], y[150:150]), (x[150:], y[150:])])
    assert model is not None
    z = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1)
    expected = Ridge(alpha=model.alpha).fit(z, y).predict(z)
    np.testing.assert_allclose(model(x), expected, rtol=0, atol=1e-5)
    assert ridge([(x[:1], y[:1])]) is None


def test_ridge_shrinks_noise_to_the_mean() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 50)), rng.normal(size=(60, 1))
    model = ridge([(x, y)])
    assert model is not None
    fresh = rng.normal(size=(500, 50))
    assert np.std(model(fresh)) < 0.3


def test_weekday_and_year_are_learnt() -> None:
    days = np.arange(4 * 365)
    time = [START + timedelta(days=int(d)) for d in days]
    week = np.where(np.array([t.weekday() for t in time]) >= 5, 4.0, 0.0)
    rng = np.random.default_rng(0)
    y = 20 + 8 * np.sin(2 * np.pi * days / 365.2425) + week + rng.normal(0, 0.3, len(days))
    frame = pl.DataFrame({"time": time, "y": y})
    schema = Schema({"time": Timestamp(), "y": Number()}, Windows("time", 14, 7), "y")
    _, found, encoded = forecasts(schema, frame[:1200], frame[1200:])
    true = encoded.raw["y"][encoded.index.ahead[:, None] + np.arange(7)]
    assert rmse(found["calendar mean"][..., 0], true) < 0.45
    assert rmse(found["seasonal"][..., 0], true) < 1.2


def test_calendar_is_that_of_the_columns_zone() -> None:
    summer, winter = (int(datetime(2021, m, 1).timestamp() * 1e6) for m in (7, 1))
    hours = (local_time(np.array([summer, winter]), "Europe/Berlin") - np.array([summer, winter])) / 3.6e9
    assert hours.tolist() == [2, 1]


def test_panel_series_keep_their_level() -> None:
    low, high = hourly(400), hourly(400).with_columns(pl.col("y") + 1000)
    frame = pl.concat([low.with_columns(site=pl.lit("a")), high.with_columns(site=pl.lit("b"))])
    test = hourly(100, 400).with_columns(pl.col("y") + 1000, site=pl.lit("b"))
    new = hourly(100, 400).with_columns(site=pl.lit("new"))
    schema = Schema({"time": Timestamp(), "y": Number()}, Windows("time", 24, 3, by="site"), "y")
    _, found, encoded = forecasts(schema, frame, pl.concat([test, new]))
    true = encoded.raw["y"][encoded.index.ahead[:, None] + np.arange(3)]
    known = encoded.index.series == 0
    assert rmse(found["calendar mean"][known, :, 0], true[known]) < 0.5
    assert rmse(found["ridge on deviations"][known, :, 0], true[known]) < 0.5


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_missing_values_do_no_harm(share: float) -> None:
    rng = np.random.default_rng(3)
    frame = hourly(900)
    gone = rng.random((900, 2)) < share
    gone[100:160] = True
    holes = frame.with_columns(
        pl.when(pl.Series(~gone[:, 0])).then(pl.col("y")), pl.when(pl.Series(~gone[:, 1])).then(pl.col("z"))
    )
    schema = Schema(HOURLY, Windows("time", 48, 6), ("y", "z"))
    _, found, encoded = forecasts(schema, holes[:700], holes[700:])
    true = frame["y"].to_numpy()[700:][encoded.index.ahead[:, None] + np.arange(6)]
    assert {"ridge", "ridge on deviations", "ridge on all numbers"} <= set(found)
    assert rmse(found["ridge"][..., 0], true) < 2 * share + 0.2
    assert rmse(found["calendar mean"][..., 0], true) < 0.3


def test_a_window_without_a_value_gets_the_training_mean() -> None:
    schema = Schema(HOURLY, Windows("time", 24, 2), "y")
    test = hourly(60, 300).with_columns(y=pl.when(pl.int_range(60) >= 40).then(pl.col("y")))
    fitted, baselines = learnt(schema, hourly(300))
    encoded = encode(fitted, Table.of(test), raw=True)
    batch = next(iter(Batches(encoded, fitted, 4)))
    state: Any = fitted.states["y"]
    assert baselines.predict(encoded, batch)["repeat last"][0, 0, 0] == pytest.approx(state.mean)


def test_short_windows_count_from_their_end() -> None:
    schema = Schema(HOURLY, Windows("time", 30, 2, pad_short=True), "y")
    _, found, encoded = forecasts(schema, hourly(300), hourly(40, 300))
    y = encoded.raw["y"]
    np.testing.assert_allclose(found["repeat last"][:, 0, 0], y[encoded.index.ahead - 1], rtol=1e-9)
    assert encoded.index.length.min() == 1


def test_what_cannot_be_had_is_left_out_with_its_reason() -> None:
    frame = pl.DataFrame({"i": range(6), "y": [1.0, 2, 3, 4, 5, 6]})
    schema = Schema({"y": Number()}, Windows("i", 3, 3), "y")
    baselines, found, _ = forecasts(schema, frame, frame.with_columns(pl.col("i") + 6))
    assert list(found) == ["repeat last"]
    assert baselines.left_out["calendar mean"] == "the order column holds no times"
    assert baselines.left_out["ridge on deviations"] == "there is no calendar mean"
    assert baselines.left_out["seasonal"] == "no period shows within the look-back of 3 rows"
    assert baselines.left_out["ridge"].startswith("fewer than two training windows")
    assert baselines.left_out["ridge on all numbers"] == "no other column is a number"


def test_targets_that_are_nearly_all_missing() -> None:
    frame = hourly(300).with_columns(y=pl.when(pl.int_range(300) % 40 == 0).then(pl.col("y")))
    schema = Schema(HOURLY, Windows("time", 12, 6), ("y", "z"))
    baselines, found, _ = forecasts(schema, frame[:250], frame[200:])
    assert "ridge on all numbers" not in found
    assert baselines.left_out["ridge"] == "fewer than two training windows have half of their target or more"


def test_target_whose_past_is_no_input() -> None:
    schema = Schema({**HOURLY, "y": Number(role="target")}, Windows("time", 24, 2), "y")
    baselines, found, encoded = forecasts(schema, hourly(400), hourly(100, 400))
    assert list(found) == ["calendar mean", "ridge on all numbers"]
    assert set(baselines.left_out) == {"repeat last", "seasonal", "ridge", "ridge on deviations"}
    assert set(baselines.left_out.values()) == {"the target's past is no input"}
    true = encoded.raw["y"][encoded.index.ahead[:, None] + np.arange(2)]
    assert rmse(found["ridge on all numbers"][..., 0], true) < 0.5


def test_known_numbers_of_the_horizon_are_used() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    frame = pl.DataFrame({"i": range(400), "x": x, "y": 5 * x + rng.normal(0, 0.1, 400)})
    schema = Schema({"x": Number(role="known"), "y": Number()}, Windows("i", 4, 3), "y")
    _, found, encoded = forecasts(schema, frame[:300], frame[300:])
    true = encoded.raw["y"][encoded.index.ahead[:, None] + np.arange(3)]
    assert rmse(found["ridge on all numbers"][..., 0], true) < 0.3


def test_periods_are_found_without_a_clock() -> None:
    x = np.sin(2 * np.pi * np.arange(300) / 17) + np.random.default_rng(0).normal(0, 0.2, 300)
    x[40:60] = np.nan
    assert likely_periods(None, x, 50) == [17]
    assert likely_periods(None, np.ones(300), 50) == []
    assert likely_periods(3_600_000_000.0, np.full(5, np.nan), 200) == [24, 168]


def groups(count: int, first: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(first)
    rows = []
    for g in range(first, first + count):
        level = float(rng.normal())
        for i in range(int(rng.integers(1, 9))):
            x = level + rng.normal(0, 0.1) if rng.random() < 0.9 else None
            rows.append({"g": g, "i": i, "x": x, "c": "up" if level > 0 else "down", "y": 3 * level, "up": level > 0})
    return pl.DataFrame(rows)


def test_groups_of_numbers() -> None:
    schema = Schema({"x": Number(), "c": Category(), "y": Number()}, Groups("g", order="i"), "y")
    _, found, encoded = forecasts(schema, groups(200), groups(60, 200))
    order = np.concatenate([b.index.numpy() for b in Batches(encoded, fit(schema, Table.of(groups(200))), 64)])
    true = encoded.raw["y"][encoded.index.ahead[order]]
    train = groups(200).group_by("g").agg(pl.col("y").first())["y"].mean()
    assert found["mean"][:, 0, 0] == pytest.approx(np.full(60, train))
    assert rmse(found["ridge on the pooled sequence"][:, 0, 0], true) < 0.6


def test_classes_of_groups() -> None:
    schema = Schema({"x": Number(), "up": Flag()}, Groups("g", order="i"), "up")
    baselines, found, encoded = forecasts(schema, groups(200), groups(60, 200))
    assert found["majority"].shape == (60, 1, 2)
    share = groups(200).group_by("g").agg(pl.col("up").first())["up"].mean()
    assert found["majority"][0, 0].tolist() == pytest.approx([1 - share, share])
    p = found["logistic on the pooled sequence"]
    np.testing.assert_allclose(p.sum(axis=-1), 1.0)
    order = np.concatenate([b.index.numpy() for b in Batches(encoded, baselines.fitted, 64)])
    true = np.asarray(encoded.wire("up"))[encoded.index.ahead[order]] - 1
    assert (p[:, 0].argmax(axis=-1) == true).mean() > 0.9


def test_classes_per_step() -> None:
    schema = Schema({"x": Number(), "up": Flag()}, Groups("g", order="i", per_step=True), "up")
    fitted, baselines = learnt(schema, groups(200))
    encoded = encode(fitted, Table.of(groups(60, 200)))
    for batch in Batches(encoded, fitted, 16):
        found = baselines.predict(encoded, batch)
        assert batch.target is not None
        assert set(found) == {"majority", "logistic on the step"}
        assert all(p.shape[:2] == batch.target.shape[:2] for p in found.values())


@pytest.mark.parametrize("target", ["y", "c"])
def test_cells_of_series(target: str) -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(size=120)
    cells = [(v + rng.normal(0, 0.1, rng.integers(1, 6))).tolist() for v in level]
    frame = pl.DataFrame({"s": cells, "y": 2 * level, "c": np.where(level > 0, "a", np.where(level > -1, "b", "rare"))})
    kinds = {"y": Number(), "c": Category()}
    schema = Schema({"s": Series(channels=1, axes="time"), target: kinds[target]}, Cells("s"), target)
    _, found, _ = forecasts(schema, frame[:90], frame[90:])
    assert len(found) == 2
    assert next(iter(found.values())).shape[:2] == (30, 1)


def test_classes_ahead_and_of_the_last_row() -> None:
    frame = hourly(400).with_columns(warm=pl.col("y") > 11)
    for horizon in (0, 3):
        schema = Schema({**HOURLY, "warm": Flag()}, Windows("time", 12, horizon), "warm")
        _, found, encoded = forecasts(schema, frame[:300], frame[300:])
        assert found["logistic on the pooled sequence"].shape == (len(encoded.index), max(horizon, 1), 2)


def test_one_class_only_leaves_the_majority() -> None:
    frame = hourly(100).with_columns(warm=pl.lit(True))
    schema = Schema({"y": Number(), "warm": Flag()}, Windows("time", 12, 0), "warm")
    baselines, found, _ = forecasts(schema, frame, frame)
    assert list(found) == ["majority"]
    assert baselines.left_out == {"logistic on the pooled sequence": "the training rows hold one class only"}


def test_what_no_baseline_sees_is_named() -> None:
    frame = hourly(300).with_columns(
        pl.Series("wind", [float(i % 7) for i in range(300)]),
        pl.Series("sky", ["a", "b", "c"] * 100),
        pl.Series("note", ["some words", "others"] * 150),
    )
    columns = {"time": Timestamp(), "y": Number(), "wind": Number(), "sky": Category(), "note": Text()}
    ahead = Schema(columns, Windows("time", 12, 3), "y")
    assert blind_to(learnt(ahead, frame)[1]) == {"sky": "category", "note": "text"}
    crowded = Schema(columns, Windows("time", 800, 3), "y")
    found = learnt(crowded, pl.concat([frame.with_columns(pl.col("time") + timedelta(days=13 * i)) for i in range(4)]))
    assert "ridge on all numbers" in found[1].left_out
    assert blind_to(found[1]) == {"wind": "number", "sky": "category", "note": "text"}
    now = Schema(columns, Windows("time", 12, 0), "y")
    assert blind_to(learnt(now, frame)[1]) == {"time": "timestamp", "note": "text"}
    words = Schema({"note": Text(), "y": Number()}, Cells("note"), "y")
    assert blind_to(learnt(words, frame)[1]) == {"note": "text"}
    numbers = Schema({n: columns[n] for n in ("time", "y", "wind")}, Windows("time", 12, 3), "y")
    assert blind_to(learnt(numbers, frame)[1]) == {}


def test_verdict() -> None:
    numbers = Baselines.__new__(Baselines)
    numbers.classes = False
    scores = {"ridge on deviations": 3.56, "repeat last": 4.62}
    assert numbers.beaten_by(3.8, scores) == "The model does not beat 'ridge on deviations' (3.56 against 3.8 RMSE)."
    assert numbers.beaten_by(3.4, scores) == (
        "The model beats the best baseline, 'ridge on deviations' (3.4 against 3.56 RMSE)."
    )
    assert numbers.beaten_by(float("nan"), scores).startswith("The model does not beat")
    assert numbers.beaten_by(1.0, {}) == "There is no baseline to compare the model with."
    classes = Baselines.__new__(Baselines)
    classes.classes = True
    assert classes.beaten_by(0.9, {"majority": 0.7}) == (
        "The model beats the best baseline, 'majority' (0.9 against 0.7 accuracy)."
    )
    assert classes.beaten_by(0.5, {"majority": 0.5}) == "The model does not beat 'majority' (0.5 against 0.5 accuracy)."
    assert numbers.beaten_by(41234.5678, {"ridge": 41234.5678}).endswith("(41,235 against 41,235 RMSE).")


def test_fits_demo() -> None:
    data = pytest.importorskip("vega_datasets").local_data.seattle_weather()
    frame = Table.of(data).frame()
    schema = Schema(
        {n: Number() for n in ("temp_max", "temp_min", "precipitation", "wind")} | {"date": Timestamp()},
        Windows("date", 30, 7),
        "temp_max",
    )
    first, last = int(0.6 * len(frame)), int(0.8 * len(frame))
    _, found, encoded = forecasts(schema, frame[:first], frame[last - 30 :])
    true = encoded.raw["temp_max"][encoded.index.ahead[:, None] + np.arange(7)]
    expected = {"repeat last": 4.62, "calendar mean": 3.83, "ridge": 3.78, "ridge on deviations": 3.57}
    for name, score in expected.items():
        assert rmse(found[name][..., 0], true) == pytest.approx(score, abs=0.02), name
