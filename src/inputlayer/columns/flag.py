"""Flag: yes or no."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

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
    stack,
    wire_name,
)

if TYPE_CHECKING:
    from inputlayer.graph import Graph

MISSING, FALSE, TRUE = 0, 1, 2  # codes
_WORDS = {"false": FALSE, "no": FALSE, "f": FALSE, "n": FALSE, "0": FALSE, "": MISSING}
_WORDS |= {"true": TRUE, "yes": TRUE, "t": TRUE, "y": TRUE, "1": TRUE}
_REMEDY = "A flag is true or false, yes or no, t or f, y or n, 1 or 0; for other values use Category() or Number()."


@dataclass(frozen=True)
class FlagState(State):
    """How many training rows were false, true and missing."""

    false: int
    true: int
    missing: int


@dataclass(frozen=True)
class FlagStatistic:
    """Rows of each code, (3,) int64."""

    rows: np.ndarray

    def merge(self, other: FlagStatistic) -> FlagStatistic:
        """Return the statistic of both blocks."""
        return FlagStatistic(self.rows + other.rows)


@dataclass(frozen=True, kw_only=True)
class Flag(Column):
    """Yes or no: a holiday, a valve that is open.

    Takes booleans, the numbers 0 and 1, and, whatever their case and mixed as they may be, the words true and false,
    yes and no, t and f, y and n, 1 and 0; empty text is missing. Anything else is a bad cell. Codes are uint8: 0
    missing, 1 false, 2 true. The network sees -1 for false, +1 for true and 0 for missing, and beside it, if any was
    missing in training, a 1 where it is.

    Examples
    --------
    >>> from inputlayer.errors import Problems
    >>> where = Where("holiday", 0, Problems())
    >>> Flag().accept(pl.Series(["no", "YES", None]), where).tolist()
    [1, 2, 0]
    """

    kind: ClassVar[str] = "flag"
    State: ClassVar[type[State]] = FlagState
    first_class: ClassVar[int] = FALSE

    # -- fitted half --------------------------------------------------------------------------------------------------

    def accept(self, values: pl.Series, where: Where) -> np.ndarray:
        """Cells -> codes (rows,) uint8."""
        dtype = values.dtype
        if dtype == pl.Null:
            return np.zeros(len(values), np.uint8)
        if dtype == pl.Boolean:
            codes = values.cast(pl.UInt8) + np.uint8(FALSE)
        elif dtype.is_numeric():
            values = values.fill_nan(None) if dtype.is_float() else values
            codes = values.replace_strict([0, 1], [FALSE, TRUE], default=None, return_dtype=pl.UInt8)
        elif dtype == pl.String or isinstance(dtype, (pl.Categorical, pl.Enum)):
            words = values.cast(pl.String).str.strip_chars().str.to_lowercase()
            codes = words.replace_strict(list(_WORDS), list(_WORDS.values()), default=None, return_dtype=pl.UInt8)
        else:
            codes = pl.Series([None] * len(values), dtype=pl.UInt8)
        where.add("is not a flag", (codes.is_null() & values.is_not_null()).to_numpy(), values, _REMEDY)
        return codes.fill_null(MISSING).to_numpy(writable=True)

    def learn(self, values: np.ndarray, first_row: int) -> FlagStatistic:
        """Count the codes of one block."""
        return FlagStatistic(np.bincount(values, minlength=3).astype(np.int64))

    def finish(self, statistic: Any, where: Where) -> FlagState:
        """Keep the counts; note a problem if all values are missing."""
        missing, false, true = statistic.rows.tolist()
        if not false + true:
            remedy = "Remove the column from the schema, or give rows that have values."
            where.problems.add("all values are missing", column=where.column, remedy=remedy)
        return FlagState(false, true, missing)

    def wires(self, state: FlagState) -> dict[str, Wire]:
        """One code per row."""
        return {"": Wire("uint8")}

    def encode(self, values: np.ndarray, state: FlagState) -> Wires:
        """The codes, (rows,) uint8."""
        return {"": values}

    def back(self, y: np.ndarray, state: FlagState) -> np.ndarray:
        """Class indices (...), codes minus 1 -> bool (...); with None, as objects, where an index is below 0."""
        index = np.asarray(y).astype(np.int64)
        labels = np.array([False, True, None], dtype=object)[np.where(index < 0, -1, index)]
        return np.asarray(labels if (index < 0).any() else labels.astype(bool))

    def classes(self, state: FlagState) -> tuple[bool, bool]:
        """The labels of the classes, as a target: class i has code i + 1."""
        return (False, True)

    def class_counts(self, state: FlagState) -> tuple[int, int]:
        """Training rows of each label."""
        return (state.false, state.true)

    def describe(self, state: FlagState) -> dict[str, Any]:
        """Rows of each value, and whether all are the same."""
        constant = not state.false or not state.true
        return {"false": state.false, "true": state.true, "missing": state.missing, "constant": constant}

    # -- trained half -------------------------------------------------------------------------------------------------

    @classmethod
    def module(cls, columns: Mapping[str, tuple[Any, Any]]) -> FlagModule:
        """All flags of one role."""
        return FlagModule({name: state for name, (_, state) in columns.items()})

    # -- twin ---------------------------------------------------------------------------------------------------------

    def onnx(self, g: Graph, x: str, state: FlagState) -> dict[str, str]:
        """int64: 0 false, 1 true, anything else is missing."""
        codes = [g.constant(code, np.uint8) for code in (MISSING, FALSE, TRUE)]
        true = g("Where", g("Equal", x, g.constant(1)), codes[TRUE], codes[MISSING])
        return {"": g("Where", g("Equal", x, g.constant(0)), codes[FALSE], true)}

    def onnx_input(self, state: FlagState) -> tuple[Any, tuple[int | str, ...]]:
        """int64, one per row."""
        return np.int64, ()

    def onnx_values(self, values: np.ndarray, state: FlagState) -> np.ndarray:
        """Codes -> 0, 1, and -1 for missing."""
        return values.astype(np.int64) - 1

    def onnx_back(self, g: Graph, y: str, state: FlagState) -> str:
        """Class indices, int64, -> bool."""
        return g("Equal", y, g.constant(1))

    # -- contract -----------------------------------------------------------------------------------------------------

    @classmethod
    def examples(cls) -> list[Example]:
        """Booleans, numbers, and words mixed."""
        return [
            Example(cls(), [True, False, None], [False, None, True], wires={"": [1, 0, 2]}),
            Example(cls(), [0, 1, 1], [1, 0, None], wires={"": [2, 1, 0]}),
            Example(cls(), ["yes", "no", ""], ["T", "n", " true", "0", "", None], wires={"": [2, 1, 2, 1, 0, 0]}),
        ]


class FlagModule(ColumnModule):
    """-1 for false, +1 for true, 0 for missing; then a 1 for missing, of the columns that had any in training."""

    gaps: Tensor

    def __init__(self, states: Mapping[str, FlagState]) -> None:
        super().__init__()
        self.wires = tuple(wire_name(name, "") for name in states)
        gaps = [i for i, state in enumerate(states.values()) if state.missing]
        self.extras = (*states, *(f"{list(states)[i]} missing" for i in gaps))
        self.register_buffer("gaps", torch.tensor(gaps, dtype=torch.int64), persistent=False)

    def forward(self, wires: Mapping[str, Tensor]) -> Part:
        """Codes (B, T) uint8 per column -> extras (B, T, columns + columns with gaps) float32."""
        codes = stack(wires, self.wires).float()
        missing = codes == MISSING
        signs = torch.where(missing, 0.0, 2 * codes - 3)
        return Part(extras=torch.cat([signs, missing[..., self.gaps].float()], dim=-1))

    def onnx(self, g: Graph, wires: Mapping[str, str]) -> TwinPart:
        """The same, in a graph."""
        axis = g.constant([-1])
        codes = g("Concat", *(g("Unsqueeze", wires[name], axis) for name in self.wires), axis=-1)
        codes = g.cast(codes, np.float32)
        missing = g("Equal", codes, g.constant(0.0))
        signs = g("Sub", g("Mul", codes, g.constant(2.0)), g.constant(3.0))
        signs = g("Where", missing, g.constant(0.0), signs)
        flags = g("Gather", g.cast(missing, np.float32), g.constant(self.gaps.cpu().numpy()), axis=-1)
        return TwinPart(extras=g("Concat", signs, flags, axis=-1))
