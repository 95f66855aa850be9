"""InstanceNorm: each window is measured from its own level, which the forecast gets back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, get_args

import numpy as np
import torch
from torch import Tensor

from inputlayer.columns.base import choose
from inputlayer.errors import StageError, nearest
from inputlayer.stages.base import Plan, Stage, Steps, TwinSteps

if TYPE_CHECKING:
    from inputlayer.graph import Graph

Mode = Literal["last", "mean", "standard"]

_EPS = 1e-5  # RevIN's: keeps the scale of a nearly constant window away from zero
_PATCHES = "patch"


class Level(NamedTuple):
    """What was taken off the targets' channels: tensors (B, 1, K, 1), or in a graph their names; no scale: None."""

    shift: Any
    scale: Any


class InstanceNorm(Stage):
    """Take each window's own level off every channel, and give it back to the forecast.

    Parameters
    ----------
    mode
        What is taken off: ``"last"``, the last present value; ``"mean"``, the mean of the present values;
        ``"standard"``, the mean, and then divided by the spread, ``sqrt(variance + 1e-5)``.
    columns
        The columns it acts on; all unless given. A column left out keeps its level, which the network may need.

    Raises
    ------
    StageError
        If the layer has no numbers to act on, or not those named, if the past of some targets is an input and that of others not, or if the
        steps have already been cut to patches.

    Notes
    -----
    Statistics are those of one sample and one channel, over present entries only: neither missing values nor padding
    count. A channel that is wholly missing is shifted by 0; one that is constant or wholly missing has scale 1. A
    missing entry becomes 0 afterwards, the window's own level being a better guess than the training mean; in a column
    filled forward it keeps the value that was held.

    Shape: values (B, T, C) -> (B, T, C); way back: y (B, H, K, Q) -> y * scale + shift, with those of the K targets.

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

    def __init__(self, mode: Mode = "last", columns: Sequence[str] | None = None) -> None:
        super().__init__()
        choose("mode", mode, get_args(Mode))
        self.mode, self.columns = mode, None if columns is None else tuple(columns)

    def options(self) -> dict[str, Any]:
        return {"mode": self.mode} | ({} if self.columns is None else {"columns": list(self.columns)})

    def plan(self, plan: Plan) -> Plan:
        if not plan.channels:
            raise StageError("InstanceNorm acts on numbers, and this layer has none that vary by step. Leave it out.")
        for name in self.columns or ():
            if name not in plan.channels:
                hint = nearest(name, plan.channels)
                raise StageError(f"InstanceNorm: {name!r} is no number that varies by step.{hint}")
        if _PATCHES in plan.applied:
            raise StageError(
                "InstanceNorm needs single steps, and Patch has joined them already. "
                f"Put it first: stages=[InstanceNorm({self.mode!r}), Patch(...)]"
            )
        if plan.targets and len(plan.targets) != plan.outputs:
            raise StageError(
                "InstanceNorm gives each target the level of its own past back, and only "
                f"{len(plan.targets)} of {plan.outputs} targets have theirs among the inputs. "
                "Give role='target' to all of them or to none."
            )
        return replace(plan, applied=(*plan.applied, self.kind))

    def build(self, plan: Plan) -> None:
        # All follow from the plan, so that the artefact need not keep them.
        acts = [self.columns is None or name in self.columns for name in plan.channels]
        keeps = [held or not acting for held, acting in zip(plan.held, acts, strict=True)]
        self.register_buffer("acts", torch.tensor(acts), persistent=False)
        self.register_buffer("keeps", torch.tensor(keeps), persistent=False)
        self.register_buffer("at", torch.tensor(plan.targets, dtype=torch.int64), persistent=False)

    def forward(self, steps: Steps) -> tuple[Steps, Level | None]:
        shift, scale = _LEVELS[self.mode](steps.values, steps.present)
        if self.columns is not None:
            shift = torch.where(self.acts, shift, 0.0)
            scale = None if scale is None else torch.where(self.acts, scale, 1.0)
        values = steps.values - shift if scale is None else (steps.values - shift) / scale
        kept = steps.present | (self.keeps & steps.real()[..., None])
        values = torch.where(kept, values, 0.0)
        return steps.replace(values=values), self._memo(shift, scale)

    def _memo(self, shift: Tensor, scale: Tensor | None) -> Level | None:
        if not len(self.at):
            return None
        return Level(shift[..., self.at, None], None if scale is None else scale[..., self.at, None])

    def back(self, y: Tensor, memo: Level | None) -> Tensor:
        if memo is None:
            return y
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
        return steps._replace(values=values), self._twin_memo(g, shift, scale)

    def _twin_memo(self, g: Graph, shift: str, scale: str | None) -> Level | None:
        if not len(self.at):
            return None
        at, last = g.constant(self.at.cpu().numpy()), g.constant([-1])
        chosen = [None if s is None else g("Unsqueeze", g("Gather", s, at, axis=2), last) for s in (shift, scale)]
        return Level(*chosen)

    def onnx_back(self, g: Graph, y: str, memo: Level | None) -> str:
        if memo is None:
            return y
        return g("Add", y if memo.scale is None else g("Mul", y, memo.scale), memo.shift)

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(mode) for mode in get_args(Mode)]


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
