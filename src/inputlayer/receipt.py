"""The receipt: what a fit saw, so that an evaluation on the same rows can be refused.

Windows are known by their series and time range; groups and cells by a hash of their content, never by keys or row
numbers. No wall-clock time is kept, so that the same fit gives the same file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from inputlayer.blocks import Block
from inputlayer.schema import Schema
from inputlayer.sequence import Windows
from inputlayer.statistics import splitmix64
from inputlayer.times import Times

_KEPT = 100_000  # content hashes kept; beyond that the smallest, which is a fixed sample

_M1, _M3 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Receipt:
    """What was seen: rows; for windows each series' key, first and last order value and rows; else content hashes.

    `sequences` is how many groups or cells there were; `hashes` (at most 100,000) int64, sorted.
    """

    rows: int
    sequences: int
    keys: tuple[str, ...] = ()
    first: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    last: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    hashes: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def same(self, other: Receipt) -> bool:
        """Whether both saw the same."""
        mine, others = (vars(r).values() for r in (self, other))
        return all(np.array_equal(a, b) for a, b in zip(mine, others, strict=True))

    def overlap(self, other: Receipt) -> tuple[int, list[str]]:
        """How many sequences (or series) of `other` this one saw, and the series' names."""
        if not self.keys:
            if len(self.hashes) == _KEPT:
                judged = other.hashes[other.hashes <= self.hashes[-1]]
            else:
                judged = other.hashes
            return int(np.isin(judged, self.hashes).sum()), []
        mine = {k: i for i, k in enumerate(self.keys)}
        seen = [
            k
            for i, k in enumerate(other.keys)
            if k in mine and other.first[i] <= self.last[mine[k]] and other.last[i] >= self.first[mine[k]]
        ]
        return len(seen), seen


def key_text(keys: pl.DataFrame) -> list[str]:
    """One text per row of key values; a single series without keys is ``""``.

    >>> key_text(pl.DataFrame({"a": [1], "b": ["x"]}))
    ['1|x']
    """
    if not keys.width:
        return [""] * max(keys.height, 1)
    texts = pl.all().cast(pl.String)
    if keys.width > 1:  # so that ("a|b", "c") and ("a", "b|c") stay two
        texts = texts.str.replace_all("\\", "\\\\", literal=True).str.replace_all("|", "\\|", literal=True)
    return keys.select(pl.concat_str([texts], separator="|", ignore_nulls=True)).to_series().to_list()


class ReceiptWriter:
    """Gathers a receipt block by block. The result does not depend on how the rows are cut or ordered."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.rows = 0
        self.spans: dict[str, tuple[float, float, int]] = {}
        self.groups: dict[str, int] = {}
        self.cells = 0
        self.hashes = np.zeros(0, dtype=np.uint64)

    def add(self, block: Block) -> None:
        """Take note of one block."""
        self.rows += block.frame.height
        by = list(self.schema.sequence.by_names)
        if isinstance(self.schema.sequence, Windows):
            self._add_spans(block, by)
            return
        hashes = _row_hashes(self.schema, block)
        if not by:
            self.cells += len(hashes)
            if len(self.hashes) == _KEPT:  # after many rows, most of a block's hashes are too large
                hashes = hashes[hashes < self.hashes[-1]]
            self.hashes = _smallest(np.concatenate([self.hashes, hashes]))
            return
        # The sum over a group's rows, modulo 2**64: the same however the rows are ordered or cut into blocks.
        sums = (
            block.frame.select(by).with_columns(pl.Series("_hash", hashes)).group_by(by).agg(pl.col("_hash").implode())
        )
        for key, part in zip(key_text(sums.select(by)), sums["_hash"], strict=True):
            with np.errstate(over="ignore"):
                total = int(np.add.reduce(part.to_numpy(), dtype=np.uint64))
            self.groups[key] = (self.groups.get(key, 0) + total) % 2**64

    def _add_spans(self, block: Block, by: list[str]) -> None:
        order = pl.Series("_order", block.order)
        spans = [pl.col("_order").min().alias("_low"), pl.col("_order").max().alias("_high"), pl.len().alias("_n")]
        frame = pl.DataFrame([order, *block.frame.select(by)])
        parts = frame.group_by(by).agg(spans) if by else frame.select(spans)
        for key, low, high, n in zip(
            key_text(parts.select(by)), parts["_low"], parts["_high"], parts["_n"], strict=True
        ):
            if low is not None:
                old = self.spans.get(key, (low, high, 0))
                self.spans[key] = (min(old[0], low), max(old[1], high), old[2] + n)

    def receipt(self) -> Receipt:
        """What was gathered."""
        if isinstance(self.schema.sequence, Windows):
            keys = tuple(sorted(self.spans))
            first, last, counts = (np.array([self.spans[k][i] for k in keys]) for i in range(3))
            return Receipt(self.rows, len(keys), keys, first, last, counts)
        hashes = self.hashes
        if self.schema.sequence.by_names:
            hashes = _smallest(splitmix64(np.array(list(self.groups.values()), dtype=np.uint64)))
        # The sign bit is turned so that the order of the unsigned numbers is kept.
        signed = np.sort((hashes ^ np.uint64(1 << 63)).view(np.int64))
        return Receipt(self.rows, len(self.groups) or self.cells, hashes=signed)


def _smallest(hashes: np.ndarray) -> np.ndarray:
    """The hashes that are kept, each once, sorted."""
    hashes = np.sort(hashes)  # several times as fast as np.unique, which looks for equal ones in a table
    first = np.ones(len(hashes), dtype=bool)
    first[1:] = hashes[1:] != hashes[:-1]
    return hashes[first][:_KEPT]


def _row_hashes(schema: Schema, block: Block) -> np.ndarray:
    """A hash of each row's content, (rows,) uint64: all columns of the schema, none of the keys."""
    total = np.zeros(block.frame.height, dtype=np.uint64)
    names = sorted(n for n in schema.columns if n not in schema.sequence.by_names and n in block.frame.columns)
    with np.errstate(over="ignore"):
        for name in names:
            cells = block.values[name]
            # A time counts, however it was written.
            read = pl.Series(cells.utc).cast(pl.Datetime("us")) if isinstance(cells, Times) else block.frame[name]
            _take_in(total, _cell_words(read), _text_hash(name))
        if block.order is not None:
            _take_in(total, block.order.astype(np.float64).view(np.uint64), _M3)
        return splitmix64(total)


def _take_in(total: np.ndarray, words: np.ndarray, salt: np.uint64) -> None:
    """Take one more word per row into `total`, in place; the last scrambling is the caller's."""
    total ^= words
    total += salt
    total *= _M1
    total ^= total >> np.uint64(32)


def _cell_words(values: pl.Series) -> np.ndarray:
    """A 64-bit word per cell, (rows,) uint64, the same for the same content; not scrambled yet."""
    dtype = values.dtype
    if isinstance(dtype, pl.List | pl.Array):
        return _list_hashes(values)
    if dtype.is_numeric() or dtype == pl.Boolean:
        floats = values if dtype == pl.Float64 else values.cast(pl.Float64)
        numbers = floats.to_numpy() + 0.0  # null becomes NaN, -0.0 becomes 0.0
        words = numbers.view(np.uint64)
        words[np.isnan(numbers)] = 1  # there are many NaN
        return words
    if dtype.is_temporal():
        if dtype == pl.Date or isinstance(dtype, pl.Datetime):
            values = values.cast(pl.Datetime("us", dtype.time_zone if isinstance(dtype, pl.Datetime) else None))
        return values.to_physical().cast(pl.Int64).fill_null(-(2**63)).to_numpy().view(np.uint64)
    if dtype == pl.Null:
        return np.ones(len(values), dtype=np.uint64)
    texts = values if dtype == pl.Binary else values.cast(pl.String)
    unique = texts.unique()
    codes = [1 if v is None else int(_text_hash(v)) for v in unique]
    known = pl.DataFrame([unique.alias("text"), pl.Series("word", codes, dtype=pl.UInt64)])
    # A join takes half the time of `replace_strict`.
    cells = texts.alias("text").to_frame().join(known, on="text", how="left", nulls_equal=True, maintain_order="left")
    return cells["word"].to_numpy()


def _list_hashes(values: pl.Series) -> np.ndarray:
    lists = values.arr.to_list() if isinstance(values.dtype, pl.Array) else values
    lengths = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
    total = np.zeros(len(values), dtype=np.uint64)
    full = np.flatnonzero(lengths)
    if len(full):
        flat = _cell_words(lists.gather(full).explode())
        starts = np.cumsum(lengths[full]) - lengths[full]
        place = (np.arange(len(flat)) - np.repeat(starts, lengths[full])).astype(np.uint64)
        total[full] = np.add.reduceat(splitmix64(flat + place * _M3), starts)
    return splitmix64(total + lengths.astype(np.uint64))


def _text_hash(text: str | bytes) -> np.uint64:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return np.uint64(int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little"))
