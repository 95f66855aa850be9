"""Words in pieces: byte pair encoding, trained on counted words, by Hugging Face tokenizers (the extra ``text``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from inputlayer.errors import MissingExtraError
from inputlayer.statistics import Counts
from inputlayer.words import WordCodes, count_words

_UNKNOWN = " "  # stands for an unseen character among the pieces, of which none holds a blank
_TEXT = 100_000  # characters in one string given to the trainer, or one word of more
_WORD = 1_000  # characters: the trainer takes as many steps as the square of a word's, and no word has more


class Pieces:
    """Words in pieces, by byte pair encoding: characters, and what was merged of them, in the order of `merges`.

    Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units", 2016, as Hugging Face
    tokenizers does it. Raises `MissingExtraError` if that package is not installed.
    """

    def __init__(self, vocabulary: Sequence[str], merges: Sequence[str], first: int, unseen: int) -> None:
        tokenizers = _import_tokenizers()
        codes = {_UNKNOWN: unseen} | {piece: first + i for i, piece in enumerate(vocabulary)}
        pairs = [tuple(pair.split(" ")) for pair in merges]
        self._model = tokenizers.Tokenizer(tokenizers.models.BPE(codes, pairs, unk_token=_UNKNOWN))

    @staticmethod
    def learn(words: Counts, max_size: int, min_count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Pieces and merges (two pieces with a blank between them) of counted words; the same words, the same pieces.

        Characters seen `min_count` times, and then pairs seen as often are merged, until there are `max_size` pieces.
        """
        tokenizers = _import_tokenizers()
        known = _characters(words).ordered(min_count, max_size)
        model = tokenizers.Tokenizer(tokenizers.models.BPE())
        model.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
        options = {"vocab_size": max_size, "min_frequency": min_count, "show_progress": False}
        trainer = tokenizers.trainers.BpeTrainer(special_tokens=[], **options)
        model.train_from_iterator(_repeated(words, set(map(str, known))), trainer)
        learnt = json.loads(model.to_str())["model"]
        pieces = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
        return tuple(pieces), tuple(" ".join(pair) for pair in learnt["merges"])

    def count(self, words: Counts) -> np.ndarray:
        """How often each code stands in the counted words, int64."""
        codes, lengths = self._cut(list(map(str, words.values)))
        often = np.repeat(np.fromiter(words.values.values(), np.int64), lengths)
        counts = np.zeros(self._model.get_vocab_size() + 1, np.int64)
        np.add.at(counts, codes, often)
        return counts

    def __call__(self, cells: pl.Series, lower: bool, most: int | None) -> tuple[np.ndarray, np.ndarray]:
        """The codes of all pieces end to end, int32, and how many each of `cells` (rows,) has, `most` at most."""
        different = list(map(str, count_words(cells, lower)[0].values))
        codes, sizes = self._cut(different)
        word, lengths = WordCodes(different, 0, -1)(cells, lower)
        flat = codes[_spans((np.cumsum(sizes) - sizes)[word], sizes[word])]
        before = np.concatenate([[0], np.cumsum(sizes[word])])
        ends = before[np.cumsum(lengths)]
        lengths = np.diff(ends, prepend=0)
        if most is None:
            return flat, lengths
        kept = np.minimum(lengths, most)
        return flat[_spans(ends - lengths, kept)], kept

    def _cut(self, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """The codes of all pieces of `words` end to end, int32, and how many each word has."""
        found = [e.ids for e in self._model.encode_batch_fast(words, add_special_tokens=False)]
        sizes = np.array([len(ids) for ids in found], dtype=np.int64)
        return np.array([i for ids in found for i in ids], dtype=np.int32), sizes


def _characters(words: Counts) -> Counts:
    totals: dict[str | int, int] = {}
    for word, n in words.values.items():
        for character in str(word):
            totals[character] = totals.get(character, 0) + n
    return Counts(totals)


def _repeated(words: Counts, known: set[str]) -> Iterator[str]:
    """Each word as often as it was counted, parted by blanks; rare characters and great length part it itself."""
    for word, n in sorted(words.values.items(), key=lambda item: str(item[0])):
        text = "".join(c if c in known else " " for c in str(word))
        text = "".join(f"{text[i : i + _WORD]} " for i in range(0, len(text), _WORD))
        repeats = max(1, _TEXT // max(1, len(text)))
        for done in range(0, n, repeats):
            yield text * min(repeats, n - done)


def _spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The numbers ``start .. start + length`` of each, end to end."""
    ends = np.cumsum(lengths)
    spans: np.ndarray = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
    return spans


def _import_tokenizers() -> Any:
    try:
        import tokenizers
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError:
        raise MissingExtraError("tokenizers", "text", "Text(tokens='bpe')") from None
    return tokenizers
