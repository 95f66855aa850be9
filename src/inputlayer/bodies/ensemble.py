"""Ensemble: several bodies of one kind, trained side by side, whose answers are averaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from inputlayer.bodies.base import Body, real_steps, twin_linear
from inputlayer.bodies.gru import GRU
from inputlayer.bodies.lstm import LSTM
from inputlayer.bodies.recurrent import Recurrent
from inputlayer.columns.base import Memory
from inputlayer.errors import OptionError
from inputlayer.sequence.base import positive
from inputlayer.stages.base import Plan

if TYPE_CHECKING:
    from inputlayer.graph import Graph


class Ensemble(Body):
    """The mean of several bodies, each drawn anew and trained on its own loss, in one training and one file.

    Parameters
    ----------
    member
        What each of them is: `il.LSTM(...)` or `il.GRU(...)`.
    size
        How many there are. Training and prediction take as many times as long.

    Raises
    ------
    OptionError
        If `member` is no body of these, or `size` is below 2.

    Notes
    -----
    Members have the input layer and its stages in common, and the batches; weights, projection and dropout are their
    own. In training each is held against the target by itself: the loss is the mean of their losses, so that none
    leans on another. What is averaged are their outputs: numbers, each of the quantiles, or a class's logits. The
    validation loss is that of the mean.

    Shape: x (B, T, F) -> (B, H, outputs) with a horizon, (B, T, outputs) with a target per step, else (B, 1, outputs);
    in training (size, B, ..., outputs).

    References
    ----------
    Hansen and Salamon 1990, "Neural network ensembles"; Lakshminarayanan et al. 2017, "Simple and scalable predictive
    uncertainty estimation using deep ensembles"; Jeffares et al. 2023, "Joint training of deep ensembles fails due to
    learner collusion" (why each has a loss of its own).

    Examples
    --------
    >>> import torch
    >>> from inputlayer.stages.base import Plan
    >>> body = Ensemble(LSTM(8), size=3)
    >>> body.build(Plan(("load",), (False,), (0,), ("hour",), (), (), length=48, horizon=24), outputs=1)
    >>> given = torch.zeros(2, 48, 2), torch.tensor([48, 30]), torch.zeros(2, 24, 0)
    >>> body(*given).shape, body.eval()(*given).shape
    (torch.Size([3, 2, 24, 1]), torch.Size([2, 24, 1]))
    """

    kind: ClassVar[str] = "ensemble"
    direct = True

    def __init__(self, member: Recurrent, size: int = 5) -> None:
        super().__init__()
        if type(member) not in (LSTM, GRU):
            raise OptionError(f"member={member!r}: give the body that each is, il.LSTM(...) or il.GRU(...)")
        positive("size", size, 2)
        self.size = size
        self._pattern = (member,)  # in a tuple, so that it is no module of this one

    def options(self) -> dict[str, Any]:
        (member,) = self._pattern
        return {"member": {"kind": member.kind, **member.options()}, "size": self.size}

    def build(self, plan: Plan, outputs: int) -> None:
        self.width, self._per_step = outputs, plan.per_step
        self.members = nn.ModuleList(deepcopy(*self._pattern) for _ in range(self.size))
        for member in self._each():
            member.build(plan, outputs)
        self.linears = nn.ModuleList(
            nn.Identity() if member.direct else nn.Linear(member.width, outputs) for member in self._each()
        )

    def forward(self, x: Tensor, lengths: Tensor, future: Tensor, key: Tensor | None = None) -> Tensor:
        each = zip(self._each(), self.linears, strict=True)
        answers = torch.stack([linear(member(x, lengths, future, key)) for member, linear in each])
        if self._per_step:
            answers = torch.where(real_steps(lengths, x.shape[1])[..., None], answers, 0.0)
        return answers if self.training else answers.mean(0)

    def whole_only(self) -> str:
        return self._pattern[0].whole_only()

    def begin(self, batch: int) -> Memory:
        return tuple(state for member in self._each() for state in member.begin(batch))

    def step(self, x: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        answers: list[Tensor] = []
        after: list[Tensor] = []
        for member, linear, own in zip(self._each(), self.linears, self._parted(memory), strict=True):
            y, left = member.step(x, own)
            answers.append(linear(y))
            after += left
        return torch.stack(answers).mean(0), tuple(after)

    def onnx(self, g: Graph, x: str, lengths: str, future: str, key: str | None, real: str) -> str:
        answers = []
        for i, member in enumerate(self._each()):
            with g.scope(f"member {i}"):
                answers.append(self._twin_answer(g, i, member.onnx(g, x, lengths, future, key, real)))
        y = g("Mean", *answers)
        if not self._per_step:
            return y
        return g("Where", g("Unsqueeze", real, g.constant([2])), y, g.constant(np.float32(0)))

    def onnx_step(self, g: Graph, x: str, memory: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        answers: list[str] = []
        after: list[str] = []
        for i, (member, own) in enumerate(zip(self._each(), self._parted(memory), strict=True)):
            with g.scope(f"member {i}"):
                y, left = member.onnx_step(g, x, own)
                answers.append(self._twin_answer(g, i, y))
            after += left
        return g("Mean", *answers), tuple(after)

    def _each(self) -> Iterator[Recurrent]:
        return iter(self.members)  # type: ignore[arg-type]

    def _parted(self, memory: Sequence[Any]) -> Iterator[Any]:
        """Each member's part of what all of them remember."""
        share = len(memory) // self.size
        return (tuple(memory[i * share : (i + 1) * share]) for i in range(self.size))

    def _twin_answer(self, g: Graph, i: int, y: str) -> str:
        linear = self.linears[i]
        return twin_linear(g, y, linear) if isinstance(linear, nn.Linear) else y

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(LSTM(3), 2), cls(GRU(3, layers=2, bidirectional=True, reduce="mean"), 3)]
