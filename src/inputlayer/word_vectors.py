"""Vectors of words that someone has trained before: the text format of word2vec, GloVe and fastText."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inputlayer.errors import Problem, TableError


def read_vectors(path: str, words: Sequence[str]) -> tuple[tuple[int, ...], np.ndarray]:
    """Find the vectors of `words` in a UTF-8 file of lines ``word v1 ... vn``; a first line of two numbers is a header.

    Returns the places in `words` of those found, ascending, and their vectors, (found, n) float32. Where a word stands
    twice, the first line counts. The file is read line by line, and only wanted lines are taken apart.

    Raises
    ------
    TableError
        If the file cannot be read, a wanted line is not a word and numbers, the widths differ, or no word is found.
    """
    wanted = {word: i for i, word in enumerate(words)}
    found: dict[int, np.ndarray] = {}
    width = 0
    try:
        with Path(path).open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                word, _, rest = line.rstrip().partition(" ")
                place = wanted.get(word)
                if place is None or place in found or (number == 1 and len(rest.split()) == 1):
                    continue
                vector = _numbers(rest)
                width = width or len(vector)
                if not len(vector) or len(vector) != width:
                    raise _error(path, f"line {number} does not hold {width or 'any'} finite numbers after {word!r}")
                found[place] = vector
    except (OSError, UnicodeDecodeError) as error:
        raise _error(path, f"cannot be read: {error}") from error
    if not found:
        raise _error(path, "has a vector for no word of the vocabulary")
    known = tuple(sorted(found))
    return known, np.stack([found[i] for i in known])


def _numbers(text: str) -> np.ndarray:
    """Numbers parted by blanks, none if one of them is not finite or no number."""
    try:
        vector = np.array(text.split(), dtype=np.float32)
    except ValueError:
        return np.zeros(0, np.float32)
    return vector if np.isfinite(vector).all() else vector[:0]


def _error(path: str, what: str) -> TableError:
    return TableError([Problem(f"vectors={path!r} {what}")])
