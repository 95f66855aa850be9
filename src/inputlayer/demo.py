"""The first command: one table, one LSTM, four input layers before it, and what each part of them bought."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from textwrap import fill

import numpy as np
import polars as pl
import torch

from inputlayer.batch import Batches
from inputlayer.bodies import LSTM
from inputlayer.columns import Category, Flag, Number, Timestamp
from inputlayer.columns.base import Column
from inputlayer.errors import MissingExtraError
from inputlayer.evaluation import blind_lines, blind_to
from inputlayer.intervals import Difference, Measure, difference, time_blocks
from inputlayer.layer import InputLayer
from inputlayer.model import Model
from inputlayer.progress import progress
from inputlayer.schema import Schema
from inputlayer.sequence import Windows
from inputlayer.show import show
from inputlayer.split import split
from inputlayer.stages import InstanceNorm, Stage
from inputlayer.table import Table

TARGET = "temp_max"
DAYS = Windows("date", length=30, horizon=7)
SEEDS = (0, 1, 2)

# Chosen on the validation part, with other seeds, and without a look at the test part: UNITS of 16 and 32 by the mean
# over all layers; RATES of 0.003 and 0.01 for each layer by itself, so that none is held back by what suits another.
UNITS, EPOCHS, BATCH = 32, 30, 64
RATES = {"raw numbers": 0.01, "+ scaled": 0.01, "+ category, flag and calendar": 0.01, "+ InstanceNorm": 0.003}

_NUMBERS = (TARGET, "temp_min", "precipitation", "wind")
_RMSE = Measure("rmse", "°C", root=True)


@dataclass(frozen=True)
class Score:
    """One line of the table. `errors`: squared errors in °C², (seeds, test windows, 7 days)."""

    name: str
    errors: np.ndarray

    @property
    def rmse(self) -> np.ndarray:
        """In °C, one for each seed."""
        return np.asarray(np.sqrt(self.errors.mean(axis=(1, 2))))

    @property
    def losses(self) -> np.ndarray:
        """Errors summed by blocks of test windows, (seeds, blocks, 1)."""
        blocks = _blocks(self.errors.shape[1])
        return np.stack([np.bincount(blocks, weights=of_seed.sum(axis=1)) for of_seed in self.errors])[..., None]


def weather() -> Table:
    """Four years of daily weather in Seattle, as the package vega_datasets brings it, and a column `wet`: did it rain?

    Raises
    ------
    MissingExtraError
        Without the package vega_datasets, which the extra ``demo`` installs.

    >>> weather().height
    1461
    """
    package = find_spec("vega_datasets")  # found, not imported: that would load pandas
    if package is None or package.origin is None:
        raise MissingExtraError("vega_datasets", "demo", "The demo")
    file = Path(package.origin).parent / "_data" / "seattle-weather.csv"
    frame = pl.read_csv(file).with_columns(pl.col("date").str.to_date("%Y/%m/%d"))
    return Table.of(frame.with_columns((pl.col("precipitation") > 0).alias("wet")))


def layers() -> dict[str, InputLayer]:
    """The input layers that are compared, each with one thing more than the one before."""
    raw: dict[str, Column] = {name: Number(scale="none") for name in _NUMBERS}
    scaled: dict[str, Column] = {name: Number() for name in _NUMBERS}
    more: dict[str, Column] = {"weather": Category(), "wet": Flag(), "date": Timestamp()}

    def layer(columns: Mapping[str, Column], stages: Sequence[Stage] = ()) -> InputLayer:
        return InputLayer(Schema(columns, DAYS, TARGET), stages)

    return {
        "raw numbers": layer(raw),
        "+ scaled": layer(scaled),
        "+ category, flag and calendar": layer(scaled | more),
        "+ InstanceNorm": layer(scaled | more, [InstanceNorm("last", columns=[TARGET])]),
    }


def parts() -> tuple[Table, Table, Table]:
    """Train, valid and test, cut in time.

    >>> [part.height for part in parts()]
    [877, 292, 292]
    """
    train, valid, test = split(weather(), Schema({TARGET: Number()}, DAYS, TARGET), valid=0.2, test=0.2)
    assert valid is not None  # both shares are above 0
    assert test is not None
    return train, valid, test


def fitted(train: Table) -> InputLayer:
    """The last of `layers`, fitted; its embeddings are drawn from seed 0, as those of the first LSTM behind it are.

    >>> fitted(parts()[0]).width
    13
    """
    whole = list(layers().values())[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEEDS[0])
        return whole.fit(train)


def run(out: Callable[[str], None] = print, *, seeds: Sequence[int] = SEEDS, epochs: int = EPOCHS) -> None:
    """Tell what the input layer does, what each part of it buys, and whether the whole of it beats every baseline.

    Parameters
    ----------
    out
        Is given one paragraph after the other.
    seeds, epochs
        Fewer of them for a quicker and rougher answer.
    """
    train, valid, test = parts()
    whole = fitted(train)
    out(str(show(whole, test, context=valid)))
    models: dict[str, list[Model]] = {name: [] for name in layers()}
    with progress("Training", len(models) * len(seeds)) as advance, _one_thread():
        for name, trained in models.items():
            for seed in seeds:
                model = Model(layers()[name], LSTM(UNITS))
                # No early stopping, so that all take the same steps; the best epoch's weights are kept all the same.
                model.fit(train, valid, epochs=epochs, patience=epochs, batch=BATCH, lr=RATES[name], seed=seed)
                trained.append(model)
                advance(1)
    scores = [_scored(name, trained, test, valid) for name, trained in models.items()]
    first = models["+ InstanceNorm"][0]
    baselines = sorted(_baselines(first, test, valid), key=lambda s: -s.rmse[0])
    steps = epochs * len(whole.batches(train, BATCH, shuffle=True))
    out(_table(baselines, scores, len(seeds), steps))
    blind = [] if first.baselines is None else blind_lines(blind_to(first.baselines))
    out("\n".join([verdict(scores[-1], baselines[-1], scores[0]), *blind]))


@contextmanager
def _one_thread() -> Iterator[None]:
    """A network as small as this trains as fast on one thread, and four times as fast where others use the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# -- scores ------------------------------------------------------------------------------------------------------------


def _scored(name: str, models: Sequence[Model], test: Table, valid: Table) -> Score:
    errors = []
    for model in models:
        found = model.backtest(test, context=valid)
        errors.append((found[TARGET] - found[f"{TARGET}_true"]).to_numpy().reshape(-1, DAYS.horizon) ** 2)
    return Score(name, np.stack(errors))


def _baselines(model: Model, test: Table, valid: Table) -> list[Score]:
    assert model.baselines is not None
    true = model.backtest(test, context=valid)[f"{TARGET}_true"].to_numpy().reshape(-1, DAYS.horizon)
    errors: dict[str, np.ndarray] = {}
    encoded = model.layer.encoded(test, valid)
    for batch in Batches(encoded, model.fitted, 512):
        for name, y in model.baselines.predict(encoded, batch).items():
            at = batch.index.numpy()
            errors.setdefault(name, np.empty((1, *true.shape)))[0, at] = (y[..., 0] - true[at]) ** 2
    return [Score(name, e) for name, e in errors.items()]


def _blocks(windows: int) -> np.ndarray:
    return time_blocks(np.arange(windows), np.zeros(windows, dtype=np.int64), DAYS.horizon)


def gap(ours: Score, other: Score) -> Difference:
    """The difference in RMSE, `ours` less `other`, with its 95 % interval, as `il.compare` has it.

    >>> errors = np.ones((3, 100, 7))
    >>> gap(Score("ours", errors), Score("other", errors[:1] * 4))
    Difference(mean=-1.0, low=-1.0, high=-1.0)
    """
    counts = np.bincount(_blocks(ours.errors.shape[1]))[:, None] * DAYS.horizon
    return difference(_RMSE, ours.losses, other.losses, counts)


# -- what is told ------------------------------------------------------------------------------------------------------


def _table(baselines: Sequence[Score], scores: Sequence[Score], seeds: int, steps: int) -> str:
    lines = [
        f"{TARGET} in Seattle, 1 to {DAYS.horizon} days ahead from the last {DAYS.length}. RMSE in °C on the test part,"
        f" ± spread over {seeds} seeds.",
        f"The LSTM({UNITS}), its look-back, loss, {steps} steps and seeds are the same behind every input layer,",
        "with the better of two learning rates for each, as the validation part says.",
        "",
    ]
    lines += [f"    {s.name:<36}{s.rmse.mean():5.2f}" for s in baselines]
    lines += [f"    {'LSTM on ' * (not i) + s.name:<36}{_with_spread(s)}" for i, s in enumerate(scores)]
    return "\n".join(lines)


def _with_spread(score: Score) -> str:
    mean = f"{score.rmse.mean():5.2f}"
    return f"{mean} ± {score.rmse.std(ddof=1):.2f}" if len(score.rmse) > 1 else mean


def verdict(ours: Score, best: Score, raw: Score) -> str:
    """How `ours` compares with `best`, the best of the baselines, and with that on `raw` numbers, and how surely."""
    _, low, high = gap(ours, best)
    found = "beats" if high < 0 else "loses to" if low > 0 else "cannot be told from"
    blocks = ours.losses.shape[1]
    text = (
        f"With the whole input layer, the LSTM {found} the best baseline, {best.name}: {ours.rmse.mean():.2f} against"
        f" {best.rmse.mean():.2f} °C, a difference of {_difference(ours, best)}. From the same LSTM on raw numbers it"
        f" differs by {_difference(ours, raw)}. (Paired over seeds and {blocks} blocks of test windows.)"
    )
    return fill(text, 110)


def _difference(ours: Score, other: Score) -> str:
    mean, low, high = gap(ours, other)
    return f"{mean:+.2f} °C, 95 % interval {low:+.2f} to {high:+.2f}"


def main() -> None:
    """The command `inputlayer demo`."""
    run(lambda text: print(text, end="\n\n", flush=True))
