from __future__ import annotations

import io
import math
import struct
import sys
import zlib

import numpy as np
import polars as pl
import pytest
import torch

import inputlayer as il
from inputlayer.columns.base import Where
from inputlayer.columns.image import Image
from inputlayer.errors import MissingExtraError, OptionError, Problems, TableError
from inputlayer.media import UnreadableError
from inputlayer.pictures import check, load

pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed: pip install 'inputlayer[image]'")

DRAW = np.random.default_rng(0)
GREY = DRAW.integers(0, 256, (6, 5), dtype=np.uint8)
COLOUR = DRAW.integers(0, 256, (6, 5, 3), dtype=np.uint8)


def file(pixels, kind="PNG", mode=None, **options):
    held = io.BytesIO()
    image = pixels if isinstance(pixels, pillow.Image) else pillow.fromarray(pixels)
    (image.convert(mode) if mode else image).save(held, kind, **options)
    return held.getvalue()


def accept(column, cells, dtype=None):
    problems = Problems()
    return column.accept(pl.Series("x", cells, dtype=dtype), Where("x", 0, problems)), problems


def learn(column, cells, dtype=None):
    values, problems = accept(column, cells, dtype)
    state = column.finish(column.learn(values, 0), Where("x", 0, problems))
    return state, [str(p) for p in problems]


def encode(column, cells, state, dtype=None):
    values, problems = accept(column, cells, dtype)
    return column.encode(values, state)[""], [str(p) for p in problems]


def bomb(width, height):
    """A PNG of a few bytes that says it is `width` x `height`."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


# -- cells ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixels", [GREY, COLOUR])
def test_paths_bytes_and_rows_of_pixels_are_the_same(tmp_path, pixels):
    (tmp_path / "a.picture").write_bytes(file(pixels))
    column = Image()
    state, problems = learn(column, [file(pixels), None])
    assert not problems
    assert (state.size, state.channels) == ((6, 5), 3 if pixels.ndim == 3 else 1)
    for cell in (str(tmp_path / "a.picture"), file(pixels), pixels.tolist()):
        wire, problems = encode(column, [cell], state)
        assert not problems
        np.testing.assert_array_equal(wire.flat.squeeze(), pixels)


def test_mean_and_spread_are_of_all_pixels_by_channel():
    state, _ = learn(Image(), [file(COLOUR), None, file(255 - COLOUR // 2)])
    pixels = np.concatenate([COLOUR, 255 - COLOUR // 2]).reshape(-1, 3).astype(float)
    np.testing.assert_allclose(state.mean, pixels.mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(state.spread, pixels.std(axis=0), rtol=1e-14)
    assert (state.pictures, state.missing) == (2, 1)
    assert learn(Image(), [[[7, 7]]])[0].spread == (1.0,)


def test_size_and_channels_are_those_of_most_pictures():
    cells = [file(GREY), file(GREY), file(COLOUR), file(np.zeros((9, 9), np.uint8)), None]
    column = Image()
    state, problems = learn(column, cells)
    assert not problems
    assert (state.size, state.channels, state.pictures, state.others, state.missing) == ((6, 5), 1, 4, 2, 1)
    assert state.mean == (GREY.mean(),)
    wire, _ = encode(column, cells, state)
    assert wire.lengths.tolist() == [6, 6, 6, 6, 0]
    np.testing.assert_array_equal(wire.flat[12:18, :, 0], np.asarray(pillow.fromarray(COLOUR).convert("L")))
    assert column.describe(state)["resized"] == 2


def test_no_common_size_is_a_problem():
    cells = [[[1] * n] for n in (1, 2, 3)]
    _, problems = learn(Image(), cells)
    assert problems == [
        "column 'x': the pictures have 3 sizes, and none that half of them have. Give size=(height, width)."
    ]
    assert not learn(Image(size=(2, 2)), cells)[1]


def test_given_size_and_channels_hold_for_all():
    column = Image(size=[4, 8], channels=3)
    state, _ = learn(column, [file(GREY), file(COLOUR)])
    assert (state.size, state.channels) == ((4, 8), 3)
    wire, _ = encode(column, [file(GREY)], state)
    assert wire.flat.shape == (4, 8, 3)
    np.testing.assert_array_equal(encode(column, [GREY.tolist()], state)[0].flat, wire.flat)


def test_transparent_pixels_lie_over_black():
    layers = np.zeros((2, 1, 4), np.uint8)
    layers[:] = [[[200, 100, 50, 255]], [[200, 100, 50, 0]]]
    column = Image()
    state, _ = learn(column, [file(layers)])
    assert encode(column, [file(layers)], state)[0].flat.tolist() == [[[200, 100, 50]], [[0, 0, 0]]]


def test_a_picture_is_turned_as_its_camera_says():
    image = pillow.fromarray(COLOUR)
    turned = pillow.Exif()
    turned[0x0112] = 6
    assert learn(Image(), [file(image, "JPEG", exif=turned)])[0].size == (5, 6)


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr"])
def test_other_modes_are_converted(mode):
    kind = "PNG" if mode in ("1", "P") else "JPEG"
    state, problems = learn(Image(), [file(COLOUR, kind, mode)])
    assert not problems
    assert state.channels == (1 if mode == "1" else 3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (3, 2)])
def test_tiny_pictures_go_through_the_convolutions(height, width):
    column = Image(width=4)
    state, _ = learn(column, [DRAW.integers(0, 256, (height, width)).tolist()])
    pixels = torch.zeros(1, 1, height, width, 1, dtype=torch.uint8)
    part = Image.pool({"x": (column, state)})({"x": pixels, "x.lengths": torch.tensor([[height]])})
    assert part.extras.shape == (1, 1, 4)


def bad_cells(folder):
    (folder / "fine.png").write_bytes(file(GREY))
    (folder / "text.png").write_text("no picture at all")
    (folder / "cut.png").write_bytes(file(COLOUR)[:-40])
    (folder / "cut.jpg").write_bytes(file(np.tile(COLOUR, (20, 20, 1)), "JPEG")[:2000])
    (folder / "film.png").write_bytes(file(GREY, "GIF"))
    (folder / "deep.png").write_bytes(file(GREY.astype(np.uint16) * 200))
    (folder / "large.png").write_bytes(bomb(10_000, 10_000))
    (folder / "bomb.png").write_bytes(bomb(200_000, 200_000))
    names = ("text.png", "fine.png", "gone.png", "cut.png", "cut.jpg", "film.png", "deep.png", "large.png", "bomb.png")
    return [str(folder / name) for name in names]


def test_all_bad_files_are_named_at_once(tmp_path):
    table = {"x": bad_cells(tmp_path), "word": list("abababaab")}
    schema = il.Schema({"x": il.Image(), "word": il.Category()}, il.Cells(steps="x"), target="word")
    with pytest.raises(TableError) as caught:
        il.InputLayer(schema).fit(table)
    found = {(p.what, tuple(p.rows)) for p in caught.value.problems}
    assert found == {
        ("cannot be read as a picture", (0, 3, 4, 5)),
        ("is no file that is there", (2,)),
        ("is a picture of mode 'I;16', whose pixels need more than 8 bits", (6,)),
        ("is a picture of more than 64 million pixels", (7, 8)),
    }
    assert "cut.png" in str(caught.value)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([1.0, 2.0], "holds Float64"),
        ([[1, 2]], r"holds List\(Int64\) .* A list of pictures needs cell='frames'"),
        ([[[1, 2], [3]]], "is no list of rows of pixels, all of one length"),
        ([[[[1, 2]]]], "is no list of rows of pixels"),
        ([[[]]], "is a picture without pixels"),
        ([[[0, 256]]], "holds pixels that are no whole numbers from 0 to 255"),
        ([[[0, -1]]], "holds pixels that are no whole numbers"),
        ([[[0.0, 0.5]]], "holds pixels that are no whole numbers"),
        ([[[0, None]]], "holds pixels that are no whole numbers"),
        ([b"", None], "cannot be read as a picture .row 0 = '0 bytes'."),
    ],
)
def test_what_is_no_picture_is_noted(cells, message):
    _, problems = learn(Image(), cells)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(problems[0])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("kept", [0, 0.2, 0.6, 0.95, 1])
def test_a_check_finds_what_loading_finds(kind, kept):
    whole = file(DRAW.integers(0, 256, (90, 70, 3), dtype=np.uint8), kind)
    found = []
    for read in (check, lambda held: load(held, None, None)):
        try:
            read(whole[: int(kept * len(whole))])
        except UnreadableError as error:
            found.append(error.what)
    assert found == ([] if kept == 1 else ["cannot be read as a picture"] * 2)


def test_examining_notes_what_learning_notes(monkeypatch):
    monkeypatch.setattr("inputlayer.pictures._PIXELS", 29)
    for column, cells in ((Image(), [[[0, 256]], [[1, 2]]]), (Image(), [file(GREY), b"", None])):
        values, problems = accept(column, cells)
        column.examine(values)
        assert [str(p) for p in problems] == learn(column, cells)[1][: len(problems)]
        assert len(problems) == 1 + (b"" in cells)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 3)}, r"size is not \(height, width\)"),
        ({"size": 28}, r"size is not \(height, width\)"),
        ({"channels": 2}, "channels=2 is not one of"),
        ({"cell": "film"}, "cell='film' is not one of"),
        ({"width": 0}, "width=0 is not a whole number"),
        ({"role": "target"}, "a picture cannot be predicted"),
    ],
)
def test_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Image(**options)


def test_absence_of_the_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'inputlayer\[image\]'"):
        learn(Image(), [b"PNG"])


# -- frames -----------------------------------------------------------------------------------------------------------


def test_a_cell_may_be_a_list_of_pictures(tmp_path):
    column = Image(cell="frames")
    (tmp_path / "a.png").write_bytes(file(GREY))
    cells = [[file(GREY), file(255 - GREY)], [file(GREY)], None]
    state, problems = learn(column, cells)
    assert not problems
    assert (state.pictures, state.missing, state.frames) == (3, 1, (1, 2))
    wire, _ = encode(column, cells, state)
    assert wire.lengths.tolist() == [2, 1, 0]
    np.testing.assert_array_equal(wire.flat[..., 0], [GREY, 255 - GREY, GREY])
    for other in ([[str(tmp_path / "a.png")]], [[GREY.tolist()]]):
        np.testing.assert_array_equal(encode(column, other, state)[0].flat, wire.flat[:1])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["a.png"], "holds String .* With cell='frames' a cell is a list"),
        ([["a.png"], []], "is a list without pictures .row 1"),
        ([["a.png", None]], "is a list with a missing picture"),
        ([["gone.png"]], "is no file that is there"),
    ],
)
def test_what_is_no_list_of_pictures_is_noted(cells, message):
    _, problems = learn(Image(cell="frames"), cells)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError("; ".join(problems))


# -- the trained half -------------------------------------------------------------------------------------------------


def test_rows_of_pixels_are_standardised_steps():
    column = Image()
    state, _ = learn(column, [[[0, 100], [200, 100]]])  # mean 100, variance 20,000 / 4
    module = Image.module({"x": (column, state)})
    part = module({"x": torch.tensor([[[[0], [100]], [[200], [100]]]], dtype=torch.uint8)})
    assert module.channels == ("x[0]", "x[1]")
    torch.testing.assert_close(part.values, torch.tensor([[[-1.0, 0.0], [1.0, 0.0]]]) * math.sqrt(2))
    assert part.present.all()


def test_a_pooled_picture_is_one_vector_and_a_missing_one_is_marked():
    column = Image(width=3)
    state, _ = learn(column, [GREY.tolist(), None])
    module = Image.pool({"x": (column, state)})
    assert module.extras == ("x[0]", "x[1]", "x[2]", "x missing")
    pixels = torch.stack([torch.from_numpy(GREY), torch.zeros(6, 5, dtype=torch.uint8)])[None, ..., None]
    found = module({"x": pixels, "x.lengths": torch.tensor([[6, 0]])}).extras[0]
    torch.testing.assert_close(found[0, :3], module.stacks[0](pixels[0, :1])[0])
    assert found[1].tolist() == [0.0, 0.0, 0.0, 1.0]
    none = module({"x": pixels[:, 1:, :1], "x.lengths": torch.tensor([[0]])}).extras
    assert none.tolist() == [[[0.0, 0.0, 0.0, 1.0]]]


def test_pooled_frames_are_averaged():
    column = Image(cell="frames", width=3)
    state, _ = learn(column, [[GREY.tolist()]], None)
    module = Image.pool({"x": (column, state)})
    frames = torch.from_numpy(DRAW.integers(0, 256, (1, 1, 3, 6, 5, 1), dtype=np.uint8))
    found = module({"x": frames, "x.lengths": torch.tensor([[2]])}).extras[0, 0]
    torch.testing.assert_close(found, module.stacks[0](frames[0, 0, :2]).mean(dim=0))


def bars(count):
    """Upright and lying bars on noise."""
    draw = np.random.default_rng(1)
    pictures = draw.integers(0, 60, (count, 8, 8), dtype=np.uint8)
    for i, place in enumerate(draw.integers(0, 8, count)):
        pictures[i, :, place] += 190 * (i % 2 == 0)
        pictures[i, place] += 190 * (i % 2 == 1)
    return pictures, [("upright", "lying")[i % 2] for i in range(count)]


@pytest.mark.parametrize("how", ["rows", "frames", "pooled"])
def test_pictures_are_told_apart_and_the_model_is_kept(tmp_path, how):
    pictures, names = bars(32)
    cells = [[file(p), file(p)] if how == "frames" else file(p) for p in pictures]
    column = il.Image(cell="frames" if how == "frames" else "picture", width=8)
    columns = {"x": column, "bar": il.Category()}
    schema = il.Schema(columns, il.Cells(steps=None if how == "pooled" else "x"), target="bar")
    table = {"x": cells, "bar": names}
    model = il.Model(il.InputLayer(schema), il.LSTM(units=16))
    model.fit(table, epochs=12, batch=8, lr=2e-2, seed=0, device="cpu")
    assert model.evaluate(table, allow_seen=True)["accuracy"] >= 0.9
    model.save(tmp_path / "m.safetensors")
    assert il.load(tmp_path / "m.safetensors").predict(table).equals(model.predict(table))
