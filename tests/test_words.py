"""Words cut and looked up as bytes: the same as by the regular expression and a dictionary, whatever the text."""

from __future__ import annotations

import random
from collections import Counter

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inputlayer import words
from inputlayer.tokens import WORD, lowered
from inputlayer.words import WordCodes, count_words

POINTS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]

# Letters of 1 to 4 bytes, marks, signs of 1 to 4 bytes, blanks and controls: few enough for words to be met again.
FEW = st.sampled_from(
    "aAbZ_09\u00e4\u0301\u0928\u4e2d\U00010400.-'\u2026\U0001f600 \n\t\x00\x7f\u00ad\u200b\u3000\ue000"
)
LONG = st.sampled_from(
    ["a" * n for n in (7, 8, 9, 15, 16, 17, 23, 24, 25, 40)] + ["\u0436" * n for n in (4, 8, 12, 13)]
)
TEXT = st.text() | st.text(FEW) | st.lists(LONG | st.text(FEW, max_size=3), max_size=6).map("".join)
CELLS = st.lists(st.none() | TEXT, max_size=8)


def expected(cells: list[str | None], lower: bool, most: int | None) -> list[list[str]]:
    """The words of each cell, by the regular expression that a graph uses."""
    text = pl.Series(cells, dtype=pl.String)
    found = (lowered(text) if lower else text).str.extract_all(WORD).to_list()
    return [(cut or [])[:most] for cut in found]


def check(cells: list[str | None], vocabulary: list[str], lower: bool, most: int | None) -> None:
    wanted, places = expected(cells, lower, most), {word: 2 + i for i, word in enumerate(vocabulary)}
    series = pl.Series(cells, dtype=pl.String)
    codes, lengths = WordCodes(vocabulary, 2, 1)(series, lower, most)
    assert codes.dtype == "int32"
    assert lengths.tolist() == list(map(len, wanted))
    assert codes.tolist() == [places.get(word, 1) for cell in wanted for word in cell]
    counts, lengths = count_words(series, lower, most)
    assert lengths.tolist() == list(map(len, wanted))
    assert counts.values == Counter(word for cell in wanted for word in cell)


@settings(max_examples=150)
@given(CELLS, CELLS, st.booleans(), st.none() | st.integers(1, 4))
@example([], [], True, None)
@example([None, "", " \n"], [], True, 1)
@example(["abcdefgh abcdefghi", "abcdefghijklmnop"], ["abcdefgh", "abcdefghijklmnopq"], False, None)
def test_the_same_as_by_the_regular_expression(
    learnt: list[str | None], cells: list[str | None], lower: bool, most: int | None
) -> None:
    vocabulary = sorted({word for cell in expected(learnt, lower, None) for word in cell})
    check([*cells, *learnt[::2]], vocabulary, lower, most)


def test_every_code_point() -> None:
    cells: list[str | None] = ["".join(f"a{p}{p}" for p in POINTS[i : i + 500]) for i in range(0, len(POINTS), 500)]
    check(cells, sorted({word for cell in expected(cells[::9], False, None) for word in cell[::5]}), False, None)


def test_chunks_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_CHUNK", 50)
    draw = random.Random(0)
    cells = ["".join(draw.choices("abc .\u00e4\u2026", k=draw.randint(0, 120))) for _ in range(300)]
    cells[7:9] = [None, ""]  # type: ignore[list-item]
    check(cells, sorted({w for cell in expected(cells[::2], True, None) for w in cell}), True, 11)  # type: ignore[arg-type]


def test_words_of_the_same_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_FACTOR", words.np.uint64(0))  # all words hash alike
    vocabulary = [
        f"{start}{i}" for i in range(40) for start in ("w", "a word of nine", "one of more than sixteen bytes")
    ]
    vocabulary = sorted({word for cell in expected(list(vocabulary), True, None) for word in cell})  # type: ignore[arg-type]
    cells = [" ".join(vocabulary), "w9 w99 nine1x abcdefghijk abcdefghijklmnopqrs"]
    check(cells, vocabulary, True, None)  # type: ignore[arg-type]
