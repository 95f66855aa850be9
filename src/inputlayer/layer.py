"""InputLayer: a batch of wires -> what the first LSTM layer sees. It ends where the body begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from inputlayer.batch import Batch, Batches
from inputlayer.columns import KINDS
from inputlayer.columns.base import ColumnModule, Memory, Part
from inputlayer.encode import Encoded, encode
from inputlayer.errors import NotFittedError, OptionError
from inputlayer.fit import Fitted, fit
from inputlayer.schema import Schema
from inputlayer.stages.base import Plan, Stage, Steps
from inputlayer.table import Table


@dataclass
class Inputs:
    """What the body sees.

    x (B, T, width) float32, zero where padded; lengths (B,) int64; future (B, H, F) the encoded known columns of the
    horizon; key (B,) int64 the channel, after PerChannel, else None; memos: what the stages need for the way back.
    """

    x: Tensor
    lengths: Tensor
    future: Tensor
    key: Tensor | None
    memos: list[Any]


class InputLayer(nn.Module):
    """Everything between raw data and the first LSTM layer, as one object.

    Parameters
    ----------
    schema
        Columns, sequence and target.
    stages
        Steps on the whole sequence, in order, e.g. ``[il.InstanceNorm("last")]``.

    Examples
    --------
    >>> import inputlayer as il
    >>> table = {"day": list(range(40)), "load": [float(i % 7) for i in range(40)]}
    >>> schema = il.Schema({"load": il.Number()}, il.Windows("day", length=14, horizon=2), target="load")
    >>> layer = il.InputLayer(schema, stages=[il.InstanceNorm("last")]).fit(table)
    >>> batch = next(iter(layer.batches(table, 8)))
    >>> layer(batch).x.shape, layer.width
    (torch.Size([8, 14, 1]), 1)
    """

    def __init__(self, schema: Schema, stages: Sequence[Stage] = ()) -> None:
        super().__init__()
        if not isinstance(stages, Sequence):
            raise OptionError(f"stages={stages!r}: give a list, such as [il.InstanceNorm('last')]")
        for stage in stages:
            if not isinstance(stage, Stage):
                raise OptionError(f"stages={stages!r}: {stage!r} is no stage. Write il.InstanceNorm('last'), ...")
        self.schema = schema
        self.stages = nn.ModuleList(deepcopy(list(stages)))
        self.fitted: Fitted | None = None
        self.trained = False  # whether it stands in a trained model
        self.plans: list[Plan] = []
        self.parts = nn.ModuleDict()

    # -- fitted half ----------------------------------------------------------------------------------------------

    def fit(self, table: Any) -> InputLayer:
        """Learn from `table`, training rows only, and make the trained half ready. Returns the layer itself.

        This is one pass that keeps no rows. Times that repeat in a series, and static columns that vary in one, are
        found where rows are sorted and held: by `encode`, `batches` and `Model.fit`.

        Raises
        ------
        TableError
            With every problem of the table.
        """
        self.restore(fit(self.schema, Table.of(table)))
        return self

    def restore(self, fitted: Fitted) -> None:
        """Take over a fitted half, and draw the trained half anew."""
        self.fitted = fitted
        self.parts = nn.ModuleDict()
        for place, names in self._places().items():
            for kind, group in self._by_kind(names).items():
                pooled = KINDS[kind].steps and self.schema.sequence.steps_column not in group
                self.parts[f"{place}_{kind}"] = KINDS[kind].pool(group) if pooled else KINDS[kind].module(group)
        self.plans = self._planned(self._first_plan())
        for stage, plan in zip(self._chain(), self.plans, strict=False):
            stage.build(plan)

    def expect(self, quantiles: int) -> None:
        """Say how many numbers the head gives per target, which not every stage can undo.

        Raises
        ------
        StageError
            If a stage cannot.
        """
        self.learnt  # noqa: B018  # raises where not fitted
        self.plans = self._planned(replace(self.plans[0], quantiles=quantiles))

    def _planned(self, first: Plan) -> list[Plan]:
        """The sizes before the first stage and after each."""
        plans = [first]
        for stage in self._chain():
            plans.append(stage.plan(plans[-1]))
        return plans

    def _places(self) -> dict[str, list[str]]:
        """Which inputs share modules: those with a value at each step, those also known ahead, those of the whole."""
        schema = self.schema
        return {
            "past": [n for n in schema.steps if n not in schema.future],
            "known": [n for n in schema.steps if n in schema.future],
            "static": list(schema.static),
        }

    def _by_kind(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        groups: dict[str, dict[str, Any]] = {}
        for name in names:
            column = self.schema.columns[name]
            groups.setdefault(column.kind, {})[name] = (column, self.learnt.states[name])
        return groups

    @property
    def learnt(self) -> Fitted:
        """The fitted half.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        if self.fitted is None:
            raise NotFittedError("The input layer")
        return self.fitted

    def described_stages(self) -> list[dict[str, Any]]:
        """The stages by kind and options, as JSON values."""
        return [{"kind": s.kind, **s.options()} for s in self._chain()]

    def _chain(self) -> list[Stage]:
        return cast(list[Stage], list(self.stages))

    def _first_plan(self) -> Plan:
        parts = self._column_modules()
        step = [p for k, p in parts.items() if not k.startswith("static")]
        channels = tuple(c for p in step for c in p.channels)
        past = [t for t in self.schema.past_targets if t in channels]
        return Plan(
            channels=channels,
            held=tuple(h for p in step for h in p.held),
            targets=tuple(channels.index(t) for t in past),
            extras=tuple(e for p in step for e in p.extras),
            static=tuple(f for k, p in parts.items() if k.startswith("static") for f in (*p.channels, *p.extras)),
            future=tuple(f for k, p in parts.items() if k.startswith("known") for f in (*p.channels, *p.extras)),
            length=self.schema.sequence.fixed_length,
            horizon=self.schema.horizon,
            outputs=len(self.schema.targets),
            per_step=self.schema.sequence.target_rows == 0,
        )

    @property
    def plan(self) -> Plan:
        """The sizes of what the body sees."""
        self.learnt  # noqa: B018  # raises where not fitted
        return self.plans[-1]

    @property
    def width(self) -> int:
        """Numbers per step that the body sees."""
        return self.plan.width

    # -- wires and batches ------------------------------------------------------------------------------------------

    def encode(self, table: Any, context: Any = ()) -> dict[str, np.ndarray]:
        """The wires of a table, as NumPy arrays by name, rows sorted by series and order.

        Wires with one entry per row are (N, *entry). A column whose cells hold several entries gives its entries end to
        end, and ``<name>.lengths`` (N,). ``sequence.start``, ``sequence.length`` and ``sequence.target`` (S,) say where
        each sequence begins, how many steps it has and where its target rows begin.
        """
        given = Table.of(table)
        encoded = self.encoded(given, context, targets=self._has_targets(given), noted=False)
        wires: dict[str, np.ndarray] = {}
        for name in encoded.slots:
            wire = encoded.wire(name)
            assert isinstance(wire, np.ndarray)
            wires[name] = wire
        for name, ragged in encoded.ragged.items():
            wires[name], wires[f"{name}.lengths"] = ragged.flat, ragged.lengths
        index = encoded.index
        places = {"start": index.start, "length": index.length, "target": index.ahead}
        wires |= {f"sequence.{place}": array.astype(np.int64) for place, array in places.items()}
        return wires

    def encoded(self, table: Any, context: Any = (), **options: Any) -> Encoded:
        """`encode.encode` with this layer's fitted half; `context` is a table or several."""
        return encode(self.learnt, Table.of(table), tables(context), **options)

    def _has_targets(self, table: Table) -> bool:
        return all(t in table.columns for t in self.schema.targets)

    def batches(
        self, table: Any, size: int = 64, *, shuffle: bool = False, seed: int = 0, context: Any = ()
    ) -> Batches:
        """An iterable of `Batch`, for a network of your own. Targets are there if the table has them."""
        given = Table.of(table)
        targets = self._has_targets(given)
        encoded = self.encoded(given, context, targets=targets, training=shuffle and targets, noted=False)
        return Batches(encoded, self.learnt, size, shuffle=shuffle, seed=seed, targets=targets)

    # -- trained half -----------------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> Inputs:
        """Batch -> what the body sees."""
        return self.to_inputs(*self.run_stages(self.to_steps(batch)))

    def to_steps(self, batch: Batch) -> Steps:
        """Batch -> Steps: the columns' modules, before any stage."""
        return self._steps(batch, lambda key, part: part(batch.steps))

    def begin(self, batch: int) -> dict[str, Memory]:
        """What `step` is given with the first row of each of `batch` sequences."""
        return {key: part.begin(batch) for key, part in self._column_modules().items() if not key.startswith("static")}

    def step(self, batch: Batch, memory: Mapping[str, Memory]) -> tuple[Steps, dict[str, Memory]]:
        """`to_steps` row by row: a batch of one step, and what the rows before left -> Steps, and the next memory."""
        after: dict[str, Memory] = {}

        def run(key: str, part: ColumnModule) -> Part:
            made, after[key] = part.step(batch.steps, memory[key])
            return made

        return self._steps(batch, run), after

    def _column_modules(self) -> dict[str, ColumnModule]:
        return dict(self.parts.items())  # type: ignore[arg-type]  # no other module is put there

    def _steps(self, batch: Batch, run: Callable[[str, ColumnModule], Part]) -> Steps:
        """`to_steps`, where `run` applies a module to the steps."""
        self.learnt  # noqa: B018  # raises where not fitted
        count, first = len(batch), next(iter(batch.steps.values()), None)
        steps = first.shape[1] if first is not None else max(1, int(batch.lengths.max()))  # static columns alone
        values, present, extras, static, future = [], [], [], [], []
        for key, part in self._column_modules().items():
            if key.startswith("static"):
                given = part({w: t.unsqueeze(1) for w, t in batch.static.items()})
                static += [t[:, 0] for t in (given.values, given.extras) if t is not None]
                continue
            given = run(key, part)
            values += [given.values] if given.values is not None else []
            present += [given.present] if given.present is not None else []
            extras += [given.extras] if given.extras is not None else []
            if key.startswith("known"):
                ahead = part(batch.future)
                future += [t for t in (ahead.values, ahead.extras) if t is not None]
        device = batch.lengths.device
        none = torch.zeros(count, steps, 0, device=device)
        made = Steps(
            values=joined(values, none),
            present=joined(present, none.bool()),
            extras=joined(extras, none),
            static=joined(static, torch.zeros(count, 0, device=device)),
            future=joined(future, torch.zeros(count, self.schema.horizon, 0, device=device)),
            lengths=batch.lengths,
        )
        return made if batch.full else mask_padding(made)

    def run_stages(self, steps: Steps) -> tuple[Steps, list[Any]]:
        """Steps through all stages, and their memos."""
        memos = []
        for stage in self._chain():
            steps, memo = stage(steps)
            memos.append(memo)
        return steps, memos

    def to_inputs(self, steps: Steps, memos: list[Any]) -> Inputs:
        """Join values, extras and the static features repeated at each step."""
        parts = [t for t in (steps.values, steps.extras) if t.shape[-1]]
        if steps.static.shape[-1]:
            repeated = steps.static[:, None].expand(-1, steps.values.shape[1], -1)
            parts.append(repeated * steps.real()[..., None])
        x = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        return Inputs(x, steps.lengths, steps.future, steps.key, memos)

    def back(self, y: Tensor, inputs: Inputs) -> Tensor:
        """The way back of a network's output through the stages, last stage first, in scaled units.

        Shape: y (B, H, K targets, Q quantiles), or (B, H, K) -> the same shape.
        """
        self._check_output(y, self.plan.outputs)
        if not self.plans[0].targets:
            return y
        if y.dim() == 3:
            return self.back(y.unsqueeze(-1), inputs).squeeze(-1)
        for stage, memo in zip(reversed(self._chain()), reversed(inputs.memos), strict=True):
            y = stage.back(y, memo)
        return y

    def _check_output(self, y: Tensor, targets: int) -> None:
        horizon = self.schema.horizon
        if y.dim() not in (3, 4) or y.shape[2] != targets or (horizon and y.shape[1] != horizon):
            wanted = f"(batch, {horizon or 'steps'}, {targets} target{'s' * (targets > 1)}"
            raise OptionError(f"the output has shape {tuple(y.shape)}, not {wanted}) or {wanted}, quantiles)")

    def raw(self, y: Tensor) -> np.ndarray:
        """Scaled units -> raw units, float64, each target by its own column.

        Shape: y (B, n, K targets, Q quantiles), or (B, n, K) -> the same shape.
        """
        self._check_output(y, len(self.schema.targets))
        if y.dim() == 3:
            return self.raw(y.unsqueeze(-1))[..., 0]
        scaled = y.detach().double().cpu().numpy()
        states = self.learnt.states
        parts = [self.schema.columns[t].back(scaled[..., k, :], states[t]) for k, t in enumerate(self.schema.targets)]
        return np.stack(parts, axis=-2)


def joined(parts: list[Tensor], none: Tensor) -> Tensor:
    """Parts side by side, or `none` where there are none."""
    return none if not parts else parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def mask_padding(steps: Steps) -> Steps:
    """Zeros and absence at padded steps, whatever the columns' modules left there."""
    real = steps.real()[..., None]
    return steps.replace(
        values=steps.values.where(real, 0.0), present=steps.present & real, extras=steps.extras.where(real, 0.0)
    )


def tables(context: Any) -> tuple[Table, ...]:
    """A table, several, or none."""
    if context is None:
        return ()
    if isinstance(context, list | tuple) and not (context and isinstance(context[0], Mapping)):
        return tuple(Table.of(t) for t in context)
    return (Table.of(context),)
