"""Guessing a schema from a table, with a reason for every guess. It reads the rows it is given, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from inputlayer.columns import Audio, Category, Image, Number, Series, Text, Timestamp
from inputlayer.columns.base import Column, Where
from inputlayer.errors import Problems, shorten
from inputlayer.guess import COUNTER, Guess, guess
from inputlayer.schema import Schema, check_columns
from inputlayer.sequence import Cells, Groups, Sequence, Windows
from inputlayer.sequence.base import as_names
from inputlayer.table import Table
from inputlayer.times import NAT

_READ = 100_000  # rows looked at
_STEPS: tuple[type[Column], ...] = (Series, Audio, Image, Text)  # cells that can be the steps, the likeliest first
_LENGTHS = {"day": 30, "hour": 168, "minute": 60}


def infer(
    table: Any,
    target: str | tuple[str, ...] | list[str],
    *,
    length: int | None = None,
    horizon: int | None = None,
    order: str | None = None,
    by: str | tuple[str, ...] | None = None,
) -> Schema:
    """Guess the schema of a table.

    Parameters
    ----------
    target
        The column, or columns, to predict: never guessed.
    length, horizon
        Of the windows; guessed from the step of the data where not given.
    order, by
        What orders the rows, and what tells one series from another; guessed where not given.

    Returns
    -------
    Schema
        Its `reasons` say why, by column and for ``"sequence"``. The first 100,000 rows are looked at.

    Raises
    ------
    TableError
        If the target, or another column named, is not in the table, or nothing can be learnt from it.

    Examples
    --------
    >>> import inputlayer as il
    >>> table = {"day": [f"2024-01-{d:02d}" for d in range(1, 31)], "load": [d % 7 + 0.5 for d in range(30)]}
    >>> schema = il.infer(table, target="load", length=14, horizon=2)
    >>> schema.sequence
    Windows(order='day', length=14, horizon=2)
    >>> schema.reasons["day"]
    'text that reads as times'
    """
    given = Table.of(table)
    targets = as_names(target)
    problems = Problems()
    check_columns(given, [*targets, *as_names(order), *as_names(by)], problems)
    frame = next(given.blocks(rows=_READ), pl.DataFrame())
    if not frame.height:
        problems.add("the table has no rows")
    for name in targets:
        if name in frame.columns and frame.height and frame[name].null_count() == frame.height:
            problems.add("is the target, and none of the first rows has a value", column=name)
    problems.raise_if_any()
    guesses = {n: guess(frame[n], is_target=n in targets, steps=given.axes is not None) for n in frame.columns}
    order, by, why = _ordered(frame, guesses, targets, order, by)
    if order is None and (length is not None or horizon is not None):
        order = next((n for n, g in guesses.items() if n not in targets and g.reason == COUNTER), None)
        if order is None:
            problems.add(
                "windows were asked for, and no column orders the rows",
                remedy="Name one with order=, a column of times or numbers; or leave length and horizon out",
            )
    problems.raise_if_any()
    sequence, reason = _sequence(frame, guesses, targets, order, by, length, horizon)
    columns = _kept(frame, guesses, targets, sequence)
    reasons = {n: g.reason for n, g in guesses.items()} | {"sequence": f"{reason}{why}"}
    return Schema(columns, sequence, target if isinstance(target, str) else tuple(target), reasons=reasons)


def _ordered(
    frame: pl.DataFrame,
    guesses: Mapping[str, Guess],
    targets: tuple[str, ...],
    order: str | None,
    by: str | tuple[str, ...] | None,
) -> tuple[str | None, str | tuple[str, ...] | None, str]:
    """What orders the rows and tells series apart, and why."""
    times = [n for n, g in guesses.items() if isinstance(g.column, Timestamp) and n not in targets]
    why = ""
    if order is None and times:
        order = times[0]
        why = f"; {order!r} is the first column of times"
    if order is None or by is not None:
        return order, by, why
    frame = frame.with_columns(_clock(frame[order], guesses[order].column)).drop_nulls(order)
    if not _repeats(frame.select(order)):
        return order, None, why
    names = [
        n
        for n, g in guesses.items()
        if n not in (order, *targets) and (isinstance(g.column, Category) or frame[n].dtype.is_integer())
    ]
    for name in sorted(names, key=lambda n: frame[n].n_unique()):
        if not _repeats(frame.select(name, order)):
            return order, name, f"{why}; times repeat, but not within one {name!r}"
    return order, None, why


def _repeats(frame: pl.DataFrame) -> bool:
    """Whether rows come twice, and more of them than slip in by chance, which the fit will name."""
    return int(frame.is_duplicated().sum()) > max(2, frame.height // 100)


def _sequence(
    frame: pl.DataFrame,
    guesses: Mapping[str, Guess],
    targets: tuple[str, ...],
    order: str | None,
    by: str | tuple[str, ...] | None,
    length: int | None,
    horizon: int | None,
) -> tuple[Sequence, str]:
    alone = order is None and by is None
    cells = [n for k in _STEPS for n, g in guesses.items() if isinstance(g.column, k) and n not in targets]
    if cells and length is None and horizon is None and (alone or isinstance(guesses[cells[0]].column, Series)):
        return Cells(steps=cells[0]), f"each row is a sample, whose steps are in {cells[0]!r}"
    asked = length is not None or horizon is not None
    changing = [] if by is None else _changing(frame, targets, as_names(by))
    if by is not None and (order is None or not (changing or asked)):
        every = [f"{shorten(n)} changes within one, so every row has its own" for n in changing]
        what = every[0] if every else "which has one value to predict"
        name = ", ".join(as_names(by))
        return Groups(by, order, per_step=bool(changing)), f"all rows of one {name} are a sequence; {what}"
    if order is None:
        return Cells(), "no column orders the rows, so each one is a sample of its own"
    if length is None:
        series = frame.group_by(list(as_names(by))).len()["len"] if by is not None else [frame.height]
        length, step = _length(frame[order], guesses[order].column, max(series))
        reason = f"windows of {length} rows, {step}"
    else:
        reason = f"windows of {length} rows, as asked"
    return Windows(order, length, 1 if horizon is None else horizon, by=by), reason


def _changing(frame: pl.DataFrame, targets: tuple[str, ...], by: tuple[str, ...]) -> list[str]:
    """The targets that have several values in one series."""
    several = frame.group_by(list(by)).agg(pl.col(targets).drop_nulls().n_unique() > 1)
    return [name for name in targets if several[name].any()]


def _clock(values: pl.Series, kind: Column | None) -> pl.Series:
    """What orders the rows: text as the times it reads as, null where it is none."""
    if values.dtype != pl.String or not isinstance(kind, Timestamp):
        return values
    times = pl.Series(values.name, kind.accept(values, Where("", 0, Problems())).utc)
    return times.replace(NAT, None).cast(pl.Datetime("us"))


def _length(values: pl.Series, kind: Column | None, rows: int) -> tuple[int, str]:
    """A look-back, and why; `rows`: of the longest series."""
    tenth = "a tenth of the rows" if rows == len(values) else "a tenth of the longest series"
    values = _clock(values, kind)
    if not values.dtype.is_temporal():
        return max(1, min(96, rows // 10)), "for want of a clock"
    gaps = values.unique().sort().cast(pl.Datetime("us")).diff().drop_nulls().dt.total_seconds()
    step = float(gaps.median() or 0)  # type: ignore[arg-type]  # a median of whole numbers is a number
    name = "day" if step >= 86_400 else "hour" if step >= 3600 else "minute"
    most = max(1, rows // 10)
    reason = {"day": "a month of days", "hour": "a week of hours", "minute": "an hour of minutes"}[name]
    length = _LENGTHS[name]
    return (length, reason) if length <= most else (most, tenth)


def _kept(
    frame: pl.DataFrame, guesses: dict[str, Guess], targets: tuple[str, ...], sequence: Sequence
) -> dict[str, Column]:
    """The columns of the schema: what has a kind, what does not only name the series; static where constant in each."""
    by = list(sequence.by_names)
    columns: dict[str, Column] = {}
    for name, found in guesses.items():
        column = found.column
        if column is None or (name in by and isinstance(column, Number)):
            continue
        if name in by and isinstance(sequence, Groups):
            guesses[name] = Guess(None, "left out: it names the group, and the name of a new one says nothing")
            continue
        if by and name not in targets and not (isinstance(column, Timestamp) or frame[name].dtype.is_nested()):
            each = frame.group_by(by).agg(_distinct=pl.col(name).drop_nulls().n_unique())["_distinct"]
            if name in by or each.max() == 1:
                column = replace(column, role="static")
                guesses[name] = Guess(column, f"{found.reason}, one for each series")
        columns[name] = column
    for name in targets:
        if name not in columns:
            kind: Column = Number() if frame[name].dtype.is_numeric() else Category()
            columns[name] = kind
            guesses[name] = Guess(kind, "the target")
    return columns
