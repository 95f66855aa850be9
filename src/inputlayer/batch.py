"""Batches: the wires of many sequences at once, right-padded, with lengths; one gather each, no Python per sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from inputlayer.columns.base import DType
from inputlayer.encode import Encoded
from inputlayer.fit import Fitted
from inputlayer.sequence.base import positive

_POOL = 64  # batches whose sequences are sorted by length together


@dataclass
class Batch:
    """B sequences, padded at the end to the longest, T steps.

    steps {wire: (B, T, *entry)}; future {wire: (B, H, *entry)}; static {wire: (B, *entry)}; lengths (B,) int64;
    target (B, n, K) float32 scaled, or int64 class index (-1: a class that training never saw); real (B, n, K) bool:
    the target has a value; n is the horizon, 1, or T for per-step targets. weight (B,) float32 or None; index (B,) the
    sequences' numbers; full: no step is padding.
    """

    steps: dict[str, Tensor]
    future: dict[str, Tensor]
    static: dict[str, Tensor]
    lengths: Tensor
    index: Tensor
    full: bool
    target: Tensor | None = None
    real: Tensor | None = None
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device | str) -> Self:
        """The same batch on `device`."""
        moved: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                moved[f.name] = value.to(device, non_blocking=True)
            elif isinstance(value, dict):
                moved[f.name] = {k: v.to(device, non_blocking=True) for k, v in value.items()}
        return replace(self, **moved)


class Batches:
    """An iterable of `Batch` over encoded sequences.

    Parameters
    ----------
    encoded, fitted
        What `encode` gave, and with what.
    size
        Sequences per batch; the last may be smaller.
    shuffle
        Whether the order is drawn anew each epoch. It depends on `seed` and the epoch only. Sequences of uneven length
        are put together by length, so that little padding is needed, within pools of `pool` batches. `Batch.index` says
        which sequence each one is.
    targets
        Whether batches carry targets.
    """

    def __init__(
        self,
        encoded: Encoded,
        fitted: Fitted,
        size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        targets: bool = True,
        pool: int = _POOL,
    ) -> None:
        positive("size", size)
        self.encoded, self.schema, self.size = encoded, fitted.schema, size
        self.shuffle, self.seed, self.targets, self.epoch, self.pool = shuffle, seed, targets, 0, pool
        index = self.index = encoded.index
        self.uneven = bool(len(index)) and int(index.length.min()) < int(index.length.max())
        self.weight = torch.from_numpy(encoded.weight) if encoded.weight is not None else None
        self._wires = {
            place: [w for n in names for w in encoded.names[n]]
            for place, names in (
                ("steps", self.schema.steps),
                ("future", self.schema.future),
                ("static", self.schema.static),
                ("target", self.schema.targets if targets else ()),
            )
        }
        self._unbound = {place: self._mostly_single(wires) for place, wires in self._wires.items()}
        self.horizon = self.schema.horizon
        # One gather fetches look-back and horizon together where every window is whole and its target follows it.
        self.whole = (
            not encoded.ragged
            and not self.uneven
            and bool(len(index))
            and (not self.horizon or bool((index.ahead == index.start + index.length).all()))
            and self.schema.sequence.kind == "windows"
        )
        self.span = int(index.length[0]) + self.horizon if self.whole else 0
        self.views = {d: _windows(a, self.span) for d, a in encoded.packed.items() if a.shape[1]} if self.whole else {}

    def __len__(self) -> int:
        return -(-len(self.index) // self.size)

    @property
    def sequences(self) -> int:
        """How many sequences there are."""
        return len(self.index)

    @property
    def length(self) -> Tensor:
        """Steps of each sequence, (S,)."""
        return torch.from_numpy(np.ascontiguousarray(self.index.length))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration takes."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        for chosen in self.order():
            yield self.gather(chosen)

    def order(self) -> tuple[Tensor, ...]:
        """The numbers of the sequences of each batch, in the order of this epoch."""
        count = len(self.index)
        if not count:
            return ()
        draw = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        order = torch.randperm(count, generator=draw) if self.shuffle else torch.arange(count)
        if not self.uneven:
            return torch.split(order, self.size)
        length, pool = self.index.length, self.size * self.pool
        pools = np.split(order.numpy(), range(pool, count, pool))
        ordered = [torch.from_numpy(p[np.argsort(length[p], kind="stable")]) for p in pools]
        batches = [b for p in ordered for b in torch.split(p, self.size)]
        if self.shuffle:
            batches = [batches[i] for i in torch.randperm(len(batches), generator=draw).tolist()]
        return tuple(batches)

    def _mostly_single(self, wires: Sequence[str]) -> set[DType]:
        """The dtypes whose packed rows are mostly wires of a single number, of those asked for."""
        slots = [self.encoded.slots[w] for w in wires if w in self.encoded.slots]
        count = Counter(slot.dtype for slot in slots if not slot.shape)
        return {d for d, n in count.items() if 2 * n >= self.encoded.packed[d].shape[1]}

    def padding(self) -> float:
        """The share of steps that are padding, over one epoch."""
        if not self.uneven:
            return 0.0
        length = self.length
        held = sum(int(length[b].max()) * len(b) for b in self.order())
        return 1.0 - int(length.sum()) / held

    def gather(self, chosen: Tensor) -> Batch:
        """The batch of the sequences numbered `chosen`, (B,) int64."""
        at, index = chosen.numpy(), self.index
        parts = (index.start, index.length, index.ahead)
        start, length, ahead = (a[at].astype(np.int64, copy=False) for a in parts)
        batch = self._even(start, length) if self.whole else self._uneven(start, length, ahead)
        batch.index = chosen
        batch.static = self._at("static", ahead, None)
        batch.weight = self.weight[torch.from_numpy(ahead)] if self.weight is not None else None
        if not self.targets:
            batch.target = batch.real = None
        return batch

    def _even(self, start: np.ndarray, length: np.ndarray) -> Batch:
        steps, span, count = self.span - self.horizon, self.span, len(start)
        fetched = {d: torch.from_numpy(v[start]).view(count, span, v.shape[1] // span) for d, v in self.views.items()}
        past = {d: rows[:, :steps] for d, rows in fetched.items()}
        ahead = {d: rows[:, steps if self.horizon else steps - 1 :] for d, rows in fetched.items()}
        lengths = torch.from_numpy(length)
        batch = Batch(self._cut(past, "steps"), self._cut(ahead, "future"), {}, lengths, lengths, True)
        self._add_target(batch, self._cut(ahead, "target"), None)
        return batch

    def _cut(self, rows: Mapping[DType, Tensor], place: str) -> dict[str, Tensor]:
        """The wires of `place` from packed rows {dtype: (..., width)}: {wire: (..., *entry)}, all views."""
        # Unbound at once where most of a row is single numbers: many small slices would be most of a batch's time.
        single = {d: part.unbind(-1) for d, part in rows.items() if d in self._unbound[place]}
        found: dict[str, Tensor] = {}
        for wire in self._wires[place]:
            slot = self.encoded.slots.get(wire)
            if slot is None:
                continue
            if slot.shape:
                part = rows[slot.dtype][..., slot.start : slot.stop]
                found[wire] = part.reshape(*part.shape[:-1], *slot.shape)
            else:
                whole = single.get(slot.dtype)
                found[wire] = rows[slot.dtype][..., slot.start] if whole is None else whole[slot.start]
        return found

    # NumPy, not PyTorch: at the size of a batch its calls cost less, and they wake no threads.

    def _uneven(self, start: np.ndarray, length: np.ndarray, ahead: np.ndarray) -> Batch:
        # At least one step, so that a body also takes a batch of sequences without any.
        longest = max(1, int(length.max(initial=0)))
        place = np.arange(longest)
        padded = place >= length[:, None]
        at = start[:, None] + place  # padding is overwritten, whatever is read there
        full = not padded.any()
        steps = self._at("steps", at, None if full else padded)
        future = self._at("future", ahead[:, None] + np.arange(self.horizon), None)
        lengths = torch.from_numpy(length)
        batch = Batch(steps, future, {}, lengths, lengths, full)
        if self._wires["target"]:
            count = self.encoded.index.targets
            rows = ahead[:, None] + np.arange(count) if count else at
            self._add_target(batch, self._at("target", rows, None), None if count else padded)
        return batch

    def _at(self, place: str, at: np.ndarray, padded: np.ndarray | None) -> dict[str, Tensor]:
        """The wires of `place` at rows `at` (...): {wire: (..., *entry)}, overwritten where `padded` (...)."""
        slots, given = self.encoded.slots, self._wires[place]
        if not given:
            return {}
        dtypes = {slots[w].dtype for w in given if w in slots}
        found = self._cut({d: _taken(self.encoded.packed[d], at, padded) for d in dtypes}, place)
        for wire in given:
            if wire in slots:
                continue
            if place == "steps" and self.schema.sequence.steps_column is not None:
                found[wire] = _taken(self.encoded.ragged[wire].flat, at, padded)
            else:
                found |= self._pooled(wire, at, padded)
        return found

    def _pooled(self, wire: str, at: np.ndarray, padded: np.ndarray | None) -> dict[str, Tensor]:
        """Whole cells at rows `at` (...): their entries (..., L, *entry), right-padded, and how many (...)."""
        flat, offsets = self.encoded.ragged[wire].flat, self.encoded.ragged[wire].offsets
        first = offsets.take(at, mode="clip")
        count = offsets.take(at + 1, mode="clip") - first
        if padded is not None:
            count[padded] = 0
        place = np.arange(max(1, int(count.max(initial=0))))
        beyond = place >= count[..., None]
        entries = _taken(flat, first[..., None] + place, beyond)
        return {wire: entries, f"{wire}.lengths": torch.from_numpy(count)}

    def _add_target(self, batch: Batch, wires: dict[str, Tensor], padded: np.ndarray | None) -> None:
        if not wires:
            return
        stacked = torch.stack(list(wires.values()), dim=-1)
        if stacked.dtype == torch.float32:
            batch.target, batch.real = stacked, stacked == stacked  # NaN: missing
        else:
            first = self.schema.columns[self.schema.targets[0]].first_class
            codes = stacked.long()
            batch.target, batch.real = (codes - first).clamp_min(-1), codes > 0
        if padded is not None:
            batch.real = batch.real & torch.from_numpy(~padded)[..., None]


def _taken(rows: np.ndarray, at: np.ndarray, padded: np.ndarray | None) -> Tensor:
    """`rows` (N, *entry) at `at` (...): (..., *entry), overwritten where `padded` (...), whose `at` may be any."""
    # Padding is written as what "missing" looks like: masked by the lengths, and harmless where it is not.
    blank = np.nan if rows.dtype == np.float32 else 0
    if not len(rows):  # every cell is empty
        return torch.from_numpy(np.zeros((*at.shape, *rows.shape[1:]), rows.dtype))
    taken = rows.take(at, axis=0, mode="clip")
    if padded is not None:
        np.copyto(taken, blank, where=padded.reshape(padded.shape + (1,) * (taken.ndim - padded.ndim)))
    return torch.from_numpy(taken)


def _windows(packed: np.ndarray, span: int) -> np.ndarray:
    """(N, width) -> (N - span + 1, span * width): a view, whose rows overlap in memory.

    Taking rows of it copies those windows and no others. NumPy does it in one thread, which at the size of a batch is
    faster than PyTorch's index_select whenever the cores have other work.
    """
    rows, width = packed.shape
    stride = packed.strides[1]
    shape, strides = (rows - span + 1, span * width), (width * stride, stride)
    return np.lib.stride_tricks.as_strided(packed, shape, strides, writeable=False)
