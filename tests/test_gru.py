"""GRU: against a packed PyTorch GRU, under padding, and in its twin. What it shares with the LSTM is tested there."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from inputlayer.bodies import GRU, body_from
from inputlayer.graph import Graph
from inputlayer.stages import Plan

HORIZON = Plan(("a", "b"), (False, False), (0,), ("hour",), (), ("hour",), length=None, horizon=3)
LAST = replace(HORIZON, horizon=0, future=())
PER_STEP = replace(LAST, per_step=True)
CASES = list(itertools.product([HORIZON, LAST, PER_STEP], [1, 2], [False, True]))


def built(plan: Plan, **options: Any) -> GRU:
    torch.manual_seed(0)
    body = GRU(4, **options)
    body.build(plan, outputs=1)
    return body.eval()


def some(plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
    draw, lengths = torch.Generator().manual_seed(1), torch.tensor([5, 1, 7, 3])
    x = torch.randn(4, 7, plan.width, generator=draw)
    x[torch.arange(7) >= lengths[:, None]] = 1e4
    return x, lengths, torch.randn(4, plan.horizon, len(plan.future), generator=draw)


@pytest.mark.parametrize(("layers", "bidirectional"), list(itertools.product([1, 2], [False, True])))
def test_equals_pytorch_on_packed_sequences(layers: int, bidirectional: bool) -> None:
    x, lengths, future = some(PER_STEP)
    body = built(PER_STEP, layers=layers, bidirectional=bidirectional)
    theirs = nn.GRU(PER_STEP.width, 4, layers, batch_first=True, bidirectional=bidirectional)
    names = [f"_l{i}{d}" for i in range(layers) for d in ["", "_reverse"][: 1 + bidirectional]]
    for name, cell in zip(names, body.cells, strict=True):
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(theirs, kind + name).data = getattr(cell, f"{kind}_l0").data
    y, _ = theirs(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    want, _ = pad_packed_sequence(y, batch_first=True)
    torch.testing.assert_close(body(x, lengths, future), want, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("plan", "layers", "bidirectional"), CASES)
def test_twin_is_equal(plan: Plan, layers: int, bidirectional: bool) -> None:
    body, (x, lengths, future) = built(plan, layers=layers, bidirectional=bidirectional), some(plan)
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


def test_made_from_its_description() -> None:
    for body in GRU.examples():
        assert body_from({"kind": "gru", **body.options()}).options() == body.options()
