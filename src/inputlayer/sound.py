"""Sound: decoding, resampling, and frames of mel energies, with the same in a graph.

The mel scale and filters are those of Slaney, "Auditory Toolbox", 1998, as librosa computes them by default; the
cosine transform is the orthonormal type 2. All of it is done in double precision and rounded to float32 at the end.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

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
_FRAMES = 1024  # frames that are worked on at once: few enough for a processor's cache


class Sound(NamedTuple):
    """One channel of samples, (n,) float32, and their rate in samples a second."""

    samples: np.ndarray
    rate: int


def load(cell: str | bytes | np.ndarray, rate: int | None, seconds: float | None) -> Sound:
    """A sound of one channel, the mean of all there are, at `rate` if that is given, cut after `seconds`.

    An array (n,) has the rate `rate`. Raises `UnreadableError` for what is no sound, and `MissingExtraError`.
    """
    if isinstance(cell, np.ndarray):
        if rate is None:
            raise UnreadableError("is a list of numbers, which says no rate", "Give rate=, in samples a second.")
        samples, own = cell.astype(np.float32), rate
    else:
        samples, own = _decoded(cell, seconds)
    if not len(samples):
        raise UnreadableError("is a sound without any samples")
    if not np.isfinite(samples).all():
        raise UnreadableError("is a sound with samples that are missing or infinite")
    if rate is not None and own != rate:
        samples, own = resampled(samples, own, rate), rate
    return Sound(samples if seconds is None else samples[: max(1, round(seconds * own))], own)


def _decoded(cell: str | bytes, seconds: float | None) -> tuple[np.ndarray, int]:
    soundfile = _import_soundfile()
    source = io.BytesIO(cell) if isinstance(cell, bytes) else str(existing(cell))
    try:
        with soundfile.SoundFile(source) as file:
            if file.samplerate not in _RATES:
                raise UnreadableError(f"is a sound of {file.samplerate} samples a second")
            wanted = file.frames if seconds is None else min(file.frames, math.ceil(seconds * file.samplerate))
            if wanted * file.channels > _SAMPLES:
                remedy = "Set max_seconds, or cut it into pieces."
                raise UnreadableError(f"is a sound of more than {_SAMPLES // 10**6} million samples", remedy)
            samples = file.read(wanted, dtype="float32", always_2d=True)
    except (OSError, RuntimeError, TypeError, ValueError):
        # soundfile's texts name addresses and file handles, which would make each of them another problem.
        raise UnreadableError(
            "cannot be read as sound", "It must be whole, and WAV, FLAC or OGG whatever it is called."
        ) from None
    if len(samples) < wanted:
        raise UnreadableError("is a sound that is cut short: its end is missing")
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float64).astype(np.float32)
    return mono, int(file.samplerate)


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
