"""Text cut into words or characters: one rule for learning, for encoding and for an ONNX graph.

A word is a run of letters, marks, digits and underscores; any other sign that is no blank is a word by itself:

    "Don't panic :-)"  ->  "Don", "'", "t", "panic", ":", "-", ")"

Which code points are letters is written down here, not asked of a library, for each has a Unicode version of its own:
so a text has the same words in `words`, which reads these lists, in a graph (RE2), and after an update of either. Both
take time in proportion to the text. Lower-casing concerns A to Z alone, which is what a graph can do on every system.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from inputlayer.statistics import Counts

if TYPE_CHECKING:
    from inputlayer.graph import Graph

Rule = Literal["word", "character", "bpe"]

# Unicode 14, categories L, M, N and the underscore. Code points that it does not assign go with their neighbours.
LETTERS = """
30-39 41-5a 5f 61-7a aa b2-b3 b5 b9-ba bc-be c0-d6 d8-f6 f8-2c1 2c6-2d1 2e0-2e4 2ec 2ee 300-374 376-37d 37f-383 386
388-3f5 3f7-481 483-559 560-588 591-5bd 5bf 5c1-5c2 5c4-5c5 5c7-5f2 610-61a 620-669 66e-6d3 6d5-6dc 6df-6e8 6ea-6fc
6ff 710-7f5 7fa-7fd 800-82f 840-85d 860-887 889-88f 898-8e1 8e3-963 966-96f 971-9f1 9f4-9f9 9fc 9fe-a75 a81-aef
af9-b6f b71-bf2 c00-c76 c78-c7e c80-c83 c85-d4e d54-d78 d7a-df3 e01-e3e e40-e4e e50-e59 e81-f00 f18-f19 f20-f33 f35
f37 f39 f3e-f84 f86-fbd fc6 1000-1049 1050-109d 10a0-10fa 10fc-135f 1369-138f 13a0-13ff 1401-166c 166f-167f
1681-169a 16a0-16ea 16ee-1734 1740-17d3 17d7 17dc-17ff 180b-180d 180f-193f 1946-19dd 1a00-1a1d 1a20-1a9f 1aa7
1ab0-1b59 1b6b-1b73 1b80-1bfb 1c00-1c3a 1c40-1c7d 1c80-1cbf 1cd0-1cd2 1cd4-1fbc 1fbe 1fc2-1fcc 1fd0-1fdc 1fe0-1fec
1ff2-1ffc 2070-2079 207f-2089 2090-209f 20d0-20ff 2102 2107 210a-2113 2115 2119-211d 2124 2126 2128 212a-212d
212f-2139 213c-213f 2145-2149 214e 2150-2189 2460-249b 24ea-24ff 2776-2793 2c00-2ce4 2ceb-2cf8 2cfd 2d00-2d6f
2d7f-2dff 2e2f 3005-3007 3021-302f 3031-3035 3038-303c 3041-309a 309d-309f 30a1-30fa 30fc-318f 3192-3195 31a0-31bf
31f0-31ff 3220-3229 3248-324f 3251-325f 3280-3289 32b1-32bf 3400-4dbf 4e00-a48f a4d0-a4fd a500-a60c a610-a672
a674-a67d a67f-a6f1 a717-a71f a722-a788 a78b-a827 a82c-a835 a840-a873 a880-a8cd a8d0-a8f7 a8fb a8fd-a92d a930-a95e
a960-a9c0 a9cf-a9dd a9e0-aa5b aa60-aa76 aa7a-aadd aae0-aaef aaf2-ab5a ab5c-ab69 ab70-abea abec-fb28 fb2a-fbb1
fbd3-fd3d fd50-fdce fdf0-fdfb fe20-fe2f fe70-fefe ff10-ff19 ff21-ff3a ff41-ff5a ff66-ffdf 10000-100ff 10107-10136
10140-10178 1018a-1018b 101fd-1039e 103a0-103cf 103d1-1056e 10570-10856 10858-10876 10879-1091e 10920-1093e
10980-10a4f 10a60-10a7e 10a80-10ac7 10ac9-10aef 10b00-10b38 10b40-10b98 10ba9-10eac 10eb0-10f54 10f70-10f85
10fb0-11046 11052-110ba 110c2-110cc 110d0-1113f 11144-11173 11176-111c4 111c9-111cc 111ce-111da 111dc 111e1-11237
1123e-112a8 112b0-1144a 11450-11459 1145e-114c5 114c7-115c0 115d8-11640 11644-1165f 11680-116b8 116c0-1173b
11740-1183a 118a0-11943 11950-119e1 119e3-11a3e 11a47-11a99 11a9d 11ab0-11c40 11c50-11c6f 11c72-11ef6 11fb0-11fd4
12000-1246f 12480-12ff0 13000-1342f 14400-16a6d 16a70-16af4 16b00-16b36 16b40-16b43 16b50-16e96 16f00-16fe1
16fe3-1bc9b 1bc9d-1bc9e 1cf00-1cf4f 1d165-1d169 1d16d-1d172 1d17b-1d182 1d185-1d18b 1d1aa-1d1ad 1d242-1d244
1d2e0-1d2ff 1d360-1d6c0 1d6c2-1d6da 1d6dc-1d6fa 1d6fc-1d714 1d716-1d734 1d736-1d74e 1d750-1d76e 1d770-1d788
1d78a-1d7a8 1d7aa-1d7c2 1d7c4-1d7ff 1da00-1da36 1da3b-1da6c 1da75 1da84 1da9b-1e14e 1e290-1e2fe 1e7e0-1e95d
1ec71-1ecab 1ecad-1ecaf 1ecb1-1ed2d 1ed2f-1eeef 1f100-1f10c 1fbf0-e0000
"""
# Categories Z, Cc, Cf, and the selectors of a variant, which nobody sees.
BLANKS = """
0-20 7f-a0 ad 600-605 61c 6dd 70f 890-897 8e2 1680 180e 2000-200f 2028-202f 205f-206f 3000 fe00-fe0f feff-ff00
fff9-fffb 110bd 110cd-110cf 13430-143ff 1bca0-1ceff 1d173-1d17a e0001-10ffff
"""


def code_points(listed: str) -> list[tuple[int, int]]:
    """Ranges in hexadecimal -> the first and last code point of each.

    >>> code_points("30-39 5f")
    [(48, 57), (95, 95)]
    """
    ends = [r.split("-") for r in listed.split()]
    return [(int(end[0], 16), int(end[-1], 16)) for end in ends]


def _brackets(listed: str) -> str:
    """The same inside the brackets of a regular expression."""
    return "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in code_points(listed))


WORD = f"[{_brackets(LETTERS)}]+|[^{_brackets(LETTERS + BLANKS)}]"
"""The regular expression of a word, for RE2."""


def lowered(cells: pl.Series) -> pl.Series:
    """A to Z in lower case; no other letter.

    >>> lowered(pl.Series(["Ab\u00c4", None])).to_list()
    ['ab\u00c4', None]
    """
    upper = [chr(c) for c in range(ord("A"), ord("Z") + 1)]
    return cells.str.replace_many(upper, [c.lower() for c in upper])


def characters(cells: pl.Series, lower: bool, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The code points of each of `cells` (rows,), end to end, uint32, and how many each has, (rows,); a null has none.

    At most `most` of a cell. `lower`: A to Z as a to z.

    >>> points, lengths = characters(pl.Series(["Ab", None]), lower=True)
    >>> points.tolist(), lengths.tolist()
    ([97, 98], [2, 0])
    """
    cells = cells if most is None else cells.str.slice(0, most)
    cells = lowered(cells) if lower else cells
    text = "".join(cells.str.join("").to_list())
    lengths = cells.str.len_chars().fill_null(0).to_numpy().astype(np.int64)
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32), np.asarray(lengths)


def count_characters(cells: pl.Series, lower: bool, most: int | None = None) -> tuple[Counts, np.ndarray]:
    """How often each character occurs, and how many each cell has, (rows,)."""
    points, lengths = characters(cells, lower, most)
    counts = Counts.of(pl.Series(points))
    return Counts({chr(int(point)): n for point, n in counts.values.items()}), lengths


class CharacterCodes:
    """Characters -> codes: `first` + their place in the vocabulary, or `unseen`.

    >>> codes, lengths = CharacterCodes("ba", 2, 1)(pl.Series(["abc", None]), lower=True)
    >>> codes.tolist(), lengths.tolist()
    ([3, 2, 1], [3, 0])
    """

    def __init__(self, vocabulary: Sequence[str], first: int, unseen: int) -> None:
        self._codes = np.full(0x110000, unseen, dtype=np.int32)
        self._codes[[ord(v) for v in vocabulary]] = np.arange(first, first + len(vocabulary), dtype=np.int32)

    def __call__(self, cells: pl.Series, lower: bool, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The codes of all characters end to end, int32, and how many each cell has, (rows,)."""
        points, lengths = characters(cells, lower, most)
        return np.asarray(self._codes[points]), lengths


def onnx_split(g: Graph, cells: str, by: Rule) -> str:
    """Cut in a graph: cells (N,) -> tokens (N, W), padded with ``""``; W may be 0."""
    how: dict[str, Any] = {"separators": [""]} if by == "character" else {"tokenexp": WORD}
    tokens = g("Tokenizer", cells, domain="com.microsoft", mark=0, pad_value="", mincharnum=1, **how)
    return g.hint(tokens, object, ("cells", "tokens"))


def onnx_lowered(g: Graph, cells: str) -> str:
    """`lowered` in a graph, cells (N,), N at least 1. The locale C is the one that every system has."""
    return g("StringNormalizer", cells, case_change_action="LOWER", is_case_sensitive=1, locale="C")


def decoded(cells: pl.Series) -> pl.Series:
    """Bytes -> text, null where they are not UTF-8."""
    try:
        return cells.cast(pl.String)
    except pl.exceptions.PolarsError:  # it does not say which ones
        return cells.map_elements(_text_or_none, return_dtype=pl.String)


def _text_or_none(cell: bytes) -> str | None:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return None
