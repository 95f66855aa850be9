"""Cells as they come one row at a time: plain Python values -> arrays, without a dataframe.

Each function takes the cells of one column and answers None where one of them is not plain: then the long way, which
reads tables, has to say what it is, or what is wrong with it. What is read here is what the long way would read.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from os import PathLike
from types import NoneType
from typing import Any

import numpy as np

from inputlayer.errors import ArtefactError, Problem, TableError, shorten

NAT = int(np.iinfo(np.int64).min)  # as in times.py, which loads polars

_NUMBERS = frozenset([float, int, NoneType, np.float64, np.float32, np.int64, np.int32, np.int16, np.uint8])
_WORDS = frozenset([str, NoneType, np.str_])
_WHOLE = frozenset([int, NoneType, np.int64, np.int32])
_FLAGS = {None: -1, 0: 0, 1: 1}  # True is 1, and 1.0 is too
_FLAG_TYPES = frozenset([bool, int, float, NoneType, np.bool_])
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:Z|[+-](?:0\d|1[0-8]):[0-5]\d)?", re.ASCII)
_EPOCH, _EPOCH_UTC, _TICK = datetime(1970, 1, 1), datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def numbers(cells: Sequence[Any]) -> np.ndarray | None:
    """Finite numbers -> (n,) float64, missing ones NaN.

    >>> numbers([1, 2.5, None]), numbers([1, "2"]), numbers([float("inf")])
    (array([1. , 2.5, nan]), None, None)
    """
    if not _NUMBERS.issuperset(map(type, cells)):
        return None
    try:
        found = np.array(cells, np.float64)
    except OverflowError:
        return None
    return None if np.isinf(found).any() else found


def words(cells: Sequence[Any]) -> Sequence[Any] | None:
    """Text -> the same; None stays None."""
    return cells if _WORDS.issuperset(map(type, cells)) else None


def whole(cells: Sequence[Any]) -> Sequence[Any] | None:
    """Whole numbers of 64 bits -> the same; None stays None."""
    if not _WHOLE.issuperset(map(type, cells)):
        return None
    return cells if all(c is None or NAT < c < -NAT for c in cells) else None


def flags(cells: Sequence[Any]) -> np.ndarray | None:
    """Booleans, 0 and 1 -> (n,) int64, missing ones -1.

    >>> flags([True, 0, None]), flags(["yes"]), flags([2])
    (array([ 1,  0, -1]), None, None)
    """
    if not _FLAG_TYPES.issuperset(map(type, cells)):
        return None
    found = [_FLAGS.get(cell) for cell in cells]
    return None if None in found else np.array(found)


def times(cells: Sequence[Any]) -> tuple[np.ndarray, bool | None] | None:
    """Datetimes and ISO 8601 -> (n,) int64 microseconds since 1970, UTC, `NAT` where missing; and whether they have a
    zone, None where all are missing.

    >>> times([datetime(1970, 1, 1, 0, 1), None])
    (array([            60000000, -9223372036854775808]), False)
    >>> times(["1971-01-01T01:00+01:00"]), times(["1. 2. 1970"])
    ((array([31536000000000]), True), None)
    """
    found, zoned = [], set()
    for cell in cells:
        if cell is None:
            found.append(NAT)
            continue
        time = _iso(cell) if type(cell) is str else cell if type(cell) is datetime else None
        # What a zone's clocks showed in former times is not the same in every list of zones.
        if time is None or (time.tzinfo is not None and time.year <= 1970):
            return None
        zoned.add(time.tzinfo is not None)
        found.append((time - (_EPOCH if time.tzinfo is None else _EPOCH_UTC)) // _TICK)
    return None if len(zoned) > 1 else (np.array(found), zoned.pop() if zoned else None)


def _iso(text: str) -> datetime | None:
    if not _ISO.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def key(cell: Any) -> Hashable | None:
    """What a cell that names a series is known by; None if it cannot name one, or is missing.

    >>> key(np.int64(3)), key("a"), key([1]), key(float("nan"))
    (3, 'a', None, None)
    """
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, str | int | date):  # also bool and datetime
        return cell
    return cell if isinstance(cell, float) and cell == cell else None


def class_name(label: Any) -> str:
    """A class as files write it.

    >>> class_name(True), class_name("spam"), class_name(3)
    ('true', 'spam', '3')
    """
    return str(label).lower() if isinstance(label, bool) else str(label)


def share_name(label: Any) -> str:
    """The column of a class's probability.

    >>> share_name("spam"), share_name(False)
    ('p_spam', 'p_false')
    """
    return f"p_{class_name(label)}"


def is_missing(cell: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, or what pandas has in their place.

    >>> [is_missing(cell) for cell in (None, float("nan"), 0, "")]
    [True, True, False, False]
    """
    return cell is None or (isinstance(cell, float) and cell != cell) or type(cell).__name__ in ("NAType", "NaTType")


def refuse_one_row(data: Mapping[str, Any], of: str) -> None:
    """Raises TableError for a dict of several cells of which none is a list or an array: a row, given for a table."""
    if len(data) > 1 and all(isinstance(cell, _SINGLE) for cell in data.values()):
        raise TableError([Problem(f"{of} is one row by itself", remedy="Give a list of rows, if only of one: [row]")])


_SINGLE = (str, bytes, int, float, date, NoneType, np.generic)


def is_text(cells: Iterable[Any]) -> bool:
    """Whether every text among `cells` is one that UTF-8 can write.

    >>> is_text(["a", None]), is_text(["\\ud800"])
    (True, False)
    """
    try:
        "".join([cell for cell in cells if cell is not None]).encode()
    except UnicodeEncodeError:
        return False
    return True


def is_torn(cell: Any) -> bool:
    """Whether a cell, or an item of one, holds half of a surrogate pair.

    >>> is_torn([["a", "\\ud800"]]), is_torn([1])
    (True, False)
    """
    if isinstance(cell, list | tuple | np.ndarray):
        return any(map(is_torn, cell))
    return isinstance(cell, str) and any("\ud800" <= c <= "\udfff" for c in cell)


def torn(name: str, rows: Sequence[int], cells: Any) -> Problem:
    """Says which cells of a column are no text that UTF-8 can write."""
    remedy = "It comes of bytes decoded in another encoding, or of a text cut in two: decode them anew, or take it out."
    shown = [cells[row] for row in rows[:5]]
    return Problem("holds half of a surrogate pair, which is no character", name, rows, shown, len(rows), remedy)


# Whose cells can stand in one column, and what they are called; the first that a type fits counts.
_FAMILIES: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("booleans", (bool, np.bool_)),
    ("durations", (timedelta, np.timedelta64)),
    ("numbers", (int, float, np.integer, np.floating)),
    ("text", (str, PathLike)),
    ("bytes", (bytes,)),
    ("times", (date, np.datetime64)),
    ("lists", (list, tuple, np.ndarray)),
    ("dicts", (dict,)),
)


def refuse_mixture(name: str, cells: Sequence[Any]) -> None:
    """Raises TableError if the cells of a column, None where missing, are of several kinds: numbers and text, say.

    Of a column of lists, also if what the lists hold is; a None in a list is of any kind.

    >>> refuse_mixture("a", [1, 2.5, None])
    >>> refuse_mixture("a", [1, "x", 2.5])
    Traceback (most recent call last):
    ...
    inputlayer.errors.TableError: column 'a': holds text among numbers (row 1 = 'x'). A column is of one type: \
make these numbers too, or None where nothing is known. Rows count from 0.
    """
    problems = [*_mixture(name, cells), *_odd_items(name, cells)]
    if problems:
        raise TableError(problems)


def _mixture(name: str, cells: Sequence[Any]) -> Iterator[Problem]:
    said = {kind: _family(kind) for kind in set(map(type, cells)) - {NoneType}}
    if len(set(said.values())) < 2 and "times" not in said.values():
        return
    timed = set(said.values()) == {"times"}
    if timed and all(issubclass(kind, datetime) for kind in said) and len({c.tzinfo for c in cells if c}) < 2:
        return
    families = [None if cell is None else _zone(cell) if timed else said[type(cell)] for cell in cells]
    counts = Counter(family for family in families if family is not None)
    if len(counts) < 2:
        return
    (most, _), *others = counts.most_common()
    rows = [row for row, family in enumerate(families) if family not in (None, most)]
    remedy = f"A column is of one type: make these {most} too, or None where nothing is known"
    if others[0][0] == "bytes":
        remedy = "Decode them first, as cell.decode() does"
    what = f"holds {' and '.join(family for family, _ in others)} among {most}"
    yield Problem(what, name, rows, [cells[row] for row in rows[:5]], len(rows), remedy)


def _family(kind: type) -> str:
    found = _FAMILY.get(kind)
    if found is None:
        found = next((said for said, known in _FAMILIES if issubclass(kind, known)), kind.__name__)
        _FAMILY[kind] = found
    return found


_FAMILY: dict[type, str] = {}  # types met so far; to ask whether one is a path takes long


def _zone(cell: Any) -> str:
    return f"times with{'out' if getattr(cell, 'tzinfo', None) is None else ''} a zone"


@dataclass(frozen=True)
class Item:
    """What stands at `place` in a cell that is a list; a message shows both."""

    value: Any
    place: tuple[int, ...]
    cell: Any

    def __repr__(self) -> str:
        cell = self.cell.tolist() if isinstance(self.cell, np.ndarray) else self.cell
        return f"{shorten(self.value, 40)} at {''.join(f'[{i}]' for i in self.place)} of {cell!r}"


def _odd_items(name: str, cells: Sequence[Any]) -> Iterator[Problem]:
    if not any(_family(kind) == "lists" for kind in set(map(type, cells))):
        return
    held = [_held(cell) if _family(type(cell)) == "lists" else frozenset[str]() for cell in cells]
    # Where as many lists hold the one as the other, numbers are what was meant; lists that hold nothing say nothing.
    counts = Counter(kind for kinds in held for kind in kinds)
    most = max(counts, key=lambda kind: (kind[-5:] != "lists", counts[kind], kind[-7:] == "numbers", kind), default="")
    rows = [row for row, kinds in enumerate(held) if not _agree(kinds, most)]
    if not rows:
        return
    others = sorted(kind for kind in counts if not _agree([kind], most))
    shown = [_odd_item(cells[row], cells[row], most) for row in rows[:5]]
    remedy = f"All lists of a column hold the same: make these {most} too, or the whole cell None"
    yield Problem(f"holds lists with {' and '.join(others)} in place of {most}", name, rows, shown, len(rows), remedy)


def _held(cell: Any) -> frozenset[str]:
    """What a list holds, missing items aside; "lists" for those that hold nothing.

    >>> sorted(_held([[1.0, "x"], [None]])), sorted(_held([[]])), sorted(_held(np.zeros((2, 3))))
    (['lists', 'lists of numbers', 'lists of text'], ['lists'], ['lists of numbers'])
    """
    if isinstance(cell, np.ndarray):
        if cell.dtype != object:
            return frozenset(["lists of " * (cell.ndim - 1) + _family(cell.dtype.type)])
        cell = cell.tolist()
    found = {_family(kind) for kind in set(map(type, cell)) - {NoneType}}
    if "lists" not in found:
        return frozenset(found)
    return frozenset(found - {"lists"}).union(*(_kinds(item) for item in cell if _family(type(item)) == "lists"))


def depth_of_numbers(cells: Iterable[Any]) -> int:
    """How deep the lists of a column are that `refuse_mixture` let pass, None where missing; 0 if they hold no numbers.

    >>> depth_of_numbers([[[1, 2.5]], [[]], None]), depth_of_numbers([["a"]])
    (2, 0)
    """
    kinds = frozenset[str]().union(*(_held(cell) for cell in cells if cell is not None))
    return next((1 + kind.count("lists of ") for kind in kinds if kind.endswith("numbers")), 0)


def _kinds(item: Any) -> Collection[str]:
    family = _family(type(item))
    return [family] if family != "lists" else [f"lists of {kind}" for kind in _held(item)] or [family]


def _agree(kinds: Iterable[str], most: str) -> bool:
    """Whether what lists hold is `most`, or may be: lists that hold nothing are lists of anything."""
    return all(kind == most or (kind.endswith("lists") and most.startswith(kind)) for kind in kinds)


def _odd_item(cell: Any, part: Any, most: str, place: tuple[int, ...] = ()) -> Item:
    """The first item of `part`, which is at `place` of `cell`, that is not `most`."""
    i, item = next((i, item) for i, item in enumerate(part) if item is not None and not _agree(_kinds(item), most))
    inner = most.removeprefix("lists of ")
    if inner == most or _family(type(item)) != "lists":
        return Item(item, (*place, i), cell)
    return _odd_item(cell, item, inner, (*place, i))


_FIXED = frozenset([float, int, bool, str, bytes, NoneType, datetime, date])


def copied(cell: Any) -> Any:
    """A cell that stays as it is, whatever becomes of the list or array it was."""
    return cell if type(cell) in _FIXED else deepcopy(cell)


def to_json(cell: Any) -> Any:
    """A cell as JSON values, which `from_json` turns into one that is read alike.

    >>> [from_json(to_json(cell)) for cell in (1.5, "a", b"a", date(2024, 1, 31), np.array([1, 2]), np.float32(0.5))]
    [1.5, 'a', b'a', datetime.date(2024, 1, 31), [1, 2], 0.5]
    """
    if isinstance(cell, np.datetime64):
        cell = cell.astype("M8[us]").item()
    if isinstance(cell, bool | int | float | str | NoneType):
        return cell
    if isinstance(cell, Decimal):
        return float(cell)
    if isinstance(cell, bytes):
        return {"bytes": b64encode(cell).decode()}
    if isinstance(cell, datetime):
        utc = cell if cell.tzinfo is None else cell.astimezone(UTC)
        return {"time": utc.isoformat(timespec="microseconds")} if cell == cell else None
    if isinstance(cell, date):
        return {"date": cell.isoformat()}
    if isinstance(cell, list | tuple):
        return [to_json(part) for part in cell]
    for method in ("tolist", "to_list"):  # NumPy; polars, pandas
        if hasattr(cell, method):
            return to_json(getattr(cell, method)())
    raise ArtefactError(
        f"a stream cannot save a cell of type {type(cell).__name__}, {shorten(cell)}. Push plain values"
    )


def from_json(told: Any) -> Any:
    """The cell that `to_json` told."""
    if isinstance(told, list):
        return [from_json(part) for part in told]
    if not isinstance(told, dict):
        return told
    ((kind, text),) = told.items()
    return b64decode(text) if kind == "bytes" else _MADE[kind](text)


_MADE = {"time": datetime.fromisoformat, "date": date.fromisoformat}
