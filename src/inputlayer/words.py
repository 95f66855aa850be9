"""The words of many cells at once: cut, counted and looked up as bytes, by the rule of `tokens`, without a loop.

The cells' UTF-8 stands end to end in one array. A table gives each byte's kind, and where the kind changes a word
begins or ends. A word of up to 8 bytes is one whole number, of up to 24 bytes three: so words are compared and counted
as numbers, exactly, for no word holds a zero byte. The few longer ones are looked up one by one.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np
import polars as pl

from inputlayer.statistics import Counts
from inputlayer.tokens import BLANKS, LETTERS, code_points

_BLANK, _LETTER, _SIGN, _TAIL = range(4)  # kinds of bytes; a tail: what follows the first byte of a sign
_PART, _PARTS = 8, 3  # bytes of a word in one number, and how many numbers at most
_CHUNK = 1 << 20  # bytes cut at a time: enough for threads to pay, and little beside the text
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: Knuth's multiplicative hashing

T = TypeVar("T")


class Words(NamedTuple):
    """The words of consecutive cells: where each starts in `text`, its bytes, and how many words each cell has."""

    text: bytes
    starts: np.ndarray
    sizes: np.ndarray
    lengths: np.ndarray

    def parts(self, chosen: np.ndarray | slice, count: int) -> list[np.ndarray]:
        """The bytes of the `chosen` words in `count` numbers each, uint64: 8 bytes a number, zeros behind the word."""
        # Eight bytes from each byte on: a view whose numbers overlap.
        windows = np.ndarray((len(self.text) - _PART + 1,), "<u8", self.text, 0, (1,))
        starts, sizes = self.starts[chosen], self.sizes[chosen]
        masks = np.array([(1 << 8 * n) - 1 for n in range(_PART + 1)], dtype=np.uint64)
        found = [windows[starts + _PART * i] if i else windows[starts] for i in range(count)]
        found[-1] &= masks.take(sizes - _PART * (count - 1) if count > 1 else sizes, mode="clip")
        return found

    def one(self, i: int) -> bytes:
        """The bytes of word `i`."""
        start = int(self.starts[i])
        return self.text[start : start + int(self.sizes[i])]


def cut(cells: pl.Series, lower: bool, most: int | None = None) -> Words:
    """Cut each of `cells` (rows,) into words, `most` of them at most; a null has none. `lower`: A to Z as a to z.

    >>> words = cut(pl.Series(["Don't panic", None, "ok"]), lower=False)
    >>> [words.one(i).decode() for i in range(len(words.starts))], words.lengths.tolist()
    (['Don', "'", 't', 'panic', 'ok'], [4, 0, 1])
    """
    cells = cells.fill_null("") if cells.null_count() else cells
    # A blank between cells, so that no word goes from one to the next; and so many that a window fits at each byte.
    text = cells.str.join("\n").cast(pl.Binary).item() + b"\n" * _PART
    kinds = _kinds(text)
    letter, sign, tail = kinds == _LETTER, kinds == _SIGN, kinds == _TAIL
    begins = sign.copy()
    begins[0] |= letter[0]
    begins[1:] |= letter[1:] > letter[:-1]
    starts = np.flatnonzero(begins)
    sizes = np.flatnonzero((letter[:-1] > letter[1:]) | ((sign | tail)[:-1] > tail[1:])) + 1 - starts
    after = np.cumsum(cells.str.len_bytes().to_numpy() + 1, dtype=np.int64)  # where the next cell starts
    before = np.searchsorted(starts, after)
    lengths = np.diff(before, prepend=0)
    if most is not None and lengths.max(initial=0) > most:
        kept = np.arange(len(starts)) - np.repeat(before - lengths, lengths) < most
        starts, sizes, lengths = starts[kept], sizes[kept], np.minimum(lengths, most)
    return Words(text.lower() if lower else text, starts, sizes, lengths)


def count_words(cells: pl.Series, lower: bool, most: int | None = None) -> tuple[Counts, np.ndarray]:
    """How often each word occurs, and how many words each cell has, (rows,)."""

    def gathered(chunk: pl.Series) -> tuple[list[list[np.ndarray]], list[bytes], np.ndarray]:
        words = cut(chunk, lower, most)
        classes = -(-words.sizes // _PART)
        parts = [words.parts(np.flatnonzero(classes == k), k) for k in range(1, _PARTS + 1)]
        return parts, [words.one(i) for i in np.flatnonzero(classes > _PARTS).tolist()], words.lengths

    found = _each(cells, gathered)
    counts: Counter[bytes] = Counter(word for _, longer, _ in found for word in longer)
    for k in range(_PARTS):
        columns = {str(i): np.concatenate([parts[k][i] for parts, _, _ in found]) for i in range(k + 1)}
        frame = pl.DataFrame(columns)
        often = frame.group_by(frame.columns).len("n")
        # NumPy takes zeros behind a word for padding.
        words = np.ascontiguousarray(often.drop("n").to_numpy().astype("<u8")).view(f"S{_PART * (k + 1)}")[:, 0]
        counts.update(dict(zip(words.tolist(), often["n"].to_list(), strict=True)))
    return Counts({word.decode(): n for word, n in counts.items()}), np.concatenate([f[-1] for f in found])


class WordCodes:
    """Words -> codes: `first` + their place in the vocabulary, or `unseen`.

    >>> codes, lengths = WordCodes(("ok", "panic"), 2, 1)(pl.Series(["Don't panic", None, "ok"]), lower=True)
    >>> codes.tolist(), lengths.tolist()
    ([1, 1, 1, 3, 2], [4, 0, 1])
    """

    def __init__(self, vocabulary: Sequence[str], first: int, unseen: int) -> None:
        words = [word.encode() for word in vocabulary]
        classes = np.array([-(-len(word) // _PART) for word in words], dtype=np.int64)
        self._tables = []
        for k in range(1, _PARTS + 1):
            places = np.flatnonzero(classes == k)
            parts = np.array([words[i] for i in places], dtype=f"S{_PART * k}").view("<u8").reshape(-1, k)
            self._tables.append(_Table(list(parts.T), (places + first).astype(np.int32), unseen))
        self._longer = {words[i]: first + int(i) for i in np.flatnonzero(classes > _PARTS)}
        self._unseen = unseen

    def __call__(self, cells: pl.Series, lower: bool, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The codes of all words end to end, int32, and how many words each cell has, (rows,)."""

        def found(chunk: pl.Series) -> tuple[np.ndarray, np.ndarray]:
            words = cut(chunk, lower, most)
            return self._codes(words), words.lengths

        codes, lengths = zip(*_each(cells, found), strict=True)
        return np.concatenate(codes), np.concatenate(lengths)

    def _codes(self, words: Words) -> np.ndarray:
        codes = self._tables[0](words.parts(slice(None), 1))  # right for short words; the others are done again
        for k in range(2, _PARTS + 1):
            chosen = np.flatnonzero(words.sizes > _PART * (k - 1))
            codes[chosen] = self._tables[k - 1](words.parts(chosen, k))
        for i in np.flatnonzero(words.sizes > _PART * _PARTS).tolist():
            codes[i] = self._longer.get(words.one(i), self._unseen)
        return codes


class _Table:
    """Words of so many parts -> codes: sorted by hash, and searched from the first of the same hash."""

    def __init__(self, parts: list[np.ndarray], codes: np.ndarray, unseen: int) -> None:
        bits = (4 * len(codes)).bit_length()
        self._shift = np.uint64(64 - max(bits, 1))
        hashes = self._hashes(parts)
        order = np.argsort(hashes, kind="stable")  # a vocabulary's frequent words first
        # One entry more, which no word equals, so that there always is one to look at.
        self._parts = [np.append(part[order], np.uint64(0)) for part in parts]
        self._entries = np.append(codes[order], np.int32(unseen))
        self._first = np.searchsorted(hashes[order], np.arange((1 << max(bits, 1)) + 1))
        self._unseen = np.int32(unseen)

    def __call__(self, parts: list[np.ndarray]) -> np.ndarray:
        """The codes (n,) int32 of words whose bytes are `parts` (n,) each."""
        hashes = self._hashes(parts)
        at = self._first.take(hashes)
        found = self._entries.take(at)
        left = np.flatnonzero(~self._equal(at, parts))
        found[left] = self._unseen
        at, last = at[left], self._first.take(hashes[left] + 1)
        while len(left):
            at += 1
            more = at < last
            left, at, last = left[more], at[more], last[more]
            equal = self._equal(at, [part[left] for part in parts])
            found[left[equal]] = self._entries[at[equal]]
            left, at, last = left[~equal], at[~equal], last[~equal]
        return found

    def _equal(self, at: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
        equal: np.ndarray = self._parts[0].take(at) == parts[0]
        for mine, part in zip(self._parts[1:], parts[1:], strict=True):
            equal &= mine.take(at) == part
        return equal

    def _hashes(self, parts: list[np.ndarray]) -> np.ndarray:
        total = parts[0] * _FACTOR
        for part in parts[1:]:
            total = (total ^ part) * _FACTOR
        return (total >> self._shift).view(np.int64)


def _each(cells: pl.Series, work: Callable[[pl.Series], T]) -> list[T]:
    """`work` done on each chunk of the cells, on as many threads as polars has."""
    chunks = list(_chunks(cells))
    if len(chunks) == 1:
        return [work(chunks[0])]
    with ThreadPoolExecutor(min(len(chunks), pl.thread_pool_size())) as pool:
        return list(pool.map(work, chunks))


def _chunks(cells: pl.Series) -> Iterator[pl.Series]:
    """Consecutive cells of about a megabyte; a longer cell by itself."""
    chunk = cells.str.len_bytes().fill_null(0).cum_sum().to_numpy() // _CHUNK
    cuts = [0, *(np.flatnonzero(np.diff(chunk)) + 1).tolist(), len(cells)]
    return (cells[start:stop] for start, stop in itertools.pairwise(cuts))


@cache
def _point_kinds() -> np.ndarray:
    """The kind of each code point."""
    kinds = np.full(0x110000, _SIGN, dtype=np.uint8)
    for listed, kind in ((LETTERS, _LETTER), (BLANKS, _BLANK)):
        for first, last in code_points(listed):
            kinds[first : last + 1] = kind
    return kinds


def _kinds(text: bytes) -> np.ndarray:
    """The kind of each byte, uint8."""
    ascii_kinds = _point_kinds()[:128].tobytes()
    kinds = np.frombuffer(bytearray(text.translate(ascii_kinds + bytes([_TAIL]) * 128)), dtype=np.uint8)
    if text.isascii():
        return kinds
    data = np.frombuffer(text, dtype=np.uint8)
    at = np.flatnonzero(data >= 0xC0)  # first bytes of 2, 3 or 4
    more = 1 + (data[at] >= 0xE0) + (data[at] >= 0xF0)
    points = (data[at] & (0x3F >> more)).astype(np.uint32)
    for i in range(1, 4):
        chosen = more >= i
        points[chosen] = points[chosen] << 6 | data[at[chosen] + i] & 0x3F
    found = _point_kinds()[points]
    kinds[at] = found
    for i in range(1, 4):
        chosen = (more >= i) & (found != _SIGN)
        kinds[at[chosen] + i] = found[chosen]
    return kinds
