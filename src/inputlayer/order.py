"""Order: where each row stands among those of its series, and what is wrong with it."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl

from inputlayer.columns.base import Where
from inputlayer.errors import Problems, listed, shorten
from inputlayer.fit import Clock, is_timed
from inputlayer.receipt import key_text
from inputlayer.schema import Schema
from inputlayer.sequence import Rows, Sequence
from inputlayer.table import Table
from inputlayer.times import fields


def series_of(keys: pl.DataFrame) -> tuple[np.ndarray | None, pl.DataFrame]:
    """The series of each row (N,) int64, and each series' keys, sorted; from the key columns of all rows.

    Without key columns there is one series, and None in place of the rows' numbers.
    """
    if not keys.width:
        return None, pl.DataFrame(height=1)
    by = keys.columns
    unique = keys.unique().sort(by)
    found = keys.join(unique.with_row_index("_series"), on=by, how="left", maintain_order="left", nulls_equal=True)
    return found["_series"].to_numpy().astype(np.int64), unique


def sorting(series: np.ndarray | None, order: np.ndarray | None) -> np.ndarray | None:
    """The rows by series and order column, or None where they stand so already.

    >>> sorting(np.array([1, 0, 0]), np.array([5, 7, 6])).tolist()
    [2, 1, 0]
    >>> sorting(np.array([0, 0, 1]), np.array([6, 7, 5])) is None
    True
    """
    columns = [c for c in (order, series) if c is not None]  # np.lexsort: the last is the first to sort by
    if not columns:
        return None
    fine = columns[0][:-1] <= columns[0][1:]
    if len(columns) == 2:
        before, after = columns[1][:-1], columns[1][1:]
        fine = (before < after) | ((before == after) & fine)
    return None if fine.all() else np.lexsort(columns)


def check_unique(rows: Rows, sequence: Sequence, own: int, problems: Problems) -> None:
    """Note rows of one series that share a value of the order column: their order would be chance.

    The first `own` rows of the source are the table's, those after them its context.
    """
    if rows.order is None or rows.count < 2:
        return
    same = np.zeros(rows.count - 1, dtype=bool)
    np.equal(rows.order[1:], rows.order[:-1], out=same)
    borders = rows.offsets[1:-1]
    same[borders[(borders > 0) & (borders < rows.count)] - 1] = False
    after = np.flatnonzero(same) + 1
    if not len(after):
        return
    source = rows.source if rows.source is not None else np.arange(rows.count)
    pairs = np.stack([source[after - 1], source[after]], axis=1)  # both rows of each pair, as their table numbers them
    values = np.stack([rows.order[after]] * 2, axis=1)
    inside = pairs < own
    both, none = inside[:, :1] & inside[:, 1:], ~(inside[:, :1] | inside[:, 1:])
    for what, chosen, first in (
        ("has the same value twice in one series", inside & both, 0),
        ("has a value that a row of the context has too, in the same series", inside & ~both, 0),
        ("has the same value twice in one series of the context", ~inside & none, own),
    ):
        if chosen.any():
            shown = values[chosen][:5].tolist()
            problems.add(
                what,
                column=sequence.order_name,
                rows=(pairs[chosen] - first).tolist(),
                values=pl.Series(shown).cast(pl.Datetime("us")).to_list() if rows.timed else shown,
                remedy=twice_remedy(sequence, values[chosen], timed=rows.timed),
            )


def check_places(schema: Schema, table: Table, places: pl.DataFrame, problems: Problems) -> None:
    """The same of a table that is not encoded yet; `places` has each row's ``_order`` and keys."""
    name = schema.sequence.order_name
    twice = places.is_duplicated()
    if name is not None and twice.any():
        cells, order = table.frame([name])[name], places["_order"].filter(twice).to_numpy()
        remedy = twice_remedy(schema.sequence, order, timed=is_timed(schema, table))
        Where(name, 0, problems).add("has the same value twice in one series", twice.to_numpy(), cells, remedy)


def twice_remedy(sequence: Sequence, values: np.ndarray, *, timed: bool) -> str:
    """What to do about `values` of the order column (N,) that come twice in one series; `timed`: they are times."""
    hint = "" if sequence.by_names else ", or name the column that tells the series apart: by=..."
    remedy = f"Drop the repeated rows{hint}"
    if not timed:
        return remedy
    # Clocks go back on a Sunday, between midnight and 3 o'clock, almost everywhere. Which of the two hours a row is of
    # only its neighbours tell, if anything does: so no option here could, which reads each cell by itself.
    weekday, hour = fields(values, ["weekday", "hour"]).T
    if not ((weekday == 6) & (hour < 4)).any():
        return remedy
    return (
        f"{remedy}. Local time without a zone has an hour twice when clocks go back in autumn: give such times their"
        " offset (2024-10-27T02:30+02:00) or write them in UTC before they are read"
    )


def mark_context(rows: Rows, context: np.ndarray, problems: Problems) -> None:
    """Count each series' rows of context, (N,) bool, and note those that do not come first."""
    if not context.any():
        return
    starts, counts = rows.offsets[:-1], np.diff(rows.offsets)
    rows.context = np.add.reduceat(context.astype(np.int64), starts)
    place = np.arange(rows.count) - np.repeat(starts, counts)
    late = context & (place >= np.repeat(rows.context, counts))
    if late.any():
        names = key_text(rows.keys)
        series = sorted({names[g] for g in rows.series()[late]})
        problems.add(
            f"{int(late.sum())} rows of the context do not lie before the table's own rows"
            + (f", in series {listed(series)}" if rows.keys.width else ""),
            remedy="A context is what came before: cut the tables with il.split",
        )


def warn_of_gap(rows: Rows, sequence: Sequence, clock: Clock | None) -> None:
    """Warn where a series' context ends more than a step before its first own row.

    Such windows look back over what is not there, as they may inside a table; here it is mostly a part left out. With
    ``max_gap`` they are dropped and counted, without a regular clock no step is too long.
    """
    if clock is None or not clock.regular or rows.order is None or getattr(sequence, "max_gap", None) is not None:
        return
    first = rows.offsets[:-1] + rows.context
    both = (rows.context > 0) & (first < rows.offsets[1:])
    before, after = rows.order[first[both] - 1], rows.order[first[both]]
    wide = np.flatnonzero(after - before > clock.step)
    if not len(wide):
        return
    ends = pl.Series([before[wide[0]], after[wide[0]]])
    end, begin = (shorten(v) for v in (ends.cast(pl.Datetime("us")) if rows.timed else ends).to_list())
    named = [key_text(rows.keys)[g] for g in np.flatnonzero(both)[wide]]
    of = f" of series {listed(named)}" if rows.keys.width else ""
    missing = max(1, int((after[wide[0]] - before[wide[0]]) // clock.step) - 1)
    steps = "a step" if missing == 1 else f"{missing} steps"
    warnings.warn(
        f"the context{of} ends at {end} and the table begins at {begin}, {steps} missing between: windows look back"
        " over that gap as if nothing were missing. Give the rows between as well, as in context=[train, valid], or set"
        " max_gap, which drops such windows",
        UserWarning,
        stacklevel=2,
    )
