"""Times as whole microseconds: cells read, zones applied, calendar fields and elapsed time, and the same in a graph.

The calendar arithmetic counts days from 0000-03-01 in eras of 400 years, after Howard Hinnant, "chrono-Compatible
Low-Level Date Algorithms" (https://howardhinnant.github.io/date_algorithms.html): whole numbers only, so that NumPy and
a graph give the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch
from torch import Tensor

from inputlayer.errors import OptionError

if TYPE_CHECKING:
    from inputlayer.columns.base import Where
    from inputlayer.graph import Graph

NAT = int(np.iinfo(np.int64).min)  # a missing time, as in NumPy
SECOND, DAY = 1_000_000, 86_400_000_000  # microseconds
_YEAR_1, _YEAR_10000 = -719_162 * DAY, 2_932_897 * DAY

# Field -> highest value, first value, period. A year has 365.2425 days on average.
_CIRCLES: dict[str, tuple[int, int, float]] = {
    "second": (59, 0, 60.0),
    "minute": (59, 0, 60.0),
    "hour": (23, 0, 24.0),
    "weekday": (6, 0, 7.0),
    "day": (31, 1, 31.0),
    "month": (12, 1, 12.0),
    "yearday": (366, 1, 365.2425),
}
FIELDS = tuple(_CIRCLES)

_ISO = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f")  # the last is the slowest
_OFFSET = r"([Zz]|[+-](?:0\d|1[0-8])(?::?[0-5]\d)?)$"
_LIMIT = 2**63 // DAY // 2  # days that surely fit

# The years and days of an era, which begins on 1 March, so that the leap day is its last: 719,468 days before 1970.
_ERA, _EPOCH = 146_097, 719_468


@dataclass(frozen=True)
class Times:
    """Accepted times: `utc` (rows,) int64 microseconds since 1970, `NAT` where missing; `zone`, None if naive.

    `bad` (rows,) bool tells cells that could not be read from those that held nothing. A naive time counts as UTC.
    """

    utc: np.ndarray
    zone: str | None
    bad: np.ndarray

    def __len__(self) -> int:
        return len(self.utc)


# -- reading ----------------------------------------------------------------------------------------------------------


def check_format(text: str) -> None:
    """Refuse, with `OptionError`, a format that cannot read what it writes.

    >>> check_format("%d.%m.%Y")
    """
    probe = pl.Series([datetime(2024, 1, 31, 10, 20, 30, tzinfo=UTC)])
    try:
        read = probe.dt.strftime(text).str.to_datetime(text, strict=False)
    except pl.exceptions.PolarsError as error:
        raise OptionError(f"format={text!r} does not describe a time: {str(error).splitlines()[0]}") from None
    if read.dt.year().to_list() != [2024]:  # also text without any field "reads" what it writes
        raise OptionError(f"format={text!r} does not describe a time. An example that does: '%d.%m.%Y %H:%M'.")


def read_times(values: pl.Series, form: str | None, where: Where) -> Times:
    """Cells of any type -> `Times`; those that are no time are noted in `where` and become missing."""
    dtype = values.dtype
    if isinstance(dtype, (pl.Categorical, pl.Enum)):
        values, dtype = values.cast(pl.String), pl.String()
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return _bounded(values, where)
    if dtype == pl.String:
        return _from_text(values, form, where)
    bad = values.is_not_null().to_numpy()
    if dtype.is_integer() or dtype.is_float():
        where.add("holds numbers, not times", bad, values, "Turn them into times first, as polars.from_epoch does.")
    elif dtype != pl.Null:
        where.add(f"holds cells of type {dtype}, not times", bad, values, "Turn them into dates or times.")
    return Times(np.full(len(values), NAT), None, bad)


def _bounded(values: pl.Series, where: Where) -> Times:
    """`Times` from dates or Datetimes, those outside the years 1 to 9999 noted."""
    utc = _microseconds(values)
    outside = ((utc < _YEAR_1) | (utc >= _YEAR_10000)).fill_null(False)
    # Shown as the raw number, for polars cannot show such a time.
    where.add("is outside the years 1 to 9999", outside.to_numpy(), values.to_physical(), "Mend the unit or the value.")
    zone = values.dtype.time_zone if isinstance(values.dtype, pl.Datetime) else None
    return Times(utc.set(outside, None).fill_null(NAT).to_numpy(), zone, outside.to_numpy())


def _from_text(values: pl.Series, form: str | None, where: Where) -> Times:
    """`Times` from text."""
    text = values.str.strip_chars()
    text = text.set(text == "", None)
    if form is None:
        utc, zone, naive = read_iso(text)
        remedy = "Times are read as ISO 8601, such as 2024-01-31T10:00; for others name the format."
        odd, what = naive, "has no zone, where others have one"
        if 2 * naive.sum() > utc.count():
            zone, odd, what = None, ~naive & utc.is_not_null(), "has a zone, where most have none"
        where.add(what, odd.to_numpy(), values, "Give every time a zone, or none.")
        utc = utc.set(odd, None)
    else:
        utc, zone = _read_format(text, form)
        odd, remedy = pl.Series([False] * len(text), dtype=pl.Boolean), f"The format is {form!r}."
    outside = ((utc < _YEAR_1) | (utc >= _YEAR_10000)).fill_null(False)
    utc = utc.set(outside, None)
    bad = (utc.is_null() & text.is_not_null()).to_numpy()
    where.add("is not a time", bad & ~odd.to_numpy(), values, remedy)
    return Times(utc.fill_null(NAT).to_numpy(), zone, bad)


def _microseconds(values: pl.Series) -> pl.Series:
    """Dates or Datetimes of any unit -> Int64 microseconds since 1970 (UTC if they have a zone), rounded down.

    What does not fit is moved to somewhere outside the years 1 to 9999; polars' own conversion stops the process.
    """
    physical = values.to_physical().cast(pl.Int64)
    if values.dtype == pl.Date:
        return physical.clip(-_LIMIT, _LIMIT) * DAY
    assert isinstance(values.dtype, pl.Datetime)
    if values.dtype.time_unit == "ns":
        return physical // 1_000
    return physical.clip(-(2**53), 2**53) * 1_000 if values.dtype.time_unit == "ms" else physical


def _read_format(text: pl.Series, form: str) -> tuple[pl.Series, str | None]:
    """Text in the format `form` -> Int64 microseconds, null where it does not fit; and the zone."""
    times = text.str.to_datetime(form, strict=False, time_unit="us")
    assert isinstance(times.dtype, pl.Datetime)
    return times.to_physical(), times.dtype.time_zone


def read_iso(text: pl.Series) -> tuple[pl.Series, str | None, pl.Series]:
    """ISO 8601 -> Int64 microseconds, null where it is none; the zone; and which cells have no offset though others do.

    The zone is UTC if any cell has an offset, else None.

    >>> times, zone, _ = read_iso(pl.Series(["1970-01-01T02:00:00+02:00", "1970-01-02", "x"]))
    >>> times.to_list(), zone
    ([0, 86400000000, None], 'UTC')
    """
    clock = text.str.slice(10)  # behind the date, whose "-31" is no offset
    zone, body = None, text
    offsets = pl.Series([None] * len(text), dtype=pl.String)
    if clock.str.contains(_OFFSET).any():
        zone, offsets = "UTC", clock.str.extract(_OFFSET, 1)
        body = text.str.slice(0, text.str.len_chars() - offsets.str.len_chars().fill_null(0)).str.strip_chars_end()
    body = body.str.replace(" ", "T", literal=True)
    times = pl.Series([None] * len(text), dtype=pl.Datetime("us"))
    for form in _ISO:
        if times.null_count() == text.null_count():
            break
        times = times.zip_with(times.is_not_null(), body.str.to_datetime(form, strict=False, time_unit="us"))
    naive = (offsets.is_null() & times.is_not_null()) if zone else pl.Series([False] * len(text), dtype=pl.Boolean)
    return times.to_physical() - _offset(offsets), zone, naive


def _offset(offsets: pl.Series) -> pl.Series:
    """``Z``, ``+02``, ``-0330`` or ``+05:30`` -> Int64 microseconds; 0 where there is none."""
    known = {o: _parsed(o) for o in offsets.drop_nulls().unique().to_list()}
    return offsets.replace_strict(list(known), list(known.values()), default=0, return_dtype=pl.Int64)


def _parsed(offset: str) -> int:
    if offset in "Zz":
        return 0
    digits = offset[1:].replace(":", "").ljust(4, "0")
    return (-1 if offset[0] == "-" else 1) * (int(digits[:2]) * 3600 + int(digits[2:]) * 60) * SECOND


# -- zones ------------------------------------------------------------------------------------------------------------


def wall(utc: np.ndarray, zone: str | None) -> np.ndarray:
    """Microseconds UTC, none missing -> microseconds of the wall clock in `zone`."""
    offset = fixed_offset(zone)
    if offset is not None:
        return utc + offset if offset else utc
    local = pl.Series(utc).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(str(zone))
    return local.dt.replace_time_zone(None).to_physical().to_numpy()


def fixed_offset(zone: str | None) -> int | None:
    """The offset from UTC in microseconds of a zone that never changes it; None for others.

    >>> fixed_offset(None), fixed_offset("Etc/GMT-2"), fixed_offset("Europe/Berlin")
    (0, 7200000000, None)
    """
    if zone is None or zone in ("UTC", "GMT", "Etc/UTC", "Etc/GMT", "Zulu", "Etc/Zulu", "UCT", "Etc/UCT"):
        return 0
    fixed = re.fullmatch(r"Etc/GMT([+-]\d+)", zone)  # POSIX: west of Greenwich is positive
    return -int(fixed[1]) * 3600 * SECOND if fixed else None


# -- calendar ---------------------------------------------------------------------------------------------------------


def fields(clock: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Wall-clock microseconds (rows,) -> calendar fields (rows, len(names)) int32.

    Weekday 0 is Monday; day, month and yearday count from 1.

    >>> fields(np.array([-1]), ["weekday", "month", "yearday", "hour"]).tolist()
    [[2, 12, 365, 23]]
    """
    days, rest = np.divmod(clock, DAY)
    second = (rest // SECOND).astype(np.int32)
    found = {"second": second % 60, "minute": second // 60 % 60, "hour": second // 3600, "weekday": (days + 3) % 7}
    if not found.keys() >= set(names):
        found |= _date(days)
    return np.stack([found[name].astype(np.int32) for name in names], axis=-1)


def _date(days: np.ndarray) -> dict[str, np.ndarray]:
    """Days since 1970 -> day, month, yearday."""
    era, day = np.divmod(days + _EPOCH, _ERA)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    of_year = day - (365 * year + year // 4 - year // 100)  # from 1 March
    shifted = (5 * of_year + 2) // 153  # months since March
    month = (shifted + 2) % 12 + 1
    year = year + 400 * era + (month <= 2)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    yearday = np.where(month > 2, of_year + 60 + leap, of_year - 305)
    return {"day": of_year - (153 * shifted + 2) // 5 + 1, "month": month, "yearday": yearday}


def seen(clock: np.ndarray) -> dict[str, frozenset[int]]:
    """Wall-clock microseconds (rows,) -> which values of each field occur."""
    days, rest = np.divmod(clock, DAY)
    days = np.unique(days) * DAY  # the calendar of each distinct day, not of each row
    seconds = np.flatnonzero(np.bincount(rest // SECOND)) * SECOND
    by_day, by_clock = fields(days, FIELDS[3:]), fields(seconds, FIELDS[:3])
    columns = [*by_clock.T, *by_day.T]
    return {name: frozenset(np.unique(column).tolist()) for name, column in zip(FIELDS, columns, strict=True)}


def circles(parts: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Sine and cosine of every value of every part, (rows, 2) float32, and where each part's rows begin, (P,) int32.

    The row of value v is at begin + v, with a row of zeros before the first for -1, missing. A table, so that torch and
    ONNX give the same bits.
    """
    tables, offsets, at = [], [], 0
    for part in parts:
        highest, first, period = _CIRCLES[part]
        value = np.arange(-1, highest + 1)
        angle = 2 * np.pi * (value - first) / period
        pairs = np.stack([np.sin(angle), np.cos(angle)], axis=-1) * (value >= first)[:, None]
        tables.append(pairs.astype(np.float32))
        offsets.append(at + 1)
        at += len(value)
    return np.concatenate([np.zeros((0, 2), np.float32), *tables]), np.array(offsets, dtype=np.int32)


def elapsed(time: Tensor, unit: int) -> Tensor:
    """Wire `time` (B, T, 3) -> (B, T, 1) float32. Whole microseconds until the end; going back counts as 0."""
    day, second, micro = time.long().unbind(-1)
    stamp = day * DAY + second * SECOND + micro
    gap = (stamp[:, 1:] - stamp[:, :-1]).clamp(min=0)
    known = second >= 0
    gap = torch.where(known[:, 1:] & known[:, :-1], gap, 0).float() / unit
    first = torch.zeros_like(stamp[:, :1], dtype=torch.float32)
    return torch.cat([first, torch.log1p(gap)], dim=1).unsqueeze(-1)


# -- the same in a graph ----------------------------------------------------------------------------------------------


def divmod_onnx(g: Graph, x: str, by: int) -> tuple[str, str]:
    """Quotient, rounded down, and remainder. ONNX's Div rounds towards zero, and its Mod has the divisor's sign."""
    rest = g("Mod", x, g.constant(by))
    return g("Div", g("Sub", x, rest), g.constant(by)), rest


def fields_onnx(g: Graph, clock: str, names: Sequence[str]) -> list[str]:
    """`fields` in a graph: an int64 tensor for each name, of the shape of `clock`."""
    days, rest = divmod_onnx(g, clock, DAY)
    second = g("Div", rest, g.constant(SECOND))
    found = {
        "second": g("Mod", second, g.constant(60)),
        "minute": g("Mod", g("Div", second, g.constant(60)), g.constant(60)),
        "hour": g("Div", second, g.constant(3600)),
        "weekday": g("Mod", g("Add", days, g.constant(3)), g.constant(7)),
    }
    if not found.keys() >= set(names):
        found |= _date_onnx(g, days)
    return [found[name] for name in names]


def _date_onnx(g: Graph, days: str) -> dict[str, str]:
    """`_date` in a graph."""

    def op(name: str, a: str | int, b: str | int) -> str:
        return g(name, *(x if isinstance(x, str) else g.constant(x) for x in (a, b)))

    era, day = divmod_onnx(g, op("Add", days, _EPOCH), _ERA)
    year = op("Sub", op("Add", op("Sub", day, op("Div", day, 1460)), op("Div", day, 36524)), op("Div", day, 146096))
    year = op("Div", year, 365)
    gone = op("Sub", op("Add", op("Mul", year, 365), op("Div", year, 4)), op("Div", year, 100))
    of_year = op("Sub", day, gone)
    shifted = op("Div", op("Add", op("Mul", of_year, 5), 2), 153)
    month = op("Add", op("Mod", op("Add", shifted, 2), 12), 1)
    early = op("LessOrEqual", month, 2)
    year = op("Add", op("Add", year, op("Mul", era, 400)), g.cast(early, np.int64))
    zero = [op("Equal", op("Mod", year, n), 0) for n in (4, 100, 400)]
    leap = g("And", zero[0], g("Or", g("Not", zero[1]), zero[2]))
    late = op("Add", op("Add", of_year, 60), g.cast(leap, np.int64))
    yearday = g("Where", early, op("Sub", of_year, 305), late)
    first = op("Div", op("Add", op("Mul", shifted, 153), 2), 5)
    return {"day": op("Add", op("Sub", of_year, first), 1), "month": month, "yearday": yearday}


def elapsed_onnx(g: Graph, time: str, unit: int) -> str:
    """`elapsed` in a graph."""
    units, last, end = g.constant([DAY, SECOND, 1]), g.constant([-1]), g.constant([2**62])
    stamp = g("ReduceSum", g("Mul", g.cast(time, np.int64), units), last, keepdims=0)
    known = g("GreaterOrEqual", g("Gather", time, g.constant(1), axis=-1), g.constant(0, np.int32))
    zero, one, axis = g.constant([0]), g.constant([1]), g.constant([1])

    def later(x: str) -> str:
        return g("Slice", x, one, end, axis)

    def earlier(x: str) -> str:
        return g("Slice", x, zero, last, axis)

    # Not by Max, which onnxruntime 1.31 gets wrong for whole numbers whose 32nd bit is set, such as an hour.
    gap = g("Sub", later(stamp), earlier(stamp))
    counts = g("And", g("And", later(known), earlier(known)), g("Greater", gap, g.constant(0)))
    gap = g("Where", counts, gap, g.constant(0))
    scaled = g("Div", g.cast(gap, np.float32), g.constant(float(unit)))
    first = g("Mul", g.cast(g("Slice", stamp, zero, one, axis), np.float32), g.constant(0.0))
    joined = g("Concat", first, g("Log", g("Add", scaled, g.constant(1.0))), axis=1)
    return g("Unsqueeze", joined, last)
