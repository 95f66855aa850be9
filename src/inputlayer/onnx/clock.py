"""Times for the graph, with NumPy alone: cells -> microseconds since 1970, and the wall clock of a zone.

`inputlayer.times` does the same with polars, which a serving machine does not have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from inputlayer.errors import OptionError

NAT = int(np.iinfo(np.int64).min)
_YEAR_1, _YEAR_10000 = -719_162 * 86_400_000_000, 2_932_897 * 86_400_000_000
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d(?:\.\d+)?)?)?\s*([Zz]|[+-](?:0\d|1[0-8])(?::?[0-5]\d)?)?")
_CLOCK = re.compile(r"[1-9]\d{3}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?")
_SECOND, _QUARTER = 1_000_000, 900_000_000
_1972 = 63_072_000_000_000  # since then, zones change their offset at whole quarters of an hour
_EPOCH = datetime(1970, 1, 1)
_MICRO = timedelta(microseconds=1)


class Times(NamedTuple):
    """utc (rows,) int64 microseconds since 1970, `NAT` where missing; the zone, None if naive; cells that are no time.

    `odd` (rows,): cells without an offset where others have one; or with one, where most have none and `zone` is None.
    `far`: outside the years 1 to 9999.
    """

    utc: np.ndarray
    zone: str | None
    bad: np.ndarray
    odd: np.ndarray
    far: np.ndarray


def from_numbers(times: np.ndarray, zone: str | None) -> Times:
    """datetime64 of any unit, UTC if there is a `zone`."""
    rows = len(times)
    none, missing = np.zeros(rows, bool), np.isnat(times)
    days = times.astype("M8[D]").astype(np.int64)
    far = ~missing & ((days < _YEAR_1 // 86_400_000_000) | (days >= _YEAR_10000 // 86_400_000_000))
    utc = np.where(missing | far, NAT, times.astype("M8[us]").astype(np.int64))
    return Times(utc, zone, none, none, far)


def from_cells(cells: Sequence[Any], form: str | None) -> Times:
    """Dates, datetimes, text as ISO 8601 or in the format `form`, and None for missing."""
    rows = len(cells)
    if (plain := _plain(cells, form)) is not None:
        return from_numbers(plain, None)
    utc, bad = np.full(rows, NAT), np.zeros(rows, bool)
    aware, zones = np.zeros(rows, bool), set()
    for row, cell in enumerate(cells):
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            continue
        made = _read(cell.strip(), form) if isinstance(cell, str) else _moment(cell)
        if made is None:
            bad[row] = True
            continue
        if made.tzinfo is not None:
            aware[row] = True
            zones.add("UTC" if isinstance(cell, str) else _zone_name(made))
            made = made.astimezone(UTC).replace(tzinfo=None)
        utc[row] = (made - _EPOCH) // _MICRO
    naive = (utc != NAT) & ~aware
    zone = None if not zones else zones.pop() if len(zones) == 1 else "UTC"
    if naive.sum() > aware.sum():
        zone, odd = None, aware
    else:
        odd = naive if zone is not None else np.zeros(rows, bool)
    utc[odd] = NAT
    return Times(utc, zone, bad, odd, np.zeros(rows, bool))


def _plain(cells: Sequence[Any], form: str | None) -> np.ndarray | None:
    """Cells that are all naive datetimes, or text with a date and a clock but no offset: read at once."""
    kinds = set(map(type, cells))
    if kinds == {datetime} and all(cell.tzinfo is None for cell in cells):
        return np.array(cells, "M8[us]")
    if kinds == {str} and form is None and all(map(_CLOCK.fullmatch, cells)):
        try:
            return np.array(cells, "M8[us]")
        except ValueError:  # a 30 February
            return None
    return None


def _moment(cell: Any) -> datetime | None:
    if isinstance(cell, datetime):
        return cell
    if isinstance(cell, np.datetime64):
        return _EPOCH + timedelta(microseconds=int(cell.astype("M8[us]").astype(np.int64)))
    return datetime(cell.year, cell.month, cell.day) if isinstance(cell, date) else None


def _zone_name(moment: datetime) -> str:
    return str(getattr(moment.tzinfo, "key", None) or moment.tzname() or "UTC")


def _read(text: str, form: str | None) -> datetime | None:
    try:
        if form is not None:
            return datetime.strptime(text, form)
        found = _ISO.fullmatch(text)
        if found is None:
            return None
        day, clock, seconds, offset = found.groups()
        if offset is not None and clock is None:
            return None
        # More digits than microseconds have are cut off.
        moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{(seconds or '')[:10]}{offset or ''}".upper())
    except ValueError:
        return None
    return moment


def check_format(form: str | None, column: str) -> None:
    """Refuse a format that only polars can read."""
    if form is None:
        return
    try:
        fine = datetime.strptime(datetime(2024, 1, 31, 10, 20, 30).strftime(form), form).year == 2024
    except (ValueError, re.error):
        fine = False
    if not fine:
        raise OptionError(
            f"column {column!r}: the format {form!r} is one that Python's strptime does not read. Give times in place"
            " of text."
        )


def wall(utc: np.ndarray, zone: str | None, offset: int | None) -> np.ndarray:
    """Microseconds UTC (rows,), `NAT` kept -> microseconds of the wall clock; `offset` of zones that never change it.

    >>> noon = np.array([1_704_110_400_000_000, NAT])
    >>> ((wall(noon, "Europe/Berlin", None) - noon) // 1_000_000).tolist()
    [3600, 0]
    """
    missing = utc == NAT
    if offset is not None:
        return np.where(missing, NAT, np.where(missing, 0, utc) + offset)
    try:
        clock = ZoneInfo(str(zone))
    except (ZoneInfoNotFoundError, ValueError):
        raise OptionError(
            f"this machine does not know the time zone {zone!r}. Install the package tzdata, or its time zones."
        ) from None
    given = np.where(missing, _1972, utc)
    step = _QUARTER if given.min(initial=_1972) >= _1972 else _SECOND
    parts, place = np.unique(given // step, return_inverse=True)
    moments = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(p) * step) for p in parts)
    offsets = np.array([_offset(m, clock) for m in moments], np.int64)
    return np.where(missing, NAT, utc + offsets[place.reshape(-1)])


def _offset(moment: datetime, zone: ZoneInfo) -> int:
    try:
        found = moment.astimezone(zone).utcoffset()
    except OverflowError:  # in the first hours of year 1, or the last of 9999
        found = None
    return 0 if found is None else found // _MICRO
