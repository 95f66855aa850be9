"""A column whose cells hold steps of one or several channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast, get_args

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from inputlayer.columns.base import (
    Column,
    ColumnModule,
    Example,
    Memory,
    Part,
    PooledModule,
    Ragged,
    State,
    TwinPart,
    Where,
    Wire,
    Wires,
    choose,
    wire_name,
)
from inputlayer.entries import MeanEntry
from inputlayer.errors import OptionError
from inputlayer.filling import Filling, Gap
from inputlayer.lists import note_text
from inputlayer.scales import SCALES, Gathered, Scale, ScaleName, Seen, note_unusable

if TYPE_CHECKING:
    from inputlayer.graph import Graph

Axes = Literal["time", "time channel", "channel time"]
Fill = Literal["mean", "forward", "zero"]
_STEP_BITS = 20  # a row's number and a step's place in it make one number for the sample of quantiles


@dataclass(frozen=True)
class SeriesState(State):
    """What a series column learnt, per channel.

    `steps`: the fewest and the most of one cell. `missing`: cells that are null or empty.
    """

    seen: tuple[Seen, ...]
    scales: tuple[Scale, ...]
    fills: tuple[float, ...]
    flags: tuple[bool, ...]
    steps: tuple[int, ...]
    missing: int


@dataclass(frozen=True)
class SeriesStatistic:
    """What one block gives, per channel; the fewest and most steps of its cells; and how many have none."""

    channels: tuple[Gathered, ...]
    steps: tuple[int, ...]
    missing: int

    def merge(self, other: SeriesStatistic) -> SeriesStatistic:
        """Both blocks, `self` being the earlier."""
        channels = zip(self.channels, other.channels, strict=True)
        steps = (*self.steps, *other.steps)
        span = (min(steps), max(steps)) if steps else ()
        return SeriesStatistic(tuple(a.merge(b) for a, b in channels), span, self.missing + other.missing)


class SeriesModule(ColumnModule):
    """All channels of all series columns.

    Shape: wires (B, T, channels) each -> values (B, T, C), present (B, T, C), extras (B, T, E).
    """

    def __init__(self, columns: Mapping[str, tuple[Series, SeriesState]]) -> None:
        super().__init__()
        gaps = [gap for name, (column, state) in columns.items() for gap in _gaps(name, column, state)]
        self.channels = tuple(gap.name for gap in gaps)
        self.held = tuple(gap.held for gap in gaps)
        self.filling = Filling(gaps)
        self.extras = self.filling.extras
        self._wires = [wire_name(name, "") for name in columns]

    def forward(self, wires: Mapping[str, Tensor]) -> Part:
        """Wires (B, T, channels) -> Part."""
        return Part(*self.filling(torch.cat([wires[name] for name in self._wires], dim=-1)))

    def begin(self, batch: int) -> Memory:
        return self.filling.begin(batch)

    def step(self, wires: Mapping[str, Tensor], memory: Memory) -> tuple[Part, Memory]:
        filled, after = self.filling.step(torch.cat([wires[name] for name in self._wires], dim=-1), memory)
        return Part(*filled), after

    def onnx(self, g: Graph, wires: Mapping[str, str]) -> TwinPart:
        """The same, in a graph."""
        return TwinPart(*self.filling.onnx(g, g("Concat", *(wires[name] for name in self._wires), axis=2)))

    def onnx_step(self, g: Graph, wires: Mapping[str, str], memory: Sequence[str]) -> tuple[TwinPart, tuple[str, ...]]:
        filled, after = self.filling.onnx_step(g, g("Concat", *(wires[name] for name in self._wires), axis=2), memory)
        return TwinPart(*filled), after


class PooledSeries(PooledModule):
    """One vector per cell: its gaps filled and marked, then `MeanEntry` over its steps."""

    def __init__(self, columns: Mapping[str, tuple[Series, SeriesState]]) -> None:
        super().__init__(columns)
        self.fillings = nn.ModuleList(Filling(_gaps(n, c, s)) for n, (c, s) in columns.items())
        self.means = nn.ModuleList(MeanEntry(c.channels + sum(s.flags), c.width) for c, s in columns.values())

    def pooled(self, number: int, entries: Tensor, lengths: Tensor) -> Tensor:
        values, _, marks = self.fillings[number](entries.flatten(0, 1))
        steps = values if marks is None else torch.cat([values, marks], dim=-1)
        mean: Tensor = self.means[number](steps.unflatten(0, entries.shape[:2]), lengths)
        return mean

    def onnx_pooled(self, g: Graph, number: int, entries: str, lengths: str) -> str:
        lead, entry = g("Shape", entries, end=2), g("Shape", entries, start=2)
        flat = g("Reshape", entries, g("Concat", g.constant([-1]), entry, axis=0))
        values, _, marks = cast(Filling, self.fillings[number]).onnx(g, flat)
        steps = values if marks is None else g("Concat", values, marks, axis=-1)
        shape = g("Concat", lead, g("Shape", steps, start=1), axis=0)
        return cast(MeanEntry, self.means[number]).onnx(g, g("Reshape", steps, shape), lengths)


@dataclass(frozen=True, kw_only=True)
class Series(Column):
    """A column whose cells hold several steps each, of one channel or several, in cells of any length.

    With ``Cells(steps="x")`` they are the steps of the sequence. Elsewhere a cell is one vector: the mean over its
    steps of a small trained layer, to which their order says nothing. A null or empty cell is missing: a sequence
    without steps, or zeros and an input "x missing" if any was missing in training.

    Parameters
    ----------
    channels
        How many numbers a step has.
    axes
        How a cell is laid out: ``"time"``, a list of numbers; ``"time channel"``, a list of steps, each a list of
        numbers; ``"channel time"``, a list of channels.
    scale
        As for `Number`, per channel, learnt from the real steps of all cells.
    fill
        As for `Number`: what stands for a NaN or null among the steps.
    flag
        Whether an extra input marks missing numbers, per channel. None: for the channels that missed any in training.
    width
        Numbers of the vector that a cell becomes where it is no sequence of steps.

    Raises
    ------
    OptionError
        For a value that an option cannot have.

    Examples
    --------
    >>> Series(channels=12, axes="time channel").options()
    {'channels': 12, 'axes': 'time channel'}
    """

    kind: ClassVar[str] = "series"
    State: ClassVar[type[State]] = SeriesState
    steps: ClassVar[bool] = True

    channels: int = 1
    axes: Axes = "time"
    scale: ScaleName = "standard"
    fill: Fill = "mean"
    flag: bool | None = None
    width: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("channels", "width"):
            value = getattr(self, option)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"{option}={value!r} is not a whole number of at least 1.")
        choose("axes", self.axes, get_args(Axes))
        choose("scale", self.scale, SCALES)
        choose("fill", self.fill, get_args(Fill))
        choose("flag", self.flag, (None, True, False))
        if self.axes == "time" and self.channels > 1:
            raise OptionError(
                f"axes='time' holds one channel, not channels={self.channels}. Say axes='time channel' if a cell is a"
                " list of steps, axes='channel time' if it is a list of channels."
            )
        if self.role == "target":
            raise OptionError(
                "role='target': a series cannot be a target. Make each step a row, and predict a Number()."
            )

    # -- fitted half ------------------------------------------------------------------------------------------------

    def accept(self, values: pl.Series, where: Where) -> Ragged:
        """Cells of lists or arrays -> steps (total, channels) float64, NaN where missing; a missing cell has none.

        Noted are cells of another number of channels or not of numbers, and infinite numbers.
        """
        cells = _Cells.of(values, nested=self.axes != "time")
        if cells is None:
            deep = self.axes != "time"
            if not note_text(values, 1 + deep, where):
                remedy = f"With axes={self.axes!r} a cell is a list of {'lists of ' * deep}numbers."
                _note(where, f"holds {values.dtype}", values.is_not_null().to_numpy(), values, remedy)
            return Ragged(np.zeros((0, self.channels)), np.zeros(len(values) + 1, np.int64))
        steps, wrong = cells.lengths(self.axes, self.channels)
        unit = "channels of equal length" if self.axes == "channel time" else "numbers in each step"
        what = f"does not have {self.channels} {unit}"
        _note(where, what, wrong & ~cells.empty, values, f"Correct these cells, or channels={self.channels}.")
        steps = np.where(wrong | cells.empty, 0, steps)
        flat = cells.flat(~wrong & ~cells.empty)
        if self.axes == "channel time":
            flat = flat[_time_first(steps, self.channels)]
        flat, offsets = flat.reshape(-1, self.channels), np.concatenate([[0], np.cumsum(steps)])
        infinite = np.isinf(flat)
        if infinite.any():
            rows = np.repeat(np.arange(len(values)), steps)[infinite.any(axis=1)]
            bad = np.bincount(rows, minlength=len(values)) > 0
            _note(where, "holds an infinite number", bad, values, "Correct these cells, or make the number null.")
            flat = np.where(infinite, np.nan, flat)
        return Ragged(flat, offsets)

    def learn(self, values: Ragged, first_row: int) -> SeriesStatistic:
        """Moments per channel over the real steps, and the range of lengths."""
        lengths, held = values.lengths, values.lengths[values.lengths > 0]
        rows = np.repeat(first_row + np.arange(len(lengths), dtype=np.int64), lengths) << _STEP_BITS
        rows += np.arange(len(values.flat)) - np.repeat(values.offsets[:-1], lengths)
        channels = tuple(Gathered.of(values.flat[:, c], rows, self.scale) for c in range(self.channels))
        steps = (int(held.min()), int(held.max())) if len(held) else ()
        return SeriesStatistic(channels, steps, len(lengths) - len(held))

    def finish(self, statistic: Any, where: Where) -> SeriesState:
        """A scale per channel. A column without any number is a problem; a channel without any is scaled by 1."""
        seen = tuple(channel.seen() for channel in statistic.channels)
        note_unusable(seen, where.column, where.problems)
        scales = tuple(channel.finish() for channel in statistic.channels)
        pairs = list(zip(scales, seen, strict=True))
        zero = self.fill == "zero"
        return SeriesState(
            seen=seen,
            scales=scales,
            fills=tuple(float(a.forward(np.zeros(1))[0]) if zero else a.mean(s) for a, s in pairs),
            flags=tuple(s.missing > 0 if self.flag is None else self.flag for s in seen),
            steps=statistic.steps,
            missing=statistic.missing,
        )

    def wires(self, state: SeriesState) -> dict[str, Wire]:
        """Steps of `channels` float32, NaN where missing."""
        return {"": Wire("float32", (self.channels,), ragged=True)}

    def encode(self, values: Ragged, state: SeriesState) -> Wires:
        """(total, channels) float64 -> float32."""
        flat = np.empty(values.flat.shape, np.float32)
        for c, scale in enumerate(state.scales):
            flat[:, c] = scale.forward(values.flat[:, c])
        return {"": Ragged(flat, values.offsets)}

    def back(self, y: np.ndarray, state: SeriesState) -> np.ndarray:
        """Scaled numbers (..., channels) -> raw units (..., channels) float64."""
        return np.stack([scale.back(y[..., c]) for c, scale in enumerate(state.scales)], axis=-1)

    def describe(self, state: SeriesState) -> dict[str, Any]:
        """Steps, and each channel's scale and moments."""
        channels = [scale.describe(seen) for scale, seen in zip(state.scales, state.seen, strict=True)]
        cells = {"axes": self.axes, "steps": list(state.steps), "missing": state.missing}
        return {**cells, "fill": self.fill, "channels": channels}

    # -- trained half -----------------------------------------------------------------------------------------------

    @classmethod
    def module(cls, columns: Mapping[str, tuple[Any, Any]]) -> SeriesModule:
        """See `SeriesModule`."""
        return SeriesModule(columns)

    @classmethod
    def pool(cls, columns: Mapping[str, tuple[Any, Any]]) -> PooledSeries:
        """See `PooledSeries`."""
        return PooledSeries(columns)

    # -- twin ---------------------------------------------------------------------------------------------------------

    def onnx(self, g: Graph, x: str, state: SeriesState) -> dict[str, str]:
        """Raw float64 (B, T, channels) -> the wire float32."""
        return {"": _each(g, x, [scale.onnx for scale in state.scales])}

    def onnx_input(self, state: SeriesState) -> tuple[Any, tuple[int | str, ...]]:
        """Per step, `channels` float64."""
        return np.float64, (self.channels,)

    def onnx_values(self, values: Ragged, state: SeriesState) -> np.ndarray:
        """The steps of all cells, one after the other, (total, channels)."""
        return values.flat

    def onnx_back(self, g: Graph, y: str, state: SeriesState) -> str:
        """float32 (..., channels) -> raw units, float64."""
        return _each(g, y, [scale.onnx_back for scale in state.scales])

    # -- contract -----------------------------------------------------------------------------------------------------

    @classmethod
    def examples(cls) -> list[Example]:
        """One channel and several, every layout, gaps; one worked by hand."""
        two = [[[1.0, 10.0], [3.0, 10.0]], [[5.0, 10.0], [7.0, None]], [[4.0, 10.0]]]
        # channel 0: mean 4, variance (9 + 1 + 1 + 9 + 0) / 5 = 4; channel 1 is constant
        by_hand = [[[-1.5, 0.0], [-0.5, 0.0]], [[0.0, float("nan")]]]
        lists = [[1.0, 2.0, None, 8.0], [float("nan"), -3.0], [0.5]]
        channels = [[[1.0, 2.0, 3.0], [9.0, 7.0, None]], [[4.0], [5.0]]]
        nested = pl.List(pl.List(pl.Float64))
        return [
            Example(cls(channels=2, axes="time channel"), two, [two[0], [[4.0, None]]], {"": by_hand}, nested),
            Example(cls(), lists, [[2.0], lists[0], [100.0, None]], dtype=pl.List(pl.Float64)),
            Example(cls(scale="minmax", fill="forward"), lists, [[None, 2.0, None], [7.0]], dtype=pl.List(pl.Float64)),
            Example(cls(channels=2, axes="channel time", scale="robust"), channels, channels, dtype=nested),
            Example(cls(scale="log", flag=True), lists, lists, dtype=pl.List(pl.Float64), tolerance=1e-6),
            Example(cls(fill="zero"), lists, [[None, -1.0]], dtype=pl.List(pl.Float64)),
            Example(cls(scale="quantile"), lists, lists, dtype=pl.List(pl.Float64), tolerance=1e-6),
            Example(cls(width=3, flag=True), [*lists, None, []], [None, [4.0, None]], dtype=pl.List(pl.Float64)),
        ]


def _gaps(name: str, column: Series, state: SeriesState) -> list[Gap]:
    """What each channel does about missing numbers."""
    held = column.fill == "forward"
    return [Gap(f"{name}[{i}]", state.fills[i], held, state.flags[i]) for i in range(column.channels)]


def _note(where: Where, what: str, bad: np.ndarray, values: pl.Series, remedy: str) -> None:
    """Note bad cells as lists, in one line each: a list cell of polars prints over many."""
    if bad.any():
        shown: list[str | None] = [None] * len(values)
        for row in np.flatnonzero(bad)[:5].tolist():
            shown[row] = str(values[row].to_list() if isinstance(values[row], pl.Series) else values[row])
        where.add(what, bad, pl.Series(shown, dtype=pl.String), remedy)


def _each(g: Graph, x: str, functions: list[Any]) -> str:
    """Apply a function per channel, the last axis of `x`."""
    last = g.constant([-1])
    done = [f(g, g("Gather", x, g.constant(c), axis=-1)) for c, f in enumerate(functions)]
    return g("Concat", *(g("Unsqueeze", y, last) for y in done), axis=-1)


def _time_first(steps: np.ndarray, channels: int) -> np.ndarray:
    """Where the numbers of cells laid out (channel, time) stand, in the order of (time, channel)."""
    each = np.repeat(steps, steps)
    starts = np.repeat(np.cumsum(steps) - steps, steps)
    place = np.arange(len(each)) - starts
    index = (starts * channels + place)[:, None] + np.arange(channels) * each[:, None]
    return np.asarray(index.ravel())


class _Cells(NamedTuple):
    """A column of lists, looked at without a loop over its rows.

    outer (rows,): entries of each cell; inner: entries of each entry, all cells in a row; lists: the cells not empty.
    """

    outer: np.ndarray
    inner: np.ndarray | None
    lists: pl.Series

    @classmethod
    def of(cls, values: pl.Series, nested: bool) -> _Cells | None:
        """None where the dtype has another depth, or holds no numbers."""
        wanted = pl.List(pl.List(pl.Float64)) if nested else pl.List(pl.Float64)
        if values.dtype != pl.Null and not _holds_numbers(values.dtype, 2 if nested else 1):
            return None
        values = values.cast(wanted)
        outer = values.list.len().fill_null(0).to_numpy().astype(np.int64)
        lists = values.filter(pl.Series(outer > 0))
        inner = lists.explode().list.len().fill_null(0).to_numpy().astype(np.int64) if nested else None
        return cls(outer, inner, lists)

    @property
    def empty(self) -> np.ndarray:
        """Which rows are null or have no entries, (rows,) bool."""
        return np.asarray(self.outer == 0)

    def lengths(self, axes: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Steps of each row, and which rows have another number of channels, or channels of unequal length."""
        if self.inner is None:
            return self.outer, np.zeros(len(self.outer), bool)
        low, high = np.zeros_like(self.outer), np.zeros_like(self.outer)
        if len(self.inner):
            starts = (np.cumsum(self.outer) - self.outer)[~self.empty]
            low[~self.empty] = np.minimum.reduceat(self.inner, starts)
            high[~self.empty] = np.maximum.reduceat(self.inner, starts)
        if axes == "time channel":
            return self.outer, (low != channels) | (high != channels)
        return high, (self.outer != channels) | (low != high) | (high == 0)

    def flat(self, good: np.ndarray) -> np.ndarray:
        """All numbers of the rows in the mask `good`, one after the other, float64."""
        numbers = self.lists.filter(pl.Series(good[~self.empty]))
        for _ in range(1 if self.inner is None else 2):
            numbers = numbers.explode()
        return np.asarray(numbers.cast(pl.Float64).fill_null(np.nan).to_numpy())


def _holds_numbers(dtype: Any, depth: int) -> bool:
    for _ in range(depth):
        if dtype == pl.Null:
            return True
        if not isinstance(dtype, (pl.List, pl.Array)):
            return False
        dtype = dtype.inner
    return bool(dtype.is_numeric() or dtype == pl.Null)
