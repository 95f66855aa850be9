"""The schema: columns, the sequence they make, and the target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import numpy as np
import polars as pl

from inputlayer.columns import KINDS
from inputlayer.columns.base import Column, Where
from inputlayer.columns.timestamp import Timestamp
from inputlayer.errors import InputLayerError, OptionError, Problem, Problems, SchemaError, headed, nearest
from inputlayer.sequence import SEQUENCES, Sequence, Windows
from inputlayer.sequence.base import as_names, order_values
from inputlayer.table import Table


@dataclass(frozen=True)
class Schema:
    """What a table holds and what is to be learnt from it.

    Parameters
    ----------
    columns
        Column name -> its kind: `Number`, `Category`, `Flag`, `Timestamp`, `Series`, `Text`, `Vector`, `Audio` or
        `Image`.
    sequence
        Which rows make one sequence: `Windows`, `Groups` or `Cells`.
    target
        The column, or columns, to predict. Its kind decides head and loss.
    weight
        A column of row weights: they count in the loss, and are never an input.
    reasons
        Why each guess was made, where `il.infer` made the schema: by column, and ``"sequence"``.

    Raises
    ------
    SchemaError
        With everything that contradicts itself, in one message.

    Examples
    --------
    >>> import inputlayer as il
    >>> schema = il.Schema(
    ...     columns={"date": il.Timestamp(), "load": il.Number(), "site": il.Category(role="static")},
    ...     sequence=il.Windows("date", length=336, horizon=96, by="site"),
    ...     target="load",
    ... )
    >>> schema.steps, schema.future, schema.static
    (('load', 'date'), ('date',), ('site',))
    """

    columns: Mapping[str, Column]
    sequence: Sequence
    target: str | tuple[str, ...]
    weight: str | None = None
    reasons: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", dict(self.columns))
        if isinstance(self.target, list):
            object.__setattr__(self, "target", tuple(self.target))
        problems = _contradictions(self)
        if problems:
            raise SchemaError(headed(problems, "the schema contradicts itself"), problems)

    @property
    def targets(self) -> tuple[str, ...]:
        """The target columns."""
        return as_names(self.target)

    @property
    def horizon(self) -> int:
        """Rows predicted ahead; 0 where nothing lies ahead."""
        return self.sequence.horizon if isinstance(self.sequence, Windows) else 0

    @property
    def past_targets(self) -> tuple[str, ...]:
        """The targets whose past is an input, so that they are needed at prediction too."""
        if not self.sequence.past_targets:
            return ()
        return tuple(t for t in self.targets if self.columns[t].role != "target")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every column that the network sees."""
        hidden = {n for n, c in self.columns.items() if c.role == "target"} | set(self.targets)
        return tuple(n for n in self.columns if n not in hidden or n in self.past_targets)

    @property
    def steps(self) -> tuple[str, ...]:
        """The inputs that have a value at each step, the targets' past first."""
        cell = self.sequence.steps_column
        if cell is not None:
            return (cell,)
        names = [n for n in self.inputs if self.columns[n].role != "static"]
        return tuple(sorted(names, key=lambda n: n not in self.past_targets))

    @property
    def static(self) -> tuple[str, ...]:
        """The inputs that have one value for the whole sequence."""
        return tuple(n for n in self.inputs if n not in self.steps)

    @property
    def future(self) -> tuple[str, ...]:
        """The inputs known over the horizon. A time that orders the rows is always known ahead."""
        if not self.horizon:
            return ()
        return tuple(n for n in self.steps if self.columns[n].role == "known" or self._orders(n))

    def _orders(self, name: str) -> bool:
        return name == self.sequence.order_name and self.columns[name].kind == "timestamp"

    def needed(self, *, targets: bool) -> list[str]:
        """The table's columns that are read: with all targets, or only with those whose past is an input."""
        names = [n for n in self.columns if targets or n in self.inputs]
        extra = [*self.sequence.by_names, *as_names(self.sequence.order_name)]
        return list(dict.fromkeys([*names, *extra]))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, kinds by name."""
        described: dict[str, Any] = {
            "columns": {n: {"kind": c.kind, **c.options()} for n, c in self.columns.items()},
            "sequence": {"kind": self.sequence.kind, **self.sequence.options()},
            "target": self.target if isinstance(self.target, str) else list(self.target),
        }
        return described if self.weight is None else {**described, "weight": self.weight}

    @classmethod
    def from_dict(cls, described: Mapping[str, Any]) -> Schema:
        """The schema that `to_dict` described.

        Raises
        ------
        SchemaError
            For an unknown kind or option, all of them in one message.
        """
        problems = Problems()
        unknown = set(described) - {"columns", "sequence", "target", "weight"}
        for name in sorted(unknown):
            problems.add(f"unknown key {name!r}.{nearest(name, ['columns', 'sequence', 'target', 'weight'])}")
        for name in ("columns", "sequence", "target"):
            if name not in described:
                problems.add(f"the key {name!r} is missing")
        columns = described.get("columns", {})
        if not isinstance(columns, Mapping):
            problems.add("'columns' is no table of columns")
            columns = {}
        built = {n: _built(KINDS, spec, f"column {n!r}", problems) for n, spec in columns.items()}
        sequence = _built(SEQUENCES, described.get("sequence", {}), "sequence", problems)
        if problems:
            raise SchemaError(headed(list(problems), "the schema cannot be read"), list(problems))
        target = described["target"]
        return cls(built, sequence, target if isinstance(target, str) else tuple(target), described.get("weight"))


def _built(registry: Mapping[str, Any], spec: Any, what: str, problems: Problems) -> Any:
    """One column or sequence from ``{"kind": ..., **options}``; notes what does not fit."""
    if not isinstance(spec, Mapping) or "kind" not in spec:
        problems.add(f"{what} needs a kind: one of {', '.join(registry)}")
        return None
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.items() if k != "kind"}
    known = registry.get(spec["kind"])
    if known is None:
        hint = nearest(str(spec["kind"]), registry)
        problems.add(f"{what}: unknown kind {spec['kind']!r}. Known: {', '.join(registry)}.{hint}")
        return None
    names = [f.name for f in fields(known)]
    for name in set(options) - set(names):
        problems.add(f"{what}: {spec['kind']} has no option {name!r}.{nearest(name, names)}")
    for f in fields(known):
        if f.default is MISSING and f.default_factory is MISSING and f.name not in options:
            problems.add(f"{what}: {spec['kind']} needs the option {f.name!r}")
    try:
        return known(**{k: v for k, v in options.items() if k in names})
    except InputLayerError as error:
        problems.add(f"{what}: {error}")
    except TypeError as error:
        problems.add(f"{what}: {error}")
    return None


def _contradictions(schema: Schema) -> list[Problem]:
    problems = Problems()
    columns, sequence = schema.columns, schema.sequence
    if not isinstance(sequence, Sequence):
        raise SchemaError(f"sequence={sequence!r}: give il.Windows(...), il.Groups(...) or il.Cells(...)")
    for name, column in columns.items():
        if not isinstance(column, Column):
            problems.add(f"is {column!r}, which is no column kind. Write il.Number(), il.Category(), ...", column=name)
        elif column.kind not in KINDS:
            remedy = f"Register it: inputlayer.columns.register({type(column).__name__})"
            problems.add(f"has the kind {column.kind!r}, which files do not know", column=name, remedy=remedy)
    if problems:
        return list(problems)
    if not isinstance(schema.target, str | tuple) or not all(isinstance(t, str) for t in schema.targets):
        raise SchemaError(f"target={schema.target!r}: give the name of a column, or several")
    if not schema.targets:
        problems.add("no target is named")
    for target in schema.targets:
        if target not in columns:
            problems.add(f"the target is not among the columns.{nearest(target, columns)}", column=target)
    if problems:
        return list(problems)
    _check_targets(schema, problems)
    _check_roles(schema, problems)
    cell = sequence.steps_column
    if cell is not None and cell not in columns:
        problems.add(f"holds the steps, but is not among the columns.{nearest(cell, columns)}", column=cell)
    elif cell is not None and not columns[cell].steps:
        problems.add(f"{type(columns[cell]).__name__} cells hold no steps", column=cell)
    if schema.weight is not None and schema.weight in columns:
        problems.add("is the weight, and so cannot be an input: take it out of columns", column=schema.weight)
    if not problems and not schema.inputs:
        problems.add("no column is an input")
    return list(problems)


def _check_targets(schema: Schema, problems: Problems) -> None:
    kinds = {schema.columns[t].kind for t in schema.targets}
    for target in schema.targets:
        if schema.columns[target].kind not in ("number", "category", "flag"):
            problems.add("can be no target: a target is a Number, a Category or a Flag", column=target)
        if target == schema.sequence.order_name or target in schema.sequence.by_names:
            problems.add("is the target, and so cannot order the rows or name their series", column=target)
        if schema.columns[target].role in ("known", "static"):
            problems.add(
                f"is the target and has role={schema.columns[target].role!r}, which says that it is known",
                column=target,
                remedy="Leave the role out, or set role='target' so that its past is no input",
            )
    if len(schema.targets) > 1 and kinds != {"number"}:
        problems.add(f"several targets must all be numbers, not {', '.join(sorted(kinds))}")
    if len(set(schema.targets)) < len(schema.targets):
        problems.add("a target is named twice")


def _check_roles(schema: Schema, problems: Problems) -> None:
    for name, column in schema.columns.items():
        if column.role == "target" and name not in schema.targets:
            problems.add("has role='target' but is no target", column=name)
        if column.role == "known" and not schema.horizon:
            problems.add("role='known' has no effect: nothing is predicted ahead", column=name)
        if column.role == "static" and name == schema.sequence.order_name:
            problems.add("orders the rows, so it cannot be static", column=name)


def check_columns(table: Table, needed: Iterable[str], problems: Problems, of: str = "the table") -> None:
    """Note every column of `needed` that `table` lacks; `of` is what the table is called."""
    known = list(table.columns)
    for name in needed:
        if name not in known:
            problems.add(
                f"is missing from {of}.{nearest(name, known)}", column=name, remedy=f"It has: {', '.join(known[:20])}"
            )


def order_numbers(schema: Schema, cells: pl.Series, problems: Problems) -> np.ndarray:
    """Raw cells of the order column -> numbers to sort by, (rows,) int64 or float64; notes cells that have no place."""
    column, where = schema.columns.get(cells.name), Where(cells.name, 0, problems)
    if isinstance(column, Timestamp):
        return column.order_values(column.accept(cells, where), where)
    return order_values(cells, where)


def refuse(condition: bool, message: str) -> None:
    """Raise `OptionError` with `message` where `condition` holds."""
    if condition:
        raise OptionError(message)
