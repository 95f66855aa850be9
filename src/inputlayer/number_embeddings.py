"""Embeddings of single numbers: several inputs made of one, so that a network can bend where the number does.

After Gorishniy, Rubachev and Babenko 2022, "On embeddings for numerical features in tabular deep learning". x is the
scaled number, gaps filled:

    periodic    ReLU(W [sin(2 pi c x), cos(2 pi c x)] + b); the frequencies c, W and b are learnt, each column its own
    piecewise   for each bin from low to high: 0 below it, 1 above it, (x - low) / (high - low) inside

Torch, and the ONNX twin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from inputlayer.graph import Graph
    from inputlayer.scales import Scale
    from inputlayer.statistics import Sample

EmbeddingName = Literal["periodic", "piecewise"]
# A number farther out than this is taken as this far: its angle stays finite, and means nothing anyway.
REACH = 1e4


@dataclass(frozen=True)
class Embedded:
    """How the number of one channel is embedded.

    name, channel  of the column, and where it stands in values; size: inputs of a periodic embedding
    sigma          standard deviation that its frequencies are drawn with, in turns per scaled unit
    edges          of the bins of a piecewise one, rising, in scaled units; none if it is periodic
    """

    name: str
    channel: int
    size: int = 0
    sigma: float = 0.0
    edges: tuple[float, ...] = ()


def quantile_edges(sample: Sample, scale: Scale, bins: int) -> tuple[float, ...]:
    """The edges of at most `bins` bins that hold about as many training numbers each, rising, in scaled units.

    Values that many rows share make fewer bins; a constant column has none, and no edges.

    >>> from inputlayer.scales import Scale
    >>> from inputlayer.statistics import Sample
    >>> sample = Sample.of(np.array([0.0, 1.0, 2.0, 7.0, 100.0]), np.arange(5))
    >>> quantile_edges(sample, Scale("none"), 2)
    (0.0, 2.0, 100.0)
    """
    if not len(sample.values):
        return ()
    edges = np.unique(scale.forward(sample.quantiles(np.linspace(0.0, 1.0, bins + 1))))
    return tuple(edges.tolist()) if len(edges) > 1 else ()


class Periodic(nn.Module):
    """Channels with periodic embeddings of one size, each with weights of its own.

    The frequencies are drawn from N(0, sigma); as many of them as the embedding is wide.

    Shape: values (B, T, C) -> (B, T, channels * size).
    """

    at: Tensor

    def __init__(self, columns: Sequence[Embedded]) -> None:
        super().__init__()
        count, size = len(columns), columns[0].size
        self.register_buffer("at", torch.tensor([c.channel for c in columns]), persistent=False)
        sigmas = torch.tensor([[c.sigma] for c in columns])
        bound = (2 * size) ** -0.5  # as nn.Linear draws
        self.frequency = nn.Parameter(torch.randn(count, size) * sigmas)
        self.weight = nn.Parameter(torch.empty(count, 2 * size, size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(count, size).uniform_(-bound, bound))
        self.names = tuple(f"{c.name} periodic {i + 1}" for c in columns for i in range(size))

    def forward(self, values: Tensor) -> Tensor:
        """values (B, T, C) -> (B, T, E)."""
        x = values.index_select(-1, self.at).clamp(-REACH, REACH)
        angle = x.unsqueeze(-1) * (2 * math.pi * self.frequency)
        waves = torch.cat([angle.sin(), angle.cos()], dim=-1)
        return torch.relu(torch.einsum("btck,cks->btcs", waves, self.weight) + self.bias).flatten(-2)

    def onnx(self, g: Graph, values: str) -> str:
        """`forward` in a graph."""
        with torch.no_grad():
            turns = (2 * math.pi * self.frequency).cpu().numpy()
        x = g("Clip", g("Gather", values, _constant(g, self.at), axis=2), g.constant(-REACH), g.constant(REACH))
        angle = g("Mul", g("Unsqueeze", x, g.constant([3])), g.constant(turns))
        waves = g("Concat", g("Sin", angle), g("Cos", angle), axis=3)
        made = g("Einsum", waves, _constant(g, self.weight), equation="btck,cks->btcs")
        made = g("Relu", g("Add", made, _constant(g, self.bias)))
        return g("Reshape", made, g.constant([0, 0, len(self.names)]))


class Piecewise(nn.Module):
    """The bins of all channels that have any; nothing is trained.

    The paper goes on linearly below the first bin and above the last. Here both end at 0 and 1, so that an outlier
    stays small; how far out it lies, the scaled number beside the embedding tells.

    Shape: values (B, T, C) -> (B, T, bins of all channels).
    """

    at: Tensor
    low: Tensor
    width: Tensor

    def __init__(self, columns: Sequence[Embedded]) -> None:
        super().__init__()
        bins = [(c.channel, *pair) for c in columns for pair in zip(c.edges, c.edges[1:], strict=False)]
        low = torch.tensor([low for _, low, _ in bins])
        high = torch.tensor([high for _, _, high in bins])
        # Made from the fitted state, so they are no part of the weights that a file holds.
        self.register_buffer("at", torch.tensor([channel for channel, _, _ in bins]), persistent=False)
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("width", high - low, persistent=False)
        self.names = tuple(f"{c.name} bin {i + 1}" for c in columns for i in range(len(c.edges) - 1))

    def forward(self, values: Tensor) -> Tensor:
        """values (B, T, C) -> (B, T, E)."""
        return ((values.index_select(-1, self.at) - self.low) / self.width).clamp(0, 1)

    def onnx(self, g: Graph, values: str) -> str:
        """`forward` in a graph."""
        above = g("Sub", g("Gather", values, _constant(g, self.at), axis=2), _constant(g, self.low))
        return g("Clip", g("Div", above, _constant(g, self.width)), g.constant(0.0), g.constant(1.0))


class Embeddings(nn.Module):
    """All embeddings of a module's channels: the periodic ones by size, then the bins. `extras` are their names.

    Shape: values (B, T, C) -> (B, T, E), or None if no channel has an embedding.

    >>> embeddings = Embeddings([Embedded("load", 0, edges=(0.0, 1.0, 3.0))])
    >>> embeddings(torch.tensor([[[0.5], [2.0], [9.0]]]))
    tensor([[[0.5000, 0.0000],
             [1.0000, 0.5000],
             [1.0000, 1.0000]]])
    >>> embeddings.extras
    ('load bin 1', 'load bin 2')
    """

    def __init__(self, columns: Sequence[Embedded]) -> None:
        super().__init__()
        by_size: dict[int, list[Embedded]] = {}
        for column in columns:
            if column.size:
                by_size.setdefault(column.size, []).append(column)
        binned = [c for c in columns if c.edges]
        self.periodic = nn.ModuleList(Periodic(same) for same in by_size.values())
        self.piecewise = Piecewise(binned) if binned else None
        self.extras = tuple(name for part in self._parts() for name in part.names)

    def _parts(self) -> list[Periodic | Piecewise]:
        parts = [p for p in self.periodic if isinstance(p, Periodic)]
        return [*parts, *([] if self.piecewise is None else [self.piecewise])]

    def forward(self, values: Tensor) -> Tensor | None:
        """values (B, T, C) -> (B, T, E)."""
        made = [part(values) for part in self._parts()]
        return torch.cat(made, dim=-1) if made else None

    def onnx(self, g: Graph, values: str) -> str | None:
        """`forward` in a graph."""
        made = [part.onnx(g, values) for part in self._parts()]
        return g("Concat", *made, axis=2) if made else None


def _constant(g: Graph, tensor: Tensor) -> str:
    return g.constant(tensor.detach().cpu().numpy())
