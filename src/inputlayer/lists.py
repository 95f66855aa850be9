"""Columns of lists: the type that fits them all; and where lists of numbers came as text, which cells are none.

Lists with items of several kinds are refused before (plain.py). In a file a column has one type, so such lists were
written as text, or hold text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from inputlayer import plain
from inputlayer.plain import Item

if TYPE_CHECKING:
    from inputlayer.columns.base import Where


def series_of(name: str, cells: list[Any]) -> pl.Series:
    """A column of lists or arrays, None where missing, that `plain.refuse_mixture` let pass; of the type that fits all.

    >>> series_of("x", [[1, 2], None, [0.5]]).to_list()
    [[1.0, 2.0], None, [0.5]]
    """
    lists = [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in cells]
    lists = [[one.tolist() if isinstance(one, np.ndarray) else one for one in cell] if cell else cell for cell in lists]
    # polars takes the type from the first number, and would cut a later 1.5 to 1, or refuse it.
    try:
        series = pl.Series(name, lists)
    except TypeError:
        if not (depth := plain.depth_of_numbers(cells)):
            raise
        return pl.Series(name, lists, dtype=_nested(pl.Float64(), depth))
    wide = _with_decimals(series.dtype)
    if wide == series.dtype:
        return series
    decimals = pl.Series(name, lists, dtype=wide)
    return series if series.cast(wide).equals(decimals, null_equal=True) else decimals


def _nested(inner: pl.DataType, depth: int) -> pl.DataType:
    return _nested(pl.List(inner), depth - 1) if depth else inner


def _with_decimals(dtype: Any) -> Any:
    if isinstance(dtype, pl.List):
        return pl.List(_with_decimals(dtype.inner))
    return pl.Float64() if dtype.is_numeric() else dtype


# -- text -------------------------------------------------------------------------------------------------------------


def note_text(values: pl.Series, depth: int, where: Where) -> bool:
    """Note what is wrong with text where lists of numbers, `depth` deep, were meant; False if it is no such text.

    Cells that cannot become lists of numbers are noted with the item that is at fault; if there are none, all cells.
    """
    wanted = "pl.List(" * depth + "pl.Float64" + ")" * depth
    odd: Sequence[Any]
    if values.dtype == pl.String and 2 * values.str.starts_with("[").sum() > values.count():
        held, how, odd = "text", f".str.json_decode({wanted})", [_odd_json(text, depth) for text in values]
    elif values.dtype == _nested(pl.String(), depth):
        held, how, odd = "lists of text", f".cast({wanted})", _odd_texts(values, depth)
    else:
        return False
    numbers = f"list of {'lists of ' * (depth - 1)}numbers"
    rows = [row for row, item in enumerate(odd) if item is not None]
    made = f"table.with_columns(pl.col({where.column!r}){how})"
    if rows:
        what = f"is no {numbers}" if held == "text" else "holds text that is no number"
        remedy = f"Correct these cells, then write: {made}"
    else:
        rows = [row for row, cell in enumerate(values) if cell is not None]
        what, remedy = f"holds {held}, no {numbers}", f"Write: {made}"
        odd = values.to_list()
    places = [row + where.first_row for row in rows]
    where.problems.add(what, column=where.column, rows=places, values=[odd[row] for row in rows[:5]], remedy=remedy)
    return True


def _odd_texts(values: pl.Series, depth: int) -> list[Item | None]:
    """For each cell of lists of text, the first item that is no number."""
    items = values
    for _ in range(depth):
        items = items.explode()
    none = set(items.filter(items.cast(pl.Float64, strict=False).is_null() & items.is_not_null()))
    return [next(_odd_items(cell, cell or [], depth, none.__contains__), None) for cell in values.to_list()]


def _odd_json(text: str | None, depth: int) -> Item | str | None:
    """What keeps a cell from being a list of numbers: an item, or all of the text; None if nothing does.

    >>> _odd_json("[1, null, 2.5]", 1), _odd_json("[1, 'x']", 1)
    (None, "[1, 'x']")
    >>> _odd_json('[1, "x"]', 1), _odd_json("[[1], [2, [3]]]", 2)
    ('x' at [1] of [1, 'x'], [3] at [1][1] of [[1], [2, [3]]])
    """
    if text is None:
        return None
    try:
        cell = json.loads(text, parse_constant=str)  # NaN and Infinity are not JSON
    except ValueError:
        return text
    if not isinstance(cell, list):
        return text
    return next(_odd_items(cell, cell, depth, lambda item: type(item) not in (int, float)), None)


def _odd_items(
    cell: Any, part: list[Any], depth: int, odd: Callable[[Any], bool], place: tuple[int, ...] = ()
) -> Iterator[Item]:
    """The items of `part`, at `place` of `cell`, that are odd, or no list where `depth` wants one."""
    for i, item in enumerate(part):
        if depth > 1 and isinstance(item, list):
            yield from _odd_items(cell, item, depth - 1, odd, (*place, i))
        elif item is not None and (depth > 1 or odd(item)):
            yield Item(item, (*place, i), cell)
