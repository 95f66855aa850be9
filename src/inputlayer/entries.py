"""Entries of a cell made one vector: frames of a sound, steps of a series."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from inputlayer.graph import Graph


class MeanEntry(nn.Module):
    """A layer over each entry, ReLU, and the mean over a cell's entries; zeros for a cell without any.

    Shape: entries (B, T, L, `given`), lengths (B, T) -> (B, T, `width`). What stands behind a cell's length is not
    looked at, and may be NaN.
    """

    def __init__(self, given: int, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(given, width)

    def forward(self, entries: Tensor, lengths: Tensor) -> Tensor:
        """Entries and lengths -> one vector per cell."""
        counts = lengths.unsqueeze(-1)
        real = (torch.arange(entries.shape[2], device=entries.device) < counts).unsqueeze(-1)
        made = torch.relu(self.layer(entries.where(real, 0.0))) * real
        return made.sum(dim=2) / counts.clamp_min(1)

    def onnx(self, g: Graph, entries: str, lengths: str) -> str:
        """The same, in a graph."""
        counts = g("Unsqueeze", lengths, g.constant([-1]))
        place = g("Range", g.constant(0), g("Gather", g("Shape", entries), g.constant(2), axis=0), g.constant(1))
        real = g("Unsqueeze", g("Less", place, counts), g.constant([-1]))
        weight, bias = (self.layer.get_parameter(n).detach().cpu().numpy() for n in ("weight", "bias"))
        given = g("Where", real, entries, g.constant(0.0))
        made = g("Relu", g("Add", g("MatMul", given, g.constant(weight.T.copy())), g.constant(bias)))
        total = g("ReduceSum", g("Where", real, made, g.constant(0.0)), g.constant([2]), keepdims=0)
        return g("Div", total, g.cast(g("Max", counts, g.constant(1)), np.float32))
