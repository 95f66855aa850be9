"""Missing numbers: what stands in their place, that they were missing, and for how long. Torch, and its ONNX twin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from inputlayer.graph import Graph


@dataclass(frozen=True)
class Gap:
    """What one channel does about missing numbers.

    fill   what stands in their place, in scaled units; held: the last number seen in the sequence, `fill` before it
    flag   gives an extra, 1.0 where missing; since: gives an extra, log(1 + steps since a number was seen)
    clip   the largest size of what the body sees, in scaled units
    """

    name: str
    fill: float = 0.0
    held: bool = False
    flag: bool = False
    since: bool = False
    clip: float | None = None


class Filling(nn.Module):
    """Fills the missing numbers of all its channels at once, each within its own sequence.

    Shape: x (B, T, C), NaN where missing -> values (B, T, C) finite, present (B, T, C) bool, extras (B, T, E) or None:
    the missing flags, then the steps since. A step sees itself and earlier ones only. Where a channel has not been seen
    yet, the steps since are counted from the one before the sequence's first.

    >>> filling = Filling([Gap("load", fill=0.5, held=True, flag=True)])
    >>> values, present, extras = filling(torch.tensor([[[float("nan")], [2.0], [float("nan")]]]))
    >>> values.flatten().tolist(), extras.flatten().tolist()
    ([0.5, 2.0, 2.0], [1.0, 0.0, 1.0])
    """

    fill: Tensor
    limit: Tensor
    flagged: Tensor
    memory: Tensor
    hold: Tensor
    since: Tensor

    def __init__(self, gaps: Sequence[Gap]) -> None:
        super().__init__()
        remembered = [i for i, gap in enumerate(gaps) if gap.held or gap.since]
        buffers = {
            "fill": torch.tensor([gap.fill for gap in gaps], dtype=torch.float32),
            "limit": torch.tensor([gap.clip or float("inf") for gap in gaps], dtype=torch.float32),
            "flagged": _index(i for i, gap in enumerate(gaps) if gap.flag),
            "memory": _index(remembered),
            "hold": torch.tensor([gaps[i].held for i in remembered], dtype=torch.bool),
            "since": _index(k for k, i in enumerate(remembered) if gaps[i].since),
        }
        for name, buffer in buffers.items():
            # Made from the fitted state, so it is no part of the weights that a file holds.
            self.register_buffer(name, buffer, persistent=False)
        self.holds, self.clips = any(gap.held for gap in gaps), any(gap.clip for gap in gaps)
        self.extras = (
            *(f"{gap.name} missing" for gap in gaps if gap.flag),
            *(f"{gap.name} since" for gap in gaps if gap.since),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """x (B, T, C) -> values, present, extras."""
        present = ~torch.isnan(x)
        values = torch.where(present, x, self.fill)
        extras = [(~present[..., self.flagged]).to(x.dtype)] if len(self.flagged) else []
        if len(self.memory):
            # Of 32 bits, because a running maximum of 64 takes four times as long.
            steps = torch.arange(x.shape[1], device=x.device, dtype=torch.int32)[:, None]
            last = torch.where(present.index_select(-1, self.memory), steps, -1).cummax(dim=1).values
            if self.holds:
                earlier = x.index_select(-1, self.memory).gather(1, last.clamp(min=0).long())
                held = torch.where((last >= 0) & self.hold, earlier, values.index_select(-1, self.memory))
                values = values.index_copy(-1, self.memory, held)
            if len(self.since):
                extras.append(torch.log1p((steps - last.index_select(-1, self.since)).to(x.dtype)))
        if self.clips:
            values = torch.minimum(torch.maximum(values, -self.limit), self.limit)
        return values, present, torch.cat(extras, dim=-1) if extras else None

    def begin(self, batch: int) -> tuple[Tensor, ...]:
        """What `step` is given with the first row: for channels that remember, the last number seen and the steps since
        then, (batch, M) each."""
        if not len(self.memory):
            return ()
        device = self.memory.device
        never = torch.full((batch, len(self.memory)), torch.nan, device=device)
        return never, torch.zeros(never.shape, dtype=torch.int32, device=device)

    def step(
        self, x: Tensor, memory: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor, Tensor, Tensor | None], tuple[Tensor, ...]]:
        """`forward` row by row: x (B, 1, C) and the memory of the rows before -> what it gives, and the next memory."""
        if not len(self.memory):
            return self(x), ()
        last, since = memory
        now = x[:, 0, self.memory]
        seen = ~torch.isnan(now)
        last, since = torch.where(seen, now, last), torch.where(seen, 0, since + 1)
        # A number held looks like one that is there: what is missing is told by the row itself.
        values = x.index_copy(-1, self.memory, torch.where(seen | self.hold, last, now)[:, None])
        values = torch.where(torch.isnan(values), self.fill, values)
        extras = [torch.isnan(x[..., self.flagged]).to(x.dtype)] if len(self.flagged) else []
        if len(self.since):
            extras.append(torch.log1p(since[:, None, self.since].to(x.dtype)))
        if self.clips:
            values = torch.minimum(torch.maximum(values, -self.limit), self.limit)
        return (values, ~torch.isnan(x), torch.cat(extras, dim=-1) if extras else None), (last, since)

    def onnx(self, g: Graph, x: str) -> tuple[str, str, str | None]:
        """`forward` in a graph."""
        present = g("Not", g("IsNaN", x))
        values = g("Where", present, x, _constant(g, self.fill))
        extras = []
        if len(self.flagged):
            missing = g("Not", g("Gather", present, _constant(g, self.flagged), axis=2))
            extras.append(g.cast(missing, np.float32))
        if len(self.memory):
            steps, last = self._onnx_last(g, present)
            if self.holds:
                values = self._onnx_hold(g, x, values, last)
            if len(self.since):
                ago = g("Sub", steps, g("Gather", last, _constant(g, self.since), axis=2))
                extras.append(g("Log", g("Add", g.cast(ago, np.float32), g.constant(1.0))))
        if self.clips:
            values = g("Min", g("Max", values, _constant(g, -self.limit)), _constant(g, self.limit))
        return values, present, g("Concat", *extras, axis=2) if extras else None

    def onnx_step(self, g: Graph, x: str, memory: Sequence[str]) -> tuple[tuple[str, str, str | None], tuple[str, ...]]:
        """`step` in a graph."""
        if not len(self.memory):
            return self.onnx(g, x), ()
        last, since = memory
        one, at = g.constant([1]), _constant(g, self.memory)
        now = g("Gather", g("Squeeze", x, one), at, axis=1)
        seen = g("Not", g("IsNaN", now))
        zero, more = g.constant(0, np.int32), g("Add", since, g.constant(1, np.int32))
        last, since = g("Where", seen, now, last), g("Where", seen, zero, more)
        held = g("Unsqueeze", g("Where", g("Or", seen, _constant(g, self.hold)), last, now), one)
        values = g("Gather", g("Concat", x, held, axis=2), self._onnx_places(g), axis=2)
        values = g("Where", g("IsNaN", values), _constant(g, self.fill), values)
        extras = []
        if len(self.flagged):
            extras.append(g.cast(g("IsNaN", g("Gather", x, _constant(g, self.flagged), axis=2)), np.float32))
        if len(self.since):
            ago = g.cast(g("Gather", since, _constant(g, self.since), axis=1), np.float32)
            extras.append(g("Unsqueeze", g("Log", g("Add", ago, g.constant(1.0))), one))
        if self.clips:
            values = g("Min", g("Max", values, _constant(g, -self.limit)), _constant(g, self.limit))
        marks = g("Concat", *extras, axis=2) if extras else None
        return (values, g("Not", g("IsNaN", x)), marks), (last, since)

    def _onnx_last(self, g: Graph, present: str) -> tuple[str, str]:
        """The steps (T, 1), and (B, T, memory) the step a number was last seen at, -1 before the first.

        There is no running maximum in ONNX. The k-th number seen writes its step into slot k; each step reads the slot
        of how many were seen so far. Slot 0 takes the missing ones and holds -1.
        """
        here = g("Gather", present, _constant(g, self.memory), axis=2)
        seen = g("CumSum", g.cast(here, np.int64), g.constant(1))
        size = g("Shape", here)
        length = g("Gather", size, g.constant(1))
        steps = g("Unsqueeze", g("Range", g.constant(0), length, g.constant(1)), g.constant([1]))
        slots = g("ConstantOfShape", g("Add", size, g.constant([0, 1, 0])), value=np.array([-1]))
        marks = g("Where", here, steps, g.constant(-1))
        slots = g("ScatterElements", slots, seen, marks, axis=1, reduction="max")
        return steps, g("GatherElements", slots, seen, axis=1)

    def _onnx_hold(self, g: Graph, x: str, values: str, last: str) -> str:
        memory = _constant(g, self.memory)
        earlier = g("GatherElements", g("Gather", x, memory, axis=2), g("Max", last, g.constant(0)), axis=1)
        known = g("And", g("GreaterOrEqual", last, g.constant(0)), _constant(g, self.hold))
        held = g("Where", known, earlier, g("Gather", values, memory, axis=2))
        return g("Gather", g("Concat", values, held, axis=2), self._onnx_places(g), axis=2)

    def _onnx_places(self, g: Graph) -> str:
        """Where each channel is found, with the channels that remember once more behind all."""
        place = np.arange(len(self.fill))
        place[self.memory.cpu().numpy()] = len(place) + np.arange(len(self.memory))
        return g.constant(place)


def _index(places: Iterable[int]) -> Tensor:
    return torch.tensor(list(places), dtype=torch.int64)


def _constant(g: Graph, buffer: Tensor) -> str:
    return g.constant(buffer.cpu().numpy())
