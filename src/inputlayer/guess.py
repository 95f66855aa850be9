"""Guessing what one column holds, from its cells, with the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import polars as pl

from inputlayer.columns import Audio, Category, Flag, Image, Number, Series, Text, Timestamp, Vector
from inputlayer.columns.base import Column, Where
from inputlayer.errors import Problems, shorten
from inputlayer.times import read_iso

_SENTINELS = (-9999.0, -99999.0, -999.0, -99.0, 9999.0, 99999.0, 999999.0)
_TRUTHS = {"true", "false", "yes", "no", "t", "f", "y", "n"}
COUNTER = "left out: it counts the rows"
_ENDINGS: dict[type[Column], tuple[str, ...]] = {
    Audio: (".wav", ".flac", ".ogg"),
    Image: (".png", ".jpg", ".jpeg"),
}
_BEGINNINGS: dict[type[Column], tuple[bytes, ...]] = {
    Audio: (b"RIFF", b"fLaC", b"OggS"),
    Image: (b"\x89PNG", b"\xff\xd8\xff"),
}
_DATE = (
    r"(?:(?P<year>\d{4})|\d{1,2})(?P<mark>[./-])\d{1,2}[./-](?:\d{4}|\d{1,2})"
    r"(?P<clock> \d{1,2}:\d{2}(?P<seconds>:\d{2})?)?"
)
_COMMA = r"^\s*[+-]?\d+,\d+\s*$"
# What people write for 'missing', beside what `read` takes for it: no letter and no digit, or a word for it.
_MARK = r"(?i)^(?:[^\pL\pN]*|n[./ ]?a[./]?n?|null|nil|missing|unknown|\#(?:n/a|na|value!|div/0!|ref!|num!))$"
_PROSE = 3  # words that a cell of prose has, in the mean


@dataclass(frozen=True)
class Guess:
    """One column's guess: its kind, or None to leave it out, and why."""

    column: Column | None
    reason: str


def guess(values: pl.Series, *, is_target: bool, steps: bool) -> Guess:
    """The guess for a column; `steps`: whether the table is an array, whose lists were said to be steps."""
    dtype = values.dtype
    real = values.drop_nulls()
    if dtype.is_float():
        real = real.drop_nans()
    if not len(real):
        return Guess(None, "left out: no row has a value")
    if isinstance(dtype, pl.List | pl.Array):
        return _listed(real, steps=steps)
    if isinstance(dtype, pl.Datetime | pl.Date):
        return Guess(Timestamp(), "times")
    if dtype == pl.Boolean:
        return Guess(Flag(), "true or false")
    if dtype.is_numeric():
        return _number(real, is_target=is_target)
    if dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum):
        return _text(real.cast(pl.String), is_target=is_target)
    if dtype == pl.Binary:
        for kind, beginnings in _BEGINNINGS.items():
            if all(cell.startswith(beginnings) for cell in real.head(1000)):
                return Guess(kind(), f"bytes of files, which begin as {kind.__name__.lower()} does")
    return Guess(None, f"left out: {dtype} is no kind of column yet")


def _listed(real: pl.Series, *, steps: bool) -> Guess:
    inner = real.dtype.inner  # type: ignore[attr-defined]  # lists and arrays both have it
    lists = real.cast(pl.List(inner))
    if isinstance(inner, pl.List | pl.Array):
        widths = lists.explode().drop_nulls().cast(pl.List(inner.inner)).list.len()
        if not len(widths):
            return Guess(None, "left out: all lists are empty")
        wide = int(widths.mode().min())  # type: ignore[arg-type]  # a mode of whole numbers is a number
        return Guess(Series(channels=wide, axes="time channel"), f"lists of steps, each of {wide} channels")
    if inner.is_numeric():
        low, high = (int(n) for n in (lists.list.len().min(), lists.list.len().max()))  # type: ignore[arg-type]  # of whole numbers
        if low == high > 0 and not steps:
            return Guess(Vector(), f"lists of {high} numbers each; if they are steps in time, write Series()")
        return Guess(Series(), f"lists of {low} to {high} numbers" if low < high else "lists of numbers")
    if inner == pl.String and _ends(lists.explode().drop_nulls(), Image):
        return Guess(Image(cell="frames"), f"lists of paths of pictures, which end in {_found(lists.explode(), Image)}")
    return Guess(None, f"left out: lists of {inner} are no kind of column yet")


def _ends(real: pl.Series, kind: type[Column]) -> bool:
    """Whether all texts end as the files of a kind do."""
    return len(real) > 0 and all(text.lower().endswith(_ENDINGS[kind]) for text in real)


def _found(real: pl.Series, kind: type[Column]) -> str:
    """The endings that occur, in words."""
    lower = [text.lower() for text in real.drop_nulls()]
    return " or ".join(e for e in _ENDINGS[kind] if any(text.endswith(e) for text in lower))


def _number(real: pl.Series, *, is_target: bool) -> Guess:
    distinct = real.n_unique()
    if real.dtype.is_integer():
        if distinct <= 2 and set(real.unique().to_list()) <= {0, 1}:
            return Guess(Flag(), "only 0 and 1")
        if len(real) > 2 and _counts(real):
            return Guess(None, COUNTER)
        if is_target and distinct <= min(20, len(real) // 10):
            return Guess(Category(), f"a target of {distinct} whole numbers, taken for classes")
    found = _sentinels(real)
    if found:
        shown = ", ".join(f"{v:g}" for v in found)
        return Guess(Number(sentinels=tuple(found)), f"numbers; {shown} stands far from the rest, taken for missing")
    if distinct == 1:
        return Guess(None, f"left out: always {real[0]!r}")
    return Guess(Number(), "numbers")


def _counts(real: pl.Series) -> bool:
    """Whether whole numbers rise with every row and leave out less than half, as those of rows drawn by chance do."""
    rises = real.cast(pl.Int64, strict=False).diff().drop_nulls()
    return len(rises) == len(real) - 1 and bool((rises > 0).all()) and int(rises.sum()) < 2 * len(real)


def _sentinels(real: pl.Series) -> list[float]:
    """Values that people write for 'missing', where they lie far outside all others and come more than once."""
    numbers = real.cast(pl.Float64).to_numpy()
    found = []
    for mark in _SENTINELS:
        others = numbers[~np.isin(numbers, _SENTINELS)]
        times = int((numbers == mark).sum())
        if times < 2 or not len(others):
            continue
        low, high = others.min(), others.max()
        reach = 2 * max(high - low, 1.0)
        if mark < low - reach or mark > high + reach:
            found.append(mark)
    return found


def _text(real: pl.Series, *, is_target: bool) -> Guess:
    times = _times(real, [None]) or _dates(real)
    if times is not None:
        return times
    for kind in _ENDINGS if not is_target else ():
        if _ends(real, kind):
            return Guess(kind(), f"paths of files, which end in {_found(real, kind)}")
    distinct = real.n_unique()
    odd = real.filter(real.cast(pl.Float64, strict=False).is_null())
    if len(odd) and _are_slips(odd, len(real), few=distinct <= 20):  # the fit will name the rows
        shown = f"numbers, but for {len(odd)} of {len(real)} cells, such as {shorten(odd[0])}"
        return Guess(Number(), f"{shown}: correct them, or name them in il.read(..., missing=...)")
    if distinct > 20 and 10 * real.str.contains(_COMMA).sum() >= 9 * len(real):  # the fit will refuse them, not guess
        return Guess(Number(), f"numbers with a decimal comma, such as {shorten(real[0])}: write them with a point")
    if set(real.str.to_lowercase().unique().to_list()) <= _TRUTHS and distinct <= 4:
        return Guess(Flag(), "only yes and no")
    if distinct == 1:
        return Guess(None, f"left out: always {real[0]!r}")
    words = _words(real)
    if is_target or (distinct <= max(20, len(real) // 20) and not (words and 2 * distinct > len(real))):
        return Guess(Category(), f"text of {distinct} different values")
    if words:
        return Guess(Text(), f"prose: {distinct} different texts in {len(real)} rows, of {words:.0f} words in the mean")
    return Guess(None, f"left out: {distinct} different texts in {len(real)} rows are no categories")


def _are_slips(odd: pl.Series, cells: int, *, few: bool) -> bool:
    """Whether the cells of a column that are no numbers were meant for numbers, or for none; `few`: its values are few.

    Marks of what is missing may stand in half of the cells. Else a tenth is enough for words; and where values are few,
    so that they may be classes, two cells alike are: one that no other is like is no class that could be learnt.
    """
    words = odd.filter(~odd.str.contains(_MARK))
    if not len(words):
        return 2 * len(odd) <= cells
    return 10 * len(odd) <= cells and (not few or words.n_unique() == len(words))


def _times(real: pl.Series, forms: list[str | None]) -> Guess | None:
    """Times in the first of `forms` (None: ISO 8601) that fits most cells, and at least nine of ten."""
    odd = {form: real.filter(Timestamp(format=form).accept(real, Where("", 0, Problems())).bad) for form in forms}
    least = min(len(cells) for cells in odd.values())
    # Of times with a zone among times without, those count that are none: the fit will name the others, however many.
    none = read_iso(real.str.strip_chars())[0].null_count() if forms == [None] else least
    if none > len(real) / 10:
        return None
    form, *others = [form for form in forms if len(odd[form]) == least]
    reason = "text that reads as times" if form is None else f"text that reads as times in the format {form}"
    if least:  # the fit will name the rows, rather than do without a clock
        reason += f", but for {least} of {len(real)} cells, such as {shorten(odd[form][0])}"
        reason += ": correct them, or leave their rows out"
    if others:
        fits = "as many cells" if least else "all cells as well"
        reason += f". CAREFUL: {others[0]} fits {fits}; write that if the month comes first"
    return Guess(Timestamp(format=form), reason)


def _dates(real: pl.Series) -> Guess | None:
    """Times that are not ISO 8601, such as 31.12.2024: in the format that most cells have."""
    cells = real.head(1000).str.strip_chars()
    shapes = cells.str.replace_all(r"\d{4}", "Y").str.replace_all(r"\d+", "0")
    found = re.fullmatch(_DATE, cells.filter(shapes == shapes.mode().min())[0])
    if found is None:
        return None
    mark, clock = found["mark"], "" if found["clock"] is None else " %H:%M:%S" if found["seconds"] else " %H:%M"
    year = "%Y" if re.search(r"\d{4}", found[0]) else "%y"
    orders = (("%d", "%m", year), ("%m", "%d", year)) if found["year"] is None else ((year, "%m", "%d"),)
    return _times(real, [f"{mark.join(fields)}{clock}" for fields in orders])


def _words(real: pl.Series) -> float:
    """Words of a text in the mean, where there are enough for prose and words come again; else 0."""
    words = real.head(10_000).str.to_lowercase().str.extract_all(r"[^\s]+").list.explode().drop_nulls()
    mean = len(words) / min(len(real), 10_000)
    return mean if mean >= _PROSE and words.n_unique() <= 0.8 * len(words) else 0.0
