"""The tensors on the road through an input layer, each known by its shape and a few numbers over many batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from inputlayer.stages.base import Steps
from inputlayer.statistics import Moments

WIRES, COLUMNS, JOINED, BODY = 0, 1, 1_000, 1_001
"""How far along the road a tensor is; the stages count on from the columns."""

Watch = Callable[[int, str, str, Tensor, Tensor | None, Tensor | None], None]
"""Given the arguments of `Road.add` for each tensor of each batch."""


@dataclass
class Line:
    """What is known of one tensor of the road, over all batches of the sample."""

    batch: int = 0
    sizes: tuple[int, ...] = ()
    moments: Moments = field(default_factory=Moments)
    count: int = 0
    missing: int | None = None
    broken: int = 0

    def add(self, x: Tensor, real: Tensor | None, present: Tensor | None) -> None:
        """One batch, x (B, ...); only steps where `real` (B, T) is set count, and what is not `present` is missing."""
        self.batch += len(x)
        self.sizes = tuple(max(s) for s in zip(x.shape[1:], self.sizes or x.shape[1:], strict=True))
        cells = (x if real is None else x[real]).double().flatten().cpu().numpy()
        gone = np.zeros(len(cells), dtype=bool)
        if present is not None:
            gone = ~(present if real is None else present[real]).flatten().cpu().numpy()
            self.missing = (self.missing or 0) + int(gone.sum())
        finite = np.isfinite(cells)
        self.count += len(cells)
        self.broken += int((~finite & ~gone).sum())
        self.moments = self.moments.merge(Moments.of(cells[finite]))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: None where nothing counted."""
        m = self.moments
        some = m.count > 0
        return {
            "shape": [self.batch, *self.sizes],
            "min": m.minimum if some else None,
            "max": m.maximum if some else None,
            "mean": m.mean if some else None,
            "spread": m.spread if some else None,
            "missing": self.missing / self.count if self.missing is not None and self.count else None,
            "not_finite": self.broken,
        }


@dataclass
class Road:
    """The tensors of the way by (step of the way, name of the step, part)."""

    sequences: int
    padding: float
    tensors: dict[tuple[int, str, str, str], Line] = field(default_factory=dict)
    classes: np.ndarray | None = None
    likely: np.ndarray | None = None
    watch: Watch | None = None

    def add(self, at: int, what: str, part: str, x: Tensor, real: Tensor | None, present: Tensor | None = None) -> None:
        """One batch of the tensor called `part` of `what`; see `Line.add`."""
        if self.watch is not None:
            self.watch(at, what, part, x, real, present)
        key = (at, what, part, str(x.dtype).removeprefix("torch."))
        self.tensors.setdefault(key, Line()).add(x, real, present)

    def add_steps(self, at: int, what: str, steps: Steps) -> None:
        """One batch of all parts of `steps`."""
        real = steps.real()
        self.add(at, what, "values", steps.values, real, steps.present)
        self.add(at, what, "extras", steps.extras, real)
        self.add(at, what, "static", steps.static, None)
        self.add(at, what, "future", steps.future, None)

    def named(self, what: str) -> dict[str, Any]:
        """What is known of the one tensor named `what`, its dtype among it."""
        ((key, line),) = [(key, line) for key, line in self.tensors.items() if key[1] == what]
        return {"dtype": key[3], **line.to_dict()}

    def lines(self) -> list[dict[str, Any]]:
        """The way up to the body; what a stage leaves as it was is named by the stage before."""
        told: list[dict[str, Any]] = []
        last: dict[str, Any] = {}
        for (at, what, part, dtype), line in sorted(self.tensors.items(), key=lambda t: t[0][0]):
            given = line.to_dict()
            if at < BODY and 0 not in given["shape"] and (last.get(part) != given or part == "values"):
                told.append({"what": what, "part": part, "dtype": dtype, **given})
            last[part] = given
        return told
