"""The contract of a stage, and what flows through it.

A stage is a step on the whole sequence between the columns' modules and the body. It may change the numbers
(`InstanceNorm`), the steps (`Patch`) or the batch (`PerChannel`), and it knows the way back for the network's output.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from inputlayer.graph import Graph


@dataclass(frozen=True)
class Plan:
    """The sizes of what flows, known once fitted; no tensors.

    channels  names in ``Steps.values``; held: whether a channel's gap holds the last value (forward fill)
    targets   where each target's past stands in values; empty if the target is no input
    extras, static, future   names of the features in ``Steps.extras``, ``.static``, ``.future``
    length    steps of a full sequence where all have the same number, else None; horizon: rows predicted (0: none)
    outputs   number of targets; quantiles: outputs per target (1 unless quantiles are predicted)
    keys      channels that share the body (after PerChannel), else 1
    """

    channels: tuple[str, ...]
    held: tuple[bool, ...]
    targets: tuple[int, ...]
    extras: tuple[str, ...]
    static: tuple[str, ...]
    future: tuple[str, ...]
    length: int | None
    horizon: int
    outputs: int = 1
    quantiles: int = 1
    keys: int = 1
    per_step: bool = False
    applied: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Numbers per step that the body sees: values, extras and the static features repeated at each step."""
        return len(self.channels) + len(self.extras) + len(self.static)


@dataclass
class Steps:
    """What flows from the columns to the body. In an ONNX twin (`TwinSteps`) the fields hold tensor names.

    values (B, T, C) float32, scaled and filled; present (B, T, C) bool: real, neither missing nor padding;
    extras (B, T, E); static (B, S); future (B, H, F); lengths (B,) int64; key (B,) int64, the channel after PerChannel.
    Padded steps hold zeros in values and extras and False in present.
    """

    values: Tensor
    present: Tensor
    extras: Tensor
    static: Tensor
    future: Tensor
    lengths: Tensor
    key: Tensor | None = None

    def replace(self, **changes: Any) -> Self:
        """A copy with `changes`."""
        return replace(self, **changes)

    def real(self) -> Tensor:
        """(B, T) bool: which steps are no padding."""
        return torch.arange(self.values.shape[1], device=self.lengths.device) < self.lengths[:, None]


class TwinSteps(NamedTuple):
    """`Steps` in an ONNX graph: tensor names. `real` (B, T) bool tells steps from padding."""

    values: str
    present: str
    extras: str
    static: str
    future: str
    lengths: str
    real: str
    key: str | None = None


class Stage(nn.Module):
    """A step on the whole sequence, with its way back. One subclass, in one file, per stage.

    `options()` gives what the user chose, as in the constructor; with `kind` it is all that a file needs. Weights, if a
    stage has any, are made in `build`, after the fit.
    """

    kind: ClassVar[str]

    def options(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON values."""
        raise NotImplementedError

    def plan(self, plan: Plan) -> Plan:
        """What this stage makes of the sizes. Raises `StageError` for a wrong place, with an order that works."""
        raise NotImplementedError

    def build(self, plan: Plan) -> None:
        """Make the weights and buffers, given the sizes that come in."""

    def forward(self, steps: Steps) -> tuple[Steps, Any]:
        """Steps -> Steps, and a memo: what the way back needs."""
        raise NotImplementedError

    def back(self, y: Tensor, memo: Any) -> Tensor:
        """The way back of the network's output, y (B, H, K targets, Q) -> the same shape in the units that came in."""
        raise NotImplementedError

    def onnx(self, g: Graph, steps: TwinSteps) -> tuple[TwinSteps, Any]:
        """`forward` in a graph."""
        raise NotImplementedError

    def onnx_back(self, g: Graph, y: str, memo: Any) -> str:
        """`back` in a graph."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """What this stage does, for people: JSON values."""
        return {"stage": type(self).__name__, **self.options()}

    @classmethod
    def examples(cls) -> list[Self]:
        """Stages for the contract tests, one for each option that changes the computation."""
        raise NotImplementedError
