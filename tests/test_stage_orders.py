"""Every order of the stages trains and follows the level of the data, or is refused with an order that works."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch

import inputlayer as il
from inputlayer.graph import Graph
from inputlayer.network import Network
from inputlayer.stages import Stage, TwinSteps

from inputlayer.checks.base import run_graph  # isort: skip

PARTS: dict[str, Any] = {
    "InstanceNorm": lambda: il.InstanceNorm("last"),
    "Difference": lambda: il.Difference(2),
    "PerChannel": lambda: il.PerChannel(3),
    "Patch": lambda: il.Patch(5),
}
NORMS = {
    "InstanceNorm mean": lambda: il.InstanceNorm("mean"),
    "InstanceNorm affine": lambda: il.InstanceNorm("standard", affine=True),
    "Seasonal": lambda: il.Seasonal(3),
    "Autoregression": lambda: il.Autoregression(4),
}
ORDERS = [
    order
    for count in (1, 2, 3, 4)
    for order in itertools.permutations(PARTS, count)
] + [tuple(norm if n == "InstanceNorm" else n for n in PARTS) for norm in NORMS if norm != "Autoregression"] + [
    ("PerChannel", "Seasonal"), ("InstanceNorm", "Seasonal", "Patch"), ("Patch", "Seasonal"),
    ("InstanceNorm", "Autoregression", "PerChannel", "Patch"),
    ("InstanceNorm", "PerChannel", "Autoregression", "Patch"),
    ("Difference", "Autoregression"), ("Autoregression", "InstanceNorm"), ("Patch", "Autoregression"),
]  # fmt: skip
DECODERS = {"dense": None, "segments": il.Segments(3), "recursive": il.Recursive()}


def table(shift: float = 0.0) -> dict[str, Any]:
    """Two targets, a number beside them with gaps, a category of the future; `shift` is added to the targets."""
    draw, day = np.random.default_rng(0), np.arange(60)
    a = np.sin(day / 3) + draw.normal(0, 0.1, 60)
    wind: list[float | None] = draw.normal(0, 1, 60).tolist()
    wind[10] = wind[41] = None
    return {"day": day, "a": a + shift, "b": a * 2 + day / 30 + shift, "wind": wind, "kind": ["x", "y", "z"] * 20}


def schema() -> il.Schema:
    columns = {
        "a": il.Number(scale="none"), "b": il.Number(scale="none"), "wind": il.Number(),
        "kind": il.Category(role="known"),
    }  # fmt: skip
    return il.Schema(columns, il.Windows("day", length=12, horizon=4), target=["a", "b"])


def network(order: tuple[str, ...], decoder: Any = None) -> Network:
    torch.manual_seed(0)
    stages: list[Stage] = [(PARTS | NORMS)[name]() for name in order]
    made = Network(il.InputLayer(schema(), stages).fit(table()), il.LSTM(5, decoder=decoder))
    made.build()
    return made


def in_order(order: tuple[str, ...]) -> bool:
    return "Patch" not in order[:-1] and order[:2] != ("Autoregression", "InstanceNorm")


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_composes_or_is_refused_with_an_order_that_works(order: tuple[str, ...]) -> None:
    if not in_order(order):
        with pytest.raises(il.StageError, match=r"Put it first: stages=\[") as refused:
            network(order)
        first, second = re.findall(r"\[(\w+)\(.*, (\w+)\(", str(refused.value))[0]
        network((first, second))
        return
    made = network(order, il.Segments(3))
    batch = next(iter(made.layer.batches(table(), 8)))
    optimiser = torch.optim.Adam(made.parameters(), 0.01)
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        loss = made.loss(made(batch), batch)
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    made.eval()
    if {*order} - {"PerChannel", "Patch"}:
        moved = next(iter(made.layer.batches(table(5.0), 8)))
        torch.testing.assert_close(made(moved), made(batch) + 5.0, atol=2e-5, rtol=0)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("order", [o for o in ORDERS if in_order(o) and len(o) > 2], ids="-".join)
def test_twin_of_the_whole_way_is_equal(order: tuple[str, ...], decoder: str) -> None:
    made = network(order, DECODERS[decoder]).eval()
    batch = next(iter(made.layer.batches(table(), 8)))
    steps, g = made.layer.to_steps(batch), Graph()
    feeds = {n: getattr(steps, n).detach() for n in TwinSteps._fields if n not in ("real", "key")}
    feeds["real"] = steps.real()
    twin = TwinSteps(**{n: g.input(n, t.numpy().dtype, ("B", *t.shape[1:])) for n, t in feeds.items()})
    memos = []
    stages = [s for s in made.layer.stages if isinstance(s, Stage)]
    for stage in stages:
        twin, memo = stage.onnx(g, twin)
        memos.append(memo)
    plan = made.layer.plan
    parts = [twin.values, twin.extras]
    if plan.static:
        size = g("Concat", g("Shape", twin.values, start=0, end=2), g.constant([len(plan.static)]), axis=0)
        parts.append(g("Expand", g("Unsqueeze", twin.static, g.constant([1])), size))
    x = g("Concat", *parts, axis=2)
    y = made.body.onnx(g, x, twin.lengths, twin.future, twin.key, twin.real)  # type: ignore[operator]
    y = made.head.onnx(g, y)
    for stage, memo in zip(reversed(stages), reversed(memos), strict=True):
        y = stage.onnx_back(g, y, memo)
    g.output("y", y, np.float32, ("B", 4, 2, 1))
    found = run_graph(g, {n: t.numpy() for n, t in feeds.items()})["y"]
    np.testing.assert_allclose(found, made(batch).detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("order", [o for o in ORDERS if in_order(o) and len(o) == 4], ids="-".join)
def test_a_saved_model_is_the_same(order: tuple[str, ...], tmp_path: Any) -> None:
    stages = [(PARTS | NORMS)[name]() for name in order]
    model = il.Model(il.InputLayer(schema(), stages), il.GRU(4, decoder=il.Recursive()))
    model.fit(table(), epochs=1)
    model.save(tmp_path / "model.safetensors")
    again = il.load(tmp_path / "model.safetensors")
    assert again.backtest(table()).equals(model.backtest(table()))
    shown = model.show(table()).to_dict()
    assert shown["end"]["shape"][0] == 2 * shown["sample"]["sequences"]


def test_difference_with_quantiles_is_refused_and_the_order_that_is_named_works() -> None:
    head = il.Regression("quantile", quantiles=[0.1, 0.5, 0.9])
    layer = il.InputLayer(schema(), [il.Difference(), il.PerChannel()])
    with pytest.raises(il.StageError, match=r"quantiles do not add up.*InstanceNorm\('last'\) in its place"):
        il.Model(layer, il.LSTM(4), head).fit(table(), epochs=0)
    layer = il.InputLayer(schema(), [il.InstanceNorm("last"), il.PerChannel()])
    model = il.Model(layer, il.LSTM(4), head)
    model.fit(table(), epochs=1)
    assert {"a_q10", "b_q90"} <= {*model.backtest(table()).columns}


def test_a_missing_or_constant_window_gives_finite_forecasts() -> None:
    made = network(("Difference", "InstanceNorm", "PerChannel", "Patch"), il.Segments(3)).eval()
    for value in (None, 3.0):
        rows = table() | {n: [value] * 56 + [3.0] * 4 for n in "ab"} | {"wind": [None] * 60}
        batch = next(iter(made.layer.batches(rows, 8)))
        assert made(batch).isfinite().all()


def test_patches_follow_each_sequence_of_a_padded_batch() -> None:
    """The same forecast for a short history, alone or beside longer ones."""
    made = network(("InstanceNorm", "PerChannel", "Patch")).eval()
    batch = next(iter(made.layer.batches(table(), 4)))
    with torch.no_grad():
        batch.full = False
        batch.lengths = torch.tensor([12, 7, 3, 1])
        together = made(batch)
        for row, length in enumerate(batch.lengths.tolist()):
            alone = next(iter(made.layer.batches(table(), 4)))
            alone.steps = {n: t[row : row + 1, :length] for n, t in batch.steps.items()}
            alone.future = {n: t[row : row + 1] for n, t in batch.future.items()}
            alone.lengths = batch.lengths[row : row + 1]
            torch.testing.assert_close(made(alone)[0], together[row], atol=1e-6, rtol=0)
