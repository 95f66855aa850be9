"""What `compare` compares: the full layer, the layer without each of its parts, and what else the user names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, cast

from torch import nn

from inputlayer.bodies import BODIES
from inputlayer.bodies.base import Body
from inputlayer.bodies.dense import Dense
from inputlayer.comparison import FULL
from inputlayer.errors import OptionError, SchemaError, listed
from inputlayer.heads.base import Head
from inputlayer.layer import InputLayer
from inputlayer.model import Model
from inputlayer.sequence.base import Sequence as Rows
from inputlayer.stages import Patch, Stage
from inputlayer.wording import called


@dataclass(frozen=True)
class Variant:
    """One row of a comparison before it is trained: a name, the group it belongs to, and what stands in its model."""

    name: str
    group: str
    change: str
    layer: InputLayer
    body: Body
    head: Head

    def model(self) -> Model:
        """A new model; its layer has learnt nothing."""
        return Model(fresh(self.layer), deepcopy(self.body), deepcopy(self.head))


def fresh(layer: InputLayer) -> InputLayer:
    """The same layer before its fit."""
    return InputLayer(layer.schema, stages_of(layer))


def stages_of(layer: InputLayer) -> list[Stage]:
    """Its stages, in order."""
    return cast(list[Stage], list(layer.stages))


def variants(
    model: Model,
    alternatives: Mapping[str, InputLayer],
    others: Mapping[str, Model],
    *,
    stages: bool,
    columns: bool,
) -> tuple[list[Variant], list[str]]:
    """The rows, the full layer first, and a sentence for each column that cannot be taken away.

    Raises
    ------
    OptionError
        With everything that is wrong with what the user names.
    """
    problems: list[str] = []
    body = _body("model", model, problems)
    if body is None:
        raise OptionError(problems[0])
    full = Variant(FULL, "full", layer_text(model.layer), model.layer, body, model.network.head)
    notes: list[str] = []
    rows = [full]
    rows += _without_stages(full) if stages else []
    rows += _without_columns(full, notes) if columns else []
    for name, layer in alternatives.items():
        rows += _alternative(name, layer, full, problems)
    for name, other in others.items():
        rows += _other(name, other, model, full, problems)
    problems += _names(rows, [*alternatives, *others])
    if problems:
        raise OptionError("; ".join(problems))
    return rows, notes


def _without_stages(full: Variant) -> Iterator[Variant]:
    stages = stages_of(full.layer)
    kinds = [type(stage).__name__ for stage in stages]
    for i, stage in enumerate(stages):
        number = f" {kinds[: i + 1].count(kinds[i])}" if kinds.count(kinds[i]) > 1 else ""
        layer = InputLayer(full.layer.schema, [*stages[:i], *stages[i + 1 :]])
        yield replace(
            full, name=f"without {kinds[i]}{number}", group="stage", change=f"no {stage_text(stage)}", layer=layer
        )


def _without_columns(full: Variant, notes: list[str]) -> Iterator[Variant]:
    schema = full.layer.schema
    for name, column in schema.columns.items():
        if name in schema.targets:
            continue
        try:
            smaller = replace(schema, columns={n: c for n, c in schema.columns.items() if n != name})
        except SchemaError as error:
            why = "it holds the steps." if name == schema.sequence.steps_column else error
            notes.append(f"The column {name!r} cannot be taken away: {why}")
            continue
        layer = InputLayer(smaller, stages_of(full.layer))
        yield replace(full, name=f"without {name}", group="column", change=f"no {name} = {column!r}", layer=layer)


def _alternative(name: str, layer: InputLayer, full: Variant, problems: list[str]) -> Iterator[Variant]:
    if not isinstance(layer, InputLayer):
        problems.append(f"alternatives: {name!r} is {layer!r}, give an il.InputLayer(schema, ...)")
        return
    mine, theirs = full.layer.schema, layer.schema
    wrong = [
        f"{what} {new!r}, not {old!r}"
        for what, old, new, same in (
            ("sequence", mine.sequence, theirs.sequence, _meant(mine.sequence) == _meant(theirs.sequence)),
            ("target", mine.target, theirs.target, mine.targets == theirs.targets),
            ("weight", mine.weight, theirs.weight, mine.weight == theirs.weight),
        )
        if not same
    ]
    if wrong:
        problems.append(f"alternatives: {name!r} has {', '.join(wrong)}. What is no input layer belongs in others=")
        return
    change = changes(full.layer, layer)
    if not change:
        problems.append(f"alternatives: {name!r} is the full layer itself")
        return
    yield replace(full, name=name, group="alternative", change="; ".join(change), layer=layer)


def _other(name: str, model: Model, first: Model, full: Variant, problems: list[str]) -> Iterator[Variant]:
    if not isinstance(model, Model):
        problems.append(f"others: {name!r} is {model!r}, give an il.Model(layer, body)")
        return
    body = _body(f"others: {name!r}", model, problems)
    if body is None:
        return
    head, mine, theirs = model.network.head, full.layer.schema, model.layer.schema
    if theirs.targets != mine.targets:
        problems.append(f"others: {name!r} has target {theirs.target!r}, not {mine.target!r}")
        return
    beside = apart(first, model)
    if not beside:
        problems.append(f"others: {name!r} differs in its input layer only: give that in alternatives=")
        return
    yield Variant(name, "other", "; ".join([*beside, *changes(full.layer, model.layer)]), model.layer, body, head)


def _body(where: str, model: Model, problems: list[str]) -> Body | None:
    body = model.network.body
    if isinstance(body, Body):
        return body
    problems.append(
        f"{where}: the body {type(body).__name__} has its weights already, of one width and from no seed. Inherit from"
        " inputlayer.bodies.Body and make them in build(plan, outputs), so that it can stand behind any layer"
    )
    return None


def _names(rows: Sequence[Variant], given: Sequence[str]) -> Iterator[str]:
    names = [row.name for row in rows]
    for name in dict.fromkeys(n for n in names if names.count(n) > 1):
        where = "give yours another name" if name in given else "rename the column"
        yield f"two rows would be called {name!r}: {where}"
    wrong = [n for n in given if not isinstance(n, str) or not n.strip()]
    if wrong:
        yield f"names of alternatives and others are texts, not {listed(wrong)}"


# -- in words ----------------------------------------------------------------------------------------------------------


def layer_text(layer: InputLayer) -> str:
    """The columns and the stages."""
    return f"{', '.join(layer.schema.columns)}; {' · '.join(map(stage_text, stages_of(layer))) or 'no stage'}"


def stage_text(stage: Stage) -> str:
    """A stage as it is made."""
    return called(type(stage).__name__, stage.options())


def part_text(part: nn.Module) -> str:
    """A body or a head as it is made, defaults left out; a body of the user's own as PyTorch tells it."""
    if isinstance(part, Body) and type(part) not in BODIES.values():
        return " ".join(repr(part).split())
    options: dict[str, Any] = part.options()  # type: ignore[operator]
    usual = signature(type(part)).parameters
    return called(type(part).__name__, {n: v for n, v in options.items() if v != usual[n].default})


def apart(old: Model, new: Model) -> list[str]:
    """What `new` has otherwise than `old` that is not the input layer: body, head, sequence."""
    parts = (old.network.body, new.network.body), (old.network.head, new.network.head)
    told = [part_text(theirs) for mine, theirs in parts if _made(mine) != _made(theirs)]
    mine, theirs = (model.layer.schema.sequence for model in (old, new))
    return [*told, repr(theirs)] if _meant(mine) != _meant(theirs) else told


def _made(part: nn.Module) -> Any:
    """What tells how a body, a head or a stage is made, defaults filled in."""
    if isinstance(part, Body) and type(part) not in BODIES.values():
        return part_text(part)
    options: dict[str, Any] = part.options()  # type: ignore[operator]
    if isinstance(part, Patch):
        options = {"stride": part.size, **options}
    return type(part), _filled(options)


_USUAL = {"decoder": {"kind": Dense.kind}, "reduce": "last"}
"""What a recurrent body does where it is told nothing."""


def _filled(options: Mapping[str, Any]) -> dict[str, Any]:
    told = {n: _USUAL.get(n) if v is None else v for n, v in options.items()}
    return {n: _filled(v) if isinstance(v, Mapping) else v for n, v in told.items()}


def _meant(sequence: Rows) -> Any:
    """What tells how a sequence is made: a single name and a list of it are the same."""
    return type(sequence), {**sequence.options(), "by": sequence.by_names}


def changes(old: InputLayer, new: InputLayer) -> list[str]:
    """What `new` has otherwise than `old`."""
    mine, theirs = old.schema.columns, new.schema.columns
    told = [f"no {', '.join(gone)}"] if (gone := [n for n in mine if n not in theirs]) else []
    differ = {n: c for n, c in theirs.items() if mine.get(n) != c}
    by_column: dict[str, list[str]] = {}
    for name, column in differ.items():
        by_column.setdefault(repr(column), []).append(name)
    told += [f"{', '.join(names)} = {column}" for column, names in by_column.items()]
    if [_made(stage) for stage in stages_of(old)] != [_made(stage) for stage in stages_of(new)]:
        told.append(" · ".join(map(stage_text, stages_of(new))) or "no stage")
    return told
