"""What training the recipe for ETTh1 at horizon 96 takes beside PatchTST and DLinear, and what each then forecasts.

The same rows, split, horizon and threads for all, each in a process of its own; the MSE and MAE of every window of the
test part, none dropped, in units of the training spread. The look-back is each system's own: 720 for the recipe, as in
``bench/ett.py``, 512 for PatchTST/64 and 336 for DLinear, as in their papers.

The other two are NeuralForecast's, which gives them one channel at a time. Their networks and losses are the authors'
for this data (PatchTST: 3 layers of 16 units, 4 heads, patches of 16 with stride 8, dropout 0.3; DLinear: a moving mean
of 25 steps). PatchTST has the authors' learning rate of 1e-4, and 896 windows of one channel a step, their 128 windows
of seven. DLinear's authors take 56 of one channel, for which NeuralForecast's steps, each of which unfolds all windows
of a series, are too slow; it gets 896 as well, and a learning rate of 1e-3. They end after 5,000 steps, as by
default, after 10 looks at the validation part (one every 100 steps) without a lower loss, or after 15 minutes: the
table says how many steps that were. The weights with the lowest validation loss are taken, as the authors do.

The seconds are those of training alone, validation included: all of `il.recipe` and `Model.fit`, which reads and fits
the columns too; for the others from Lightning's first step to its last. ``--quick``: a few steps of each;
``--rounds 1``, ``--only TEXT`` as for all speed scripts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from common import CHANNELS, THREADS, Stopwatch, System, etth1, hours, main, table
from speed_training import QUIET

HORIZON, PART = 96, 2880
ROWS = 8640 + 2 * PART
LOOK_BACK = {"recipe": 720, "PatchTST": 512, "DLinear": 336}
QUICK = "BENCH_QUICK"  # set for the processes that are measured
STEPS, MINUTES, CHECK, PATIENCE = 5000, 15, 100, 10


def recipe() -> dict[str, Any]:
    import torch
    from data import ETT_PART, ett, ett_schema

    import inputlayer as il

    torch.set_num_threads(THREADS)
    schema = ett_schema(LOOK_BACK["recipe"], HORIZON)
    train, valid, test = il.split(ett("ETTh1"), schema, valid=ETT_PART, test=ETT_PART)
    watch = Stopwatch()
    watch.start()
    model = il.recipe("forecast", train, schema).model()
    options = {"epochs": 1} if QUICK in os.environ else {}
    history = model.fit(train, valid, device="cpu", **options)
    watch.stop()
    scores = model.evaluate(test, context=valid)
    epochs = len(history.seconds)
    return report_of(watch, f"{epochs} epochs", scores["mse_standardised"], scores["mae_standardised"])


def report_of(watch: Stopwatch, given: str, mse: float, mae: float) -> dict[str, Any]:
    ((seconds, cpu),) = watch.laps
    return {"seconds": seconds, "cpu": cpu, "given": given, "mse": float(mse), "mae": float(mae)}


def best_weights(watch: Stopwatch, steps: list[int]) -> Any:
    """A callback that times the training and ends it with the weights of the lowest validation loss.

    How many steps it took is put into `steps`: NeuralForecast trains with a copy of the callback.
    """
    from copy import deepcopy

    import lightning.pytorch as lightning

    class Best(lightning.Callback):
        lowest, weights = float("inf"), None

        def on_train_start(self, *_: Any) -> None:
            watch.start()

        def on_validation_end(self, trainer: Any, module: Any) -> None:
            loss = float(trainer.callback_metrics["ptl/val_loss"])
            if loss < self.lowest:
                self.lowest, self.weights = loss, deepcopy(module.state_dict())

        def on_train_end(self, trainer: Any, module: Any) -> None:
            steps.append(trainer.global_step)
            if self.weights is not None:
                module.load_state_dict(self.weights)
            watch.stop()

    return Best()


def neuralforecast(name: str) -> dict[str, Any]:
    import numpy as np
    import pandas as pd
    import torch
    from neuralforecast import NeuralForecast, models
    from neuralforecast.losses.pytorch import MSE

    torch.set_num_threads(THREADS)
    own: dict[str, dict[str, Any]] = {
        "PatchTST": {
            "encoder_layers": 3, "n_heads": 4, "hidden_size": 16, "linear_hidden_size": 128, "dropout": 0.3,
            "fc_dropout": 0.3, "patch_len": 16, "stride": 8, "revin_subtract_last": False, "learning_rate": 1e-4,
        },
        "DLinear": {"moving_avg_window": 25, "learning_rate": 1e-3},
    }  # fmt: skip
    rows = etth1(0, ROWS).astype(np.float64)
    frame = pd.concat(
        pd.DataFrame({"unique_id": channel, "ds": hours(0, ROWS), "y": rows[:, i]})
        for i, channel in enumerate(CHANNELS)
    )
    watch, steps, quick = Stopwatch(), list[int](), QUICK in os.environ
    model = getattr(models, name)(
        h=HORIZON, input_size=LOOK_BACK[name], loss=MSE(), scaler_type="identity", batch_size=1,
        windows_batch_size=128 * len(CHANNELS), max_steps=4 if quick else STEPS, val_check_steps=2 if quick else CHECK,
        early_stop_patience_steps=PATIENCE, max_time={"minutes": MINUTES}, accelerator="cpu",
        callbacks=[best_weights(watch, steps)], **own[name], **QUIET,
    )  # fmt: skip
    # One call trains, and forecasts from every row of the test part that has a horizon behind it.
    found = NeuralForecast(models=[model], freq="h").cross_validation(
        df=frame, val_size=PART, n_windows=PART - HORIZON + 1, step_size=1, refit=False
    )
    assert len(found) == len(CHANNELS) * (PART - HORIZON + 1) * HORIZON
    error = (found[name] - found["y"]).to_numpy()
    return report_of(watch, f"{steps[0]} steps", np.square(error).mean(), np.abs(error).mean())


SYSTEMS = [
    System("inputlayer recipe", recipe, peer=False),
    System("NeuralForecast PatchTST", partial(neuralforecast, "PatchTST")),
    System("NeuralForecast DLinear", partial(neuralforecast, "DLinear")),
]


def report(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The quickest round of each; its errors are those of that round."""
    rows = []
    for name, runs in found.items():
        done = [run for run in runs if "seconds" in run]
        length = LOOK_BACK[name.split()[-1]]
        if not done:
            rows.append([name, length, runs[0]["error"], *["-"] * 5])
            continue
        run = min(done, key=lambda run: float(run["seconds"]))
        each = ", ".join(f"{run['seconds']:.0f}" for run in done)
        figures = (f"{run['seconds']:.0f}", each, f"{run['cpu']:.0f}", f"{run['mse']:.3f}", f"{run['mae']:.3f}")
        rows.append([name, length, run["given"], *figures])
    heads = ["ETTh1, horizon 96", "look-back", "given", "training, s", "each round", "CPU s", "MSE", "MAE"]
    return "## Training a forecast, and what it is worth\n\n" + table(heads, rows)


if __name__ == "__main__":
    if "--quick" in sys.argv:
        sys.argv.remove("--quick")
        os.environ[QUICK] = "1"
    main(__file__, SYSTEMS, report)
