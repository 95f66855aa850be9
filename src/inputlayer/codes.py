"""Codes of a vocabulary, and their embedding: what is missing, what was never seen, and the values that were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

MISSING, UNSEEN, FIRST = 0, 1, 2
"""The codes of a missing and of an unseen or rare value; those of the vocabulary count from FIRST."""


class CodeTable(nn.Embedding):
    """An embedding of codes: zeros for a missing value; for an unseen one what the average training value has.

    That is the mean of the other rows, weighted by how often each stands in training (`counts`), plus the unseen's own
    row, which starts at zero. So it says nothing until something is known, and then only what rare values taught.

    Shape: codes (...) int32 -> (..., width).
    """

    share: Tensor

    def __init__(self, counts: Sequence[int], width: int, spread: float) -> None:
        super().__init__(FIRST + len(counts), width, padding_idx=MISSING)
        share = torch.tensor(counts, dtype=torch.float64)
        # What was learnt by counting, so it is no part of the weights that are saved.
        self.register_buffer("share", (share / share.sum()).float(), persistent=False)
        with torch.no_grad():
            self.weight.normal_(std=spread)
            self.weight[:FIRST] = 0

    def mean(self) -> Tensor:
        """What an unseen value adds to its own row, (width,)."""
        return torch.mv(self.weight[FIRST:].T, self.share)

    def forward(self, codes: Tensor) -> Tensor:
        """Codes -> their embeddings."""
        return super().forward(codes) + (codes == UNSEEN).unsqueeze(-1) * self.mean()

    def constant(self) -> np.ndarray:
        """The whole table for a graph, (codes, width), the mean already added to the row of the unseen."""
        with torch.no_grad():
            table = self.weight.clone()
            table[UNSEEN] += self.mean()
        return np.asarray(table.cpu().numpy())
