"""A table's rows taken in, sorted by series and order, and cut into the sequences to be predicted; NumPy alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inputlayer import plain
from inputlayer.errors import Problem, Problems, TableError, listed
from inputlayer.onnx.cells import Noted, Taken, absent, stamps, taken, times
from inputlayer.onnx.clock import NAT, Times
from inputlayer.onnx.tables import Cells, cells_of, columns, lacking

Told = Mapping[str, Any]


@dataclass
class Rows:
    """A table's rows, as they stand in it, and the order in which they are read.

    values: by column, what the graph takes of each row; order (N,): numbers to sort by, None where the table's order
    counts; series (N,) int64; keys: by key column, the value of each series; moved (N,): row numbers by series and
    order; offsets (S + 1,): where each series begins among them. `timed`: whether order holds times; `zone`: theirs.
    """

    count: int
    values: dict[str, Taken]
    order: np.ndarray | None
    series: np.ndarray
    keys: dict[str, np.ndarray]
    timed: bool = False
    zone: str | None = None
    moved: np.ndarray = field(init=False)
    offsets: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        by = (self.series,) if self.order is None else (self.order, self.series)
        self.moved = np.lexsort(by)
        counts = np.bincount(self.series, minlength=len(self.names()) if self.count else 0)
        self.offsets = np.concatenate([[0], np.cumsum(counts)])

    def names(self) -> list[str]:
        """One text for each series."""
        if not self.keys:
            return [""]
        texts = [[_text(key) for key in keys] for keys in self.keys.values()]
        if len(texts) > 1:
            texts = [[t.replace("\\", "\\\\").replace("|", "\\|") for t in column] for column in texts]
        return ["|".join(parts) for parts in zip(*texts, strict=True)]


def read(told: Told, data: Any, names: Sequence[str], *, of: str = "the table") -> Rows:
    """Take in the columns `names` of a table, with those that order its rows and name its series.

    Raises
    ------
    TableError
        With every problem of its cells.
    """
    given = columns(data, of)
    sequence, specs = told["schema"]["sequence"], told["columns"]
    by, order = by_names(sequence), sequence.get("order")
    problems = Problems()
    needed = dict.fromkeys([*names, *by, *([order] if order else [])])
    missing = lacking(list(given), list(needed), of)
    if missing:
        raise TableError(missing)
    cells = _cells(given, needed)
    count = _height(given)
    found = _instants(cells[order], specs.get(order, {}), Noted(order, problems)) if order else None
    values = {}
    for name in names:
        where, spec = Noted(name, problems), specs[name]
        own = found if name == order and spec["kind"] == "timestamp" else None
        values[name] = taken(cells[name], spec, where) if own is None else stamps(own, cells[name], spec, where)
    numbers, timed, zone = _order(told, cells[order], order, found, problems) if order else (None, False, None)
    series, keys = _series({name: cells[name] for name in by}, count, problems)
    if not count and told["horizon"]:
        problems.add(f"{of} has no rows")
    problems.raise_if_any()
    rows = Rows(count, values, numbers, series, keys, timed, zone)
    _check_unique(rows, order, bool(by), problems)
    problems.raise_if_any()
    return rows


def _cells(given: Mapping[str, Any], names: Iterable[str]) -> dict[str, Cells]:
    """The cells of columns; raises what is wrong with all of them."""
    found, problems = {}, Problems()
    for name in names:
        try:
            found[name] = cells_of(name, given[name])
        except TableError as error:
            problems.extend(error.problems)
    problems.raise_if_any()
    return found


def by_names(sequence: Told) -> list[str]:
    """The columns that name a row's series."""
    by = sequence.get("by")
    return [] if by is None else [by] if isinstance(by, str) else list(by)


def _height(given: Mapping[str, Any]) -> int:
    heights = {name: len(values) for name, values in given.items()}
    if len(set(heights.values())) > 1:
        raise TableError([Problem(f"columns differ in length: {heights}")])
    return next(iter(heights.values()), 0)


def _instants(cells: Cells, spec: Told, where: Noted) -> Times | None:
    """The order column as times, None where it holds numbers."""
    array = cells.array
    first = next((c for c in array if c is not None), None) if array.dtype.kind == "O" else None
    timed = spec.get("kind") == "timestamp" or array.dtype.kind == "M" or hasattr(first, "year")
    return times(cells, spec.get("format"), where) if timed else None


def _order(
    told: Told, cells: Cells, name: str, found: Times | None, problems: Problems
) -> tuple[np.ndarray, bool, str | None]:
    """Numbers to sort by, whether they are times, and their zone; `found` are the column's times, if it holds any."""
    where, array, timed = Noted(name, problems), cells.array, found is not None
    zone: str | None = None
    if found is not None:
        numbers, gaps, zone = found.utc, (found.utc == NAT) & ~(found.bad | found.odd | found.far), found.zone
    elif cells.holds in ("Int64", "UInt64", "Float64") and array.ndim == 1:
        gaps = absent(cells)
        numbers = np.where(gaps, 0, array) if array.dtype != object else np.where(gaps, 0, array).astype(np.int64)
    else:
        _note_unordered(cells, where)
        return np.arange(len(array)), False, None
    where.add("has no value, so the row has no place in its series", gaps, [None] * len(array))
    clock = told["clock"]
    if clock is not None and timed != clock["timed"]:
        kinds = "times here and numbers" if timed else "numbers here and times"
        problems.add(f"holds {kinds} in the training rows", column=name)
    return numbers, timed, zone


def _note_unordered(cells: Cells, where: Noted) -> None:
    """Note a column that is neither time nor number; of times that one bad cell made text in a file, the bad cells."""
    if cells.holds == "String":
        read = times(cells, None, Noted(where.column, Problems()))
        bad = read.bad | read.odd | read.far
        if bad.any() and (read.utc != NAT).any():
            times(cells, None, where)
            gaps = (read.utc == NAT) & ~bad
            where.add("has no value, so the row has no place in its series", gaps, cells.array)
            return
    what = f"holds {cells.holds}, which is not a time or a number, and so cannot order the rows"
    remedy = "Add it to the columns as il.Timestamp(), or convert it first"
    where.problems.add(what, column=where.column, remedy=remedy)


def _series(cells: Mapping[str, Cells], count: int, problems: Problems) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The series of each row, in the order of their keys, and the keys of each series."""
    if not cells:
        return np.zeros(count, np.int64), {}
    codes, values = [], {}
    for name, column in cells.items():
        gaps = absent(column)
        what = "has no value, so the row belongs to no series"
        where = Noted(name, problems)
        where.add(what, gaps, [None] * count)
        if column.array.dtype == object:
            bad = ~gaps & np.array([plain.key(cell) is None for cell in column.array], bool)
            where.add("cannot name a series", bad, column.array, "Use text, a whole number or a date.")
            gaps |= bad
        values[name], code = _factored(column.array[~gaps])
        full = np.zeros(count, np.int64)
        full[~gaps] = code
        codes.append(full)
    if len(codes) == 1:
        return codes[0], {name: found for name, found in values.items() if len(found)}
    unique, series = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)
    keys = {name: values[name][unique[:, i]] for i, name in enumerate(cells) if len(values[name])}
    return series.reshape(-1), keys


def _factored(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different values, sorted, and where each of `array` (N,) stands among them."""
    if array.dtype != object:
        values, code = np.unique(array, return_inverse=True)
        return values, code.reshape(-1)
    different = dict.fromkeys(array.tolist())  # sorting all of them would take ten times as long
    kept = sorted(different) if len(set(map(type, different))) < 2 else sorted(different, key=str)
    places = {value: i for i, value in enumerate(kept)}
    values = np.empty(len(kept), object)
    values[:] = kept
    return values, np.fromiter(map(places.__getitem__, array.tolist()), np.int64, len(array))


def _check_unique(rows: Rows, order: str | None, named: bool, problems: Problems) -> None:
    """Note rows of one series that share a value of the order column: their order would be chance."""
    if rows.order is None or rows.count < 2:
        return
    sorted_order, sorted_series = rows.order[rows.moved], rows.series[rows.moved]
    same = (sorted_order[1:] == sorted_order[:-1]) & (sorted_series[1:] == sorted_series[:-1])
    after = np.flatnonzero(same) + 1
    if len(after):
        pairs = np.stack([rows.moved[after - 1], rows.moved[after]], axis=1).ravel()
        values = np.repeat(sorted_order[after], 2)
        shown = (values.astype("M8[us]") if rows.timed else values).tolist()
        hint = "" if named else ", or name the column that tells the series apart: by=..."
        problems.add(
            "has the same value twice in one series",
            column=order,
            rows=pairs.tolist(),
            values=shown,
            remedy=f"Drop the repeated rows{hint}",
        )


def settle(told: Told, rows: Rows, problems: Problems) -> None:
    """Columns with one value per series: check that it is one, and give it to all rows of the series."""
    for name in told["static"]:
        values = rows.values[name]
        gaps = missing_rows(values, told["columns"][name]["kind"])
        place = np.where(gaps[rows.moved], rows.count, np.arange(rows.count))
        first = np.minimum.reduceat(place, rows.offsets[:-1])
        known = rows.moved[np.where(first < rows.count, first, rows.offsets[:-1])][rows.series]
        rows.values[name] = [values[row] for row in known.tolist()] if isinstance(values, list) else values[known]
        differs = ~gaps & ~_alike(values, rows.values[name])
        if differs.any():
            names = rows.names()
            group = "group" if told["schema"]["sequence"]["kind"] == "groups" else "series"
            bad = listed(sorted({names[s] for s in rows.series[differs]}))
            what = f"has several values within one {group}" + (f": {bad}" if rows.keys else "")
            problems.add(what, column=name, remedy="Take role='static' away")


def _alike(values: Taken, others: Taken) -> np.ndarray:
    """Which rows hold the same in both, (rows,) bool; NaN is like NaN."""
    if isinstance(values, list):
        pairs = zip(values, others, strict=True)
        return np.array([a is b or np.array_equal(a, b, equal_nan=True) for a, b in pairs], bool)
    assert isinstance(others, np.ndarray)
    same = values == others
    if values.dtype.kind == "f":
        same |= np.isnan(values) & np.isnan(others)
    return np.asarray(np.asarray(same).reshape(len(values), -1).all(axis=1))


def missing_rows(values: Taken, kind: str) -> np.ndarray:
    """Which rows hold no value, in what the graph takes, (rows,) bool."""
    if isinstance(values, list):
        return np.array([not len(cell) for cell in values], bool)
    if not values.size:  # rows without an entry
        return np.ones(len(values), bool)
    flat = values.reshape(len(values), -1)[:, 0]
    if flat.dtype.kind == "f":
        return np.asarray(np.isnan(flat))
    mark: Any = "" if flat.dtype == object else -1 if kind == "flag" else NAT
    return np.asarray(flat == mark, bool)


def _text(value: Any) -> str:
    """A value as polars writes it.

    >>> _text(np.datetime64("2024-01-01T10:00:00.000000")), _text(True), _text(3)
    ('2024-01-01 10:00:00.000000', 'true', '3')
    """
    if isinstance(value, np.datetime64):
        return str(value).replace("T", " ")
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)
