"""A column whose cells hold a fixed number of numbers, such as embeddings made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np
import polars as pl
import torch
from torch import Tensor

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
from inputlayer.errors import OptionError
from inputlayer.lists import note_text
from inputlayer.statistics import Moments

if TYPE_CHECKING:
    from inputlayer.graph import Graph

_LARGEST = float(np.finfo(np.float32).max)
_OTHER_SIZE = "Give every cell the same number of entries."


@dataclass(frozen=True)
class VectorState(State):
    """What a vector column learnt: entries of a cell, rows with and without one, and each entry's centre and divisor.

    `center`, `divisor` (size,) float64: mean and standard deviation (1 of a constant entry); 0 and 1 if not scaled.
    """

    size: int
    count: int
    missing: int
    constant: int
    center: np.ndarray
    divisor: np.ndarray


@dataclass(frozen=True)
class VectorStatistic:
    """Moments per entry, rows without a cell, and the sizes found where blocks differ."""

    entries: tuple[Moments, ...]
    missing: int
    sizes: tuple[int, ...]

    def merge(self, other: VectorStatistic) -> VectorStatistic:
        """Return the statistic of both blocks; where their sizes differ, that of `self`, and all sizes."""
        sizes = tuple(sorted({*self.sizes, *other.sizes}))
        entries = self.entries or other.entries
        if len(self.entries) == len(other.entries):
            entries = tuple(a.merge(b) for a, b in zip(self.entries, other.entries, strict=True))
        return VectorStatistic(entries, self.missing + other.missing, sizes)


@dataclass(frozen=True, kw_only=True)
class Vector(Column):
    """A vector of one size in each cell: an embedding, a spectrum, a row of one-hot codes.

    Takes lists and arrays of numbers. A null, or a cell whose entries are all NaN, is missing: zeros, and an input
    "x missing" if any was missing in training. A cell that lacks only some of its numbers is an error.

    Parameters
    ----------
    size
        Entries of a cell. None: as the training rows have them.
    scale
        ``"standard"``: each entry by its training mean and standard deviation; ``"none"``: as they are.

    Raises
    ------
    OptionError
        For a value that an option cannot have.

    Examples
    --------
    >>> from inputlayer.errors import Problems
    >>> face, where = Vector(), Where("face", 0, Problems())
    >>> cells = face.accept(pl.Series([[1.0, 5.0], [3.0, 5.0], None]), where)
    >>> state = face.finish(face.learn(cells, 0), where)
    >>> face.encode(cells, state)[""].tolist()
    [[-1.0, 0.0], [1.0, 0.0], [nan, nan]]
    """

    size: int | None = None
    scale: Literal["standard", "none"] = "standard"

    kind: ClassVar[str] = "vector"
    State: ClassVar[type[State]] = VectorState

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("scale", self.scale, get_args(Literal["standard", "none"]))
        if self.size is not None and (isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1):
            raise OptionError(f"size={self.size!r} is not a whole number of at least 1.")
        if self.role == "target":
            raise OptionError("role='target': a vector cannot be a target. Make each entry a Number() of its own.")

    # -- fitted half --------------------------------------------------------------------------------------------------

    def accept(self, values: pl.Series, where: Where) -> np.ndarray:
        """Cells of lists or arrays -> (rows, size) float64, missing ones NaN; (rows, 0) if all are and no size is set.

        Noted are cells of another size (than `size`, or than most of the block), with infinite numbers, with numbers
        missing, and columns that do not hold lists of numbers.
        """
        rows, given = len(values), values.is_not_null().to_numpy()
        if not _holds_numbers(values.dtype):
            if not note_text(values, 1, where):
                remedy = "A cell is a list of numbers, such as [0.5, 1.5]."
                where.add(f"holds {values.dtype}", given, values, remedy)
            return np.full((rows, self.size or 0), np.nan)
        cells = values.cast(pl.List(pl.Float64))
        sizes = cells.list.len().fill_null(0).to_numpy().astype(np.int64)
        size = self.size if self.size is not None else _usual(sizes[given])
        wrong = given & ((sizes != size) | (sizes == 0))
        remedy = _OTHER_SIZE if self.size is None else f"Correct these cells, or size={size}."
        where.add(f"does not have {size or 'any'} numbers", wrong, _shown(cells, wrong), remedy)
        good = given & ~wrong
        x = np.full((rows, size), np.nan)
        if good.any():
            x[good] = cells.filter(pl.Series(good)).explode().fill_null(np.nan).to_numpy().reshape(-1, size)
        absent, infinite = np.isnan(x), np.isinf(x).any(axis=1)
        some = absent.any(axis=1) & ~absent.all(axis=1)
        remedy = "Correct these cells, or make them null."
        where.add("lacks some of its numbers", some, _shown(cells, some), remedy)
        where.add("holds an infinite number", infinite, _shown(cells, infinite), remedy)
        x[some | infinite] = np.nan
        return x

    def learn(self, values: np.ndarray, first_row: int) -> VectorStatistic:
        """Moments of each entry."""
        real = values[~np.isnan(values).any(axis=1)] if values.shape[1] else values[:0]
        if not len(real):
            return VectorStatistic((), len(values), ())
        columns = np.ascontiguousarray(real.T)
        return VectorStatistic(tuple(map(Moments.of, columns)), len(values) - len(real), (values.shape[1],))

    def finish(self, statistic: Any, where: Where) -> VectorState:
        """Centre and divisor of each entry; notes a problem if all cells are missing, or blocks differ in size."""
        entries: tuple[Moments, ...] = statistic.entries
        if not entries and not any(problem.column == where.column for problem in where.problems):
            remedy = "Remove the column from the schema, or give rows that have values."
            where.problems.add("all values are missing", column=where.column, remedy=remedy)
        if len(statistic.sizes) > 1:
            what = f"holds cells of {' and of '.join(map(str, statistic.sizes))} numbers"
            where.problems.add(what, column=where.column, remedy=_OTHER_SIZE)
        if not all(np.isfinite(m.maximum - m.minimum) for m in entries):
            remedy = "Divide them by a large number first."
            where.problems.add("the range of the numbers overflows", column=where.column, remedy=remedy)
        scaled = self.scale == "standard"
        spreads = np.array([m.spread for m in entries], dtype=np.float64)
        return VectorState(
            size=len(entries),
            count=entries[0].count if entries else 0,
            missing=statistic.missing,
            constant=int((spreads == 0).sum()),
            center=np.array([m.mean if scaled else 0.0 for m in entries], dtype=np.float64),
            divisor=np.where((spreads > 0) & scaled, spreads, 1.0),
        )

    def check(self, values: np.ndarray, state: VectorState, where: Where) -> None:
        """Note cells of another size than in training."""
        if values.shape[1] not in (0, state.size):
            there = ~np.isnan(values).all(axis=1)
            shown = pl.Series([f"{values.shape[1]} numbers"] * len(values))
            where.add(f"had {state.size} numbers in training", there, shown, "Give vectors of the same making.")

    def wires(self, state: VectorState) -> dict[str, Wire]:
        """`size` float32, NaN where missing."""
        return {"": Wire("float32", (state.size,))}

    def encode(self, values: np.ndarray, state: VectorState) -> Wires:
        """(rows, size) float64 -> float32."""
        if not values.shape[1]:
            return {"": np.full((len(values), state.size), np.nan, np.float32)}
        with np.errstate(over="ignore"):
            z = (values - state.center) / state.divisor
        return {"": np.clip(z, -_LARGEST, _LARGEST).astype(np.float32)}

    def back(self, y: np.ndarray, state: VectorState) -> np.ndarray:
        """Scaled vectors (..., size) -> raw units, float64."""
        return np.asarray(np.asarray(y, np.float64) * state.divisor + state.center)

    def describe(self, state: VectorState) -> dict[str, Any]:
        """Size, scale, and how many entries never vary."""
        learnt: dict[str, Any] = {"entries": state.size, "scaled": self.scale, "cells": state.count}
        return learnt | {"missing": state.missing, "constant entries": state.constant}

    # -- trained half -------------------------------------------------------------------------------------------------

    @classmethod
    def module(cls, columns: Mapping[str, tuple[Any, Any]]) -> VectorModule:
        """See `VectorModule`."""
        return VectorModule({name: state for name, (_, state) in columns.items()})

    # -- twin ---------------------------------------------------------------------------------------------------------

    def onnx(self, g: Graph, x: str, state: VectorState) -> dict[str, str]:
        """Raw float64 (..., size) -> the wire float32."""
        z = g("Div", g("Sub", x, g.constant(state.center)), g.constant(state.divisor))
        # Clip loses NaN in some runtimes, so it goes around.
        clipped = g("Clip", z, g.constant(np.float64(-_LARGEST)), g.constant(np.float64(_LARGEST)))
        return {"": g.cast(g("Where", g("IsNaN", z), z, clipped), np.float32)}

    def onnx_input(self, state: VectorState) -> tuple[Any, tuple[int | str, ...]]:
        """Per row, `size` float64."""
        return np.float64, (state.size,)

    def onnx_values(self, values: np.ndarray, state: VectorState) -> np.ndarray:
        """As they are, missing cells NaN."""
        return values if values.shape[1] else np.full((len(values), state.size), np.nan)

    def onnx_back(self, g: Graph, y: str, state: VectorState) -> str:
        """float32 (..., size) -> raw units, float64."""
        return g("Add", g("Mul", g.cast(y, np.float64), g.constant(state.divisor)), g.constant(state.center))

    # -- contract -----------------------------------------------------------------------------------------------------

    @classmethod
    def examples(cls) -> list[Example]:
        """Lists and arrays, missing cells, no scale; one worked by hand."""
        nan = float("nan")
        cells = [[1.0, 10.0, -2.0], [3.0, 10.0, 0.0], None, [5.0, 10.0, 5.0], [7.0, 10.0, 1.0]]
        # entry 0: mean 4, variance (9 + 1 + 1 + 9) / 4 = 5; entry 1 is constant; entry 2: mean 1, variance 26 / 4
        by_hand = [[0.0, 1.0, 0.0], [-(5.0**0.5), 0.0, 6.5**0.5], [nan] * 3, [nan] * 3]
        probe = [[4.0, 11.0, 1.0], [-1.0, 10.0, 7.5], None, [nan] * 3]
        lists, arrays = pl.List(pl.Float64), pl.Array(pl.Float32, 2)
        return [
            Example(cls(), cells, probe, {"": by_hand}, lists),
            Example(cls(size=2, scale="none"), [[1.5, -1e30], [0.0, 1e9]], [None, [0.1, 2.0]], dtype=arrays),
            Example(cls(role="static"), [[1], [4], [1]], [[2], None], dtype=pl.List(pl.Int16)),
            Example(cls(), [[1e9, 0.0], [1e9 + 1e-3, 1e-9]], [[1e300, -1e300]], dtype=lists),
        ]


class VectorModule(ColumnModule):
    """All vector columns of one role: zeros where missing, then the flags.

    Shape: wires (B, T, size) each -> extras (B, T, sum of sizes + flags).
    """

    def __init__(self, states: Mapping[str, VectorState]) -> None:
        super().__init__()
        self.columns = tuple(states)
        self.flagged = [name for name, state in states.items() if state.missing]
        self.extras = tuple(f"{name}[{i}]" for name, state in states.items() for i in range(state.size))
        self.extras += tuple(f"{name} missing" for name in self.flagged)

    def forward(self, wires: Mapping[str, Tensor]) -> Part:
        """Wires -> Part."""
        parts = [torch.nan_to_num(wires[wire_name(name, "")], nan=0.0) for name in self.columns]
        flags = [torch.isnan(wires[wire_name(name, "")][..., :1]).to(parts[0].dtype) for name in self.flagged]
        return Part(extras=torch.cat([*parts, *flags], dim=-1))

    def onnx(self, g: Graph, wires: Mapping[str, str]) -> TwinPart:
        """The same, in a graph."""
        gaps = {name: g("IsNaN", wires[wire_name(name, "")]) for name in self.columns}
        parts = [g("Where", gap, g.constant(0.0), wires[wire_name(name, "")]) for name, gap in gaps.items()]
        flags = [g.cast(g("Gather", gaps[name], g.constant([0]), axis=-1), np.float32) for name in self.flagged]
        return TwinPart(extras=g("Concat", *parts, *flags, axis=-1))


def _holds_numbers(dtype: pl.DataType) -> bool:
    if dtype == pl.Null:
        return True
    return isinstance(dtype, (pl.List, pl.Array)) and (dtype.inner.is_numeric() or dtype.inner == pl.Null)


def _usual(sizes: np.ndarray) -> int:
    """The size that most cells have, the smaller of two; 0 of no cells."""
    return int(np.bincount(sizes).argmax()) if len(sizes) else 0


def _shown(cells: pl.Series, bad: np.ndarray) -> pl.Series:
    """Bad cells as lists, in one line each: a list cell of polars prints over many."""
    shown: list[str | None] = [None] * len(cells)
    for row in np.flatnonzero(bad)[:5].tolist():
        shown[row] = str(cells[row].to_list())
    return pl.Series(shown, dtype=pl.String)
