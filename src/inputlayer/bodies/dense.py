"""Dense: all steps of the horizon at once, from the last state and everything known ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from inputlayer.bodies.base import Decoder, twin_linear
from inputlayer.stages.base import Plan

if TYPE_CHECKING:
    from inputlayer.graph import Graph


class Dense(Decoder):
    """One linear layer from the state, joined with all known columns of the horizon, to every step's outputs.

    Notes
    -----
    Each step of the horizon has weights of its own and sees the known columns of all of them: their number grows with
    the horizon squared times the known features.

    Shape: state (B, W), future (B, H, F) -> (B, H, outputs), by weights of (W + H * F) * H * outputs.

    Examples
    --------
    >>> plan = Plan(("load",), (False,), (0,), (), (), ("holiday",), length=48, horizon=24)
    >>> decoder = Dense()
    >>> decoder.build(plan, state=8, outputs=1)
    >>> decoder(torch.zeros(2, 8), torch.zeros(2, 24, 1)).shape
    torch.Size([2, 24, 1])
    """

    kind: ClassVar[str] = "dense"
    direct = True

    def options(self) -> dict[str, Any]:
        return {}

    def build(self, plan: Plan, state: int, outputs: int) -> None:
        self.width = outputs
        self._horizon, self._ahead = plan.horizon, plan.horizon * len(plan.future)
        self.linear = nn.Linear(state + self._ahead, plan.horizon * outputs)

    def forward(self, state: Tensor, future: Tensor, key: Tensor | None = None) -> Tensor:
        joined = torch.cat([state, future.flatten(1)], 1) if self._ahead else state
        y: Tensor = self.linear(joined)
        return y.view(-1, self._horizon, self.width)

    def onnx(self, g: Graph, state: str, future: str, key: str | None) -> str:
        if self._ahead:
            state = g("Concat", state, g("Reshape", future, g.constant([-1, self._ahead])), axis=1)
        y = twin_linear(g, state, self.linear)
        return g("Reshape", y, g.constant([-1, self._horizon, self.width]))

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls()]
