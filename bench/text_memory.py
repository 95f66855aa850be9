"""Claim: fitting and encoding sentences takes memory for the codes and for one block of rows, not for the whole table.

50,000, 200,000 and 800,000 sentences, all of them different: the movie reviews' words in random order, in a Parquet
file; a block is 65,536 of them. Each figure is the highest resident memory of a process of its own, in MB, libraries
included: `layer.fit` alone, and `layer.fit` followed by `layer.batches` and one pass over them. The codes take 4
bytes a token; with where each sentence starts, its length and its number, 8 bytes each, they are what must grow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import FILES, THREADS, System, main_on_files, review_sentences, table
from memory import MB, peak

SIZES = (50_000, 200_000, 800_000)


def write(count: int) -> None:
    import polars as pl

    draw = np.random.default_rng(count)
    reviews = [review.split(" ") for label in ("negative", "positive") for review in review_sentences(label)]
    words = np.array([word for review in reviews for word in review])
    lengths = np.array(list(map(len, reviews)))[draw.integers(0, len(reviews), count)]
    parts = np.split(words[draw.integers(0, len(words), lengths.sum())], np.cumsum(lengths)[:-1])
    sentences = [" ".join(part) for part in parts]
    pl.DataFrame({"sentence": sentences, "label": draw.integers(0, 2, count)}).write_parquet(path(count))


def path(count: int) -> Path:
    return Path(os.environ[FILES]) / f"{count}.parquet"


def measured(count: int, encode: bool) -> dict[str, Any]:
    import torch

    import inputlayer as il

    torch.set_num_threads(THREADS)
    columns: dict[str, Any] = {"sentence": il.Text(), "label": il.Category()}
    layer = il.InputLayer(il.Schema(columns, il.Cells("sentence"), target="label"))
    start = peak()
    layer.fit(il.read(path(count)))
    if not encode:
        return {"start": start, "peak": peak(), "grows": 0}
    tokens = sum(int(batch.lengths.sum()) for batch in layer.batches(il.read(path(count))))
    return {"start": start, "peak": peak(), "grows": (4 * tokens + 3 * 8 * count) / MB}


def name(count: int, encode: bool) -> str:
    return f"{'fit and encode' if encode else 'fit'} {count:,}"


SYSTEMS = [System(name(n, encode), partial(measured, n, encode), peer=False) for encode in (False, True) for n in SIZES]


def report(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The worst of the rounds counts."""
    rows = []
    for encode, said in ((False, "layer.fit"), (True, "layer.fit, then all batches")):
        runs = [[run for run in found.get(name(n, encode), []) if "peak" in run] for n in SIZES]
        if all(runs):
            start = min(run["start"] for some in runs for run in some)
            peaks = [f"{max(run['peak'] for run in some):.0f}" for some in runs]
            rows.append([said, f"{start:.0f}", *peaks, " / ".join(f"{some[0]['grows']:.0f}" for some in runs)])
    heads = ["", "imported, MB", *(f"{n:,} sentences, MB" for n in SIZES), "of it codes and places, MB"]
    return "## Memory of text\n\n" + table(heads, rows)


if __name__ == "__main__":
    main_on_files(__file__, SYSTEMS, report, write, SIZES)
