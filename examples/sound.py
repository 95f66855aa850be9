"""Sounds, cut into frames of mel energies: which vowel is it?

    python examples/sound.py                             sounds made here, because no package brings recordings
    python examples/sound.py recordings/*.wav            your files: what comes before the first _ is what each one says

Files may be WAV, FLAC or OGG, of any rate, length and number of channels. Each keeps its length: what is padded in a
batch is masked. Files are read by a pool of threads, a few at a time.
"""

import sys
from pathlib import Path

import numpy as np

import inputlayer as il

RATE = 8000
FORMANTS = {"a": (800, 1200), "e": (400, 2200), "i": (250, 2600), "o": (450, 800), "u": (300, 650)}  # Hz


def vowel(name: str, draw: np.random.Generator) -> list[float]:
    """A buzz of some pitch and length, whose overtones near the vowel's formants are strong, and some hiss."""
    time = np.arange(draw.integers(RATE // 8, RATE // 2)) / RATE
    overtones = draw.uniform(90, 240) * np.arange(1, 16)
    strength = sum(1 / (1 + ((overtones - f * draw.normal(1, 0.08)) / 120) ** 2) for f in FORMANTS[name])
    buzz = strength @ np.sin(2 * np.pi * np.outer(overtones, time))
    return (draw.uniform(0.02, 0.2) * buzz + draw.normal(0, 0.05, len(time))).tolist()


if sys.argv[1:]:
    table = {"sound": sys.argv[1:], "says": [Path(name).stem.split("_")[0] for name in sys.argv[1:]]}
else:
    draw = np.random.default_rng(0)
    names = list(FORMANTS) * 80
    table = {"sound": [vowel(name, draw) for name in names], "says": names}

schema = il.Schema({"sound": il.Audio(rate=RATE), "says": il.Category()}, il.Cells(steps="sound"), target="says")
train, valid, test = il.split(table, schema, valid=0.1, test=0.2, stratify=True)
model = il.Model(il.InputLayer(schema), il.LSTM(units=32, reduce="mean"))
model.fit(train, valid, epochs=6, batch=16, lr=0.01)
scores = model.evaluate(test)
print(scores)
