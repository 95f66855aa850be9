"""A project as a Python program: the same schema, stages, body, head and training options, to be taken over."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from inputlayer.bodies import BODIES, DECODERS, MEMBERS
from inputlayer.heads import HEADS
from inputlayer.project import Project, Spec
from inputlayer.stages import STAGES

_NESTED: Mapping[str, Mapping[str, type[Any]]] = {"decoder": DECODERS, "member": MEMBERS}


def program(made: Project, reasons: Mapping[str, str]) -> str:
    """The program that makes the model of a project.

    Parameters
    ----------
    reasons
        Comments by place, as in the project's file: ``"stages.patch"``, ``"body"``, ``"body.units"``.

    Examples
    --------
    >>> from inputlayer.columns import Number
    >>> from inputlayer.schema import Schema
    >>> from inputlayer.sequence import Windows
    >>> schema = Schema({"load": Number(scale="log")}, Windows("day", length=14), target="load")
    >>> body, head = {"kind": "lstm", "units": 8}, {"kind": "regression", "loss": "mae"}
    >>> print(program(Project("load.csv", schema, body, head, training={"epochs": 3}), {"body.units": "few"}))
    import inputlayer as il
    <BLANKLINE>
    schema = il.Schema(
        columns={
            'load': il.Number(scale='log'),
        },
        sequence=il.Windows(order='day', length=14),
        target='load',
    )
    stages = []
    # units: few
    body = il.LSTM(units=8)
    head = il.Regression(loss='mae')
    training = {
        'epochs': 3,
    }
    model = il.Model(il.InputLayer(schema, stages), body, head, training)
    <BLANKLINE>
    """
    return "\n".join(_lines(made, reasons)) + "\n"


def _lines(made: Project, why: Mapping[str, str]) -> Iterator[str]:
    schema = made.schema
    yield "import inputlayer as il"
    parts = [*map(type, schema.columns.values()), *(STAGES[spec["kind"]] for spec in made.stages)]
    yield from sorted({f"from {part.__module__} import {part.__name__}" for part in parts if not _is_ours(part)})
    yield from ("", "schema = il.Schema(", "    columns={")
    for name, column in schema.columns.items():
        yield f"        {name!r}: {_call(type(column), column.options())},"
    yield "    },"
    yield f"    sequence={_call(type(schema.sequence), schema.sequence.options())},"
    yield f"    target={schema.target!r},"
    yield from () if schema.weight is None else [f"    weight={schema.weight!r},"]
    yield ")"
    yield "stages = [" if made.stages else "stages = []"
    for spec in made.stages:
        yield from _comment(why.get(f"stages.{spec['kind']}", ""), "    ")
        yield f"    {_made(STAGES, spec)},"
    yield from ["]"] if made.stages else ()
    yield from _comment(why.get("body", ""))
    yield from _explained(made.body, "body", why)
    yield f"body = {_made(BODIES, made.body)}"
    yield from _explained(made.head or {}, "head", why)
    yield f"head = {None if made.head is None else _made(HEADS, made.head)}"
    yield "training = {"
    for name, value in made.options.items():
        yield from _comment(why.get(f"training.{name}", ""), "    ")
        yield f"    {name!r}: {value!r},"
    yield from ("}", "model = il.Model(il.InputLayer(schema, stages), body, head, training)")


def _is_ours(part: type[Any]) -> bool:
    """Whether `il` has it; a kind of column or a stage may be the user's own."""
    return part.__module__.startswith("inputlayer.")


def _explained(spec: Spec, place: str, why: Mapping[str, str]) -> Iterator[str]:
    for name in spec:
        if reason := why.get(f"{place}.{name}"):
            yield from _comment(reason if name == "kind" else f"{name}: {reason}")


def _comment(text: str, indent: str = "") -> Iterator[str]:
    return iter(textwrap.wrap(text, 100, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "))


def _made(registry: Mapping[str, type[Any]], spec: Spec) -> str:
    return _call(registry[spec["kind"]], {n: v for n, v in spec.items() if n != "kind"})


def _call(part: type[Any], options: Mapping[str, Any]) -> str:
    inner = (f"{n}={_made(_NESTED[n], v) if n in _NESTED else repr(v)}" for n, v in options.items())
    return f"{'il.' * _is_ours(part)}{part.__name__}({', '.join(inner)})"
