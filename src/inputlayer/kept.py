"""What a stream keeps of its series between two rows, and the file that holds it. NumPy alone.

The file holds raw cells, and the state carried. So it can be taken up by PyTorch where an ONNX file wrote it, and the
other way round: both read the cells anew.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inputlayer import plain, store
from inputlayer.errors import ArtefactError, TableError

Row = Mapping[str, Any]
Values = Mapping[str, np.ndarray]
"""By name, an entry for each row: (N, *entry); an array of arrays where entries are of uneven number."""
Key = tuple[Hashable, ...]
Memory = tuple[np.ndarray, ...]


class Entry(NamedTuple):
    """What one row holds under a name: dtype and shape; uneven: (n, *shape), each row with an n of its own."""

    dtype: str
    shape: tuple[int, ...]
    uneven: bool = False


def gathered(cells: Sequence[Any], entry: Entry) -> np.ndarray:
    """Entries -> (N, *entry); (N,) objects where they are text, or arrays where they are uneven."""
    if entry.uneven or entry.dtype == "object":
        found = np.empty(len(cells), object)
        for i, cell in enumerate(cells):
            found[i] = cell
        return found
    return np.asarray(cells[0])[None] if len(cells) == 1 else np.stack(cells)


class Layout(NamedTuple):
    """What is kept of a series: entries of its last `length` rows and of its static columns, or the state carried.

    `memory` holds the state before the first row, (1, ...) each; where `length` is given there is none.
    """

    length: int | None
    steps: Mapping[str, Entry]
    static: Mapping[str, Mapping[str, Entry]]
    memory: Memory = ()


class Read(NamedTuple):
    """Rows taken in: order (N,), numbers to sort by; what stands at each step; what each static column holds, and in
    which rows nothing, (N,) bool."""

    order: Sequence[float]
    steps: Values
    static: Mapping[str, tuple[Values, np.ndarray]]


class StaticCell(NamedTuple):
    """The value of a static column: its entries by name, whether there is none, and the raw cell."""

    values: dict[str, np.ndarray]
    missing: bool
    cell: Any = None


class Progress(NamedTuple):
    """How far a series has come: rows since its first or since a gap, the order of the last, whether a gap came."""

    rows: int = 0
    order: float = 0
    broken: bool = False
    static: Mapping[str, StaticCell] = {}


class Ring:
    """The last `length` entries, one after the other in memory, so that a window of them is a view.

    >>> ring = Ring(Entry("int32", ()), 3)
    >>> for entry in range(5):
    ...     ring.put(np.int32(entry))
    ...     window = ring.last(2)
    ...     ring.advance()
    >>> window.tolist(), ring.kept(3).tolist()
    ([3, 4], [2, 3, 4])
    """

    def __init__(self, entry: Entry, length: int) -> None:
        self.length, self.at = length, 0
        self.held = np.empty(2 * length, object) if entry.uneven else np.empty((2 * length, *entry.shape), entry.dtype)

    def put(self, entry: Any) -> None:
        """Write the next entry. Until `advance` it is no more than proposed."""
        if self.at == 2 * self.length:
            self.held[: self.length] = self.held[self.length :]
            self.at = self.length
        self.held[self.at] = entry

    def last(self, count: int) -> np.ndarray:
        """The last `count` entries, with the one proposed."""
        return self.held[self.at + 1 - count : self.at + 1]

    def advance(self) -> None:
        self.at += 1

    def kept(self, count: int) -> np.ndarray:
        """The last `count` entries, without one proposed."""
        return self.held[self.at - count : self.at]


@dataclass
class Series:
    """What is kept of one series: its progress, its last rows or the state carried, and the raw cells of these rows."""

    progress: Progress
    cells: deque[Row]
    rings: dict[str, Ring] = field(default_factory=dict)
    memory: Memory = ()


def new_series(layout: Layout) -> Series:
    """A series before its first row."""
    cells: deque[Row] = deque(maxlen=layout.length or 1)
    if layout.length is None:
        return Series(Progress(), cells, memory=layout.memory)
    return Series(Progress(), cells, {name: Ring(entry, layout.length) for name, entry in layout.steps.items()})


# -- the file ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Saved:
    """What a file holds of each series besides tensors. keys: by key column, a value of each series."""

    keys: tuple[tuple[Any, ...], ...]
    rows: tuple[int, ...]
    order: tuple[Any, ...]
    broken: tuple[int, ...]


def save(path: Path, series: Mapping[Key, Series], layout: Layout, model: str) -> None:
    """Write all series to `path`, atomically; `model` says whose stream it is."""
    every = list(series.values())
    told = [{"rows": _told_rows(s, layout), "static": _told_static(s)} for s in every]
    tensors = {"cells": np.frombuffer(json.dumps(told, separators=(",", ":")).encode(), np.uint8)}
    for i, first in enumerate(layout.memory):
        tensors[f"memory/{i}"] = np.concatenate([first[:0], *(s.memory[i] for s in every)])
    progress = [s.progress for s in every]
    rows, orders, broken = ([getattr(p, name) for p in progress] for name in ("rows", "order", "broken"))
    keys = tuple(tuple(map(plain.to_json, column)) for column in zip(*series, strict=True))
    described, arrays = store.pack(_Saved(keys, tuple(rows), tuple(orders), tuple(map(int, broken))))
    store.write(path, {"kind": "stream", "model": model, "series": described}, {**tensors, **_inside(arrays)})


def _told_rows(series: Series, layout: Layout) -> list[dict[str, Any]]:
    rows = list(series.cells)[-_held(series, layout) :]
    return [{name: plain.to_json(cell) for name, cell in row.items()} for row in rows]


def _told_static(series: Series) -> dict[str, Any]:
    return {name: plain.to_json(own.cell) for name, own in series.progress.static.items()}


def load(path: Path, layout: Layout, model: str, read: Callable[[Sequence[Row]], Read]) -> dict[Key, Series]:
    """What `save` wrote; `read` takes raw rows in.

    Raises
    ------
    ArtefactError
        If the file is none of a stream, is damaged, or is that of another model.
    """
    header, tensors = store.read(path)
    if header.get("kind") != "stream":
        raise ArtefactError(f"{path} holds a {header.get('kind')!r}, not the state of a stream")
    if header.get("model") != model:
        raise ArtefactError(f"{path} was saved by a stream of another model, or of this one before it was trained on")
    try:
        return _restored(header["series"], tensors, layout, read)
    except (ArtefactError, TableError) as error:
        raise ArtefactError(f"{path}: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ArtefactError(f"{path} cannot be read: {error}") from error


def _restored(
    described: Any, tensors: Mapping[str, np.ndarray], layout: Layout, read: Callable[[Sequence[Row]], Read]
) -> dict[Key, Series]:
    own = {n[len("series/") :]: a for n, a in tensors.items() if n.startswith("series/")}
    saved: _Saved = store.unpack(_Saved, described, own)
    count = len(saved.rows)
    made = [new_series(layout) for _ in range(count)]
    columns = [list(map(_key, column)) for column in saved.keys]
    keys = list(zip(*columns, strict=True)) if columns else [()] * count
    told = json.loads(tensors["cells"].tobytes())
    if any(n < 1 for n in saved.rows) or len({count, len(keys), len(saved.order), len(saved.broken), len(told)}) > 1:
        raise ArtefactError("its parts do not fit each other")
    for i, (series, cells) in enumerate(zip(made, told, strict=True)):
        series.progress = Progress(saved.rows[i], saved.order[i], bool(saved.broken[i]))
        series.cells.extend({name: plain.from_json(cell) for name, cell in row.items()} for row in cells["rows"])
        if len(series.cells) != _held(series, layout):
            raise ArtefactError(f"it holds {len(series.cells)} rows of a series, not {_held(series, layout)}")
        for j, first in enumerate(layout.memory):
            whole = _tensor(tensors, f"memory/{j}", str(first.dtype), (count, *first.shape[1:]))
            series.memory = (*series.memory[:j], whole[i : i + 1], *series.memory[j + 1 :])
    _read_anew(made, [cells["static"] for cells in told], read)
    return dict(zip(keys, made, strict=True))


def _read_anew(made: Sequence[Series], static: Sequence[Mapping[str, Any]], read: Callable[..., Read]) -> None:
    """Take in the raw cells of all series."""
    settled = [{name: plain.from_json(cell) for name, cell in cells.items()} for cells in static]
    rows = [{**row, **cells} for series, cells in zip(made, settled, strict=True) for row in series.cells]
    if not rows:
        return
    found, at = read(rows), 0
    for series, cells in zip(made, settled, strict=True):
        for row in range(at, at + len(series.cells)):
            for name, ring in series.rings.items():
                ring.put(found.steps[name][row])
                ring.advance()
        own = {
            column: StaticCell({n: x[at] for n, x in values.items()}, bool(missing[at]), cells[column])
            for column, (values, missing) in found.static.items()
        }
        series.progress = series.progress._replace(static=own)
        at += len(series.cells)


def _held(series: Series, layout: Layout) -> int:
    return min(series.progress.rows, layout.length or 1)


def _inside(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"series/{name}": array for name, array in arrays.items()}


def _tensor(tensors: Mapping[str, np.ndarray], name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    found = tensors[name]
    if str(found.dtype) != dtype or found.shape != shape:
        raise ArtefactError(f"tensor {name!r} is {found.dtype} {found.shape}, not {dtype} {shape}")
    return found


def _key(told: Any) -> Hashable:
    key = plain.from_json(told)
    if not isinstance(key, str | int | float | date):
        raise ArtefactError(f"{key!r} names no series")
    return key
