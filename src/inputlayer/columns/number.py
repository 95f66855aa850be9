"""A column of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
    Memory,
    Part,
    State,
    TwinPart,
    Where,
    Wire,
    Wires,
    choose,
    stack,
    wire_name,
)
from inputlayer.errors import OptionError
from inputlayer.filling import Filling, Gap
from inputlayer.number_embeddings import Embedded, EmbeddingName, Embeddings, quantile_edges
from inputlayer.scales import QUANTILE_LIMIT, SCALES, Gathered, Scale, ScaleName, Seen, note_unusable

if TYPE_CHECKING:
    from inputlayer.graph import Graph

Fill = Literal["mean", "forward", "zero"]


@dataclass(frozen=True)
class NumberState(State):
    """What a number column learnt.

    `fill` in scaled units; `flag`: whether missing numbers are marked by an extra; `edges` of its bins, in scaled
    units, rising.
    """

    seen: Seen
    scale: Scale
    fill: float
    flag: bool
    edges: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        """The training mean in raw units."""
        return self.seen.mean

    @property
    def spread(self) -> float:
        """The training standard deviation in raw units, 1 if constant."""
        return self.seen.spread or 1.0


class NumberModule(ColumnModule):
    """All number columns of one role at once: fills gaps, marks them, clips, embeds what it then has.

    Shape: wires (B, T) each -> values (B, T, C), present (B, T, C), extras (B, T, E).
    """

    def __init__(self, columns: Mapping[str, tuple[Number, NumberState]]) -> None:
        super().__init__()
        gaps = [
            Gap(name, state.fill, column.fill == "forward", state.flag, column.since, column.clip)
            for name, (column, state) in columns.items()
        ]
        self.channels = tuple(columns)
        self.held = tuple(gap.held for gap in gaps)
        self.filling = Filling(gaps)
        self.embeddings = Embeddings([column.embedded(n, i, s) for i, (n, (column, s)) in enumerate(columns.items())])
        self.extras = (*self.filling.extras, *self.embeddings.extras)
        self._wires = [wire_name(name, "") for name in columns]

    def forward(self, wires: Mapping[str, Tensor]) -> Part:
        """Wires (B, T) -> Part."""
        return self._part(*self.filling(stack(wires, self._wires)))

    def _part(self, values: Tensor, present: Tensor, marks: Tensor | None) -> Part:
        extras = [x for x in (marks, self.embeddings(values)) if x is not None]
        return Part(values, present, torch.cat(extras, dim=-1) if extras else None)

    def begin(self, batch: int) -> Memory:
        return self.filling.begin(batch)

    def step(self, wires: Mapping[str, Tensor], memory: Memory) -> tuple[Part, Memory]:
        filled, after = self.filling.step(stack(wires, self._wires), memory)
        return self._part(*filled), after

    def onnx(self, g: Graph, wires: Mapping[str, str]) -> TwinPart:
        """The same, in a graph."""
        return self._twin_part(g, *self.filling.onnx(g, self._twin_stack(g, wires)))

    def onnx_step(self, g: Graph, wires: Mapping[str, str], memory: Sequence[str]) -> tuple[TwinPart, tuple[str, ...]]:
        filled, after = self.filling.onnx_step(g, self._twin_stack(g, wires), memory)
        return self._twin_part(g, *filled), after

    def _twin_stack(self, g: Graph, wires: Mapping[str, str]) -> str:
        return g("Concat", *(g("Unsqueeze", wires[name], g.constant([2])) for name in self._wires), axis=2)

    def _twin_part(self, g: Graph, values: str, present: str, marks: str | None) -> TwinPart:
        extras = [x for x in (marks, self.embeddings.onnx(g, values)) if x is not None]
        return TwinPart(values, present, g("Concat", *extras, axis=2) if extras else None)


@dataclass(frozen=True, kw_only=True)
class Number(Column):
    """A column of numbers: scaled by what the training rows say, gaps filled and marked.

    Parameters
    ----------
    scale
        ``"standard"``, ``"minmax"`` (to 0..1), ``"robust"`` (median, interquartile range), ``"quantile"`` (piecewise
        linear through at most 1,000 training quantiles to a uniform variable of mean 0 and variance 1; beyond the
        training range it is cut off), ``"log"`` (sign(x) log(1 + |x|), then standard) or ``"none"``.
    fill
        What stands for a missing number: the training ``"mean"``, the last one seen in the same sequence
        (``"forward"``; before the first, the mean), or the scaled value of ``"zero"``.
    sentinels
        Numbers that mean "missing", such as ``(-9999,)``. NaN and null always do.
    flag
        Whether an extra input marks the missing steps. None: if any was missing in training.
    since
        Adds log(1 + steps since a number was last seen in the sequence).
    clip
        The largest size of the scaled number that the body sees, for outliers. A target is never clipped.
    embedding
        What the body sees beside the scaled number, so that it can answer to it otherwise than in proportion:
        ``"periodic"``, `size` learnt mixtures of `size` sines and cosines of it, whose frequencies are learnt too; or
        ``"piecewise"``, which of at most `size` bins it has filled, 0 to 1 each. The bins lie between quantiles of the
        training rows; a constant column has none.
    size
        Inputs of the embedding, 2 or more.
    sigma
        Of ``"periodic"``: the standard deviation that its frequencies are drawn with, in turns per scaled unit. The
        larger, the finer the differences between numbers that it tells from the start. Try 0.01 to 10.

    Notes
    -----
    An embedding is made of the number as it was scaled, filled and clipped, before any stage, and joins the extras. The
    scaled number itself stays a channel: stages act on that one, and where it is a target's past, the forecast gets
    back what they took off. So behind `InstanceNorm` the embedding still tells the level; behind `PerChannel` every
    target sees the embeddings of all numbers; `Patch` joins `size` inputs for each of its steps.

    Raises
    ------
    OptionError
        For a value that an option cannot have, and for an option without effect.

    References
    ----------
    Gorishniy, Rubachev and Babenko 2022, "On embeddings for numerical features in tabular deep learning" (PLR, and PLE
    with quantile bins). There an embedding takes the number's place.

    >>> Number(scale="robust", sentinels=(-9999,), clip=5.0)
    Number(scale='robust', sentinels=(-9999.0,), clip=5.0)
    """

    kind: ClassVar[str] = "number"
    State: ClassVar[type[State]] = NumberState

    scale: ScaleName = "standard"
    fill: Fill = "mean"
    sentinels: tuple[float, ...] = ()
    flag: bool | None = None
    since: bool = False
    clip: float | None = None
    embedding: EmbeddingName | None = None
    size: int = 8
    sigma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("scale", self.scale, SCALES)
        choose("fill", self.fill, get_args(Fill))
        choose("flag", self.flag, (None, True, False))
        choose("since", self.since, (True, False))
        object.__setattr__(self, "sentinels", _sentinels(self.sentinels))
        self._check_clip()
        self._check_embedding()
        if self.role == "static":
            self._refuse(
                "a static column has one value per sequence", fill="mean" if self.fill == "forward" else self.fill
            )
            self._refuse("a static column has one value per sequence", since=False)
        if self.role == "target":
            usual: dict[str, Any] = {"fill": "mean", "flag": None, "since": False, "clip": None, "embedding": None}
            self._refuse("a column with role='target' is no input", **usual)

    def _check_clip(self) -> None:
        if self.clip is None:
            return
        if isinstance(self.clip, bool) or not isinstance(self.clip, (int, float)) or not 0 < self.clip < math.inf:
            raise OptionError(f"clip={self.clip!r} is not a number above 0, in scaled units, such as clip=5.0")
        if self.scale == "quantile" and self.clip >= QUANTILE_LIMIT:
            raise OptionError(
                f"clip={self.clip!r} has no effect: scale='quantile' stays within {QUANTILE_LIMIT:.4f}. Leave it out."
            )

    def _check_embedding(self) -> None:
        choose("embedding", self.embedding, (None, *get_args(EmbeddingName)))
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 2:
            raise OptionError(f"size={self.size!r} is not a whole number of at least 2")
        number = isinstance(self.sigma, (int, float)) and not isinstance(self.sigma, bool)
        if not number or not 0 < self.sigma < math.inf:
            raise OptionError(f"sigma={self.sigma!r} is not a number above 0, in turns per scaled unit, such as 0.1")
        if self.embedding is None:
            self._refuse("there is no embedding; say embedding='periodic' or 'piecewise'", size=8, sigma=0.1)
        elif self.embedding == "piecewise":
            self._refuse("embedding='piecewise' has no frequencies", sigma=0.1)

    def _refuse(self, reason: str, **usual: object) -> None:
        for option, value in usual.items():
            given = getattr(self, option)
            if given != value:
                raise OptionError(f"{option}={given!r} has no effect: {reason}. Leave it out.")

    # -- fitted half ------------------------------------------------------------------------------------------------

    def accept(self, values: pl.Series, where: Where) -> np.ndarray:
        """Cells of any numeric dtype -> (rows,) float64, missing ones NaN. Text and infinite numbers are noted."""
        if values.null_count() == len(values):
            return np.full(len(values), np.nan)
        if not values.dtype.is_numeric():
            _note_not_numbers(values, where)
            return np.full(len(values), np.nan)
        x = (values if values.dtype == pl.Float64 else values.cast(pl.Float64)).to_numpy()  # null becomes NaN
        return _without(x, self.sentinels, values, where)

    def learn(self, values: np.ndarray, first_row: int) -> Gathered:
        """Moments, and a sample for the scales and the bins that need one."""
        rows = first_row + np.arange(len(values), dtype=np.int64)
        return Gathered.of(values, rows, self.scale, sample=self.embedding == "piecewise")

    def finish(self, statistic: Any, where: Where) -> NumberState:
        """Centre, divisor or quantiles; what fills a gap; bins. A column without any number is a problem."""
        seen, scale = statistic.seen(), statistic.finish()
        note_unusable([seen], where.column, where.problems)
        fill = float(scale.forward(np.zeros(1))[0]) if self.fill == "zero" else scale.mean(seen)
        flag = seen.missing > 0 if self.flag is None else self.flag
        edges = quantile_edges(statistic.sample, scale, self.size) if self.embedding == "piecewise" else ()
        return NumberState(seen, scale, fill, flag and self.role != "target", edges)

    def wires(self, state: NumberState) -> dict[str, Wire]:
        """One float32, NaN where missing."""
        return {"": Wire("float32")}

    def encode(self, values: np.ndarray, state: NumberState) -> Wires:
        """(rows,) float64 -> (rows,) float32."""
        return {"": state.scale.forward(values)}

    def back(self, y: np.ndarray, state: NumberState) -> np.ndarray:
        """Scaled numbers (...) -> raw units (...) float64."""
        return state.scale.back(y)

    def describe(self, state: NumberState) -> dict[str, Any]:
        """Scale, moments, what is done about missing numbers, and the embedding: the edges of bins in raw units."""
        learnt = state.scale.describe(state.seen)
        learnt |= {"fill": self.fill, "flag": state.flag, "since": self.since, "clip": self.clip}
        learnt |= {"sentinels": list(self.sentinels)}
        if self.embedding == "periodic":
            learnt |= {"embedding": self.embedding, "size": self.size, "sigma": self.sigma}
        elif self.embedding == "piecewise":
            edges = [float(x) for x in state.scale.back(np.array(state.edges))]
            learnt |= {"embedding": self.embedding, "bins": max(len(edges) - 1, 0), "edges": edges}
        return learnt

    # -- trained half -----------------------------------------------------------------------------------------------

    @classmethod
    def module(cls, columns: Mapping[str, tuple[Any, Any]]) -> NumberModule:
        """See `NumberModule`."""
        return NumberModule(columns)

    def embedded(self, name: str, channel: int, state: NumberState) -> Embedded:
        """How the module embeds this column, whose scaled number stands at `channel`."""
        periodic = self.embedding == "periodic"
        return Embedded(name, channel, self.size if periodic else 0, self.sigma if periodic else 0.0, state.edges)

    # -- twin ---------------------------------------------------------------------------------------------------------

    def onnx(self, g: Graph, x: str, state: NumberState) -> dict[str, str]:
        """Raw float64 (any shape) -> the wire float32."""
        return {"": state.scale.onnx(g, _onnx_without(g, x, self.sentinels))}

    def onnx_input(self, state: NumberState) -> tuple[Any, tuple[int | str, ...]]:
        """A float64 per row."""
        return np.float64, ()

    def onnx_values(self, values: np.ndarray, state: NumberState) -> np.ndarray:
        """As they are."""
        return values

    def onnx_back(self, g: Graph, y: str, state: NumberState) -> str:
        """float32 (...) -> raw units, float64 (...)."""
        return state.scale.onnx_back(g, y)

    # -- contract -----------------------------------------------------------------------------------------------------

    @classmethod
    def examples(cls) -> list[Example]:
        """Every scale and fill; two worked by hand."""
        nan = math.nan
        uneven = [3.0, -1.5, None, 250.0, 0.0, 0.0, 7.25, -40.0, nan, 12.0, 0.5]
        probe = [0.0, None, 1e6, nan, -1e300, 3.0, None, -1.5]
        # mean 4, standard deviation sqrt((9 + 1 + 1 + 9) / 4) = sqrt(5)
        standard = [(v - 4.0) / 5.0**0.5 for v in (1.0, 4.0, 9.0)]
        # quantiles at 0, 1/3, 2/3, 1 -> levels -sqrt(3) * (1, 1/3, -1/3, -1)
        third = 3.0**0.5 / 3.0
        return [
            Example(
                cls(), [1.0, 3.0, 5.0, 7.0], [1.0, 4.0, None, 9.0], {"": [*standard[:2], nan, standard[2]]}, pl.Float64
            ),
            Example(
                cls(scale="quantile"),
                [0.0, 10.0, 30.0, 60.0],
                [-5.0, 5.0, 30.0, None, 99.0],
                {"": [-3 * third, -2 * third, third, nan, 3 * third]},
                pl.Float64,
                1e-6,
            ),
            Example(cls(scale="minmax", fill="forward", since=True), uneven, probe, dtype=pl.Float64),
            Example(cls(scale="robust", fill="zero", clip=2.0), uneven, probe, dtype=pl.Float64),
            Example(cls(scale="log", fill="forward", flag=False), uneven, probe, dtype=pl.Float64, tolerance=1e-6),
            Example(cls(scale="quantile", since=True, flag=True), uneven, probe, dtype=pl.Float64, tolerance=1e-6),
            Example(cls(scale="none", sentinels=(-9999,)), [1, -9999, 3], [-9999, 2, None, 5], dtype=pl.Int64),
            Example(cls(role="static"), [1e9, 1e9 + 1e-3], [1e9, None, 1e9 - 1], dtype=pl.Float64),
            Example(cls(), [5, 5, 5], [5, 6, None], {"": [0.0, 1.0, nan]}, pl.Int32),
            Example(cls(embedding="periodic", size=3, sigma=1.0, since=True), uneven, probe, dtype=pl.Float64),
            Example(
                cls(embedding="piecewise", size=2),
                [1.0, 3.0, 5.0, 7.0],
                [1.0, 4.0, None, 9.0],
                {"": [*standard[:2], nan, standard[2]]},
                pl.Float64,
            ),
            Example(cls(embedding="piecewise", scale="log"), uneven, probe, dtype=pl.Float64, tolerance=1e-6),
            Example(cls(embedding="piecewise"), [5.0, 5.0, None], [5.0, 6.0, None], {"": [0.0, 1.0, nan]}),
        ]


def _sentinels(given: object) -> tuple[float, ...]:
    """Check the numbers that mean "missing", and make them a tuple of floats."""
    values = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise OptionError(
                f"sentinels={given!r}: {value!r} is not a finite number. NaN and null always mean missing; text that"
                " does is named in il.read(..., missing=...)"
            )
    return tuple(float(value) for value in values)


def spellings(sentinels: tuple[float, ...]) -> np.ndarray:
    """The doubles that a sentinel may be in a table, (n,)."""
    # A float32 column holds -9999.9 as another double than the one written in a schema.
    with np.errstate(over="ignore"):
        single = np.array(sentinels, np.float32).astype(np.float64)
    return np.unique(np.concatenate([np.array(sentinels), single[np.isfinite(single)]]))


def _without(x: np.ndarray, sentinels: tuple[float, ...], values: pl.Series, where: Where) -> np.ndarray:
    """Sentinels -> NaN; infinite numbers are noted and become NaN."""
    if sentinels:
        x = np.where(np.isin(x, spellings(sentinels)), np.nan, x)
    infinite = np.isinf(x)
    if infinite.any():
        remedy = "Correct these cells, or make them null if they mean missing."
        where.add("is infinite", infinite, values, remedy)
        x = np.where(infinite, np.nan, x)
    return x


def _onnx_without(g: Graph, x: str, sentinels: tuple[float, ...]) -> str:
    for value in spellings(sentinels) if sentinels else ():
        x = g("Where", g("Equal", x, g.constant(np.float64(value))), g.constant(np.float64(math.nan)), x)
    return x


_REMEDIES: tuple[tuple[tuple[type[pl.DataType], ...], str], ...] = (
    ((pl.Boolean,), "Name the column Flag(), or cast it to a number."),
    ((pl.Date, pl.Datetime), "Name the column Timestamp()."),
    ((pl.List, pl.Array), "Name the column Series()."),
    ((pl.Categorical, pl.Enum), "Name the column Category()."),
)


def _note_not_numbers(values: pl.Series, where: Where) -> None:
    given = values.is_not_null().to_numpy()
    if values.dtype != pl.String:
        kinds = (remedy for dtypes, remedy in _REMEDIES if isinstance(values.dtype, dtypes))
        remedy = next(kinds, "Cast the column to a number.")
        where.add(f"holds {values.dtype.base_type()}, not numbers", given, values, remedy)
        return
    bad = given & values.cast(pl.Float64, strict=False).is_null().to_numpy()
    if bad.any():
        remedy = "Correct these cells, or name them in il.read(..., missing=...) if they mean missing."
        where.add("is not a number", bad, values, remedy)
    else:
        # Each cell would parse, but whether "1e5" or "0123" was meant as a number only the user knows.
        remedy = f"Convert it first: table.with_columns(pl.col({where.column!r}).cast(pl.Float64))."
        where.add("is text, not a number", given, values, remedy)
