"""Stretch: in training every sequence is read a little faster or slower, so that its speed is not learnt by heart."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor

from inputlayer.errors import OptionError, StageError
from inputlayer.stages.base import Plan, Stage, Steps, TwinSteps, needs_numbers, needs_single_steps

if TYPE_CHECKING:
    from inputlayer.graph import Graph


class Stretch(Stage):
    """Make every sequence longer or shorter while the model trains, by a factor drawn anew each time; nothing at all
    afterwards.

    For whole sequences whose speed says little of what they are: how fast a word is spoken, a gesture made, a part
    machined.

    Parameters
    ----------
    factor
        How many times longer or shorter at most, above 1. With 1.25 a sequence of 20 steps has 16 to 25; shorter and
        longer are as likely.

    Raises
    ------
    OptionError
        If the factor is no number above 1.
    StageError
        With a horizon or a target per step, whose steps would not keep pace; if the layer has no numbers that vary by
        step; if the steps have already been cut to patches.

    Notes
    -----
    A sequence keeps its first and its last step. Between them a number is interpolated linearly from the two steps
    around its new place; where one of these is missing, and with all that is no number, such as a category's embedding,
    the nearer one is taken as it is.

    Shape: values (B, T, C) -> (B, T', C), extras (B, T, E) -> (B, T', E), T' being at most factor * T.

    References
    ----------
    Ko et al. 2015, "Audio augmentation for speech recognition" (speed perturbation); Um et al. 2017, "Data augmentation
    of wearable sensor data for Parkinson's disease monitoring using convolutional neural networks" (time-warping).

    Examples
    --------
    >>> stage, none = Stretch(2.0), torch.zeros(1, 5, 0)
    >>> values = torch.arange(5.0)[None, :, None]
    >>> steps = Steps(values, values >= 0, none, none[:, 0], none[:, :0], torch.tensor([5]))
    >>> slower = stage.at(steps, torch.tensor([9]))
    >>> slower.values.flatten().tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]
    >>> stage.eval()(steps)[0].lengths.tolist()
    [5]
    """

    kind: ClassVar[str] = "stretch"
    training_only: ClassVar[bool] = True

    def __init__(self, factor: float) -> None:
        super().__init__()
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 < factor < float("inf"):
            raise OptionError(f"Stretch: factor={factor!r}: a number above 1 is needed")
        self.factor = float(factor)

    def options(self) -> dict[str, Any]:
        return {"factor": self.factor}

    def plan(self, plan: Plan) -> Plan:
        needs_numbers("Stretch", plan)
        needs_single_steps(f"Stretch({self.factor:g})", plan)
        if plan.horizon or plan.per_step:
            what = "a horizon" if plan.horizon else "a target per step"
            raise StageError(
                f"Stretch changes the speed of whole sequences, and {what} would not keep pace. Leave it out."
            )
        return replace(plan, applied=(*plan.applied, self.kind))

    def forward(self, steps: Steps) -> tuple[Steps, None]:
        if not self.training:
            return steps, None
        lengths = steps.lengths
        speed = torch.rand(len(lengths), device=lengths.device) * 2 - 1
        wanted = (lengths * torch.exp(speed * math.log(self.factor))).round().long()
        return self.at(steps, torch.maximum(wanted, lengths.clamp(max=2))), None

    def at(self, steps: Steps, lengths: Tensor) -> Steps:
        """The sequences with as many steps as `lengths` (B,) says: 0 where there are none."""
        last = (steps.lengths - 1).clamp(min=0)[:, None]
        step = torch.arange(max(1, int(lengths.max())), device=lengths.device)  # a body needs one step
        place = torch.minimum(step * (last / (lengths - 1).clamp(min=1)[:, None]), last)
        low = place.long()
        high = torch.minimum(low + 1, last)
        share = (place - low)[..., None]
        near = torch.where(share[..., 0] < 0.5, low, high)
        real = (step < lengths[:, None])[..., None]

        def taken(x: Tensor, index: Tensor) -> Tensor:
            return x.gather(1, index[..., None].expand(-1, -1, x.shape[2]))

        between = taken(steps.values, low) * (1 - share) + taken(steps.values, high) * share
        both = taken(steps.present, low) & taken(steps.present, high)
        return steps.replace(
            values=torch.where(both, between, taken(steps.values, near)) * real,
            present=taken(steps.present, near) & real,
            extras=taken(steps.extras, near) * real,
            lengths=lengths,
        )

    def onnx(self, g: Graph, steps: TwinSteps) -> tuple[TwinSteps, None]:
        return steps, None

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(1.5)]
