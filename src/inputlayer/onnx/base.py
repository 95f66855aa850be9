"""What a file of ours tells beside its graph, found without the package onnx: JSON, and a digest over all of it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from inputlayer.errors import ArtefactError

FORMAT = 1
KEY, DIGEST = "inputlayer", "inputlayer.sha256"
STEP = "inputlayer.step"  # a second graph, in base64: that of one row more
_METADATA = 14  # the field of ModelProto that holds pairs of key and value


def metadata(told: Mapping[str, Any]) -> dict[str, str]:
    """What `told` (JSON values, finite numbers) is in the file."""
    return {KEY: json.dumps({"format": FORMAT, **told}, allow_nan=False, ensure_ascii=False)}


def sealed(model: bytes) -> tuple[str, str]:
    """The entry that tells later whether `model`, an ONNX file, is as it was written."""
    return DIGEST, _digest(model)


def told_by(model: bytes, where: str) -> dict[str, Any]:
    """What the ONNX file `model` tells; `where` is what errors call it.

    Raises
    ------
    ArtefactError
        If it is no ONNX file, none of ours, damaged or changed, or comes from a newer version.
    """
    try:
        pairs = dict(_pairs(value) for number, value, _ in _fields(model) if number == _METADATA)
    except (ValueError, IndexError):
        raise ArtefactError(f"{where} is no ONNX file, or is damaged") from None
    if KEY not in pairs:
        raise ArtefactError(f"{where} was not written by inputlayer: it does not say what its inputs are")
    try:
        told = json.loads(pairs[KEY])
        number = int(told["format"])
    except (ValueError, KeyError, TypeError):
        raise ArtefactError(f"{where} is damaged: what it tells about its inputs cannot be read") from None
    if number > FORMAT:
        raise ArtefactError(f"{where} has format {number}, and this version reads up to {FORMAT}. Update inputlayer.")
    if pairs.get(DIGEST) != _digest(model):
        raise ArtefactError(f"{where} is damaged, or was changed after it was written. Export it again.")
    return dict(told)


def step_of(model: bytes) -> bytes:
    """The graph of one row more that the ONNX file `model` holds, nothing if it holds none."""
    pairs = dict(_pairs(value) for number, value, _ in _fields(model) if number == _METADATA)
    return base64.b64decode(pairs.get(STEP, ""))


def _digest(model: bytes) -> str:
    """SHA-256 over the whole file but the entry that holds it."""
    digest = hashlib.sha256()
    for number, value, whole in _fields(model):
        if number != _METADATA or _pairs(value)[0] != DIGEST:
            digest.update(whole)
    return digest.hexdigest()


# Protocol buffers, as far as it takes (https://protobuf.dev/programming-guides/encoding): a message is a row of fields,
# each a tag and a value; a tag holds the field's number and how its value is written.


def _fields(message: bytes | memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Number, value (of fields with a length, else nothing) and all bytes of each field."""
    view, at = memoryview(message), 0
    while at < len(view):
        start = at
        tag, at = _varint(view, at)
        first = at
        if tag & 7 == 2:
            length, first = _varint(view, at)
            at = first + length
        elif tag & 7 == 0:
            _, at = _varint(view, at)
            first = at
        elif tag & 7 in (1, 5):
            at = first = at + (8 if tag & 7 == 1 else 4)
        else:
            raise ValueError("no such type")
        if at > len(view) or not tag >> 3:
            raise ValueError("cut short")
        yield tag >> 3, view[first:at], view[start:at]


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("no number")


def _pairs(entry: memoryview) -> tuple[str, str]:
    found = {number: bytes(value).decode() for number, value, _ in _fields(entry)}
    return found.get(1, ""), found.get(2, "")
