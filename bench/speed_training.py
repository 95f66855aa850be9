"""Claim: training through inputlayer costs at most a tenth of a bare PyTorch loop, and beats the other libraries.

ETTh1's training part (8,640 rows, 7 channels), look-back 96, horizon 24, LSTM(64), batch 64, Adam, mean squared error,
all windows in random order. Each system runs in a process of its own; its rate is that of its quickest epoch after the
first. Two of the libraries cannot forecast seven channels at once: their windows have one channel, which is less work.
"""

from __future__ import annotations

from typing import Any

from common import (
    BATCH,
    CHANNELS,
    HORIZON,
    LOOK_BACK,
    THREADS,
    TRAIN,
    UNITS,
    Stopwatch,
    System,
    etth1,
    hours,
    main,
    rates,
    windows,
)

EPOCHS = 3
COUNT = TRAIN - LOOK_BACK - HORIZON + 1


def bare() -> dict[str, Any]:
    """The least that training costs: tensors laid out beforehand, no framework."""
    import torch
    from torch import nn

    torch.set_num_threads(THREADS)
    x, y = map(torch.from_numpy, windows(etth1()))
    lstm, head = nn.LSTM(len(CHANNELS), UNITS, batch_first=True), nn.Linear(UNITS, HORIZON * len(CHANNELS))
    optimiser = torch.optim.Adam([*lstm.parameters(), *head.parameters()])

    def epoch() -> None:
        for rows in torch.randperm(len(x)).split(BATCH):
            loss = nn.functional.mse_loss(head(lstm(x[rows])[0][:, -1]).view(-1, HORIZON, len(CHANNELS)), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    watch = Stopwatch()
    watch.repeat(epoch, EPOCHS)
    return watch.rates(COUNT)


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
    model = il.Model(il.InputLayer(schema), il.LSTM(units=UNITS))
    watch = Stopwatch()
    model.fit(table, epochs=EPOCHS, batch=BATCH, device="cpu", callbacks=[lightning_callback(watch)])
    return watch.rates(COUNT)


def lightning_callback(watch: Stopwatch, steps: int = 0) -> Any:
    """A callback that times each training epoch, or every `steps` steps where a library's epochs are its own affair."""
    import lightning.pytorch as lightning

    class Epochs(lightning.Callback):
        def on_train_epoch_start(self, *_: Any) -> None:
            watch.start()

        def on_train_epoch_end(self, *_: Any) -> None:
            watch.stop()

    class Laps(lightning.Callback):
        done = 0

        def on_train_batch_start(self, *_: Any) -> None:
            if self.done % steps == 0:
                watch.start()

        def on_train_batch_end(self, *_: Any) -> None:
            self.done += 1
            if self.done % steps == 0:
                watch.stop()

    return Laps() if steps else Epochs()


QUIET = {"enable_progress_bar": False, "logger": False, "enable_checkpointing": False, "enable_model_summary": False}


def darts() -> dict[str, Any]:
    import pandas as pd
    import torch
    from darts import TimeSeries
    from darts.models import BlockRNNModel

    torch.set_num_threads(THREADS)
    series = TimeSeries.from_times_and_values(pd.DatetimeIndex(hours()), etth1())
    watch = Stopwatch()
    model = BlockRNNModel(
        input_chunk_length=LOOK_BACK, output_chunk_length=HORIZON, model="LSTM", hidden_dim=UNITS, n_rnn_layers=1,
        batch_size=BATCH, n_epochs=EPOCHS,
        pl_trainer_kwargs={"accelerator": "cpu", "callbacks": [lightning_callback(watch)], **QUIET},
    )  # fmt: skip
    model.fit(series)
    return watch.rates(COUNT)


def neuralforecast() -> dict[str, Any]:
    """Its LSTM has one target. The seven channels are given as seven series, so a window has one channel: less work."""
    import pandas as pd
    import torch
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import MSE
    from neuralforecast.models import LSTM

    torch.set_num_threads(THREADS)
    rows = etth1()
    frame = pd.concat(
        pd.DataFrame({"unique_id": name, "ds": hours(), "y": rows[:, i]}) for i, name in enumerate(CHANNELS)
    )
    watch, steps = Stopwatch(), 100
    model = LSTM(
        h=HORIZON, input_size=LOOK_BACK, encoder_n_layers=1, encoder_hidden_size=UNITS, decoder_layers=1,
        decoder_hidden_size=UNITS, loss=MSE(), scaler_type="identity", max_steps=EPOCHS * steps,
        windows_batch_size=BATCH, batch_size=1, accelerator="cpu",
        callbacks=[lightning_callback(watch, steps)], **QUIET,
    )  # fmt: skip
    NeuralForecast(models=[model], freq="h").fit(frame)
    return watch.rates(BATCH * steps, "single-channel windows")


def pytorch_forecasting() -> dict[str, Any]:
    """Its recurrent network sees no channel but its target, so the seven channels are seven series: less work."""
    import lightning.pytorch as lightning
    import pandas as pd
    import torch
    from pytorch_forecasting import RecurrentNetwork, TimeSeriesDataSet
    from pytorch_forecasting.metrics import RMSE

    torch.set_num_threads(THREADS)
    rows = etth1()
    frame = pd.concat(
        pd.DataFrame({"series": name, "time": range(len(rows)), "y": rows[:, i]}) for i, name in enumerate(CHANNELS)
    )
    dataset = TimeSeriesDataSet(
        frame.reset_index(drop=True), time_idx="time", target="y", group_ids=["series"], max_encoder_length=LOOK_BACK,
        max_prediction_length=HORIZON, time_varying_unknown_reals=["y"], target_normalizer=None,
    )  # fmt: skip
    model = RecurrentNetwork.from_dataset(
        dataset, cell_type="LSTM", hidden_size=UNITS, rnn_layers=1, dropout=0.0, loss=RMSE()
    )
    watch, steps = Stopwatch(), 100
    callback = lightning_callback(watch)
    trainer = lightning.Trainer(
        max_epochs=EPOCHS, limit_train_batches=steps, callbacks=[callback], accelerator="cpu", **QUIET
    )
    trainer.fit(model, dataset.to_dataloader(train=True, batch_size=BATCH, num_workers=0))
    return watch.rates(BATCH * steps, "single-channel windows")


def keras() -> dict[str, Any]:
    """On the backend that KERAS_BACKEND names, from arrays laid out beforehand, which it is quickest with."""
    import keras

    class Laps(keras.callbacks.Callback):
        def on_epoch_begin(self, *_: Any) -> None:
            watch.start()

        def on_epoch_end(self, *_: Any) -> None:
            watch.stop()

    watch = Stopwatch()
    x, y = windows(etth1())
    model = keras.Sequential(
        [
            keras.Input((LOOK_BACK, len(CHANNELS))),
            keras.layers.LSTM(UNITS),
            keras.layers.Dense(HORIZON * len(CHANNELS)),
            keras.layers.Reshape((HORIZON, len(CHANNELS))),
        ]
    )
    model.compile(optimizer="adam", loss="mse")
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=[Laps()])
    return watch.rates(COUNT)


SYSTEMS = [
    System("bare PyTorch", bare, peer=False),
    System("inputlayer", ours, peer=False),
    System("Darts BlockRNNModel", darts),
    System("NeuralForecast LSTM", neuralforecast),
    System("PyTorch Forecasting RecurrentNetwork", pytorch_forecasting),
    System("Keras on TensorFlow", keras, environment={"KERAS_BACKEND": "tensorflow"}),
    System("Keras on JAX", keras, environment={"KERAS_BACKEND": "jax"}),
]

if __name__ == "__main__":
    main(__file__, SYSTEMS, lambda found: "## Training\n\n" + rates(found, "windows/s", "inputlayer"))
