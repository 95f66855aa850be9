"""JSON and tensors in one .safetensors file, written atomically, read with suspicion.

The file is a plain safetensors file (https://github.com/huggingface/safetensors, "Format"); the JSON stands in its
metadata. This reader is stricter than the format asks: the header must be the very bytes that `write` would give, so
there are no duplicate keys, no gaps between tensors and no second reading of the same file; and a SHA-256 over all
bytes finds damage. Nothing in a file names a Python object or another file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import math
import os
import secrets
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from inputlayer.errors import ArtefactError, shorten

FORMAT = 1
HEADER_BYTES = 16 * 2**20
TENSORS = 10_000
RANK = 8
NAME_BYTES = 1024
DEPTH = 32
LONG = 1_000  # entries from which a tuple of text or numbers is a tensor, not JSON

_KEY = "inputlayer"
_NO_DIGEST = "0" * 64
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_CODES = {dtype: code for code, dtype in _DTYPES.items()}

Json = Any
Layout = dict[str, tuple[str, tuple[int, ...]]]  # of each tensor, code and shape
T = TypeVar("T")


# -- the file ---------------------------------------------------------------------------------------------------------


def write(path: str | Path, header: Mapping[str, Json], tensors: Mapping[str, np.ndarray]) -> None:
    """Write `header` (JSON values, finite numbers) and `tensors` to `path`: the old file or the new one, never a half.

    The same arguments give the same bytes. Raises `ArtefactError` if something cannot be stored or written; then the
    old file is as it was.
    """
    arrays = {name: _storable(name, array) for name, array in tensors.items()}
    layout = _ordered({name: (_CODES[array.dtype.str], array.shape) for name, array in arrays.items()})
    head = _head(header, layout)
    digest = hashlib.sha256(head)
    for name in layout:
        digest.update(_bytes(arrays[name]))
    head = head.replace(_NO_DIGEST.encode(), digest.hexdigest().encode(), 1)
    write_bytes(path, itertools.chain([len(head).to_bytes(8, "little"), head], (_bytes(arrays[n]) for n in layout)))


def write_bytes(path: str | Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write `parts` to `path`, one after the other: the old file or the new one, never a half.

    Raises `ArtefactError` if they cannot be written; then the old file is as it was.
    """
    path = Path(path).resolve()  # a link stays a link
    try:
        with _replacing(path) as file:
            for part in parts:
                file.write(part)
    except OSError as error:
        raise ArtefactError(f"{path} could not be written: {error.strerror or error}") from error


def read(path: str | Path) -> tuple[dict[str, Json], dict[str, np.ndarray]]:
    """The header and the tensors that `write` wrote.

    Raises `ArtefactError` that says which, if the file is missing, is none of ours, is truncated or otherwise damaged,
    or comes from a newer version.
    """
    try:
        with Path(path).open("rb") as file:
            return _read(file, os.fstat(file.fileno()).st_size, str(path))
    except FileNotFoundError:
        raise ArtefactError(f"there is no file {str(path)!r}") from None
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read: {error.strerror or error}") from error


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[io.BufferedIOBase]:
    """A file that takes the place of `path` once everything is on disk, and leaves nothing behind otherwise."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # an interrupt too must leave nothing behind
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _ordered(layout: Layout) -> Layout:
    """By item size, then name: so each tensor is aligned, and the order is the only one."""
    return dict(sorted(layout.items(), key=lambda item: (-np.dtype(_DTYPES[item[1][0]]).itemsize, item[0])))


def _head(header: Mapping[str, Json], layout: Layout) -> bytes:
    """The only bytes that this header and these tensors, in order, can have, with zeros for the digest."""
    entries: dict[str, Any] = {}
    end = 0
    for name, (code, shape) in layout.items():
        begin, end = end, end + math.prod(shape) * np.dtype(_DTYPES[code]).itemsize
        entries[name] = {"data_offsets": [begin, end], "dtype": code, "shape": list(shape)}
    metadata = {_KEY: canonical(header), "format": str(FORMAT), "sha256": _NO_DIGEST}
    # The digest comes first, so that no text of the header can be taken for its zeros.
    text = f'{{"__metadata__":{json.dumps(dict(sorted(metadata.items(), reverse=True)), separators=(",", ":"))}'
    text += "".join(f",{json.dumps(name)}:{canonical(entry)}" for name, entry in entries.items()) + "}"
    head = text.encode()
    head += b" " * (-len(head) % 8)
    too_large = len(head) > HEADER_BYTES or len(layout) > TENSORS or _depth(header) > DEPTH
    if too_large or any(len(name.encode()) > NAME_BYTES or len(shape) > RANK for name, (_, shape) in layout.items()):
        raise ArtefactError(f"the header is too large: {len(head)} bytes, {len(layout)} tensors, {_depth(header)} deep")
    return head


def _read(file: io.BufferedIOBase, size: int, path: str) -> tuple[dict[str, Json], dict[str, np.ndarray]]:
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or not 2 <= length <= HEADER_BYTES:
        raise ArtefactError(f"{path} is not an artefact: it has no safetensors header")
    if size < 8 + length:
        raise ArtefactError(f"{path} is truncated, or not an artefact: {size} bytes, its header alone has {8 + length}")
    head = file.read(length)
    header, layout, digest = _parsed(head, path)
    sizes = {name: math.prod(shape) * np.dtype(_DTYPES[code]).itemsize for name, (code, shape) in layout.items()}
    expected = 8 + length + sum(sizes.values())
    if size != expected:
        kind = "is truncated" if size < expected else "has bytes that do not belong to it"
        raise ArtefactError(f"{path} {kind}: {size} bytes instead of {expected}")
    data = bytearray(size - 8 - length)
    if file.readinto(data) != len(data):
        raise ArtefactError(f"{path} changed while it was read")
    blank = head.replace(digest.encode(), _NO_DIGEST.encode(), 1)
    if hashlib.sha256(blank + data).hexdigest() != digest:
        raise ArtefactError(f"{path} is damaged: its bytes do not match their checksum")
    tensors, begin = {}, 0
    for name, (code, shape) in layout.items():
        flat = np.frombuffer(data, _DTYPES[code], count=math.prod(shape), offset=begin)
        begin += sizes[name]
        try:
            tensors[name] = flat.reshape(shape)
        except ValueError:  # no entries, and a shape beyond what an index can count
            raise ArtefactError(f"{path} is damaged: tensor {name!r} has shape {shape}") from None
    return header, tensors


def _parsed(head: bytes, path: str) -> tuple[dict[str, Json], Layout, str]:
    """Header, layout and digest; refuses bytes that `_head` would not have written."""
    try:
        entries = json.loads(head)
        metadata = entries.pop("__metadata__")
        text, version, digest = metadata[_KEY], int(metadata["format"]), metadata["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ArtefactError(f"{path} is not an artefact: its header is none of ours") from None
    if version > FORMAT:
        known = f"this version reads up to {FORMAT}. Update inputlayer."
        raise ArtefactError(f"{path} was written by a newer version (format {version}; {known})")
    try:
        header = json.loads(text)
        layout = {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in entries.items()}
        same = _head(header, _ordered(layout)).replace(_NO_DIGEST.encode(), digest.encode(), 1) == head
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ArtefactError(f"{path} is damaged: its header cannot be read ({shorten(str(error))})") from None
    lengths = [length for _, shape in layout.values() for length in shape]
    if not same or not isinstance(header, dict) or any(type(one) is not int or one < 0 for one in lengths):
        raise ArtefactError(f"{path} is damaged: its header is not as it was written")
    return header, layout, digest


def canonical(value: Json) -> str:
    """The one JSON text of `value`: sorted keys, no spaces, ASCII, numbers as Python writes them.

    >>> canonical({"b": 1.0, "a": [None, "é"]})
    '{"a":[null,"\\\\u00e9"],"b":1.0}'
    """
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise ArtefactError(f"{shorten(value)} cannot be stored: {error}") from error


def _depth(value: Json) -> int:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def _storable(name: str, array: np.ndarray) -> np.ndarray:
    if name == "__metadata__":  # where the format keeps its text
        raise ArtefactError(f"a tensor cannot be named {name!r}")
    if array.dtype.newbyteorder("<").str not in _CODES:
        raise ArtefactError(f"tensor {name!r}: {array.dtype} cannot be stored")
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


# -- dataclasses as JSON and arrays -----------------------------------------------------------------------------------


def pack(state: Any) -> tuple[Json, dict[str, np.ndarray]]:
    """A frozen dataclass as JSON and arrays, named by their place in it; `unpack` undoes it.

    Fields hold JSON values, tuples, NumPy arrays and further dataclasses. Long tuples of text or numbers become arrays,
    since a vocabulary of a million entries is no header. Raises `ArtefactError` for NaN, infinities and other types.

    >>> @dataclasses.dataclass(frozen=True)
    ... class State:
    ...     mean: float
    ...     knots: np.ndarray
    >>> described, arrays = pack(State(0.5, np.array([1, 2])))
    >>> described, arrays
    ({'mean': 0.5, 'knots': {'tensor': 'knots'}}, {'knots': array([1, 2])})
    >>> unpack(State, described, arrays)
    State(mean=0.5, knots=array([1, 2]))
    """
    arrays: dict[str, np.ndarray] = {}
    return _packed(state, "", arrays), arrays


def unpack(cls: type[T], described: Json, arrays: Mapping[str, np.ndarray]) -> T:
    """The `cls` that `pack` was given; raises `ArtefactError` naming the field whose type or presence is wrong."""
    reader = _Reader(arrays)
    state: T = reader.value(cls, described, "")
    unknown = sorted(arrays.keys() - reader.used)
    if unknown:
        raise ArtefactError(f"{cls.__name__} has no tensor {unknown[0]!r}")
    return state


def _packed(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Json:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ArtefactError(f"{place}: {value} cannot be stored")
        return float(value)
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ArtefactError(f"{place}: numbers that are not finite cannot be stored")
        arrays[place] = value
        return {"tensor": place}
    if dataclasses.is_dataclass(value):
        inner = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {name: _packed(one, inside(place, name), arrays) for name, one in inner.items()}
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _packed(one, inside(place, name), arrays) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return _packed_entries(value, place, arrays)
    raise ArtefactError(f"{place}: a {type(value).__name__} cannot be stored")


def _packed_entries(values: list[Any] | tuple[Any, ...], place: str, arrays: dict[str, np.ndarray]) -> Json:
    kinds = set(map(type, values))
    if len(values) <= LONG or kinds not in ({str}, {int}, {float}):
        return [_packed(one, inside(place, str(i)), arrays) for i, one in enumerate(values)]
    if kinds == {str}:
        texts = [value.encode("utf-8", "surrogatepass") for value in values]
        arrays[f"{place}.ends"] = np.cumsum([len(text) for text in texts], dtype=np.int64)
        arrays[f"{place}.utf8"] = np.frombuffer(b"".join(texts), dtype=np.uint8)
        return {"texts": place}
    try:
        return _packed(np.array(values, dtype=np.int64 if kinds == {int} else np.float64), place, arrays)
    except OverflowError:
        return list(values)


def inside(place: str, name: str) -> str:
    """The place of `name` within `place`; names that hold a slash are escaped (as in RFC 6901), so none collide.

    >>> inside("states", "km/h"), inside("", "mean")
    ('states/km~1h', 'mean')
    """
    name = name.replace("~", "~0").replace("/", "~1")
    return f"{place}/{name}" if place else name


class _Reader:
    """Turns JSON and arrays back into typed values, and notes which arrays were used."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays = arrays
        self.used: set[str] = set()

    def value(self, hint: Any, value: Json, place: str) -> Any:
        origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
        if hint is Any:
            return value
        if origin in (typing.Union, types.UnionType):
            return self.union(inner, value, place)
        if origin is Literal:
            return value if value in inner else self.refuse(hint, value, place)
        if dataclasses.is_dataclass(origin):
            return self.fields(origin, value, place)
        if origin is np.ndarray:
            return self.tensor(place) if value == {"tensor": place} else self.refuse(hint, value, place)
        if origin in (tuple, list):
            return origin(self.entries(hint, inner, value, place))
        if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, dict):
            of = inner[1] if inner else Any
            return {name: self.value(of, one, inside(place, name)) for name, one in value.items()}
        if origin is float and type(value) is int:
            return float(value)
        return value if type(value) is (type(None) if hint is None else origin) else self.refuse(hint, value, place)

    def union(self, hints: tuple[Any, ...], value: Json, place: str) -> Any:
        some = [hint for hint in hints if hint is not type(None)]
        if value is not None and len(some) == 1:
            return self.value(some[0], value, place)  # whose message says more
        for hint in hints:
            with contextlib.suppress(ArtefactError):
                return self.value(hint, value, place)
        return self.refuse(" | ".join(getattr(hint, "__name__", str(hint)) for hint in hints), value, place)

    def fields(self, cls: Any, value: Json, place: str) -> Any:
        known = {field.name: field for field in dataclasses.fields(cls)}
        if not isinstance(value, dict) or not value.keys() <= known.keys():
            self.refuse(cls, value, place)
        hints = typing.get_type_hints(cls)
        given = {name: self.value(hints[name], one, inside(place, name)) for name, one in value.items()}
        try:
            return cls(**given)
        except TypeError as error:
            raise ArtefactError(f"{inside(place, cls.__name__)} is incomplete: {error}") from None

    def entries(self, hint: Any, inner: tuple[Any, ...], value: Json, place: str) -> list[Any]:
        if value == {"texts": place}:
            return self.texts(place)
        if value == {"tensor": place}:
            array = self.tensor(place)
            return list(array.tolist()) if array.ndim == 1 else self.refuse(hint, value, place)
        if not isinstance(value, list):
            self.refuse(hint, value, place)
        same = len(inner) < 2 or inner[-1] is Ellipsis
        hints = [inner[0] if inner else Any] * len(value) if same else list(inner)
        if len(hints) != len(value):
            self.refuse(hint, value, place)
        return [self.value(hints[i], one, inside(place, str(i))) for i, one in enumerate(value)]

    def tensor(self, place: str) -> np.ndarray:
        if place not in self.arrays:
            raise ArtefactError(f"the tensor {place!r} is missing")
        self.used.add(place)
        return self.arrays[place]

    def texts(self, place: str) -> list[str]:
        ends, utf8 = self.tensor(f"{place}.ends"), self.tensor(f"{place}.utf8").tobytes()
        edges = [0, *ends.tolist()]
        if any(a > b for a, b in itertools.pairwise(edges)) or edges[-1] != len(utf8):
            raise ArtefactError(f"{place}: the ends of its texts do not fit their {len(utf8)} bytes")
        try:
            return [utf8[a:b].decode("utf-8", "surrogatepass") for a, b in itertools.pairwise(edges)]
        except UnicodeDecodeError as error:
            raise ArtefactError(f"{place}: {error}") from None

    def refuse(self, hint: Any, value: Json, place: str) -> Any:
        name = hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint))
        raise ArtefactError(f"{place or 'the value'} should be {name}, not {shorten(value)}")
