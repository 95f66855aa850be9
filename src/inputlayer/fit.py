"""Fitting: what the columns learn from the training rows, in one pass over fixed blocks, and the receipt of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from inputlayer.blocks import accepted
from inputlayer.columns.base import State, Where
from inputlayer.errors import Problem, Problems, TableError
from inputlayer.receipt import Receipt, ReceiptWriter
from inputlayer.schema import Schema
from inputlayer.sequence import Windows
from inputlayer.statistics import Clock as Gaps
from inputlayer.table import Table


@dataclass(frozen=True)
class Clock:
    """The step of the order column: `step` in its units (microseconds for times); regular: whether every gap is that.

    `timed` says whether it holds times.
    """

    step: float
    regular: bool
    timed: bool


@dataclass(frozen=True)
class Fitted:
    """The fitted half: each column's state, the receipt, and the clock of the order column where there is one."""

    schema: Schema
    states: dict[str, State]
    receipt: Receipt
    clock: Clock | None


def fit(schema: Schema, table: Table) -> Fitted:
    """Learn every column's state from `table`, which must hold training rows only.

    Raises
    ------
    TableError
        With every problem of the table: missing columns, bad cells, columns without a value, too few rows.
    """
    problems = Problems()
    statistics: dict[str, Any] = {}
    writer = ReceiptWriter(schema)
    gaps: Gaps | None = None
    timed = False
    for block in accepted(schema, table, problems, targets=True, weight=True, title="Learning the input layer"):
        for name, values in block.values.items():
            seen = schema.columns[name].learn(values, block.first_row)
            statistics[name] = statistics[name].merge(seen) if name in statistics else seen
        writer.add(block)
        if block.order is not None and block.order.dtype == np.int64:
            found = Gaps.of(block.order)
            gaps = gaps.merge(found) if gaps is not None else found
            timed = is_timed(schema, block.frame)
    receipt = writer.receipt()
    bad = {p.column for p in problems}  # what such a column learnt says nothing
    _enough_rows(schema, receipt, problems)
    states = {n: schema.columns[n].finish(s, Where(n, 0, problems)) for n, s in statistics.items() if n not in bad}
    problems.raise_if_any()
    return Fitted(schema, states, receipt, _clock(receipt, gaps, timed))


def check_classes(fitted: Fitted) -> None:
    """Refuse to train on a target of which the training rows hold one class only: there is nothing to tell apart.

    A number that never changes is another matter: it is scaled by 1, and may change later.

    Raises
    ------
    TableError
        Naming the column, and the class.
    """
    for name in fitted.schema.targets:
        column: Any = fitted.schema.columns[name]
        if column.kind == "number":
            continue
        state = fitted.states[name]
        there = [c for c, count in zip(column.classes(state), column.class_counts(state), strict=True) if count]
        if len(there) == 1:
            what = f"the target has one class only in the training rows, {there[0]!r}: there is nothing to learn"
            remedy = "Give training rows of other classes too, such as by another split"
            remedy += f", or a min_count below {column.min_count}" if getattr(column, "min_count", 1) > 1 else ""
            raise TableError([Problem(what, column=name, remedy=remedy)])


def is_timed(schema: Schema, table: Table | pl.DataFrame) -> bool:
    """Whether the order column holds times."""
    name = schema.sequence.order_name
    if name is None:
        return False
    column = schema.columns.get(name)
    types = table.columns if isinstance(table, Table) else table.schema
    return types[name].is_temporal() or (column is not None and column.kind == "timestamp")


def check_timed(schema: Schema, frame: pl.DataFrame, known: bool, problems: Problems) -> None:
    """Note an order column that holds times in `frame` and numbers in training, or the reverse; `known`: times there.

    One that holds neither can order no rows, which was noted when it was read.
    """
    name, timed = str(schema.sequence.order_name), is_timed(schema, frame)
    if timed != known and (timed or frame.schema[name].is_numeric()):
        kinds = "times here and numbers" if timed else "numbers here and times"
        problems.add(f"holds {kinds} in the training rows", column=name)


def _clock(receipt: Receipt, gaps: Gaps | None, timed: bool) -> Clock | None:
    if gaps is None or not gaps.step or not receipt.keys:
        return None
    steps = int(receipt.counts.sum()) - len(receipt.counts)
    if not steps:
        return None
    mean = float((receipt.last - receipt.first).sum()) / steps
    # Up to 1 % of the steps may be longer than the common one: a sensor that was off for a day still has its clock.
    return Clock(float(gaps.step), mean <= 1.01 * gaps.step, timed)


def _enough_rows(schema: Schema, receipt: Receipt, problems: Problems) -> None:
    if not receipt.rows:
        problems.add("the table has no rows")
        return
    sequence = schema.sequence
    if not isinstance(sequence, Windows):
        return
    least = (1 if sequence.pad_short else sequence.length) + sequence.horizon
    if receipt.counts.max() < least:
        named = bool(sequence.by_names)
        series = [
            f"series {k!r} has {n}" if named else f"it has {n}"
            for k, n in zip(receipt.keys, receipt.counts, strict=True)
        ]
        shown = ", ".join(series[:5]) + (f" and {len(series) - 5} more" if len(series) > 5 else "")
        problems.add(
            f"a window needs {least} rows (length {sequence.length} + horizon {sequence.horizon}), {shown}",
            remedy="Give more rows, or a smaller length or horizon",
        )
