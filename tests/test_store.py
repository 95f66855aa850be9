"""The store: what was written comes back, a damaged file is refused, and a failing write leaves the old file."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from inputlayer import store
from inputlayer.errors import ArtefactError

HEADER = {"kind": "model", "names": ["a", "é\ud800", "0" * 64], "mean": 1e-300, "none": None}
TENSORS = {"w/b": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(7), "empty": np.zeros((0, 4), np.int32)}
TENSORS |= {"text": np.frombuffer(b"odd", np.uint8), "f64": np.array([math.pi]), "flag": np.array([True, False])}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store.write(tmp_path / "m.safetensors", HEADER, TENSORS)
    return tmp_path / "m.safetensors"


def test_what_was_written_comes_back(path: Path) -> None:
    header, tensors = store.read(path)
    assert header == HEADER
    assert tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert (tensors[name].dtype, tensors[name].shape) == (array.dtype, array.shape)
        assert (tensors[name] == array).all()
        assert tensors[name].flags.writeable
        assert tensors[name].flags.aligned


def test_it_is_a_plain_safetensors_file(path: Path) -> None:
    tensors = safetensors.numpy.load_file(path)
    assert all((tensors[name] == array).all() for name, array in TENSORS.items())


def test_the_same_state_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    turned = [dict(reversed(list(one.items()))) for one in (HEADER, TENSORS)]
    store.write(tmp_path / "again", *turned)  # type: ignore[arg-type]
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_rows_that_are_not_contiguous_are_stored(tmp_path: Path) -> None:
    wide = np.arange(12.0).reshape(3, 4)
    store.write(tmp_path / "t", {}, {"t": wide.T, "every": wide[::2], "big": wide.astype(">f8")})
    tensors = store.read(tmp_path / "t")[1]
    assert (tensors["t"] == wide.T).all()
    assert (tensors["every"] == wide[::2]).all()
    assert (tensors["big"] == wide).all()


# -- damage -----------------------------------------------------------------------------------------------------------


def test_every_truncation_is_refused(path: Path) -> None:
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ArtefactError, match=r"truncated|not an artefact"):
            store.read(path)


def test_every_flipped_bit_is_refused(path: Path) -> None:
    store.write(path, {"a": 0.5}, {"w": np.arange(3.0)})
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(ArtefactError, match=r"damaged|truncated|not an artefact|do not belong|newer version"):
            store.read(path)


def test_random_bytes_within_a_file_never_give_another_error(path: Path) -> None:
    data, draw = path.read_bytes(), random.Random(0)
    for _ in range(500):
        start, stop = sorted(draw.choices(range(len(data) + 1), k=2))
        changed = data[:start] + draw.randbytes(draw.choice([0, stop - start, 5])) + data[stop:]
        path.write_bytes(changed)
        if changed != data:
            with pytest.raises(ArtefactError):
                store.read(path)


def raw(header: str, data: bytes = b"") -> bytes:
    return len(header.encode()).to_bytes(8, "little") + header.encode() + data


def forged(change: Callable[[dict[str, Any]], None]) -> bytes:
    """A file whose header `change` was applied to, and whose checksum is right for all that."""
    head = store._head({}, {"w": ("F32", (2,))})
    entries = json.loads(head)
    change(entries)
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = bytes(8)
    digest = hashlib.sha256(text + data).hexdigest().encode()
    return len(text).to_bytes(8, "little") + text.replace(b"0" * 64, digest, 1) + data


def test_a_forged_file_is_read_if_nothing_is_wrong_with_it(path: Path) -> None:
    path.write_bytes(forged(lambda entries: None))
    assert store.read(path)[1]["w"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda e: e["w"].update(shape=[-2]), "damaged"),
        (lambda e: e["w"].update(shape=[2.0]), "damaged"),
        (lambda e: e["w"].update(shape=[3]), "damaged"),
        (lambda e: e["w"].update(shape=[2, 0]), "damaged"),
        (lambda e: e["w"].update(shape=[1] * 8 + [2]), "too large"),
        (lambda e: e["w"].update(dtype="F128"), "damaged"),
        (lambda e: e["w"].update(data_offsets=[8, 16]), "damaged"),
        (lambda e: e.update(v={"data_offsets": [0, 8], "dtype": "F32", "shape": [2]}), "damaged"),
        (lambda e: e.update(v={"data_offsets": [8, 8], "dtype": "F32", "shape": [0, 2**70]}), "damaged"),
        (lambda e: e.update({"n" * 1025: {"data_offsets": [8, 8], "dtype": "F32", "shape": [0]}}), "too large"),
        (lambda e: e["w"].update(more=1), "damaged"),
        (lambda e: e["__metadata__"].update(more="1"), "damaged"),
        (lambda e: e["__metadata__"].update(format="2"), r"newer version \(format 2; this version reads up to 1"),
        (lambda e: e["__metadata__"].update(format="01"), "damaged"),
        (lambda e: e["__metadata__"].update(sha256=1), "damaged"),
        (lambda e: e["__metadata__"].update(inputlayer='{"a":NaN}'), "damaged|cannot be stored"),
        (lambda e: e["__metadata__"].update(inputlayer='{"a":1e999}'), "damaged|cannot be stored"),
        (lambda e: e["__metadata__"].update(inputlayer='{"a":1,"a":2}'), "damaged"),
        (lambda e: e["__metadata__"].update(inputlayer="[]"), "damaged"),
        (lambda e: e["__metadata__"].update(inputlayer="[" * 100_000), "damaged"),
        (lambda e: e["__metadata__"].update(inputlayer='{"a":' * 33 + "1" + "}" * 33), "too large"),
        (lambda e: e["__metadata__"].update(inputlayer="9" * 5000), "damaged"),
        (lambda e: e["__metadata__"].pop("inputlayer"), "not an artefact"),
    ],
)
def test_a_forged_header_is_refused(change: Callable[[dict[str, Any]], None], match: str, path: Path) -> None:
    path.write_bytes(forged(change))
    with pytest.raises(ArtefactError, match=match):
        store.read(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"day,load\n1,2\n" * 9,
        b"PK\x03\x04" + bytes(99),
        raw("[" * 100_000),
        raw("{}"),
        raw('{"__metadata__":{"format":"pt"}}'),
        safetensors.numpy.save({"w": np.zeros(2)}, metadata={"format": "pt"}),
        (2**24 + 1).to_bytes(8, "little") + bytes(2**24 + 1),
    ],
)
def test_a_file_of_another_kind_is_not_an_artefact(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    with pytest.raises(ArtefactError, match="not an artefact"):
        store.read(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"there is no file '.*none'"):
        store.read(tmp_path / "none")
    with pytest.raises(ArtefactError, match="cannot be read: Is a directory"):
        store.read(tmp_path)


# -- atomic writing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    call: str, error: BaseException, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    old = path.read_bytes()
    if call == "write":
        parts = iter(range(len(TENSORS) + 2))  # all are hashed first, then written: fails at the third written
        monkeypatch.setattr(store, "_bytes", lambda array: fail() if next(parts, None) is None else array.tobytes())
    else:
        monkeypatch.setattr(os, call, fail)
    with pytest.raises(ArtefactError if isinstance(error, OSError) else KeyboardInterrupt, match=r"No space left|^$"):
        store.write(path, {"new": 1}, TENSORS)
    monkeypatch.undo()
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_stored_leaves_the_old_file(path: Path) -> None:
    old = path.read_bytes()
    for header, tensors, match in [
        ({"a": math.nan}, {}, "cannot be stored"),
        ({"a": {1, 2}}, {}, "cannot be stored"),
        ({}, {"w": np.array([None])}, "tensor 'w': object cannot be stored"),
        ({}, {"__metadata__": np.zeros(1)}, "a tensor cannot be named '__metadata__'"),
        ({}, {"w" * 1025: np.zeros(1)}, "too large"),
        ({}, {str(i): np.zeros(0) for i in range(10_001)}, "too large"),
        ({"a": "x" * 2**24}, {}, "too large"),
    ]:
        with pytest.raises(ArtefactError, match=match):
            store.write(path, header, tensors)
    assert path.read_bytes() == old


def test_a_link_stays_a_link_and_no_folder_is_made(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "latest"
    link.symlink_to(path)
    store.write(link, {"new": 1}, {})
    assert link.is_symlink()
    assert store.read(path)[0] == {"new": 1}
    with pytest.raises(ArtefactError, match="none/m could not be written: No such file or directory"):
        store.write(tmp_path / "none" / "m", {}, {})


def test_permissions_are_those_of_any_new_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


# -- dataclasses ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Inner:
    mean: float
    knots: np.ndarray
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class Outer:
    words: tuple[str, ...]
    numbers: tuple[int, ...]
    scales: tuple[Inner, ...]
    pair: tuple[int, str]
    options: dict[str, Any]
    by_name: dict[str, Inner]
    kind: Literal["a", "b"] = "a"
    inner: Inner | None = None
    flag: bool = False
    value: int | str = 0


def outer(**changes: Any) -> Outer:
    inner = Inner(0.1, np.array([1.5, 2.5]))
    by_name = {"km/h": inner, "km": Inner(1.0, np.zeros((0, 2)))}
    return dataclasses.replace(Outer(("a",), (1,), (inner, inner), (1, "x"), {"k": [1, None]}, by_name), **changes)


def same(a: Any, b: Any) -> bool:
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"words": tuple(f"w{i}é" for i in range(2000)), "numbers": tuple(range(-1000, 1000))},
        {"words": ("", "\ud800", "\x00") * 1000},
        {"numbers": (2**80,) * 2000},
        {"inner": Inner(2.0, np.zeros(0), "x"), "value": "text", "flag": True, "kind": "b"},
    ],
)
def test_pack_and_unpack(changes: dict[str, Any], tmp_path: Path) -> None:
    state = outer(**changes)
    described, arrays = store.pack(state)
    store.write(tmp_path / "s", {"state": described}, arrays)
    header, read = store.read(tmp_path / "s")
    assert same(store.unpack(Outer, header["state"], read), state)


def test_a_long_vocabulary_is_no_header() -> None:
    described, arrays = store.pack(outer(words=tuple(map(str, range(1001)))))
    assert described["words"] == {"texts": "words"}
    assert {"words.ends", "words.utf8"} <= arrays.keys()


@pytest.mark.parametrize(
    ("place", "value", "match"),
    [
        (("words",), [1], "words/0 should be str, not 1"),
        (("words",), {"texts": "other"}, "words should be tuple"),
        (("words",), {"texts": "words"}, "the tensor 'words.ends' is missing"),
        (("numbers",), [True], "numbers/0 should be int, not True"),
        (("pair",), [1], r"pair should be tuple, not \[1\]"),
        (("options",), [], "options should be dict"),
        (("kind",), "c", "kind should be"),
        (("inner",), {"mean": 1.0}, "inner/Inner is incomplete: .*knots"),
        (("value",), 1.5, r"value should be int \| str, not 1.5"),
        (("scales", 0, "mean"), "1", "scales/0/mean should be float, not '1'"),
        (("scales", 0, "knots"), {"tensor": "scales/1/knots"}, "scales/0/knots should be ndarray"),
        (("more",), 1, "the value should be Outer"),
    ],
)
def test_unpack_names_the_field_that_is_wrong(place: tuple[Any, ...], value: Any, match: str) -> None:
    described, arrays = store.pack(outer())
    target = described
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    with pytest.raises(ArtefactError, match=match):
        store.unpack(Outer, described, arrays)


def test_unpack_refuses_tensors_that_do_not_fit() -> None:
    described, arrays = store.pack(outer(words=("ab",) * 1001))
    with pytest.raises(ArtefactError, match="Outer has no tensor 'more'"):
        store.unpack(Outer, described, arrays | {"more": np.zeros(1)})
    for ends in (arrays["words.ends"] + 1, arrays["words.ends"][::-1]):
        with pytest.raises(ArtefactError, match="words: the ends of its texts do not fit their 2002 bytes"):
            store.unpack(Outer, described, arrays | {"words.ends": ends})
    with pytest.raises(ArtefactError, match=r"words: .*can't decode"):
        store.unpack(Outer, described, arrays | {"words.utf8": np.full(2002, 255, np.uint8)})


@pytest.mark.parametrize("value", [math.nan, math.inf, np.array([1.0, np.nan]), {1: 2}, {1, 2}, np.int64(1), b"x"])
def test_pack_refuses_what_has_no_place_in_a_state(value: Any) -> None:
    with pytest.raises(ArtefactError, match=r"options/k: .* cannot be stored"):
        store.pack(outer(options={"k": value}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(header=st.dictionaries(st.text(), JSON), names=st.sets(st.text(max_size=20)), dtype=st.sampled_from("fdqiB?"))
def test_any_json_and_any_names_come_back(
    header: dict[str, Any], names: set[str], dtype: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "s"
    tensors = {name: np.arange(i, dtype=dtype) for i, name in enumerate(sorted(names))} if dtype != "?" else {}
    names.discard("__metadata__")
    tensors.pop("__metadata__", None)
    store.write(path, header, tensors)
    read, arrays = store.read(path)
    assert read == header
    assert {name: array.tolist() for name, array in arrays.items()} == {n: a.tolist() for n, a in tensors.items()}
