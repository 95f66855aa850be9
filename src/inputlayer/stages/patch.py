"""Patch: several steps become one, so that the body has fewer of them to remember."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor

from inputlayer.errors import OptionError, StageError
from inputlayer.sequence.base import positive
from inputlayer.stages.base import (
    Plan,
    Stage,
    Steps,
    TwinSteps,
    count_patches,
    patch_index,
    patched,
    twin_count_patches,
    twin_patch_index,
    twin_patched,
    twin_steps,
)

if TYPE_CHECKING:
    from inputlayer.graph import Graph


class Patch(Stage):
    """Join `size` consecutive steps into one.

    Parameters
    ----------
    size
        Steps that become one, 2 or more.
    stride
        Steps from the beginning of one patch to that of the next; `size` unless given: patches side by side. Less, and
        they overlap.

    Raises
    ------
    OptionError
        If the stride is longer than the size, which would leave steps out.
    StageError
        If a patch is longer than the look-back, if each step has a target, or if steps have been joined already.

    Notes
    -----
    The last patch ends at each sequence's own last step. Where the steps do not fill the first patch, its front holds
    zeros that are not present. What each step had stands side by side, feature by feature: ``load[1]`` is the patch's
    first step, ``load[24]`` its last. Static features stay as they are. The forecast is not changed by the way back.

    Shape: values (B, T, C) -> (B, P, C * size), extras (B, T, E) -> (B, P, E * size), and a sequence of n steps has
    1 + ceil((n - size) / stride) of them, or 1 if it is shorter than a patch.

    References
    ----------
    Nie et al. 2023, "A time series is worth 64 words: long-term forecasting with transformers" (PatchTST); Lin et al.
    2023, "SegRNN: segment recurrent neural network for long-term time series forecasting".

    Examples
    --------
    >>> plan = Plan(("load",), (False,), (0,), (), (), (), length=336, horizon=96)
    >>> after = Patch(24).plan(plan)
    >>> after.length, after.width, after.channels[:2]
    (14, 24, ('load[1]', 'load[2]'))
    """

    kind: ClassVar[str] = "patch"

    def __init__(self, size: int, stride: int | None = None) -> None:
        super().__init__()
        positive("size", size, 2)
        if stride is not None:
            positive("stride", stride)
            if stride > size:
                raise OptionError(f"stride={stride} is longer than size={size}: steps between patches would be lost")
        self.size, self.stride = size, stride

    def options(self) -> dict[str, Any]:
        return {"size": self.size} | ({} if self.stride is None else {"stride": self.stride})

    @property
    def _stride(self) -> int:
        return self.size if self.stride is None else self.stride

    def plan(self, plan: Plan) -> Plan:
        self._check(plan)
        length = plan.length
        if length is not None:
            length = int(count_patches(torch.tensor(length), self.size, self._stride))
        return replace(
            plan,
            channels=self._names(plan.channels),
            held=tuple(h for h in plan.held for _ in range(self.size)),
            targets=tuple(t * self.size + self.size - 1 for t in plan.targets),
            extras=self._names(plan.extras),
            length=length,
            applied=(*plan.applied, self.kind),
        )

    def _check(self, plan: Plan) -> None:
        if self.kind in plan.applied:
            raise StageError(
                "Patch joins single steps, and a Patch before it has joined them. Use one, of a larger size."
            )
        if plan.per_step:
            raise StageError("Patch joins steps, and here each step has a target of its own. Leave it out.")
        if plan.length is not None and self.size > plan.length:
            raise StageError(
                f"Patch({self.size}) is longer than the sequences, which have {plan.length} steps. "
                f"Use a size of at most {plan.length}, or a longer look-back."
            )

    def _names(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"{name}[{i + 1}]" for name in names for i in range(self.size))

    def forward(self, steps: Steps) -> tuple[Steps, None]:
        index = patch_index(steps.lengths, steps.values.shape[1], self.size, self._stride)
        changes = {name: _flat(patched(getattr(steps, name), index)) for name in _JOINED}
        return steps.replace(**changes, lengths=count_patches(steps.lengths, self.size, self._stride)), None

    def onnx(self, g: Graph, steps: TwinSteps) -> tuple[TwinSteps, None]:
        index, real = twin_patch_index(g, steps.lengths, twin_steps(g, steps.values), self.size, self._stride)
        joined = {}
        for name in _JOINED:
            taken = twin_patched(g, getattr(steps, name), index, truth=name == "present")
            taken = g("Transpose", taken, perm=[0, 1, 3, 2])
            # Not -1 for the last: it could not be told where there are no features.
            shape = g("Mul", g("Shape", taken, start=2, end=3), g.constant([self.size]))
            shape = g("Concat", g("Shape", taken, start=0, end=2), shape, axis=0)
            joined[name] = g("Reshape", taken, shape, allowzero=1)
        lengths = twin_count_patches(g, steps.lengths, self.size, self._stride)
        return steps._replace(**joined, lengths=lengths, real=real), None

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(3), cls(4, stride=1), cls(3, stride=2)]


_JOINED = ("values", "present", "extras")


def _flat(x: Tensor) -> Tensor:
    """(B, P, size, F) -> (B, P, F * size), the steps of a feature side by side."""
    return x.transpose(2, 3).flatten(2)
