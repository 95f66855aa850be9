"""Raw rows drawn from what a model learnt, nobody's own: gaps, values never seen and large ones among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from inputlayer.fit import Fitted
from inputlayer.sequence import Cells, Windows

_SERIES, _CELLS, _GAPS = 3, 8, 0.15


def rows(fitted: Fitted, seed: int = 0) -> pl.DataFrame:
    """A table of a few series, groups or cells, with every column that the model reads."""
    schema, draw = fitted.schema, np.random.default_rng(seed)
    counts = _counts(fitted, draw)
    series = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(series)) - np.repeat(np.cumsum(counts) - counts, counts)
    order = schema.sequence.order_name
    frame: dict[str, pl.Series] = {}
    for name in schema.inputs:
        one = name in schema.static and not isinstance(schema.sequence, Cells)
        found = _cells(fitted, name, draw, len(counts) if one else len(series))
        frame[name] = found.gather(series) if one else found
    for i, name in enumerate(schema.sequence.by_names):
        frame[name] = _keys(fitted, name, len(counts) if not i else 1).gather(series if not i else series * 0)
    if order is not None:
        frame[order] = _order(fitted, order, place)
    return pl.DataFrame([column.alias(name) for name, column in frame.items()])


def _counts(fitted: Fitted, draw: np.random.Generator) -> np.ndarray:
    """How many rows each series has."""
    sequence = fitted.schema.sequence
    if isinstance(sequence, Cells):
        return np.array([_CELLS])
    key = fitted.schema.columns.get(sequence.by_names[0]) if sequence.by_names else None
    series = 1 if not sequence.by_names else 2 if key is not None and key.kind == "flag" else _SERIES
    if not isinstance(sequence, Windows):
        return draw.integers(1, 8, series)
    whole = sequence.length + sequence.horizon + draw.integers(0, 3, series)
    if sequence.pad_short:
        whole[0] = 1 + sequence.horizon
    return np.asarray(whole)


def _order(fitted: Fitted, name: str, place: np.ndarray) -> pl.Series:
    clock, receipt = fitted.clock, fitted.receipt
    column, state = fitted.schema.columns.get(name), fitted.states.get(name)
    step = 1 if clock is None else int(clock.step)
    first = int(receipt.first[0]) if len(receipt.first) and np.isfinite(receipt.first[0]) else 0
    numbers = pl.Series(first + place * step)
    if column is not None and column.kind == "timestamp":
        return _times(numbers.to_numpy(), getattr(state, "zone", None))
    return numbers.cast(pl.Datetime("us")) if clock is not None and clock.timed else numbers


def _keys(fitted: Fitted, name: str, count: int) -> pl.Series:
    """So many different values of a key column."""
    column = fitted.schema.columns.get(name)
    state: Any = fitted.states.get(name)
    if column is None:
        return pl.Series([f"series {i}" for i in range(count)])
    if column.kind == "category" and state.text:
        return pl.Series([*state.words[: count - 1], *(f"never seen {i}" for i in range(count))][:count])
    if column.kind == "category":
        known = list(state.numbers[: count - 1])
        return pl.Series([*known, *(max(known, default=0) + 1 + i for i in range(count))][:count])
    if column.kind == "flag":
        return pl.Series([False, True][:count])
    if column.kind == "timestamp":
        return _times(np.arange(count) * 86_400_000_000, state.zone)
    return pl.Series(np.arange(count) / 2)


def _cells(fitted: Fitted, name: str, draw: np.random.Generator, count: int) -> pl.Series:
    column, state = fitted.schema.columns[name], fitted.states[name]
    found: pl.Series = _KINDS[column.kind](column, state, draw, count)
    gaps = draw.random(count) < _GAPS
    kept = pl.Series([None if gap else i for i, gap in enumerate(gaps.tolist())], dtype=pl.UInt32)
    return found.gather(kept)


# -- kinds: column, state, draw, count -> cells ------------------------------------------------------------------------


def _number(column: Any, state: Any, draw: np.random.Generator, count: int) -> pl.Series:
    return pl.Series(_numbers(state.seen, draw, count))


def _numbers(seen: Any, draw: np.random.Generator, count: int) -> np.ndarray:
    """Around what was seen, some far beyond it."""
    spread = seen.spread or 1.0
    far = np.where(draw.random(count) < 0.1, 10.0, 1.0)
    return np.asarray(np.clip(seen.mean + spread * far * draw.standard_normal(count), -1e300, 1e300))


def _category(column: Any, state: Any, draw: np.random.Generator, count: int) -> pl.Series:
    known = list(state.vocabulary)
    never = "never seen" if state.text else max(known) // 2 + 1
    choice = draw.integers(0, len(known) + 1, count)
    return pl.Series([never if i == len(known) else known[i] for i in choice.tolist()])


def _flag(column: Any, state: Any, draw: np.random.Generator, count: int) -> pl.Series:
    return pl.Series(draw.random(count) < 0.5)


def _timestamp(column: Any, state: Any, draw: np.random.Generator, count: int) -> pl.Series:
    return _times(np.sort(draw.integers(state.first, state.last + 86_400_000_000, count)), state.zone)


def _times(utc: np.ndarray, zone: str | None) -> pl.Series:
    naive = pl.Series(utc.astype(np.int64)).cast(pl.Datetime("us"))
    return naive if zone is None else naive.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)


def _text(column: Any, state: Any, draw: np.random.Generator, count: int) -> pl.Series:
    tokens = [*state.words[:2000], "Zyzzyva", "\u00c4", "?"]
    lengths = draw.integers(0, 12, count)
    gap = "" if column.tokens == "character" else " "
    return pl.Series([gap.join(tokens[i] for i in draw.integers(0, len(tokens), n)) for n in lengths.tolist()])


def _vector(column: Any, state: Any, draw: np.random.Generator, count: int) -> pl.Series:
    made = state.center + state.divisor * draw.standard_normal((count, state.size))
    return pl.Series(made.tolist(), dtype=pl.List(pl.Float64))


def _series(column: Any, state: Any, draw: np.random.Generator, count: int) -> pl.Series:
    low, high = state.steps
    cells: list[Any] = []
    for n in draw.integers(low, min(high, low + 50) + 1, count).tolist():
        steps = np.stack([_numbers(seen, draw, n) for seen in state.seen], axis=-1)
        steps[draw.random(steps.shape) < _GAPS] = np.nan
        shaped = {"time": steps[:, 0], "time channel": steps, "channel time": steps.T}[column.axes]
        cells.append(shaped.tolist())
    depth = pl.List(pl.Float64) if column.axes == "time" else pl.List(pl.List(pl.Float64))
    return pl.Series(cells, dtype=depth)


def _audio(column: Any, state: Any, draw: np.random.Generator, count: int) -> pl.Series:
    window = column.framing(state.rate).window
    lengths = window + draw.integers(0, 4 * window, count)
    return pl.Series([draw.normal(0, 0.1, n).tolist() for n in lengths.tolist()], dtype=pl.List(pl.Float64))


def _image(column: Any, state: Any, draw: np.random.Generator, count: int) -> pl.Series:
    shape = (*state.size, state.channels)
    if column.cell == "picture":
        return pl.Series(draw.integers(0, 256, (count, *shape)).tolist())
    return pl.Series([draw.integers(0, 256, (n, *shape)).tolist() for n in draw.integers(1, 4, count).tolist()])


_KINDS: dict[str, Callable[[Any, Any, np.random.Generator, int], pl.Series]] = {
    "number": _number, "category": _category, "flag": _flag, "timestamp": _timestamp, "text": _text,
    "vector": _vector, "series": _series, "audio": _audio, "image": _image,
}  # fmt: skip
KINDS = tuple(_KINDS)
