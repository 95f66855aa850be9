"""Autoregression: a linear forecast beside the body's, learnt together with it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from inputlayer.errors import StageError
from inputlayer.sequence.base import positive
from inputlayer.stages.base import (
    Plan,
    Stage,
    Steps,
    TwinSteps,
    needs_every_past,
    needs_length,
    needs_numbers,
    needs_single_steps,
    patched,
    twin_patched,
)

if TYPE_CHECKING:
    from inputlayer.graph import Graph


class Autoregression(Stage):
    """Forecast each target linearly from the last steps, and add that to what the body forecasts.

    What is linear in a series, such as its momentum or a season, is then learnt from few rows and by few weights, and
    the body has only the rest to learn. The steps themselves go on to the body unchanged.

    Parameters
    ----------
    size
        Last steps that the forecast is made from.

    Raises
    ------
    StageError
        If the layer has no numbers to act on; without a horizon; if the past of a target is no input; if `size` is
        longer than the look-back; or if `Patch` has joined the steps already.

    Notes
    -----
    Each step of the horizon has a weight for every number of each of those steps, of all channels, and a bias. They are
    zero at first, and trained with all other weights. Numbers are taken as the stage finds them: put it behind
    `InstanceNorm`, `Seasonal` or `Difference`, so that the forecast follows the level of the window, and behind
    `PerChannel`, where all channels share the weights. Missing numbers, and steps before a short sequence, count as 0.
    With quantiles all of a step's quantiles are moved by its forecast.

    Shape: values (B, T, C) -> (B, T, C); way back: y (B, H, K, Q) -> y + forecast (B, H, K, 1).

    References
    ----------
    Lai et al. 2018, "Modeling long- and short-term temporal patterns with deep neural networks" (LSTNet: there each
    series has its own past alone).

    Examples
    --------
    >>> stage = Autoregression(2)
    >>> stage.build(Plan(("load",), (False,), (0,), (), (), (), length=3, horizon=1))
    >>> with torch.no_grad():
    ...     _ = stage.weight.copy_(torch.tensor([[-1.0], [2.0]]))  # goes on as from the step before to the last one
    >>> x = torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1)
    >>> none = torch.zeros(1, 3, 0)
    >>> steps = Steps(x, torch.ones_like(x).bool(), none, none[:, 0], none[:, :1], torch.tensor([3]))
    >>> _, memo = stage(steps)
    >>> stage.back(torch.zeros(1, 1, 1, 1), memo).item()
    6.0
    """

    kind: ClassVar[str] = "autoregression"
    forecasts = True

    def __init__(self, size: int) -> None:
        super().__init__()
        positive("size", size)
        self.size = size

    def options(self) -> dict[str, Any]:
        return {"size": self.size}

    def plan(self, plan: Plan) -> Plan:
        needs_numbers("Autoregression", plan)
        needs_single_steps(f"Autoregression({self.size})", plan)
        if not plan.horizon:
            raise StageError("Autoregression forecasts, and here is no horizon. Leave it out.")
        if not plan.targets:
            raise StageError(
                "Autoregression forecasts numbers from their own past, and no target has its past among the inputs. "
                "Leave it out."
            )
        needs_every_past("Autoregression", plan)
        needs_length(f"Autoregression({self.size})", self.size, "smaller size", plan)
        return replace(plan, applied=(*plan.applied, self.kind))

    def build(self, plan: Plan) -> None:
        self._ahead = (plan.horizon, plan.outputs, 1)
        outputs = plan.horizon * plan.outputs
        self.weight = nn.Parameter(torch.zeros(self.size * len(plan.channels), outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, steps: Steps) -> tuple[Steps, Tensor]:
        index = steps.lengths[:, None] - self.size + torch.arange(self.size, device=steps.lengths.device)
        last = patched(steps.values, index.clamp(min=-1)[:, None]).flatten(1)
        return steps, (last @ self.weight + self.bias).view(-1, *self._ahead)

    def back(self, y: Tensor, memo: Tensor) -> Tensor:
        return y + memo

    def onnx(self, g: Graph, steps: TwinSteps) -> tuple[TwinSteps, str]:
        index = g("Add", g("Unsqueeze", steps.lengths, g.constant([1, 2])), g.constant(np.arange(-self.size, 0)))
        last = twin_patched(g, steps.values, g("Max", index, g.constant(-1)))
        flat = g("Reshape", last, g.constant([-1, len(self.weight)]))
        weight, bias = (g.constant(w.detach().cpu().numpy()) for w in (self.weight, self.bias))
        return steps, g("Reshape", g("Add", g("MatMul", flat, weight), bias), g.constant([-1, *self._ahead]))

    def onnx_back(self, g: Graph, y: str, memo: str) -> str:
        return g("Add", y, memo)

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(1), cls(3)]
