"""Recursive: the horizon step by step, each step being read for the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from inputlayer.bodies.base import Decoder, twin_linear
from inputlayer.stages.base import Plan

if TYPE_CHECKING:
    from inputlayer.graph import Graph

_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_GATES = (0, 3, 1, 2)  # PyTorch: input, forget, cell, output; ONNX: input, output, forget, cell


class Recursive(Decoder):
    """A second LSTM over the horizon that begins with the body's state and reads its own forecast of the step before.

    Notes
    -----
    At each step it reads its forecast of the step before (at the first, what it makes of the body's state), the step's
    place in the horizon, from 0 to 1, a learnt code of the channel (behind `PerChannel`), and the step's known columns.

    A forecast is a linear function of the state. Reading it therefore is the same as other recurrent weights, by which
    the whole horizon is one call of the fused LSTM, in training too, and one node of a graph.

    Shape: state (B, W), future (B, H, F) -> (B, H, outputs).

    References
    ----------
    Sutskever et al. 2014, "Sequence to sequence learning with neural networks".

    Examples
    --------
    >>> plan = Plan(("load",), (False,), (0,), (), (), ("holiday",), length=48, horizon=24)
    >>> decoder = Recursive()
    >>> decoder.build(plan, state=8, outputs=1)
    >>> decoder(torch.zeros(2, 8), torch.zeros(2, 24, 1)).shape
    torch.Size([2, 24, 1])
    """

    kind: ClassVar[str] = "recursive"
    direct = True

    def options(self) -> dict[str, Any]:
        return {}

    def build(self, plan: Plan, state: int, outputs: int) -> None:
        self.width, self._horizon, self._known = outputs, plan.horizon, bool(plan.future)
        half = max(1, state // 2) if plan.keys > 1 else 0
        self.channels = nn.Parameter(torch.randn(plan.keys, half)) if half else None
        self.cell = nn.LSTM(1 + half + len(plan.future), state, batch_first=True)
        self.of_forecast = nn.Linear(outputs, 4 * state, bias=False)
        self.forecast = nn.Linear(state, outputs)

    def _weights(self) -> list[Tensor]:
        """The cell's weights, with the way of the forecast into the next step among the recurrent ones."""
        w, r, b_ih, b_hh = (self.cell.get_parameter(f"{name}_l0") for name in _NAMES)
        read = self.of_forecast.weight
        weights = [w, r + read @ self.forecast.weight, b_ih, b_hh + read @ self.forecast.bias]
        # One after the other in memory, where a GPU wants them.
        flat = torch.split(torch.cat([x.flatten() for x in weights]), [x.numel() for x in weights])
        return [x.view_as(like) for x, like in zip(flat, weights, strict=True)]

    def _place(self) -> Tensor:
        return torch.arange(self._horizon, device=self.forecast.weight.device)[None, :, None] / max(
            self._horizon - 1, 1
        )

    def forward(self, state: Tensor, future: Tensor, key: Tensor | None = None) -> Tensor:
        parts = [self._place().expand(len(state), -1, 1), future]
        if self.channels is not None:
            parts.append(self.channels[key][:, None].expand(-1, self._horizon, -1))
        start = state[None].contiguous()
        after = torch.lstm(
            torch.cat(parts, -1), (start, start), self._weights(), True, 1, 0.0, self.training, False, True
        )
        y: Tensor = self.forecast(after[0])
        return y

    def onnx(self, g: Graph, state: str, future: str, key: str | None) -> str:
        first, zero = g.constant([0]), g.constant([1])
        place = g.constant(self._place().cpu().numpy())
        batch = g("Shape", state, start=0, end=1)
        shape = g("Concat", batch, g.constant([self._horizon, 1]), axis=0)
        parts = [g("Expand", place, shape)]
        if self._known:
            parts.append(future)
        if self.channels is not None and key is not None:
            codes = g("Unsqueeze", g("Gather", g.constant(self.channels.detach().cpu().numpy()), key), zero)
            shape = g("Concat", batch, g.constant([self._horizon, self.channels.shape[1]]), axis=0)
            parts.append(g("Expand", codes, shape))
        x = g("Transpose", g("Concat", *parts, axis=2), perm=[1, 0, 2])
        w, r, b_ih, b_hh = (self._gated(t) for t in self._weights())
        start, biases = g("Unsqueeze", state, first), g.constant(np.concatenate([b_ih, b_hh], 1))
        given = (x, g.constant(w), g.constant(r), biases, None, start, start)
        after, _ = g("LSTM", *given, outputs=2, hidden_size=self.cell.hidden_size)
        after = g("Transpose", g("Squeeze", after, g.constant([1])), perm=[1, 0, 2])
        return twin_linear(g, after, self.forecast)

    def _gated(self, weight: Tensor) -> np.ndarray:
        gates = np.split(weight.detach().cpu().numpy(), 4)
        return np.concatenate([gates[i] for i in _GATES])[None]

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls()]
