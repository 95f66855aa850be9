"""The real data as tables, and what the accuracy scripts share: columns of a report, the line below it."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import numpy as np
import polars as pl
from common import CHANNELS, data_file, installed, review_sentences

import inputlayer as il

ETT_TRAIN, ETT_PART = 8640, 2880  # hours: 12 months of 30 days, then 4 months to validate and 4 to test


def ett(name: str) -> il.Table:
    """ETTh1 or ETTh2 as everyone cuts them: rows 0 to 8,640, 11,520, 14,400; the rest of the file is unused."""
    return il.read(data_file(f"ett/{name}.csv")).take(np.arange(ETT_TRAIN + 2 * ETT_PART))


def ett_schema(length: int, horizon: int, *, hour: bool = False) -> il.Schema:
    """All seven channels forecast from all seven, and from nothing else unless the hour of the day is given."""
    columns: dict[str, il.Number | il.Timestamp] = {"date": il.Timestamp(parts=("hour",))} if hour else {}
    columns |= {channel: il.Number() for channel in CHANNELS}
    return il.Schema(columns, il.Windows("date", length=length, horizon=horizon), target=list(CHANNELS))


def japanese_vowels(part: str) -> pl.DataFrame:
    """``"TRAIN"`` or ``"TEST"``: `speaker`, text; `voice`, a list of 12 channels, each a list of 7 to 29 numbers."""
    lines = data_file(f"japanese_vowels/JapaneseVowels_{part}.ts").read_text().splitlines()
    rows = [line.split(":") for line in lines[lines.index("@data") + 1 :] if line]
    return pl.DataFrame(
        {
            "voice": [[[float(x) for x in channel.split(",")] for channel in channels] for *channels, _ in rows],
            "speaker": [label for *_, label in rows],
        }
    )


def sms_spam() -> pl.DataFrame:
    """`label`, "ham" or "spam"; `message`, and once more as `letters`. Each message once: 5,171 of 5,574."""
    lines = data_file("sms_spam/SMSSpamCollection").read_text(encoding="utf-8").split("\n")
    rows = [line.split("\t", 1) for line in lines if line]
    frame = pl.DataFrame(rows, schema=["label", "message"], orient="row").unique(maintain_order=True)
    return frame.with_columns(letters="message")


def movie_reviews() -> pl.DataFrame:
    """`label`, "negative" or "positive"; `sentence`, and once more as `bag`: 5,331 of each."""
    frames = []
    for label in ("negative", "positive"):
        frames.append(pl.DataFrame({"sentence": review_sentences(label)}).with_columns(label=pl.lit(label)))
    return pl.concat(frames).with_columns(bag="sentence")


class Clock:
    """Seconds since it was made, and the line that says where a table comes from."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def line(self, threads: int) -> str:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        about = Path("/proc/cpuinfo")
        models = [row for row in about.read_text().splitlines() if "model name" in row] if about.exists() else []
        processor = models[0].split(":")[1].strip() if models else platform.processor()
        versions = ", ".join(f"{name} {installed(name)}" for name in ("torch", "polars", "lightning", "inputlayer"))
        return (
            f"{time.perf_counter() - self.start:,.0f} s on {cores} cores ({processor}), {threads} thread(s) a run. "
            f"Python {platform.python_version()}, {versions}."
        )
