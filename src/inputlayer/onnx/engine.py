"""A stream's rows through an exported file, with onnxruntime and NumPy alone: what stands behind `OnnxModel.stream`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from inputlayer import plain
from inputlayer.errors import Problems, TableError
from inputlayer.kept import Entry, Layout, Memory, Read, Row, Values, gathered
from inputlayer.onnx.clock import wall
from inputlayer.onnx.feeds import Feeds, from_json
from inputlayer.onnx.rows import by_names, missing_rows, read
from inputlayer.streaming import Answers, Facts, columns_read, note

Told = Mapping[str, Any]
Run = Callable[[Sequence[str], Feeds], list[np.ndarray]]
Wired = dict[str, np.ndarray]


class OnnxEngine:
    """Reads rows into raw inputs of the graph, and runs it: the `Engine` of onnxruntime."""

    def __init__(self, told: Told, run: Run, named: Callable[[list[np.ndarray]], Answers]) -> None:
        self.told, self._run, self._named = told, run, named
        entries = {spec["name"]: _entry(told, spec) for spec in told["inputs"]}
        self._inputs = {place: [s for s in told["inputs"] if s["place"] == place] for place in _PLACES}
        self._entries = {spec["column"]: entries[spec["name"]] for spec in told["inputs"]}
        steps = {spec["column"]: entries[spec["name"]] for spec in self._inputs["steps"]}
        static = {spec["column"]: {spec["column"]: entries[spec["name"]]} for spec in self._inputs["static"]}
        memory = tuple(from_json(array) for array in told["stream"].get("memory", ()))
        self.facts = _facts(told, Layout(told["stream"]["length"], steps, static, memory))
        self._kinds = {name: told["columns"][name]["kind"] for name in told["reads"]}
        self._form = told["columns"].get(self.facts.order, {}).get("format")
        self._timed = None if told["clock"] is None else told["clock"]["timed"]
        self._readers = {name: _reader(told["columns"][name]) for name in told["reads"]}
        self._answered = [answer["name"] for answer in told["answers"]]
        self._states = [f"/state.{i}" for i in range(len(memory))]
        self._asked = [*told["stream"].get("answers", ()), *(f"/next.{i}" for i in range(len(memory)))]

    # -- rows ------------------------------------------------------------------------------------------------------

    def read(self, rows: Sequence[Row]) -> Read:
        """Rows -> what the graph takes; by the quick way if their cells are plain, else by the one that tables take."""
        order, values = self._quick(rows, self.told["reads"]) or self._long_way(rows, self.told["reads"])
        static = {}
        for name in self.facts.layout.static:
            kind = self.told["columns"][name]["kind"]
            static[name] = {name: values[name]}, self._gaps(values[name], kind)
        return Read(order, {name: values[name] for name in self.facts.layout.steps}, static)

    def _gaps(self, values: np.ndarray, kind: str) -> np.ndarray:
        """Which rows hold no value, (N,) bool."""
        arrays = values.dtype == object and len(values) and isinstance(values[0], np.ndarray)
        return missing_rows(list(values) if arrays else values, kind)

    def _quick(self, rows: Sequence[Row], names: Sequence[str]) -> tuple[list[float], Wired] | None:
        """Order and values of plain cells; None if some are not."""
        found: Wired = {}
        try:
            if any(row[name] is None for row in rows for name in self.facts.by):
                return None
            order = self._orders([row[self.facts.order] for row in rows]) if self.facts.order is not None else []
            # All numbers at once: a row is mostly these, and each call costs more than the numbers do.
            numbers = [name for name in names if self._kinds[name] == "number"]
            flat = plain.numbers([row[name] for name in numbers for row in rows])
            if order is None or flat is None:
                return None
            found.update(zip(numbers, flat.reshape(len(numbers), len(rows)), strict=True))
            for name in names:
                if name not in found:
                    reader = self._readers[name]
                    values = None if reader is None else reader([row[name] for row in rows])
                    if values is None:
                        return None
                    found[name] = values
        except KeyError:  # a column is missing
            return None
        return order, found

    def _orders(self, cells: Sequence[Any]) -> list[float] | None:
        """Numbers to sort by; None where that takes the long way."""
        kind, timed = self._kinds.get(str(self.facts.order)), self._timed
        kinds = set(map(type, cells))
        if kind != "timestamp" and kinds <= {int, float} and timed is not True:
            return list(cells) if all(-np.inf < c < np.inf for c in cells) else None
        found = None if self._form is not None else plain.times(cells)
        if found is None or timed is False or (kind != "timestamp" and str in kinds):
            return None
        order: list[float] = found[0].tolist()
        return None if plain.NAT in order else order

    def _long_way(self, rows: Sequence[Row], names: Sequence[str], where: str = "") -> tuple[list[float], Wired]:
        """The same for cells of any kind, each row read as a table; raises what is wrong with them."""
        problems, values = Problems(), []
        order: list[float] = []
        for i, row in enumerate(rows):
            try:
                found = read(self.told, [dict(row)], names)
                order += [] if found.order is None else found.order.tolist()
                values.append(found.values)
            except TableError as error:
                note(problems, error, i, where)
        problems.raise_if_any()
        return order, {name: gathered([one[name][0] for one in values], self._entries[name]) for name in names}

    def read_ahead(self, rows: Sequence[Row]) -> tuple[list[float], Wired]:
        """Rows of the horizon -> their order, and what the graph takes of them."""
        # Which series they follow is known: it is not looked at.
        named = [{**row, **dict.fromkeys(self.facts.by, 0)} for row in rows]
        return self._quick(named, self.facts.future) or self._long_way(named, self.facts.future, "in future=: ")

    def make_ahead(self, order: np.ndarray) -> Wired:
        """What the graph takes of the order column at `order` (N,)."""
        name = str(self.facts.order)
        return {name: _on_the_wall(order, self.told["columns"][name])}

    # -- the graph -------------------------------------------------------------------------------------------------

    def run(self, steps: Values, static: Values, ahead: Values) -> Answers:
        """Windows, all of one length -> answers."""
        feeds = self._feeds({"steps": steps, "static": static, "future": ahead})
        if self.told["lengths"] is not None:
            first = next(iter(steps.values()))
            feeds[self.told["lengths"]] = np.full(len(first), first.shape[1], np.int64)
        found = self._run(self._answered, feeds)
        if self.told["schema"]["sequence"].get("per_step"):
            found = [answer[:, -1] for answer in found]
        return self._named(found)

    def step(self, steps: Values, static: Values, memory: Memory) -> tuple[Answers, Memory]:
        """One row more of each group -> answers, and the states after it."""
        feeds = self._feeds({"steps": steps, "static": static, "future": {}})
        feeds.update(zip(self._states, memory, strict=True))
        found = self._run(self._asked, feeds)
        count = len(self._answered)
        answers = found[:count]
        if self.told["schema"]["sequence"].get("per_step"):
            answers = [answer[:, -1] for answer in answers]
        return self._named(answers), tuple(found[count:])

    def _feeds(self, values: Mapping[str, Values]) -> Feeds:
        made: Feeds = {}
        for place, given in values.items():
            for spec in self._inputs[place]:
                x = given.get(spec["column"])
                if x is None:
                    continue
                if x.dtype == object and x.size and isinstance(x.flat[0], np.ndarray):
                    x, counts = _padded(x)
                    if spec["entries"]:
                        made[f"{spec['name']}.lengths"] = counts
                made[spec["name"]] = x
        return made

    def fingerprint(self) -> str:
        """That of the model that wrote the file."""
        return str(self.told["stream"]["model"])


_PLACES = ("steps", "static", "future")


def _facts(told: Told, layout: Layout) -> Facts:
    sequence, clock = told["schema"]["sequence"], told["clock"]
    windows = sequence["kind"] == "windows"
    order = sequence.get("order")
    return Facts(
        columns=columns_read(told["reads"], by_names(sequence), order),
        by=tuple(by_names(sequence)),
        order=order,
        what="series" if windows else "group",
        layout=layout,
        short=not windows or bool(sequence.get("pad_short")),
        horizon=told["horizon"],
        future=tuple(told["future"]),
        made=told["future"] == [order],
        step=int(clock["step"]) if clock is not None and clock["regular"] else None,
        gap=told["max_gap"] if windows else None,
    )


def _entry(told: Told, spec: Told) -> Entry:
    """What one row holds of an input."""
    (tells,) = (entry for entry in told["tells"] if entry["name"] == spec["name"])
    cell = tells["shape"][1 + len(spec["axes"]) :]
    dtype = "object" if tells["dtype"] == "string" else tells["dtype"]
    free = [size for size in cell if isinstance(size, str)]
    return Entry(dtype, tuple(size for size in cell if not isinstance(size, str)), bool(free))


def _padded(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells of uneven number (...,) -> right-padded (..., most, *entry), and how many each has (...)."""
    counts = np.array([len(cell) for cell in cells.flat], np.int64)
    first = cells.flat[0]
    padded = np.full(
        (cells.size, max(1, int(counts.max())), *first.shape[1:]), _NOTHING.get(first.dtype.kind, 0), first.dtype
    )
    for row, cell in enumerate(cells.flat):
        padded[row, : len(cell)] = cell
    return padded.reshape(*cells.shape, *padded.shape[1:]), counts.reshape(cells.shape)


_NOTHING = {"f": np.nan}

# -- plain cells -> what the graph takes ------------------------------------------------------------------------------

_Reader = Callable[[Sequence[Any]], "np.ndarray | None"]


def _reader(spec: Told) -> _Reader | None:
    """What reads plain cells of one column that is no number; None for a kind that is not known here."""
    if spec["kind"] == "flag":
        return plain.flags
    if spec["kind"] == "category":
        return _words if spec["text"] else _whole
    if spec["kind"] == "timestamp" and spec["format"] is None:
        return lambda cells: _times(cells, spec)
    return None


def _words(cells: Sequence[Any]) -> np.ndarray | None:
    if plain.words(cells) is None or not plain.is_text(cells):
        return None
    return np.array([cell or "" for cell in cells], object)


def _whole(cells: Sequence[Any]) -> np.ndarray | None:
    if plain.whole(cells) is None:
        return None
    return np.array([plain.NAT if cell is None else cell for cell in cells], np.int64)


def _times(cells: Sequence[Any], spec: Told) -> np.ndarray | None:
    found = plain.times(cells)
    if found is None or found[1] not in (None, spec["zone"] is not None):
        return None
    return _on_the_wall(found[0], spec)


def _on_the_wall(utc: np.ndarray, spec: Told) -> np.ndarray:
    local = utc if spec["offset"] == 0 else wall(utc, spec["zone"], spec["offset"])
    return np.stack([local, utc], axis=-1) if spec["two"] else local
