"""Cells that hold a sound or a picture each, as a path, as the bytes of a file, or as numbers; read a few at a time."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import polars as pl

from inputlayer.progress import progress

if TYPE_CHECKING:
    from inputlayer.columns.base import Where

T = TypeVar("T")

_WORKERS = max(2, min(8, os.cpu_count() or 1))
_TRIED = 8  # cells that are timed together
_QUICK = 3e-4  # seconds for a cell below which threads take longer than they save
_SHOWN = 60  # characters of a path in a message


class UnreadableError(Exception):
    """One cell cannot be read: `what` is wrong with it, and what to do. Never leaves this package.

    `entry` is the path, bytes or array that it is about, where a cell is a list of those.
    """

    def __init__(self, what: str, remedy: str = "Correct these cells, or leave the rows out.") -> None:
        self.what, self.remedy = what, remedy
        self.entry: Any = None
        super().__init__(what)


@dataclass(frozen=True)
class Media:
    """The cells of one block, not read yet: text (paths), binary, lists of numbers, lists of those, or null.

    Where they come from goes with them, because what is wrong with a file shows only when it is read.
    """

    cells: pl.Series
    where: Where

    @classmethod
    def of(
        cls, values: pl.Series, where: Where, depths: tuple[int, ...], remedy: str, *, several: bool = False
    ) -> Media:
        """Take cells that are paths, bytes or numbers in lists of a depth among `depths`; note all others.

        Empty text is missing. `several`: a cell is a list of paths or of bytes. `remedy` says what a cell should be.
        """
        files = (pl.List(pl.String), pl.List(pl.Binary)) if several else (pl.String, pl.Binary)
        if values.dtype == pl.String:
            values = values.set(values == "", None)
        if values.dtype not in (*files, pl.Null) and _depth(values.dtype) not in depths:
            where.add(f"holds {values.dtype}", values.is_not_null().to_numpy(), _shown(values), remedy)
            values = pl.Series(values.name, [None] * len(values), dtype=pl.Null)
        return cls(values, where)

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def missing(self) -> int:
        """How many cells are null."""
        return self.cells.null_count()

    def read(self, reader: Callable[[Any], T], title: str) -> Iterator[T | None]:
        """What `reader` makes of each cell, in the order of the rows; None of a null, or of a cell it cannot read.

        `reader` takes a path as text, bytes, an array, or a list of those, and may raise `UnreadableError`, which is
        noted with the row: all bad cells of the block, once it has been read through. Few cells are held at a time.
        """
        found = _Found()
        with progress(title, len(self.cells), inner=True) as advance:
            for row, made in enumerate(_pooled(self._cells(), lambda cell: _attempt(reader, cell))):
                advance(1)
                if isinstance(made, UnreadableError):
                    found.add(row, made)
                yield None if isinstance(made, UnreadableError) else made
        found.note(self)

    def check(self, reader: Callable[[Any], None], title: str) -> None:
        """Note what `reader` finds wrong with the cells, and keep nothing. A path in several rows is read once."""
        if self.cells.dtype != pl.String:
            for _ in self.read(reader, title):
                pass
            return
        names = self.cells.drop_nulls().unique(maintain_order=True)
        bad: dict[str, UnreadableError] = {}
        with progress(title, len(names), inner=True) as advance:
            for name, error in zip(names, _pooled(iter(names), lambda n: _attempt(reader, n)), strict=True):
                advance(1)
                if error is not None:
                    bad[name] = error
        found = _Found()
        for row, name in enumerate(self.cells if bad else ()):
            if name in bad:
                found.add(row, bad[name])
        found.note(self)

    def _cells(self) -> Iterator[Any]:
        if _depth(self.cells.dtype) < 1:
            yield from self.cells if not self.cells.dtype.is_nested() else self.cells.to_list()
            return
        for row in range(len(self.cells)):
            cell = self.cells[row]
            yield None if cell is None else _array(cell)


class _Found:
    """Bad rows by what is wrong with them."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], dict[int, Any]] = {}  # with the entry of a list that is meant, or None

    def add(self, row: int, error: UnreadableError) -> None:
        self.rows.setdefault((error.what, error.remedy), {})[row] = error.entry

    def note(self, media: Media) -> None:
        for (what, remedy), rows in self.rows.items():
            bad = np.zeros(len(media), bool)
            bad[list(rows)] = True
            texts: list[str | None] = [None] * len(media)
            for row in list(rows)[:_FEW]:
                texts[row] = _short(media.cells[row] if rows[row] is None else rows[row])
            media.where.add(what, bad, pl.Series(media.cells.name, texts, dtype=pl.String), remedy)


_FEW = 5  # bad cells of a block that are shown


def _attempt(reader: Callable[[Any], T], cell: Any) -> T | UnreadableError | None:
    if cell is None:
        return None
    try:
        return reader(cell)
    except UnreadableError as error:
        return error


def _pooled(cells: Iterator[Any], work: Callable[[Any], T]) -> Iterator[T]:
    """`work` done on each cell, in order, by threads; at most a few cells are in the making or waiting.

    While cells are quick, as small files are, there are no threads: these would mostly wait for each other.
    """
    took: list[float] = []
    for cell in cells:
        begun = time.perf_counter()
        made = work(cell)
        if cell is not None:
            took.append(time.perf_counter() - begun)
        yield made
        if len(took) == _TRIED:
            if sum(took) - max(took) > _QUICK * (_TRIED - 1):  # without the slowest: the first one loads a library
                break
            took = []
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        try:
            for cell in cells:
                waiting.append(pool.submit(work, cell))
                if len(waiting) > 2 * _WORKERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for left in waiting:
                left.cancel()


def existing(name: str) -> Path:
    """The path `name` if it is a file, else `UnreadableError`."""
    path = Path(name)
    try:
        there = path.is_file()
    except (OSError, ValueError):  # too long for a path, or a null byte in it
        there = False
    if not there:
        raise UnreadableError("is no file that is there", "Paths count from the folder that the program runs in.")
    return path


def _shown(cells: pl.Series) -> pl.Series:
    """Cells for a message, in one short line each."""
    return pl.Series(cells.name, [_short(cells[row]) for row in range(len(cells))], dtype=pl.String)


def _short(cell: Any) -> str | None:
    if isinstance(cell, bytes):
        return f"{len(cell)} bytes"
    if isinstance(cell, pl.Series | np.ndarray):
        return f"a list of {len(cell)}"
    text = str(cell)
    return None if cell is None else text if len(text) <= _SHOWN else f"...{text[3 - _SHOWN :]}"


def _depth(dtype: Any) -> int:
    """How many lists lie around the numbers of a type; -1 if there are no numbers."""
    depth = 0
    while isinstance(dtype, pl.List | pl.Array):
        depth, dtype = depth + 1, dtype.inner
    return depth if dtype.is_numeric() or dtype == pl.Null else -1


def _array(cell: pl.Series) -> np.ndarray:
    """A cell of numbers as float64, NaN for null; an array of objects where its lists differ in length."""
    if cell.dtype.is_nested():
        lists = cell.to_list()
        try:
            return np.asarray(lists, dtype=np.float64)
        except (TypeError, ValueError):
            return np.asarray(["uneven"], dtype=object)
    return np.asarray(cell.cast(pl.Float64).fill_null(np.nan).to_numpy())


class Held(Generic[T]):
    """Things gathered until they weigh enough to be worked on at once."""

    def __init__(self, limit: int) -> None:
        self.limit, self.weight = limit, 0
        self.things: list[T] = []

    def add(self, thing: T, weight: int) -> bool:
        """Take one more; whether there is enough now."""
        self.things.append(thing)
        self.weight += weight
        return self.weight >= self.limit

    def take(self) -> list[T]:
        """All that is held, which is nothing afterwards."""
        things, self.things, self.weight = self.things, [], 0
        return things
