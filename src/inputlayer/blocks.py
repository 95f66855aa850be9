"""A table read block by block, each cell accepted by its column's kind: the one loop that fit and encode share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from inputlayer.columns.base import Where
from inputlayer.columns.number import Number
from inputlayer.columns.timestamp import Timestamp
from inputlayer.errors import Problems
from inputlayer.progress import progress
from inputlayer.schema import Schema, check_columns
from inputlayer.sequence.base import order_values
from inputlayer.table import Table


@dataclass
class Block:
    """Consecutive rows of a table: the raw frame, accepted values by column, the order column as numbers, weights."""

    first_row: int
    frame: pl.DataFrame
    values: dict[str, Any]
    order: np.ndarray | None = None
    weight: np.ndarray | None = None


def accepted(
    schema: Schema,
    table: Table,
    problems: Problems,
    *,
    targets: bool,
    weight: bool,
    title: str,
    first_row: int = 0,
    files: bool = False,
) -> Iterator[Block]:
    """Read `table` in blocks, noting every bad cell in `problems`. Missing columns end it at once.

    `targets` and `weight` say whether the target and weight columns are read; `files`, whether the files that cells
    name are read too, for what is wrong with them: where nothing else will read them, or only after hours.
    """
    needed = schema.needed(targets=targets)
    if weight and schema.weight is not None:
        needed.append(schema.weight)
    check_columns(table, needed, problems)
    problems.raise_if_any()
    read = [n for n in schema.columns if n in needed]
    text = _note_text(schema, table, problems, first_row)
    with progress(title, table.height) as advance:
        for frame in table.blocks(needed):
            block = _block(schema, frame, read, problems, first_row)
            block.order = np.arange(frame.height) if text else _order(schema, block, problems)
            for name in read if files else ():
                schema.columns[name].examine(block.values[name])
            if weight and schema.weight is not None:
                block.weight = _weights(frame[schema.weight], Where(schema.weight, first_row, problems))
            yield block
            first_row += frame.height
            advance(frame.height)


def placed(schema: Schema, table: Table, problems: Problems) -> pl.DataFrame:
    """Each row's ``_order``, as numbers, and its keys; no column where nothing orders the rows. No others are read."""
    name, by = schema.sequence.order_name, schema.sequence.by_names
    if name is None:
        return pl.DataFrame()
    text, first_row, found = _note_text(schema, table, problems, 0), 0, []
    for frame in table.blocks([name, *by]):
        block = _block(schema, frame, [name] if name in schema.columns else [], problems, first_row)
        order = np.arange(frame.height) if text else _order(schema, block, problems)
        found.append(pl.DataFrame([pl.Series("_order", order), *frame.select(by)]))
        first_row += frame.height
    return pl.concat(found)


def _block(schema: Schema, frame: pl.DataFrame, read: list[str], problems: Problems, first_row: int) -> Block:
    values = {n: schema.columns[n].accept(frame[n], Where(n, first_row, problems)) for n in read}
    for key in schema.sequence.by_names:
        missing = frame[key].is_null().to_numpy()
        if missing.any():
            Where(key, first_row, problems).add("has no value, so the row belongs to no series", missing, frame[key])
    return Block(first_row, frame, values)


def _note_text(schema: Schema, table: Table, problems: Problems, first_row: int) -> bool:
    """Whether the order column is text that no kind reads; it is noted then, for a block alone does not tell why."""
    name = schema.sequence.order_name
    if name is None or table.columns[name] != pl.String or isinstance(schema.columns.get(name), Timestamp):
        return False
    order_values(table.frame([name])[name], Where(name, first_row, problems))
    return True


def _order(schema: Schema, block: Block, problems: Problems) -> np.ndarray | None:
    name = schema.sequence.order_name
    if name is None:
        return None
    column, where = schema.columns.get(name), Where(name, block.first_row, problems)
    if isinstance(column, Timestamp):
        return column.order_values(block.values[name], where)
    return order_values(block.frame[name], where)


def _weights(cells: pl.Series, where: Where) -> np.ndarray:
    """Row weights (rows,) float64: numbers of at least 0, one in each row."""
    weights: np.ndarray = Number().accept(cells, where)
    where.add("has no value, so it is not known what the row counts", cells.is_null().to_numpy(), cells)
    where.add("is a negative weight", weights < 0, cells)
    return weights
