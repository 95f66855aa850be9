"""What a comparison keeps of a model: its losses on the test part, summed by blocks of sequences."""

from __future__ import annotations

from typing import Any

import numpy as np

from inputlayer.batch import Batch
from inputlayer.encode import Encoded
from inputlayer.heads import Classes
from inputlayer.intervals import Measure, even_blocks, time_blocks
from inputlayer.layer import InputLayer
from inputlayer.network import Network, classes
from inputlayer.prediction import truth
from inputlayer.schema import Schema
from inputlayer.sequence import Windows


def measure(layer: InputLayer) -> Measure:
    """The score that models behind `layer` are compared by: that of the verdict of `Model.evaluate`.

    >>> from inputlayer.columns import Number
    >>> measure(InputLayer(Schema({"load": Number()}, Windows("day", 14, 2), "load"))).name
    'rmse'
    """
    targets = layer.schema.targets
    if classes(layer):
        return Measure("accuracy", "share of what is predicted", higher=True)
    if len(targets) > 1:
        return Measure("mse_standardised", "squares of the targets' spread in training")
    return Measure("rmse", f"in the unit of {targets[0]}", root=True)


def blocks_of(encoded: Encoded, schema: Schema) -> np.ndarray:
    """The block of each test sequence, (S,): neighbours in time for windows, else neighbours in the table."""
    index, order = encoded.index, encoded.rows.order
    if isinstance(schema.sequence, Windows) and order is not None:
        return time_blocks(order[index.ahead], index.series, schema.horizon)
    return even_blocks(np.arange(len(index)))


class Tally:
    """Losses and counts of target steps, by block and target (B, K), summed as batches come."""

    def __init__(self, network: Network, encoded: Encoded, blocks: np.ndarray) -> None:
        self.network, self.encoded, self.blocks = network, encoded, blocks
        layer = network.layer
        states: list[Any] = [layer.learnt.states[t] for t in layer.schema.targets]
        alone = classes(layer) or len(states) == 1
        self.scale = np.ones(1) if alone else np.array([s.spread for s in states]) ** 2
        self.losses = np.zeros((int(blocks.max(initial=-1)) + 1, len(states)))
        self.counts = np.zeros_like(self.losses)

    def add(self, y: np.ndarray, batch: Batch, *, point: bool = False) -> None:
        """Count a batch: `y` (B, n, K, Q) in raw units, or probabilities (B, n, 1, C); `point`: Q is 1."""
        true, head = truth(self.network, self.encoded, batch), self.network.head
        if isinstance(head, Classes):
            assert batch.real is not None
            real = batch.real.cpu().numpy()
            loss = (y[:, :, 0].argmax(axis=-1)[..., None] == true) & real
        else:
            real = ~np.isnan(true)
            quantiles = None if point else getattr(head, "quantiles", None)
            chosen = y[..., quantiles.index(0.5) if quantiles else 0]
            loss = np.where(real, chosen - true, 0.0) ** 2 / self.scale
        at = self.blocks[batch.index.cpu().numpy()]
        np.add.at(self.losses, at, loss.sum(axis=1))
        np.add.at(self.counts, at, real.sum(axis=1))
