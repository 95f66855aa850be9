"""Predictions in a CSV file: exact enough, and no longer than that."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

import inputlayer as il
from inputlayer.csv_file import for_csv

START = datetime(2024, 1, 1)


def predicted(target: Any, head: Any = None, step: timedelta = timedelta(hours=1)) -> tuple[il.Model, pl.DataFrame]:
    """A model of 40 rows of `target`, by a number that names the series, and what it predicts."""
    table = {"site": [1 / 3] * 40, "time": [START + i * step for i in range(40)], "y": target}
    kind = il.Flag() if isinstance(target[0], bool) else il.Number()
    model = il.Model(il.InputLayer(il.Schema({"y": kind}, il.Windows("time", 6, 3, by="site"), "y")), il.LSTM(4), head)
    model.fit(table, epochs=0)
    return model, model.predict(table)


def cells(model: il.Model, found: pl.DataFrame, name: str) -> list[str]:
    """The column as the file has it."""
    lines = for_csv(found, model.network).write_csv().splitlines()
    return [line.split(",")[lines[0].split(",").index(name)] for line in lines[1:]]


def digits(cell: str) -> int:
    return len(cell.split("e")[0].replace(".", "").replace("-", "").strip("0"))


@pytest.mark.parametrize("level", [0.0, 30.0, 1e5, 1e9])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e4])
def test_numbers_are_exact_to_a_millionth_of_the_spread(level: float, spread: float) -> None:
    noise = np.random.default_rng(0).normal(0, spread, 40)
    quantiles = il.Regression("quantile", quantiles=[0.1, 0.5, 0.9])
    model, found = predicted((level + noise).tolist(), quantiles)
    for name in ("y", "y_q10", "y_q90"):
        written = cells(model, found, name)
        away = np.abs(np.array(written, float) - found[name].to_numpy())
        assert (away <= 1e-6 * spread + np.spacing(level)).all()  # a double can tell no more
        assert max(map(digits, written)) <= 8 + max(0, np.ceil(np.log10(max(level, 1e-9) / spread)))


def test_shares_have_seven_digits_and_keys_stay_as_they_are() -> None:
    model, found = predicted([True, False] * 20)
    written = for_csv(found, model.network)
    assert max(digits(cell) for cell in cells(model, found, "p_true")) <= 7
    assert np.allclose(written["p_true"], found["p_true"], rtol=1e-6)
    assert written["site"].to_list() == found["site"].to_list() == [1 / 3] * 3
    assert written["y"].dtype == pl.Boolean


@pytest.mark.parametrize(
    ("step", "last"),
    [
        (timedelta(hours=1), "2024-01-02T18:00:00"),
        (timedelta(milliseconds=250), "2024-01-01T00:00:10.500"),
        (timedelta(microseconds=250), "2024-01-01T00:00:00.010500"),
    ],
)
def test_times_have_a_fraction_only_where_there_is_one(step: timedelta, last: str) -> None:
    model, found = predicted([float(i % 7) for i in range(40)], step=step)
    assert cells(model, found, "time")[-1] == last
    read = pl.read_csv(for_csv(found, model.network).write_csv().encode(), try_parse_dates=True)
    assert read["time"].to_list() == found["time"].to_list()
