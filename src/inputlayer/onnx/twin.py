"""A network as a graph, piece by piece: raw inputs -> wires -> steps -> what the body sees -> answers in raw units.

Each piece calls the twins that kinds, stages, bodies and heads bring, so that a graph cut elsewhere (one row at a time)
can be put together from the same pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from inputlayer.bodies.base import Body
from inputlayer.columns.base import ColumnModule, TwinPart, Wire, wire_name
from inputlayer.fit import Fitted
from inputlayer.graph import Graph
from inputlayer.heads import Classes, Regression
from inputlayer.layer import InputLayer
from inputlayer.network import Network
from inputlayer.prediction import quantile_name
from inputlayer.sequence import Cells
from inputlayer.stages import Stage, TwinSteps

Place = Literal["steps", "future", "static"]
Wired = dict[str, dict[str, str]]  # place -> wire -> tensor


class Raw(NamedTuple):
    """A raw input of the graph: its name, the column it holds and where, its dtype.

    Its shape is (batch, *axes, *cell). `entries`: whether a cell holds a number of entries of its own, which a second
    input, ``<name>.lengths``, says.
    """

    name: str
    column: str
    place: Place
    dtype: Any
    axes: tuple[int | str, ...]
    cell: tuple[int | str, ...]
    entries: bool = False

    @property
    def shape(self) -> tuple[int | str, ...]:
        own = (("entries",) if self.entries else ()) + self.cell
        # Under a name of its own: a runtime takes equal names for equal sizes.
        return ("batch", *self.axes, *(f"{self.name} {size}" if isinstance(size, str) else size for size in own))


class Answer(NamedTuple):
    """An output of the graph: its name, what predictions call it ("" for the probabilities), its target and dtype."""

    name: str
    label: str
    target: str
    dtype: Any


# -- raw inputs -> wires ----------------------------------------------------------------------------------------------


def raw_inputs(fitted: Fitted, steps: int | None = None) -> list[Raw]:
    """Every raw input, columns in the order of the schema; what is known ahead comes again, as ``<name>.future``.

    `steps`: of a graph that takes so many, and not those of the schema's sequences.
    """
    schema = fitted.schema
    length = schema.sequence.fixed_length if steps is None else steps
    time: tuple[int | str, ...] = ("time" if length is None else length,)
    if single_step(fitted):
        time = ()
    found = []
    for name in schema.columns:
        if name in schema.steps:
            found.append(_raw(fitted, name, "steps", time))
        if name in schema.future:
            found.append(_raw(fitted, name, "future", (schema.horizon,)))
        if name in schema.static:
            found.append(_raw(fitted, name, "static", ()))
    return found


def single_step(fitted: Fitted) -> bool:
    """Whether a row is a sequence of one step, so that its inputs have no axis of time."""
    return isinstance(fitted.schema.sequence, Cells) and fitted.schema.sequence.steps is None


def _raw(fitted: Fitted, name: str, place: Place, axes: tuple[int | str, ...]) -> Raw:
    column, state = fitted.schema.columns[name], fitted.states[name]
    dtype, cell = column.onnx_input(state)
    ragged = any(wire.ragged for wire in column.wires(state).values())
    counted = ragged and _counts(fitted, name)
    full = f"{name}.future" if place == "future" else name
    if name == fitted.schema.sequence.steps_column:
        return Raw(full, name, place, dtype, () if counted else axes, cell)
    return Raw(full, name, place, dtype, axes, cell, ragged and not counted)


def _counts(fitted: Fitted, name: str) -> bool:
    """Whether the graph itself finds out how many entries a cell has: of words it does, of rows of pixels it cannot."""
    return "lengths" in fitted.schema.columns[name].onnx(Graph(), "cells", fitted.states[name])


def needs_lengths(fitted: Fitted) -> bool:
    """Whether the graph has to be told how many steps each sequence has."""
    cell = fitted.schema.sequence.steps_column
    return fitted.schema.sequence.fixed_length is None if cell is None else not _counts(fitted, cell)


def declare(g: Graph, raws: Iterable[Raw]) -> None:
    """Make the raw inputs of the graph."""
    for raw in raws:
        g.input(raw.name, raw.dtype, raw.shape)
        if raw.entries:
            g.input(f"{raw.name}.lengths", np.int64, ("batch", *raw.axes))


def to_wires(g: Graph, fitted: Fitted, raws: Iterable[Raw]) -> tuple[Wired, str | None]:
    """Encode the raw inputs: wires by place, and the lengths of the sequences where the graph finds them out."""
    made: Wired = {"steps": {}, "future": {}, "static": {}}
    lengths, single = None, single_step(fitted)
    for raw in raws:
        column, state = fitted.schema.columns[raw.column], fitted.states[raw.column]
        with g.scope(raw.name):
            found = column.onnx(g, raw.name, state)
            if raw.entries:
                found["lengths"] = f"{raw.name}.lengths"
            if raw.column == fitted.schema.sequence.steps_column:
                lengths = found.pop("lengths", None)
                found = {suffix: _with_padding(g, x, column.wires(state)[suffix]) for suffix, x in found.items()}
            elif single and raw.place == "steps":
                found = {suffix: g("Unsqueeze", x, g.constant([1])) for suffix, x in found.items()}
        count = found.pop("lengths", None)
        made[raw.place] |= {wire_name(raw.column, suffix): x for suffix, x in found.items()}
        if count is not None:
            made[raw.place][f"{wire_name(raw.column, '')}.lengths"] = count
    return made, lengths


def _with_padding(g: Graph, x: str, wire: Wire) -> str:
    """Entries (batch, steps, ...) and one step of padding more: a body needs one step even where no cell has any."""
    nothing = np.full((1,) * (2 + len(wire.shape)), np.nan if wire.dtype == "float32" else 0, wire.dtype)
    shape = [g("Shape", x, end=1), g.constant([1])]
    if wire.shape:
        shape.append(g("Shape", x, start=2))
    return g("Concat", x, g("Expand", g.constant(nothing), g("Concat", *shape, axis=0)), axis=1)


# -- wires -> what the body sees --------------------------------------------------------------------------------------


def batch_size(g: Graph, x: str) -> str:
    """The first axis of `x`, (1,) int64."""
    return g("Shape", x, end=1)


def full_lengths(g: Graph, batch: str, length: int) -> str:
    """Every sequence's length where all have the same, (B,)."""
    return g("Expand", g.constant([length]), batch)


def guarded(g: Graph, lengths: str) -> str:
    """`lengths` (B,) as they are; an error that any runtime reports, where the batch is empty.

    The operator LSTM of onnxruntime 1.31 ends the whole process at a batch of none.
    """
    with g.scope("the batch holds no sequence"):
        # No Gather of what is not there: onnxruntime makes it a Slice, which takes what there is.
        return g("Reshape", lengths, g("Max", g("Shape", lengths), g.constant([1])))


def to_steps(g: Graph, layer: InputLayer, wired: Wired, lengths: str) -> TwinSteps:
    """`InputLayer.to_steps` in a graph: the columns' modules, and zeros where there is padding."""
    parts: dict[str, list[TwinPart]] = {"steps": [], "static": [], "future": []}
    for key, part in modules(layer).items():
        with g.scope(key):
            if key.startswith("static"):
                parts["static"].append(static_part(g, part, wired))
                continue
            parts["steps"].append(part.onnx(g, wired["steps"]))
            if key.startswith("known"):
                parts["future"].append(part.onnx(g, wired["future"]))
    return _joined_steps(g, layer, parts, wired["steps"], lengths)


def modules(layer: InputLayer) -> dict[str, ColumnModule]:
    """The columns' modules by place and kind, in the layer's order."""
    return {key: cast(ColumnModule, module) for key, module in layer.parts.items()}


def static_part(g: Graph, part: ColumnModule, wired: Wired) -> TwinPart:
    """What a module makes of static columns, (B, 1, F)."""
    return part.onnx(g, {name: g("Unsqueeze", x, g.constant([1])) for name, x in wired["static"].items()})


def _joined_steps(
    g: Graph, layer: InputLayer, parts: Mapping[str, Sequence[TwinPart]], wired: Mapping[str, str], lengths: str
) -> TwinSteps:
    batch, fixed = batch_size(g, lengths), layer.plans[0].length
    if wired:
        steps = g("Shape", next(iter(wired.values())), start=1, end=2)
    else:
        steps = g("Max", g("ReduceMax", lengths, g.constant([0])), g.constant([1]))
    place = g("Range", g.constant(0), g("Squeeze", steps, g.constant([0])), g.constant(1))
    real = g("Less", place, g("Unsqueeze", lengths, g.constant([1])))
    whole = g("Concat", batch, steps, axis=0)

    def joined(where: str, fields: Sequence[str], sizes: str, dtype: Any = np.float32) -> str:
        found = [x for part in parts[where] for f in fields if (x := getattr(part, f)) is not None]
        if found:
            return found[0] if len(found) == 1 else g("Concat", *found, axis=2)
        shape = g("Concat", sizes, g.constant([0]), axis=0)
        return g("ConstantOfShape", shape, value=np.zeros(1, dtype))

    values, extras = (joined("steps", [f], whole) for f in ("values", "extras"))
    present = joined("steps", ["present"], whole, np.bool_)
    if fixed is None:
        mask = g("Unsqueeze", real, g.constant([2]))
        values, extras = (g("Where", mask, x, g.constant(0.0)) for x in (values, extras))
        present = g("And", present, mask)
    one = g("Concat", batch, g.constant([1]), axis=0)
    ahead = g("Concat", batch, g.constant([layer.plans[0].horizon]), axis=0)
    return TwinSteps(
        values=values,
        present=present,
        extras=extras,
        static=g("Squeeze", joined("static", ["values", "extras"], one), g.constant([1])),
        future=joined("future", ["values", "extras"], ahead),
        lengths=lengths,
        real=real,
    )


def through_stages(g: Graph, layer: InputLayer, twin: TwinSteps) -> tuple[TwinSteps, list[Any]]:
    """`InputLayer.run_stages` in a graph: the steps, and the stages' memos."""
    memos = []
    for number, stage in enumerate(_stages(layer)):
        with g.scope(f"{number} {stage.kind}"):
            twin, memo = stage.onnx(g, twin)
        memos.append(memo)
    return twin, memos


def body_input(g: Graph, layer: InputLayer, twin: TwinSteps) -> str:
    """What the body sees, (B, T, width)."""
    plan = layer.plan
    parts = [x for x, size in ((twin.values, plan.channels), (twin.extras, plan.extras)) if size]
    if plan.static:
        real = g("Unsqueeze", g.cast(twin.real, np.float32), g.constant([2]))
        parts.append(g("Mul", g("Unsqueeze", twin.static, g.constant([1])), real))
    return parts[0] if len(parts) == 1 else g("Concat", *parts, axis=2)


def through_network(g: Graph, network: Network, twin: TwinSteps) -> str:
    """Steps -> stages -> body -> head -> the stages' way back: y (B, n, K, Q) in scaled units, or logits."""
    layer, body = network.layer, cast(Body, network.body)
    twin, memos = through_stages(g, layer, twin)
    x = body_input(g, layer, twin)
    with g.scope("body"):
        y = body.onnx(g, x, twin.lengths, twin.future, twin.key, twin.real)
    with g.scope("head"):
        y = network.head.onnx(g, y)
    if layer.plans[0].targets:
        for number, stage in reversed(list(enumerate(_stages(layer)))):
            with g.scope(f"{number} {stage.kind} back"):
                y = stage.onnx_back(g, y, memos[number])
    return y


def _stages(layer: InputLayer) -> list[Stage]:
    return cast(list[Stage], list(layer.stages))


# -- answers ----------------------------------------------------------------------------------------------------------


def answers(g: Graph, network: Network, y: str, taken: Iterable[str]) -> list[Answer]:
    """Make the outputs, in raw units or as labels and probabilities: (B, H), (B, T) with a target per step, else (B,).

    `taken` are the names of inputs, which outputs cannot have.
    """
    schema, names = network.layer.schema, set(taken)
    steps: tuple[int | str, ...] = (schema.horizon,) if schema.horizon else ()
    if schema.sequence.target_rows == 0:
        steps = ("time",)
    made = []
    with g.scope("answers"):
        y = y if steps else g("Squeeze", y, g.constant([1]))  # (B, K, Q)
        found = _labels(g, network, y) if isinstance(network.head, Classes) else _numbers(g, network, y)
        for label, target, tensor, dtype, more in found:
            name = label if label != target else f"{target}_predicted"
            while name in names:
                name += "_"
            names.add(name)
            g.output(name, tensor, dtype, ("batch", *steps, *more))
            made.append(Answer(name, label if not more else "", target, dtype))
    return made


_Found = list[tuple[str, str, str, Any, tuple[int, ...]]]  # label, target, tensor, dtype, further axes


def _labels(g: Graph, network: Network, y: str) -> _Found:
    schema, head = network.layer.schema, cast(Classes, network.head)
    (target,) = schema.targets
    state = network.layer.learnt.states[target]
    logits = g.cast(g("Gather", y, g.constant(0), axis=-2), np.float64)
    shares = g("Softmax", logits, axis=-1)
    label = schema.columns[target].onnx_back(g, g("ArgMax", shares, axis=-1, keepdims=0), state)
    dtype = np.array(list(schema.columns[target].classes(state))).dtype
    return [
        (target, target, label, object if dtype.kind == "U" else dtype, ()),
        ("probabilities", target, shares, np.float64, (len(head.labels),)),
    ]


def _numbers(g: Graph, network: Network, y: str) -> _Found:
    schema, head = network.layer.schema, cast(Regression, network.head)
    states = network.layer.learnt.states
    found: _Found = []
    for k, target in enumerate(schema.targets):
        raw = schema.columns[target].onnx_back(g, g("Gather", y, g.constant(k), axis=-2), states[target])
        if head.quantiles is None:
            found.append((target, target, g("Squeeze", raw, g.constant([-1])), np.float64, ()))
            continue
        # Quantiles that cross are put in order, as `Network.raw` does.
        count = g.constant([len(head.quantiles)])
        raw, _ = g("TopK", raw, count, outputs=2, axis=-1, largest=0, sorted=1)
        each = [g("Gather", raw, g.constant(i), axis=-1) for i in range(len(head.quantiles))]
        found.append((target, target, each[head.quantiles.index(0.5)], np.float64, ()))
        found += [(quantile_name(target, q), target, each[i], np.float64, ()) for i, q in enumerate(head.quantiles)]
    return found
