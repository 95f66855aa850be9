"""Rows and sequences -> the arrays that a run of the graph takes; the answers back; and arrays in JSON."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inputlayer.onnx.cells import Taken

Told = Mapping[str, Any]
Feeds = dict[str, np.ndarray]

SIZE = 256  # sequences of one run: more at once are slower
TOLERANCE = 1e-5  # of an answer, see `apart`


@dataclass
class Sequences:
    """Which rows are whose steps: steps (start, length) count in `moved`, row numbers by series and order.

    rows: what the graph takes of each row, by column; static (S,): the row that static columns are read from; ahead:
    what it takes of the horizon, by column, (S * H, ...).
    """

    rows: Mapping[str, Taken]
    moved: np.ndarray
    start: np.ndarray
    length: np.ndarray
    static: np.ndarray
    ahead: Mapping[str, Taken]

    def __len__(self) -> int:
        return len(self.start)


def batches(told: Told, sequences: Sequences, size: int = SIZE) -> Iterator[tuple[np.ndarray, Feeds]]:
    """Runs of the graph: the numbers of their sequences (those of like length together), and what each takes."""
    order = np.argsort(weights(told, sequences), kind="stable")
    for first in range(0, len(order), size):
        chosen = order[first : first + size]
        yield chosen, feeds(told, sequences, chosen)


def weights(told: Told, sequences: Sequences) -> np.ndarray:
    """How long each sequence is, (S,), as far as it is known before the graph counts."""
    cell = told["cell"]
    if cell is None:
        return sequences.length
    values = sequences.rows[cell]
    if isinstance(values, list) or values.dtype == object:
        return np.array([len(values[row]) for row in sequences.static], np.int64)
    counts: np.ndarray = (~np.isnan(values)).sum(axis=1)
    return np.asarray(counts[sequences.static])


def feeds(told: Told, sequences: Sequences, chosen: np.ndarray) -> Feeds:
    """What the graph takes for the sequences numbered `chosen`, (B,)."""
    length = sequences.length[chosen]
    steps = int(length.max(initial=1))
    # Padding reads the sequence's first row, and is overwritten in the graph.
    place = np.arange(steps)
    at = sequences.moved[sequences.start[chosen][:, None] + np.where(place < length[:, None], place, 0)]
    static, made = sequences.static[chosen], {}
    if told["lengths"] is not None and told["cell"] is None:
        made[told["lengths"]] = length.astype(np.int64)
    for spec in told["inputs"]:
        name, place_of = spec["column"], spec["place"]
        if place_of == "future":
            horizon = told["horizon"]
            rows = chosen[:, None] * horizon + np.arange(horizon)
            made |= _entries(spec, sequences.ahead[name], rows)
        elif name == told["cell"]:
            made |= _cell_steps(told, spec, sequences.rows[name], static)
        else:
            single = place_of == "static" or not spec["axes"]
            made |= _entries(spec, sequences.rows[name], static if single else at)
    return made


def _entries(spec: Told, values: Taken, at: np.ndarray) -> Feeds:
    """One input at rows `at` (...)."""
    if isinstance(values, list):
        return _padded(spec["name"], [values[row] for row in at.ravel().tolist()], at.shape, f"{spec['name']}.lengths")
    return {spec["name"]: values[at]}


def _cell_steps(told: Told, spec: Told, values: Taken, rows: np.ndarray) -> Feeds:
    """The column whose cells are the steps."""
    if isinstance(values, list):
        return _padded(spec["name"], [values[row] for row in rows.tolist()], rows.shape, told["lengths"])
    return {spec["name"]: values[rows]}


def _padded(name: str, cells: Sequence[np.ndarray], shape: tuple[int, ...], lengths: str) -> Feeds:
    """Cells (n, *entry) each, right-padded with zeros: (*shape, most, *entry), and how many entries each has."""
    counts = np.array([len(cell) for cell in cells], np.int64)
    first = cells[0]
    padded = np.zeros((len(cells), max(1, int(counts.max())), *first.shape[1:]), first.dtype)
    for row, cell in enumerate(cells):
        padded[row, : len(cell)] = cell
    return {name: padded.reshape(*shape, *padded.shape[1:]), lengths: counts.reshape(shape)}


def collected(count: int, runs: Sequence[tuple[np.ndarray, Sequence[np.ndarray]]]) -> list[np.ndarray]:
    """The answers of all runs, put back in the order of the sequences; steps beyond a run's are zeros."""
    found = []
    for answers in zip(*(run for _, run in runs), strict=True):
        shape = tuple(max(a.shape[i] for a in answers) for i in range(1, answers[0].ndim))
        whole = np.zeros((count, *shape), answers[0].dtype)
        for (chosen, _), answer in zip(runs, answers, strict=True):
            whole[chosen] = answer if answer.shape[1:] == shape else _to_shape(answer, (len(answer), *shape))
        found.append(whole)
    return found


def apart(told: Told, found: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """The largest difference of any answer: numbers in units of the target's training spread, relative where they are
    larger; classes in probability, and in labels (1 where any differs) but where two classes are as good as equal."""
    worst, sure = 0.0, None
    for answer, y, w in zip(told["answers"], found, wanted, strict=True):
        if answer["spread"] is not None:
            worst = max(worst, difference(y, w, answer["spread"]))
        if not answer["label"]:
            best = np.sort(w, axis=-1)
            sure = np.ones(w.shape[:-1], bool) if w.shape[-1] < 2 else best[..., -1] - best[..., -2] > 2 * TOLERANCE
    if sure is not None:
        worst = max(worst, float((found[0][sure].astype(object) != wanted[0][sure].astype(object)).any()))
    return worst


def difference(y: np.ndarray, wanted: np.ndarray, spread: float) -> float:
    """How far numbers are apart at most: in units of `spread`, and relative where they are larger than it.

    >>> difference(np.array([1.0, np.nan]), np.array([3.0, np.nan]), 4.0)
    0.5
    """
    if y.shape != wanted.shape:
        return np.inf
    same = (y == wanted) | (np.isnan(y) & np.isnan(wanted))
    with np.errstate(invalid="ignore"):
        distance = np.abs(y - wanted) / np.maximum(spread, np.abs(wanted))
    return float(np.where(same, 0.0, np.where(np.isnan(distance), np.inf, distance)).max(initial=0.0))


def _to_shape(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`array` with zeros behind it, up to `shape`."""
    padded = np.zeros(shape, array.dtype)
    padded[tuple(map(slice, array.shape))] = array
    return padded


# -- arrays in JSON ---------------------------------------------------------------------------------------------------


def to_json(array: np.ndarray) -> dict[str, Any]:
    """An array as JSON values: text as it is, numbers byte by byte."""
    told: dict[str, Any] = {"shape": list(array.shape)}
    if array.dtype.kind in "OU":
        return told | {"text": array.ravel().tolist()}
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return told | {"dtype": little.dtype.str, "bytes": base64.b64encode(little.tobytes()).decode()}


def from_json(told: Told) -> np.ndarray:
    """What `to_json` told.

    >>> from_json(to_json(np.array([[1.5, np.nan]]))).tolist()
    [[1.5, nan]]
    """
    if "text" in told:
        return np.array(told["text"], object).reshape(told["shape"])
    return np.frombuffer(base64.b64decode(told["bytes"]), told["dtype"]).reshape(told["shape"])
