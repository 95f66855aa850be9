from __future__ import annotations

import io
import math
import struct
import sys
import threading

import numpy as np
import polars as pl
import pytest
import torch

import inputlayer as il
from inputlayer.columns.audio import Audio
from inputlayer.columns.base import Where
from inputlayer.errors import MissingExtraError, OptionError, Problems, TableError
from inputlayer.media import Media, UnreadableError
from inputlayer.sound import FLOOR, Framing, check, load, resampled

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed: pip install 'inputlayer[audio]'")

LISTS = pl.List(pl.Float64)
DRAW = np.random.default_rng(0)
NOISE = DRAW.normal(0, 0.1, 4000).astype(np.float32)


def file(samples, rate=8000, kind="WAV", subtype="FLOAT"):
    held = io.BytesIO()
    soundfile.write(held, samples, rate, format=kind, subtype=None if kind == "OGG" else subtype)
    return held.getvalue()


def accept(column, cells, dtype=None, first_row=0):
    problems = Problems()
    return column.accept(pl.Series("clip", cells, dtype=dtype), Where("clip", first_row, problems)), problems


def learn(column, cells, dtype=None):
    values, problems = accept(column, cells, dtype)
    statistic = column.learn(values, 0)
    state = column.finish(statistic, Where("clip", 0, problems))
    return state, [str(p) for p in problems]


def encode(column, cells, state, dtype=None):
    values, problems = accept(column, cells, dtype)
    return column.encode(values, state)[""], [str(p) for p in problems]


# -- frames -----------------------------------------------------------------------------------------------------------


def by_the_book(wave, framing):
    """The frames by loops and a Fourier sum, without a line of the package."""
    n, pad = framing.fft, (framing.fft - framing.window) // 2
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * i / framing.window) for i in range(framing.window)]
    frequencies = np.arange(n // 2 + 1) * framing.rate / n
    top = framing.rate / 2
    top = top * 3 / 200 if top < 1000 else 15 + math.log(top / 1000) * 27 / math.log(6.4)
    mels = [top * i / (framing.bands + 1) for i in range(framing.bands + 2)]
    edges = [m * 200 / 3 if m < 15 else 1000 * 6.4 ** ((m - 15) / 27) for m in mels]
    found = []
    for start in range(0, len(wave) - n + 1, framing.hop):
        part = np.zeros(n)
        part[pad : pad + framing.window] = wave[start + pad : start + pad + framing.window].astype(float) * hann
        turns = np.exp(-2j * np.pi * np.outer(np.arange(n // 2 + 1), np.arange(n)) / n)
        power = np.abs(turns @ part) ** 2
        row = []
        for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
            weight = np.interp(frequencies, [low, middle, high], [0, 1, 0], left=0, right=0)
            row.append(math.log(max(float(power @ weight) * 2 / (high - low), FLOOR)))
        found.append(row)
    mel = np.array(found)
    if not framing.coefficients:
        return mel
    bands = framing.bands
    turn = [
        [math.cos(math.pi * k * (2 * b + 1) / (2 * bands)) for k in range(framing.coefficients)] for b in range(bands)
    ]
    return mel @ np.array(turn) * np.where(np.arange(framing.coefficients) == 0, bands**-0.5, (2 / bands) ** 0.5)


@pytest.mark.parametrize("options", [{}, {"features": "mfcc"}, {"window": 0.032, "hop": 0.016, "bands": 20}])
def test_frames_are_those_of_the_definition(options):
    framing = Audio(**options).framing(8000)
    np.testing.assert_allclose(framing.features([NOISE[:1500]]), by_the_book(NOISE[:1500], framing), atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # librosa's own, of its imports
@pytest.mark.parametrize(("rate", "bands"), [(8000, 40), (16000, 64), (22050, 40)])
def test_frames_are_those_of_librosa(rate, bands):
    librosa = pytest.importorskip("librosa", reason="librosa is not installed")
    framing = Audio(bands=bands, features="mfcc").framing(rate)
    mel = librosa.feature.melspectrogram(
        y=NOISE.astype(np.float64), sr=rate, n_fft=framing.fft, win_length=framing.window, hop_length=framing.hop,
        center=False, n_mels=bands,
    )  # fmt: skip
    wanted = np.log(np.maximum(mel, FLOOR))
    np.testing.assert_allclose(Audio(bands=bands).framing(rate).features([NOISE]), wanted.T, atol=1e-4)
    mfcc = librosa.feature.mfcc(S=wanted, n_mfcc=13)
    np.testing.assert_allclose(framing.features([NOISE]), mfcc.T, atol=1e-4)


def test_many_sounds_at_once_give_the_frames_of_each_alone(monkeypatch):
    framing = Framing(8000, 200, 80, 40, 0)
    waves = [NOISE, NOISE[:100], NOISE[500:1500], NOISE[:256]]
    together = framing.features(waves)
    assert len(together) == sum(framing.frames(len(w)) for w in waves) == 47 + 1 + 10 + 1
    monkeypatch.setattr("inputlayer.sound._FRAMES", 7)
    np.testing.assert_array_equal(np.concatenate([framing.features([w]) for w in waves]), together)


def test_a_tone_keeps_its_band_when_it_is_resampled():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    framing = Audio().framing(8000)
    half = resampled(tone, 16000, 8000)
    assert half.dtype == np.float32
    assert len(half) == 8000
    direct = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000).astype(np.float32)
    loud = framing.features([half])[10:-10], framing.features([direct])[10:-10]
    assert (loud[0].argmax(axis=1) == loud[1].argmax(axis=1)).all()
    np.testing.assert_allclose(loud[0].max(axis=1), loud[1].max(axis=1), atol=1e-2)


# -- cells ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_paths_bytes_and_arrays_are_the_same(tmp_path, kind):
    whole = np.round(NOISE * 2**15) / 2**15
    held = file(whole, kind=kind, subtype="PCM_16")
    (tmp_path / "a.sound").write_bytes(held)
    column = Audio(rate=8000)
    state, problems = learn(column, [held, None])
    assert not problems
    found = [
        encode(column, [cell], state, dtype)[0].flat
        for cell, dtype in ((str(tmp_path / "a.sound"), None), (held, None), (whole.tolist(), LISTS))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_ogg_is_read():
    state, problems = learn(Audio(), [file(NOISE, kind="OGG")])
    assert not problems
    assert state.frames == (47, 47)


def test_channels_are_averaged():
    both = np.stack([NOISE[:2000], NOISE[2000:]], axis=1)
    column = Audio(rate=8000)
    state, _ = learn(column, [file(both)])
    mean = both.mean(axis=1, dtype=np.float64).tolist()
    np.testing.assert_array_equal(
        encode(column, [file(both)], state)[0].flat, encode(column, [mean], state, LISTS)[0].flat
    )


def test_the_rate_is_the_most_common_one_and_statistics_are_of_it():
    low, high = [file(NOISE[i::4], 8000) for i in range(2)], [file(NOISE, 16000)]
    column = Audio()
    state, problems = learn(column, [*high, *low, None])
    assert not problems
    assert (state.rate, state.sounds, state.others, state.missing) == (8000, 3, 1, 1)
    assert state.mean == learn(column, low)[0].mean
    wire, _ = encode(column, [*high, *low, None], state)
    assert wire.lengths.tolist() == [22, 10, 10, 0]  # 4,000 samples at 16,000 a second are 2,000 at 8,000
    assert column.describe(state)["resampled"] == 1
    assert learn(column, [low[0], high[0]])[0].rate == 8000  # the lower of two as common


def test_each_number_of_a_frame_is_standardised_over_all_training_frames():
    cells = [file(NOISE * loud) for loud in (0.1, 1.0, 3.0)]
    column = Audio()
    state, _ = learn(column, cells)
    wire, _ = encode(column, cells, state)
    np.testing.assert_allclose(wire.flat.mean(axis=0, dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(wire.flat.std(axis=0, dtype=np.float64), 1, atol=1e-6)


def test_silence_is_a_sound():
    column = Audio()
    state, problems = learn(column, [file(np.zeros(4000))])
    assert not problems
    assert set(state.mean) == {float(np.float32(math.log(FLOOR)))}
    assert set(state.spread) == {1.0}
    assert not encode(column, [file(np.zeros(300))], state)[0].flat.any()


def test_later_seconds_are_left_out():
    column = Audio(max_seconds=0.1)
    state, _ = learn(column, [file(NOISE)])
    assert state.frames == (7, 7)
    assert (
        encode(column, [file(NOISE[:800])], state)[0].flat.tolist()
        == encode(column, [file(NOISE)], state)[0].flat.tolist()
    )


def bad_cells(folder):
    (folder / "fine.wav").write_bytes(file(NOISE))
    (folder / "text.wav").write_text("no sound at all")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "nothing.wav").write_bytes(file(np.zeros(0)))
    (folder / "cut.flac").write_bytes(file(np.tile(NOISE, 20), kind="FLAC", subtype="PCM_16")[:60000])
    (folder / "hole.wav").write_bytes(file(np.where(np.arange(4000) == 9, np.nan, NOISE)))
    names = ("text.wav", "fine.wav", "gone.wav", "empty.wav", "nothing.wav", "cut.flac", "hole.wav", "")
    return [str(folder / name) for name in names]


def test_all_bad_files_are_named_at_once(tmp_path):
    names = bad_cells(tmp_path)
    table = {"clip": [*names, names[1]], "word": ["a", "b"] * 4 + ["a"]}
    schema = il.Schema({"clip": il.Audio(), "word": il.Category()}, il.Cells(steps="clip"), target="word")
    with pytest.raises(TableError) as caught:
        il.InputLayer(schema).fit(table)
    found = {(p.what, tuple(p.rows)) for p in caught.value.problems}
    assert found == {
        ("cannot be read as sound", (0, 3, 5)),
        ("is no file that is there", (2, 7)),
        ("is a sound without any samples", (4,)),
        ("is a sound with samples that are missing or infinite", (6,)),
    }
    assert "text.wav" in str(caught.value)


def test_bad_files_are_named_beside_other_problems_when_encoded(tmp_path):
    names = bad_cells(tmp_path)
    fine = {"clip": [names[1]] * 2, "load": [1.0, 2.0], "word": ["a", "b"]}
    columns = {"clip": il.Audio(), "load": il.Number(), "word": il.Category()}
    layer = il.InputLayer(il.Schema(columns, il.Cells(steps="clip"), target="word")).fit(fine)
    with pytest.raises(TableError) as caught:
        layer.encode({**fine, "clip": [names[0], names[2]]})
    assert len(caught.value.problems) == 2
    with pytest.raises(TableError) as caught:
        layer.encode({**fine, "load": ["much", "more"], "clip": [names[0], names[1]]})
    assert [(p.column, len(p.rows)) for p in caught.value.problems] == [("load", 2), ("clip", 1)]


# -- files that are cut short -----------------------------------------------------------------------------------------

CUT = "is a sound that is cut short: its end is missing"


def told(held, seconds=None):
    """What is wrong with a file, or how many samples it has; reading for the check alone finds the same."""
    found = []
    for read in (load, check):
        try:
            found.append(read(held, None, seconds))
        except UnreadableError as error:
            found.append(error.what)
    if not isinstance(found[0], str):
        assert found[1] is None
        return len(found[0].samples)
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "RIFX", "AIFF", "OGG"])
@pytest.mark.parametrize("lost", [1, 2, 100, 3001])
def test_a_file_without_its_end_is_refused(tmp_path, kind, lost):
    made = io.BytesIO()
    soundfile.write(made, NOISE, 8000, **({"format": "WAV", "endian": "BIG"} if kind == "RIFX" else {"format": kind}))
    held, path = made.getvalue(), tmp_path / "a"
    path.write_bytes(held[:-lost])
    assert told(held) == 4000
    assert told(held[:-lost]) == told(str(path)) == told(held[:-lost], seconds=0.01) == CUT


@pytest.mark.parametrize("lost", [1, 100, 3001])
def test_a_flac_file_without_its_end_is_refused(lost):
    held = file(NOISE, kind="FLAC", subtype="PCM_16")
    assert told(held) == 4000
    assert told(held[:-lost]) == "cannot be read as sound"


@pytest.mark.parametrize("size", [0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_a_stream_whose_length_was_not_known_is_read_to_its_end(size):
    held = bytearray(file(NOISE, subtype="PCM_16"))
    at = held.index(b"data") + 4
    held[at : at + 4] = struct.pack("<I", size)
    assert told(bytes(held)) == told(bytes(held[:-200])) + 100 == 4000


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_file_that_does_not_tell_its_own_length_is_read_to_its_end(size):
    held = bytearray(file(NOISE, subtype="PCM_16"))
    held[4:8] = struct.pack("<I", size)
    assert told(bytes(held)) == told(bytes(held[:-200])) + 100 == 4000


def test_a_flac_stream_of_unknown_length_is_refused():
    held = bytearray(file(NOISE, kind="FLAC", subtype="PCM_16"))
    assert struct.unpack(">Q", held[18:26])[0] % 2**36 == 4000
    held[21:26] = bytes([held[21] & 0xF0, 0, 0, 0, 0])
    assert told(bytes(held)) == told(bytes(held), seconds=0.1) == "is a sound that does not say how long it is"


def by_hand(samples, after=b""):
    """Seven samples of one byte each, of which so many are there, behind a chunk of five bytes."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    other = struct.pack("<4sI6s", b"LIST", 5, b"INFOx\0")
    body = b"WAVE" + form + other + struct.pack("<4sI", b"data", 7) + bytes(range(100, 100 + samples)) + after
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def test_chunks_begin_at_even_places_and_the_last_one_may_end_at_an_odd_one():
    assert told(by_hand(7)) == told(by_hand(7, b"\0")) == told(by_hand(7, b"\0LIST\4\0\0\0INFO")) == 7
    assert told(by_hand(6)) == CUT


def test_a_large_file_tells_its_length_in_a_chunk_of_its_own():
    held = bytearray(file(NOISE, kind="RF64", subtype="PCM_16"))
    at = held.index(b"ds64") + 16  # behind the name, the chunk's length and the file's
    assert struct.unpack("<Q", held[at : at + 8]) == (8000,)
    held[at : at + 8] = struct.pack("<Q", 8002)
    assert told(bytes(held)) == CUT
    held[at : at + 8] = struct.pack("<Q", 7998)
    assert told(bytes(held)) == 3999


def test_what_follows_the_last_page_of_an_ogg_file_is_no_harm():
    assert told(file(NOISE, kind="OGG") + b"TAG" + bytes(125)) == 4000


@pytest.mark.parametrize(
    "beginning", [b"RIFF", b"RIFF\1\0\0\0WAVE", b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0", b"OggS"]
)
def test_the_mere_beginning_of_a_file_cannot_be_read(beginning):
    assert told(beginning) in ("cannot be read as sound", CUT)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_a_sound_read_in_pieces_is_the_sound_read_at_once(monkeypatch, kind):
    both = file(np.stack([NOISE, NOISE[::-1]], axis=1), kind=kind, subtype="PCM_16")
    whole = load(both, None, None)
    monkeypatch.setattr("inputlayer.sound._PIECE", 999)
    np.testing.assert_array_equal(load(both, None, None).samples, whole.samples)
    assert told(both) == 4000
    assert told(both, seconds=0.3) == 2400


def test_a_check_finds_what_learning_finds_and_reads_each_file_once(tmp_path, monkeypatch):
    names = bad_cells(tmp_path)
    cells, column = [*names, names[0], names[2]], Audio()
    _, learnt = learn(column, cells)
    read = []

    def counted(cell, rate, seconds):
        read.append(cell)
        check(cell, rate, seconds)

    monkeypatch.setattr("inputlayer.columns.audio.check", counted)
    values, problems = accept(column, cells)
    column.examine(values)
    assert [str(p) for p in problems] == learnt[: len(problems)]
    assert len(problems) == 4
    assert "is no file that is there (row 2 = " in learnt[1]
    assert sorted(read) == sorted({*names} - {""})


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([1.0, 2.0], "holds Float64 .* A cell is a path, the bytes of a file, or a list of samples"),
        ([["a"]], r"holds List\(String\)"),
        ([[1.0, 2.0]], "is a list of numbers, which says no rate .* Give rate="),
        ([b"", b"RIFF"], r"cannot be read as sound \(row 0 = '0 bytes', row 1 = '4 bytes'\)"),
        (["\0"], "is no file that is there"),
        (["x" * 5000], "is no file that is there"),
    ],
)
def test_what_is_no_sound_is_noted(cells, message):
    _, problems = learn(Audio(), cells)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(problems[0])


def test_rates_and_lengths_that_cannot_be_are_noted(monkeypatch):
    _, problems = learn(Audio(), [file(NOISE, 50)])
    assert problems[0].startswith("column 'clip': is a sound of 50 samples a second (row 0 = ")
    monkeypatch.setattr("inputlayer.sound._SAMPLES", 3999)
    _, problems = learn(Audio(), [file(NOISE)])
    assert "Set max_seconds, or cut it into pieces." in problems[0]
    assert not learn(Audio(max_seconds=0.2), [file(NOISE)])[1]


def test_options_that_do_not_fit_the_learnt_rate_are_noted():
    _, problems = learn(Audio(bands=200), [file(NOISE)])
    assert "of bands=200 hold no frequency at rate 8000 and window=0.025. Give fewer bands" in problems[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0}, "rate=0 is not a whole number"),
        ({"features": "fft"}, "features='fft' is not one of"),
        ({"hop": -1.0}, "hop=-1.0 is no number of seconds"),
        ({"max_seconds": math.inf}, "max_seconds=inf"),
        ({"coefficients": 5}, "coefficients=5 has no effect with features='mel'"),
        ({"features": "mfcc", "bands": 10}, "bands=10 give at most 10 coefficients, not 13"),
        ({"rate": 8000, "hop": 1e-5}, "A window or hop is shorter than a sample"),
        ({"rate": 8000, "bands": 200}, "hold no frequency at rate 8000"),
        ({"role": "target"}, "a sound cannot be predicted"),
    ],
)
def test_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        Audio(**options)


def test_absence_of_the_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'inputlayer\[audio\]'"):
        learn(Audio(), [b"RIFF"])


@pytest.mark.parametrize(("quick", "at_most"), [(0.0, 18), (60.0, 1)])
def test_few_cells_are_held_at_a_time_and_quick_ones_are_read_without_threads(quick, at_most, monkeypatch):
    monkeypatch.setattr("inputlayer.media._QUICK", quick)
    held, most, lock, threads = 0, 0, threading.Lock(), set()

    def reader(cell):
        nonlocal held, most
        with lock:
            threads.add(threading.current_thread().name)
            held += 1
            most = max(most, held)
        return cell

    media = Media.of(pl.Series([str(i) for i in range(500)]), Where("clip", 0, Problems()), (1,), "")
    for i, cell in enumerate(media.read(reader, "Reading")):
        assert cell == str(i)
        with lock:
            held -= 1
    assert most <= at_most
    assert (len(threads) > 1) == (quick == 0)


# -- the trained half -------------------------------------------------------------------------------------------------


def test_frames_are_values_and_padding_is_absent():
    column = Audio(rate=8000, bands=3)
    state, _ = learn(column, [NOISE.tolist()], LISTS)
    module = Audio.module({"clip": (column, state)})
    part = module({"clip": torch.tensor([[[1.0, 2.0, 3.0], [math.nan] * 3]])})
    assert module.channels == ("clip[0]", "clip[1]", "clip[2]")
    assert part.values.tolist() == [[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]]
    assert part.present.tolist() == [[[True] * 3, [False] * 3]]


def test_a_pooled_sound_is_the_mean_over_its_frames():
    column = Audio(rate=8000, bands=3, width=2)
    state, _ = learn(column, [NOISE.tolist(), None], LISTS)
    module = Audio.pool({"clip": (column, state)})
    assert module.extras == ("clip[0]", "clip[1]", "clip missing")
    frames = torch.randn(1, 2, 4, 3)
    lengths = torch.tensor([[3, 0]])
    frames[0, 0, 3:] = math.nan
    frames[0, 1] = math.nan
    found = module({"clip": frames, "clip.lengths": lengths}).extras[0]
    torch.testing.assert_close(found[0, :2], torch.relu(module.means[0].layer(frames[0, 0, :3])).mean(dim=0))
    assert found[0, 2] == 0
    assert found[1].tolist() == [0.0, 0.0, 1.0]
    found.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


def tones(count):
    """Low and high tones of uneven length."""
    draw = np.random.default_rng(1)
    clips, names = [], []
    for i in range(count):
        n, pitch = draw.integers(1600, 3200), (400, 1500)[i % 2]
        tone = np.sin(2 * np.pi * pitch * np.arange(n) / 8000) * draw.uniform(0.1, 1) + draw.normal(0, 0.05, n)
        clips.append(file(tone.astype(np.float32)))
        names.append(("low", "high")[i % 2])
    return {"clip": clips, "pitch": names}


@pytest.mark.parametrize("steps", [True, False])
def test_sounds_are_told_apart_and_the_model_is_kept(tmp_path, steps):
    columns = {"clip": il.Audio(bands=10, width=8), "pitch": il.Category()}
    schema = il.Schema(columns, il.Cells(steps="clip" if steps else None), target="pitch")
    table = tones(24)
    model = il.Model(il.InputLayer(schema), il.LSTM(units=8))
    model.fit(table, epochs=12, batch=8, lr=2e-2, seed=0, device="cpu")
    assert model.evaluate(table, allow_seen=True)["accuracy"] == 1.0
    model.save(tmp_path / "m.safetensors")
    assert il.load(tmp_path / "m.safetensors").predict(table).equals(model.predict(table))
