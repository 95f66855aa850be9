"""PerChannel: every target is a sequence of its own, and all go through the same body."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from inputlayer.errors import StageError
from inputlayer.sequence.base import positive
from inputlayer.stages.base import Plan, Stage, Steps, TwinSteps, needs_every_past, twin_steps

if TYPE_CHECKING:
    from inputlayer.graph import Graph


class PerChannel(Stage):
    """Send every target series through the same body, one at a time.

    Parameters
    ----------
    embedding
        Width of a learnt vector for each target, which joins the static features, so that the body can tell the targets
        apart; 0 for none.

    Raises
    ------
    StageError
        If there is only one target, if the past of a target is no input, or if the steps have already been cut to
        patches.

    Notes
    -----
    A batch of B sequences with K targets becomes one of B * K, sequence by sequence: row ``b * K + k`` is target k of
    sequence b, and ``key`` tells k. The one channel left is the target's past; numbers that are no targets join the
    extras. Where only some targets are filled forward, what follows takes the channel as not filled.

    Shape: values (B, T, C) -> (B * K, T, 1); extras (B, T, E) -> (B * K, T, E + C - K); static (B, S) ->
    (B * K, S + embedding); future (B, H, F) -> (B * K, H, F); way back: y (B * K, H, 1, Q) -> (B, H, K, Q).

    References
    ----------
    Nie et al. 2023, "A time series is worth 64 words: long-term forecasting with transformers" (channel independence);
    Lin et al. 2023, "SegRNN" (channel codes).

    Examples
    --------
    >>> plan = Plan(("load", "wind"), (False, False), (0, 1), ("hour",), (), (), length=48, horizon=24, outputs=2)
    >>> after = PerChannel(embedding=2).plan(plan)
    >>> after.channels, after.static, after.keys, after.outputs
    (('channel',), ('channel code 1', 'channel code 2'), 2, 1)
    """

    kind: ClassVar[str] = "per_channel"

    def __init__(self, embedding: int = 8) -> None:
        super().__init__()
        positive("embedding", embedding, 0)
        self.embedding = embedding

    def options(self) -> dict[str, Any]:
        return {"embedding": self.embedding}

    def plan(self, plan: Plan) -> Plan:
        self._check(plan)
        others = tuple(c for i, c in enumerate(plan.channels) if i not in plan.targets)
        return replace(
            plan,
            channels=("channel",),
            held=(all(plan.held[t] for t in plan.targets),),
            targets=(0,),
            extras=(*others, *plan.extras),
            static=(*plan.static, *(f"channel code {i + 1}" for i in range(self.embedding))),
            outputs=1,
            keys=plan.outputs,
            applied=(*plan.applied, self.kind),
        )

    def _check(self, plan: Plan) -> None:
        if self.kind in plan.applied:
            raise StageError("PerChannel has parted the targets already. Name it once.")
        if "patch" in plan.applied:
            raise StageError(
                "PerChannel needs single steps, and Patch has joined them already. "
                f"Put it first: stages=[PerChannel({self.embedding}), Patch(...)]"
            )
        needs_every_past("PerChannel", plan)
        if not plan.targets:
            raise StageError(
                "PerChannel sends the past of every target through the body, and here no target's past is an input. "
                "Leave it out, or take numbers with a horizon as targets, without role='target'."
            )
        if plan.outputs == 1:
            raise StageError("PerChannel parts several targets, and here is only one. Leave it out.")

    def build(self, plan: Plan) -> None:
        self._at = list(plan.targets)
        self._others = [i for i in range(len(plan.channels)) if i not in plan.targets]
        self.codes = nn.Embedding(len(self._at), self.embedding) if self.embedding else None

    def forward(self, steps: Steps) -> tuple[Steps, None]:
        count, (batch, length, _) = len(self._at), steps.values.shape
        key = torch.arange(count, device=steps.lengths.device).repeat(batch)
        extras = torch.cat([steps.values[..., self._others], steps.extras], -1) if self._others else steps.extras
        static = steps.static.repeat_interleave(count, 0)
        made = Steps(
            values=steps.values[..., self._at].transpose(1, 2).reshape(batch * count, length, 1),
            present=steps.present[..., self._at].transpose(1, 2).reshape(batch * count, length, 1),
            extras=extras.repeat_interleave(count, 0),
            static=static if self.codes is None else torch.cat([static, self.codes(key)], 1),
            future=steps.future.repeat_interleave(count, 0),
            lengths=steps.lengths.repeat_interleave(count, 0),
            key=key,
        )
        return made, None

    def back(self, y: Tensor, memo: None) -> Tensor:
        _, horizon, _, outputs = y.shape
        return y.reshape(-1, len(self._at), horizon, outputs).transpose(1, 2)

    def onnx(self, g: Graph, steps: TwinSteps) -> tuple[TwinSteps, None]:
        count = g.constant(len(self._at))
        batch = g("Squeeze", g("Shape", steps.lengths), g.constant([0]))
        row = g("Range", g.constant(0), g("Mul", batch, count), g.constant(1))
        of, key = g("Div", row, count), g("Mod", row, count)
        at, others = g.constant(np.array(self._at)), g.constant(np.array(self._others, np.int64))
        extras = steps.extras
        if self._others:
            extras = g("Concat", g("Gather", steps.values, others, axis=2), extras, axis=2)
        shape = g("Unsqueeze", twin_steps(g, steps.values), g.constant([0]))
        shape = g("Concat", g.constant([-1]), shape, g.constant([1]), axis=0)
        values, present = (
            g("Reshape", g("Transpose", g("Gather", x, at, axis=2), perm=[0, 2, 1]), shape)
            for x in (steps.values, steps.present)
        )
        rest = {"extras": extras, **{n: getattr(steps, n) for n in ("static", "future", "lengths", "real")}}
        repeated = {name: g("Gather", x, of, axis=0) for name, x in rest.items()}
        if self.codes is not None:
            codes = g("Gather", g.constant(self.codes.weight.detach().cpu().numpy()), key, axis=0)
            repeated["static"] = g("Concat", repeated["static"], codes, axis=1)
        return TwinSteps(values=values, present=present, **repeated, key=key), None

    def onnx_back(self, g: Graph, y: str, memo: None) -> str:
        rest = (g("Shape", y, start=i, end=i + 1) for i in (1, 3))
        shape = g("Concat", g.constant([-1, len(self._at)]), *rest, axis=0)
        return g("Transpose", g("Reshape", y, shape), perm=[0, 2, 1, 3])

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls(0)]
