"""The contract of a body and of its decoder.

A body is what stands behind the input layer: it sees (batch, time, width) and the lengths, and gives one vector per
step that is to be predicted. Any `nn.Module` with this `forward` and an attribute `width` is one; `Body` is the base of
those that the package brings, which can also be saved and exported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from inputlayer.columns.base import Memory
from inputlayer.stages.base import Plan

if TYPE_CHECKING:
    from inputlayer.graph import Graph


class Body(nn.Module):
    """What reads the sequence. Weights are made in `build`, once the sizes are known.

    Attributes set by `build`: `width`, numbers per predicted step; `direct`, whether these already are the network's
    outputs, so that the head adds no projection.

    Shape: x (B, T, plan.width), lengths (B,) int64, future (B, H, F), key (B,) int64 or None -> (B, n, width), n being
    the horizon, T with a target per step, else 1. What stands at padded steps of x must not matter, and padded steps of
    the output are zero.
    """

    kind: ClassVar[str]
    width: int
    direct: bool = False

    def options(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON values."""
        raise NotImplementedError

    def build(self, plan: Plan, outputs: int) -> None:
        """Make the weights. `plan` is that after all stages, `outputs` the numbers wanted per predicted step."""
        raise NotImplementedError

    def forward(self, x: Tensor, lengths: Tensor, future: Tensor, key: Tensor | None = None) -> Tensor:
        """The sequence -> one vector per predicted step."""
        raise NotImplementedError

    def whole_only(self) -> str:
        """Why this body has to see the whole sequence at once, and what would not; nothing if `step` works."""
        return f"{type(self).__name__} keeps no state from row to row. Use il.LSTM or il.GRU"

    def begin(self, batch: int) -> Memory:
        """What `step` is given with the first row of each of `batch` sequences."""
        raise NotImplementedError

    def step(self, x: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """`forward` row by row, in eval mode: x (B, 1, plan.width) -> (B, 1, width) of the sequence so far, memory."""
        raise NotImplementedError

    def onnx(self, g: Graph, x: str, lengths: str, future: str, key: str | None, real: str) -> str:
        """`forward` in a graph, for at least one sample of at least one step; `real` (B, T) bool tells padding."""
        raise NotImplementedError

    def onnx_step(self, g: Graph, x: str, memory: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """`step` in a graph."""
        raise NotImplementedError

    @classmethod
    def examples(cls) -> list[Self]:
        """Bodies for the contract tests, one for each option that changes the computation."""
        raise NotImplementedError


class Decoder(nn.Module):
    """What a body uses to get from its last state to the steps of a horizon.

    `build` sets `width` and `direct` as `Body.build` does.

    Shape: state (B, W), future (B, H, F), key (B,) int64 or None -> (B, H, width).
    """

    kind: ClassVar[str]
    width: int
    direct: bool = False

    def options(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON values."""
        raise NotImplementedError

    def build(self, plan: Plan, state: int, outputs: int) -> None:
        """Make the weights for a state of `state` numbers."""
        raise NotImplementedError

    def forward(self, state: Tensor, future: Tensor, key: Tensor | None = None) -> Tensor:
        """The state and what is known ahead -> one vector per step of the horizon."""
        raise NotImplementedError

    def onnx(self, g: Graph, state: str, future: str, key: str | None) -> str:
        """`forward` in a graph."""
        raise NotImplementedError

    @classmethod
    def examples(cls) -> list[Self]:
        """Decoders for the contract tests, one for each option that changes the computation."""
        raise NotImplementedError


def twin_linear(g: Graph, x: str, linear: nn.Linear) -> str:
    """A linear layer in a graph, on the last axis of `x`."""
    y = g("MatMul", x, g.constant(linear.weight.detach().cpu().numpy().T.copy()))
    return y if linear.bias is None else g("Add", y, g.constant(linear.bias.detach().cpu().numpy()))


def real_steps(lengths: Tensor, steps: int) -> Tensor:
    """(B, steps) bool: which steps are no padding.

    >>> real_steps(torch.tensor([1, 2]), 2).tolist()
    [[True, False], [True, True]]
    """
    return torch.arange(steps, device=lengths.device) < lengths[:, None]
