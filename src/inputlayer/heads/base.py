"""The contract of a head: what turns a body's vectors into the target, and the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from inputlayer.bodies.base import twin_linear
from inputlayer.stages.base import Plan

if TYPE_CHECKING:
    from inputlayer.graph import Graph


class Head(nn.Module):
    """A body's vectors -> the target's numbers, and what they cost.

    `per_target` is how many numbers it gives per target and step: the Q of its output.

    Shape: h (B, n, width) -> (B, n, K targets, Q). The loss takes y after the stages' way back.
    """

    kind: ClassVar[str]

    @property
    def per_target(self) -> int:
        """Numbers per target and step."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON values."""
        raise NotImplementedError

    def build(self, width: int, direct: bool, plan: Plan) -> None:
        """Make the weights for a body of `width`; none if it is `direct`. `plan` is that after all stages."""
        self._shape = (plan.outputs, self.per_target)
        numbers = plan.outputs * self.per_target
        self.linear = None if direct else nn.Linear(width, numbers)

    def forward(self, h: Tensor) -> Tensor:
        """h (B, n, width) -> (B, n, K, Q)."""
        y = h if self.linear is None else self.linear(h)
        return y.reshape(*y.shape[:2], *self._shape)

    def loss(self, y: Tensor, target: Tensor, real: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean cost of the real entries, weighted; 0 if there is none.

        Shape: y (B, n, K, Q), target (B, n, K), real (B, n, K) bool, weight (B,) -> scalar. What stands in target where
        real is False does not matter, NaN included.
        """
        raise NotImplementedError

    def onnx(self, g: Graph, h: str) -> str:
        """`forward` in a graph."""
        y = h if self.linear is None else twin_linear(g, h, self.linear)
        return g("Reshape", y, g.constant([0, 0, *self._shape]))

    @classmethod
    def examples(cls) -> list[Self]:
        """Heads for the contract tests, one for each option that changes the computation."""
        raise NotImplementedError


def complete(real: Tensor) -> bool:
    """Whether it is certain that every entry is real: then masks can be left out, which is a tenth of a small step.

    On an accelerator the look would make the host wait for the device, so there nothing is certain.
    """
    return real.device.type == "cpu" and bool(real.all()) and real.numel() > 0


def weighted_mean(cost: Tensor, real: Tensor, weight: Tensor | None, share: Tensor | None = None) -> Tensor:
    """The mean of `cost` (B, n, K) over the entries that are `real`, weighted by sample (B,) and by entry (B, n, K).

    >>> weighted_mean(torch.tensor([[[1.0]], [[5.0]]]), torch.tensor([[[True]], [[False]]]), None).item()
    1.0
    """
    shares = real.to(cost.dtype)
    if weight is not None:
        shares = shares * weight[:, None, None]
    if share is not None:
        shares = shares * share
    total = shares.sum()
    # Where nothing counts the sum above the line is 0 as well, and keeps its path to the weights.
    return (torch.where(real, cost, 0.0) * shares).sum() / torch.where(total > 0, total, 1.0)
