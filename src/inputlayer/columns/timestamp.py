"""Timestamp: calendar parts as points on a circle, and the time elapsed between steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.nn import functional

from inputlayer.columns.base import (
    Column,
    ColumnModule,
    Example,
    Part,
    State,
    TwinPart,
    Where,
    Wire,
    Wires,
    choose,
    wire_name,
)
from inputlayer.errors import OptionError, Problem, TableError
from inputlayer.statistics import Clock
from inputlayer.times import (
    DAY,
    FIELDS,
    NAT,
    SECOND,
    Times,
    check_format,
    circles,
    divmod_onnx,
    elapsed,
    elapsed_onnx,
    fields,
    fields_onnx,
    fixed_offset,
    read_times,
    seen,
    wall,
)

if TYPE_CHECKING:
    from inputlayer.graph import Graph

# Part -> the span from which it is used by itself: two of its periods, so that it can repeat.
_SPANS = {"second": 120 * SECOND, "minute": 7_200 * SECOND, "hour": 2 * DAY, "weekday": 14 * DAY, "yearday": 730 * DAY}
_MISFIT_REMEDY = "Give the column a zone, or take it off, as it was in training."


@dataclass(frozen=True)
class TimestampState(State):
    """What a time column learnt.

    `zone`: its zone, None if naive. `first`, `last`: microseconds since 1970, UTC. `step`: the greatest common divisor
    of all gaps, in microseconds, 0 if there are none. `count`, `missing`: rows with and without a time. `parts`:
    calendar parts in use. `unit`: what elapsed time is measured in, in microseconds; 0 if it is not used.
    """

    zone: str | None
    first: int
    last: int
    step: int
    count: int
    missing: int
    parts: tuple[str, ...]
    unit: int


@dataclass(frozen=True)
class TimestampStatistic:
    """Range and step in UTC, rows without a time, zones ("" for naive), and the values seen of each calendar field."""

    clock: Clock
    missing: int
    zones: frozenset[str]
    seen: Mapping[str, frozenset[int]]

    def merge(self, other: TimestampStatistic) -> TimestampStatistic:
        """Return the statistic of both blocks."""
        return TimestampStatistic(
            self.clock.merge(other.clock),
            self.missing + other.missing,
            self.zones | other.zones,
            {name: self.seen[name] | other.seen[name] for name in self.seen},
        )


@dataclass(frozen=True, kw_only=True)
class Timestamp(Column):
    """A time: of a measurement, of a sale.

    Takes dates, times with or without a zone, and text as ISO 8601 (``2024-01-31``, ``2024-01-31T10:00:00+01:00``) or
    in `format`; empty text is missing. Years 1 to 9999. Order and elapsed time are taken in UTC, the calendar in the
    column's own zone, which is stored; text with offsets has the zone UTC. A column with a zone in training and none at
    serving, or the reverse, is a problem; another zone at serving is converted.

    Wires: ``parts`` (rows, P) int32, one calendar part each, -1 where missing (weekday 0 is Monday; day, month and
    yearday count from 1); ``time`` (rows, 3) int32, if elapsed time is used: days since 1970, second of the day (-1
    where missing), microsecond, in UTC; ``missing`` uint8, if any was missing in training or there is no other wire.

    The network sees the sine and cosine of each part, 0 where missing; ``log1p(elapsed / unit)``, the time since the
    previous step of the same sequence, 0 at its first step and where either is missing; and a flag for missing.

    Parameters
    ----------
    parts
        Of ``second, minute, hour, weekday, day, month, yearday``. None: those of second, minute, hour, weekday and
        yearday that vary and whose period the training rows span twice: a season seen once cannot be told from chance.
    elapsed
        Whether the time between steps is an input. None: if the rows are over 1 % fewer than the regular grid that
        holds them. Rows of all series count together, so in a panel of many series it has to be asked for.
    format
        How text is read, as in ``strptime``. None: ISO 8601. Cells that are times already are taken as they are.

    Raises
    ------
    OptionError
        If an option cannot be, or the column is a target.

    Examples
    --------
    >>> from inputlayer.errors import Problems
    >>> date, where = Timestamp(parts=("hour", "month")), Where("date", 0, Problems())
    >>> times = date.accept(pl.Series(["2024-02-29T13:00", None]), where)
    >>> state = date.finish(date.learn(times, 0), where)
    >>> date.encode(times, state)["parts"].tolist()
    [[13, 2], [-1, -1]]
    """

    parts: tuple[str, ...] | None = None
    elapsed: bool | None = None
    format: str | None = None

    kind: ClassVar[str] = "timestamp"
    State: ClassVar[type[State]] = TimestampState
    invertible: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.role == "target":
            raise OptionError("role='target': a time cannot be a target. Predict a Number, such as hours until then.")
        if self.elapsed and self.role == "static":
            raise OptionError("elapsed=True has no effect with role='static': a static time has no steps.")
        if self.elapsed not in (None, True, False):
            raise OptionError(f"elapsed={self.elapsed!r} is not one of None, True, False.")
        if self.parts is not None:
            object.__setattr__(self, "parts", tuple([self.parts] if isinstance(self.parts, str) else self.parts))
            for part in self.parts:
                choose("parts", part, list(FIELDS))
            if len(set(self.parts)) < len(self.parts):
                raise OptionError(f"parts={self.parts!r} names a part twice.")
        if self.format is not None:
            check_format(self.format)

    # -- fitted half --------------------------------------------------------------------------------------------------

    def accept(self, values: pl.Series, where: Where) -> Times:
        """Cells -> `Times`; cells that cannot be read are noted and become missing."""
        return read_times(values, self.format, where)

    def learn(self, values: Times, first_row: int) -> TimestampStatistic:
        """Range, gaps and calendar of one block."""
        utc = values.utc[values.utc != NAT]
        zones = frozenset([values.zone or ""] if len(utc) else [])
        return TimestampStatistic(Clock.of(utc), len(values) - len(utc), zones, seen(wall(utc, values.zone)))

    def finish(self, statistic: Any, where: Where) -> TimestampState:
        """Choose parts and unit; note a problem if all values are missing, or if some have a zone and some none."""
        clock, zones = statistic.clock, sorted(statistic.zones)
        if not clock.count:
            remedy = "Remove the column from the schema, or give rows that have values."
            where.problems.add("all values are missing", column=where.column, remedy=remedy)
        if "" in zones and len(zones) > 1:
            what = f"some times have a zone ({zones[1]}) and some have none"
            where.problems.add(what, column=where.column, remedy="Give every time a zone, or none.")
        return TimestampState(
            zone=(zones or [""])[-1] or None,
            first=clock.minimum,
            last=clock.maximum,
            step=clock.step,
            count=clock.count,
            missing=statistic.missing,
            parts=_chosen_parts(statistic) if self.parts is None else self.parts,
            unit=self._unit(clock),
        )

    def _unit(self, clock: Clock) -> int:
        """The unit of elapsed time, at least the step and the mean gap; 0 if it is not used."""
        if self.role == "static" or self.elapsed is False:
            return 0
        if not clock.step:
            return SECOND if self.elapsed else 0
        span = clock.maximum - clock.minimum
        grid = span // clock.step + 1
        if self.elapsed is None and 100 * (grid - clock.count) <= grid:
            return 0
        return max(clock.step, round(span / (clock.count - 1)))

    def check(self, values: Times, state: TimestampState, where: Where) -> None:
        """Note times with a zone where naive ones were learnt, or the reverse."""
        if what := _misfit(values, state):
            shown = pl.Series(values.utc).cast(pl.Datetime("us", values.zone))
            where.add(what, values.utc != NAT, shown, _MISFIT_REMEDY)

    def order_values(self, values: Times, where: Where) -> np.ndarray:
        """Times as (rows,) int64 microseconds since 1970, UTC, to sort by; notes rows without one, which become 0."""
        missing = values.utc == NAT
        gaps = missing & ~values.bad
        nulls = pl.Series([None] * len(values), dtype=pl.Null)
        where.add("has no value, so the row has no place in its series", gaps, nulls)
        return np.where(missing, 0, values.utc)

    def wires(self, state: TimestampState) -> dict[str, Wire]:
        """`parts`, `time` and `missing`, as far as they are used."""
        wires = {"parts": Wire("int32", (len(state.parts),))} if state.parts else {}
        if state.unit:
            wires["time"] = Wire("int32", (3,))
        if state.missing or not wires:
            wires["missing"] = Wire("uint8")
        return wires

    def encode(self, values: Times, state: TimestampState) -> Wires:
        """Times -> the wires of `wires`."""
        if what := _misfit(values, state):
            raise TableError([Problem(what, remedy=_MISFIT_REMEDY)])
        missing = values.utc == NAT
        utc = np.where(missing, 0, values.utc)
        made: Wires = {}
        for suffix in self.wires(state):
            if suffix == "parts":
                parts = fields(wall(utc, state.zone), state.parts)
                parts[missing] = -1
                made[suffix] = parts
            elif suffix == "time":
                days, rest = np.divmod(utc, DAY)
                time = np.stack([days, rest // SECOND, rest % SECOND], axis=-1).astype(np.int32)
                time[missing] = (0, -1, 0)
                made[suffix] = time
            else:
                made[suffix] = missing.astype(np.uint8)
        return made

    def missing(self, wires: Wires) -> np.ndarray:
        """Which rows held no time, (rows,) bool."""
        suffix, wire = next(iter(wires.items()))
        assert isinstance(wire, np.ndarray)
        mask = wire[:, 0] < 0 if suffix == "parts" else wire[:, 1] < 0 if suffix == "time" else wire == 1
        return np.asarray(mask)

    def describe(self, state: TimestampState) -> dict[str, Any]:
        """Zone, range, step, parts, elapsed time, missing."""
        return {
            "zone": state.zone or "none",
            "first": _text(state.first, state.zone),
            "last": _text(state.last, state.zone),
            "step": str(timedelta(microseconds=state.step)),
            "parts": list(state.parts),
            "elapsed": f"in units of {timedelta(microseconds=state.unit)}" if state.unit else "not used",
            "missing": state.missing,
        }

    # -- trained half -------------------------------------------------------------------------------------------------

    @classmethod
    def module(cls, columns: Mapping[str, tuple[Any, Any]]) -> TimestampModule:
        """All time columns of one role."""
        return TimestampModule({name: state for name, (_, state) in columns.items()})

    # -- twin ---------------------------------------------------------------------------------------------------------

    def onnx(self, g: Graph, x: str, state: TimestampState) -> dict[str, str]:
        """Wires from microseconds of local wall time (see `onnx_input`)."""
        zero, two = g.constant(0), _two_clocks(state)
        local = g("Gather", x, zero, axis=-1) if two else x
        missing = g("Equal", local, g.constant(NAT))

        def stacked(fields: list[str], gap: list[int]) -> str:
            last = g.constant([-1])
            joined = g("Concat", *(g("Unsqueeze", field, last) for field in fields), axis=-1)
            return g.cast(g("Where", g("Unsqueeze", missing, last), g.constant(gap), joined), np.int32)

        local, wires = g("Where", missing, zero, local), {}
        if state.parts:
            wires["parts"] = stacked(fields_onnx(g, local, state.parts), [-1])
        if state.unit:
            offset = fixed_offset(state.zone) or 0
            utc = g("Gather", x, g.constant(1), axis=-1) if two else g("Sub", local, g.constant(offset))
            days, rest = divmod_onnx(g, g("Where", missing, zero, utc), DAY)
            wires["time"] = stacked([days, *divmod_onnx(g, rest, SECOND)], [0, -1, 0])
        if "missing" in self.wires(state):
            wires["missing"] = g.cast(missing, np.uint8)
        return wires

    def onnx_input(self, state: TimestampState) -> tuple[Any, tuple[int | str, ...]]:
        """int64 microseconds since 1970 of local wall time, the smallest int64 where missing.

        A graph knows no time zones. Where elapsed time is used and the zone's offset changes (daylight saving), each
        cell is two numbers: local wall time and UTC.
        """
        return np.int64, ((2,) if _two_clocks(state) else ())

    def onnx_values(self, values: Times, state: TimestampState) -> np.ndarray:
        """Times -> the raw input of the graph, (rows,) or (rows, 2) int64."""
        missing = values.utc == NAT
        local = np.where(missing, NAT, wall(np.where(missing, 0, values.utc), state.zone))
        return np.stack([local, values.utc], axis=-1) if _two_clocks(state) else local

    # -- contract -----------------------------------------------------------------------------------------------------

    @classmethod
    def examples(cls) -> list[Example]:
        """Leap years, times before 1970, a zone with daylight saving, gaps, dates, other formats."""
        hours = [f"2024-02-{day:02}T{hour:02}:00" for day in range(26, 30) for hour in range(24)]
        summer = ["2024-03-31T00:59:59Z", "2024-03-31T01:00:00Z", "2024-10-27T01:00:00Z", None]
        berlin = [None if cell is None else datetime.fromisoformat(cell) for cell in summer]
        return [
            Example(
                cls(), hours, ["2024-02-29T23:59:59.9", "1969-12-31T22:00", None], wires={"parts": [[23], [22], [-1]]}
            ),
            Example(
                cls(parts=("weekday", "day", "month", "yearday"), elapsed=False),
                ["2023-01-01", "2024-12-31"],
                ["2000-02-29", "1900-03-01", "1969-12-31", "2024-12-31", "0001-01-01"],
                wires={"parts": [[1, 29, 2, 60], [3, 1, 3, 60], [2, 31, 12, 365], [1, 31, 12, 366], [0, 1, 1, 1]]},
            ),
            Example(
                cls(parts=("second", "hour", "day"), elapsed=True),
                berlin,
                berlin,  # clocks go from 2 to 3 o'clock in spring; the hour from 2 to 3 comes twice in autumn
                wires={
                    "parts": [[59, 1, 31], [0, 3, 31], [0, 2, 27], [-1, -1, -1]],
                    "time": [[19813, 3599, 0], [19813, 3600, 0], [20023, 3600, 0], [0, -1, 0]],
                    "missing": [0, 0, 0, 1],
                },
                dtype=pl.Datetime("us", "Europe/Berlin"),
            ),
            Example(
                cls(),
                ["2024-01-01T00:00+02:00", "2024-01-01T00:01+02:00", "2024-01-01T00:09+02:00"],
                ["1969-12-31T23:59:59.25Z", None],
                wires={"time": [[-1, 86399, 250000], [0, -1, 0]]},
            ),
            Example(
                cls(format="%d.%m.%Y", parts=("month",), elapsed=False),
                ["31.01.2024", ""],
                ["29.02.2024", ""],
                wires={"parts": [[2], [-1]], "missing": [0, 1]},
            ),
            Example(cls(role="static"), ["2024-01-01"] * 3, ["2024-01-02", None], wires={"missing": [0, 1]}),
        ]


class TimestampModule(ColumnModule):
    """Sine and cosine of each part, elapsed time, a flag for missing: the extras of each column one after another."""

    def __init__(self, states: Mapping[str, TimestampState]) -> None:
        super().__init__()
        self.states = dict(states)
        extras: list[str] = []
        for i, (name, state) in enumerate(states.items()):
            extras += [f"{name} {part} {wave}" for part in state.parts for wave in ("sin", "cos")]
            extras += [f"{name} elapsed"] * bool(state.unit) + [f"{name} missing"] * bool(state.missing)
            table, offsets = circles(state.parts)
            self.register_buffer(f"circles_{i}", torch.from_numpy(table), persistent=False)
            self.register_buffer(f"offsets_{i}", torch.from_numpy(offsets), persistent=False)
        self.extras = tuple(extras)
        self.before = {wire_name(n, "time"): torch.IntTensor([0, -1, 0]) for n, state in states.items() if state.unit}

    def forward(self, wires: Mapping[str, Tensor]) -> Part:
        """Wires (B, T, ...) -> extras (B, T, E) float32."""
        made = []
        for i, (name, state) in enumerate(self.states.items()):
            if state.parts:
                index = wires[wire_name(name, "parts")] + self.get_buffer(f"offsets_{i}")
                made.append(functional.embedding(index, self.get_buffer(f"circles_{i}")).flatten(-2))
            if state.unit:
                made.append(elapsed(wires[wire_name(name, "time")], state.unit))
            if state.missing:
                made.append(wires[wire_name(name, "missing")].float().unsqueeze(-1))
        return Part(extras=torch.cat(made, dim=-1) if made else None)

    def onnx(self, g: Graph, wires: Mapping[str, str]) -> TwinPart:
        """The same, in a graph."""
        made = []
        for name, state in self.states.items():
            if state.parts:
                table, offsets = circles(state.parts)
                index = g("Add", wires[wire_name(name, "parts")], g.constant(offsets))
                pairs = g("Gather", g.constant(table), index, axis=0)
                made.append(g("Reshape", pairs, g.constant([0, 0, 2 * len(state.parts)])))
            if state.unit:
                made.append(elapsed_onnx(g, wires[wire_name(name, "time")], state.unit))
            if state.missing:
                missing = g.cast(wires[wire_name(name, "missing")], np.float32)
                made.append(g("Unsqueeze", missing, g.constant([-1])))
        return TwinPart(extras=g("Concat", *made, axis=-1) if made else None)


def _misfit(values: Times, state: TimestampState) -> str:
    """What is wrong with the zone of `values`, or nothing."""
    if (values.zone is None) == (state.zone is None) or not (values.utc != NAT).any():
        return ""
    if state.zone is None:
        return f"had no zone in training and has the zone {values.zone} now"
    return f"had the zone {state.zone} in training and has none now"


def _chosen_parts(statistic: TimestampStatistic) -> tuple[str, ...]:
    """The parts that vary and whose period the span holds."""
    span = statistic.clock.maximum - statistic.clock.minimum
    varies = {name: len(values) > 1 for name, values in statistic.seen.items()}
    varies["yearday"] = varies["yearday"] and (varies["day"] or varies["month"])  # 1 January may be all there is
    return tuple(name for name, least in _SPANS.items() if span >= least and varies[name])


def _two_clocks(state: TimestampState) -> bool:
    """Whether the graph needs UTC beside the wall clock."""
    return bool(state.unit) and fixed_offset(state.zone) is None


def _text(utc: int, zone: str | None) -> str:
    """A time for people, on the wall clock of `zone`."""
    return (datetime(1970, 1, 1) + timedelta(microseconds=int(wall(np.array([utc]), zone)[0]))).isoformat(sep=" ")
