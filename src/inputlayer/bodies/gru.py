"""GRU: as the LSTM, with one state and a quarter fewer weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from inputlayer.bodies.recurrent import Recurrent
from inputlayer.columns.base import Memory


class GRU(Recurrent):
    """Gated recurrent unit.

    Parameters
    ----------
    units, layers, bidirectional, dropout, reduce, decoder
        As in `LSTM`.

    Notes
    -----
    Weights are PyTorch's initial ones, uniform within 1 / sqrt(units). Padding never counts.

    Shape: x (B, T, F) -> (B, H, outputs) with a horizon, (B, T, units * directions) with a target per step, else
    (B, 1, units * directions).

    References
    ----------
    Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder for statistical machine translation".

    Examples
    --------
    >>> import torch
    >>> from inputlayer.stages.base import Plan
    >>> body = GRU(8)
    >>> body.build(Plan(("load",), (False,), (0,), ("hour",), (), (), length=48, horizon=24), outputs=1)
    >>> body(torch.zeros(2, 48, 2), torch.tensor([48, 30]), torch.zeros(2, 24, 0)).shape
    torch.Size([2, 24, 1])
    """

    kind: ClassVar[str] = "gru"
    cell: ClassVar[Callable[..., nn.RNNBase]] = nn.GRU
    op: ClassVar[str] = "GRU"
    gates: ClassVar[tuple[int, ...]] = (1, 0, 2)  # PyTorch: reset, update, new; ONNX: update, reset, new
    op_options: ClassVar[dict[str, Any]] = {"linear_before_reset": 1}
    states: ClassVar[int] = 1

    def move(self, x: Tensor, state: Memory, weights: list[Tensor]) -> Memory:
        return (torch.gru_cell(x, state[0], *weights),)
