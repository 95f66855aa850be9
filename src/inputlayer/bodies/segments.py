"""Segments: the horizon in pieces, all at once, each from one more step of a recurrent cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from inputlayer.bodies.base import Decoder, twin_linear
from inputlayer.sequence.base import positive
from inputlayer.stages.base import Plan

if TYPE_CHECKING:
    from inputlayer.graph import Graph


class Segments(Decoder):
    """One step of a recurrent cell per segment of the horizon, each from the body's state; none waits for another.

    Parameters
    ----------
    size
        Steps of a segment. Where it does not divide the horizon, the last segment is cut.

    Notes
    -----
    What the cell reads for a segment is a learnt code of the segment's place, one of the channel (behind `PerChannel`),
    each half as wide as the state, and the known columns of the segment's steps. One linear layer, the same for all
    segments, turns each new state into `size` steps: its weights do not grow with the horizon.

    Shape: state (B, W), future (B, H, F) -> (B, H, outputs).

    References
    ----------
    Lin et al. 2023, "SegRNN: segment recurrent neural network for long-term time series forecasting" (its parallel
    decoding; here the cell has weights of its own).

    Examples
    --------
    >>> plan = Plan(("load",), (False,), (0,), (), (), ("holiday",), length=48, horizon=30)
    >>> decoder = Segments(24)
    >>> decoder.build(plan, state=8, outputs=1)
    >>> decoder(torch.zeros(2, 8), torch.zeros(2, 30, 1)).shape
    torch.Size([2, 30, 1])
    """

    kind: ClassVar[str] = "segments"
    direct = True

    def __init__(self, size: int) -> None:
        super().__init__()
        positive("size", size)
        self.size = size

    def options(self) -> dict[str, Any]:
        return {"size": self.size}

    def build(self, plan: Plan, state: int, outputs: int) -> None:
        self.width, self._horizon = outputs, plan.horizon
        self._count = -(-plan.horizon // self.size)
        self._short = self._count * self.size - plan.horizon
        half, gates = max(1, state // 2), 3 * state
        self.places = nn.Parameter(torch.randn(self._count, half))
        self.channels = nn.Parameter(torch.randn(plan.keys, half)) if plan.keys > 1 else None
        self.of_codes = nn.Linear(half if self.channels is None else 2 * half, gates)
        self.of_future = nn.Linear(self.size * len(plan.future), gates, bias=False) if plan.future else None
        self.of_state = nn.Linear(state, gates)
        self.steps = nn.Linear(state, self.size * outputs)

    def _code_gates(self) -> Tensor:
        """What the codes put into the gates, (keys, segments, gates)."""
        codes = self.places[None]
        if self.channels is not None:
            keys, half = self.channels.shape
            codes = torch.cat([codes.expand(keys, -1, -1), self.channels[:, None].expand(-1, self._count, half)], -1)
        gates: Tensor = self.of_codes(codes)
        return gates

    def forward(self, state: Tensor, future: Tensor, key: Tensor | None = None) -> Tensor:
        given = self._code_gates()
        given = given if self.channels is None else given[key]
        if self.of_future is not None:
            padded = torch.cat([future, future.new_zeros(len(future), self._short, future.shape[2])], 1)
            given = given + self.of_future(padded.reshape(len(future), self._count, -1))
        reset, update, new = given.chunk(3, -1)
        h = state[:, None]
        h_reset, h_update, h_new = self.of_state(h).chunk(3, -1)
        update = torch.sigmoid(update + h_update)
        after = (1 - update) * torch.tanh(new + torch.sigmoid(reset + h_reset) * h_new) + update * h
        y: Tensor = self.steps(after)
        return y.reshape(len(state), -1, self.width)[:, : self._horizon]

    def onnx(self, g: Graph, state: str, future: str, key: str | None) -> str:
        given = g.constant(self._code_gates().detach().cpu().numpy())
        if self.channels is not None and key is not None:
            given = g("Gather", given, key, axis=0)
        if self.of_future is not None:
            pads = g.constant([0, 0, 0, 0, self._short, 0])
            ahead = g("Reshape", g("Pad", future, pads), g.constant([0, self._count, self.of_future.in_features]))
            given = g("Add", given, twin_linear(g, ahead, self.of_future))
        h = g("Unsqueeze", state, g.constant([1]))
        reset, update, new = g("Split", given, outputs=3, axis=-1, num_outputs=3)
        h_reset, h_update, h_new = g("Split", twin_linear(g, h, self.of_state), outputs=3, axis=-1, num_outputs=3)
        update = g("Sigmoid", g("Add", update, h_update))
        fresh = g("Tanh", g("Add", new, g("Mul", g("Sigmoid", g("Add", reset, h_reset)), h_new)))
        after = g("Add", g("Mul", g("Sub", g.constant(1.0), update), fresh), g("Mul", update, h))
        y = g("Reshape", twin_linear(g, after, self.steps), g.constant([0, self._count * self.size, self.width]))
        return g("Slice", y, g.constant([0]), g.constant([self._horizon]), g.constant([1])) if self._short else y

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(2), cls(3)]
