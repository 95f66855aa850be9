"""Text: cells cut into words, characters or pieces of words, each looked up in a vocabulary, then in an embedding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, cast, get_args

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from inputlayer.codes import FIRST, MISSING, UNSEEN, CodeTable
from inputlayer.columns.base import (
    Column,
    ColumnModule,
    Example,
    Part,
    Ragged,
    State,
    TwinPart,
    Where,
    Wire,
    Wires,
    choose,
    wire_name,
)
from inputlayer.errors import OptionError
from inputlayer.pieces import Pieces
from inputlayer.statistics import Counts
from inputlayer.tokens import CharacterCodes, Rule, count_characters, decoded, onnx_lowered, onnx_split
from inputlayer.word_vectors import read_vectors
from inputlayer.words import WordCodes, count_words

if TYPE_CHECKING:
    from inputlayer.graph import Graph

_SHOWN = 8
_WIDEST = 100


@dataclass(frozen=True)
class TextState(State):
    """What a text column learnt.

    `words`: the vocabulary, most frequent first (pieces: characters, then merges); `counts`: how often each stands in
    the training cells, `merges`: of pieces. `cells`, `missing`: training cells, and those without a token. `tokens`:
    in all cells; `unseen`: those of them that are too rare for a code. `longest`: tokens (words, if they are cut in
    pieces) of the longest cell. `width`: numbers of the embedding. `vectors` (known, width) float32: given vectors of
    the words numbered `known`.
    """

    words: tuple[str, ...]
    counts: tuple[int, ...]
    merges: tuple[str, ...]
    cells: int
    missing: int
    tokens: int
    unseen: int
    longest: int
    width: int
    known: tuple[int, ...]
    vectors: np.ndarray


@dataclass(frozen=True)
class TextStatistic:
    """How often each token occurs; cells, those without a token, and the tokens of the longest."""

    counts: Counts
    cells: int
    missing: int
    longest: int

    def merge(self, other: TextStatistic) -> TextStatistic:
        """Return the statistic of both blocks."""
        return TextStatistic(
            self.counts.merge(other.counts),
            self.cells + other.cells,
            self.missing + other.missing,
            max(self.longest, other.longest),
        )


@dataclass(frozen=True, kw_only=True)
class Text(Column):
    """Text of any length: a review, a message, a log line.

    As ``Cells(steps="review")`` each token is a step; elsewhere a cell becomes one vector, the mean of its tokens'
    embeddings, with an input "review missing" if any was missing in training. Codes are int32: 0 missing, 1 unseen or
    rare, from 2 the vocabulary, most frequent first and ties by value. A cell without a token (null, empty, only
    blanks) is missing: one step of code 0, whose embedding is zero. An unseen token stands for the average one: it is
    the mean of the other embeddings, weighted by their frequency, plus an offset that is learnt from rare tokens.

    Parameters
    ----------
    tokens
        ``"word"``: runs of letters, marks and digits, and every other sign by itself; ``"character"``: every code
        point, blanks too; ``"bpe"``: words in pieces, by merges learnt from the training rows (needs the extra
        ``text``; has no ONNX twin).
    lower
        Whether A to Z count as a to z. Other letters are left as they are.
    max_size
        At most so many tokens get a code of their own.
    min_count
        Tokens seen less often in training are rare, and share the code of the unseen. For ``"bpe"``: characters, and
        pairs to be merged.
    max_length
        Tokens of a cell that are read, from its beginning. None: all.
    width
        Numbers of the embedding. None: ``min(100, round(1.6 * n ** 0.56))`` for n tokens.
    dropout
        Share of the tokens that are read as unseen in training, drawn anew each time: against learning rows by heart,
        and so that something is learnt of the unseen.
    vectors
        Path of a UTF-8 file of lines ``word v1 ... vn``, as word2vec, GloVe and fastText write them: where the
        embedding starts. Read when the column is fitted, and never again: the vectors are kept with what was learnt.

    Raises
    ------
    OptionError
        If an option cannot be, or would have no effect.

    Examples
    --------
    >>> from inputlayer.errors import Problems
    >>> review, where = Text(min_count=1), Where("review", 0, Problems())
    >>> cells = review.accept(pl.Series(["Good, good film", "bad film"]), where)
    >>> state = review.finish(review.learn(cells, 0), where)
    >>> state.words
    ('film', 'good', ',', 'bad')
    >>> wire = review.encode(review.accept(pl.Series(["A good film!", ""]), where), state)[""]
    >>> wire.flat.tolist(), wire.lengths.tolist()
    ([1, 3, 2, 1, 0], [4, 1])
    """

    tokens: Rule = "word"
    lower: bool = True
    max_size: int = 20_000
    min_count: int = 2
    max_length: int | None = None
    width: int | None = None
    dropout: float = 0.0
    vectors: str | None = None

    kind: ClassVar[str] = "text"
    State: ClassVar[type[State]] = TextState
    # Rare words, blanks and case are gone, so a text cannot be given back.
    invertible: ClassVar[bool] = False
    steps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("tokens", self.tokens, get_args(Rule))
        choose("lower", self.lower, (True, False))
        for option in ("max_size", "min_count", "max_length", "width"):
            value = getattr(self, option)
            if value is None and option in ("max_length", "width"):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"{option}={value!r} is not a whole number of at least 1.")
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, (int, float)) or not 0 <= self.dropout < 1:
            raise OptionError(f"dropout={self.dropout!r} is not a share of at least 0 and below 1.")
        if self.role == "target":
            raise OptionError("role='target': a text cannot be a target. Predict a Category, such as its label.")
        if self.vectors is not None:
            object.__setattr__(self, "vectors", str(self.vectors))
            if self.width is not None:
                raise OptionError(f"width={self.width} has no effect: the file vectors={self.vectors!r} has a width.")
            if self.tokens == "bpe":
                raise OptionError("vectors has no effect with tokens='bpe': vectors are of words, not of their pieces.")

    # -- fitted half --------------------------------------------------------------------------------------------------

    def accept(self, values: pl.Series, where: Where) -> pl.Series:
        """Cells -> a series of String; missing ones are null. Bytes are read as UTF-8; other types are noted."""
        dtype, given = values.dtype, values.is_not_null().to_numpy()
        if dtype == pl.Binary:
            cells = decoded(values)
            bad = given & cells.is_null().to_numpy()
            where.add("is not text in UTF-8", bad, values, "Read the file in its own encoding first.")
            return cells
        if dtype in (pl.String, pl.Null) or isinstance(dtype, (pl.Categorical, pl.Enum)):
            return values.cast(pl.String)
        remedy = "Use Number()." if dtype.is_numeric() else "Turn the column into text."
        where.add(f"holds {dtype}, not text", given, values, remedy)
        return pl.Series(values.name, [None] * len(values), dtype=pl.String)

    def learn(self, values: pl.Series, first_row: int) -> TextStatistic:
        """Count the tokens of one block."""
        count = count_characters if self.tokens == "character" else count_words
        counts, lengths = count(values, self.lower, None if self.tokens == "bpe" else self.max_length)
        return TextStatistic(counts, len(values), int((lengths == 0).sum()), int(lengths.max(initial=0)))

    def finish(self, statistic: Any, where: Where) -> TextState:
        """Order the vocabulary, learn the merges, read the vectors; note a problem if there is no vocabulary."""
        found: Counts = statistic.counts
        merges: tuple[str, ...] = ()
        kept, total = found.ordered(self.min_count, self.max_size), found.count
        if self.tokens == "bpe":
            pieces, merges = Pieces.learn(found, self.max_size, self.min_count)
            often = Pieces(pieces, merges, FIRST, UNSEEN).count(found)
            kept, total = dict(zip(pieces, often[FIRST:].tolist(), strict=True)), int(often.sum())
        if not kept:
            what, remedy = "no cell holds any text", "Remove the column from the schema, or give rows that have text."
            if found.values:
                what, remedy = f"no token occurs min_count={self.min_count} times", "Lower min_count."
            where.problems.add(what, column=where.column, remedy=remedy)
        words = tuple(map(str, kept))
        width = self.width or max(1, min(_WIDEST, round(1.6 * len(words) ** 0.56)))
        known, vectors = read_vectors(self.vectors, words) if self.vectors else ((), np.zeros((0, width), np.float32))
        return TextState(
            words=words,
            counts=tuple(kept.values()),
            merges=merges,
            cells=statistic.cells,
            missing=statistic.missing,
            tokens=total,
            unseen=total - sum(kept.values()),
            longest=statistic.longest,
            width=vectors.shape[1],
            known=known,
            vectors=vectors,
        )

    def wires(self, state: TextState) -> dict[str, Wire]:
        """One code per token."""
        return {"": Wire("int32", ragged=True)}

    def encode(self, values: pl.Series, state: TextState) -> Wires:
        """Text -> codes of its tokens, int32, at least one per cell: a cell without tokens has a 0."""
        codes, lengths = _coder(self.tokens, state.words, state.merges)(values, self.lower, self.max_length)
        empty = lengths == 0
        if empty.any():
            codes = np.insert(codes, (np.cumsum(lengths) - lengths)[empty], MISSING)
        return {"": Ragged(codes, np.concatenate([[0], np.cumsum(np.maximum(lengths, 1))]))}

    def missing(self, wires: Wires) -> np.ndarray:
        """Cells without a token, (rows,) bool."""
        wire = wires[""]
        assert isinstance(wire, Ragged)
        return np.asarray(wire.flat[wire.offsets[:-1]] == MISSING)

    def describe(self, state: TextState) -> dict[str, Any]:
        """Size, most frequent tokens with their counts, rare ones, lengths, missing cells, width."""
        often = np.argsort(-np.array(state.counts, np.int64), kind="stable")[:_SHOWN].tolist()
        given = {"with a given vector": len(state.known)} if self.vectors else {}
        return {
            "tokens": self.tokens,
            "size": len(state.words),
            "common": [[state.words[i], state.counts[i]] for i in often],
            "tokens read": state.tokens,
            "rare tokens": state.unseen,
            "cells": state.cells,
            "missing": state.missing,
            "longest": state.longest,
            "width": state.width,
        } | given

    # -- trained half -------------------------------------------------------------------------------------------------

    @classmethod
    def module(cls, columns: Mapping[str, tuple[Any, Any]]) -> TextModule:
        """Embeddings of the tokens, each a step."""
        return TextModule(columns)

    @classmethod
    def pool(cls, columns: Mapping[str, tuple[Any, Any]]) -> TextPool:
        """The mean embedding of each cell."""
        return TextPool(columns)

    # -- twin ---------------------------------------------------------------------------------------------------------

    def onnx(self, g: Graph, x: str, state: TextState) -> dict[str, str]:
        """Texts (...) -> codes (..., L) int32, right-padded with 0, and ``lengths`` (...) int64, at least 1."""
        if self.tokens == "bpe":
            raise OptionError("tokens='bpe' cannot be written as ONNX: a graph cannot merge pieces. Use tokens='word'.")
        cells = g("Reshape", x, g.constant([-1]))
        tokens = onnx_split(g, onnx_lowered(g, cells) if self.lower else cells, self.tokens)
        if self.max_length is not None:
            cut = (g.constant([0]), g.constant([self.max_length]), g.constant([1]))
            tokens = g("Slice", tokens, *cut)
        # A column of padding, because there may be no token at all.
        one = g("Expand", g.constant(np.array([[""]], object)), g("Concat", g("Shape", cells), g.constant([1]), axis=0))
        tokens = g("Concat", tokens, one, axis=1)
        found = g(
            "LabelEncoder",
            tokens,
            domain="ai.onnx.ml",
            keys_strings=["", *state.words],
            values_int64s=[MISSING, *range(FIRST, FIRST + len(state.words))],
            default_int64=UNSEEN,
        )
        real = g.cast(g("Greater", found, g.constant(MISSING)), np.int64)
        lengths = g("Max", g("ReduceSum", real, g.constant([1]), keepdims=0), g.constant([1]))
        longest = g("ReduceMax", lengths, g.constant([0]), keepdims=1)
        codes = g("Slice", g.cast(found, np.int32), g.constant([0]), longest, g.constant([1]))
        shape = g("Shape", x)
        codes = g("Reshape", codes, g("Concat", shape, longest, axis=0))
        return {"": codes, "lengths": g("Reshape", lengths, shape)}

    def onnx_input(self, state: TextState) -> tuple[Any, tuple[int | str, ...]]:
        """A text per row."""
        return object, ()

    def onnx_values(self, values: pl.Series, state: TextState) -> np.ndarray:
        """Texts as objects, missing ones empty."""
        return np.asarray(values.fill_null("").to_numpy(), dtype=object)

    # -- contract -----------------------------------------------------------------------------------------------------

    @classmethod
    def examples(cls) -> list[Example]:
        """Words and characters; two worked by hand."""
        told = ["B a, b!", "a b\tA", None, "c b", "", "b"]  # b 4 times, a 3; , ! c once
        points = ["aab", "b a", "", None]  # of the first two of each: a 2 times, blank 1, b 1
        odd = ["\u00c4 \u00e4\u0301b", "\U0001f600\U0001f600 a_1", "\x00a\u200bb", "\u092c\u093f"]
        wires = [[2, 3, 1], [1, 1, 3, 1], [0], [0], [0]]
        return [
            Example(cls(), told, ["b a c", "C-A?", None, "", " \n"], wires={"": wires}, dtype=pl.String),
            Example(
                cls(tokens="character", min_count=1, max_length=2),
                points,
                ["abc", "B", None],
                wires={"": [[2, 4], [4], [0]]},
                dtype=pl.String,
            ),
            Example(cls(lower=False, min_count=1, max_size=3, width=4), [*told, *odd], odd, dtype=pl.String),
            Example(cls(tokens="character"), [*told, *odd, *odd], odd, dtype=pl.String),
            Example(cls(max_length=2, min_count=1), told, ["a b c d", "a"], dtype=pl.String),
        ]


@lru_cache(maxsize=8)  # a table is encoded block by block, and a request row by row
def _coder(rule: Rule, words: tuple[str, ...], merges: tuple[str, ...]) -> Pieces | CharacterCodes | WordCodes:
    """What turns cells into codes."""
    if rule == "bpe":
        return Pieces(words, merges, FIRST, UNSEEN)
    return (CharacterCodes if rule == "character" else WordCodes)(words, FIRST, UNSEEN)


class _Embeddings(ColumnModule):
    """One embedding per column; extras are named ``review[0]``, ``review[1]``, ..."""

    def __init__(self, columns: Mapping[str, tuple[Text, TextState]], pooled: bool = False) -> None:
        super().__init__()
        states = {name: state for name, (_, state) in columns.items()}
        self.columns, self.dropouts = tuple(states), [column.dropout for column, _ in columns.values()]
        self.extras = tuple(f"{name}[{i}]" for name, state in states.items() for i in range(state.width))
        # A list, not a ModuleDict: column names may hold dots, which module names cannot.
        self.tables = nn.ModuleList(_table(state, pooled) for state in states.values())

    def _codes(self, i: int, wires: Mapping[str, Tensor]) -> Tensor:
        """The codes of one column, in training some of them dropped."""
        codes = wires[wire_name(self.columns[i], "")]
        if not (self.training and self.dropouts[i]):
            return codes
        dropped = (torch.rand(codes.shape, device=codes.device) < self.dropouts[i]) & (codes != MISSING)
        return codes.masked_fill(dropped, UNSEEN)

    def _table(self, i: int) -> CodeTable:
        return cast(CodeTable, self.tables[i])


class TextModule(_Embeddings):
    """Tokens as steps.

    Shape: codes (B, T) int32 per column -> extras (B, T, sum of widths).
    """

    def forward(self, wires: Mapping[str, Tensor]) -> Part:
        """Codes -> Part."""
        parts = [self._table(i)(self._codes(i, wires)) for i in range(len(self.columns))]
        return Part(extras=torch.cat(parts, dim=-1))

    def onnx(self, g: Graph, wires: Mapping[str, str]) -> TwinPart:
        """The same, in a graph."""
        tables = [g.constant(self._table(i).constant()) for i in range(len(self.columns))]
        each = zip(tables, self.columns, strict=True)
        parts = [g("Gather", table, wires[wire_name(name, "")], axis=0) for table, name in each]
        return TwinPart(extras=g("Concat", *parts, axis=-1))


class TextPool(_Embeddings):
    """Cells as one vector each: the mean of their tokens' embeddings, zeros where missing, and whether it is missing.

    Shape: codes (B, T, L) int32 per column, 0 where padded -> extras (B, T, sum of widths + flags).
    """

    def __init__(self, columns: Mapping[str, tuple[Text, TextState]]) -> None:
        super().__init__(columns, pooled=True)
        self.flagged = [i for i, (_, state) in enumerate(columns.values()) if state.missing]
        self.extras += tuple(f"{self.columns[i]} missing" for i in self.flagged)

    def forward(self, wires: Mapping[str, Tensor]) -> Part:
        """Codes -> Part."""
        parts, counts = [], []
        for i in range(len(self.columns)):
            codes, table = self._codes(i, wires), self._table(i)
            counts.append((codes != MISSING).sum(dim=-1, keepdim=True))
            cells = codes.flatten(0, 1)
            total = functional.embedding_bag(cells, table.weight, mode="sum", padding_idx=MISSING)
            total = total.view(*codes.shape[:2], -1)
            unseen = (codes == UNSEEN).sum(dim=-1, keepdim=True)
            parts.append((total + unseen * table.mean()) / counts[-1].clamp(min=1))
        flags = [(counts[i] == 0).to(parts[0].dtype) for i in self.flagged]
        return Part(extras=torch.cat([*parts, *flags], dim=-1))

    def onnx(self, g: Graph, wires: Mapping[str, str]) -> TwinPart:
        """The same, in a graph."""
        parts, counts = [], []
        for i, name in enumerate(self.columns):
            codes = wires[wire_name(name, "")]
            real = g.cast(g("Greater", codes, g.constant(MISSING, np.int32)), np.float32)
            counts.append(g("ReduceSum", real, g.constant([2]), keepdims=1))
            total = g(
                "ReduceSum",
                g("Gather", g.constant(self._table(i).constant()), codes, axis=0),
                g.constant([2]),
                keepdims=0,
            )
            parts.append(g("Div", total, g("Max", counts[-1], g.constant(1.0))))
        flags = [g.cast(g("Equal", counts[i], g.constant(0.0)), np.float32) for i in self.flagged]
        return TwinPart(extras=g("Concat", *parts, *flags, axis=-1))


def _table(state: TextState, pooled: bool) -> CodeTable:
    """An embedding whose rows, or whose means over a cell of usual length, have a length of about 1.

    So that a text weighs as much as one scaled number. Given vectors stay as they are, and set the others' spread.
    """
    usual = state.tokens / max(1, state.cells - state.missing) if pooled else 1.0
    spread = float(state.vectors.std()) if len(state.known) else (usual / state.width) ** 0.5
    table = CodeTable(state.counts, state.width, spread)
    with torch.no_grad():
        if state.known:
            table.weight[torch.tensor(state.known) + FIRST] = torch.from_numpy(state.vectors)
    return table
