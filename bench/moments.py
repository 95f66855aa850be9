"""Claim: a spread of 1e-3 around a mean of 1e9 keeps nine digits, and what is learnt does not depend on the reader.

200,003 numbers are drawn with mean 1e9 and spread 1e-3. As doubles they are multiples of 1.2e-7, so what counts is the
mean and the spread of these doubles, which are worked out in exact rationals. Beside ours: what other ways make of the
same numbers.

Then a layer is fitted while its table is read in pieces of 1, 7, 1,000 and all rows, and once from a Parquet file. The
bytes of what was learnt, and of the receipt, are compared; every scale is among the columns, and a category.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import isqrt
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
from common import THREADS, table
from data import Clock
from sklearn.preprocessing import StandardScaler

import inputlayer as il
from inputlayer import store
from inputlayer.table import _Part

ROWS = 200_003
READERS = (1, 7, 1_000, ROWS)
SCALES = ("standard", "minmax", "robust", "quantile", "log", "none")


def numbers() -> np.ndarray:
    return 1e9 + 1e-3 * np.random.default_rng(0).standard_normal(ROWS)


def exactly(x: np.ndarray) -> tuple[Fraction, Fraction]:
    """Mean and spread (population standard deviation) of the doubles `x`, the root to 40 digits."""
    values = [Fraction(value) for value in x.tolist()]
    mean = sum(values, Fraction(0)) / len(values)
    variance = sum((value * value for value in values), Fraction(0)) / len(values) - mean * mean
    return mean, Fraction(isqrt(variance.numerator * 10**80 // variance.denominator), 10**40)


def error(found: float, true: Fraction) -> str:
    return f"{float(abs(Fraction(found) / true - 1)):.1e}" if np.isfinite(found) else "not a number"


def frame(x: np.ndarray) -> pl.DataFrame:
    words = np.random.default_rng(1).choice(["N", "E", "S", "W"], ROWS)
    return pl.DataFrame({"step": np.arange(ROWS), "word": words, **dict.fromkeys(SCALES, x)})


def fitted(data: Any) -> Any:
    columns: dict[str, Any] = {scale: il.Number(scale=scale) for scale in SCALES}
    schema = il.Schema({**columns, "word": il.Category()}, il.Windows("step", length=8), target="standard")
    return il.InputLayer(schema).fit(data).learnt


def digest(learnt: Any) -> str:
    """A hash of all that was learnt, by the codec of the artefact."""
    hashed = hashlib.sha256()
    for part in (*learnt.states.values(), learnt.receipt, learnt.clock):
        described, arrays = store.pack(part)
        hashed.update(json.dumps(described, sort_keys=True).encode())
        for name in sorted(arrays):
            hashed.update(arrays[name].tobytes())
    return hashed.hexdigest()[:16]


def read_in_pieces(data: pl.DataFrame, rows: int) -> Any:
    """The layer's fit while the table's source gives `rows` rows at a time."""
    stream = _Part.stream

    def pieces(self: _Part, columns: Sequence[str], size: int) -> Iterator[pl.DataFrame]:
        for batch in stream(self, columns, size):
            yield from batch.iter_slices(rows)

    with patch.object(_Part, "stream", pieces):
        return fitted(data)


def spreads(x: np.ndarray, learnt: Any) -> str:
    mean, spread = exactly(x)
    state = learnt.states["standard"]
    scaler = StandardScaler().fit(x[:, None])
    ways = {
        "inputlayer": (state.mean, state.spread),
        "root of mean(x²) - mean(x)²": (x.mean(), float(np.sqrt(np.mean(x * x) - x.mean() ** 2))),
        "numpy.std": (x.mean(), x.std()),
        "polars std(ddof=0)": (pl.Series(x).mean(), pl.Series(x).std(ddof=0)),
        "sklearn StandardScaler": (scaler.mean_[0], scaler.scale_[0]),
        "numpy.std in float32": (x.astype(np.float32).mean(), x.astype(np.float32).std()),
    }
    rows = [[name, error(float(m), mean), error(float(s), spread)] for name, (m, s) in ways.items()]
    return table(["relative error of", "mean", "spread"], rows)


def main() -> None:
    clock, x = Clock(), numbers()
    data = frame(x)
    with np.errstate(all="ignore"):
        first = spreads(x, fitted(data))
    rows = [[f"pieces of {n:,}" if n < ROWS else "all at once", digest(read_in_pieces(data, n))] for n in READERS]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.parquet"
        data.write_parquet(file, row_group_size=10_000)
        rows.append(["Parquet, row groups of 10,000", digest(fitted(il.read(file)))])
    same = "the same bytes" if len({row[1] for row in rows}) == 1 else "DIFFERENT bytes"
    print("## Mean 1e9, spread 1e-3\n\nAt most 1e-9 is claimed of the spread, against exact rationals.\n")
    print(first)
    print(f"\nWhat is learnt from tables read in different pieces: {same}.\n")
    print(table(["read", "hash of what was learnt"], rows))
    print(f"\n{clock.line(THREADS)}\n")


if __name__ == "__main__":
    main()
