"""What lies ahead of a table's last rows: the rows of the horizon, and the last window of each series."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from inputlayer.columns.base import Where
from inputlayer.columns.timestamp import TimestampState
from inputlayer.encode import Encoded
from inputlayer.errors import OptionError, Problems, listed, nearest, unknown_ahead
from inputlayer.fit import Fitted, is_timed
from inputlayer.receipt import key_text
from inputlayer.schema import check_columns, order_numbers
from inputlayer.sequence import Index, Windows
from inputlayer.table import Table


def rows_ahead(fitted: Fitted, table: Table, future: Table | None, problems: Problems) -> tuple[Table | None, bool]:
    """The rows of the horizon behind each series of `table`, and whether their order column means anything.

    They come from `future` where it is given. Otherwise they are made from the clock, which serves where nothing but
    the time is known ahead. What is not known ahead is null in them. None if the horizon is 0 or `problems` were found.
    """
    schema, horizon = fitted.schema, fitted.schema.horizon
    if not horizon:
        if future is not None:
            raise OptionError("future= has no effect: the horizon is 0")
        return None, True
    before = len(problems)
    check_columns(table, schema.needed(targets=False), problems)
    last = _last(fitted, table, problems) if len(problems) == before else None
    if last is None or len(problems) > before:
        return None, True
    given, ahead = True, None
    if future is None:
        given, ahead = _made(fitted, table, last, problems)
    else:
        ahead = _checked(fitted, future, last, problems)
    if ahead is None or len(problems) > before:
        return None, True
    # Of the rows ahead only what is known is kept: anything else would be a look into the future.
    known = {*schema.sequence.by_names, str(schema.sequence.order_name), *schema.future}
    types = table.columns
    unknown = [
        pl.Series(n, [None] * ahead.height, dtype=types[n]) for n in schema.needed(targets=False) if n not in known
    ]
    return Table.of(ahead.select(n for n in ahead.columns if n in known).with_columns(unknown)), given


def _last(fitted: Fitted, table: Table, problems: Problems) -> pl.DataFrame:
    """Each series' keys and last order value, as ``_last``."""
    sequence = fitted.schema.sequence
    by = list(sequence.by_names)
    frame = table.frame([*by, str(sequence.order_name)])
    if not frame.height:
        problems.add("the table has no rows")
    order = order_numbers(fitted.schema, frame[str(sequence.order_name)], problems)
    keyed = pl.DataFrame([*frame.select(by), pl.Series("_last", order)])
    return keyed.group_by(by).agg(pl.col("_last").max()).sort(by) if by else keyed.select(pl.col("_last").max())


def _made(fitted: Fitted, table: Table, last: pl.DataFrame, problems: Problems) -> tuple[bool, pl.DataFrame]:
    schema, clock = fitted.schema, fitted.clock
    name, horizon = str(schema.sequence.order_name), schema.horizon
    named = [n for n in schema.future if n != name]
    regular = clock is not None and clock.regular
    if named or (schema.future and not regular):
        columns = [*schema.sequence.by_names, name, *named]
        wanted = f"a table of the next {horizon} rows of each series with {', '.join(columns)}"
        problems.extend([unknown_ahead(name, named, wanted)])
    rows = last.select(pl.all().repeat_by(horizon).explode())
    # Without a regular clock the rows only have to follow, so that the smallest step will do.
    step = int(clock.step) if clock is not None and regular else 1
    moved = rows["_last"].to_numpy() + np.tile(np.arange(1, horizon + 1), last.height) * step
    order = pl.Series(name, moved)
    if is_timed(schema, table):
        order = order.cast(pl.Datetime("us"))
        zone = _zone(fitted, table)
        order = order if zone is None else order.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    return regular, rows.drop("_last").with_columns(order)


def _zone(fitted: Fitted, table: Table) -> str | None:
    """The zone of the order column: the table's own, or for text that which was learnt."""
    name = str(fitted.schema.sequence.order_name)
    dtype, state = table.columns[name], fitted.states.get(name)
    if isinstance(dtype, pl.Datetime):
        return dtype.time_zone
    return state.zone if dtype == pl.String and isinstance(state, TimestampState) else None


def in_table_type(fitted: Fitted, table: Table, order: np.ndarray) -> pl.Series:
    """Numbers of the order column as the table writes them; text as times."""
    name = str(fitted.schema.sequence.order_name)
    dtype, values = table.columns[name], pl.Series(name, order)
    if not is_timed(fitted.schema, table):
        return values if values.dtype.is_float() else values.cast(dtype)
    times, zone = values.cast(pl.Datetime("us")), _zone(fitted, table)
    if dtype == pl.Date:
        return times.cast(pl.Date)
    if zone is not None:
        times = times.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    return times.dt.cast_time_unit(dtype.time_unit) if isinstance(dtype, pl.Datetime) else times


def _checked(fitted: Fitted, future: Table, last: pl.DataFrame, problems: Problems) -> pl.DataFrame | None:
    """The rows of `future`, found to be exactly the horizon's rows behind each series."""
    schema, before = fitted.schema, len(problems)
    name, by = str(schema.sequence.order_name), list(schema.sequence.by_names)
    check_columns(future, [*by, name, *(n for n in schema.future if n != name)], problems, of="future=")
    for target in schema.targets:
        if target in future.columns and future.frame([target])[target].null_count() < future.height:
            problems.add("is a target, and future= holds values of it", column=target, remedy="Leave it out of future")
    if len(problems) > before:
        return None
    frame = future.frame().with_columns(pl.col(n).cast(last[n].dtype, strict=False) for n in by)
    found = Problems()
    order = order_numbers(fitted.schema, frame[str(fitted.schema.sequence.order_name)], found)
    if not found:
        keyed = pl.DataFrame([*frame.select(by), pl.Series("_order", order)]).with_row_index("_row")
        how: dict[str, Any] = {"on": by, "how": "left", "nulls_equal": True, "maintain_order": "left"}
        joined = keyed.join(last, **how) if by else keyed.join(last, how="cross")
        _check_follows(fitted, joined, frame[name], last, found)
    problems.extend(found, "in future=: ")
    return frame


def _check_follows(
    fitted: Fitted, joined: pl.DataFrame, cells: pl.Series, last: pl.DataFrame, problems: Problems
) -> None:
    """`joined` holds, for each row of future=, its keys, ``_row``, ``_order`` and its series' ``_last``."""
    schema, clock = fitted.schema, fitted.clock
    by, where = list(schema.sequence.by_names), Where(str(schema.sequence.order_name), 0, problems)
    _check_series(joined.filter(pl.col("_last").is_null()), last, by, problems)
    early = (joined["_order"] <= joined["_last"]).fill_null(False)
    remedy = "It has to hold the rows right after the table's"
    where.add("does not follow the series' last row", early.to_numpy(), cells, remedy)
    twice = joined.select([*by, "_order"]).is_duplicated().to_numpy()
    where.add("has the same value twice in one series", twice, cells, "Drop the repeated rows")
    counts = joined.group_by(by).len() if by else pl.DataFrame({"len": [joined.height]})
    whole = last.join(counts, on=by, how="left", nulls_equal=True) if by else counts
    wrong = whole.filter(pl.col("len").fill_null(0) != schema.horizon)
    for key, count in zip(key_text(wrong.select(by)), wrong["len"].fill_null(0), strict=False):
        of = f" for series {key!r}" if by else ""
        problems.add(f"there are {count} rows{of}, and the horizon is {schema.horizon}", remedy=remedy)
    if problems or clock is None or not clock.regular:
        return
    ordered = joined.sort([*by, "_order"])
    place = np.tile(np.arange(1, schema.horizon + 1), last.height)
    off = ordered["_order"].to_numpy() != ordered["_last"].to_numpy() + place * int(clock.step)
    bad = np.zeros(len(cells), dtype=bool)
    bad[ordered["_row"].to_numpy()[off]] = True
    where.add("leaves the regular steps of the training rows", bad, cells, f"{remedy}, one step each")


def _check_series(strays: pl.DataFrame, last: pl.DataFrame, by: list[str], problems: Problems) -> None:
    """Note each series among `strays`, the rows of future= that have no row in the table."""
    known, names = (
        key_text(last.select(by)),
        pl.Series("_name", key_text(strays.select(by))[: strays.height], pl.String),
    )
    grouped = strays.with_columns(names).group_by("_name", maintain_order=True)
    for name, rows in grouped.agg("_row").iter_rows():
        hint = nearest(str(name), known).strip() or f"The table has {listed(known)}"
        problems.add(f"the series {name!r} is not in the table", rows=rows, remedy=hint)


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
        named = encoded.rows.keys.width > 0
        shown = [f"series {names[g]!r} has {counts[g]}" if named else f"it has {counts[g]}" for g in lacking[:5]]
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        gap = ", with no gap above max_gap" if sequence.max_gap is not None else ""
        problems.add(
            f"a prediction needs the last {sequence.length} rows of each series{gap}: {', '.join(shown)}{more}",
            remedy="Give more rows" if sequence.pad_short else "Give more rows, or fit with Windows(pad_short=True)",
        )
        problems.raise_if_any()
    return found
