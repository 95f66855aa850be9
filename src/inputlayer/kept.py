"""What a stream keeps of its series between two rows, and the file that holds it. NumPy alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inputlayer import store
from inputlayer.errors import ArtefactError

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


class StaticCell(NamedTuple):
    """The value of a static column: its entries by name, and whether there is none."""

    values: dict[str, np.ndarray]
    missing: bool


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
    """What is kept of one series: its progress, and its last rows or the state carried."""

    progress: Progress = field(default_factory=Progress)
    rings: dict[str, Ring] = field(default_factory=dict)
    memory: Memory = ()


def new_series(layout: Layout) -> Series:
    """A series before its first row."""
    if layout.length is None:
        return Series(memory=layout.memory)
    return Series(rings={name: Ring(entry, layout.length) for name, entry in layout.steps.items()})


# -- the file ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Saved:
    """What a file holds besides tensors. keys: by key column, a value of each series; texts: by name, cells of text."""

    keys: tuple[tuple[Any, ...], ...]
    rows: tuple[int, ...]
    order: tuple[Any, ...]
    broken: tuple[int, ...]
    texts: dict[str, tuple[str, ...]]


def save(path: Path, series: Mapping[Key, Series], layout: Layout, model: str) -> None:
    """Write all series to `path`, atomically; `model` says whose stream it is."""
    tensors: dict[str, np.ndarray] = {}
    texts: dict[str, tuple[str, ...]] = {}

    def put(place: str, entry: Entry, cells: Iterable[Any]) -> None:
        found = list(cells)
        if entry.dtype == "object":
            texts[place] = tuple(found)
        elif entry.uneven:
            tensors[f"{place}.counts"] = np.array([len(cell) for cell in found], np.int64)
            tensors[place] = np.concatenate([np.empty((0, *entry.shape), entry.dtype), *found])
        else:
            tensors[place] = np.array(found, entry.dtype).reshape(len(found), *entry.shape)

    every = list(series.values())
    for name, entry in layout.steps.items() if layout.length is not None else ():
        put(store.inside("rows", name), entry, (c for s in every for c in s.rings[name].kept(_held(s, layout))))
    for column, entries in layout.static.items():
        cells = [s.progress.static[column] for s in every]
        tensors[store.inside("missing", column)] = np.array([cell.missing for cell in cells], bool)
        for name, entry in entries.items():
            put(store.inside("static", name), entry, (cell.values[name] for cell in cells))
    for i, first in enumerate(layout.memory):
        tensors[f"memory/{i}"] = np.concatenate([first[:0], *(s.memory[i] for s in every)])
    progress = [s.progress for s in every]
    rows, orders, broken = ([getattr(p, name) for p in progress] for name in ("rows", "order", "broken"))
    keys = tuple(tuple(map(_key_to_json, column)) for column in zip(*series, strict=True))
    described, arrays = store.pack(_Saved(keys, tuple(rows), tuple(orders), tuple(map(int, broken)), texts))
    store.write(path, {"kind": "stream", "model": model, "series": described}, {**tensors, **_inside(arrays)})


def load(path: Path, layout: Layout, model: str) -> dict[Key, Series]:
    """What `save` wrote.

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
        return _restored(header["series"], tensors, layout)
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ArtefactError(f"{path} cannot be read: {error}") from error


def _restored(described: Any, tensors: Mapping[str, np.ndarray], layout: Layout) -> dict[Key, Series]:
    own = {n[len("series/") :]: a for n, a in tensors.items() if n.startswith("series/")}
    saved: _Saved = store.unpack(_Saved, described, own)
    count = len(saved.rows)
    made = [new_series(layout) for _ in range(count)]
    columns = [list(map(_key_from_json, column)) for column in saved.keys]
    keys = list(zip(*columns, strict=True)) if columns else [()] * count
    if any(n < 1 for n in saved.rows) or len({count, len(keys), len(saved.order), len(saved.broken)}) > 1:
        raise ArtefactError("its parts do not fit each other")
    static: list[dict[str, StaticCell]] = [{} for _ in made]
    for column, entries in layout.static.items():
        missing = _tensor(tensors, store.inside("missing", column), "bool", (count,)).tolist()
        found = {n: _cells(tensors, saved.texts, store.inside("static", n), e, count) for n, e in entries.items()}
        for i, cells in enumerate(static):
            cells[column] = StaticCell({n: x[i] for n, x in found.items()}, missing[i])
    for i, series in enumerate(made):
        series.progress = Progress(saved.rows[i], saved.order[i], bool(saved.broken[i]), static[i])
    _fill(made, tensors, saved, layout)
    return dict(zip(keys, made, strict=True))


def _fill(made: Sequence[Series], tensors: Mapping[str, np.ndarray], saved: _Saved, layout: Layout) -> None:
    """The last rows, or the state, of each series."""
    held = [_held(series, layout) for series in made]
    for name, entry in layout.steps.items() if layout.length is not None else ():
        cells, at = _cells(tensors, saved.texts, store.inside("rows", name), entry, sum(held)), 0
        for series, count in zip(made, held, strict=True):
            ring = series.rings[name]
            for cell in cells[at : at + count]:
                ring.put(cell)
                ring.advance()
            at += count
    for i, first in enumerate(layout.memory):
        whole = _tensor(tensors, f"memory/{i}", str(first.dtype), (len(made), *first.shape[1:]))
        for row, series in enumerate(made):
            series.memory = (*series.memory[:i], whole[row : row + 1], *series.memory[i + 1 :])


def _held(series: Series, layout: Layout) -> int:
    return min(series.progress.rows, layout.length or 0)


def _inside(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"series/{name}": array for name, array in arrays.items()}


def _cells(
    tensors: Mapping[str, np.ndarray], texts: Mapping[str, tuple[str, ...]], place: str, entry: Entry, count: int
) -> Sequence[Any] | np.ndarray:
    """`count` entries, as `save` put them."""
    if entry.dtype == "object":
        if len(texts[place]) != count:
            raise ArtefactError(f"{place!r} has {len(texts[place])} cells, not {count}")
        return texts[place]
    if not entry.uneven:
        return _tensor(tensors, place, entry.dtype, (count, *entry.shape))
    counts = _tensor(tensors, f"{place}.counts", "int64", (count,))
    flat = _tensor(tensors, place, entry.dtype, (int(counts.sum()), *entry.shape))
    return list(np.split(flat, np.cumsum(counts)[:-1])) if count else []


def _tensor(tensors: Mapping[str, np.ndarray], name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    found = tensors[name]
    if str(found.dtype) != dtype or found.shape != shape:
        raise ArtefactError(f"tensor {name!r} is {found.dtype} {found.shape}, not {dtype} {shape}")
    return found


def _key_to_json(key: Any) -> Any:
    if isinstance(key, datetime):
        return {"time": key.isoformat()}
    return {"date": key.isoformat()} if isinstance(key, date) else key


def _key_from_json(key: Any) -> Hashable:
    if isinstance(key, dict):
        return datetime.fromisoformat(key["time"]) if "time" in key else date.fromisoformat(key["date"])
    if not isinstance(key, str | int | float):
        raise ArtefactError(f"{key!r} names no series")
    return key
