"""What lies ahead of a table's last rows: the rows of the horizon, and the last window of each series."""

from __future__ import annotations

import numpy as np
import polars as pl

from inputlayer.columns.base import Where
from inputlayer.columns.timestamp import Timestamp
from inputlayer.encode import Encoded
from inputlayer.errors import OptionError, Problems
from inputlayer.fit import Fitted
from inputlayer.receipt import key_text
from inputlayer.schema import check_columns
from inputlayer.sequence import Index, Windows
from inputlayer.sequence.base import order_values
from inputlayer.table import Table


def with_future(fitted: Fitted, table: Table, future: Table | None) -> tuple[Table, bool]:
    """`table` with the rows of the horizon behind each series, and whether their order column means anything.

    The rows come from `future` where it is given. Otherwise they are made from the clock, which serves where nothing
    but the time is known ahead.

    Raises
    ------
    TableError
        If `future` is needed and not there, or does not follow the series' last rows.
    """
    schema = fitted.schema
    sequence = schema.sequence
    assert isinstance(sequence, Windows)
    problems = Problems()
    check_columns(table, schema.needed(targets=False), problems)
    problems.raise_if_any()
    if not sequence.horizon:
        if future is not None:
            raise OptionError("future= has no effect: the horizon is 0")
        return table, True
    last = _last(fitted, table, problems)
    problems.raise_if_any()
    if future is None:
        given, ahead = _made(fitted, table, last, problems)
    else:
        given, ahead = True, _checked(fitted, table, future, last, problems)
    problems.raise_if_any()
    # Of the rows ahead only what is known is kept: anything else would be a look into the future.
    kept = [*sequence.by_names, sequence.order, *(n for n in schema.future if n != sequence.order)]
    return Table.concat([table, Table.of(ahead.select(kept))]), given


def _order(fitted: Fitted, frame: pl.DataFrame, problems: Problems) -> np.ndarray:
    name = fitted.schema.sequence.order_name
    assert name is not None
    column = fitted.schema.columns.get(name)
    where = Where(name, 0, problems)
    if isinstance(column, Timestamp):
        return column.order_values(column.accept(frame[name], where), where)
    return order_values(frame[name], where)


def _last(fitted: Fitted, table: Table, problems: Problems) -> pl.DataFrame:
    """Each series' keys and last order value, as ``_last``."""
    sequence = fitted.schema.sequence
    assert isinstance(sequence, Windows)
    by = list(sequence.by_names)
    frame = table.frame([*by, sequence.order])
    keyed = pl.DataFrame([pl.Series("_last", _order(fitted, frame, problems)), *frame.select(by)])
    if not frame.height:
        problems.add("the table has no rows")
    return keyed.group_by(by).agg(pl.col("_last").max()).sort(by) if by else keyed.select(pl.col("_last").max())


def _made(fitted: Fitted, table: Table, last: pl.DataFrame, problems: Problems) -> tuple[bool, pl.DataFrame]:
    schema, sequence, clock = fitted.schema, fitted.schema.sequence, fitted.clock
    assert isinstance(sequence, Windows)
    named = [n for n in schema.future if n != sequence.order]
    regular = clock is not None and clock.regular
    if named or (schema.future and not regular):
        what = ", ".join(map(repr, named)) if named else f"{sequence.order!r}, whose steps are not regular,"
        problems.add(
            f"{what} must be known ahead",
            remedy=f"Pass future=, a table of the next {sequence.horizon} rows of each series with"
            f" {', '.join([*sequence.by_names, sequence.order, *named])}",
        )
    step = clock.step if clock is not None and regular else 1
    steps = np.arange(1, sequence.horizon + 1)
    rows = last.select(pl.all().repeat_by(sequence.horizon).explode())
    moved = rows["_last"].to_numpy() + np.tile(steps, last.height) * (int(step) if regular else step)
    order = pl.Series(sequence.order, moved)
    return regular, rows.drop("_last").with_columns(_typed(order, table, regular=regular, fitted=fitted))


def _typed(order: pl.Series, table: Table, *, regular: bool, fitted: Fitted) -> pl.Series:
    """Order numbers in the type of the table's own order column."""
    dtype = table.columns[order.name]
    timed = fitted.clock.timed if fitted.clock is not None else dtype.is_temporal()
    if not timed:
        return order.cast(dtype)
    times = order.cast(pl.Int64).cast(pl.Datetime("us"))
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is not None:
            times = times.dt.replace_time_zone("UTC").dt.convert_time_zone(dtype.time_zone)
        return times.dt.cast_time_unit(dtype.time_unit)
    if dtype == pl.String:
        return times.dt.strftime("%Y-%m-%dT%H:%M:%S%.f")
    return times.cast(dtype) if regular else times.cast(pl.Date)


def _checked(fitted: Fitted, table: Table, future: Table, last: pl.DataFrame, problems: Problems) -> pl.DataFrame:
    """The rows of `future`, found to be exactly the horizon's rows behind each series."""
    schema, sequence = fitted.schema, fitted.schema.sequence
    assert isinstance(sequence, Windows)
    by = list(sequence.by_names)
    check_columns(future, [*by, sequence.order, *(n for n in schema.future if n != sequence.order)], problems)
    for target in schema.targets:
        if target in future.columns and future.frame([target])[target].null_count() < future.height:
            problems.add("is a target, and future= holds values of it", column=target, remedy="Leave it out of future")
    problems.raise_if_any()
    frame = future.frame()
    order = pl.Series("_order", _order(fitted, frame, problems))
    problems.raise_if_any()
    keyed = frame.with_columns(order)
    found = keyed.join(last, on=by, how="left", nulls_equal=True) if by else keyed.join(last, how="cross")
    _check_follows(fitted, found, last, by, problems)
    return keyed.drop("_order")


def _check_follows(fitted: Fitted, found: pl.DataFrame, last: pl.DataFrame, by: list[str], problems: Problems) -> None:
    sequence, clock = fitted.schema.sequence, fitted.clock
    assert isinstance(sequence, Windows)
    early = found["_last"].is_null() | (found["_order"] <= found["_last"])
    if early.any():
        Where(sequence.order, 0, problems).add(
            "does not follow the series' last row, or its series is not in the table",
            early.to_numpy(),
            found[sequence.order],
            "future= holds the rows right after the table's",
        )
    counts = found.group_by(by).len() if by else pl.DataFrame({"len": [found.height]})
    whole = last.join(counts, on=by, how="left", nulls_equal=True) if by else counts
    wrong = whole.filter(pl.col("len").fill_null(0) != sequence.horizon)
    for key, count in zip(key_text(wrong.select(by)), wrong["len"].fill_null(0), strict=False):
        problems.add(
            f"future= has {count} rows" + (f" for series {key!r}" if key else "") + f", not {sequence.horizon}"
        )
    if clock is not None and clock.regular and not early.any() and not wrong.height:
        ordered = found.sort([*by, "_order"])
        place = np.tile(np.arange(1, sequence.horizon + 1), last.height)
        expected = ordered["_last"].to_numpy() + place * int(clock.step)
        Where(sequence.order, 0, problems).add(
            "leaves the regular steps of the training rows",
            ordered["_order"].to_numpy() != expected,
            ordered[sequence.order],
            "future= holds the rows right after the table's, one step each",
        )


def last_windows(fitted: Fitted, encoded: Encoded) -> Index:
    """The last window of each series.

    Raises
    ------
    TableError
        Naming the series that are too short for one, or broken by a gap.
    """
    sequence = fitted.schema.sequence
    assert isinstance(sequence, Windows)
    index = sequence.index(encoded.rows, None, training=False)
    ends = encoded.rows.offsets[1:][index.series] - sequence.horizon
    last = index.start + index.length == ends
    found = Index(index.start[last], index.length[last], index.ahead[last], index.series[last], index.targets)
    lacking = np.setdiff1d(np.arange(len(encoded.rows.offsets) - 1), found.series)
    if len(lacking):
        problems = Problems()
        names, counts = key_text(encoded.rows.keys), np.diff(encoded.rows.offsets) - sequence.horizon
        shown = [f"series {names[g]!r} has {counts[g]}" if names[g] else f"it has {counts[g]}" for g in lacking[:5]]
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        gap = ", with no gap above max_gap" if sequence.max_gap is not None else ""
        problems.add(
            f"a prediction needs the last {sequence.length} rows of each series{gap}: {', '.join(shown)}{more}",
            remedy="Give more rows" if sequence.pad_short else "Give more rows, or fit with pad_short=True",
        )
        problems.raise_if_any()
    return found
