"""Tables without a dataframe library: the columns of a dict, a list of rows, a polars, pandas or pyarrow table.

None of those libraries is imported: one that made a table is loaded already, and its own methods are called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np

from inputlayer import plain
from inputlayer.errors import Problem, TableError, nearest, shorten


class Cells(NamedTuple):
    """One column: `array` (rows, ...) of numbers, bool, datetime64 (UTC if there is a `zone`), or of objects.

    Objects are text, bytes, times, lists or arrays; a missing one is None.
    """

    array: np.ndarray
    zone: str | None = None

    @property
    def holds(self) -> str:
        """The type of the cells, as polars would call it."""
        kinds = {"b": "Boolean", "i": "Int64", "u": "UInt64", "f": "Float64", "M": "Datetime"}
        if self.array.dtype.kind != "O":
            return kinds.get(self.array.dtype.kind, str(self.array.dtype)) if self.array.ndim == 1 else "List"
        first = next((cell for cell in self.array if cell is not None), None)
        named = {str: "String", bytes: "Binary", bool: "Boolean", int: "Int64", float: "Float64"}
        if isinstance(first, list | tuple | np.ndarray):
            return "List"
        if isinstance(first, date):
            return "Datetime" if isinstance(first, datetime) else "Date"
        return "Null" if first is None else named.get(type(first), type(first).__name__)


def columns(data: Any, of: str = "the table") -> dict[str, Any]:
    """The columns of a table by name, each as its library holds it.

    Raises
    ------
    TableError
        If it is no table.
    """
    home = _home(data)
    if home == "pandas":
        data = data.reset_index() if data.index.name is not None or data.index.nlevels > 1 else data
        return {str(name): data.iloc[:, i] for i, name in enumerate(data.columns)}
    if home == "polars":
        frame = data.collect() if hasattr(data, "collect") else data
        return {name: frame[name] for name in frame.columns}
    if home == "pyarrow":
        return {name: data.column(name) for name in data.column_names}
    if home == "inputlayer" and hasattr(data, "frame"):
        return columns(data.frame())
    if isinstance(data, Mapping):
        plain.refuse_one_row(data, of)
        return {str(name): values for name, values in data.items()}
    if isinstance(data, list | tuple) and data and all(isinstance(row, Mapping) for row in data):
        names = dict.fromkeys(name for row in data for name in row)
        return {str(name): [row.get(name) for row in data] for name in names}
    kinds = "a dict of lists or arrays, a list of dicts, a polars or pandas DataFrame, a pyarrow table"
    raise TableError([Problem(f"{of} cannot be made of {type(data).__name__}; give {kinds}")])


def cells_of(name: str, values: Any) -> Cells:
    """The cells of one column.

    Raises
    ------
    TableError
        If it is no list and no array, or holds cells of several kinds, or what is no character.
    """
    cells = _cells(name, values)
    if cells.holds == "String" and not plain.is_text(cells.array):
        rows = [row for row, cell in enumerate(cells.array) if cell is not None and not plain.is_text([cell])]
        raise TableError([plain.torn(name, rows, cells.array)])
    return cells


def _cells(name: str, values: Any) -> Cells:
    home = _home(values)
    if home == "polars":
        return _from_polars(name, values)
    if home == "pandas":
        return _from_pandas(name, values)
    if home == "pyarrow":
        return _from_list(name, values.to_pylist())
    if isinstance(values, np.ndarray):
        return _from_array(name, values)
    ordered = hasattr(values, "__len__") and hasattr(values, "__iter__") and not isinstance(values, Set | Mapping)
    if isinstance(values, str | bytes) or not ordered:
        raise TableError([Problem(f"must be a list or an array, not {shorten(values)}", name)])
    if hasattr(values, "__array__"):  # a tensor
        return _from_array(name, np.asarray(values))
    return _from_list(name, list(values))


def lacking(known: Sequence[str], needed: Sequence[str], of: str = "the table") -> list[Problem]:
    """A problem for each column of `needed` that a table with the columns `known` lacks."""
    has = f"It has: {', '.join(list(known)[:20])}"
    return [Problem(f"is missing from {of}.{nearest(n, known)}", n, remedy=has) for n in needed if n not in known]


def _home(data: Any) -> str:
    return type(data).__module__.partition(".")[0]


def _from_polars(name: str, values: Any) -> Cells:
    dtype, gaps = values.dtype, values.null_count() > 0
    if dtype.is_temporal() and type(dtype).__name__ in ("Date", "Datetime", "DataTypeClass"):
        return Cells(values.to_numpy().astype("M8[us]"), getattr(dtype, "time_zone", None))
    if dtype.is_float() or (not gaps and (dtype.is_integer() or str(dtype) == "Boolean")):
        return Cells(values.to_numpy())
    return _from_list(name, values.to_list())


def _from_pandas(name: str, values: Any) -> Cells:
    zone = getattr(values.dtype, "tz", None)
    if zone is not None:
        return Cells(values.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("M8[us]"), str(zone))
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iufbM":
        return _from_array(name, values.to_numpy())
    return _from_list(name, values.tolist())


def _from_array(name: str, array: np.ndarray) -> Cells:
    if array.dtype.kind in "iufb" and array.ndim:
        return Cells(array)
    if array.dtype.kind == "M":
        return Cells(array)
    return _from_list(name, array.tolist())


def _from_list(name: str, cells: list[Any]) -> Cells:
    kinds = set(map(type, cells))
    if kinds <= {float, int, type(None)} and float in kinds:
        return Cells(np.array(cells, np.float64))  # None becomes NaN
    if kinds == {int} or kinds == {bool}:
        array = np.array(cells)
        if array.dtype.kind in "bi":
            return Cells(array)
    made = cells if kinds <= _PLAIN else [None if plain.is_missing(cell) else cell for cell in cells]
    if not kinds <= {str, bool, bytes, list, np.ndarray, type(None)}:
        made = [cell.item() if isinstance(cell, np.generic) and cell.dtype.kind != "M" else cell for cell in made]
    kinds = set(map(type, made)) - {type(None)}
    if kinds and kinds <= {float, int} and float in kinds:
        return Cells(np.array([np.nan if cell is None else cell for cell in made], np.float64))
    plain.refuse_mixture(name, made)
    if len(kinds) > 1 and not any(kinds <= family for family in _FAMILIES):
        # Text, as a table makes of it, so that what does not fit is named.
        made = [cell if cell is None or isinstance(cell, str) else str(cell) for cell in made]
    array = np.empty(len(made), object)
    for row, cell in enumerate(made):
        array[row] = cell
    return Cells(array)


_FAMILIES = ({float, int}, {list, tuple, np.ndarray}, {date, datetime, np.datetime64})
_PLAIN = {str, int, bool, bytes, datetime, list, np.ndarray, type(None)}
