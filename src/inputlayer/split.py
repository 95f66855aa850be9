"""Cutting a table into train, valid and test: in time for windows, by whole groups, by rows for cells."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl

from inputlayer.errors import InputLayerError, OptionError, Problems
from inputlayer.schema import Schema, check_columns, order_numbers, refuse
from inputlayer.sequence import Windows
from inputlayer.table import Table

Part = float | int | str | date | datetime


def split(
    table: Any, schema: Schema, valid: Part = 0.2, test: Part = 0.2, *, seed: int = 0, stratify: bool = False
) -> tuple[Table, Table | None, Table | None]:
    """Cut a table into three that share no row.

    Windows: one cut in time for all series; train is the earliest part. Groups: whole groups; Cells: rows; both are
    shuffled.

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
        labels = _in_time(given, schema, valid, test)
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


def _in_time(table: Table, schema: Schema, valid: Part, test: Part) -> np.ndarray:
    """0, 1 or 2 for each row: train, valid, test. Rows that share a time stay together."""
    name = str(schema.sequence.order_name)
    values = table.frame([name])[name]
    problems = Problems()
    order = order_numbers(schema, values, problems)
    problems.raise_if_any()
    ranked = np.sort(order)  # of all series together
    cuts: list[float] = []
    end = len(ranked)
    for part in (test, valid):
        if part == 0:
            cut = cuts[-1] if cuts else np.inf
        elif isinstance(part, int | float):
            cut = ranked[max(end - _count(part, len(ranked)), 0)] if end else np.inf
        else:
            cut = _moment(schema, part, values)
        end = int(np.searchsorted(ranked, cut))
        cuts.append(cut)
    labels: np.ndarray = np.where(order >= cuts[0], 2, np.where(order >= cuts[1], 1, 0))
    return labels


def _moment(schema: Schema, part: str | date, values: pl.Series) -> float:
    """A time given by the user, as a number like those of the order column."""
    problems = Problems()
    try:
        given = _like(pl.Series(values.name, [part]), values.dtype)
        moment = float(order_numbers(schema, given, problems)[0])
    except (pl.exceptions.PolarsError, InputLayerError):
        moment = np.nan
    if problems or np.isnan(moment):
        raise OptionError(f"{part!r} is no value of the order column {values.name!r}, which holds {values.dtype}")
    return moment


def _like(given: pl.Series, dtype: pl.DataType) -> pl.Series:
    """One value of the user's in the type of the order column; a time without a zone is one of the column's zone."""
    if dtype.is_numeric():
        return given.cast(pl.Float64)
    if dtype == pl.String:
        return given
    if given.dtype == pl.String:
        given = given.str.to_datetime()
    zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
    aware = isinstance(given.dtype, pl.Datetime) and given.dtype.time_zone is not None
    if zone is not None and not aware:
        return given.cast(pl.Datetime("us")).dt.replace_time_zone(zone)
    if aware and zone is None:
        raise OptionError("a time with a zone, and a column without one")
    return given


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
        return np.asarray(_dealt(draw.permutation(units.height), valid, test)[member])
    refuse(
        len(targets) != 1 or schema.columns[targets[0]].kind == "number", "stratify=True needs one target of classes"
    )
    labels = np.zeros(units.height, dtype=np.int64)
    shares = [_count(p, units.height) / units.height if isinstance(p, int) else p for p in (valid, test)]
    codes = units[targets[0]].rank("dense").fill_null(0).to_numpy()
    for code in np.unique(codes):
        same = np.flatnonzero(codes == code)
        labels[same] = _dealt(draw.permutation(len(same)), shares[0], shares[1])
    return np.asarray(labels[member])


def _dealt(order: np.ndarray, valid: float, test: float) -> np.ndarray:
    """The part of each unit: the last in `order` are test, those before them valid."""
    count = len(order)
    labels = np.zeros(count, dtype=np.int64)
    held = _count(test, count)
    labels[order[count - held :]] = 2
    labels[order[max(count - held - _count(valid, count), 0) : count - held]] = 1
    return labels
