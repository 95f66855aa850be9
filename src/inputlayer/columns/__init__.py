"""The kinds of columns. A kind is one file here and one line in `KINDS`."""

from __future__ import annotations

from inputlayer.columns.audio import Audio
from inputlayer.columns.base import Column
from inputlayer.columns.category import Category
from inputlayer.columns.flag import Flag
from inputlayer.columns.image import Image
from inputlayer.columns.number import Number
from inputlayer.columns.series import Series
from inputlayer.columns.text import Text
from inputlayer.columns.timestamp import Timestamp
from inputlayer.columns.vector import Vector

KINDS: dict[str, type[Column]] = {
    kind.kind: kind for kind in (Number, Category, Flag, Timestamp, Series, Text, Vector, Audio, Image)
}
"""Every kind by its name in files; what is not here, a file cannot name."""

__all__ = [
    "KINDS",
    "Audio",
    "Category",
    "Column",
    "Flag",
    "Image",
    "Number",
    "Series",
    "Text",
    "Timestamp",
    "Vector",
    "register",
]


def register(kind: type[Column]) -> type[Column]:
    """Add a kind of your own, so that files may name it. Also works as a decorator.

    Test it first with `inputlayer.checks.check_column`. Raises ValueError if the name is taken.
    """
    if KINDS.setdefault(kind.kind, kind) is not kind:
        raise ValueError(f"a kind named {kind.kind!r} is already there: {KINDS[kind.kind].__name__}")
    return kind
