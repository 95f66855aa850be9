"""Ensemble: the mean of members that are trained each for itself, under padding, in its twin, row by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import inputlayer as il
from inputlayer.batch import Batches
from inputlayer.bodies import GRU, LSTM, Ensemble, body_from
from inputlayer.encode import encode
from inputlayer.graph import Graph
from inputlayer.stages import Plan
from inputlayer.table import Table

HORIZON = Plan(("a", "b"), (False, False), (0,), ("hour",), (), ("hour",), length=None, horizon=3)
LAST = replace(HORIZON, horizon=0, future=())
PER_STEP = replace(LAST, per_step=True)
CASES = {
    "horizon": (HORIZON, LSTM(4)),
    "one value": (LAST, GRU(4, layers=2, bidirectional=True, reduce="max")),
    "per step": (PER_STEP, LSTM(4, bidirectional=True)),
}
each_case = pytest.mark.parametrize(("plan", "member"), CASES.values(), ids=CASES)


def built(plan: Plan, member: Any, size: int = 3) -> Ensemble:
    torch.manual_seed(0)
    body = Ensemble(member, size)
    body.build(plan, outputs=2)
    return body.eval()


def some(plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
    draw, lengths = torch.Generator().manual_seed(1), torch.tensor([5, 1, 7, 3])
    x = torch.randn(4, 7, plan.width, generator=draw)
    x[torch.arange(7) >= lengths[:, None]] = 1e4
    return x, lengths, torch.randn(4, plan.horizon, len(plan.future), generator=draw)


@each_case
def test_is_the_mean_of_its_members(plan: Plan, member: Any) -> None:
    body, (x, lengths, future) = built(plan, member), some(plan)
    each: list[Any] = list(zip(body.members, body.linears, strict=True))
    answers = [linear(one(x, lengths, future)) for one, linear in each]
    assert not any(torch.allclose(answers[0], other) for other in answers[1:])
    want = (answers[0] + answers[1] + answers[2]) / 3
    if plan.per_step:
        want[torch.arange(7) >= lengths[:, None]] = 0
    torch.testing.assert_close(body(x, lengths, future), want, atol=1e-6, rtol=0)
    apart = body.train()(x, lengths, future)
    assert apart.shape == (3, *want.shape)
    torch.testing.assert_close(apart.mean(0), want, atol=1e-6, rtol=0)


@each_case
def test_padding_does_not_count(plan: Plan, member: Any) -> None:
    body, (x, lengths, future) = built(plan, member), some(plan)
    together = body(x, lengths, future)
    for i, length in enumerate(lengths.tolist()):
        alone = body(x[i : i + 1, :length], lengths[i : i + 1], future[i : i + 1])[0]
        torch.testing.assert_close(together[i, : len(alone)], alone, atol=1e-6, rtol=0)
        assert not together[i, len(alone) :].any()


@each_case
def test_twin_is_equal(plan: Plan, member: Any) -> None:
    body, (x, lengths, future) = built(plan, member), some(plan)
    g = Graph()
    y = body.onnx(
        g,
        g.input("x", np.float32, ("B", "T", plan.width)),
        g.input("lengths", np.int64, ("B",)),
        g.input("future", np.float32, ("B", plan.horizon, len(plan.future))),
        None,
        g.input("real", np.bool_, ("B", "T")),
    )
    g.output("y", y, np.float32, ("B", "n", body.width))
    session = onnxruntime.InferenceSession(g.model({}).SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {"x": x, "lengths": lengths, "future": future, "real": torch.arange(7) < lengths[:, None]}
    used = {i.name for i in session.get_inputs()}
    (got,) = session.run(None, {k: v.numpy() for k, v in feed.items() if k in used})
    np.testing.assert_allclose(got, body(x, lengths, future).detach(), atol=1e-6, rtol=0)


def test_row_by_row_as_the_whole() -> None:
    body, (x, _, future) = built(LAST, LSTM(4, layers=2)), some(LAST)
    memory = body.begin(4)
    assert len(memory) == 3 * 2 * 2
    for t in range(7):
        y, memory = body.step(x[:, t : t + 1], memory)
    torch.testing.assert_close(y, body(x, torch.full((4,), 7), future), atol=1e-6, rtol=0)


# -- in a model -------------------------------------------------------------------------------------------------------

SCHEMA = il.Schema({"load": il.Number()}, il.Windows("day", length=6, horizon=2), target="load")
TABLE = {"day": list(range(40)), "load": [float(i % 7) + 0.1 * (i % 3) for i in range(40)]}


def test_each_member_has_a_loss_of_its_own() -> None:
    """The gradient of a member is a third of what it would be, were it trained alone."""
    model = il.Model(il.InputLayer(SCHEMA), il.Ensemble(il.LSTM(3), 3))
    model.fit(TABLE, epochs=0, device="cpu")
    (batch,) = Batches(encode(model.fitted, Table.of(TABLE)), model.fitted, 64)
    ensemble, head = model.network.train(), model.network.head
    y = ensemble(batch)
    losses = [head.loss(y[i], batch.target, batch.real) for i in range(3)]
    loss = ensemble.loss(y, batch)
    assert loss.item() == pytest.approx(sum(one.item() for one in losses) / 3, abs=1e-6)
    body: Any = ensemble.body
    for i, member in enumerate(body.members):
        weights = list(member.parameters())
        alone = torch.autograd.grad(losses[i], weights, retain_graph=True)
        together = torch.autograd.grad(loss, weights, retain_graph=True)
        for mine, theirs in zip(together, alone, strict=True):
            torch.testing.assert_close(3 * mine, theirs, atol=1e-7, rtol=1e-5)
    assert ensemble.eval()(batch).dim() == 4


def test_saved_loaded_exported_and_streamed_alike(tmp_path: Path) -> None:
    frame = {
        "site": [s for s in "abcdefgh" for _ in range(5)],
        "t": [t for _ in "abcdefgh" for t in range(5)],
        "x": [float(i * 7 % 11) for i in range(40)],
        "kind": [k for k in "uvuvuvuv" for _ in range(5)],
    }
    schema = il.Schema({"x": il.Number(), "kind": il.Category()}, il.Groups("site", order="t"), target="kind")
    model = il.Model(il.InputLayer(schema), il.Ensemble(il.LSTM(3, dropout=0.2), 2))
    model.fit(frame, epochs=2, device="cpu")
    want = model.predict(frame)
    model.save(tmp_path / "model.safetensors")
    assert il.load(tmp_path / "model.safetensors").predict(frame).equals(want)
    assert model.export(tmp_path / "model.onnx").error <= 5e-6
    rows = [{name: frame[name][i] for name in ("site", "t", "x")} for i in range(40)]
    for stream in (model.stream(), il.OnnxModel(tmp_path / "model.onnx").stream()):
        last = [stream.push(row) for row in rows][4::5]
        assert [answer["kind"] for answer in last] == want["kind"].to_list()
        np.testing.assert_allclose([answer["p_u"] for answer in last], want["p_u"], atol=1e-5)


def test_made_from_its_description() -> None:
    for body in Ensemble.examples():
        assert body_from({"kind": "ensemble", **body.options()}).options() == body.options()


@pytest.mark.parametrize("member", [nn.Linear(2, 2), 3, "lstm"])
def test_what_cannot_be_a_member(member: Any) -> None:
    with pytest.raises(il.OptionError, match="give the body that each is"):
        Ensemble(member)
    with pytest.raises(il.OptionError, match="size=1: a whole number of at least 2"):
        Ensemble(LSTM(2), 1)


def test_cannot_be_fed_row_by_row_where_its_members_cannot() -> None:
    assert "bidirectional=True" in Ensemble(LSTM(2, bidirectional=True)).whole_only()
    assert not Ensemble(LSTM(2)).whole_only()
