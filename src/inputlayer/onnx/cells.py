"""Cells -> the arrays that the graph takes, with NumPy alone, and what is wrong with them in the words of each kind.

It is each kind's `accept` and `onnx_values` at once, for a machine without polars; a test holds both to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from inputlayer.errors import Problems
from inputlayer.onnx.clock import NAT, Times, from_cells, from_numbers, wall
from inputlayer.onnx.tables import Cells

Spec = Mapping[str, Any]  # what the file tells of a column: kind, options, and what else was learnt
Taken = np.ndarray | list[np.ndarray]  # (rows, *cell), or the entries of each row where rows have some of their own

_SHOWN, _LONG = 5, 50
_CORRECT = "Correct these cells, or make them null if they mean missing."


class Noted:
    """A column's name, and where its problems go."""

    def __init__(self, column: str, problems: Problems) -> None:
        self.column, self.problems = column, problems

    def add(self, what: str, bad: np.ndarray, cells: Any, remedy: str = "") -> None:
        """Note the rows where the mask `bad` is set."""
        at = np.flatnonzero(bad)
        if len(at):
            values = [_plain(cells[row]) for row in at[:_SHOWN]]
            self.problems.add(what, column=self.column, rows=at.tolist(), values=values, remedy=remedy)


def taken(cells: Cells, spec: Spec, where: Noted) -> Taken:
    """Cells of one column -> what the graph takes; notes each that is none of its kind."""
    found: Taken = _KINDS[spec["kind"]](cells, spec, where)
    return found


def absent(cells: Cells) -> np.ndarray:
    """Which cells are missing, (rows,) bool."""
    array = cells.array
    if array.dtype.kind == "O":
        return np.array([cell is None for cell in array], bool)
    if array.dtype.kind in "fM" and array.ndim == 1:
        return np.asarray(np.isnan(array) if array.dtype.kind == "f" else np.isnat(array))
    return np.zeros(len(array), bool)


# -- kinds ------------------------------------------------------------------------------------------------------------


def _number(cells: Cells, spec: Spec, where: Noted) -> np.ndarray:
    array, holds = cells.array, cells.holds
    gaps = absent(cells)
    if holds == "Null":
        return np.full(len(array), np.nan)
    if holds == "String":
        return _not_numbers(array, gaps, where)
    if holds not in ("Int64", "UInt64", "Float64"):
        remedy = _NOT_NUMBERS.get(holds, "Cast the column to a number.")
        where.add(f"holds {holds}, not numbers", ~gaps, array, remedy)
        return np.full(len(array), np.nan)
    x = array.astype(np.float64) if array.dtype != object else _floats(array)
    sentinels = np.array(spec["sentinels"], np.float64)
    infinite = np.isinf(x) & ~np.isin(x, sentinels)
    where.add("is infinite", infinite, x, _CORRECT)
    return np.where(infinite, np.nan, x)


_NOT_NUMBERS = {
    "Boolean": "Name the column Flag(), or cast it to a number.",
    "Date": "Name the column Timestamp().",
    "Datetime": "Name the column Timestamp().",
    "List": "Name the column Series().",
}


def _not_numbers(array: np.ndarray, gaps: np.ndarray, where: Noted) -> np.ndarray:
    bad = np.array([cell is not None and not _is_number(cell) for cell in array])
    if bad.any():
        remedy = "Correct these cells, or name them in il.read(..., missing=...) if they mean missing."
        where.add("is not a number", bad, array, remedy)
    else:
        remedy = f"Convert it first: table.with_columns(pl.col({where.column!r}).cast(pl.Float64))."
        where.add("is text, not a number", ~gaps, array, remedy)
    return np.full(len(array), np.nan)


def _category(cells: Cells, spec: Spec, where: Noted) -> np.ndarray:
    array, holds, gaps = cells.array, cells.holds, absent(cells)
    text = bool(spec["text"])
    none = np.full(len(array), "", object) if text else np.full(len(array), NAT)
    if holds == "Null" or gaps.all():
        return none
    if holds not in ("String", "Int64", "UInt64"):
        named = {"Boolean": ("booleans", "Use Flag()."), "Float64": ("decimal numbers", _DECIMAL)}
        what, remedy = named.get(holds, (f"cells of type {holds}", "Turn the column into text."))
        where.add(f"holds {what}; a category is text or whole numbers", ~gaps, array, remedy)
        return none
    if (holds == "String") != text:
        kinds = ("text", "whole numbers") if text else ("whole numbers", "text")
        what = f"held {kinds[0]} in training and holds {kinds[1]} now"
        where.add(what, ~gaps, array, "Give the column the type it had in training.")
        return none
    if text:
        return np.where(gaps, "", array)
    large = np.array([cell is not None and not -(2**63) <= int(cell) < 2**63 for cell in array])
    where.add("is beyond 64 bits", large, array, "Turn the column into text.")
    return np.array([NAT if g else int(cell) for cell, g in zip(array, gaps | large, strict=True)], np.int64)


_DECIMAL = "Use Number(); or, if they are codes, turn the column into whole numbers or text."
_FALSE, _TRUE = ("false", "no", "f", "n", "0"), ("true", "yes", "t", "y", "1")
_FLAGS: dict[Any, int] = dict.fromkeys(_FALSE, 0) | dict.fromkeys(_TRUE, 1) | {"": -1}


def _flag(cells: Cells, spec: Spec, where: Noted) -> np.ndarray:
    array, gaps = cells.array, absent(cells)
    found = np.full(len(array), -1)
    bad = np.zeros(len(array), bool)
    for row in np.flatnonzero(~gaps).tolist():
        cell = array[row]
        known = isinstance(cell, str)
        code = _FLAGS.get(cell.strip().lower()) if known else int(cell) if _is_flag(cell) else None
        found[row], bad[row] = (-1, True) if code is None else (code, False)
    remedy = "A flag is true or false, yes or no, t or f, y or n, 1 or 0; for other values use Category() or Number()."
    where.add("is not a flag", bad, array, remedy)
    return found


def _text(cells: Cells, spec: Spec, where: Noted) -> np.ndarray:
    array, holds, gaps = cells.array, cells.holds, absent(cells)
    if holds == "Binary":
        decoded = [None if cell is None else _decoded(cell) for cell in array]
        bad = np.array([cell is None for cell in decoded]) & ~gaps
        where.add("is not text in UTF-8", bad, array, "Read the file in its own encoding first.")
        return np.array(["" if cell is None else cell for cell in decoded], object)
    if holds not in ("String", "Null"):
        numeric = holds in ("Int64", "UInt64", "Float64")
        remedy = "Use Number()." if numeric else "Turn the column into text."
        where.add(f"holds {holds}, not text", ~gaps, array, remedy)
        return np.full(len(array), "", object)
    return np.where(gaps, "", array)


def times(cells: Cells, form: str | None, where: Noted) -> Times:
    """Cells of a column of times; notes those that are none."""
    array, holds = cells.array, cells.holds
    rows = len(array)
    if array.dtype.kind == "M":
        found = from_numbers(array, cells.zone)
    elif array.dtype.kind in "iufb" or holds in ("Int64", "Float64", "Boolean"):
        given = ~absent(cells)
        kind, remedy = "numbers, not times", "Turn them into times first, as polars.from_epoch does."
        if holds == "Boolean":
            kind, remedy = "cells of type Boolean, not times", "Turn them into dates or times."
        where.add(f"holds {kind}", given, array, remedy)
        none = np.zeros(rows, bool)
        return Times(np.full(rows, NAT), None, given, none, none)
    else:
        found = from_cells(array.tolist(), form)
    remedy = "Times are read as ISO 8601, such as 2024-01-31T10:00; for others name the format."
    where.add("is outside the years 1 to 9999", found.far, array, "Mend the unit or the value.")
    what = "has a zone, where most have none" if found.zone is None else "has no zone, where others have one"
    where.add(what, found.odd, array, "Give every time a zone, or none.")
    where.add("is not a time", found.bad, array, remedy if form is None else f"The format is {form!r}.")
    return found


def _timestamp(cells: Cells, spec: Spec, where: Noted) -> np.ndarray:
    return stamps(times(cells, spec["format"], where), cells, spec, where)


def stamps(found: Times, cells: Cells, spec: Spec, where: Noted) -> np.ndarray:
    """Times read from `cells` -> what the graph takes of a column of them; notes a zone where there was none."""
    given = found.utc != NAT
    if given.any() and (found.zone is None) != (spec["zone"] is None):
        had = "no zone" if spec["zone"] is None else f"the zone {spec['zone']}"
        has = "has none now" if found.zone is None else f"has the zone {found.zone} now"
        remedy = "Give the column a zone, or take it off, as it was in training."
        where.add(f"had {had} in training and {has}", given, _Shown(found), remedy)
    local = wall(found.utc, spec["zone"], spec["offset"])
    return np.stack([local, found.utc], axis=-1) if spec["two"] else local


class _Shown:
    """Times for a message, each made when it is shown."""

    def __init__(self, times: Times) -> None:
        self.times = times

    def __getitem__(self, row: int) -> datetime:
        moment = datetime(1970, 1, 1) + timedelta(microseconds=int(self.times.utc[row]))
        if self.times.zone is None:
            return moment
        return moment.replace(tzinfo=ZoneInfo("UTC")).astimezone(ZoneInfo(self.times.zone))


def _vector(cells: Cells, spec: Spec, where: Noted) -> np.ndarray:
    array, learnt, gaps = cells.array, spec["learnt"], absent(cells)
    found = np.full((len(array), learnt), np.nan)
    if cells.holds not in ("List", "Null"):
        where.add(f"holds {cells.holds}", ~gaps, array, "A cell is a list of numbers, such as [0.5, 1.5].")
        return found
    vectors = {row: _numbers(array[row]) for row in np.flatnonzero(~gaps).tolist()}
    sizes = [v.size if v is not None and v.ndim == 1 else 0 for v in vectors.values()]
    size = spec["size"] or (int(np.bincount(sizes).argmax()) if sizes else learnt)
    bad, some, infinite = (np.zeros(len(array), bool) for _ in range(3))
    for row, numbers in vectors.items():
        bad[row] = numbers is None or numbers.shape != (size,) or not size
        if numbers is None or bad[row]:
            continue
        some[row] = np.isnan(numbers).any() and not np.isnan(numbers).all()
        infinite[row] = np.isinf(numbers).any()
        if size == learnt:
            found[row] = np.nan if some[row] or infinite[row] else numbers
    remedy = _OTHER_SIZE if spec["size"] is None else f"Correct these cells, or size={size}."
    where.add(f"does not have {size or 'any'} numbers", bad, array, remedy)
    where.add("lacks some of its numbers", some, array, "Correct these cells, or make them null.")
    where.add("holds an infinite number", infinite, array, "Correct these cells, or make them null.")
    if size != learnt:
        other = ~gaps & ~(bad | some | infinite)
        shown = [f"{size} numbers"] * len(array)
        where.add(f"had {learnt} numbers in training", other, shown, "Give vectors of the same making.")
    return found


_OTHER_SIZE = "Give every cell the same number of entries."


def _series(cells: Cells, spec: Spec, where: Noted) -> list[np.ndarray]:
    array, channels, axes = cells.array, spec["channels"], spec["axes"]
    nothing = np.zeros((0, channels))
    found = [nothing] * len(array)
    gaps = absent(cells)
    if cells.holds not in ("List", "Null"):
        depth = "numbers" if axes == "time" else "lists of numbers"
        where.add(f"holds {cells.holds}", ~gaps, array, f"With axes={axes!r} a cell is a list of {depth}.")
        return found
    empty, wrong, infinite = (np.zeros(len(array), bool) for _ in range(3))
    for row, cell in enumerate(array):
        empty[row] = cell is None or not len(cell)
        numbers = None if empty[row] else _numbers(cell)
        if numbers is not None and axes == "time" and numbers.ndim == 1:
            numbers = numbers[:, None]
        elif numbers is not None and axes == "channel time" and numbers.ndim == 2:
            numbers = numbers.T
        if numbers is None or numbers.ndim != 2 or numbers.shape[1] != channels or not len(numbers):
            wrong[row] = True
            continue
        infinite[row] = np.isinf(numbers).any()
        found[row] = numbers
    unit = "channels of equal length" if axes == "channel time" else "numbers in each step"
    what = f"does not have {channels} {unit}"
    where.add(what, wrong & ~empty, array, f"Correct these cells, or channels={channels}.")
    where.add("holds an infinite number", infinite, array, "Correct these cells, or make the number null.")
    return found


def _audio(cells: Cells, spec: Spec, where: Noted) -> np.ndarray:
    array = cells.array
    sounds = [np.zeros(0, np.float32)] * len(array)
    file, none, bad, empty = (np.zeros(len(array), bool) for _ in range(4))
    for row in np.flatnonzero(~absent(cells)).tolist():
        cell = array[row]
        file[row] = isinstance(cell, str | bytes)
        numbers = None if file[row] else _numbers(cell)
        if numbers is None or numbers.ndim != 1:
            none[row] = not file[row] and not (isinstance(cell, str) and not cell)
            continue
        empty[row], bad[row] = not len(numbers), not np.isfinite(numbers).all()
        sounds[row] = numbers.astype(np.float32)
    remedy = (
        f"Give its samples, {spec['rate']} a second, in the units of the training: those of a file are from -1 to 1."
    )
    where.add("is a file, which the graph does not decode", file, array, remedy)
    where.add("is no list of samples", none, array, remedy)
    where.add("is a sound without any samples", empty, array, _LEAVE)
    where.add("is a sound with samples that are missing or infinite", bad, array, _LEAVE)
    padded = np.full((len(array), max(map(len, sounds), default=0)), np.nan, np.float32)
    for row, sound in enumerate(sounds):
        padded[row, : len(sound)] = sound
    return padded


_LEAVE = "Correct these cells, or leave the rows out."


def _image(cells: Cells, spec: Spec, where: Noted) -> list[np.ndarray]:
    array, size, frames = cells.array, tuple(spec["learnt"]), spec["cell"] == "frames"
    found = [np.zeros((0, *(size if frames else size[1:])), np.uint8)] * len(array)
    file, wrong, deep = (np.zeros(len(array), bool) for _ in range(3))
    for row in np.flatnonzero(~absent(cells)).tolist():
        cell = array[row]
        file[row] = _is_file(cell)
        pixels = None if file[row] else _numbers(cell)
        if pixels is not None and pixels.ndim == len(size) - 1 + frames and size[2] == 1:
            pixels = pixels[..., None]
        if pixels is None or pixels.shape[frames:] != size or not len(pixels):
            wrong[row] = not file[row]
            continue
        with np.errstate(invalid="ignore"):
            exact = pixels.astype(np.uint8)
        deep[row] = (exact != pixels).any()
        found[row] = exact
    shape = " x ".join(map(str, size))
    wanted = f"{'a list of pictures, each' if frames else 'rows of pixels,'} {shape} (height, width, channels)"
    where.add("is a file, which the graph does not decode", file, array, f"Give its pixels: {wanted}.")
    where.add(f"is not of the size {shape}", wrong, array, f"The graph takes {wanted}.")
    what = "holds pixels that are no whole numbers from 0 to 255"
    where.add(what, deep, array, "Scale them to that range.")
    return found


_KINDS: dict[str, Callable[[Cells, Spec, Noted], Any]] = {
    "number": _number, "category": _category, "flag": _flag, "text": _text, "timestamp": _timestamp,
    "vector": _vector, "series": _series, "audio": _audio, "image": _image,
}  # fmt: skip
KINDS = tuple(_KINDS)


# -- small parts ------------------------------------------------------------------------------------------------------


def _floats(array: np.ndarray) -> np.ndarray:
    return np.array([np.nan if cell is None else cell for cell in array], np.float64)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _is_flag(cell: Any) -> bool:
    return isinstance(cell, bool | int | float | np.generic) and cell in (0, 1)


def _decoded(cell: bytes) -> str | None:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return None


def _is_file(cell: Any) -> bool:
    if isinstance(cell, list | tuple) and len(cell):
        return isinstance(cell[0], str | bytes)
    return isinstance(cell, str | bytes)


def _numbers(cell: Any) -> np.ndarray | None:
    """A list, of lists perhaps, as float64, NaN for None; None where it is none, or its lists differ in length."""
    try:
        array = np.array(cell, np.float64)
    except (TypeError, ValueError):
        return None
    return array if array.ndim else None


def _plain(value: Any) -> Any:
    """A cell for a message."""
    if isinstance(value, list | tuple | np.ndarray):
        return str(list(value)) if _count(value) < _LONG else f"a list of {len(value)}"
    if isinstance(value, np.datetime64):
        return value.astype("M8[us]").item()
    return value.item() if isinstance(value, np.generic) else value


def _count(value: Any) -> int:
    """How many numbers a list holds, whose lists may differ in length."""
    return sum(map(_count, value)) if isinstance(value, list | tuple) else int(np.size(value))
