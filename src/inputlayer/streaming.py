"""Streaming: raw rows pushed as they come, and the prediction after each of them.

`Stream` checks what comes and keeps what is needed of each series; an `Engine` reads rows and runs the network. NumPy
alone, so that it serves behind an ONNX file as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from inputlayer import kept, plain
from inputlayer.errors import OptionError, Problems, TableError, shorten, unknown_ahead
from inputlayer.kept import (
    Key,
    Layout,
    Memory,
    Progress,
    Read,
    Row,
    Series,
    StaticCell,
    Values,
    gathered,
    new_series,
)

Answers = dict[str, np.ndarray]


@dataclass(frozen=True)
class Facts:
    """What a stream has to know of its model.

    columns    every column that is read
    by, order  those of them that name a row's series and that order its rows; what: what a series is called
    layout     what is kept of each series
    short      whether the first rows of a series are predicted from fewer than are kept
    horizon    rows predicted ahead; future: the columns known of them; made: whether the clock alone says these
    step       the regular step of the order column, None if there is none; gap: the largest step inside a window
    """

    columns: tuple[str, ...]
    by: tuple[str, ...]
    order: str | None
    what: str
    layout: Layout
    short: bool = False
    horizon: int = 0
    future: tuple[str, ...] = ()
    made: bool = False
    step: int | None = None
    gap: float | None = None


class Engine(Protocol):
    """What reads rows and runs the network for a `Stream`."""

    facts: Facts

    def read(self, rows: Sequence[Row]) -> Read:
        """Take rows in; raises `TableError` with every problem of their cells."""
        ...

    def read_ahead(self, rows: Sequence[Row]) -> tuple[Sequence[float], Values]:
        """Rows of the horizon -> their order, and what is known of them; raises `TableError`."""
        ...

    def make_ahead(self, order: np.ndarray) -> Values:
        """What is known of rows at `order` (N,), where the clock alone says it."""
        ...

    def run(self, steps: Values, static: Values, ahead: Values) -> Answers:
        """B windows, steps (B, T, *entry), static (B, *entry), ahead (B, H, *entry) -> answers (B,) or (B, H)."""
        ...

    def step(self, steps: Values, static: Values, memory: Memory) -> tuple[Answers, Memory]:
        """One row more of B groups, steps (B, 1, *entry), and their states -> answers (B,), and their next states."""
        ...

    def fingerprint(self) -> str:
        """Tells this model's streams from those of any other."""
        ...


class _Turn(NamedTuple):
    """What becomes of one row: its number, its series, how far that is with it, whether an answer is due, its cells."""

    row: int
    key: Key
    after: Progress
    due: bool
    cells: Row


class Stream:
    """Raw rows in; after each the prediction, equal to that of `predict` on the same rows.

    Made by `Model.stream`. It keeps the weights as they are then.

    With `Windows`, and with `Groups` that have a `max_length`, the last rows of each series are kept, encoded, and the
    network runs over them. There is no answer before they are enough, nor across a gap. With other `Groups` the state
    of the body and of the columns is carried from row to row: a row costs the same however long its group is.

    Examples
    --------
    >>> import inputlayer as il
    >>> table = {"day": list(range(60)), "load": [float(i % 7) for i in range(60)]}
    >>> schema = il.Schema({"load": il.Number()}, il.Windows("day", length=14, horizon=2), target="load")
    >>> model = il.Model(il.InputLayer(schema), il.LSTM(units=4))
    >>> history = model.fit(table, epochs=2)
    >>> stream = model.stream()
    >>> answers = [stream.push({"day": day, "load": day % 7}) for day in range(60, 75)]
    >>> answers[12], answers[13]["load"].shape
    (None, (2,))
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._facts = engine, engine.facts
        self._series: dict[Key, Series] = {}

    def __len__(self) -> int:
        """Of how many series something is kept."""
        return len(self._series)

    def __repr__(self) -> str:
        length = self._facts.layout.length
        what = "the state carried" if length is None else f"{length} rows kept"
        return f"Stream({what}, {len(self)} {'series' if self._facts.what == 'series' else 'groups'})"

    def push(self, rows: Row | Sequence[Row], *, future: Any = None) -> Any:
        """Take in the next row of a series, or the next rows of many, and predict.

        Parameters
        ----------
        rows
            A row, as a dict of raw cells whose `by` columns name its series; or a list of such rows.
        future
            For columns with ``role="known"``: a list of the next `horizon` rows, dicts of the order column and of what
            is known. Of a list of rows, a list of such lists.

        Returns
        -------
        dict, None or list
            For a row the prediction in raw units, under the names that `predict` gives: a number or a label, with a
            horizon an array of them; None while there is none. For a list of rows a list of these.

        Raises
        ------
        TableError
            With every problem of the rows; then none of them was taken in.
        """
        single = isinstance(rows, Mapping)
        given = _rows([rows] if single else rows)
        if not given:
            return []
        if future is not None and single:
            future = [future]
        read = self._engine.read(given)
        turns = self._planned(given, read)
        ahead = self._ahead(read, turns, future) if self._facts.horizon or future is not None else {}
        answers: list[dict[str, Any] | None] = [None] * len(given)
        for batch in _batches(turns, self._facts.layout.length):
            found = self._carry(batch, read) if self._facts.layout.length is None else self._run(batch, read, ahead)
            for i, turn in enumerate(batch if found else ()):
                answers[turn.row] = {
                    name: x[i] if x.ndim > 1 else x[i : i + 1].tolist()[0] for name, x in found.items()
                }
        return answers[0] if single else answers

    def forget(self, row: Row) -> bool:
        """Drop what is kept of the series that the `by` columns of `row` name. Says whether there was anything."""
        return self._series.pop(tuple(plain.key(row.get(name)) for name in self._facts.by), None) is not None

    def save(self, path: str | Path) -> None:
        """Write what is kept to one ``.safetensors`` file; `load` goes on from it.

        The streams of a model and those of the ONNX file it wrote go on from each other's. The file holds raw cells: of
        a sound or a picture that came as the path of a file, the path.
        """
        kept.save(Path(path), self._series, self._facts.layout, self._engine.fingerprint())

    def load(self, path: str | Path) -> None:
        """Take up what `save` wrote, in place of what is kept.

        Raises
        ------
        ArtefactError
            If the file is none of a stream, is damaged, or is that of another model.
        """
        self._series = kept.load(Path(path), self._facts.layout, self._engine.fingerprint(), self._engine.read)

    # -- what is checked, before anything changes -----------------------------------------------------------------

    def _planned(self, rows: Sequence[Row], read: Read) -> list[_Turn]:
        """What becomes of each row."""
        problems, turns = Problems(), []
        coming: dict[Key, Progress] = {}
        for i, row in enumerate(rows):
            key = self._key(row, i, problems)
            before = coming.get(key) or (self._series[key].progress if key in self._series else Progress())
            after = self._after(row, i, read, before, problems)
            if read.static:
                after = self._settled(after, i, read, row, key, problems)
            coming[key] = after
            length = self._facts.layout.length
            due = length is None or after.rows >= length or (self._facts.short and not after.broken)
            cells = {name: plain.copied(row[name]) for name in self._facts.columns}
            turns.append(_Turn(i, key, after, due, cells))
        problems.raise_if_any()
        return turns

    def _key(self, row: Row, number: int, problems: Problems) -> Key:
        found = tuple([plain.key(row[name]) for name in self._facts.by])
        first = next(iter(self._series), found)
        for name, one, other in zip(self._facts.by, found, first, strict=True):
            if one is None:
                remedy = "Use text, a whole number or a date."
                problems.add("cannot name a series", column=name, rows=[number], values=[row[name]], remedy=remedy)
            elif isinstance(one, str) != isinstance(other, str):
                what = f"is {'text' if isinstance(one, str) else 'no text'}, unlike in earlier rows"
                problems.add(what, column=name, rows=[number], values=[row[name]])
        return found

    def _after(self, row: Row, number: int, read: Read, before: Progress, problems: Problems) -> Progress:
        """How far a series is with one row more."""
        name, gap = self._facts.order, self._facts.gap
        if name is None:
            return before._replace(rows=before.rows + 1)
        order = read.order[number]
        if before.rows and order <= before.order:
            same = order == before.order
            what = "has the same value twice in one series" if same else "comes before the last row of its series"
            remedy = "Push the rows of a series in order, each once" + (
                "" if self._facts.by else "; by= tells series apart"
            )
            problems.add(what, column=name, rows=[number], values=[row[name]], remedy=remedy)
        broken = gap is not None and before.rows > 0 and order - before.order > gap
        return Progress(1 if broken else before.rows + 1, order, broken or before.broken, before.static)

    def _settled(self, after: Progress, row: int, read: Read, cells: Row, key: Key, problems: Problems) -> Progress:
        """`after`, with the first value that the series has in each static column."""
        static, what = dict(after.static), self._facts.what
        for column, (values, missing) in read.static.items():
            entries = {name: x[row] for name, x in values.items()}
            own = StaticCell(entries, bool(missing[row]), plain.copied(cells[column]))
            known = static.get(column)
            if known is None:
                static[column] = own
            elif not own.missing and known.missing:
                static[column] = own
                if self._facts.layout.length is None:
                    remedy = f"Give it with the first row of its {what}: the state was carried without it."
                    problems.add("has a value that earlier rows lack", column=column, rows=[row], remedy=remedy)
            elif not own.missing and not _same(own, known):
                of = f": {shorten('|'.join(map(str, key)))}" if key else ""
                remedy = "Take role='static' away"
                problems.add(f"has several values within one {what}{of}", column=column, remedy=remedy)
        return after._replace(static=static)

    def _ahead(self, read: Read, turns: Sequence[_Turn], future: Any) -> Values:
        """What is known of the rows ahead, (N, H, *entry)."""
        facts = self._facts
        if not facts.future:
            if future is not None:
                raise OptionError("future= has no effect: no column is known ahead")
            return {}
        if not any(turn.due for turn in turns) and future is None:
            return {}
        count = len(turns)
        if future is not None:
            order, values = self._engine.read_ahead(self._rows_ahead(future, count))
            self._check_follows(np.array(order).reshape(count, facts.horizon), np.array(read.order), future)
        elif facts.made and facts.step is not None:
            steps = np.arange(1, facts.horizon + 1) * facts.step
            values = self._engine.make_ahead((np.array(read.order)[:, None] + steps).reshape(-1))
        else:
            clock, named = str(facts.order), [name for name in facts.future if name != facts.order]
            wanted = f"a list of the next {facts.horizon} rows with {', '.join([clock, *named])}"
            raise TableError([unknown_ahead(clock, named, wanted)])
        return {name: x.reshape(count, facts.horizon, *x.shape[1:]) for name, x in values.items()}

    def _rows_ahead(self, future: Any, count: int) -> list[Row]:
        """The rows ahead of all rows, one after the other; refuses what has not their number or their columns."""
        horizon, problems = self._facts.horizon, Problems()
        fits = isinstance(future, list | tuple) and len(future) == count
        if not fits or any(not isinstance(rows, list | tuple) or len(rows) != horizon for rows in future):
            raise OptionError(f"future= needs a list of the next {horizon} rows, as dicts, for each row that is pushed")
        found = [row for rows in future for row in _rows(rows)]
        for name in dict.fromkeys([str(self._facts.order), *self._facts.future]):
            lacking = next((row for row in found if name not in row), None)
            if lacking is not None:
                problems.add("is missing from future=.", column=name, remedy=f"It has: {', '.join(map(str, lacking))}")
        problems.raise_if_any()
        return found

    def _check_follows(self, ahead: np.ndarray, last: np.ndarray, future: Any) -> None:
        """Refuse rows ahead that are not those right after the last, (N, H) against (N,)."""
        facts, name, problems = self._facts, str(self._facts.order), Problems()
        steps = np.diff(ahead, axis=1, prepend=last[:, None])
        remedy = "It has to hold the rows right after the one pushed, in order"
        wrong = [("does not follow the row before", steps <= 0)]
        if facts.step is not None:
            wrong.append(("leaves the regular steps of the training rows", (steps > 0) & (steps != facts.step)))
        elif facts.gap is not None:
            wrong.append(("leaves a gap above max_gap", steps > facts.gap))
        for what, bad in wrong:
            rows, values = np.flatnonzero(bad).tolist(), [future[i][j][name] for i, j in np.argwhere(bad)[:5].tolist()]
            if rows:
                problems.add(f"in future=: {what}", column=name, rows=rows, values=values, remedy=remedy)
        problems.raise_if_any()

    # -- what changes ----------------------------------------------------------------------------------------------

    def _run(self, batch: Sequence[_Turn], read: Read, ahead: Values) -> Answers:
        """Keep the rows of a batch and run the network over their windows, if they are due."""
        series = [self._series.get(turn.key) or new_series(self._facts.layout) for turn in batch]
        for one, turn in zip(series, batch, strict=True):
            for name, ring in one.rings.items():
                ring.put(read.steps[name][turn.row])
        found: Answers = {}
        if batch[0].due:
            length = _window(batch[0], self._facts.layout.length)
            steps = {name: _stacked([one.rings[name].last(length) for one in series]) for name in read.steps}
            at = [turn.row for turn in batch]
            found = self._engine.run(steps, self._static(batch), {name: x[at] for name, x in ahead.items()})
        for one, turn in zip(series, batch, strict=True):
            for ring in one.rings.values():
                ring.advance()
            _passed(one, turn)
            self._series[turn.key] = one
        return found

    def _carry(self, batch: Sequence[_Turn], read: Read) -> Answers:
        """One step of the network, with the states of a batch of groups."""
        series = [self._series.get(turn.key) or new_series(self._facts.layout) for turn in batch]
        at = [turn.row for turn in batch]
        steps = {name: x[at][:, None] for name, x in read.steps.items()}
        memory = series[0].memory
        if len(batch) > 1:
            memory = tuple(np.concatenate(parts) for parts in zip(*(one.memory for one in series), strict=True))
        found, after = self._engine.step(steps, self._static(batch), memory)
        for i, (one, turn) in enumerate(zip(series, batch, strict=True)):
            one.memory = after if len(batch) == 1 else tuple(x[i : i + 1].copy() for x in after)
            _passed(one, turn)
            self._series[turn.key] = one
        return found

    def _static(self, batch: Sequence[_Turn]) -> Values:
        """What static columns hold, (B, *entry)."""
        made: dict[str, np.ndarray] = {}
        for column, entries in self._facts.layout.static.items():
            cells = [turn.after.static[column].values for turn in batch]
            made |= {name: gathered([cell[name] for cell in cells], entry) for name, entry in entries.items()}
        return made


def columns_read(inputs: Iterable[str], by: Iterable[str], order: str | None) -> tuple[str, ...]:
    """Every column that a stream reads."""
    return tuple(dict.fromkeys([*inputs, *by, *([] if order is None else [order])]))


def _passed(series: Series, turn: _Turn) -> None:
    """A row was answered."""
    series.progress = turn.after
    series.cells.append(turn.cells)


def note(problems: Problems, error: TableError, row: int, where: str = "") -> None:
    """Take over the problems of a row that was read by itself; what concerns no cell is told once for all rows."""
    told = {(p.column, p.what) for p in problems}
    for p in error.problems:
        if p.rows or (p.column, f"{where}{p.what}") not in told:
            rows = [row] * len(p.rows)
            problems.add(f"{where}{p.what}", column=p.column, rows=rows, values=p.values, remedy=p.remedy)


def _rows(given: Any) -> Sequence[Row]:
    if not isinstance(given, list | tuple) or not all(isinstance(row, Mapping) for row in given):
        raise OptionError(f"push takes a row as a dict, or a list of such rows, not {shorten(given)}")
    return given


def _batches(turns: Sequence[_Turn], length: int | None) -> list[list[_Turn]]:
    """Turns that can go together, in order: each series once, windows of one length, due or not."""
    if len(turns) == 1:
        return [list(turns)]
    seen: dict[Key, int] = {}
    found: dict[tuple[int, int], list[_Turn]] = {}
    for turn in turns:
        place = seen[turn.key] = seen.get(turn.key, -1) + 1
        found.setdefault((place, _window(turn, length) if turn.due else -1), []).append(turn)
    return [found[place] for place in sorted(found)]


def _window(turn: _Turn, length: int | None) -> int:
    return 0 if length is None else min(turn.after.rows, length)


def _stacked(windows: Sequence[np.ndarray]) -> np.ndarray:
    return windows[0][None] if len(windows) == 1 else np.stack(windows)


def _same(one: StaticCell, other: StaticCell) -> bool:
    for name, x in one.values.items():
        y = other.values[name]
        if np.asarray(x).dtype.kind == "f":
            if not np.array_equal(x, y, equal_nan=True):
                return False
        elif not np.array_equal(x, y):
            return False
    return True
