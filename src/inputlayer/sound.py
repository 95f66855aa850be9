"""Sound: decoding, resampling, and frames of mel energies, with the same in a graph.

The mel scale and filters are those of Slaney, "Auditory Toolbox", 1998, as librosa computes them by default; the
cosine transform is the orthonormal type 2. All of it is done in double precision and rounded to float32 at the end.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from inputlayer.errors import MissingExtraError
from inputlayer.media import UnreadableError, existing

if TYPE_CHECKING:
    from types import ModuleType

    from inputlayer.graph import Graph

FLOOR = 1e-10  # the smallest energy, whose logarithm silence has
_RATES = range(100, 1_000_000)  # samples a second that a sound can have
_SAMPLES = 100_000_000  # of all channels, that one cell may hold: 3.5 hours at 8,000 Hz
_ENDLESS = 2**62  # samples: what libsndfile says of a FLAC stream whose length is not known, and then cannot read
_PIECE = 2**20  # of each channel, that are decoded at once
_CHUNKED: dict[bytes, tuple[Literal["little", "big"], bytes]] = {  # by how a file begins: its byte order, its samples
    b"RIFF": ("little", b"data"),
    b"RIFX": ("big", b"data"),
    b"RF64": ("little", b"data"),
    b"FORM": ("big", b"SSND"),
}
_CHUNKS = 1000  # of a file, that are looked at
_UNTOLD, _LARGE = 0x7FFFF000, 0xFFFFFFFF  # lengths from here on say nothing; this one, that it is in the ds64 chunk
_PAGE = 27 + 255 + 255 * 255  # bytes of an OGG page, at most
_FRAMES = 1024  # frames that are worked on at once: few enough for a processor's cache


class Sound(NamedTuple):
    """One channel of samples, (n,) float32, and their rate in samples a second."""

    samples: np.ndarray
    rate: int


def load(cell: str | bytes | np.ndarray, rate: int | None, seconds: float | None) -> Sound:
    """A sound of one channel, the mean of all there are, at `rate` if that is given, cut after `seconds`.

    An array (n,) has the rate `rate`. Raises `UnreadableError` for what is no sound, and `MissingExtraError`.
    """
    pieces = list(_pieces(cell, rate, seconds))
    samples, own = (
        pieces[0].samples if len(pieces) == 1 else np.concatenate([p.samples for p in pieces]),
        pieces[0].rate,
    )
    if rate is not None and own != rate:
        samples, own = resampled(samples, own, rate), rate
    return Sound(samples if seconds is None else samples[: max(1, round(seconds * own))], own)


def check(cell: str | bytes | np.ndarray, rate: int | None, seconds: float | None) -> None:
    """Raise what `load` would. The sound is decoded, as only that shows what is wrong with it, but never held whole."""
    for _ in _pieces(cell, rate, seconds):
        pass


def _pieces(cell: str | bytes | np.ndarray, rate: int | None, seconds: float | None) -> Iterator[Sound]:
    """The sound in pieces, at least one, at its own rate."""
    if isinstance(cell, np.ndarray):
        if rate is None:
            raise UnreadableError("is a list of numbers, which says no rate", "Give rate=, in samples a second.")
        pieces: Iterable[Sound] = [Sound(cell.astype(np.float32), rate)] if len(cell) else []
    else:
        pieces = _decoded(cell, seconds)
    some = False
    for piece in pieces:
        if not np.isfinite(piece.samples).all():
            raise UnreadableError("is a sound with samples that are missing or infinite")
        yield piece
        some = True
    if not some:
        raise UnreadableError("is a sound without any samples")


def _decoded(cell: str | bytes, seconds: float | None) -> Iterator[Sound]:
    soundfile = _import_soundfile()
    source = io.BytesIO(cell) if isinstance(cell, bytes) else str(existing(cell))
    try:
        if _is_cut(source):
            raise _cut_short()
        with soundfile.SoundFile(source) as file:
            if file.samplerate not in _RATES:
                raise UnreadableError(f"is a sound of {file.samplerate} samples a second")
            if file.frames >= _ENDLESS:
                remedy = "Write it to a file anew, not as a stream, or leave the rows out."
                raise UnreadableError("is a sound that does not say how long it is", remedy)
            left = file.frames if seconds is None else min(file.frames, math.ceil(seconds * file.samplerate))
            if left * file.channels > _SAMPLES:
                remedy = "Set max_seconds, or cut it into pieces."
                raise UnreadableError(f"is a sound of more than {_SAMPLES // 10**6} million samples", remedy)
            while left:
                samples = file.read(min(left, _PIECE), dtype="float32", always_2d=True)
                if not len(samples):
                    raise _cut_short()
                left -= len(samples)
                yield Sound(_mono(samples), int(file.samplerate))
    except (OSError, RuntimeError, TypeError, ValueError):
        # soundfile's texts name addresses and file handles, which would make each of them another problem.
        raise UnreadableError(
            "cannot be read as sound", "It must be whole, and WAV, FLAC or OGG whatever it is called."
        ) from None


def _mono(samples: np.ndarray) -> np.ndarray:
    """Samples (n, channels) float32 -> the mean of the channels, (n,) float32."""
    return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float64).astype(np.float32)


def _cut_short() -> UnreadableError:
    return UnreadableError("is a sound that is cut short: its end is missing", "Copy it anew, or leave the rows out.")


def _is_cut(source: str | io.BytesIO) -> bool:
    """Whether a WAV, AIFF or OGG file ends before it says it does: libsndfile reads what is left, and tells nobody."""
    with Path(source).open("rb") if isinstance(source, str) else nullcontext(source) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        begins = file.read(12)
        if begins[:4] == b"OggS":
            cut = _is_cut_ogg(file, size)
        else:
            cut = begins[:4] in _CHUNKED and _is_cut_chunk(file, size, begins)
        file.seek(0)
    return cut


def _is_cut_chunk(file: BinaryIO, size: int, begins: bytes) -> bool:
    """Whether the chunk of samples is longer than what is left of the file.

    A length of 0, or of about 2 or 4 GB, is what programs leave there that cannot go back to the beginning at the end.
    Chunks begin at even places; that a last one of odd length has nothing behind it is no harm.
    """
    order, name = _CHUNKED[begins[:4]]
    large: int | None = None  # an RF64 file has lengths of 64 bits, in a chunk of their own
    if begins[:4] != b"RF64" and not 0 < int.from_bytes(begins[4:8], order) < _UNTOLD:
        return False
    for _ in range(_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return False
        length = int.from_bytes(head[4:], order)
        if head[:4] == name:
            length, untold = (length, _UNTOLD) if large is None or length != _LARGE else (large, 2**63)
            return size - file.tell() < length < untold
        inside = file.read(min(length, 16)) if head[:4] == b"ds64" else b""
        large = int.from_bytes(inside[8:], order) if inside else large
        file.seek(length + length % 2 - len(inside), os.SEEK_CUR)
    return False


def _is_cut_ogg(file: BinaryIO, size: int) -> bool:
    """Whether the last page is longer than what is left of the file (RFC 3533)."""
    start = max(size - _PAGE, 0)
    file.seek(start)
    tail = file.read(_PAGE)
    page = tail[tail.rfind(b"OggS") :] if b"OggS" in tail else b""
    if not page:
        return False
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    return len(page) < 27 or len(segments) < page[26] or len(page) < 27 + len(segments) + sum(segments)


def _import_soundfile() -> ModuleType:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the package is there, the library that it wraps is not
        raise MissingExtraError("soundfile", "audio", "Reading sound") from None
    return soundfile  # type: ignore[no-any-return]  # it has no types


def resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Samples (n,) at `rate` -> float32 at the rate `wanted`, by a polyphase filter."""
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    return np.asarray(resample_poly(samples.astype(np.float64), wanted // common, rate // common), np.float32)


@dataclass(frozen=True)
class Framing:
    """How samples become frames: `window` and `hop` samples, `fft` the power of two that a window is padded to.

    `bands` mel bands; `coefficients` of their cosine transform, or 0 for the bands themselves.
    """

    rate: int
    window: int
    hop: int
    bands: int
    coefficients: int

    @property
    def fft(self) -> int:
        """Samples of a frame, the window in its middle."""
        return 1 << (self.window - 1).bit_length()

    @property
    def width(self) -> int:
        """Numbers of a frame."""
        return self.coefficients or self.bands

    @cached_property
    def shape(self) -> np.ndarray:
        """The Hann window, (fft,), zero around its `window` samples."""
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)
        left = (self.fft - self.window) // 2
        return np.pad(hann, (left, self.fft - self.window - left))

    @cached_property
    def filters(self) -> np.ndarray:
        """Mel filters, (fft // 2 + 1, bands): triangles of equal area."""
        edges = _hertz(np.linspace(0.0, _mel(self.rate / 2), self.bands + 2))
        bins = np.linspace(0.0, self.rate / 2, self.fft // 2 + 1)[:, None]
        rising = (bins - edges[:-2]) / np.diff(edges)[:-1]
        falling = (edges[2:] - bins) / np.diff(edges)[1:]
        return np.asarray(np.maximum(0.0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2]))

    @cached_property
    def cosines(self) -> np.ndarray:
        """The cosine transform of the bands, (bands, coefficients)."""
        n, k = np.arange(self.bands)[:, None], np.arange(self.coefficients)
        scale = np.where(k == 0, np.sqrt(1 / self.bands), np.sqrt(2 / self.bands))
        return np.asarray(np.cos(np.pi * k * (2 * n + 1) / (2 * self.bands)) * scale)

    @property
    def empty(self) -> int:
        """How many bands hold no frequency."""
        return int((self.filters.sum(axis=0) == 0).sum())

    def frames(self, samples: int) -> int:
        """How many frames so many samples give: whole ones, and at least one."""
        return max(samples - self.fft, 0) // self.hop + 1

    def features(self, waves: Sequence[np.ndarray]) -> np.ndarray:
        """Samples (n,) each -> the frames of all of them, one after the other, (total, width) float32."""
        made = [self._features(torch.cat(frames)) for frames in self._pieces(waves)]
        return torch.cat(made).numpy() if made else np.zeros((0, self.width), np.float32)

    def _pieces(self, waves: Sequence[np.ndarray]) -> Iterator[list[Tensor]]:
        """Frames (n, fft) float32 of the waves, views of them, in lists that hold about as many frames each."""
        held: list[Tensor] = []
        count = 0
        for wave in waves:
            wave = np.pad(wave, (0, self.fft - len(wave))) if len(wave) < self.fft else wave
            for frames in torch.split(torch.from_numpy(wave).unfold(0, self.fft, self.hop), _FRAMES):
                held.append(frames)
                count += len(frames)
                if count >= _FRAMES:
                    yield held
                    held, count = [], 0
        if held:
            yield held

    def _features(self, frames: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(frames.double() * torch.from_numpy(self.shape))
        power = spectrum.real.square() + spectrum.imag.square()
        made = torch.log((power @ torch.from_numpy(self.filters)).clamp_min(FLOOR))
        return (made @ torch.from_numpy(self.cosines) if self.coefficients else made).float()

    def onnx(self, g: Graph, samples: str) -> str:
        """`features` in a graph: samples (B, N) float32 -> frames (B, T, width) float32."""
        count = g("Gather", g("Shape", samples), g.constant(1), axis=0)
        short = g("Max", g("Sub", g.constant(self.fft), count), g.constant(0))
        pads = g("Concat", g.constant([0, 0, 0]), g("Unsqueeze", short, g.constant([0])), axis=0)
        padded = g("Unsqueeze", g.cast(g("Pad", samples, pads), np.float64), g.constant([2]))
        shape = g.constant(self.shape)
        spectrum = g("STFT", padded, g.constant(self.hop), shape, g.constant(self.fft), onesided=1)
        power = g("ReduceSum", g("Mul", spectrum, spectrum), g.constant([-1]), keepdims=0)
        energy = g("MatMul", power, g.constant(self.filters))
        made = g("Log", g("Max", energy, g.constant(np.float64(FLOOR))))
        return g.cast(g("MatMul", made, g.constant(self.cosines)) if self.coefficients else made, np.float32)

    def onnx_frames(self, g: Graph, samples: str) -> str:
        """`frames` in a graph: how many samples (B,) int64 -> how many frames, none of none."""
        over = g("Max", g("Sub", samples, g.constant(self.fft)), g.constant(0))
        count = g("Add", g("Div", over, g.constant(self.hop)), g.constant(1))
        return g("Where", g("Greater", samples, g.constant(0)), count, g.constant(0))


def _mel(hertz: float) -> float:
    """Slaney's scale: linear to 1,000 Hz, then logarithmic."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def _hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mel - 15)))
