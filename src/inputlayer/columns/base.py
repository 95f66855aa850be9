"""The contract of a column kind.

A kind is one file here: a frozen dataclass of what the user chose (`Column`), a frozen dataclass of what was learnt
from the training rows (`State`), and an `nn.Module` that turns the wires of all columns of the kind into their part of
`Steps` (`ColumnModule`). The road of one column:

    raw cells --accept--> values --learn, merge, finish--> State                   (fitted half, training rows only)
    values --encode(state)--> wires --ColumnModule--> Part                         (the same at training and serving)
    network output --back(state)--> raw units
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from inspect import Signature, signature
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, Self, get_args

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from inputlayer.errors import OptionError, Problems, nearest

if TYPE_CHECKING:
    from inputlayer.graph import Graph

Role = Literal["observed", "known", "static", "target"]
DType = Literal["float32", "int32", "uint8"]


class Where(NamedTuple):
    """Where a block of cells comes from, and the collector its problems go to."""

    column: str
    first_row: int
    problems: Problems

    def add(self, what: str, bad: np.ndarray, values: pl.Series, remedy: str = "") -> None:
        """Note the rows where the mask `bad` (rows,) is set, with their raw values."""
        at = np.flatnonzero(bad)
        if len(at):
            shown = values.gather(at[:5]).to_list()
            rows = (at + self.first_row).tolist()
            self.problems.add(what, column=self.column, rows=rows, values=shown, remedy=remedy)


class Wire(NamedTuple):
    """The type of one wire: dtype, shape of one row's entry, and whether a row holds a number of entries of its own."""

    dtype: DType
    shape: tuple[int, ...] = ()
    ragged: bool = False


@dataclass(frozen=True)
class Ragged:
    """Entries of uneven number per row: row i holds ``flat[offsets[i]:offsets[i + 1]]``.

    `flat` (total, ...), `offsets` (rows + 1,) int64.
    """

    flat: np.ndarray
    offsets: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Entries of each row, (rows,) int64."""
        return np.diff(self.offsets)


Wires = dict[str, "np.ndarray | Ragged"]
"""What `encode` gives, by suffix: ``{"": array}`` for a single wire, ``{"parts": a, "elapsed": b}`` for several."""


def wire_name(column: str, suffix: str) -> str:
    """The name of a column's wire among those of all columns.

    >>> wire_name("load", ""), wire_name("date", "parts")
    ('load', 'date.parts')
    """
    return f"{column}.{suffix}" if suffix else column


class Statistic(Protocol):
    """What `learn` gathers of one block; merged in block order."""

    def merge(self, other: Self) -> Self:
        """Return the statistic of both blocks, `self` being the earlier."""
        ...


@dataclass(frozen=True)
class State:
    """What one column learnt: JSON values, tuples of them, and NumPy arrays (kept as tensors in the artefact)."""


Memory = tuple[Tensor, ...]
"""What a module keeps of the steps before, where a sequence comes row by row: tensors (B, ...)."""


_Learnt = State  # inside `Column` the name stands for each kind's own class


class Part(NamedTuple):
    """What a kind's module gives of its columns, to be joined with those of the others.

    values (B, T, C) scaled and filled; present (B, T, C) bool, False where the raw value was missing;
    extras (B, T, E). A part that a kind does not have is None.
    """

    values: Tensor | None = None
    present: Tensor | None = None
    extras: Tensor | None = None


class TwinPart(NamedTuple):
    """`Part` in an ONNX graph: the names of its tensors."""

    values: str | None = None
    present: str | None = None
    extras: str | None = None


class ColumnModule(nn.Module):
    """The trained half of all columns of one kind that share a role.

    One module for all of them, so that 300 numbers cost one operation, not 300. Subclasses set in ``__init__``:
    `channels`, the names of its ``values``; `held`, per channel, whether a gap holds the last value seen (forward
    fill); `extras`, the names of its extras; `before`, where a step looks at the one before it, the wires it looks at
    and what an entry (*entry) of them is before the first step.

    Shape: wires (B, T, *entry) by wire name -> Part of (B, T, C), (B, T, C), (B, T, E). For known-future columns T is
    the horizon; for static ones it is 1.
    """

    channels: tuple[str, ...] = ()
    held: tuple[bool, ...] = ()
    extras: tuple[str, ...] = ()
    before: Mapping[str, Tensor] = {}

    def forward(self, wires: Mapping[str, Tensor]) -> Part:
        """Wires -> Part. What stands at padded steps is overwritten afterwards, so it may be anything finite."""
        raise NotImplementedError

    def begin(self, batch: int) -> Memory:
        """What `step` is given with the first row of each of `batch` sequences."""
        return tuple(first.expand(batch, 1, *first.shape) for first in self.before.values())

    def step(self, wires: Mapping[str, Tensor], memory: Memory) -> tuple[Part, Memory]:
        """`forward` row by row: wires (B, 1, *entry) -> the Part of that step, and the memory for the next.

        As it stands, for kinds whose steps look at most one step back; others bring their own, and `begin`.
        """
        if not self.before:
            return self(wires), ()
        earlier = dict(zip(self.before, memory, strict=True))
        part = self({name: torch.cat([earlier.get(name, wire), wire], 1) for name, wire in wires.items()})
        return Part(*(x if x is None else x[:, 1:] for x in part)), tuple(wires[name] for name in self.before)

    def onnx_step(self, g: Graph, wires: Mapping[str, str], memory: Sequence[str]) -> tuple[TwinPart, tuple[str, ...]]:
        """`step` in a graph."""
        if not self.before:
            return self.onnx(g, wires), ()
        earlier, one = dict(zip(self.before, memory, strict=True)), g.constant([1])
        part = self.onnx(g, {name: g("Concat", earlier.get(name, wire), wire, axis=1) for name, wire in wires.items()})
        made = (x if x is None else g("Gather", x, one, axis=1) for x in part)
        return TwinPart(*made), tuple(wires[name] for name in self.before)

    def onnx(self, g: Graph, wires: Mapping[str, str]) -> TwinPart:
        """The same, in a graph: names of wire tensors -> names of part tensors."""
        raise NotImplementedError


class PooledModule(ColumnModule):
    """The trained half of columns whose cells, of any number of entries, are pooled to one vector each.

    Extras are named ``x[0]``, ... and, where any cell was missing in training, ``x missing``, which is 1 where one is.
    Subclasses bring `pooled` and its twin, which give zeros for a cell without entries.

    Shape: wires (B, T, L, *entry) and their lengths (B, T) -> extras (B, T, E).
    """

    def __init__(self, columns: Mapping[str, tuple[Any, Any]]) -> None:
        super().__init__()
        self.wires = tuple(wire_name(name, "") for name in columns)
        self.flags = tuple(state.missing > 0 for _, state in columns.values())
        extras: list[str] = []
        for (name, (column, _)), flag in zip(columns.items(), self.flags, strict=True):
            extras += [f"{name}[{i}]" for i in range(column.width)] + [f"{name} missing"] * flag
        self.extras = tuple(extras)

    def pooled(self, number: int, entries: Tensor, lengths: Tensor) -> Tensor:
        """Entries (B, T, L, *entry) and lengths (B, T) of column `number` -> (B, T, width)."""
        raise NotImplementedError

    def onnx_pooled(self, g: Graph, number: int, entries: str, lengths: str) -> str:
        """The same, in a graph."""
        raise NotImplementedError

    def forward(self, wires: Mapping[str, Tensor]) -> Part:
        """Wires -> Part."""
        parts = []
        for number, (wire, flag) in enumerate(zip(self.wires, self.flags, strict=True)):
            lengths = wires[f"{wire}.lengths"]
            parts.append(self.pooled(number, wires[wire], lengths))
            if flag:
                parts.append((lengths == 0).float().unsqueeze(-1))
        return Part(extras=torch.cat(parts, dim=-1))

    def onnx(self, g: Graph, wires: Mapping[str, str]) -> TwinPart:
        """The same, in a graph."""
        parts = []
        for number, (wire, flag) in enumerate(zip(self.wires, self.flags, strict=True)):
            lengths = wires[f"{wire}.lengths"]
            parts.append(self.onnx_pooled(g, number, wires[wire], lengths))
            if flag:
                gone = g("Equal", g("Unsqueeze", lengths, g.constant([-1])), g.constant(0))
                parts.append(g.cast(gone, np.float32))
        return TwinPart(extras=g("Concat", *parts, axis=-1))


@dataclass(frozen=True)
class Example:
    """Cells for the contract tests of a kind.

    `train` is learnt from, `probe` is encoded; `wires`, if given, are the probe's wires worked out by hand, by suffix
    (a list per row for ragged wires).
    """

    column: Column
    train: Sequence[Any]
    probe: Sequence[Any]
    wires: Mapping[str, Sequence[Any]] | None = None
    dtype: Any = None
    tolerance: float = 0.0


class _Signature:
    """A kind's options for `inspect.signature`, which would else read the arguments of `Column.__new__`."""

    def __get__(self, made: object, kind: type) -> Signature:
        whole = signature(kind.__init__)  # type: ignore[misc]  # a class, not an instance of one
        return whole.replace(parameters=list(whole.parameters.values())[1:])


@dataclass(frozen=True, kw_only=True)
class Column:
    """What a column holds and what the user chose for it. One subclass, in one file, per kind.

    Class attributes: `kind`, its name in files; `State`, the class of what it learns; `invertible`, whether `back`
    undoes `encode`; `steps`, whether a cell can hold the steps of a sequence (``Cells(steps=...)``); `first_class`, the
    code of the first class where the kind can be a target of classes (smaller codes are no class).

    Parameters
    ----------
    role
        ``"observed"``: known up to now. ``"known"``: known ahead too, such as a holiday; a forecast then asks for the
        next rows (`future=`). ``"static"``: one value for each series or group, given once beside its steps.
        ``"target"``: predicted, and its past no input.
    """

    role: Role = "observed"

    kind: ClassVar[str]
    State: ClassVar[type[State]]
    invertible: ClassVar[bool] = True
    steps: ClassVar[bool] = False
    first_class: ClassVar[int] = 0

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__repr__ = brief  # type: ignore[method-assign]  # set before @dataclass, which then leaves it alone

    # The dataclass' own __init__ would refuse a misspelt option as well, but propose none.
    def __new__(cls, *_: Any, **options: Any) -> Self:
        known = [f.name for f in fields(cls)]
        wrong = [f"{cls.__name__} has no option {n!r}.{nearest(n, known)}" for n in options if n not in known]
        if wrong:
            raise OptionError(f"{' '.join(wrong)} Its options: {', '.join(known)}.")
        return super().__new__(cls)

    __signature__ = _Signature()

    def __post_init__(self) -> None:
        choose("role", self.role, get_args(Role))

    def options(self) -> dict[str, Any]:
        """The constructor's arguments that differ from the defaults, as JSON values."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}

    # -- fitted half ------------------------------------------------------------------------------------------------

    def accept(self, values: pl.Series, where: Where) -> Any:
        """Raw cells -> canonical values of this kind (rows in the same order), noting each bad cell in `where`.

        Missing cells become the kind's own missing mark (NaN, None, ...). Never raises for a bad cell.
        """
        raise NotImplementedError

    def learn(self, values: Any, first_row: int) -> Statistic:
        """The statistic of one block of accepted values; `first_row` counts from the table's first training row."""
        raise NotImplementedError

    def finish(self, statistic: Statistic, where: Where) -> _Learnt:
        """The merged statistic -> State; notes a problem where nothing can be learnt (all values missing)."""
        raise NotImplementedError

    def examine(self, values: Any) -> None:
        """Note what is wrong with accepted values that `accept` left unread, such as files, before any are learnt."""

    def check(self, values: Any, state: Any, where: Where) -> None:
        """Note accepted values that contradict what was learnt, such as text where whole numbers were."""

    def wires(self, state: Any) -> dict[str, Wire]:
        """The type of each wire, by suffix."""
        raise NotImplementedError

    def encode(self, values: Any, state: Any) -> Wires:
        """Accepted values -> wires (rows, *entry). Row i depends on value i only; missing and unseen never fail."""
        raise NotImplementedError

    def missing(self, wires: Wires) -> np.ndarray:
        """Which rows held no value, (rows,) bool, from the wires: NaN in floats, 0 in codes, no entries if ragged."""
        wire = next(iter(wires.values()))
        if isinstance(wire, Ragged):
            return np.asarray(wire.lengths == 0)
        mask = np.asarray(np.isnan(wire) if wire.dtype == np.float32 else wire == 0)
        return np.asarray(mask.reshape(len(mask), -1).any(axis=1))

    def back(self, y: np.ndarray, state: Any) -> np.ndarray:
        """Undo `encode`: (...) scaled values or class indices -> raw units, float64 or labels, same shape."""
        raise NotImplementedError

    def classes(self, state: Any) -> tuple[Any, ...]:
        """The labels, where the kind can be a target of classes: class i has code ``first_class + i``."""
        raise NotImplementedError

    def class_counts(self, state: Any) -> tuple[int, ...]:
        """How often each label stands in the training rows."""
        raise NotImplementedError

    def describe(self, state: Any) -> dict[str, Any]:
        """What was learnt, for people: JSON values, no NaN, never empty."""
        raise NotImplementedError

    # -- trained half -----------------------------------------------------------------------------------------------

    @classmethod
    def module(cls, columns: Mapping[str, tuple[Any, Any]]) -> ColumnModule:
        """The module of all columns of this kind in one role, from ``{name: (column, state)}``."""
        raise NotImplementedError

    @classmethod
    def pool(cls, columns: Mapping[str, tuple[Any, Any]]) -> ColumnModule:
        """The same where cells hold several entries and are no steps: each cell becomes one vector, in extras.

        Only for kinds whose cells can be steps. The wires are then (B, T, L, *entry), right-padded, and
        ``<wire>.lengths`` (B, T) int64 says how many entries each cell has, 0 where it is missing.
        """
        raise NotImplementedError

    # -- twin ---------------------------------------------------------------------------------------------------------

    def onnx(self, g: Graph, x: str, state: Any) -> dict[str, str]:
        """`encode` in a graph: the name of the raw input -> names of wire tensors by suffix."""
        raise NotImplementedError

    def onnx_input(self, state: Any) -> tuple[Any, tuple[int | str, ...]]:
        """NumPy dtype and trailing shape of this column's raw graph input."""
        raise NotImplementedError

    def onnx_values(self, values: Any, state: Any) -> np.ndarray:
        """Accepted values -> the array fed to the raw graph input."""
        raise NotImplementedError

    def onnx_back(self, g: Graph, y: str, state: Any) -> str:
        """`back` in a graph."""
        raise NotImplementedError

    # -- contract -----------------------------------------------------------------------------------------------------

    @classmethod
    def examples(cls) -> list[Example]:
        """Cells for the contract tests: at least three, one with wires worked out by hand."""
        raise NotImplementedError


def brief(made: Any) -> str:
    """A dataclass as its maker would write it: what was chosen, and no defaults.

    >>> @dataclass(frozen=True)
    ... class Scale:
    ...     shift: float
    ...     factor: float = 1.0
    >>> brief(Scale(shift=2.0))
    'Scale(shift=2.0)'
    """
    given = [f for f in fields(made) if getattr(made, f.name) != f.default]
    return f"{type(made).__name__}({', '.join(f'{f.name}={getattr(made, f.name)!r}' for f in given)})"


def choose(option: str, value: object, allowed: Sequence[object]) -> None:
    """Refuse an option value that is not among `allowed`.

    >>> choose("fill", "men", ["mean", "zero"])
    Traceback (most recent call last):
    ...
    inputlayer.errors.OptionError: fill='men' is not one of 'mean', 'zero'. Did you mean 'mean'?
    """
    if value not in allowed:
        names = [a for a in allowed if isinstance(a, str)]
        hint = nearest(value, names) if isinstance(value, str) else ""
        raise OptionError(f"{option}={value!r} is not one of {', '.join(map(repr, allowed))}.{hint}")


def stack(wires: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """Stack the scalar wires `names`, each (B, T), into (B, T, len(names))."""
    return torch.stack([wires[name] for name in names], dim=-1)
