"""What the columns' modules and each stage make of the numbers of a column, and what the body sees of one sequence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inputlayer.batch import Batches
from inputlayer.encode import Encoded
from inputlayer.layer import InputLayer
from inputlayer.report.histogram import Histogram
from inputlayer.road import COLUMNS, JOINED
from inputlayer.show import features

_PLACE = re.compile(r"\[\d+\]$")
_STEPS, _WIDTH = 240, 64  # of a picture, at most


class Passing:
    """Watches the road, see `road.Watch`: histograms of the numbers of each column, after each step of the way.

    What was missing and is filled in does not count, nor does padding. A feature that a stage makes of a column's
    counts for that column; what belongs to none (the channel of `PerChannel`) goes by its own name.
    """

    def __init__(self, layer: InputLayer) -> None:
        self.layer = layer
        self.owner = {f: name for name in layer.schema.inputs for f in features(layer, name)}
        self.steps: dict[int, str] = {}
        self.found: dict[tuple[str, int], Histogram] = {}

    def __call__(self, at: int, what: str, part: str, x: Tensor, real: Tensor | None, present: Tensor | None) -> None:
        if not COLUMNS <= at < JOINED or part not in ("values", "extras") or real is None:
            return
        self.steps[at] = what
        plan = self.layer.plans[at - COLUMNS]
        for name, places in self._owned(plan.channels if part == "values" else plan.extras).items():
            counts = real[..., None].expand(*real.shape, len(places))
            if present is not None:
                counts = counts & present[..., places]
            made = Histogram.of(x[..., places][counts].cpu().numpy())
            self.found[name, at] = self.found.get((name, at), Histogram()).merge(made)

    def _owned(self, names: Sequence[str]) -> dict[str, list[int]]:
        """Which of `names` belong to which column, by their place."""
        places: dict[str, list[int]] = {}
        for i, name in enumerate(names):
            while name not in self.owner and _PLACE.search(name):  # what Patch joined
                name = _PLACE.sub("", name)
            places.setdefault(self.owner.get(name, name), []).append(i)
        return places

    def to_dict(self) -> dict[str, Any]:
        """`steps`, the names along the way, and by column the histogram after each, None where it has no numbers."""
        names = dict.fromkeys(name for name, _ in self.found)
        along = sorted(self.steps)
        none = Histogram()
        columns = {n: [self.found.get((n, at), none).to_dict() for at in along] for n in names}
        return {"steps": [self.steps[at] for at in along], "columns": columns}


def picture(layer: InputLayer, encoded: Encoded, chosen: int, *, targets: bool) -> dict[str, Any]:
    """What the body sees of the sequence numbered `chosen`: `x`, a row per step, three digits of each number.

    At most the last 240 steps, and 64 features; `steps`, `width` and `sequences` (how many PerChannel makes of the one,
    of which the first is told) are those of the whole. `sequence` is its number among all.
    """
    batch = Batches(encoded, layer.learnt, 1, targets=targets).gather(torch.tensor([chosen]))
    device = next((p.device for p in layer.parameters()), torch.device("cpu"))
    was_training = layer.training
    layer.eval()
    try:
        with torch.inference_mode():
            inputs = layer(batch.to(device))
    finally:
        layer.train(was_training)
    length = int(inputs.lengths[0])
    x = inputs.x[0, :length].double().cpu().numpy()
    plan = layer.plan
    return {
        "sequence": chosen,
        "features": [*plan.channels, *plan.extras, *plan.static][:_WIDTH],
        "x": [[short(v) for v in row] for row in x[-_STEPS:, :_WIDTH]],
        "steps": length,
        "width": x.shape[1],
        "sequences": len(inputs.x),
    }


def short(x: float, digits: int = 3) -> float | None:
    """A number with that many digits that count; None of what is not finite.

    >>> short(1.23456), short(float("nan"))
    (1.23, None)
    """
    return float(f"{x:.{digits}g}") if np.isfinite(x) else None
