"""Noise: in training numbers, or levels of whole sequences, are moved a little, so that few are not learnt by heart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch

from inputlayer.errors import OptionError
from inputlayer.stages.base import Plan, Stage, Steps, TwinSteps, needs_numbers

if TYPE_CHECKING:
    from inputlayer.graph import Graph


class Noise(Stage):
    """Add normal noise to the numbers while the model trains, drawn anew each time; nothing at all afterwards.

    A few hundred sequences with many numbers at each step are soon known by heart. With noise no sequence is seen
    twice, and the network settles on what is still told apart through it. Noise of each number stands for the errors of
    reading it; a shift of all of a sequence's, for another sensor, microphone or day, whose readings lie a little
    higher or lower throughout.

    Parameters
    ----------
    spread
        Standard deviation of the noise of each number, in scaled units: with ``scale="standard"`` 1 is as much as the
        column itself varies in the training rows.
    shift
        Standard deviation of what is added to all steps of a sequence alike, drawn for each channel, in scaled units.

    Raises
    ------
    OptionError
        If one of them is no number of at least 0, or both are 0.
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
    equivalent to Tikhonov regularization". Furui 1981, "Cepstral analysis technique for automatic speaker verification"
    (a recording's line adds a constant to its cepstra, which is taken off there; here it is made to matter less).

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
    >>> Noise(shift=0.5).train()(steps)[0].values.flatten().unique().numel()  # what is added, and 0 where it is missing
    2
    """

    kind: ClassVar[str] = "noise"
    training_only: ClassVar[bool] = True

    def __init__(self, spread: float = 0.0, shift: float = 0.0) -> None:
        super().__init__()
        for name, value in (("spread", spread), ("shift", shift)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise OptionError(f"Noise: {name}={value!r}: a number of at least 0 is needed")
        if not spread and not shift:
            raise OptionError("Noise: with a spread and a shift of 0 there is none. Give one of them, or leave it out")
        self.spread, self.shift = float(spread), float(shift)

    def options(self) -> dict[str, Any]:
        return {"spread": self.spread, "shift": self.shift}

    def plan(self, plan: Plan) -> Plan:
        needs_numbers("Noise", plan)
        return replace(plan, applied=(*plan.applied, self.kind))

    def forward(self, steps: Steps) -> tuple[Steps, None]:
        if not self.training:
            return steps, None
        values = steps.values
        noise = torch.randn_like(values) * self.spread if self.spread else torch.zeros_like(values)
        if self.shift:
            noise = noise + torch.randn_like(values[:, :1]) * self.shift
        return steps.replace(values=values + torch.where(steps.present, noise, 0.0)), None

    def onnx(self, g: Graph, steps: TwinSteps) -> tuple[TwinSteps, None]:
        return steps, None

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(0.5), cls(shift=0.5), cls(0.5, 0.2)]
