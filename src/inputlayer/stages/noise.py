"""Noise: in training every number is moved a little, so that few sequences are not learnt by heart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch

from inputlayer.errors import OptionError
from inputlayer.stages.base import Plan, Stage, Steps, TwinSteps, needs_numbers

if TYPE_CHECKING:
    from inputlayer.graph import Graph


class Noise(Stage):
    """Add normal noise to every number while the model trains, drawn anew each time; nothing at all afterwards.

    A few hundred sequences with many numbers at each step are soon known by heart. With noise no sequence is seen
    twice, and the network settles on what is still told apart through it.

    Parameters
    ----------
    spread
        Standard deviation of the noise, in scaled units: with ``scale="standard"`` 1 is as much as the column itself
        varies in the training rows.

    Raises
    ------
    OptionError
        If the spread is no number above 0.
    StageError
        If the layer has no numbers that vary by step.

    Notes
    -----
    Missing and padded entries stay as they are. In front of `InstanceNorm` or `Difference` the noise would reach the
    level that the forecast gets back, so these refuse to stand behind it.

    Shape: values (B, T, C) -> (B, T, C). The forecast is not changed by the way back.

    References
    ----------
    Sietsma and Dow 1991, "Creating artificial neural networks that generalize"; Bishop 1995, "Training with noise is
    equivalent to Tikhonov regularization".

    Examples
    --------
    >>> stage = Noise(0.5)
    >>> none = torch.zeros(1, 3, 0)
    >>> values, present = torch.zeros(1, 3, 1), torch.tensor([[[True], [False], [True]]])
    >>> steps = Steps(values, present, none, none[:, 0], none[:, :0], torch.tensor([3]))
    >>> (stage.train()(steps)[0].values != 0).flatten().tolist()
    [True, False, True]
    >>> stage.eval()(steps)[0].values.flatten().tolist()
    [0.0, 0.0, 0.0]
    """

    kind: ClassVar[str] = "noise"

    def __init__(self, spread: float) -> None:
        super().__init__()
        if isinstance(spread, bool) or not isinstance(spread, int | float) or not 0 < spread < float("inf"):
            raise OptionError(f"Noise: spread={spread!r}: a number above 0 is needed")
        self.spread = float(spread)

    def options(self) -> dict[str, Any]:
        return {"spread": self.spread}

    def plan(self, plan: Plan) -> Plan:
        needs_numbers("Noise", plan)
        return replace(plan, applied=(*plan.applied, self.kind))

    def forward(self, steps: Steps) -> tuple[Steps, None]:
        if not self.training:
            return steps, None
        noise = torch.randn_like(steps.values) * self.spread
        return steps.replace(values=steps.values + torch.where(steps.present, noise, 0.0)), None

    def onnx(self, g: Graph, steps: TwinSteps) -> tuple[TwinSteps, None]:
        return steps, None

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(0.5)]
