"""Audio: a recording, turned into frames of mel energies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast, get_args

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from inputlayer.columns.base import (
    Column,
    ColumnModule,
    Example,
    Part,
    PooledModule,
    Ragged,
    State,
    TwinPart,
    Where,
    Wire,
    Wires,
    choose,
    wire_name,
)
from inputlayer.entries import MeanEntry
from inputlayer.errors import OptionError
from inputlayer.media import Held, Media
from inputlayer.sound import Framing, Sound, check, load
from inputlayer.statistics import Moments

if TYPE_CHECKING:
    from inputlayer.graph import Graph

Features = Literal["mel", "mfcc"]
_COEFFICIENTS = 13
_SAMPLES = 2**21  # samples that are turned into frames at once
_READING, _CHECKING = "Reading sound", "Checking sound"


@dataclass(frozen=True)
class AudioState(State):
    """What an audio column learnt.

    `rate`: samples a second that all sounds are brought to. `mean`, `spread`: of each number of a frame, over the
    training sounds (with ``rate=None`` over those that have that rate). `sounds`, `missing`: training cells with one
    and without; `others`: sounds of another rate. `frames`: the fewest and the most of one sound.
    """

    rate: int
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    sounds: int
    missing: int
    others: int
    frames: tuple[int, int]


class Heard(NamedTuple):
    """What the sounds of one rate gave: how many, the moments of each number of a frame, fewest and most frames."""

    sounds: int
    moments: tuple[Moments, ...]
    frames: tuple[int, int]

    def merge(self, other: Heard) -> Heard:
        """Both."""
        moments = tuple(a.merge(b) for a, b in zip(self.moments, other.moments, strict=True))
        frames = min(self.frames[0], other.frames[0]), max(self.frames[1], other.frames[1])
        return Heard(self.sounds + other.sounds, moments, frames)


@dataclass(frozen=True)
class AudioStatistic:
    """What one block gives: by rate, and how many cells are missing."""

    rates: dict[int, Heard]
    missing: int

    def merge(self, other: AudioStatistic) -> AudioStatistic:
        """Both blocks, `self` being the earlier."""
        rates = dict(self.rates)
        for rate, heard in other.rates.items():
            rates[rate] = rates[rate].merge(heard) if rate in rates else heard
        return AudioStatistic(rates, self.missing + other.missing)


@dataclass(frozen=True, kw_only=True)
class Audio(Column):
    """A recording: the path of a WAV, FLAC or OGG file, the bytes of one, or a list of samples.

    A sound becomes frames of log mel energies (natural logarithm, energies of at least 1e-10) or of their MFCC, each
    number standardised by the training sounds. Several channels are averaged; other rates are resampled. The window is
    Hann's, zero-padded to a power of two; only whole frames are taken, and a shorter sound is padded to one. Files are
    read a few at a time, by threads unless they are quick; one whose end is missing is refused. A missing cell is a
    sound without frames. Samples of a file lie from -1 to 1; lists are taken as they are, so that beside files 16-bit
    samples, as `scipy.io.wavfile` reads them, have to be divided by 32,768.

    With ``Cells(steps=...)`` the frames are the steps. Elsewhere a sound is one vector: the mean over its frames of a
    small trained layer.

    Parameters
    ----------
    rate
        Samples a second that every sound is brought to. None: the most common rate of the training sounds; only sounds
        of that rate then count for means and spreads. Lists of samples need it.
    features
        ``"mel"`` energies, or ``"mfcc"``, the first coefficients of their cosine transform.
    bands
        Mel bands between 0 Hz and half the rate.
    coefficients
        How many MFCC. None: 13.
    window, hop
        Length of a frame and the step between frames, in seconds.
    max_seconds
        What comes later in a sound is left out.
    width
        Numbers of the vector that a sound becomes where it is no sequence of steps.

    Raises
    ------
    OptionError
        For a value that an option cannot have, and for an option without effect.
    MissingExtraError
        When a file is read and soundfile is not installed.

    Examples
    --------
    >>> from inputlayer.errors import Problems
    >>> clip, where = Audio(rate=8000), Where("clip", 0, Problems())
    >>> cells = clip.accept(pl.Series([[0.0, 0.5] * 400, [0.25] * 800]), where)
    >>> state = clip.finish(clip.learn(cells, 0), where)
    >>> clip.encode(cells, state)[""].flat.shape
    (14, 40)
    """

    kind: ClassVar[str] = "audio"
    State: ClassVar[type[State]] = AudioState
    invertible: ClassVar[bool] = False
    steps: ClassVar[bool] = True

    rate: int | None = None
    features: Features = "mel"
    bands: int = 40
    coefficients: int | None = None
    window: float = 0.025
    hop: float = 0.010
    max_seconds: float | None = None
    width: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("features", self.features, get_args(Features))
        for option in ("rate", "bands", "coefficients", "width"):
            value = getattr(self, option)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise OptionError(f"{option}={value!r} is not a whole number of at least 1.")
        for option in ("window", "hop", "max_seconds"):
            value = getattr(self, option)
            if value is not None and not (isinstance(value, int | float) and 0 < value < float("inf")):
                raise OptionError(f"{option}={value!r} is no number of seconds above 0.")
        if self.coefficients is not None and self.features == "mel":
            raise OptionError(f"coefficients={self.coefficients} has no effect with features='mel'.")
        if self.features == "mfcc" and self._coefficients > self.bands:
            raise OptionError(f"bands={self.bands} give at most {self.bands} coefficients, not {self._coefficients}.")
        if self.role == "target":
            raise OptionError("role='target': a sound cannot be predicted.")
        if self.rate is not None and (too := self._too_fine(self.rate)):
            raise OptionError(f"{too[0][0].upper()}{too[0][1:]}. {too[1]}")

    @property
    def _coefficients(self) -> int:
        return 0 if self.features == "mel" else self.coefficients or _COEFFICIENTS

    def framing(self, rate: int) -> Framing:
        """How sounds of `rate` become frames."""
        window, hop = (max(1, round(seconds * rate)) for seconds in (self.window, self.hop))
        return Framing(rate, window, hop, self.bands, self._coefficients)

    def _too_fine(self, rate: int) -> tuple[str, str] | None:
        """What is wrong with the options at `rate`, and what to do."""
        if min(self.window, self.hop) * rate < 1:
            return f"a window or hop is shorter than a sample at a rate of {rate}", "Make it longer."
        if empty := self.framing(rate).empty:
            what = f"{empty} of bands={self.bands} hold no frequency at rate {rate} and window={self.window}"
            return what, "Give fewer bands, or a longer window."
        return None

    # -- fitted half --------------------------------------------------------------------------------------------------

    def accept(self, values: pl.Series, where: Where) -> Media:
        """Cells as they are; they are read in `examine`, `learn` and `encode`, and bad ones noted in `where` then."""
        return Media.of(values, where, (1,), "A cell is a path, the bytes of a file, or a list of samples.")

    def examine(self, values: Media) -> None:
        """Decode each sound, and keep nothing."""
        values.check(partial(check, rate=self.rate, seconds=self.max_seconds), _CHECKING)

    def _sounds(self, values: Media, rate: int | None) -> Iterator[Sound | None]:
        return values.read(partial(load, rate=rate, seconds=self.max_seconds), _READING)

    def learn(self, values: Media, first_row: int) -> AudioStatistic:
        """Moments of each number of a frame, by the rate of the sounds."""
        found: dict[int, Heard] = {}
        held: dict[int, Held[np.ndarray]] = {}

        def hear(rate: int) -> None:
            heard = self._heard(rate, held[rate].take())
            found[rate] = found[rate].merge(heard) if rate in found else heard

        for sound in self._sounds(values, self.rate):
            if sound is not None:
                same = held.setdefault(sound.rate, Held(_SAMPLES))
                if same.add(sound.samples, len(sound.samples)):
                    hear(sound.rate)
        for rate in held:
            if held[rate].things:
                hear(rate)
        return AudioStatistic(found, values.missing)

    def _heard(self, rate: int, waves: list[np.ndarray]) -> Heard:
        framing = self.framing(rate)
        frames = framing.features(waves).astype(np.float64)
        counts = [framing.frames(len(wave)) for wave in waves]
        return Heard(len(waves), tuple(Moments.of(x) for x in frames.T), (min(counts), max(counts)))

    def finish(self, statistic: Any, where: Where) -> AudioState:
        """Choose the rate; note a problem if there is no sound, or if the options do not fit the rate."""
        rates: dict[int, Heard] = statistic.rates
        if not rates:
            what, remedy = "all values are missing", "Remove the column from the schema, or give rows that have values."
            where.problems.add(what, column=where.column, remedy=remedy)
            return AudioState(self.rate or 1, (), (), 0, statistic.missing, 0, (0, 0))
        rate = min(rates, key=lambda r: (-rates[r].sounds, r))
        if too := self._too_fine(rate):
            where.problems.add(too[0], column=where.column, remedy=too[1])
        heard = rates[rate]
        return AudioState(
            rate=rate,
            mean=tuple(m.mean for m in heard.moments),
            spread=tuple(m.spread or 1.0 for m in heard.moments),
            sounds=sum(h.sounds for h in rates.values()),
            missing=statistic.missing,
            others=sum(h.sounds for r, h in rates.items() if r != rate),
            frames=heard.frames,
        )

    def check(self, values: Media, state: AudioState, where: Where) -> None:
        """Examine the cells where nothing else will read them: the table is refused already."""
        if len(where.problems):
            values.check(partial(check, rate=state.rate, seconds=self.max_seconds), _CHECKING)

    def wires(self, state: AudioState) -> dict[str, Wire]:
        """Frames, none where the sound is missing."""
        return {"": Wire("float32", (self.framing(state.rate).width,), ragged=True)}

    def encode(self, values: Media, state: AudioState) -> Wires:
        """Cells -> standardised frames (total, width) float32."""
        framing = self.framing(state.rate)
        mean, spread = np.array(state.mean), np.array(state.spread)
        counts, done = [], []
        held: Held[np.ndarray] = Held(_SAMPLES)

        def frame() -> None:
            done.append(((framing.features(held.take()) - mean) / spread).astype(np.float32))

        for sound in self._sounds(values, state.rate):
            counts.append(0 if sound is None else framing.frames(len(sound.samples)))
            if sound is not None and held.add(sound.samples, len(sound.samples)):
                frame()
        frame()
        return {"": Ragged(np.concatenate(done), np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]))}

    def describe(self, state: AudioState) -> dict[str, Any]:
        """Rate, frames, counts, and the range of the numbers' means and spreads."""
        framing = self.framing(state.rate)
        return {
            "rate": state.rate,
            "features": self.features,
            "width": framing.width,
            "window": framing.window,
            "hop": framing.hop,
            "fft": framing.fft,
            "sounds": state.sounds,
            "missing": state.missing,
            "resampled": state.others,
            "frames": list(state.frames),
            "means": [min(state.mean), max(state.mean)],
            "spreads": [min(state.spread), max(state.spread)],
        }

    # -- trained half -------------------------------------------------------------------------------------------------

    @classmethod
    def module(cls, columns: Mapping[str, tuple[Any, Any]]) -> AudioModule:
        """Frames as steps."""
        return AudioModule(columns)

    @classmethod
    def pool(cls, columns: Mapping[str, tuple[Any, Any]]) -> PooledAudio:
        """A sound as one vector."""
        return PooledAudio(columns)

    # -- twin ---------------------------------------------------------------------------------------------------------

    def onnx(self, g: Graph, x: str, state: AudioState) -> dict[str, str]:
        """Samples (..., N) float32 at the state's rate, NaN after the end of each sound -> frames and ``lengths``.

        Frames (..., L, width), right-padded with NaN; lengths (...) int64, 0 where no sample is there.
        """
        shape, count = g("Shape", x, end=-1), g("Shape", x, start=-1)
        waves = g("Reshape", x, g("Concat", g.constant([-1]), count, axis=0), allowzero=1)
        if self.max_seconds is not None:
            end = g.constant([max(1, round(self.max_seconds * state.rate))])
            waves = g("Slice", waves, g.constant([0]), end, g.constant([1]))
        gone = g("IsNaN", waves)
        samples = g("ReduceSum", g.cast(g("Not", gone), np.int64), g.constant([1]), keepdims=0)
        framing = self.framing(state.rate)
        frames = g.cast(framing.onnx(g, g("Where", gone, g.constant(0.0), waves)), np.float64)
        mean, spread = g.constant(np.array(state.mean)), g.constant(np.array(state.spread))
        scaled = g.cast(g("Div", g("Sub", frames, mean), spread), np.float32)
        lengths = framing.onnx_frames(g, samples)
        longest = g("Shape", scaled, start=1, end=2)
        place = g("Range", g.constant(0), g("Squeeze", longest), g.constant(1))
        real = g("Unsqueeze", g("Less", place, g("Unsqueeze", lengths, g.constant([1]))), g.constant([2]))
        padded = g("Where", real, scaled, g.constant(float("nan")))
        wanted = g("Concat", shape, longest, g.constant([framing.width]), axis=0)
        return {"": g("Reshape", padded, wanted), "lengths": g("Reshape", lengths, shape)}

    def onnx_input(self, state: AudioState) -> tuple[Any, tuple[int | str, ...]]:
        """Samples of one channel, float32."""
        return np.float32, ("samples",)

    def onnx_values(self, values: Media, state: AudioState) -> np.ndarray:
        """The samples of each sound, (rows, N) float32, NaN after its end."""
        waves = [np.zeros(0, np.float32) if s is None else s.samples for s in self._sounds(values, state.rate)]
        padded = np.full((len(waves), max(map(len, waves), default=0)), np.nan, np.float32)
        for row, wave in enumerate(waves):
            padded[row, : len(wave)] = wave
        return padded

    # -- contract -----------------------------------------------------------------------------------------------------

    @classmethod
    def examples(cls) -> list[Example]:
        """Bands and coefficients of sounds of several lengths; silence; one worked by hand."""
        # A frame of 4 samples (a, b, c, d) under Hann's (0, 1/2, 1, 1/2) has at 2 Hz, the one bin inside the one band,
        # the energy c**2 + (d - b)**2 / 4; the filter has area 1, so height 1/2 there. After it the training frames
        # have 1 and 4: mean of the logarithms log 2, spread log 2. Silence has the logarithm of 1e-10.
        root, silence = 2**0.5, (np.log(1e-10) - np.log(2)) / np.log(2)
        tiny = cls(rate=8, bands=1, window=0.5, hop=0.25)
        train = [[0.0, 0.0, root, 0.0], [5.0, 0.0, 2 * root, 0.0], None]
        probe = [[7.0, 0.0, root, 0.0, 0.0, 0.0], [0.0, root, 0.0, -root], None, [0.0], [0.0, 0.0, 2 * root]]
        # The second frame of the first begins at its third sample: (root, 0, 0, 0), whose first sample counts nothing.
        by_hand = [[[-1.0], [silence]], [[-1.0]], [], [[silence]], [[1.0]]]
        draw = np.random.default_rng(0)
        noise = [draw.normal(0, 0.1, n).tolist() for n in (400, 300, 1000, 100)]
        lists = pl.List(pl.Float64)
        return [
            Example(tiny, train, probe, {"": by_hand}, lists, tolerance=1e-4),
            Example(cls(rate=8000, bands=8), noise, [noise[0], [0.0] * 500, None], dtype=lists, tolerance=1e-4),
            Example(cls(rate=8000, bands=20, features="mfcc"), [*noise, None], noise[1:], dtype=lists, tolerance=1e-4),
            Example(cls(rate=1000, bands=4, max_seconds=0.2), noise, noise[:2], dtype=lists, tolerance=1e-4),
        ]


class AudioModule(ColumnModule):
    """Frames as steps: scaled already, so they are passed on; a channel per number, ``clip[0]``, ``clip[1]``, ...

    Shape: wires (B, T, width) each -> values (B, T, C), present (B, T, C).
    """

    def __init__(self, columns: Mapping[str, tuple[Audio, AudioState]]) -> None:
        super().__init__()
        self.channels = tuple(f"{name}[{i}]" for name, (_, state) in columns.items() for i in range(len(state.mean)))
        self.held = (False,) * len(self.channels)
        self._wires = [wire_name(name, "") for name in columns]

    def forward(self, wires: Mapping[str, Tensor]) -> Part:
        """Wires -> Part; only padding is no number."""
        values = torch.cat([wires[name] for name in self._wires], dim=-1)
        gaps = values.isnan()
        return Part(values.masked_fill(gaps, 0.0), ~gaps)

    def onnx(self, g: Graph, wires: Mapping[str, str]) -> TwinPart:
        """The same, in a graph."""
        values = g("Concat", *(wires[name] for name in self._wires), axis=-1)
        gaps = g("IsNaN", values)
        return TwinPart(g("Where", gaps, g.constant(0.0), values), g("Not", gaps))


class PooledAudio(PooledModule):
    """One vector per sound: see `MeanEntry`, its entries being the frames."""

    def __init__(self, columns: Mapping[str, tuple[Audio, AudioState]]) -> None:
        super().__init__(columns)
        self.means = nn.ModuleList(MeanEntry(len(s.mean), c.width) for c, s in columns.values())

    def pooled(self, number: int, entries: Tensor, lengths: Tensor) -> Tensor:
        mean: Tensor = self.means[number](entries, lengths)
        return mean

    def onnx_pooled(self, g: Graph, number: int, entries: str, lengths: str) -> str:
        return cast(MeanEntry, self.means[number]).onnx(g, entries, lengths)
