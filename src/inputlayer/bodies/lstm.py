"""LSTM: the body that the package is named for."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from inputlayer.bodies.recurrent import Recurrent
from inputlayer.columns.base import Memory


class LSTM(Recurrent):
    """Long short-term memory.

    Parameters
    ----------
    units
        Size of the state, per layer and direction.
    layers
        Layers on top of each other.
    bidirectional
        Whether each layer also reads the sequence from its end, by its own length.
    dropout
        Share of what each layer hands on that is set to zero in training: to the next layer, and from the last layer to
        the decoder or the head (after `reduce`).
    reduce
        How the steps become one state: ``"last"`` (what None stands for), the final state of each direction;
        ``"mean"``, ``"max"`` or ``"attention"`` over all real steps. With a target per step there is no reduce, and
        naming one is an error.
    decoder
        How the state becomes the steps of a horizon: `Dense` (what None stands for), `Segments` or `Recursive`. Without
        a horizon there is none, and giving one is an error.

    Notes
    -----
    Weights are PyTorch's initial ones, uniform within 1 / sqrt(units). Padding never counts.

    Shape: x (B, T, F) -> (B, H, outputs) with a horizon, (B, T, units * directions) with a target per step, else
    (B, 1, units * directions).

    References
    ----------
    Hochreiter and Schmidhuber 1997, "Long short-term memory".

    Examples
    --------
    >>> import torch
    >>> from inputlayer.stages.base import Plan
    >>> body = LSTM(8, bidirectional=True)
    >>> body.build(Plan(("load",), (False,), (0,), ("hour",), (), (), length=48, horizon=24), outputs=1)
    >>> body(torch.zeros(2, 48, 2), torch.tensor([48, 30]), torch.zeros(2, 24, 0)).shape
    torch.Size([2, 24, 1])
    """

    kind: ClassVar[str] = "lstm"
    cell: ClassVar[Callable[..., nn.RNNBase]] = nn.LSTM
    op: ClassVar[str] = "LSTM"
    gates: ClassVar[tuple[int, ...]] = (
        0,
        3,
        1,
        2,
    )  # PyTorch: input, forget, cell, output; ONNX: input, output, forget, cell
    states: ClassVar[int] = 2

    def move(self, x: Tensor, state: Memory, weights: list[Tensor]) -> Memory:
        return torch.lstm_cell(x, state, *weights)
