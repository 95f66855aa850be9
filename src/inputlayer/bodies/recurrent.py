"""What the recurrent bodies share: layers, directions, lengths, and the reduce to one state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from inputlayer.bodies.base import Body, Decoder, real_steps, twin_linear
from inputlayer.bodies.dense import Dense
from inputlayer.columns.base import Memory, choose
from inputlayer.errors import OptionError
from inputlayer.sequence.base import positive
from inputlayer.stages.base import Plan

if TYPE_CHECKING:
    from inputlayer.graph import Graph

ReduceHow = Literal["last", "mean", "max", "attention"]


class Recurrent(Body):
    """A stack of recurrent cells over sequences of uneven length.

    One cell of PyTorch per layer and direction. The backward one is a forward cell over the sequence turned round by
    its own length, so that padding always comes last, and the fast path of both CPU and GPU is kept: a packed sequence
    is slower on a CPU and cannot be exported.

    Subclasses name the `cell`, its ONNX operator `op` and, for each gate of that operator, its place in PyTorch.
    """

    cell: ClassVar[Callable[..., nn.RNNBase]]
    op: ClassVar[str]
    gates: ClassVar[tuple[int, ...]]
    op_options: ClassVar[dict[str, Any]] = {}
    states: ClassVar[int]  # tensors that a cell hands from step to step, the first of which is its output

    def __init__(
        self,
        units: int,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        reduce: ReduceHow | None = None,
        decoder: Decoder | None = None,
    ) -> None:
        super().__init__()
        positive("units", units)
        positive("layers", layers)
        if not 0 <= dropout < 1:
            raise OptionError(f"dropout={dropout!r}: a share of at least 0 and below 1 is needed")
        if reduce is not None:
            choose("reduce", reduce, get_args(ReduceHow))
        self.units, self.layers, self.bidirectional = units, layers, bidirectional
        self.dropout, self.reduce = float(dropout), reduce
        self.decoder = decoder
        self._decoder_given = decoder is not None

    def options(self) -> dict[str, Any]:
        decoder = self.decoder if self._decoder_given else None
        return {
            "units": self.units,
            "layers": self.layers,
            "bidirectional": self.bidirectional,
            "dropout": self.dropout,
            "reduce": self.reduce,
            "decoder": None if decoder is None else {"kind": decoder.kind, **decoder.options()},
        }

    def build(self, plan: Plan, outputs: int) -> None:
        self._check(plan)
        state = self.units * (2 if self.bidirectional else 1)
        widths = [plan.width, *[state] * (self.layers - 1)]
        directions = range(2 if self.bidirectional else 1)
        self.cells = nn.ModuleList(self.cell(w, self.units, batch_first=True) for w in widths for _ in directions)
        self.drop = nn.Dropout(self.dropout)
        self.pool = None if plan.per_step else Pool(self.reduce or "last", state)
        if not self._decoder_given:
            self.decoder = Dense() if plan.horizon else None
        if self.decoder is None:
            self.width, self.direct = state, False
        else:
            self.decoder.build(plan, state, outputs)
            self.width, self.direct = self.decoder.width, self.decoder.direct

    def _check(self, plan: Plan) -> None:
        if not plan.width:
            raise OptionError("the input layer gives nothing per step: every column is a target or known ahead only")
        if plan.per_step and self.reduce is not None:
            raise OptionError(f"reduce={self.reduce!r} has no effect with a target per step. Leave it out.")
        if not plan.horizon and self._decoder_given:
            raise OptionError("decoder has no effect without a horizon. Leave it out.")

    def forward(self, x: Tensor, lengths: Tensor, future: Tensor, key: Tensor | None = None) -> Tensor:
        turn = turned(lengths, x.shape[1]) if self.bidirectional else None
        runs: Sequence[Tensor] = ()
        for i, (ahead, *behind) in enumerate(self._layers()):
            x = self.drop(joined(runs, turn)) if i else x
            runs, ends = zip(ahead(x), *(cell(take(x, turn)) for cell in behind), strict=True)
        if self.pool is None:
            real = real_steps(lengths, x.shape[1])[..., None]
            y: Tensor = self.drop(torch.where(real, joined(runs, turn), 0.0))
            return y
        # Without padding the cells' own last states serve, and the way back need not touch the other steps' outputs.
        whole = lengths.device.type == "cpu" and bool((lengths == x.shape[1]).all())
        last = [end[0][0] if isinstance(end, tuple) else end[0] for end in ends] if whole else None
        state: Tensor = self.drop(self.pool(runs, turn, lengths, last))
        y = state[:, None] if self.decoder is None else self.decoder(state, future, key)
        return y

    def whole_only(self) -> str:
        if self.bidirectional:
            return "bidirectional=True also reads every sequence from its end. Use bidirectional=False"
        if self.reduce not in (None, "last"):
            return f"reduce={self.reduce!r} looks at all steps again. Use reduce='last'"
        return ""

    def begin(self, batch: int) -> Memory:
        weight = next(self.parameters())
        return tuple(weight.new_zeros(batch, self.units) for _ in range(self.layers * self.states))

    def step(self, x: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        x, after = x[:, 0], list(memory)
        for i, (cell,) in enumerate(self._layers()):
            own = slice(i * self.states, (i + 1) * self.states)
            after[own] = self.move(x, memory[own], [getattr(cell, f"{name}_l0") for name in _WEIGHTS])
            x = after[own.start]
        return x[:, None], tuple(after)

    def move(self, x: Tensor, state: Memory, weights: list[Tensor]) -> Memory:
        """One step of one cell: x (B, F), state (B, units) each -> the next state."""
        raise NotImplementedError

    def onnx(self, g: Graph, x: str, lengths: str, future: str, key: str | None, real: str) -> str:
        counts = g.cast(lengths, np.int32)
        x, state = g("Transpose", x, perm=[1, 0, 2]), ""
        for cells in self._layers():
            x, state = self._twin_layer(g, x, counts, cells)
        if self.pool is None:
            return g("Transpose", x, perm=[1, 0, 2])  # the operator gives zeros past each length
        state = self.pool.onnx(g, x, state, lengths, real)
        if self.decoder is None:
            return g("Unsqueeze", state, g.constant([1]))
        return self.decoder.onnx(g, state, future, key)

    def _layers(self) -> list[list[nn.RNNBase]]:
        """The cells of each layer: forward, and backward if there is one."""
        cells = cast(list[nn.RNNBase], list(self.cells))
        step = len(cells) // self.layers
        return [cells[i : i + step] for i in range(0, len(cells), step)]

    def onnx_step(self, g: Graph, x: str, memory: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        first, after = g.constant([0]), []
        x = g("Transpose", x, perm=[1, 0, 2])
        for i, cells in enumerate(self._layers()):
            own = [g("Unsqueeze", state, first) for state in memory[i * self.states : (i + 1) * self.states]]
            _, *ends = g(
                self.op,
                x,
                *self._twin_weights(g, cells),
                None,
                *own,
                outputs=1 + self.states,
                **self._twin_options(cells),
            )
            after += [g("Squeeze", end, first) for end in ends]
            x = ends[0]
        return g("Transpose", x, perm=[1, 0, 2]), tuple(after)

    def _twin_weights(self, g: Graph, cells: Sequence[nn.RNNBase]) -> list[str]:
        weights = [[self._gated(getattr(cell, f"{name}_l0")) for cell in cells] for name in _WEIGHTS]
        w, r, b_ih, b_hh = (np.stack(each) for each in weights)
        return [g.constant(w), g.constant(r), g.constant(np.concatenate([b_ih, b_hh], 1))]

    def _twin_options(self, cells: Sequence[nn.RNNBase]) -> dict[str, Any]:
        direction = "bidirectional" if len(cells) == 2 else "forward"
        return {"hidden_size": self.units, "direction": direction, **self.op_options}

    def _twin_layer(self, g: Graph, x: str, counts: str, cells: Sequence[nn.RNNBase]) -> tuple[str, str]:
        """x (T, B, F) -> outputs (T, B, W), and each direction's last state (B, W)."""
        y, last, *_ = g(self.op, x, *self._twin_weights(g, cells), counts, outputs=2, **self._twin_options(cells))
        y = g("Transpose", y, perm=[0, 2, 1, 3])
        last = g("Transpose", last, perm=[1, 0, 2])
        width = len(cells) * self.units
        return g("Reshape", y, g.constant([0, 0, width])), g("Reshape", last, g.constant([0, width]))

    def _gated(self, weight: Tensor) -> np.ndarray:
        """The weights of all gates, in the order of the ONNX operator."""
        gates = np.split(weight.detach().cpu().numpy(), len(self.gates))
        return np.concatenate([gates[i] for i in self.gates])

    @classmethod
    def examples(cls) -> list[Self]:
        return [
            cls(3),
            cls(3, layers=2, dropout=0.2),
            cls(3, bidirectional=True),
            *(cls(3, layers=2, bidirectional=True, reduce=how) for how in get_args(ReduceHow)),
        ]


_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Pool(nn.Module):
    """All steps' outputs -> one state, over real steps only; zeros for a sequence without steps.

    ``"last"``: the final state of each direction; ``"mean"``, ``"max"``: over the steps; ``"attention"``: a mean
    weighted by softmax(v tanh(W h + b)), after Yang et al. 2016, "Hierarchical attention networks for document
    classification".
    """

    def __init__(self, how: ReduceHow, width: int) -> None:
        super().__init__()
        self.how = how
        if how == "attention":
            self.inner = nn.Linear(width, width)
            self.score = nn.Linear(width, 1, bias=False)

    def forward(
        self, runs: Sequence[Tensor], turn: Tensor | None, lengths: Tensor, last: Sequence[Tensor] | None
    ) -> Tensor:
        some = (lengths > 0)[:, None]
        if self.how == "last":
            if last is not None:
                return torch.cat(list(last), 1)
            at = (lengths - 1).clamp(min=0)[:, None, None]
            ends = [run.gather(1, at.expand(-1, -1, run.shape[2]))[:, 0] for run in runs]
            return torch.cat(ends, 1) * some
        y = joined(runs, turn)
        real = real_steps(lengths, y.shape[1])[..., None]
        if self.how == "max":
            return torch.where(some, torch.where(real, y, -torch.inf).amax(1), 0.0)
        y = torch.where(real, y, 0.0)
        if self.how == "mean":
            return y.sum(1) / lengths.clamp(min=1)[:, None]
        return (y * self._weights(y, real)).sum(1)

    def _weights(self, y: Tensor, real: Tensor) -> Tensor:
        # A finite floor: where nothing is real, softmax must not give NaN; y is zero there.
        scores = torch.where(real, self.score(torch.tanh(self.inner(y))), _FLOOR)
        return scores.softmax(1)

    def onnx(self, g: Graph, y: str, last: str, lengths: str, real: str) -> str:
        """y (T, B, W), which is zero at padding, and last (B, W) -> (B, W)."""
        if self.how == "last":
            return last
        first = g.constant([0])
        mask = g("Unsqueeze", g("Transpose", real, perm=[1, 0]), g.constant([2]))
        count = g("Unsqueeze", lengths, g.constant([1]))
        if self.how == "max":
            highest = g("ReduceMax", g("Where", mask, y, g.constant(-np.float32(np.inf))), first, keepdims=0)
            return g("Where", g("Greater", count, g.constant(0)), highest, g.constant(0.0))
        if self.how == "mean":
            steps = g.cast(g("Max", count, g.constant(1)), np.float32)
            return g("Div", g("ReduceSum", y, first, keepdims=0), steps)
        scores = twin_linear(g, g("Tanh", twin_linear(g, y, self.inner)), self.score)
        weights = g("Softmax", g("Where", mask, scores, g.constant(_FLOOR)), axis=0)
        return g("ReduceSum", g("Mul", y, weights), first, keepdims=0)


_FLOOR = -1e30


def turned(lengths: Tensor, steps: int) -> Tensor:
    """(B, steps) int64: where each step comes from when a sequence is turned round by its length; padding stays.

    >>> turned(torch.tensor([3, 1]), 3).tolist()
    [[2, 1, 0], [0, 1, 2]]
    """
    at = torch.arange(steps, device=lengths.device).expand(len(lengths), steps)
    return torch.where(at < lengths[:, None], lengths[:, None] - 1 - at, at)


def take(x: Tensor, turn: Tensor | None) -> Tensor:
    """x (B, T, F) with its steps in the order `turn` (B, T)."""
    return x if turn is None else x.gather(1, turn[..., None].expand_as(x))


def joined(runs: Sequence[Tensor], turn: Tensor | None) -> Tensor:
    """The outputs of both directions side by side, the backward ones turned back: (B, T, W)."""
    return runs[0] if turn is None else torch.cat([runs[0], take(runs[1], turn)], 2)
