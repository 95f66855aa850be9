"""The contract of a stage, and what flows through it.

A stage is a step on the whole sequence between the columns' modules and the body. It may change the numbers
(`InstanceNorm`), the steps (`Patch`) or the batch (`PerChannel`), and it knows the way back for the network's output.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from inputlayer.errors import StageError

if TYPE_CHECKING:
    from inputlayer.graph import Graph


@dataclass(frozen=True)
class Plan:
    """The sizes of what flows, known once fitted; no tensors.

    channels  names in ``Steps.values``; held: whether a channel's gap holds the last value (forward fill)
    targets   where each target's past stands in values; empty if the target is no input
    extras, static, future   names of the features in ``Steps.extras``, ``.static``, ``.future``
    length    steps of a full sequence where all have the same number, else None; horizon: rows predicted (0: none)
    outputs   number of targets; quantiles: outputs per target (1 unless quantiles are predicted)
    keys      channels that share the body (after PerChannel), else 1
    """

    channels: tuple[str, ...]
    held: tuple[bool, ...]
    targets: tuple[int, ...]
    extras: tuple[str, ...]
    static: tuple[str, ...]
    future: tuple[str, ...]
    length: int | None
    horizon: int
    outputs: int = 1
    quantiles: int = 1
    keys: int = 1
    per_step: bool = False
    applied: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Numbers per step that the body sees: values, extras and the static features repeated at each step."""
        return len(self.channels) + len(self.extras) + len(self.static)


@dataclass
class Steps:
    """What flows from the columns to the body. In an ONNX twin (`TwinSteps`) the fields hold tensor names.

    values (B, T, C) float32, scaled and filled; present (B, T, C) bool: real, neither missing nor padding;
    extras (B, T, E); static (B, S); future (B, H, F); lengths (B,) int64; key (B,) int64, the channel after PerChannel.
    Padded steps hold zeros in values and extras and False in present.
    """

    values: Tensor
    present: Tensor
    extras: Tensor
    static: Tensor
    future: Tensor
    lengths: Tensor
    key: Tensor | None = None

    def replace(self, **changes: Any) -> Self:
        """A copy with `changes`."""
        return replace(self, **changes)

    def real(self) -> Tensor:
        """(B, T) bool: which steps are no padding."""
        return torch.arange(self.values.shape[1], device=self.lengths.device) < self.lengths[:, None]


class TwinSteps(NamedTuple):
    """`Steps` in an ONNX graph: tensor names. `real` (B, T) bool tells steps from padding."""

    values: str
    present: str
    extras: str
    static: str
    future: str
    lengths: str
    real: str
    key: str | None = None


class Stage(nn.Module):
    """A step on the whole sequence, with its way back. One subclass, in one file, per stage.

    `options()` gives what the user chose, as in the constructor; with `kind` it is all that a file needs. Weights, if a
    stage has any, are made in `build`, after the fit.
    """

    kind: ClassVar[str]
    forecasts: ClassVar[bool] = False  # whether the way back adds a forecast of its own, which is nothing at first
    training_only: ClassVar[bool] = False  # whether it does nothing at all once the model is trained

    def options(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON values."""
        raise NotImplementedError

    def plan(self, plan: Plan) -> Plan:
        """What this stage makes of the sizes. Raises `StageError` for a wrong place, with an order that works."""
        raise NotImplementedError

    def build(self, plan: Plan) -> None:
        """Make the weights and buffers, given the sizes that come in."""

    def forward(self, steps: Steps) -> tuple[Steps, Any]:
        """Steps -> Steps, and a memo: what the way back needs."""
        raise NotImplementedError

    def back(self, y: Tensor, memo: Any) -> Tensor:
        """The way back of the network's output, y (B, H, K targets, Q) -> the same shape in the units that came in.

        Nothing, where a stage leaves the units as they are.
        """
        return y

    def onnx(self, g: Graph, steps: TwinSteps) -> tuple[TwinSteps, Any]:
        """`forward` in a graph."""
        raise NotImplementedError

    def onnx_back(self, g: Graph, y: str, memo: Any) -> str:
        """`back` in a graph."""
        return y

    def describe(self) -> dict[str, Any]:
        """What this stage does, for people: JSON values."""
        return {"stage": type(self).__name__, **self.options()}

    @classmethod
    def examples(cls) -> list[Self]:
        """Stages for the contract tests, one for each option that changes the computation."""
        raise NotImplementedError


def needs_every_past(stage: str, plan: Plan) -> None:
    """Refuse a stage that acts on the way back of targets, where the past of only some of them is an input.

    >>> needs_every_past("InstanceNorm", Plan(("load",), (False,), (0,), (), (), (), length=48, horizon=24))
    """
    if plan.targets and len(plan.targets) != plan.outputs:
        raise StageError(
            f"{stage} gives each target the level of its own past back, and only "
            f"{len(plan.targets)} of {plan.outputs} targets have theirs among the inputs. "
            "Give role='target' to all of them or to none."
        )


def needs_numbers(stage: str, plan: Plan) -> None:
    """Refuse a stage that acts on numbers, where none vary by step.

    >>> needs_numbers("Noise", Plan(("load",), (False,), (0,), (), (), (), length=48, horizon=24))
    """
    if not plan.channels:
        raise StageError(f"{stage} acts on numbers, and this layer has none that vary by step. Leave it out.")


def needs_single_steps(stage: str, plan: Plan) -> None:
    """Refuse a stage, as it is written with its options, that acts on single steps which `Patch` has joined.

    >>> needs_single_steps("Difference(1)", Plan(("load",), (False,), (0,), (), (), (), length=48, horizon=24))
    """
    if "patch" in plan.applied:
        name = stage.partition("(")[0]
        raise StageError(
            f"{name} needs single steps, and Patch has joined them already. Put it first: stages=[{stage}, Patch(...)]"
        )


def needs_length(stage: str, least: int, option: str, plan: Plan) -> None:
    """Refuse a stage whose `option`, as "shorter period", asks for more steps than every sequence has.

    >>> needs_length("Seasonal(24)", 24, "shorter period", Plan((), (), (), (), (), (), length=48, horizon=24))
    """
    if plan.length is not None and least > plan.length:
        raise StageError(
            f"{stage} needs sequences of at least {least} steps, and these have {plan.length}. "
            f"Use a {option} or a longer look-back."
        )


def needs_level(stage: str, plan: Plan) -> None:
    """Refuse a stage that gives targets a level back, where a stage before it has moved or forecast that already.

    >>> needs_level("InstanceNorm('last')", Plan(("load",), (False,), (0,), (), (), (), length=48, horizon=24))
    """
    for kind, name, why in (("noise", "Noise", "moved"), ("autoregression", "Autoregression", "forecast")):
        if kind in plan.applied:
            raise StageError(
                f"{stage} gives the forecast the level back that it takes off, and {name} has {why} it already. "
                f"Put it first: stages=[{stage}, {name}(...)]"
            )


# Patches that end at each sequence's last step: the first is filled up at its front.


def count_patches(lengths: Tensor, size: int, stride: int) -> Tensor:
    """How many patches of `size` steps, each `stride` after the one before, hold sequences of these lengths.

    >>> count_patches(torch.tensor([0, 1, 24, 25, 96]), 24, 24).tolist()
    [0, 1, 1, 2, 4]
    """
    more = ((lengths - size).clamp(min=0) + stride - 1).div(stride, rounding_mode="floor")
    return torch.where(lengths > 0, more + 1, 0)


def patch_index(lengths: Tensor, steps: int, size: int, stride: int) -> Tensor:
    """The steps that make up each patch, (B, P, size) int64; -1 in front of the sequence and past its last patch.

    >>> patch_index(torch.tensor([3, 1]), 3, size=2, stride=2).tolist()
    [[[-1, 0], [1, 2]], [[-1, 0], [-1, -1]]]
    """
    counts = count_patches(lengths, size, stride)[:, None]
    most = int(count_patches(torch.tensor(max(steps, 1)), size, stride))
    patch = torch.arange(most, device=lengths.device)
    first = lengths[:, None] - size - (counts - 1 - patch) * stride
    index = first[..., None] + torch.arange(size, device=lengths.device)
    return torch.where((patch < counts)[..., None] & (index >= 0), index, -1)


def patched(x: Tensor, index: Tensor) -> Tensor:
    """x (B, T, F) by `patch_index` (B, P, size) -> (B, P, size, F), zero where the index is -1."""
    flat = index.clamp(min=0).flatten(1)[..., None].expand(-1, -1, x.shape[2])
    taken = x.gather(1, flat).view(*index.shape, x.shape[2])
    return taken.masked_fill((index < 0)[..., None], 0)


def twin_count_patches(g: Graph, lengths: str, size: int, stride: int) -> str:
    """`count_patches` in a graph."""
    zero, one = g.constant(0), g.constant(1)
    over = g("Max", g("Sub", lengths, g.constant(size)), zero)
    more = g("Div", g("Add", over, g.constant(stride - 1)), g.constant(stride))
    return g("Where", g("Greater", lengths, zero), g("Add", more, one), zero)


def twin_patch_index(g: Graph, lengths: str, steps: str, size: int, stride: int) -> tuple[str, str]:
    """`patch_index` in a graph, and which patches are real (B, P); `steps` () int64 is T."""
    zero, one, last = g.constant(0), g.constant(1), g.constant([-1])
    counts = g("Unsqueeze", twin_count_patches(g, lengths, size, stride), last)
    patch = g("Range", zero, twin_count_patches(g, g("Max", steps, one), size, stride), one)
    back = g("Mul", g("Sub", g("Sub", counts, one), patch), g.constant(stride))
    first = g("Sub", g("Sub", g("Unsqueeze", lengths, last), g.constant(size)), back)
    index = g("Add", g("Unsqueeze", first, last), g.constant(np.arange(size)))
    real = g("Less", patch, counts)
    inside = g("And", g("Unsqueeze", real, last), g("GreaterOrEqual", index, zero))
    return g("Where", inside, index, g.constant(-1)), real


def twin_patched(g: Graph, x: str, index: str, *, truth: bool = False) -> str:
    """`patched` in a graph; `truth` says that x is bool, which the runtime's Where does not take."""
    last = g.constant([-1])
    taken = g("GatherND", x, g("Unsqueeze", g("Max", index, g.constant(0)), last), batch_dims=1)
    there = g("Unsqueeze", g("GreaterOrEqual", index, g.constant(0)), last)
    return g("And", there, taken) if truth else g("Where", there, taken, g.constant(0.0))


def twin_steps(g: Graph, x: str) -> str:
    """The number of steps of x (B, T, F) in a graph, () int64."""
    return g("Squeeze", g("Shape", x, start=1, end=2), g.constant([0]))
