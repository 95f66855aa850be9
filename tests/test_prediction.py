"""Predictions: the forecast of the last rows is the last of the backtest, in raw units, in the table's own order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

import inputlayer as il
from inputlayer import prediction
from inputlayer.errors import OptionError, TableError
from samples import ROADS, cells, groups, panel, waves, windows


def trained(schema: il.Schema, frame: Any, *stages: Any, head: Any = None, epochs: int = 1) -> il.Model:
    model = il.Model(il.InputLayer(schema, stages), il.LSTM(4), head)
    model.fit(frame, epochs=epochs, batch=16)
    return model


def plain(order: str = "time", horizon: int = 3, **options: Any) -> il.Schema:
    return il.Schema({"load": il.Number()}, il.Windows(order, 6, horizon, **options), target="load")


def near(one: pl.DataFrame, other: pl.DataFrame) -> None:
    assert_frame_equal(one, other, rel_tol=1e-5, abs_tol=1e-5)


# -- predict and backtest ----------------------------------------------------------------------------------------------


def test_with_the_future_known_predict_is_the_last_of_the_backtest() -> None:
    frame = panel((40, 25))
    model = trained(windows(), frame, il.InstanceNorm("last"))
    last = pl.int_range(pl.len()).over("site") >= pl.len().over("site") - 3
    future = frame.filter(last).drop("load", "temp", "wind", "size")
    found = model.predict(frame.filter(~last), future=future.reverse())
    expected = model.backtest(frame).group_by("site", maintain_order=True).tail(3)
    assert found.columns == ["site", "origin", "step", "time", "load"]
    near(found, expected.select(found.columns))


def test_without_a_future_the_clock_makes_the_rows_ahead() -> None:
    schema = il.Schema(
        {"load": il.Number(), "time": il.Timestamp(parts=("hour",))}, il.Windows("time", 6, 3, by="site"), "load"
    )
    frame = panel((40, 25))
    model = trained(schema, frame)
    last = pl.int_range(pl.len()).over("site") >= pl.len().over("site") - 3
    expected = model.backtest(frame).group_by("site", maintain_order=True).tail(3)
    near(model.predict(frame.filter(~last)), expected.drop("load_true"))


@pytest.mark.parametrize("road", ["windows, horizon 0", "groups", "groups, per step", "cells"])
def test_predict_is_the_backtest_without_the_truth(road: str) -> None:
    schema, frame = ROADS[road]
    model = trained(schema, frame)
    target = schema.targets[0]
    whole = model.backtest(frame).drop(f"{target}_true")
    if road == "windows, horizon 0":
        whole = whole.group_by("site", maintain_order=True).tail(1)
    near(model.predict(frame.drop(target)), whole)


def test_backtests_keep_the_tables_order_whatever_the_lengths() -> None:
    draw = np.random.default_rng(0)
    frame = pl.concat(
        [panel((int(n),), seed=i).with_columns(site=pl.lit(f"{i:03}")) for i, n in enumerate(draw.integers(2, 9, 60))]
    ).with_columns(label=pl.lit("a"))
    model = trained(groups(), frame, epochs=0)
    assert model.backtest(frame)["site"].to_list() == sorted(set(frame["site"]))
    blocks = list(model.backtest_blocks(frame, size=1))
    near(pl.concat(blocks), model.backtest(frame))
    steps = trained(groups(per_step=True), frame, epochs=0).backtest(frame.reverse())
    assert steps["row"].to_list() == list(range(frame.height))[::-1]


def test_the_row_of_a_step_is_documented_where_it_is_looked_for() -> None:
    frame = panel((9, 5))
    found = trained(groups(per_step=True), frame, epochs=0).predict(frame)
    assert found.columns[:2] == ["site", "row"]
    groups_doc, predict_doc = (" ".join(str(made.__doc__).split()) for made in (il.Groups, il.Model.predict))
    assert "in ``row`` its number in the table, from 0" in groups_doc
    assert "with ``per_step=True`` a line for each row, and ``row``, its number in `table`, from 0" in predict_doc


def test_the_truth_is_raw_and_null_where_missing() -> None:
    frame = waves().with_columns(score=pl.when(pl.int_range(pl.len()) != 2).then(pl.col("score") * 1000))
    model = trained(cells(), frame)
    found = model.backtest(frame)
    assert found["row"].to_list() == [0, 1, *range(3, 24)]
    assert found["score_true"].to_list() == frame["score"].drop_nulls().to_list()


def test_predictions_do_not_depend_on_other_series() -> None:
    frame = panel((40, 25))
    model = trained(windows(horizon=0), frame)
    alone = model.predict(frame.filter(pl.col("site") == "south"))
    near(model.predict(frame).filter(pl.col("site") == "south"), alone)


def test_a_forecast_follows_the_level_it_is_given_back() -> None:
    # With the level of the window taken off and given back, a shift of the data shifts the forecast as much.
    frame = panel((40,)).select("time", "load")
    model = trained(plain(), frame, il.InstanceNorm("last"))
    one = model.predict(frame)["load"].to_numpy()
    other = model.predict(frame.with_columns(pl.col("load") + 1000))["load"].to_numpy()
    assert np.allclose(other - one, 1000, atol=1e-2)


def test_quantiles_and_several_targets() -> None:
    frame = panel((40,)).with_columns(other=pl.col("load") * 100 + 7000)
    schema = il.Schema({"load": il.Number(), "other": il.Number()}, il.Windows("time", 6, 2), target=("load", "other"))
    model = trained(schema, frame, head=il.Regression("quantile", quantiles=(0.1, 0.5, 0.9)))
    found = model.predict(frame)
    assert found.columns[3:] == [
        "load",
        "load_q10",
        "load_q50",
        "load_q90",
        "other",
        "other_q10",
        "other_q50",
        "other_q90",
    ]
    assert found["load"].to_list() == found["load_q50"].to_list()
    assert found["other"].is_between(4000, 10000).all()


def test_classes_are_labels_with_shares_that_sum_to_one() -> None:
    frame = panel((9, 5, 7))
    found = trained(groups(), frame).predict(frame)
    assert found.columns == ["site", "label", "p_a", "p_b"]
    assert np.allclose(found["p_a"] + found["p_b"], 1)
    assert set(found["label"]) <= {"a", "b"}


def test_shares_are_named_by_the_labels_as_a_file_has_them() -> None:
    schema = il.Schema({"x": il.Number(), "hot": il.Flag()}, il.Cells(), target="hot")
    table = {"x": [1.0, 2.0] * 6, "hot": [True, False] * 6}
    found = trained(schema, table, epochs=1).predict(table)
    assert found.columns == ["row", "hot", "p_false", "p_true"]
    label = found.select("hot").write_csv().splitlines()[1]
    assert found[f"p_{label}"][0] >= 0.5


def test_a_class_that_training_never_saw_is_scored_and_has_no_name() -> None:
    frame = panel((9, 5, 7))
    model = trained(groups(), frame)
    new = frame.with_columns(label=pl.lit("z"), site=pl.col("site") + "!", temp=pl.lit(0.5))
    assert model.backtest(new)["label_true"].to_list() == [None] * 3
    assert model.evaluate(new)["accuracy"] == 0.0


def test_own_columns_named_like_ours_keep_their_names() -> None:
    frame = pl.DataFrame({"step": range(20), "origin": np.arange(20.0)})
    schema = il.Schema({"origin": il.Number()}, il.Windows("step", 3, 2), target="origin")
    found = trained(schema, frame).predict(frame)
    assert found.columns == ["origin_", "step_", "step", "origin"]
    assert found["step"].to_list() == [20, 21]


# -- the order column of a forecast ------------------------------------------------------------------------------------

ORDERS: dict[str, tuple[Any, Any]] = {
    "integer": (pl.Series(range(0, 80, 2), dtype=pl.Int32), [80, 82, 84]),
    "date": (
        pl.date_range(date(2024, 2, 1), date(2024, 3, 11), eager=True),
        [date(2024, 3, 12), date(2024, 3, 13), date(2024, 3, 14)],
    ),
    "nanoseconds": (
        panel((40,))["time"].dt.cast_time_unit("ns"),
        [datetime(2024, 1, 2, 16) + timedelta(hours=i) for i in range(3)],
    ),
    "zone": (  # the clocks go forward within the horizon: 2024-03-31 02:00 does not exist
        pl.datetime_range(
            datetime(2024, 3, 29, 9), datetime(2024, 3, 31, 0), "1h", time_zone="Europe/Berlin", eager=True
        ),
        [1, 3, 4],
    ),
}


@pytest.mark.parametrize("kind", ORDERS)
@pytest.mark.parametrize("column", [False, True])
def test_the_rows_ahead_go_on_in_the_tables_own_type(kind: str, column: bool) -> None:
    values, expected = ORDERS[kind]
    assert len(values) == 40
    columns: dict[str, Any] = {"load": il.Number()}
    if column and kind != "integer":
        columns["time"] = il.Timestamp()
    frame = panel((40,)).select("load").with_columns(time=values)
    found = trained(il.Schema(columns, il.Windows("time", 6, 3), target="load"), frame).predict(frame)
    assert found["time"].dtype == values.dtype
    ahead = found["time"].dt.hour() if kind == "zone" else found["time"]
    assert ahead.to_list() == expected
    assert found["origin"].to_list() == [values[-1]] * 3


def test_text_in_a_format_of_its_own_goes_on() -> None:
    frame = panel((40,)).with_columns(pl.col("time").dt.strftime("%d.%m.%Y %H:%M"))
    columns = {"load": il.Number(), "time": il.Timestamp(format="%d.%m.%Y %H:%M")}
    found = trained(il.Schema(columns, il.Windows("time", 6, 3), target="load"), frame).predict(frame)
    assert found["time"].to_list() == [datetime(2024, 1, 2, 16) + timedelta(hours=i) for i in range(3)]


@pytest.mark.parametrize("kind", ["time", "date", "float", "integer"])
def test_irregular_steps_are_not_made_up(kind: str) -> None:
    gaps = np.cumsum(np.random.default_rng(0).integers(1, 9, 40))
    values = {
        "time": pl.Series([datetime(2024, 1, 1) + timedelta(minutes=int(g)) for g in gaps]),
        "date": pl.Series([date(2024, 1, 1) + timedelta(days=int(g)) for g in gaps]),
        "float": pl.Series(gaps / 7),
        "integer": pl.Series(gaps),
    }
    frame = panel((40,)).select("load").with_columns(time=values[kind])
    model = trained(plain(), frame)
    assert model.predict(frame).columns == ["origin", "step", "load"]
    future = frame.head(3).with_columns(time=_after(values[kind]))
    assert model.predict(frame, future=future.drop("load"))["time"].to_list() == future["time"].to_list()


def _after(values: pl.Series) -> pl.Series:
    gap = values[-1] - values[-2]
    return pl.Series([values[-1] + gap, values[-1] + 3 * gap, values[-1] + 4 * gap])


def test_an_irregular_time_that_is_an_input_must_be_given() -> None:
    frame = panel((40,))[::3].vstack(panel((60,))[45:52])
    schema = il.Schema({"load": il.Number(), "time": il.Timestamp()}, il.Windows("time", 6, 3), target="load")
    model = trained(schema, frame)
    why = "'time' must be known ahead: it is an input, and the steps of the training rows are not regular"
    for remedy in ("Pass future=, a table of the next 3 rows of each series with time", "add them with empty cells"):
        with pytest.raises(TableError, match=f"{why}.*{remedy}"):
            model.predict(frame)
    stream = model.stream()
    with pytest.raises(TableError, match=f"{why}.*Pass future=, a list of the next 3 rows with time"):
        stream.push(frame.to_dicts())


def test_empty_rows_where_some_are_missing_make_the_times_known() -> None:
    frame = panel((60,)).select("time", "load")
    gap = pl.int_range(pl.len()).is_in([20, 40])
    schema = il.Schema({"load": il.Number(), "time": il.Timestamp()}, il.Windows("time", 6, 3), target="load")
    with pytest.raises(TableError, match="add them with empty cells and fit again"):
        trained(schema, frame.filter(~gap), epochs=0).predict(frame)
    filled = frame.with_columns(load=pl.when(~gap).then("load"))
    assert trained(schema, filled, epochs=0).predict(filled)["time"][-1] == frame["time"][-1] + timedelta(hours=3)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> il.Model:
    return trained(windows(), panel((40, 25)), epochs=0)


def ahead(hours: int = 40, rows: int = 3, site: str = "north") -> pl.DataFrame:
    times = [datetime(2024, 1, 1) + timedelta(hours=hours + i) for i in range(rows)]
    return pl.DataFrame({"site": [site] * rows, "time": times, "holiday": [True] * rows})


BOTH = pl.concat([ahead(40), ahead(25, site="south")])


@pytest.mark.parametrize(
    ("future", "message"),
    [
        (None, "'holiday' must be known ahead. Pass future=, .* next 3 rows of each series with site, time, holiday"),
        (ahead(40), "in future=: there are 0 rows for series 'south', and the horizon is 3"),
        (pl.concat([BOTH, ahead(43, 1)]), "in future=: there are 4 rows for series 'north', and the horizon is 3"),
        (pl.concat([ahead(39), ahead(25, site="south")]), r"last row \(row 0 = 2024-01-02 15:00\)\. It has to hold"),
        (pl.concat([BOTH[:5], ahead(99, 1, "sout")]), r"series 'sout' is not in .* \(row 5\)\. Did you mean 'south'\?"),
        (pl.concat([BOTH[:5], BOTH[4:5]]), r"in future=: has the same value twice in one series \(row 4 = .*, row 5 ="),
        (pl.concat([ahead(40), ahead(26, site="south")]), r"in future=: leaves the regular steps .* \(row 3 ="),
        (BOTH.with_columns(load=pl.lit(1.0)), "column 'load': is a target, and future= holds values of it"),
        (BOTH.drop("holiday", "site"), "(?s)'site': is missing from future=.*'holiday': is missing from future="),
        (BOTH.with_columns(time=pl.lit("soon")), r"column 'time': in future=: is not a time \(row 0 = 'soon'"),
        (BOTH.with_columns(holiday=pl.lit("maybe")), r"column 'holiday': in future=: .*\(row 0 = 'maybe'"),
    ],
)
def test_rows_ahead_that_cannot_be_used(model: il.Model, future: Any, message: str) -> None:
    with pytest.raises(TableError, match=message):
        model.predict(panel((40, 25)), future=future)


def test_targets_without_values_may_stand_in_the_future(model: il.Model) -> None:
    given = model.predict(panel((40, 25)), future=BOTH.with_columns(load=pl.lit(None, pl.Float64)))
    near(given, model.predict(panel((40, 25)), future=BOTH))


def test_a_future_where_nothing_lies_ahead_is_refused() -> None:
    frame = panel((40,))
    with pytest.raises(OptionError, match="future= has no effect: the horizon is 0"):
        trained(windows(horizon=0), frame, epochs=0).predict(frame, future=frame)
    with pytest.raises(OptionError, match="future= has no effect: only Windows"):
        trained(cells(), waves(), epochs=0).predict(waves(), future=waves())


def test_series_too_short_for_a_prediction_are_named(model: il.Model) -> None:
    with pytest.raises(TableError, match=r"needs the last 6 rows of each series: series 'south' has 4. .*pad_short"):
        model.predict(panel((40, 4)), future=pl.concat([ahead(40), ahead(4, site="south")]))
    short = trained(plain(pad_short=True), panel((40,)), epochs=0)
    assert short.predict(panel((2,))).height == 3


def test_every_problem_of_the_table_is_in_one_message(model: il.Model) -> None:
    bad = panel((40, 25)).with_columns(
        load=pl.when(pl.int_range(pl.len()) == 1).then(np.inf).otherwise(pl.col("load")),
        time=pl.when(pl.int_range(pl.len()) == 2).then(None).otherwise(pl.col("time")),
    )
    with pytest.raises(TableError, match=r"(?s)'load': is infinite \(row 1 .*'time': has no value") as found:
        model.predict(bad.select(sorted(bad.columns, reverse=True)), future=BOTH)
    assert len(found.value.problems) == 2
    with pytest.raises(TableError, match=r"(?s)'load': is missing from the table.*'wind': is missing"):
        model.predict(panel().drop("load", "wind"))
    with pytest.raises(TableError, match="the table has no rows"):
        model.predict(panel().clear())


def test_unsorted_unseen_and_missing_work(model: il.Model) -> None:
    frame = panel((40, 25))
    expected = model.predict(frame, future=BOTH)
    near(model.predict(frame.sample(fraction=1.0, shuffle=True, seed=1), future=BOTH), expected)
    odd = frame.with_columns(wind=pl.lit("storm"), temp=pl.lit(None, pl.Float64))
    assert np.isfinite(model.predict(odd, future=BOTH)["load"].to_numpy()).all()


# -- batches beside each other -----------------------------------------------------------------------------------------


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    monkeypatch.setattr(prediction, "_SIZE", 8)  # many batches
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [2, 3])
def test_batches_beside_each_other_give_the_same_in_the_same_order(threads: Any, count: int) -> None:
    frame = panel((40, 25))
    model = trained(windows(), frame)
    threads(1)
    alone = model.backtest(frame)
    threads(count)
    near(alone, model.backtest(frame))
    assert torch.get_num_threads() == count


def test_an_error_in_a_thread_is_raised_and_leaves_things_as_they_were(
    threads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = panel((40, 25))
    model = trained(windows(), frame)
    threads(2)
    monkeypatch.setattr(model.network.head, "forward", lambda y: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.backtest(frame)
    assert torch.get_num_threads() == 2


def test_a_body_of_the_users_own_is_never_run_in_two_threads(threads: Any) -> None:
    names = set()

    class Own(torch.nn.Module):
        width = 1

        def forward(self, x: Any, lengths: Any, future: Any, key: Any) -> Any:
            names.add(threading.current_thread().name)
            return x[:, -1:, :1].expand(-1, 3, 1)

    frame = panel((60,))
    model = il.Model(il.InputLayer(plain()), Own())
    model.fit(frame, epochs=0)
    threads(2)
    model.backtest(frame)
    assert names == {threading.current_thread().name}
