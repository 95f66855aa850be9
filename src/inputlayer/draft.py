"""The first draft of a project: guessed from a table's training rows, with the reason for every guess beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from inputlayer.blocks import placed
from inputlayer.columns import Audio, Image, Number, Timestamp
from inputlayer.columns.base import Column, Where
from inputlayer.errors import OptionError, Problems
from inputlayer.files import CSV, MISSING
from inputlayer.infer import infer
from inputlayer.order import check_places
from inputlayer.recipe import recipe, task_of
from inputlayer.schema import Schema
from inputlayer.sequence import Windows
from inputlayer.split import split
from inputlayer.table import Table, read

_PARTS: dict[str, Any] = {"valid": 0.2, "test": 0.2}
_WHY = {
    "split.valid": "what early stopping looks at",
    "split.test": "what the scores come from; nothing is ever learnt from it",
}


def draft(
    path: str | Path,
    target: str | Sequence[str],
    *,
    length: int | None = None,
    horizon: int | None = None,
    order: str | None = None,
    by: str | Sequence[str] | None = None,
    missing: Sequence[str] = (),
    file: Path,
) -> str:
    """The text of a project's file for the table at `path`, to be edited.

    The table is split first; kinds, options and lengths are guessed from its training rows alone, and stages, body,
    head and training chosen by the rules of `il.recipe`. Only what the split itself needs, the columns that order the
    rows and tell series apart, is looked up in the whole table; whether each row has a place of its own in its series;
    whether a text column of numbers or times has cells that are none, as such a cell in the last rows would have the
    others taken for words; and whether all files of sounds and pictures can be read.

    Parameters
    ----------
    target, length, horizon, order, by
        As for `il.infer`.
    missing
        Cells of a CSV file that stand for a missing value, beside the usual ones.
    file
        Where the text will be written; its paths count from that folder.

    Raises
    ------
    TableError, OptionError
        If a column named is not there, if cells among numbers or times are none, if rows have no place in their series
        or share one, if files of sounds and pictures cannot be read, or if the rows are too few to split or to choose a
        recipe for.
    """
    if missing and not str(path).lower().endswith(CSV):
        raise OptionError(f"missing has no effect on {path}: only in a CSV file is a missing value a text.")
    marks = [*MISSING, *missing]
    table = read(path, marks)
    asked: dict[str, Any] = {"length": length, "horizon": horizon, "order": order, "by": _one_or_all(by)}
    wanted = _one_or_all(target)
    whole = infer(table, wanted, **asked)
    _check_cells(table, whole.columns)
    _check_order(table, whole)
    train, _, _ = split(table, whole, **_PARTS)
    schema = infer(train, wanted, **asked)
    paths = {n: column for n, column in schema.columns.items() if isinstance(column, Audio | Image)}
    # Those of which a later row holds something else were not taken for paths in the whole table.
    _check_cells(table, {n: column for n, column in paths.items() if whole.columns.get(n) != column})
    relative = Path(os.path.relpath(path, file.parent)).as_posix()
    rows = f"{table.height:,} rows; what is guessed here was guessed from the {train.height:,} training rows alone."
    made = recipe(task_of(schema), train, schema)
    project = replace(made.project(relative, _PARTS), missing=marks if missing else None)
    return project.to_toml({**_comments(schema, f"{Path(path).name}: {rows}", file.name), **made.reasons})


def _check_cells(table: Table, guessed: Mapping[str, Column]) -> None:
    """Name every cell of text that is no number or no time, in columns where all but a few are; and every bad file."""
    types = table.columns
    columns: dict[str, Column] = {
        name: column
        for name, column in guessed.items()
        if isinstance(column, Audio | Image) or (types[name] == pl.String and isinstance(column, Number | Timestamp))
    }
    if not columns:
        return
    problems, first = Problems(), 0
    for block in table.blocks(list(columns)):
        for name, column in columns.items():
            column.examine(column.accept(block[name], Where(name, first, problems)))
        first += block.height
    problems.raise_if_any()


def _check_order(table: Table, schema: Schema) -> None:
    """Name the rows that have no place in their series, or the same, as they will be when the draft is trained."""
    problems = Problems()
    places = placed(schema, table, problems)
    problems.raise_if_any()
    check_places(schema, table, places, problems)
    problems.raise_if_any()


def _one_or_all(names: str | Sequence[str] | None) -> Any:
    """One name as text, several as a tuple."""
    if names is None or isinstance(names, str):
        return names
    return names[0] if len(names) == 1 else tuple(names) or None


def _comments(schema: Schema, first: str, name: str) -> Mapping[str, str]:
    reasons = schema.reasons
    left = [f"{n}: {_why_left(schema, n, why)}" for n, why in reasons.items() if n not in (*schema.columns, "sequence")]
    windows = isinstance(schema.sequence, Windows)
    return {
        **_WHY,
        "": f"{first}\nCorrect what is wrong, then: inputlayer train {name}",
        "data.path": "counts from the folder of this file",
        "data.missing": "the cells that stand for a missing value",
        "columns": "Each column's kind, and why. Options are those of il.Number(...), il.Category(...) and so on:\n"
        'load = { kind = "number", fill = "forward", sentinels = [-9999] } or { kind = "flag", role = "known" }',
        **{f"columns.{n}": _why_kept(schema, n, reasons[n]) for n in schema.columns},
        "columns.": "\n".join(left),
        "sequence": f"{reasons['sequence'][:1].upper()}{reasons['sequence'][1:]}.",
        "sequence.length": "look-back, in rows",
        "sequence.horizon": "rows predicted after it",
        "split": "Cut in time: train is the earliest part, test the latest."
        if windows
        else "Drawn by chance; seed = 1 draws another way.",
    }


def _why_kept(schema: Schema, name: str, reason: str) -> str:
    if name not in schema.targets:
        return reason
    return f"{reason}; the target, whose past is an input" if name in schema.past_targets else f"{reason}; the target"


def _why_left(schema: Schema, name: str, reason: str) -> str:
    if name in schema.sequence.by_names:
        return "only tells one series from another"
    if name == schema.sequence.order_name:
        return "only orders the rows"
    return reason
