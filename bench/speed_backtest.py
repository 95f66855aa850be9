"""Claim: a backtest, the forecast of every window, takes a fraction of the time that Darts takes.

ETTh1 after its training part (5,760 rows, 7 channels), look-back 96, horizon 24, LSTM(64) after one epoch of training.
Both give every window's 24 steps of all channels. Darts runs with its default batch of 32 and with one of 1,024.
"""

from __future__ import annotations

import os
from typing import Any

from common import CHANNELS, HORIZON, LOOK_BACK, THREADS, TRAIN, UNITS, Stopwatch, System, etth1, hours, main, rates
from speed_training import QUIET

LAST = 14_400
COUNT = LAST - TRAIN - HORIZON + 1
REPEATS = 4


def ours() -> dict[str, Any]:
    import polars as pl
    import torch

    import inputlayer as il

    torch.set_num_threads(THREADS)
    table = pl.DataFrame(etth1(0, LAST), schema=list(CHANNELS)).with_columns(time=hours(0, LAST))
    schema = il.Schema(
        columns={name: il.Number() for name in CHANNELS},
        sequence=il.Windows(order="time", length=LOOK_BACK, horizon=HORIZON),
        target=list(CHANNELS),
    )
    train, test = table[:TRAIN], table[TRAIN:]
    model = il.Model(il.InputLayer(schema), il.LSTM(units=UNITS))
    model.fit(train, epochs=1)
    watch = Stopwatch()
    watch.repeat(lambda: model.backtest(test, context=train[-LOOK_BACK:]), REPEATS)
    forecasts = model.backtest(test, context=train[-LOOK_BACK:])
    if len(forecasts) != COUNT * HORIZON:
        raise ValueError(f"{len(forecasts)} rows of forecasts, not {COUNT * HORIZON}")
    return watch.rates(COUNT)


def darts() -> dict[str, Any]:
    import numpy as np
    import pandas as pd
    import torch
    from darts import TimeSeries
    from darts.models import BlockRNNModel

    torch.set_num_threads(THREADS)
    series = TimeSeries.from_times_and_values(pd.DatetimeIndex(hours(0, LAST)), etth1(0, LAST))
    model = BlockRNNModel(
        input_chunk_length=LOOK_BACK, output_chunk_length=HORIZON, model="LSTM", hidden_dim=UNITS, n_rnn_layers=1,
        batch_size=64, n_epochs=1, pl_trainer_kwargs={"accelerator": "cpu", **QUIET},
    )  # fmt: skip
    model.fit(series[:TRAIN])
    test = series[TRAIN - LOOK_BACK :]
    batch = {"batch_size": int(os.environ["BATCH"])} if "BATCH" in os.environ else {}

    def backtest() -> Any:
        return model.historical_forecasts(
            test, forecast_horizon=HORIZON, stride=1, retrain=False, last_points_only=False, predict_kwargs=batch
        )

    watch = Stopwatch()
    watch.repeat(backtest, REPEATS)
    forecasts = backtest()
    if len(forecasts) != COUNT or not np.isfinite(forecasts[0].values()).all():
        raise ValueError(f"{len(forecasts)} forecasts, not {COUNT}")
    return watch.rates(COUNT)


SYSTEMS = [
    System("inputlayer", ours, peer=False),
    System("Darts, its defaults", darts),
    System("Darts, batch of 1,024", darts, environment={"BATCH": "1024"}),
]

if __name__ == "__main__":
    main(__file__, SYSTEMS, lambda found: "## Backtest\n\n" + rates(found, "windows/s", "inputlayer"))
