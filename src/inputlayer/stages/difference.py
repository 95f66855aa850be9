"""Difference: what changed, in place of what is; the forecast is added up again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from inputlayer.errors import StageError
from inputlayer.sequence.base import positive
from inputlayer.stages.base import (
    Plan,
    Stage,
    Steps,
    TwinSteps,
    needs_every_past,
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


class Difference(Stage):
    """Turn every number into its difference to `lag` steps before, and add the forecast up again.

    Parameters
    ----------
    lag
        Steps between the two numbers of a difference: 1 for the change from step to step, the length of a season
        (24 with hours and a daily season) for the change against the season before.

    Raises
    ------
    StageError
        With quantiles, which do not add up; without a horizon; if no step has one that is `lag` steps before; if the
        past of some targets is an input and that of others not; or if the steps have already been cut to patches.

    Notes
    -----
    The first `lag` steps have no difference: they are 0 and not present, as are those with a missing number on either
    side. In a column filled forward, the value held stands for a missing one as soon as one was seen.

    On the way back each step of the horizon adds the one `lag` steps before it: for the first `lag` of them that is the
    last present number of the target at the same place in the season; if there is none, its last present number; or 0.

    Shape: values (B, T, C) -> (B, T, C); way back: y (B, H, K, 1) -> (B, H, K, 1).

    References
    ----------
    Box and Jenkins 1970, "Time series analysis: forecasting and control" (differencing, also seasonal).

    Examples
    --------
    >>> plan = Plan(("load",), (False,), (0,), (), (), (), length=4, horizon=2)
    >>> stage = Difference()
    >>> stage.build(plan)
    >>> x = torch.tensor([1.0, 2.0, 4.0, 7.0]).view(1, 4, 1)
    >>> none = torch.zeros(1, 4, 0)
    >>> steps = Steps(x, torch.ones_like(x).bool(), none, none[:, 0], none[:, :2], torch.tensor([4]))
    >>> out, memo = stage(steps)
    >>> out.values.flatten().tolist()
    [0.0, 1.0, 2.0, 3.0]
    >>> stage.back(torch.tensor([4.0, 5.0]).view(1, 2, 1, 1), memo).flatten().tolist()
    [11.0, 16.0]
    """

    kind: ClassVar[str] = "difference"
    held: Tensor
    at: Tensor

    def __init__(self, lag: int = 1) -> None:
        super().__init__()
        positive("lag", lag)
        self.lag = lag

    def options(self) -> dict[str, Any]:
        return {"lag": self.lag}

    def plan(self, plan: Plan) -> Plan:
        needs_numbers("Difference", plan)
        needs_single_steps(f"Difference({self.lag})", plan)
        if not plan.horizon:
            raise StageError("Difference adds a forecast up, step by step, and here is no horizon. Leave it out.")
        needs_level(f"Difference({self.lag})", plan)
        needs_every_past("Difference", plan)
        if plan.targets and plan.quantiles > 1:
            raise StageError(
                "Difference adds the forecast up, and quantiles do not add up: the sum of two 90 % quantiles is none. "
                "Use InstanceNorm('last') in its place, or a head without quantiles."
            )
        if plan.length is not None and self.lag >= plan.length:
            raise StageError(
                f"Difference({self.lag}) needs sequences of more than {self.lag} steps, and these have {plan.length}. "
                "Use a shorter lag or a longer look-back."
            )
        return replace(plan, applied=(*plan.applied, self.kind))

    def build(self, plan: Plan) -> None:
        # Both follow from the plan, so that the artefact need not keep them.
        self.register_buffer("held", torch.tensor(plan.held), persistent=False)
        self.register_buffer("at", torch.tensor(plan.targets, dtype=torch.int64), persistent=False)

    def forward(self, steps: Steps) -> tuple[Steps, Tensor | None]:
        seen = (steps.present.cumsum(1) > 0) & self.held & steps.real()[..., None]
        known = steps.present | seen
        place = torch.arange(steps.values.shape[1], device=steps.values.device)
        before = (place - self.lag).clamp(min=0)
        there = known[:, before] & (place >= self.lag)[:, None]
        values = torch.where(known & there, steps.values - steps.values[:, before], 0.0)
        return steps.replace(values=values, present=steps.present & there), self._season(steps)

    def _season(self, steps: Steps) -> Tensor | None:
        """The last numbers of the targets at each place of the season, (B, lag, K)."""
        if not len(self.at):
            return None
        values, present = steps.values[..., self.at], steps.present[..., self.at]
        index = patch_index(steps.lengths, values.shape[1], self.lag, self.lag)
        last = torch.where(patched(present, index), index[..., None] + 1, 0).amax(1)  # 0: nothing is present
        last = torch.where(last > 0, last, last.amax(1, keepdim=True))
        return torch.where(last > 0, values.gather(1, (last - 1).clamp(min=0)), 0.0)

    def back(self, y: Tensor, memo: Tensor | None) -> Tensor:
        if memo is None:
            return y
        count, horizon, *rest = y.shape
        short = -horizon % self.lag
        seasons = torch.cat([y, y.new_zeros(count, short, *rest)], 1).view(count, -1, self.lag, *rest)
        return (seasons.cumsum(1) + memo[:, None, :, :, None]).flatten(1, 2)[:, :horizon]

    def onnx(self, g: Graph, steps: TwinSteps) -> tuple[TwinSteps, str | None]:
        zero, one, axis = g.constant(0), g.constant(1), g.constant(1)
        count = g("CumSum", g.cast(steps.present, np.int32), axis)
        held = g("And", g("Unsqueeze", steps.real, g.constant([-1])), g.constant(self.held.cpu().numpy()))
        seen = g("And", g("Greater", count, g.constant(np.int32(0))), held)
        known = g("Or", steps.present, seen)
        place = g("Range", zero, twin_steps(g, steps.values), one)
        before = g("Max", g("Sub", place, g.constant(self.lag)), zero)
        late = g("Unsqueeze", g("GreaterOrEqual", place, g.constant(self.lag)), g.constant([-1]))
        there = g("And", g("Gather", known, before, axis=1), late)
        change = g("Sub", steps.values, g("Gather", steps.values, before, axis=1))
        values = g("Where", g("And", known, there), change, g.constant(0.0))
        return steps._replace(values=values, present=g("And", steps.present, there)), self._twin_season(g, steps)

    def _twin_season(self, g: Graph, steps: TwinSteps) -> str | None:
        if not len(self.at):
            return None
        at, zero, one = g.constant(self.at.cpu().numpy()), g.constant(0), g.constant(1)
        values, present = (g("Gather", x, at, axis=2) for x in (steps.values, steps.present))
        index, _ = twin_patch_index(g, steps.lengths, twin_steps(g, values), self.lag, self.lag)
        there = twin_patched(g, present, index, truth=True)
        places = g("Where", there, g("Add", g("Unsqueeze", index, g.constant([-1])), one), zero)
        last = g("ReduceMax", places, g.constant([1]), keepdims=0)
        last = g("Where", g("Greater", last, zero), last, g("ReduceMax", last, g.constant([1]), keepdims=1))
        found = g("GatherElements", values, g("Max", g("Sub", last, one), zero), axis=1)
        return g("Where", g("Greater", last, zero), found, g.constant(0.0))

    def onnx_back(self, g: Graph, y: str, memo: str | None) -> str:
        if memo is None:
            return y
        horizon = g("Shape", y, start=1, end=2)
        lag = g.constant([self.lag])
        short = g("Mod", g("Sub", lag, g("Mod", horizon, lag)), lag)
        nothing = g.constant([0])
        padded = g("Pad", y, g("Concat", nothing, short, axis=0), g.constant(0.0), g.constant([1]))
        seasons = g("Reshape", padded, g("Concat", _cut(g, y), g.constant([-1, self.lag]), _rest(g, y), axis=0))
        sums = g("CumSum", seasons, g.constant(1))
        sums = g("Add", sums, g("Unsqueeze", memo, g.constant([1, 4])))
        flat = g("Reshape", sums, g("Concat", _cut(g, y), g.constant([-1]), _rest(g, y), axis=0))
        return g("Slice", flat, nothing, horizon, g.constant([1]))

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(2), cls(4)]


def _cut(g: Graph, y: str) -> str:
    return g("Shape", y, start=0, end=1)


def _rest(g: Graph, y: str) -> str:
    return g("Shape", y, start=2)
