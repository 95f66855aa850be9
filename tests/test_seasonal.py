"""Seasonal: values by hand, with gaps and uneven lengths; where it may stand. Twin and padding: the stage contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import inputlayer as il
from inputlayer.errors import OptionError, StageError
from inputlayer.stages import Patch, Plan, Seasonal, Steps

nan = float("nan")


def plan(horizon: int = 5, length: int | None = None, held: bool = False, **options: Any) -> Plan:
    return Plan(("load",), (held,), (0,), (), (), (), length=length, horizon=horizon, **options)


def run(rows: list[list[float]], period: int, held: bool = False, horizon: int = 5) -> tuple[list[Any], list[Any]]:
    """What the body sees of rows of uneven length, NaN being missing, and what a forecast of zeros comes back as."""
    lengths = torch.tensor([len(row) for row in rows])
    values = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)[..., None]
    real = (torch.arange(values.shape[1]) < lengths[:, None])[..., None]
    present = real & ~values.isnan()
    none = torch.zeros(len(rows), values.shape[1], 0)
    given = Steps(values.nan_to_num(), present, none, none[:, 0], torch.zeros(len(rows), horizon, 0), lengths)
    stage = Seasonal(period)
    stage.build(stage.plan(plan(horizon, held=held)))
    out, memo = stage(given)
    assert torch.equal(out.present, present)
    return out.values[..., 0].tolist(), stage.back(torch.zeros(len(rows), horizon, 1, 1), memo)[..., 0, 0].tolist()


def test_each_place_of_the_season_loses_its_own_mean_and_the_forecast_goes_on_with_it() -> None:
    seen, back = run([[1.0, 10.0, 100.0, 3.0, 20.0, 300.0]], 3)
    assert seen == [[-1.0, -5.0, -100.0, 1.0, 5.0, 100.0]]
    assert back == [[2.0, 15.0, 200.0, 2.0, 15.0]]


def test_places_are_counted_from_each_samples_own_end() -> None:
    seen, back = run([[10.0, 1.0, 20.0, 3.0, 30.0], [7.0, 8.0, 9.0]], 2)
    assert seen == [[-10.0, -1.0, 0.0, 1.0, 10.0], [-1.0, 0.0, 1.0, 0.0, 0.0]]
    assert back[0][:3] == [2.0, 20.0, 2.0]  # places of 1 and 3, then of 10, 20 and 30
    assert back[1][:3] == [8.0, 8.0, 8.0]


def test_missing_values_do_not_count_and_a_place_without_any_takes_the_level() -> None:
    seen, back = run([[nan, 10.0, nan, 20.0], [nan, nan, nan, nan]], 2)
    assert seen == [[0.0, -5.0, 0.0, 5.0], [0.0] * 4]
    assert back == [[15.0] * 5, [0.0] * 5]


def test_a_held_value_stays_where_the_column_is_filled_forward() -> None:
    lengths, none = torch.tensor([4]), torch.zeros(1, 4, 0)
    values = torch.tensor([2.0, 4.0, 4.0, 8.0]).view(1, 4, 1)
    present = torch.tensor([True, True, False, True]).view(1, 4, 1)
    stage = Seasonal(2)
    stage.build(plan(held=True))
    out, _ = stage(Steps(values, present, none, none[:, 0], torch.zeros(1, 5, 0), lengths))
    assert out.values.flatten().tolist() == [0.0, -2.0, 2.0, 2.0]


def test_it_is_the_mean_of_shifted_seasons() -> None:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(3, 48)).astype(np.float32)
    seen, back = run(rows.tolist(), 12, horizon=30)
    season = rows.reshape(3, 4, 12).mean(1)
    np.testing.assert_allclose(seen, rows - np.tile(season, 4), atol=1e-6)
    np.testing.assert_allclose(back, np.tile(season, 3)[:, :30], atol=1e-6)


@pytest.mark.parametrize(
    ("stage", "given", "message"),
    [
        (Seasonal(24), plan(length=12), r"Seasonal\(24\) needs sequences of at least 24 steps, and these have 12"),
        (Seasonal(4), Patch(2).plan(plan(length=12)), r"Put it first: stages=\[Seasonal\(4\), Patch\(\.\.\.\)\]"),
        (Seasonal(4), Plan((), (), (), ("x",), (), (), length=9, horizon=2), "none that vary by step"),
        (Seasonal(4), plan(length=9, outputs=2), "Give role='target' to all of them or to none"),
        (Seasonal(4), il.Noise(0.5).plan(plan(length=9)), r"Put it first: stages=\[Seasonal\(4\), Noise"),
    ],
)
def test_a_place_where_it_cannot_stand(stage: Seasonal, given: Plan, message: str) -> None:
    with pytest.raises(StageError, match=message):
        stage.plan(given)


@pytest.mark.parametrize("period", [0, 1, -3, 2.5, True])
def test_a_period_that_is_none(period: Any) -> None:
    with pytest.raises(OptionError, match="period"):
        Seasonal(period)


def test_a_forecast_of_a_pure_season_is_right_before_any_training() -> None:
    hour = np.arange(200)
    table = {"hour": hour, "load": 50 + 10 * np.sin(2 * np.pi * hour / 8)}
    schema = il.Schema({"load": il.Number()}, il.Windows("hour", length=24, horizon=12), target="load")
    model = il.Model(il.InputLayer(schema, [il.Seasonal(8)]), il.LSTM(2))
    model.fit(table, epochs=0)
    with torch.no_grad():
        for weight in model.network.body.parameters():
            weight.zero_()
    found = model.backtest(table)
    np.testing.assert_allclose(found["load"], found["load_true"], atol=1e-4)
