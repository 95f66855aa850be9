"""InstanceNorm: each window is measured from its own level, which the forecast gets back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, get_args

import numpy as np
import torch
from torch import Tensor, nn

from inputlayer.columns.base import choose
from inputlayer.errors import StageError, nearest
from inputlayer.stages.base import Plan, Stage, Steps, TwinSteps, needs_every_past, needs_level, needs_numbers

if TYPE_CHECKING:
    from inputlayer.graph import Graph

Mode = Literal["last", "mean", "standard"]

_EPS = 1e-5  # RevIN's: keeps the scale of a nearly constant window away from zero
_KINDS = {"Patch": "patch", "PerChannel": "per_channel"}


class Level(NamedTuple):
    """What was taken off the targets' channels: tensors (B, 1, K, 1), or in a graph their names; None for what was not.

    x -> (x - shift) / scale * factor + offset
    """

    shift: Any
    scale: Any = None
    factor: Any = None
    offset: Any = None


class InstanceNorm(Stage):
    """Take each window's own level off every channel, and give it back to the forecast.

    Parameters
    ----------
    mode
        What is taken off: ``"last"``, the last present value; ``"mean"``, the mean of the present values;
        ``"standard"``, the mean, and then divided by the spread, ``sqrt(variance + 1e-5)``.
    columns
        The columns it acts on; all unless given. A column left out keeps its level, which the network may need.
    affine
        Whether each channel is then multiplied by a learnt factor and moved by a learnt offset, both undone on the way
        back.

    Raises
    ------
    StageError
        If the layer has no numbers to act on, or not those named; if the past of some targets is an input and that of
        others not; or if `Patch` has joined the steps already, or `PerChannel` the columns that it is to tell apart.

    Notes
    -----
    Statistics are those of one sample and one channel, over present entries only: neither missing values nor padding
    count. A channel that is wholly missing is shifted by 0; one that is constant or wholly missing has scale 1. A
    missing entry becomes 0 afterwards, the window's own level being a better guess than the training mean; in a column
    filled forward it keeps the value that was held. The learnt factor starts at 1 and is kept as its logarithm, so that
    it can always be undone; behind `PerChannel` each target has its own.

    Shape: values (B, T, C) -> (B, T, C); way back: y (B, H, K, Q) -> y * scale + shift, with those of the K targets
    (with `affine` of (y - offset) / factor).

    References
    ----------
    Kim et al. 2022, "Reversible instance normalization for accurate time-series forecasting against distribution shift"
    (RevIN); Zeng et al. 2023, "Are transformers effective for time series forecasting?" (NLinear: the last value).

    Examples
    --------
    >>> InstanceNorm("last", columns=["load"]).options()
    {'mode': 'last', 'columns': ['load']}
    """

    kind: ClassVar[str] = "instance_norm"
    acts: Tensor
    keeps: Tensor
    at: Tensor

    def __init__(self, mode: Mode = "last", columns: Sequence[str] | None = None, affine: bool = False) -> None:
        super().__init__()
        choose("mode", mode, get_args(Mode))
        self.mode, self.columns, self.affine = mode, None if columns is None else tuple(columns), affine

    def options(self) -> dict[str, Any]:
        columns = {} if self.columns is None else {"columns": list(self.columns)}
        return {"mode": self.mode} | columns | ({"affine": True} if self.affine else {})

    def plan(self, plan: Plan) -> Plan:
        needs_numbers("InstanceNorm", plan)
        for name, before in (("Patch", "joined its steps"), ("PerChannel", "made one channel of all targets")):
            # Behind PerChannel it can act as long as no column is to be told from another.
            if _KINDS[name] in plan.applied and (name == "Patch" or self.columns is not None):
                raise StageError(
                    f"InstanceNorm needs each column by itself, and {name} has {before} already. "
                    f"Put it first: stages=[InstanceNorm({self.mode!r}), {name}(...)]"
                )
        for name in self.columns or ():
            if name not in plan.channels:
                hint = nearest(name, plan.channels)
                raise StageError(f"InstanceNorm: {name!r} is no number that varies by step.{hint}")
        needs_level(f"InstanceNorm({self.mode!r})", plan)
        needs_every_past("InstanceNorm", plan)
        return replace(plan, applied=(*plan.applied, self.kind))

    def build(self, plan: Plan) -> None:
        # All follow from the plan, so that the artefact need not keep them.
        acts = [self.columns is None or name in self.columns for name in plan.channels]
        keeps = [held or not acting for held, acting in zip(plan.held, acts, strict=True)]
        self.register_buffer("acts", torch.tensor(acts), persistent=False)
        self.register_buffer("keeps", torch.tensor(keeps), persistent=False)
        self.register_buffer("at", torch.tensor(plan.targets, dtype=torch.int64), persistent=False)
        if self.affine:
            self.log_factor = nn.Parameter(torch.zeros(plan.keys, len(plan.channels)))
            self.offset = nn.Parameter(torch.zeros(plan.keys, len(plan.channels)))

    def forward(self, steps: Steps) -> tuple[Steps, Level | None]:
        shift, scale = _LEVELS[self.mode](steps.values, steps.present)
        if self.columns is not None:
            shift = torch.where(self.acts, shift, 0.0)
            scale = None if scale is None else torch.where(self.acts, scale, 1.0)
        values = steps.values - shift if scale is None else (steps.values - shift) / scale
        kept = steps.present | (self.keeps & steps.real()[..., None])
        values = torch.where(kept, values, 0.0)
        if not self.affine:
            return steps.replace(values=values), self._memo(shift, scale)
        factor, offset = self._learnt(steps.key)
        values = torch.where(steps.real()[..., None], values * factor + offset, 0.0)
        return steps.replace(values=values), self._memo(shift, scale, factor, offset)

    def _learnt(self, key: Tensor | None) -> tuple[Tensor, Tensor]:
        """Factor and offset, (1 or B, 1, C); 1 and 0 for columns left out."""
        factor = torch.where(self.acts, self.log_factor.exp(), 1.0)
        offset = torch.where(self.acts, self.offset, 0.0)
        return (factor[:, None], offset[:, None]) if key is None else (factor[key][:, None], offset[key][:, None])

    def _memo(self, *parts: Tensor | None) -> Level | None:
        if not len(self.at):
            return None
        return Level(*[None if part is None else part[..., self.at, None] for part in parts])

    def back(self, y: Tensor, memo: Level | None) -> Tensor:
        if memo is None:
            return y
        if memo.factor is not None:
            y = (y - memo.offset) / memo.factor
        return torch.add(y if memo.scale is None else y * memo.scale, memo.shift)

    def onnx(self, g: Graph, steps: TwinSteps) -> tuple[TwinSteps, Level | None]:
        shift, scale = _TWINS[self.mode](g, steps.values, steps.present)
        if self.columns is not None:
            acts = g.constant(self.acts.cpu().numpy())
            shift = g("Where", acts, shift, g.constant(0.0))
            scale = None if scale is None else g("Where", acts, scale, g.constant(1.0))
        values = g("Sub", steps.values, shift)
        if scale is not None:
            values = g("Div", values, scale)
        kept = g("And", g("Unsqueeze", steps.real, g.constant([-1])), g.constant(self.keeps.cpu().numpy()))
        values = g("Where", g("Or", steps.present, kept), values, g.constant(0.0))
        if not self.affine:
            return steps._replace(values=values), self._twin_memo(g, shift, scale)
        factor, offset = self._twin_learnt(g, steps.key)
        real = g("Unsqueeze", steps.real, g.constant([-1]))
        values = g("Where", real, g("Add", g("Mul", values, factor), offset), g.constant(0.0))
        return steps._replace(values=values), self._twin_memo(g, shift, scale, factor, offset)

    def _twin_learnt(self, g: Graph, key: str | None) -> tuple[str, str]:
        factor, offset = (g.constant(t[:, 0].detach().cpu().numpy()) for t in self._learnt(None))
        if key is not None:
            factor, offset = g("Gather", factor, key, axis=0), g("Gather", offset, key, axis=0)
        return g("Unsqueeze", factor, g.constant([1])), g("Unsqueeze", offset, g.constant([1]))

    def _twin_memo(self, g: Graph, *parts: str | None) -> Level | None:
        if not len(self.at):
            return None
        at, last = g.constant(self.at.cpu().numpy()), g.constant([-1])
        chosen = [None if p is None else g("Unsqueeze", g("Gather", p, at, axis=2), last) for p in parts]
        return Level(*chosen)

    def onnx_back(self, g: Graph, y: str, memo: Level | None) -> str:
        if memo is None:
            return y
        if memo.factor is not None:
            y = g("Div", g("Sub", y, memo.offset), memo.factor)
        return g("Add", y if memo.scale is None else g("Mul", y, memo.scale), memo.shift)

    @classmethod
    def examples(cls) -> list[Self]:
        return [*(cls(mode) for mode in get_args(Mode)), cls("standard", affine=True), cls(columns=["a"], affine=True)]


# values (B, T, C), present (B, T, C) -> shift and scale (B, 1, C); no scale where none is taken


def _last(values: Tensor, present: Tensor) -> tuple[Tensor, None]:
    place = torch.arange(1, values.shape[1] + 1, device=values.device)[:, None]
    at = (present * place).amax(1, keepdim=True)  # 0: nothing is present
    return torch.where(at > 0, values.gather(1, (at - 1).clamp(min=0)), 0.0), None


def _mean(values: Tensor, present: Tensor) -> tuple[Tensor, None]:
    count = present.sum(1, keepdim=True).clamp(min=1)
    return torch.where(present, values, 0.0).sum(1, keepdim=True) / count, None


def _standard(values: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    shift, _ = _mean(values, present)
    variance, _ = _mean((values - shift).square(), present)
    highest = torch.where(present, values, -torch.inf).amax(1, keepdim=True)
    lowest = torch.where(present, values, torch.inf).amin(1, keepdim=True)
    # Compared, because the variance of a constant channel is not exactly 0 in float32; also true if nothing is present.
    return shift, torch.where(highest <= lowest, 1.0, (variance + _EPS).sqrt())


_LEVELS = {"last": _last, "mean": _mean, "standard": _standard}


def _twin_last(g: Graph, values: str, present: str) -> tuple[str, None]:
    steps = g("Squeeze", g("Shape", values, start=1, end=2), g.constant([0]))
    one = g.constant(1)
    place = g("Unsqueeze", g("Range", one, g("Add", steps, one), one), g.constant([1]))
    at = g("ReduceMax", g("Mul", g.cast(present, np.int64), place), g.constant([1]), keepdims=1)
    found = g("GatherElements", values, g("Max", g("Sub", at, one), g.constant(0)), axis=1)
    return g("Where", g("Greater", at, g.constant(0)), found, g.constant(0.0)), None


def _twin_mean(g: Graph, values: str, present: str) -> tuple[str, None]:
    axis = g.constant([1])
    count = g("Max", g("ReduceSum", g.cast(present, np.float32), axis, keepdims=1), g.constant(1.0))
    return g("Div", g("ReduceSum", g("Where", present, values, g.constant(0.0)), axis, keepdims=1), count), None


def _twin_standard(g: Graph, values: str, present: str) -> tuple[str, str]:
    shift, _ = _twin_mean(g, values, present)
    off = g("Sub", values, shift)
    variance, _ = _twin_mean(g, g("Mul", off, off), present)
    axis, infinite = g.constant([1]), np.float32(np.inf)
    highest = g("ReduceMax", g("Where", present, values, g.constant(-infinite)), axis, keepdims=1)
    lowest = g("ReduceMin", g("Where", present, values, g.constant(infinite)), axis, keepdims=1)
    spread = g("Sqrt", g("Add", variance, g.constant(_EPS)))
    return shift, g("Where", g("LessOrEqual", highest, lowest), g.constant(1.0), spread)


_TWINS = {"last": _twin_last, "mean": _twin_mean, "standard": _twin_standard}
