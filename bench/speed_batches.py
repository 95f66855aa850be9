"""Claim: batches are assembled by one gather, far quicker than by the loaders of other libraries.

ETTh1's training part (8,640 rows, 7 channels), look-back 96, horizon 24, batch 64, all windows in random order. Timed:
one pass over the batches, nothing trained. The plain copy moves the same bytes from windows laid out beforehand, in
order: as quick as this machine can.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from common import (
    BATCH,
    CHANNELS,
    HORIZON,
    LOOK_BACK,
    THREADS,
    TRAIN,
    Stopwatch,
    System,
    etth1,
    hours,
    main,
    rates,
    windows,
)

COUNT = TRAIN - LOOK_BACK - HORIZON + 1
PASSES = 6


def passes(batches: Iterable[Any], count: int = COUNT, repeats: int = PASSES, note: str = "") -> dict[str, Any]:
    watch = Stopwatch()
    watch.repeat(lambda: [None for _ in batches], repeats)
    return watch.rates(count, note)


def plain_copy() -> dict[str, Any]:
    import torch

    torch.set_num_threads(THREADS)
    x, y = map(torch.from_numpy, windows(etth1()))

    class Copies:
        def __iter__(self) -> Any:
            return ((x[i : i + BATCH].clone(), y[i : i + BATCH].clone()) for i in range(0, COUNT, BATCH))

    return passes(Copies())


def ours() -> dict[str, Any]:
    import polars as pl
    import torch

    import inputlayer as il

    torch.set_num_threads(THREADS)
    table = pl.DataFrame(etth1(), schema=list(CHANNELS)).with_columns(time=hours())
    schema = il.Schema(
        columns={name: il.Number() for name in CHANNELS},
        sequence=il.Windows(order="time", length=LOOK_BACK, horizon=HORIZON),
        target=list(CHANNELS),
    )
    return passes(il.InputLayer(schema).fit(table).batches(table, BATCH, shuffle=True))


def pytorch_forecasting() -> dict[str, Any]:
    import pandas as pd
    import torch
    from pytorch_forecasting import TimeSeriesDataSet

    torch.set_num_threads(THREADS)
    frame = pd.DataFrame(etth1(), columns=list(CHANNELS)).assign(series="a", time=range(TRAIN))
    dataset = TimeSeriesDataSet(
        frame, time_idx="time", target="OT", group_ids=["series"], max_encoder_length=LOOK_BACK,
        max_prediction_length=HORIZON, time_varying_unknown_reals=list(CHANNELS), target_normalizer=None,
    )  # fmt: skip
    loader = dataset.to_dataloader(train=True, batch_size=BATCH, num_workers=0)
    return passes(loader, len(loader) * BATCH, 2, "one target column of seven")


def keras() -> dict[str, Any]:
    """Look-back and horizon in one window of 120 steps, left unsplit: less work than a pair of both."""
    import keras

    rows = etth1()
    dataset = keras.utils.timeseries_dataset_from_array(
        rows, None, sequence_length=LOOK_BACK + HORIZON, batch_size=BATCH, shuffle=True
    )
    return passes(dataset, COUNT, 3, "x and y in one array")


SYSTEMS = [
    System("plain copy", plain_copy, peer=False),
    System("inputlayer", ours, peer=False),
    System("PyTorch Forecasting TimeSeriesDataSet", pytorch_forecasting),
    System("Keras timeseries_dataset_from_array", keras, environment={"KERAS_BACKEND": "tensorflow"}),
]

if __name__ == "__main__":
    main(__file__, SYSTEMS, lambda found: "## Assembling batches\n\n" + rates(found, "windows/s", "inputlayer"))
