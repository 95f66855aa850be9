"""What breaks by hand: a check for each row of the README's table. The usual code fails it, an input layer passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import inputlayer as il

# -- the data: recordings of uneven length, from two sites; how worn the machine is that made each ---------------------


def recordings(names: str = "abcdefgh", seed: int = 0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    frames = []
    for i, name in enumerate(names):
        steps = 4 + 5 * (i % 3)
        load = draw.normal(50.0 + i, 5.0, steps)
        site = ["north", "south"][i % 2]
        frames.append(pl.DataFrame({"run": name, "minute": range(steps), "site": site, "load": load, "wear": 0.1 * i}))
    return pl.concat(frames)


TRAIN = list("abcdef")


def in_training() -> pl.Expr:
    return pl.col("run").is_in(TRAIN)


class Maker(Protocol):
    """What the checks need of a model, made either way."""

    @classmethod
    def fit(cls, table: pl.DataFrame) -> Self: ...
    def mean(self) -> float: ...
    def predict(self, table: pl.DataFrame) -> np.ndarray: ...
    def save(self, path: Path) -> None: ...
    @classmethod
    def load(cls, path: Path) -> Self: ...


# -- the usual 40 lines ----------------------------------------------------------------------------------------------


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.site = nn.Embedding(2, 2)
        self.lstm = nn.LSTM(3, 8, batch_first=True)
        self.out = nn.Linear(8, 1)

    def forward(self, load: torch.Tensor, site: torch.Tensor) -> torch.Tensor:
        steps, _ = self.lstm(torch.cat([load[..., None], self.site(site)], dim=-1))
        return self.out(steps[:, -1])[:, 0]


class ByHand:
    def __init__(self, scaler: tuple[float, float] | None, sites: dict[str, int], network: Network) -> None:
        self.scaler, self.sites, self.network = scaler, sites, network

    @classmethod
    def fit(cls, table: pl.DataFrame) -> Self:
        runs = table["run"].unique(maintain_order=True)
        x, sites = padded(table)
        scaler = (x.mean(), x.std())
        ids = {site: i for i, site in enumerate(np.unique(sites))}
        torch.manual_seed(0)
        made = cls(scaler, ids, Network())
        train = table.filter(in_training())
        y = train.group_by("run", maintain_order=True).agg(pl.col("wear").first())["wear"].to_torch().float()
        adam = torch.optim.Adam(made.network.parameters(), 1e-2)
        x, sites = x[runs.is_in(TRAIN).to_numpy()], sites[runs.is_in(TRAIN).to_numpy()]
        for _ in range(5):
            loss = (made.forward(x, sites) - y).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
        return made

    def forward(self, x: np.ndarray, sites: np.ndarray) -> torch.Tensor:
        mean, std = self.scaler or (x.mean(), x.std())  # the serving script has no scaler, and fits one
        ids = torch.tensor([[self.sites[s]] * x.shape[1] for s in sites])
        return self.network(torch.tensor((x - mean) / std, dtype=torch.float32), ids)

    def mean(self) -> float:
        return float(self.scaler[0]) if self.scaler else np.nan

    @torch.no_grad()
    def predict(self, table: pl.DataFrame) -> np.ndarray:
        return self.forward(*padded(table)).numpy()

    def save(self, path: Path) -> None:
        torch.save({"sites": self.sites, "weights": self.network.state_dict()}, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        saved, network = torch.load(path), Network()
        network.load_state_dict(saved["weights"])
        return cls(None, saved["sites"], network)


def padded(table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The runs' loads, (runs, longest), zeros at the end; the site of each."""
    runs = table.group_by("run", maintain_order=True).agg("load", pl.col("site").first())
    x = np.zeros((runs.height, runs["load"].list.len().max()))
    for i, load in enumerate(runs["load"]):
        x[i, : len(load)] = load
    return x, runs["site"].to_numpy()


# -- the same with an input layer ------------------------------------------------------------------------------------


class Ours:
    def __init__(self, model: il.Model) -> None:
        self.model = model

    @classmethod
    def fit(cls, table: pl.DataFrame) -> Self:
        columns = {"load": il.Number(), "site": il.Category(role="static"), "wear": il.Number(role="target")}
        schema = il.Schema(columns, il.Groups("run", order="minute"), target="wear")
        model = il.Model(il.InputLayer(schema), il.LSTM(8))
        model.fit(table.filter(in_training()), epochs=5, lr=1e-2)
        return cls(model)

    def mean(self) -> float:
        return self.model.fitted.states["load"].mean

    def predict(self, table: pl.DataFrame) -> np.ndarray:
        return self.model.predict(table)["wear"].to_numpy()

    def save(self, path: Path) -> None:
        self.model.save(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        return cls(il.load(path))


# -- the checks: one for each row of the table -------------------------------------------------------------------------


def scaler_fitted_on_everything(maker: type[Maker], _: Path) -> None:
    """Whatever happens to rows outside the training part, what was learnt stays the same."""
    table = recordings()
    other = table.with_columns(pl.when(in_training()).then("load").otherwise(pl.col("load") * 100))
    assert maker.fit(table).mean() == maker.fit(other).mean()


def padding_in_the_mean(maker: type[Maker], _: Path) -> None:
    """The mean is that of the rows that are there."""
    table = recordings("abcdef")
    assert maker.fit(table).mean() == pytest.approx(table["load"].mean())


def unseen_category(maker: type[Maker], _: Path) -> None:
    """A site that training never saw gets a prediction."""
    new = recordings("a").with_columns(site=pl.lit("west"))
    assert np.isfinite(maker.fit(recordings()).predict(new)).all()


def reloaded_without_its_scaler(maker: type[Maker], folder: Path) -> None:
    """A model that was saved and loaded predicts what it predicted before."""
    made, new = maker.fit(recordings()), recordings("abc", seed=1)
    made.save(folder / "model")
    np.testing.assert_array_equal(maker.load(folder / "model").predict(new), made.predict(new))


def rows_of_the_batch(maker: type[Maker], _: Path) -> None:
    """What a run gets does not depend on which runs are asked about with it."""
    made, runs = maker.fit(recordings()), recordings("abc", seed=1)
    alone = made.predict(runs.filter(pl.col("run") == "a"))
    np.testing.assert_allclose(made.predict(runs)[:1], alone, atol=1e-6)


ROWS = [
    scaler_fitted_on_everything,
    padding_in_the_mean,
    unseen_category,
    reloaded_without_its_scaler,
    rows_of_the_batch,
]


@pytest.mark.parametrize("check", ROWS, ids=lambda check: check.__name__)
def test_an_input_layer_passes(check: Callable[[type[Maker], Path], None], tmp_path: Path) -> None:
    check(Ours, tmp_path)


@pytest.mark.parametrize(
    ("check", "error", "says"),
    [
        (scaler_fitted_on_everything, AssertionError, "mean"),
        (padding_in_the_mean, AssertionError, "Obtained: 34"),
        (unseen_category, KeyError, "west"),
        (reloaded_without_its_scaler, AssertionError, "Mismatched elements: 3 / 3"),
        (rows_of_the_batch, AssertionError, "Mismatched elements: 1 / 1"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_by_hand_fails(
    check: Callable[[type[Maker], Path], None], error: type[Exception], says: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        check(ByHand, tmp_path)
