"""Decoders: against their definition, in their twins, behind each body, and what they refuse."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from inputlayer.bodies import DECODERS, GRU, LSTM, Decoder, Dense, Recursive, Segments, body_from
from inputlayer.bodies.base import Body
from inputlayer.errors import OptionError
from inputlayer.graph import Graph
from inputlayer.stages import Plan

ONE = Plan(("a", "b"), (False, False), (0,), (), (), (), length=None, horizon=7)
PLANS = {
    "plain": ONE,
    "known ahead": replace(ONE, future=("holiday", "hour")),
    "channels": replace(ONE, keys=3),
    "all": replace(ONE, future=("holiday",), keys=3, outputs=2),
}
EXAMPLES = [d for decoder in DECODERS.values() for d in [*decoder.examples()]] + [Segments(9), Segments(7)]
CASES = [
    pytest.param(plan, decoder, id=f"{name}-{decoder.kind}-{i}")
    for (name, plan), (i, decoder) in itertools.product(PLANS.items(), enumerate(EXAMPLES))
]


def built(decoder: Decoder, plan: Plan, quantiles: int = 1) -> Decoder:
    torch.manual_seed(0)
    decoder.build(plan, state=6, outputs=plan.outputs * quantiles)
    return decoder.eval()


def some(plan: Plan, batch: int = 5) -> tuple[Tensor, Tensor, Tensor | None]:
    """State, future, key."""
    draw = torch.Generator().manual_seed(1)
    state = torch.randn(batch, 6, generator=draw).tanh()
    future = torch.randn(batch, plan.horizon, len(plan.future), generator=draw)
    return state, future, torch.arange(batch) % plan.keys if plan.keys > 1 else None


@pytest.mark.parametrize(("plan", "decoder"), CASES)
def test_shape_and_gradients(plan: Plan, decoder: Decoder) -> None:
    made, given = built(decoder, plan, quantiles=3), some(plan)
    y = made(*given)
    assert y.shape == (5, 7, 3 * plan.outputs)
    assert (made.width, made.direct) == (3 * plan.outputs, True)
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())


@pytest.mark.parametrize(("plan", "decoder"), CASES)
def test_each_row_by_itself(plan: Plan, decoder: Decoder) -> None:
    made, (state, future, key) = built(decoder, plan), some(plan)
    whole = made(state, future, key)
    for i in range(5):
        row = slice(i, i + 1)
        alone = made(state[row], future[row], None if key is None else key[row])
        torch.testing.assert_close(alone, whole[row], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("plan", "decoder"), CASES)
def test_twin_is_equal(plan: Plan, decoder: Decoder) -> None:
    made, (state, future, key) = built(decoder, plan), some(plan)
    g = Graph()
    names = (
        g.input("state", np.float32, ("B", 6)),
        g.input("future", np.float32, ("B", plan.horizon, len(plan.future))),
        None if key is None else g.input("key", np.int64, ("B",)),
    )
    g.output("y", made.onnx(g, *names), np.float32, ("B", 7, made.width))
    session = onnxruntime.InferenceSession(g.model({}).SerializeToString(), providers=["CPUExecutionProvider"])
    used = {i.name for i in session.get_inputs()}
    feed = {"state": state, "future": future} | ({} if key is None else {"key": key})
    (got,) = session.run(None, {k: v.numpy() for k, v in feed.items() if k in used})
    np.testing.assert_allclose(got, made(state, future, key).detach(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("size", [2, 3, 7, 9])
def test_segments_equal_a_cell_of_pytorch(plan: Plan, size: int) -> None:
    made, (state, future, key) = built(Segments(size), plan), some(plan)
    known = len(plan.future)
    cell = nn.GRUCell(made.of_codes.in_features + size * known, 6)
    ahead = [] if made.of_future is None else [made.of_future.weight.data]
    cell.weight_ih.data = torch.cat([made.of_codes.weight.data, *ahead], 1)
    cell.bias_ih.data, cell.weight_hh.data = made.of_codes.bias.data, made.of_state.weight.data
    cell.bias_hh.data = made.of_state.bias.data
    steps = []
    for i in range(-(-7 // size)):
        cut = torch.zeros(5, size, known)
        there = future[:, i * size : (i + 1) * size]
        cut[:, : there.shape[1]] = there
        code = [made.places[i].expand(5, -1)] + ([] if key is None else [made.channels[key]])
        steps.append(made.steps(cell(torch.cat([*code, cut.flatten(1)], 1), state)).view(5, size, -1))
    torch.testing.assert_close(made(state, future, key), torch.cat(steps, 1)[:, :7], atol=1e-6, rtol=0)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_recursive_equals_a_loop_that_reads_its_own_forecast(plan: Plan) -> None:
    made, (state, future, key) = built(Recursive(), plan), some(plan)
    cell, h, c, steps = made.cell, state, state, []
    y = made.forecast(h)
    for i in range(7):
        x = [torch.full((5, 1), i / 6), future[:, i], *([] if key is None else [made.channels[key]])]
        gates = torch.cat(x, 1) @ cell.weight_ih_l0.T + cell.bias_ih_l0 + h @ cell.weight_hh_l0.T + cell.bias_hh_l0
        i_, f, n, o = (gates + made.of_forecast(y)).chunk(4, 1)
        c = f.sigmoid() * c + i_.sigmoid() * n.tanh()
        h = o.sigmoid() * c.tanh()
        y = made.forecast(h)
        steps.append(y)
    torch.testing.assert_close(made(state, future, key), torch.stack(steps, 1), atol=1e-6, rtol=0)


def test_known_steps_reach_their_own_segment_and_no_other() -> None:
    plan = PLANS["known ahead"]
    made, (state, future, _) = built(Segments(3), plan), some(plan)
    changed = future.clone()
    changed[:, 4] += 1
    differs = (made(state, changed) != made(state, future)).any(-1)
    assert differs[:, 3:6].all()
    assert not differs[:, [0, 1, 2, 6]].any()


def test_known_steps_reach_recursive_from_their_own_step_on() -> None:
    plan = PLANS["known ahead"]
    made, (state, future, _) = built(Recursive(), plan), some(plan)
    changed = future.clone()
    changed[:, 4] += 1
    differs = (made(state, changed) != made(state, future)).any(-1)
    assert differs[:, 4:].all()
    assert not differs[:, :4].any()


@pytest.mark.parametrize("body", [LSTM, GRU])
@pytest.mark.parametrize("decoder", EXAMPLES, ids=lambda d: d.kind)
def test_behind_a_body_padding_changes_nothing(body: Any, decoder: Decoder) -> None:
    plan = PLANS["all"]
    torch.manual_seed(0)
    made: Body = body(4, bidirectional=True, reduce="mean", decoder=decoder)
    made.build(plan, outputs=2)
    made.eval()
    x, lengths, future, key = torch.randn(3, 6, 2), torch.tensor([6, 2, 4]), torch.randn(3, 7, 1), torch.arange(3)
    y = made(x, lengths, future, key)
    longer = made(torch.cat([x, torch.full_like(x, 1e4)], 1), lengths, future, key)
    torch.testing.assert_close(longer, y, atol=1e-6, rtol=0)


def test_weights_of_segments_do_not_grow_with_the_horizon_times_the_state() -> None:
    plans = (replace(ONE, horizon=h) for h in (96, 720))
    short, long = (sum(p.numel() for p in built(Segments(24), p).parameters()) for p in plans)
    assert long - short == (30 - 4) * 3  # a code for each further segment


@pytest.mark.parametrize("size", [0, 1.5, True])
def test_wrong_sizes_are_refused(size: Any) -> None:
    with pytest.raises(OptionError, match=rf"size={size}: a whole number"):
        Segments(size)


def test_made_from_their_description() -> None:
    for decoder in (Segments(24), Recursive(), Dense()):
        body = body_from({"kind": "gru", "units": 3, "decoder": {"kind": decoder.kind, **decoder.options()}})
        assert body.options() == GRU(3, decoder=decoder).options()
    with pytest.raises(OptionError, match="segments needs the option 'size'"):
        body_from({"kind": "lstm", "units": 3, "decoder": {"kind": "segments"}})
