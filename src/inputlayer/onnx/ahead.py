"""What lies ahead of a table's last rows: the last window of each series, and the rows of the horizon."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from inputlayer.errors import OptionError, Problem, Problems, TableError, listed, nearest, unknown_ahead
from inputlayer.onnx.cells import Noted, Taken
from inputlayer.onnx.clock import wall
from inputlayer.onnx.rows import Rows, Told, read
from inputlayer.onnx.tables import columns


class Ahead(NamedTuple):
    """The horizon behind each series: by column, what the graph takes, (S * H, ...); the order column (S, H).

    `meant`: whether the order column means anything: steps of a regular clock, or given rows.
    """

    values: dict[str, Taken]
    order: np.ndarray
    meant: bool


def last_windows(told: Told, rows: Rows, ahead: np.ndarray | None) -> np.ndarray:
    """Where the last window of each series begins, among the rows in order, (S,); `ahead` (S, H) its order numbers.

    Raises
    ------
    TableError
        Naming the series that are too short for one, or broken by a gap.
    """
    sequence = told["schema"]["sequence"]
    length, short = sequence["length"], bool(sequence.get("pad_short"))
    first, end = rows.offsets[:-1], rows.offsets[1:]
    start = np.maximum(first, end - length)
    counts = end - first
    lacks = counts < (1 if short else length)
    if told["max_gap"] is not None and rows.order is not None:
        order = rows.order[rows.moved]
        for g in np.flatnonzero(~lacks).tolist():
            path = [order[start[g] : end[g]]] + ([] if ahead is None else [ahead[g]])
            lacks[g] = bool((np.diff(np.concatenate(path)) > told["max_gap"]).any())
    lacking = np.flatnonzero(lacks).tolist()
    if lacking:
        names, named = rows.names(), bool(rows.keys)
        shown = [f"series {names[g]!r} has {counts[g]}" if named else f"it has {counts[g]}" for g in lacking[:5]]
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        gap = ", with no gap above max_gap" if told["max_gap"] is not None else ""
        what = f"a prediction needs the last {length} rows of each series{gap}: {', '.join(shown)}{more}"
        remedy = "Give more rows" if short else "Give more rows, or fit with Windows(pad_short=True)"
        raise TableError([Problem(what, remedy=remedy)])
    return np.asarray(start)


def rows_ahead(told: Told, rows: Rows, future: Any) -> Ahead | None:
    """The rows of the horizon behind each series; None if the horizon is 0.

    Raises
    ------
    TableError
        If what must be known ahead is not given, or does not follow the table.
    """
    horizon = told["horizon"]
    if not horizon:
        if future is not None:
            raise OptionError("future= has no effect: the horizon is 0")
        return None
    assert rows.order is not None
    last = rows.order[rows.moved[rows.offsets[1:] - 1]]
    return _made(told, rows, last) if future is None else _given(told, rows, last, future)


def _made(told: Told, rows: Rows, last: np.ndarray) -> Ahead:
    clock, name, horizon = told["clock"], told["schema"]["sequence"]["order"], told["horizon"]
    regular = clock is not None and clock["regular"]
    named = [n for n in told["future"] if n != name]
    if named or (told["future"] and not regular):
        wanted = f"a table of the next {horizon} rows of each series with {', '.join([*rows.keys, name, *named])}"
        raise TableError([unknown_ahead(name, named, wanted)])
    step = clock["step"] if regular else 1
    step = int(step) if last.dtype.kind in "iu" else step
    order = last[:, None] + np.arange(1, horizon + 1) * step
    values: dict[str, Taken] = {}
    if name in told["future"]:
        spec, utc = told["columns"][name], order.ravel()
        local = wall(utc, spec["zone"], spec["offset"])
        values[name] = np.stack([local, utc], axis=-1) if spec["two"] else local
    return Ahead(values, order, regular)


def _given(told: Told, rows: Rows, last: np.ndarray, future: Any) -> Ahead:
    problems, found = Problems(), Problems()
    given = columns(future, "future=")
    for target in told["targets"]:
        if target in given and any(value is not None and value == value for value in list(given[target])):
            problems.add("is a target, and future= holds values of it", column=target, remedy="Leave it out of future")
    problems.raise_if_any()
    try:
        behind = read(told, future, told["future"], of="future=")
    except TableError as error:
        absent = all(p.what.startswith("is missing from") for p in error.problems)
        problems.extend(error.problems, "" if absent else "in future=: ")
        raise TableError(list(problems)) from None
    place = {name: i for i, name in enumerate(rows.names())}
    series = np.array([place.get(name, -1) for name in behind.names()], np.int64)[behind.series]
    _check_follows(told, rows, behind, series, last, found)
    problems.extend(found, "in future=: ")
    problems.raise_if_any()
    assert behind.order is not None
    moved = np.lexsort((behind.order, series))
    values = {name: [v[i] for i in moved] if isinstance(v, list) else v[moved] for name, v in behind.values.items()}
    return Ahead(values, behind.order[moved].reshape(-1, told["horizon"]), True)


def _check_follows(
    told: Told, rows: Rows, behind: Rows, series: np.ndarray, last: np.ndarray, problems: Problems
) -> None:
    """Note rows of future= that are not exactly those of the horizon behind each series."""
    assert behind.order is not None
    horizon, clock = told["horizon"], told["clock"]
    where = Noted(told["schema"]["sequence"]["order"], problems)
    cells = behind.order.astype("M8[us]") if behind.timed else behind.order
    names, known = behind.names(), rows.names()
    for stray in sorted(set(behind.series[series < 0].tolist())):
        hint = nearest(names[stray], known).strip() or f"The table has {listed(known)}"
        at = np.flatnonzero(behind.series == stray).tolist()
        problems.add(f"the series {names[stray]!r} is not in the table", rows=at, remedy=hint)
    early = (series >= 0) & (behind.order <= last[np.maximum(series, 0)])
    remedy = "It has to hold the rows right after the table's"
    where.add("does not follow the series' last row", early, cells, remedy)
    counts = np.bincount(series[series >= 0], minlength=len(last))
    for name, count in zip(rows.names(), counts.tolist(), strict=True):
        if count != horizon:
            of = f" for series {name!r}" if rows.keys else ""
            problems.add(f"there are {count} rows{of}, and the horizon is {horizon}", remedy=remedy)
    if problems or clock is None or not clock["regular"]:
        return
    moved = np.lexsort((behind.order, series))
    wanted = last[:, None] + np.arange(1, horizon + 1) * int(clock["step"])
    off = np.zeros(behind.count, bool)
    off[moved] = behind.order[moved] != wanted.ravel()
    where.add("leaves the regular steps of the training rows", off, cells, f"{remedy}, one step each")


def in_its_type(order: np.ndarray, rows: Rows) -> np.ndarray:
    """Numbers of the order column as they are told: datetime64, UTC where there is a zone; or the numbers."""
    return order.astype("M8[us]") if rows.timed else order
