"""`il.keras.dataset`: a table as batches that Keras trains on."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from torch import Tensor

from inputlayer.batch import Batch, Batches
from inputlayer.errors import Problem, TableError
from inputlayer.layer import InputLayer


def dataset(
    layer: InputLayer, table: Any, size: int = 64, *, shuffle: bool = False, seed: int = 0, context: Any = ()
) -> Sequences:
    """The sequences of `table` as a `keras.utils.PyDataset` of (wires, target) or (wires, target, weight).

    Parameters
    ----------
    layer
        A fitted `il.InputLayer`; the one of a reloaded model is its ``il.keras.InputLayer.layer``.
    table, size, shuffle, seed, context
        As for `il.InputLayer.batches`.

    Returns
    -------
    Sequences
        Wires alone where the table has no targets.

    Raises
    ------
    TableError
        With every problem of the table, and if no sequence has a whole target.
    """
    return Sequences(layer.batches(table, size, shuffle=shuffle, seed=seed, context=context))


class Sequences(keras.utils.PyDataset):
    """Batches for Keras.

    wires: {name: array}, steps (B, T, *entry), static columns (B, *entry), ``"sequence.length"`` (B,) int32.
    target, in scaled units (float32) or class numbers (int32), K targets: (B, horizon), or (B, horizon, K) if K > 1;
    (B, K) where nothing lies ahead; (B, T, K) where each step has its own. weight, where the schema has a weight or not
    all targets are there: (B,), or (B, T) where each step has a target. Keras knows no weight of a single step ahead,
    so a sequence that misses one of them weighs 0, as does one of a class that training never saw.

    `index` (S,) int64 says which sequence each one is, in the order in which `predict` gives them.
    """

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self._batches, self._epoch = batches, 0
        self._per_step = not batches.encoded.index.targets
        self._weighted = batches.targets and _weighted(batches)
        self._chosen = batches.order()

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def index(self) -> np.ndarray:
        """The numbers of the sequences, (S,) int64, in their order in this epoch."""
        chosen = [np.asarray(c) for c in self._chosen]
        return np.concatenate(chosen) if chosen else np.zeros(0, np.int64)

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch."""
        self._epoch += 1
        self._batches.set_epoch(self._epoch)
        self._chosen = self._batches.order()

    def __getitem__(self, at: int) -> tuple[Any, ...]:
        """Batch number `at` of this epoch."""
        batch = self._batches.gather(self._chosen[at])
        longest = next(iter(batch.steps.values())).shape[1]
        steps = _grown(longest, at) if self._batches.uneven else longest
        wires = {"sequence.length": batch.lengths.numpy().astype(np.int32)}
        for name, wire in batch.static.items():
            wires[name] = self._cells(_wire(wire), 1, at) if f"{name}.lengths" in batch.static else _wire(wire)
        for name, wire in batch.steps.items():
            array = _padded(_wire(wire), 1, steps)
            wires[name] = self._cells(array, 2, at) if f"{name}.lengths" in batch.steps else array
        if batch.target is None:
            return (wires,)
        return (wires, *self._target(batch, steps))

    def _cells(self, array: np.ndarray, axis: int, at: int) -> np.ndarray:
        """Whole cells, whose longest differs from batch to batch."""
        return _padded(array, axis, _grown(array.shape[axis], at))

    def _target(self, batch: Batch, steps: int) -> tuple[np.ndarray, ...]:
        assert batch.target is not None
        assert batch.real is not None
        target, real = _wire(batch.target), batch.real.numpy()
        if target.dtype == np.int32:
            real = real & (target >= 0)
        target = np.where(real, target, np.zeros((), target.dtype))
        whole = np.asarray(real.all(axis=-1) if self._per_step else real.all(axis=(1, 2)))
        given = batch.weight.numpy() if batch.weight is not None else np.ones(len(batch), np.float32)
        weight = np.where(whole, given[:, None] if self._per_step else given, np.float32(0))
        if self._per_step:
            target, weight = _padded(target, 1, steps, 0), _padded(weight, 1, steps, 0)
        elif not self._batches.horizon:
            target = target[:, 0]
        elif target.shape[-1] == 1:
            target = target[..., 0]
        return (target, weight) if self._weighted else (target,)


def _weighted(batches: Batches) -> bool:
    """Whether some sequence weighs more than another, or some step of one."""
    schema, encoded, index = batches.schema, batches.encoded, batches.encoded.index
    per_step = not index.targets
    real = np.ones(encoded.rows.count, bool)
    for name in schema.targets:
        (wire,) = encoded.column(name).values()
        assert isinstance(wire, np.ndarray)
        real &= ~np.isnan(wire) if wire.dtype == np.float32 else wire >= schema.columns[name].first_class
    before = np.concatenate([[0], np.cumsum(real)])
    count = index.length if per_step else np.full(len(index), index.targets)
    found = before[index.ahead + count] - before[index.ahead]
    if not (found if per_step else found == count).any():
        what = "no sequence has all of its target, so that there is nothing to train on or to evaluate"
        raise TableError([Problem(what, column=", ".join(schema.targets), remedy="Fill its gaps first.")])
    return bool((found < count).any()) or batches.weight is not None or (per_step and batches.uneven)


def _wire(tensor: Tensor) -> np.ndarray:
    """As NumPy; whole numbers of 32 bits, since JAX has no others unless told so."""
    found: np.ndarray = tensor.numpy()
    return found.astype(np.int32) if found.dtype == np.int64 else found


def _grown(size: int, at: int) -> int:
    """The length to which batch number `at` is padded, at least `size`.

    JAX and TensorFlow compile a model anew for each shape, so few lengths are used: four in each doubling. TensorFlow
    takes a length for fixed that the first two batches share, so neighbours differ.
    """
    backend = keras.backend.backend()
    if backend == "torch":
        return size
    grain = max(1, 1 << max(0, size.bit_length() - 3))
    size = -(-size // grain) * grain
    return size + (size + at) % 2 if backend == "tensorflow" else size


def _padded(array: np.ndarray, axis: int, size: int, fill: float | None = None) -> np.ndarray:
    """`array` with `axis` padded at its end to `size`, by what a missing value looks like or by `fill`."""
    if array.shape[axis] == size:
        return array
    more = [(0, size - n if i == axis else 0) for i, n in enumerate(array.shape)]
    missing = np.nan if array.dtype.kind == "f" else 0
    return np.pad(array, more, constant_values=missing if fill is None else fill)
