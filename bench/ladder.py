"""What each part of the input layer buys on ETTh1, 96 hours ahead, and how much of that depends on the body behind it.

Everything else is fixed: all 7 channels in and out, look-back 336, squared error, 2 epochs of batches of 32 (514
steps), Adam at 1e-3 along half a cosine, seeds 0, 1 and 2, one thread. Nothing was tuned; the number of steps is what
the slowest rung, an LSTM over 336 raw steps, does in minutes. The weights of the epoch of the lowest validation loss
are kept. Errors are those of the published tables: MSE in units of the training spread, every window of the test part.
The bodies: LSTM(128), GRU(128), and the small Transformer and the linear layer of ``examples/bodies.py``.

``ladder.py lstm linear``: these bodies only; ``--quick``: one seed, a handful of steps, nothing kept. Each training
that is finished is kept in ``bench/results/ladder``: the same command goes on where it was stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from common import ROOT, table
from data import ETT_PART, Clock, ett, ett_schema

import inputlayer as il

sys.path.append(str(ROOT / "examples"))
from bodies import Linear, Transformer

LOOK_BACK, HORIZON = 336, 96
OPTIONS = {"epochs": 2, "batch": 32, "lr": 1e-3, "device": "cpu"}
FULL, DECODER = "full layer", "Segments(24) as decoder"

BODIES: dict[str, Callable[..., torch.nn.Module]] = {
    "lstm": lambda **options: il.LSTM(128, **options),
    "gru": lambda **options: il.GRU(128, **options),
    "transformer": Transformer,
    "linear": Linear,
}
DECODED = ("lstm", "gru")  # the other two bring what they need to look ahead


def rungs(quick: bool) -> dict[str, il.InputLayer]:
    """The input layers, each with one thing more than the one before."""
    scaled = ett_schema(LOOK_BACK, HORIZON)
    sequence = il.Windows("date", LOOK_BACK, HORIZON, stride=512 if quick else 1)
    raw = {name: il.Number(scale="none") for name in scaled.columns}
    norm, patch = il.InstanceNorm("last"), il.Patch(24)

    def layer(columns: dict[str, il.Number], *stages: torch.nn.Module) -> il.InputLayer:
        return il.InputLayer(il.Schema(columns, sequence, scaled.target), list(stages))

    return {
        "raw numbers": layer(raw),
        "standardised": layer(dict(scaled.columns)),
        "+ InstanceNorm": layer(dict(scaled.columns), norm),
        "+ Patch(24)": layer(dict(scaled.columns), norm, patch),
        "+ PerChannel": layer(dict(scaled.columns), norm, il.PerChannel(), patch),
    }


def climb(body: str, quick: bool) -> il.Comparison:
    """All rungs before one body."""
    train, valid, test = il.split(ett("ETTh1"), ett_schema(LOOK_BACK, HORIZON), valid=ETT_PART, test=ETT_PART)
    layers = rungs(quick)
    whole = layers.pop("+ PerChannel")
    others = {DECODER: il.Model(whole, BODIES[body](decoder=il.Segments(24)))} if body in DECODED else {}
    options = {**OPTIONS, "epochs": 1} if quick else OPTIONS
    return il.compare(
        il.Model(whole, BODIES[body]()),
        *(train, valid, test),
        seeds=(0,) if quick else (0, 1, 2),
        stages=False,
        columns=False,
        alternatives=layers,
        others=others,
        run=None if quick else Path(ROOT / "bench" / "results" / "ladder" / body),
        resume=not quick,
        **options,
    )


def share(found: il.Comparison, name: str, before: str | None) -> str:
    """What a rung changed, with its 95 % interval."""
    change = None if before is None else found.difference(name, before)
    return "" if change is None else f"{change.mean:+.3f} ({change.low:+.3f} to {change.high:+.3f})"


def report(body: str, found: il.Comparison) -> str:
    rows = {row["name"]: row for row in found.to_dict()["rows"] if row["group"] != "baseline"}
    climbed = [name for name in ("raw numbers", "standardised", "+ InstanceNorm", "+ Patch(24)", FULL) if name in rows]
    before: dict[str, str | None] = dict(zip(climbed, [None, *climbed], strict=False))
    before |= {DECODER: FULL} if DECODER in rows and FULL in rows else {}
    cells = []
    for name, last in before.items():
        row = rows[name]
        spread = "" if row["spread"] is None else f" ± {row['spread']:.3f}"
        shown = {FULL: "+ PerChannel", DECODER: f"(not the input layer: {DECODER})"}.get(name, name)
        size = f"{row['parameters']:,}"
        cells.append([shown, f"{row['mean']:.3f}{spread}", share(found, name, last), f"{row['seconds']:.0f}", size])
    heads = ["input layer", "MSE", "change to the row above (95 % interval)", "s", "weights"]
    notes = "" if not found.interrupted else "\n\nInterrupted: the same command goes on."
    return f"### {body}\n\n{table(heads, cells)}{notes}\n"


def main() -> None:
    clock, quick = Clock(), "--quick" in sys.argv
    torch.set_num_threads(1)
    chosen = [name for name in sys.argv[1:] if not name.startswith("--")] or list(BODIES)
    print("## The ladder: ETTh1, 96 hours ahead\n")
    for body in chosen:
        found = climb(body, quick)
        print(report(body, found), flush=True)
        if found.interrupted:
            break
    print(f"{clock.line(1)}\n")


if __name__ == "__main__":
    main()
