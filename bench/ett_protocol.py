"""Claim: the protocol of the published ETT tables is kept, window by window.

Repeating the last value needs no training, so its errors are the same for everyone who cuts the data, standardises by
the training rows and counts every window of the test part as the published tables do. They must agree to 4 digits.

``--quick``: horizon 96 only.
"""

from __future__ import annotations

import sys

import torch
from common import table
from data import ETT_PART, Clock, ett, ett_schema

import inputlayer as il

PUBLISHED = {
    ("ETTh1", 96): ("1.2944", "0.7132"),
    ("ETTh1", 720): ("1.3351", "0.7550"),
    ("ETTh2", 96): ("0.4317", "0.4216"),
    ("ETTh2", 720): ("0.5945", "0.5190"),
}


def repeat_last(name: str, horizon: int) -> tuple[str, str, int]:
    """MSE, MAE in units of the training spread, and the number of windows."""
    schema = ett_schema(length=96, horizon=horizon)
    train, valid, test = il.split(ett(name), schema, valid=ETT_PART, test=ETT_PART)
    model = il.Model(il.InputLayer(schema), il.LSTM(units=1))
    model.fit(train, epochs=0)
    scores = model.evaluate(test, context=valid)
    repeated = scores["baselines"]["repeat last"]
    return f"{repeated['mse_standardised']:.4f}", f"{repeated['mae_standardised']:.4f}", scores["sequences"]


def main() -> None:
    clock, rows, wrong = Clock(), [], 0
    torch.set_num_threads(1)
    for (name, horizon), published in PUBLISHED.items():
        if "--quick" in sys.argv and horizon != 96:
            continue
        mse, mae, windows = repeat_last(name, horizon)
        same = (mse, mae) == published
        wrong += not same
        rows.append([name, horizon, f"{windows:,}", mse, mae, *published, "yes" if same else "NO"])
    heads = ["data", "horizon", "windows", "MSE", "MAE", "published MSE", "published MAE", "same"]
    print("## ETT, repeating the last value\n\n" + table(heads, rows))
    print(f"\n{clock.line(1)}\n")
    if wrong:
        sys.exit(f"{wrong} rows differ from the published ones: the protocol is not kept")


if __name__ == "__main__":
    main()
