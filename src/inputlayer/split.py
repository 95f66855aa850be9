"""Cutting a table into train, valid and test: in time for windows, by whole groups, by rows for cells."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl

from inputlayer.columns.base import Where
from inputlayer.columns.timestamp import Timestamp
from inputlayer.errors import OptionError, Problems
from inputlayer.schema import Schema, check_columns, refuse
from inputlayer.sequence import Windows
from inputlayer.sequence.base import order_values
from inputlayer.table import Table

Part = float | int | str | date | datetime


def split(
    table: Any, schema: Schema, valid: Part = 0.2, test: Part = 0.2, *, seed: int = 0, stratify: bool = False
) -> tuple[Table, Table | None, Table | None]:
    """Cut a table into three that share no row.

    Windows: one cut in time for all series; train is the earliest part. Groups: whole groups; Cells: rows; both shuffled.

    Parameters
    ----------
    valid, test
        How much goes there: a share (0.2), a number of rows (windows, cells) or groups (2880), or for windows the value
        of the order column where the part begins ("2014-07-01"). 0: no such part, and None in its place.
    seed
        Of the shuffle. stratify: whether each class keeps its share in every part (one target of classes).

    Returns
    -------
    train, valid, test

    Raises
    ------
    OptionError
        If the parts leave nothing to train on, or an option has no effect.

    Examples
    --------
    >>> import inputlayer as il
    >>> table = {"day": list(range(10)), "load": [1.0] * 10}
    >>> schema = il.Schema({"load": il.Number()}, il.Windows("day", length=2), target="load")
    >>> [part.height for part in il.split(table, schema, valid=0.2, test=3)]
    [5, 2, 3]
    """
    given = Table.of(table)
    problems = Problems()
    check_columns(given, schema.needed(targets=True), problems)
    problems.raise_if_any()
    for name, part in (("valid", valid), ("test", test)):
        _check_part(name, part, timed=isinstance(schema.sequence, Windows))
    if isinstance(schema.sequence, Windows):
        refuse(seed != 0 or stratify, "seed and stratify have no effect: windows are cut in time")
        labels = _in_time(given, schema, schema.sequence.order, valid, test)
    else:
        labels = _shuffled(given, schema, valid, test, seed, stratify)
    parts = [np.flatnonzero(labels == i) for i in range(3)]
    refuse(not len(parts[0]), f"valid={valid!r} and test={test!r} leave no rows to train on ({given.height} in all)")
    for name, part, rows in (("valid", valid, parts[1]), ("test", test, parts[2])):
        refuse(part != 0 and not len(rows), f"{name}={part!r} gives no rows ({given.height} in all)")
    train, *others = (given.take(rows) for rows in parts)
    return train, others[0] if valid != 0 else None, others[1] if test != 0 else None


def _check_part(name: str, part: Part, *, timed: bool) -> None:
    if isinstance(part, str | date):
        refuse(not timed, f"{name}={part!r}: only windows are cut at a time. Give a share or a number")
    elif (
        isinstance(part, bool)
        or not isinstance(part, int | float)
        or part < 0
        or (isinstance(part, float) and part >= 1)
    ):
        raise OptionError(f"{name}={part!r}: give a share below 1, a number of rows, or a time")


def _count(part: float, total: int) -> int:
    return part if isinstance(part, int) else round(part * total)


def _in_time(table: Table, schema: Schema, name: str, valid: Part, test: Part) -> np.ndarray:
    """0, 1 or 2 for each row: train, valid, test. Rows that share a time stay together."""
    problems = Problems()
    values = table.frame([name])[name]
    column = schema.columns.get(name)
    where = Where(name, 0, problems)

    def numbers(cells: pl.Series) -> np.ndarray:
        return (
            column.order_values(column.accept(cells, where), where)
            if isinstance(column, Timestamp)
            else order_values(cells, where)
        )

    order = numbers(values)
    problems.raise_if_any()
    ranked = np.sort(order)
    cuts = []
    end = len(ranked)
    for part in (test, valid):
        if isinstance(part, int | float):
            begin = max(end - _count(part, len(ranked)), 0)
            cut = ranked[begin] if begin < len(ranked) else np.inf
        else:
            cut = numbers(_moment(part, values))[0]
            begin = int(np.searchsorted(ranked, cut))
        cuts.append(cut)
        end = begin
    test_cut, valid_cut = cuts
    if test == 0:
        test_cut = np.inf
    if valid == 0:
        valid_cut = test_cut
    return np.where(order >= test_cut, 2, np.where(order >= valid_cut, 1, 0))


def _moment(part: str | date, values: pl.Series) -> pl.Series:
    """A time given by the user, in the type of the order column."""
    dtype = values.dtype
    given = pl.Series([part])
    try:
        if dtype == pl.String:
            return given.cast(pl.String)
        if given.dtype == pl.String:
            if dtype.is_numeric():
                return given.cast(pl.Float64)
            given = given.str.to_datetime()
        if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None and given.dtype.is_temporal():
            return given.cast(pl.Datetime("us")).dt.replace_time_zone(dtype.time_zone)
        return given.cast(dtype)
    except pl.exceptions.PolarsError:
        raise OptionError(f"{part!r} is no value of the order column {values.name!r}, which holds {dtype}") from None


def _shuffled(table: Table, schema: Schema, valid: Part, test: Part, seed: int, stratify: bool) -> np.ndarray:
    by = list(schema.sequence.by_names)
    targets = list(schema.targets)
    frame = table.frame([*by, *(t for t in targets if t not in by)])
    if by:
        units = (
            frame.group_by(by, maintain_order=True).agg(pl.col(targets).drop_nulls().first()).with_row_index("_unit")
        )
        member = (
            frame.select(by).join(units, on=by, how="left", nulls_equal=True, maintain_order="left")["_unit"].to_numpy()
        )
    else:
        units, member = frame, np.arange(frame.height)
    assert isinstance(valid, int | float)
    assert isinstance(test, int | float)
    draw = np.random.default_rng(seed)
    if not stratify:
        return _dealt(draw.permutation(units.height), valid, test)[member]
    refuse(
        len(targets) != 1 or schema.columns[targets[0]].kind == "number", "stratify=True needs one target of classes"
    )
    labels = np.zeros(units.height, dtype=np.int64)
    total = units.height
    for cls in units[targets[0]].unique(maintain_order=True):
        same = np.flatnonzero(
            (units[targets[0]].eq_missing(pl.Series([cls], dtype=units[targets[0]].dtype))).to_numpy()
        )
        shares = [_count(p, total) / total if isinstance(p, int) else p for p in (valid, test)]
        labels[same[draw.permutation(len(same))]] = _dealt(np.arange(len(same)), shares[0], shares[1])
    return labels[member]


def _dealt(order: np.ndarray, valid: float, test: float) -> np.ndarray:
    """The part of each unit: the last in `order` are test, those before them valid."""
    count = len(order)
    labels = np.zeros(count, dtype=np.int64)
    held = _count(test, count)
    labels[order[count - held :]] = 2
    labels[order[max(count - held - _count(valid, count), 0) : count - held]] = 1
    return labels
