"""Seasonal: each window is measured from its own mean season, which the forecast gets back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from inputlayer.sequence.base import positive
from inputlayer.stages.base import (
    Plan,
    Stage,
    Steps,
    TwinSteps,
    needs_every_past,
    needs_length,
    needs_level,
    needs_numbers,
    needs_single_steps,
    patch_index,
    patched,
    twin_patch_index,
    twin_patched,
    twin_steps,
)

if TYPE_CHECKING:
    from inputlayer.graph import Graph


class Seasonal(Stage):
    """Take each window's own mean season off every channel, and give it back to the forecast.

    Parameters
    ----------
    period
        Steps of a season: 24 with hours and a daily one.

    Raises
    ------
    StageError
        If the layer has no numbers to act on; if a season is longer than the look-back; if the past of some targets is
        an input and that of others not; or if `Patch` has joined the steps already.

    Notes
    -----
    The season is the mean of the present values at each of its `period` places, the last step of each sample standing
    at its last place. So the level goes with it, and what is left is how this window differs from its own habit. A
    place without a present value takes the mean of all present values, and 0 stands where there are none. A missing
    entry becomes 0 afterwards; in a column filled forward it keeps the value that was held.

    Shape: values (B, T, C) -> (B, T, C); way back: y (B, H, K, Q) -> y + season, from its first place on.

    References
    ----------
    Cleveland et al. 1990, "STL: a seasonal-trend decomposition procedure based on loess" (seasonal adjustment); Lin et
    al. 2024, "CycleNet: enhancing time series forecasting through modeling periodic patterns" (the rest is forecast;
    there the season is learnt from the training rows, here it is each window's own).

    Examples
    --------
    >>> stage = Seasonal(2)
    >>> stage.build(Plan(("load",), (False,), (0,), (), (), (), length=4, horizon=3))
    >>> x = torch.tensor([1.0, 10.0, 3.0, 20.0]).view(1, 4, 1)
    >>> none = torch.zeros(1, 4, 0)
    >>> steps = Steps(x, torch.ones_like(x).bool(), none, none[:, 0], none[:, :3], torch.tensor([4]))
    >>> out, memo = stage(steps)
    >>> out.values.flatten().tolist()
    [-1.0, -5.0, 1.0, 5.0]
    >>> stage.back(torch.zeros(1, 3, 1, 1), memo).flatten().tolist()
    [2.0, 15.0, 2.0]
    """

    kind: ClassVar[str] = "seasonal"
    held: Tensor
    at: Tensor

    def __init__(self, period: int) -> None:
        super().__init__()
        positive("period", period, 2)
        self.period = period

    def options(self) -> dict[str, Any]:
        return {"period": self.period}

    def plan(self, plan: Plan) -> Plan:
        needs_numbers("Seasonal", plan)
        needs_single_steps(f"Seasonal({self.period})", plan)
        needs_level(f"Seasonal({self.period})", plan)
        needs_every_past("Seasonal", plan)
        needs_length(f"Seasonal({self.period})", self.period, "shorter period", plan)
        return replace(plan, applied=(*plan.applied, self.kind))

    def build(self, plan: Plan) -> None:
        # Both follow from the plan, so that the artefact need not keep them.
        self.register_buffer("held", torch.tensor(plan.held), persistent=False)
        self.register_buffer("at", torch.tensor(plan.targets, dtype=torch.int64), persistent=False)

    def forward(self, steps: Steps) -> tuple[Steps, Tensor | None]:
        season = self._season(steps)
        since = steps.lengths[:, None] - 1 - torch.arange(steps.values.shape[1], device=steps.lengths.device)
        place = self.period - 1 - since % self.period
        own = season.gather(1, place[..., None].expand_as(steps.values))
        kept = steps.present | (self.held & steps.real()[..., None])
        values = torch.where(kept, steps.values - own, 0.0)
        return steps.replace(values=values), season[..., self.at] if len(self.at) else None

    def _season(self, steps: Steps) -> Tensor:
        """The mean of the present values at each place of the season, (B, period, C)."""
        index = patch_index(steps.lengths, steps.values.shape[1], self.period, self.period)
        present = patched(steps.present, index)
        sums = torch.where(present, patched(steps.values, index), 0.0).sum(1)
        count = present.sum(1)
        level = sums.sum(1, keepdim=True) / count.sum(1, keepdim=True).clamp(min=1)
        return torch.where(count > 0, sums / count.clamp(min=1), level)

    def back(self, y: Tensor, memo: Tensor | None) -> Tensor:
        if memo is None:
            return y
        ahead = torch.arange(y.shape[1], device=y.device) % self.period
        return y + memo[:, ahead, :, None]

    def onnx(self, g: Graph, steps: TwinSteps) -> tuple[TwinSteps, str | None]:
        season = self._twin_season(g, steps)
        one, last, period = g.constant(1), g.constant([-1]), g.constant(self.period)
        step = g("Range", g.constant(0), twin_steps(g, steps.values), one)
        since = g("Sub", g("Sub", g("Unsqueeze", steps.lengths, last), one), step)
        # Past a sequence's end `since` is negative; the operator's remainder has the sign of the divisor, as here.
        place = g("Sub", g("Sub", period, one), g("Mod", since, period))
        shape = g("Shape", steps.values)
        own = g("GatherElements", season, g("Expand", g("Unsqueeze", place, last), shape), axis=1)
        held = g("And", g("Unsqueeze", steps.real, last), g.constant(self.held.cpu().numpy()))
        kept = g("Or", steps.present, held)
        values = g("Where", kept, g("Sub", steps.values, own), g.constant(0.0))
        memo = g("Gather", season, g.constant(self.at.cpu().numpy()), axis=2) if len(self.at) else None
        return steps._replace(values=values), memo

    def _twin_season(self, g: Graph, steps: TwinSteps) -> str:
        axis, zero, one = g.constant([1]), g.constant(0.0), g.constant(1.0)
        index, _ = twin_patch_index(g, steps.lengths, twin_steps(g, steps.values), self.period, self.period)
        present = twin_patched(g, steps.present, index, truth=True)
        count = g("ReduceSum", g.cast(present, np.float32), axis, keepdims=0)
        sums = g("ReduceSum", g("Where", present, twin_patched(g, steps.values, index), zero), axis, keepdims=0)
        total, seen = (g("ReduceSum", x, axis, keepdims=1) for x in (sums, count))
        level = g("Div", total, g("Max", seen, one))
        return g("Where", g("Greater", count, zero), g("Div", sums, g("Max", count, one)), level)

    def onnx_back(self, g: Graph, y: str, memo: str | None) -> str:
        if memo is None:
            return y
        ahead = g("Range", g.constant(0), twin_steps(g, y), g.constant(1))
        season = g("Gather", memo, g("Mod", ahead, g.constant(self.period)), axis=1)
        return g("Add", y, g("Unsqueeze", season, g.constant([-1])))

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(2), cls(4)]
