"""Category: one of a set of names or whole numbers, looked up in a vocabulary, then in an embedding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from inputlayer.codes import FIRST, MISSING, UNSEEN, CodeTable
from inputlayer.columns.base import Column, ColumnModule, Example, Part, State, TwinPart, Where, Wire, Wires, wire_name
from inputlayer.errors import OptionError, Problem, TableError
from inputlayer.statistics import Counts

if TYPE_CHECKING:
    from inputlayer.graph import Graph

_NO_NUMBER = np.iinfo(np.int64).min  # a missing whole number in the graph, as NaT is a missing time
_SHOWN = 8
_MISFIT_REMEDY = "Give the column the type it had in training."


@dataclass(frozen=True)
class CategoryState(State):
    """What a category learnt.

    `text`: whether the values are text (`words`) or whole numbers (`numbers`); the other vocabulary is empty. `counts`:
    rows of each value, most frequent first. `missing`: rows without a value. `rare`, `rare_rows`: values left out of
    the vocabulary, and their rows. `width`: numbers of the embedding.
    """

    text: bool
    words: tuple[str, ...]
    numbers: tuple[int, ...]
    counts: tuple[int, ...]
    missing: int
    rare: int
    rare_rows: int
    width: int

    @property
    def vocabulary(self) -> tuple[str, ...] | tuple[int, ...]:
        """The values that have a code of their own, in the order of their codes."""
        return self.words if self.text else self.numbers


@dataclass(frozen=True)
class CategoryStatistic:
    """How often each value occurs, and how many rows have none."""

    counts: Counts
    missing: int

    def merge(self, other: CategoryStatistic) -> CategoryStatistic:
        """Return the statistic of both blocks."""
        return CategoryStatistic(self.counts.merge(other.counts), self.missing + other.missing)


@dataclass(frozen=True, kw_only=True)
class Category(Column):
    """One of a set of values: a station's name, a wind direction, a product number.

    Takes text, polars categoricals and enums, and whole numbers; empty text is missing. Booleans are a `Flag`, decimal
    numbers a `Number`. Codes are int32: 0 missing, 1 unseen or rare, from 2 the vocabulary, most frequent first and
    ties by value. The trained half is one embedding per column. A missing value is a row of zeros. An unseen one stands
    for the average training row: it is the mean of the other embeddings, weighted by their frequency, plus an offset
    that starts at zero and is learnt only where training has rare values; so it says nothing until something is known.

    Parameters
    ----------
    min_count
        Values in fewer training rows than this are rare, and share the code of the unseen.
    max_size
        At most so many values get a code of their own. None: no limit.
    width
        Numbers of the embedding. None: ``min(50, round(1.6 * n ** 0.56))`` for n values, the rule of fastai.

    Raises
    ------
    OptionError
        If an option cannot be, or would have no effect.

    Examples
    --------
    >>> from inputlayer.errors import Problems
    >>> wind, where = Category(), Where("wind", 0, Problems())
    >>> cells = wind.accept(pl.Series(["S", "N", "S", None]), where)
    >>> state = wind.finish(wind.learn(cells, 0), where)
    >>> wind.encode(wind.accept(pl.Series(["N", "S", "E", None]), where), state)[""].tolist()
    [3, 2, 1, 0]
    """

    min_count: int = 1
    max_size: int | None = None
    width: int | None = None

    kind: ClassVar[str] = "category"
    State: ClassVar[type[State]] = CategoryState
    first_class: ClassVar[int] = FIRST

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("min_count", "max_size", "width"):
            value = getattr(self, option)
            if value is None and option != "min_count":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"{option}={value!r} is not a whole number of at least 1.")
        if self.width is not None and self.role == "target":
            raise OptionError(f"width={self.width} has no effect with role='target': a target has no embedding.")

    # -- fitted half --------------------------------------------------------------------------------------------------

    def accept(self, values: pl.Series, where: Where) -> pl.Series:
        """Cells -> a series of String or Int64, or of Null if every cell is missing; missing cells are null."""
        dtype = values.dtype
        if dtype.is_float():
            values = values.fill_nan(None)
        if values.null_count() == len(values):
            return pl.Series(values.name, [None] * len(values), dtype=pl.Null)
        if dtype == pl.String or isinstance(dtype, (pl.Categorical, pl.Enum)):
            words = values.cast(pl.String)
            return words.set(words == "", None)
        if dtype.is_integer():
            return _whole(values, where)
        where.add(*_refusal(dtype, values, where))
        return pl.Series(values.name, [None] * len(values), dtype=pl.Null)

    def learn(self, values: pl.Series, first_row: int) -> CategoryStatistic:
        """Count the values of one block."""
        return CategoryStatistic(Counts.of(values.drop_nulls()), values.null_count())

    def finish(self, statistic: Any, where: Where) -> CategoryState:
        """Order the vocabulary; note a problem if it is empty."""
        found = statistic.counts.values
        kept = statistic.counts.ordered(self.min_count, self.max_size)
        if not kept:
            what, remedy = "all values are missing", "Remove the column from the schema, or give rows that have values."
            if found:
                what, remedy = f"no value is in at least min_count={self.min_count} rows", "Lower min_count."
            where.problems.add(what, column=where.column, remedy=remedy)
        words = tuple(value for value in kept if isinstance(value, str))
        numbers = tuple(value for value in kept if isinstance(value, int))
        return CategoryState(
            text=not numbers,
            words=words,
            numbers=numbers,
            counts=tuple(kept.values()),
            missing=statistic.missing,
            rare=len(found) - len(kept),
            rare_rows=statistic.counts.count - sum(kept.values()),
            width=self.width or max(1, min(50, round(1.6 * len(kept) ** 0.56))),
        )

    def check(self, values: pl.Series, state: CategoryState, where: Where) -> None:
        """Note text where whole numbers were learnt, or the reverse: they are never turned into each other."""
        what = _misfit(values, state)
        if what:
            where.add(what, values.is_not_null().to_numpy(), values, _MISFIT_REMEDY)

    def wires(self, state: CategoryState) -> dict[str, Wire]:
        """One code per row."""
        return {"": Wire("int32")}

    def encode(self, values: pl.Series, state: CategoryState) -> Wires:
        """Values -> codes (rows,) int32."""
        if what := _misfit(values, state):
            raise TableError([Problem(what, remedy=_MISFIT_REMEDY)])
        if values.dtype == pl.Null:
            return {"": np.zeros(len(values), np.int32)}
        if state.text:  # a cast to an enum is several times faster than a join
            index = values.cast(pl.Enum(state.words), strict=False).to_physical().cast(pl.Int32) + FIRST
        else:
            codes = np.arange(FIRST, FIRST + len(state.numbers), dtype=np.int32)
            index = values.replace_strict(state.numbers, codes, default=UNSEEN, return_dtype=pl.Int32)
        codes = index.fill_null(UNSEEN).to_numpy(writable=True)
        if values.null_count():
            codes[values.is_null().to_numpy()] = MISSING
        return {"": codes}

    def back(self, y: np.ndarray, state: CategoryState) -> np.ndarray:
        """Class indices (...), which are codes minus 2, -> values (...): objects for text, int64 for whole numbers.

        An index below 0, an unseen or missing value, is None, and whole numbers are objects then.
        """
        index = np.asarray(y).astype(np.int64)
        labels = np.array([*state.vocabulary, None], dtype=object)[np.where(index < 0, -1, index)]
        return np.asarray(labels if state.text or (index < 0).any() else labels.astype(np.int64))

    def classes(self, state: CategoryState) -> tuple[str, ...] | tuple[int, ...]:
        """The labels of the classes, as a target: class i has code i + 2."""
        return state.vocabulary

    def class_counts(self, state: CategoryState) -> tuple[int, ...]:
        """Training rows of each label."""
        return state.counts

    def describe(self, state: CategoryState) -> dict[str, Any]:
        """Size, most frequent values with their counts, rare, missing, width."""
        common = list(zip(state.vocabulary, state.counts, strict=True))[:_SHOWN]
        return {
            "values": "text" if state.text else "whole numbers",
            "size": len(state.vocabulary),
            "common": [[value, count] for value, count in common],
            "rare values": state.rare,
            "rare rows": state.rare_rows,
            "missing": state.missing,
            "width": state.width,
        }

    # -- trained half -------------------------------------------------------------------------------------------------

    @classmethod
    def module(cls, columns: Mapping[str, tuple[Any, Any]]) -> CategoryModule:
        """Embeddings of all category columns of one role."""
        return CategoryModule({name: state for name, (_, state) in columns.items()})

    # -- twin ---------------------------------------------------------------------------------------------------------

    def onnx(self, g: Graph, x: str, state: CategoryState) -> dict[str, str]:
        """Look up text or int64; missing is ``""`` or the smallest int64."""
        codes = list(range(FIRST, FIRST + len(state.vocabulary)))
        keys: dict[str, Any] = (
            {"keys_strings": ["", *state.words]} if state.text else {"keys_int64s": [_NO_NUMBER, *state.numbers]}
        )
        found = g("LabelEncoder", x, domain="ai.onnx.ml", values_int64s=[MISSING, *codes], default_int64=UNSEEN, **keys)
        return {"": g.cast(found, np.int32)}

    def onnx_input(self, state: CategoryState) -> tuple[Any, tuple[int | str, ...]]:
        """Text (objects) or int64, one per row."""
        return (object if state.text else np.int64), ()

    def onnx_values(self, values: pl.Series, state: CategoryState) -> np.ndarray:
        """Accepted values, missing ones replaced by their mark."""
        if state.text:
            return np.asarray(values.cast(pl.String).fill_null("").to_numpy(), dtype=object)
        return values.cast(pl.Int64).fill_null(_NO_NUMBER).to_numpy()

    def onnx_back(self, g: Graph, y: str, state: CategoryState) -> str:
        """Class indices, int64 and not below 0, -> labels."""
        labels = np.array(state.vocabulary, dtype=object if state.text else np.int64)
        return g("Gather", g.constant(labels), y, axis=0)

    # -- contract -----------------------------------------------------------------------------------------------------

    @classmethod
    def examples(cls) -> list[Example]:
        """Text, whole numbers, rare values, and a vocabulary cut short."""
        words = ["b", "a", "b", None, "c", "a", "b"]  # b 3 times, a 2, c 1
        return [
            Example(cls(), words, ["a", "b", "c", "d", None, ""], wires={"": [3, 2, 4, 1, 0, 0]}),
            Example(cls(min_count=2), words, ["c", "a", None], wires={"": [1, 3, 0]}),
            Example(cls(max_size=1, width=3), words, ["c", "a", "b"], wires={"": [1, 1, 2]}),
            Example(cls(), [7, -3, 7, None], [-3, 7, 8, None], wires={"": [3, 2, 1, 0]}),
        ]


class CategoryModule(ColumnModule):
    """One embedding per column; extras are named ``wind[0]``, ``wind[1]``, ..."""

    def __init__(self, states: Mapping[str, CategoryState]) -> None:
        super().__init__()
        self.columns = tuple(states)
        self.extras = tuple(f"{name}[{i}]" for name, state in states.items() for i in range(state.width))
        # A list, not a ModuleDict: column names may hold dots, which module names cannot.
        # Rows have a length of about 1, so that a category weighs as much as one scaled number.
        self.tables = nn.ModuleList(CodeTable(s.counts, s.width, s.width**-0.5) for s in states.values())

    def forward(self, wires: Mapping[str, Tensor]) -> Part:
        """Codes (B, T) int32 per column -> extras (B, T, sum of widths)."""
        each = zip(self.columns, self.tables, strict=True)
        return Part(extras=torch.cat([table(wires[wire_name(name, "")]) for name, table in each], dim=-1))

    def onnx(self, g: Graph, wires: Mapping[str, str]) -> TwinPart:
        """The same, in a graph."""
        each = zip(self.columns, cast(Iterable[CodeTable], self.tables), strict=True)
        parts = [g("Gather", g.constant(t.constant()), wires[wire_name(name, "")], axis=0) for name, t in each]
        return TwinPart(extras=g("Concat", *parts, axis=-1))


def _misfit(values: pl.Series, state: CategoryState) -> str:
    """What is wrong with the type of `values`, or nothing."""
    if values.dtype == pl.Null or (values.dtype == pl.String) == state.text:
        return ""
    kinds = ("text", "whole numbers") if state.text else ("whole numbers", "text")
    return f"held {kinds[0]} in training and holds {kinds[1]} now"


def _whole(values: pl.Series, where: Where) -> pl.Series:
    """Integers of any size as Int64; those that do not fit are noted. The mark of a missing number is missing."""
    whole = values.cast(pl.Int64, strict=False)
    bad = whole.is_null() & values.is_not_null()
    where.add("is beyond 64 bits", bad.to_numpy(), values, "Turn the column into text.")
    return whole.set(whole == _NO_NUMBER, None)


def _refusal(dtype: pl.DataType, values: pl.Series, where: Where) -> tuple[str, np.ndarray, pl.Series, str]:
    """What `Where.add` is told of a column whose type cannot be a category."""
    remedies = {
        "booleans": "Use Flag().",
        "decimal numbers": "Use Number(); or, if they are codes, turn the column into whole numbers or text.",
    }
    holds = "booleans" if dtype == pl.Boolean else "decimal numbers" if dtype.is_numeric() else f"cells of type {dtype}"
    remedy = remedies.get(holds, "Turn the column into text.")
    return f"holds {holds}; a category is text or whole numbers", values.is_not_null().to_numpy(), values, remedy
