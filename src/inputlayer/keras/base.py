"""The contract of a kind's Keras half: constants and first weights from its torch module, the rest in keras.ops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from inputlayer.columns.base import ColumnModule

KerasTensors = Mapping[str, Any]  # by wire name; Keras has no type of its own for what its backends compute with


class KerasPart(NamedTuple):
    """What the columns of one kind give: values (B, T, C), extras (B, T, E); None where a kind has none."""

    values: Any = None
    extras: Any = None


class Half:
    """All columns of one kind that share a role, as `ColumnModule` is on the torch side.

    Built from the torch module, so that what was learnt is read in one place only; `names` are its columns. Subclasses
    hold NumPy constants, name their trainable weights in `start`, and compute in ``__call__``.
    """

    def __init__(self, module: ColumnModule, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def start(self) -> list[np.ndarray]:
        """The trainable weights, as the torch module has them."""
        return []

    @property
    def random(self) -> bool:
        """Whether training changes the wires at random."""
        return False

    def drop(self, wires: KerasTensors, seed: Any) -> KerasTensors:
        """The wires as training has them; `seed` is a keras.random.SeedGenerator."""
        return wires

    def __call__(self, wires: KerasTensors, weights: Sequence[Any]) -> KerasPart:
        """Wires (B, T, *entry) and the layer's weights, in the order of `start` -> KerasPart."""
        raise NotImplementedError


def array(tensor: Tensor) -> np.ndarray:
    """A copy of a torch tensor, so that training the one leaves the other alone."""
    return np.array(tensor.detach().cpu().numpy())
