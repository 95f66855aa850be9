"""The Keras half of each kind: the same numbers as the kind's torch module, in keras.ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from inputlayer.codes import FIRST, MISSING, UNSEEN
from inputlayer.columns.base import wire_name
from inputlayer.keras.base import Half, KerasPart, KerasTensors, array
from inputlayer.number_embeddings import REACH
from inputlayer.times import DAY, SECOND, circles

_LATER = 2**30  # beyond any step


class Numbers(Half):
    """Number and Series: fills gaps, marks them, counts the steps since, clips. See `filling.Filling`."""

    def __init__(self, module: Any, names: Sequence[str]) -> None:
        super().__init__(module, names)
        filling = module.filling
        self.fill, self.limit = array(filling.fill), array(filling.limit)
        self.flagged, self.memory, self.since = array(filling.flagged), array(filling.memory), array(filling.since)
        self.hold, self.holds, self.clips = array(filling.hold), filling.holds, filling.clips
        # Where each channel's filled value stands, once the held ones are put behind all channels.
        self.place = np.arange(len(self.fill))
        self.place[self.memory] = len(self.fill) + np.arange(len(self.memory))

    def __call__(self, wires: KerasTensors, weights: Sequence[Any]) -> KerasPart:
        """Numbers (B, T) or (B, T, channels), NaN where missing -> values, and extras if any channel has them."""
        each = [wires[wire_name(name, "")] for name in self.names]
        each = [x if len(x.shape) == 3 else ops.expand_dims(x, -1) for x in each]
        x = ops.concatenate(each, axis=-1)
        present = ops.logical_not(ops.isnan(x))
        values = ops.where(present, x, ops.cast(self.fill, x.dtype))
        extras = []
        if len(self.flagged):
            extras.append(1 - ops.cast(ops.take(present, self.flagged, axis=-1), x.dtype))
        if len(self.memory):
            steps, last = self._last(present)
            if self.holds:
                values = self._held(x, values, last)
            if len(self.since):
                extras.append(ops.log1p(ops.cast(steps - ops.take(last, self.since, axis=-1), x.dtype)))
        if self.clips:
            limit = ops.cast(self.limit, x.dtype)
            values = ops.minimum(ops.maximum(values, -limit), limit)
        return KerasPart(values, ops.concatenate(extras, axis=-1) if extras else None)

    def _last(self, present: Any) -> tuple[Any, Any]:
        """The steps (B, T, memory), and at each of them the step a number was last seen at, -1 before the first.

        Keras has no running maximum. The steps with a number, sorted to the front, are read at how many there were.
        """
        here = ops.take(present, self.memory, axis=-1)
        steps = ops.cumsum(ops.ones_like(here, dtype="int32"), axis=1) - 1
        seen = ops.cumsum(ops.cast(here, "int32"), axis=1)
        front = ops.sort(ops.where(here, steps, _LATER), axis=1)
        last = ops.take_along_axis(front, ops.maximum(seen - 1, 0), axis=1)
        return steps, ops.where(seen > 0, last, -1)

    def _held(self, x: Any, values: Any, last: Any) -> Any:
        earlier = ops.take_along_axis(ops.take(x, self.memory, axis=-1), ops.maximum(last, 0), axis=1)
        known = ops.logical_and(last >= 0, ops.convert_to_tensor(self.hold))
        held = ops.where(known, earlier, ops.take(values, self.memory, axis=-1))
        return ops.take(ops.concatenate([values, held], axis=-1), self.place, axis=-1)


class EmbeddedNumbers(Numbers):
    """Number: as above, then embeddings of what that gives. See `number_embeddings.Embeddings`."""

    def __init__(self, module: Any, names: Sequence[str]) -> None:
        super().__init__(module, names)
        self.periodic = [
            (array(p.at), [array(w) for w in (p.frequency, p.weight, p.bias)]) for p in module.embeddings.periodic
        ]
        bins = module.embeddings.piecewise
        self.bins = None if bins is None else (array(bins.at), array(bins.low), array(bins.width))

    def start(self) -> list[np.ndarray]:
        """Frequencies, weight and bias of the periodic embeddings of each size."""
        return [weight for _, weights in self.periodic for weight in weights]

    def __call__(self, wires: KerasTensors, weights: Sequence[Any]) -> KerasPart:
        """The same values, and the embeddings among the extras."""
        values, marks = super().__call__(wires, weights)
        extras = [] if marks is None else [marks]
        for i, (at, _) in enumerate(self.periodic):
            extras.append(_periodic(ops.take(values, at, axis=-1), *weights[3 * i : 3 * i + 3]))
        if self.bins is not None:
            at, low, width = self.bins
            extras.append(ops.clip((ops.take(values, at, axis=-1) - low) / width, 0.0, 1.0))
        return KerasPart(values, ops.concatenate(extras, axis=-1) if extras else None)


class Embedded(Half):
    """Category: an embedding per column.

    The row of a missing value is zero, and stays it. An unseen one is the mean of the others, weighted by their
    frequency in training, plus an offset.
    """

    def __init__(self, module: Any, names: Sequence[str]) -> None:
        super().__init__(module, names)
        self.tables = [array(table.weight) for table in module.tables]
        self.share = [array(table.share) for table in module.tables]

    def start(self) -> list[np.ndarray]:
        """An embedding per column."""
        return self.tables

    def __call__(self, wires: KerasTensors, weights: Sequence[Any]) -> KerasPart:
        """Codes (B, T) -> extras (B, T, sum of widths)."""
        each = zip(self.names, weights, strict=True)
        return KerasPart(extras=ops.concatenate([self.look_up(n, wires, w) for n, w in each], axis=-1))

    def look_up(self, name: str, wires: KerasTensors, table: Any) -> Any:
        """Codes (...) of one column -> their embeddings (..., width)."""
        codes = wires[wire_name(name, "")]
        table = ops.convert_to_tensor(table)
        share = ops.cast(self.share[self.names.index(name)], table.dtype)
        mean = ops.matmul(ops.expand_dims(share, 0), table[FIRST:])[0]
        own = ops.take(table, codes, axis=0) * _marks(codes != MISSING, table)
        return own + _marks(codes == UNSEEN, table) * mean


class Tokens(Embedded):
    """Text whose tokens are the steps. In training a share of them is dropped, which makes them unseen."""

    def __init__(self, module: Any, names: Sequence[str]) -> None:
        super().__init__(module, names)
        self.dropouts = dict(zip(self.names, module.dropouts, strict=True))

    @property
    def random(self) -> bool:
        """Whether any column drops tokens."""
        return any(self.dropouts.values())

    def drop(self, wires: KerasTensors, seed: Any) -> KerasTensors:
        """The wires, some tokens dropped."""
        changed = dict(wires)
        for name, share in self.dropouts.items():
            codes = wires[wire_name(name, "")]
            lost = keras.random.uniform(ops.shape(codes), dtype="float32", seed=seed) < share
            changed[wire_name(name, "")] = ops.where(ops.logical_and(lost, codes != MISSING), UNSEEN, codes)
        return changed


class PooledText(Tokens):
    """Text as one vector per cell: the mean of its tokens' embeddings, zeros where missing; then the missing flags."""

    def __init__(self, module: Any, names: Sequence[str]) -> None:
        super().__init__(module, names)
        self.flagged = [self.names[i] for i in module.flagged]

    def __call__(self, wires: KerasTensors, weights: Sequence[Any]) -> KerasPart:
        """Codes (B, T, L), 0 where padded -> extras (B, T, sum of widths + flags)."""
        parts, counts = [], {}
        for name, table in zip(self.names, weights, strict=True):
            marks = _marks(wires[wire_name(name, "")] != MISSING, table)
            counts[name] = ops.sum(marks, axis=2)
            total = ops.sum(self.look_up(name, wires, table), axis=2)
            parts.append(total / ops.maximum(counts[name], 1))
        flags = [ops.cast(counts[name] == 0, parts[0].dtype) for name in self.flagged]
        return KerasPart(extras=ops.concatenate([*parts, *flags], axis=-1))


class Flags(Half):
    """Flag: -1 for false, +1 for true, 0 for missing; then a 1 for missing, of the columns that had any in training."""

    def __init__(self, module: Any, names: Sequence[str]) -> None:
        super().__init__(module, names)
        self.gaps = array(module.gaps)

    def __call__(self, wires: KerasTensors, weights: Sequence[Any]) -> KerasPart:
        """Codes (B, T) -> extras (B, T, columns + columns with gaps)."""
        codes = ops.stack([ops.cast(wires[wire_name(name, "")], "float32") for name in self.names], axis=-1)
        missing = ops.cast(codes == MISSING, "float32")
        extras = [(1 - missing) * (2 * codes - 3)]
        if len(self.gaps):
            extras.append(ops.take(missing, self.gaps, axis=-1))
        return KerasPart(extras=ops.concatenate(extras, axis=-1))


class Times(Half):
    """Timestamp: calendar parts on circles, the time since the step before, a flag for missing."""

    def __init__(self, module: Any, names: Sequence[str]) -> None:
        super().__init__(module, names)
        self.states = dict(module.states)
        self.circles = {name: circles(state.parts) for name, state in self.states.items()}

    def __call__(self, wires: KerasTensors, weights: Sequence[Any]) -> KerasPart:
        """Wires (B, T, ...) -> extras (B, T, E)."""
        made = []
        for name, state in self.states.items():
            if state.parts:
                table, offsets = self.circles[name]
                index = wires[wire_name(name, "parts")] + ops.convert_to_tensor(offsets, dtype="int32")
                made += [ops.take(table, index[..., part], axis=0) for part in range(len(state.parts))]
            if state.unit:
                made.append(ops.expand_dims(_elapsed(wires[wire_name(name, "time")], state.unit), -1))
            if state.missing:
                made.append(ops.expand_dims(ops.cast(wires[wire_name(name, "missing")], "float32"), -1))
        return KerasPart(extras=ops.concatenate(made, axis=-1) if made else None)


class Vectors(Half):
    """Vector: zeros where missing; then the flags, of the columns that missed any in training."""

    def __init__(self, module: Any, names: Sequence[str]) -> None:
        super().__init__(module, names)
        self.flagged = list(module.flagged)

    def __call__(self, wires: KerasTensors, weights: Sequence[Any]) -> KerasPart:
        """Vectors (B, T, size) -> extras (B, T, sum of sizes + flags)."""
        given = {name: wires[wire_name(name, "")] for name in self.names}
        parts = [ops.where(ops.isnan(x), ops.zeros_like(x), x) for x in given.values()]
        flags = [ops.cast(ops.isnan(given[name][..., :1]), parts[0].dtype) for name in self.flagged]
        return KerasPart(extras=ops.concatenate([*parts, *flags], axis=-1))


def _marks(mask: Any, like: Any) -> Any:
    """A mask (...) as numbers (..., 1)."""
    return ops.expand_dims(ops.cast(mask, like.dtype), -1)


def _periodic(x: Any, frequency: Any, weight: Any, bias: Any) -> Any:
    """Numbers (B, T, columns) -> their periodic embeddings side by side, (B, T, columns * size)."""
    turns = 2 * np.pi * ops.convert_to_tensor(frequency)
    angle = ops.expand_dims(ops.clip(x, -REACH, REACH), -1) * turns
    waves = ops.concatenate([ops.sin(angle), ops.cos(angle)], axis=-1)
    made = ops.relu(ops.einsum("btck,cks->btcs", waves, ops.convert_to_tensor(weight)) + ops.convert_to_tensor(bias))
    return ops.reshape(made, (*ops.shape(made)[:2], made.shape[2] * made.shape[3]))


def _elapsed(time: Any, unit: int) -> Any:
    """``log1p(gap / unit)`` (B, T) of the wire `time` (B, T, 3): day, second of the day (-1: missing), microsecond.

    JAX has no integers of 64 bits unless told so. So the difference is carried in three of 32, exactly, as one does on
    paper: none but the days can end below zero, and then the time goes back, which counts as no time.
    """
    gap = time[:, 1:] - time[:, :-1]
    borrow = ops.cast(gap[..., 2] < 0, "int32")
    micro, second = gap[..., 2] + SECOND * borrow, gap[..., 1] - borrow
    borrow = ops.cast(second < 0, "int32")
    second, day = second + DAY // SECOND * borrow, gap[..., 0] - borrow
    whole = sum(
        ops.cast(x, "float32") * scale for x, scale in ((day, float(DAY)), (second, float(SECOND)), (micro, 1.0))
    )
    known = ops.logical_and(ops.minimum(time[:, 1:, 1], time[:, :-1, 1]) >= 0, day >= 0)
    waited = ops.log1p(ops.where(known, whole, ops.zeros_like(whole)) / float(unit))
    first = ops.zeros_like(time[:, :1, 0], dtype="float32")
    return ops.concatenate([first, waited], axis=1)


HALVES: dict[str, type[Half]] = {
    "number": EmbeddedNumbers,
    "category": Embedded,
    "flag": Flags,
    "timestamp": Times,
    "series": Numbers,
    "text": Tokens,
    "vector": Vectors,
}
"""The Keras half of each kind that has one, by its name in files."""

POOLED: dict[str, type[Half]] = {"text": PooledText}
"""The same for cells of several entries that are no steps."""
