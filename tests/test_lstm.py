"""LSTM: against a packed PyTorch LSTM, under padding, in its twin, and what it refuses."""

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

from inputlayer.bodies import LSTM, Dense, body_from
from inputlayer.errors import OptionError
from inputlayer.graph import Graph
from inputlayer.stages import Plan

PLAN = Plan(("a", "b"), (False, False), (0,), ("hour",), (), ("hour", "holiday"), length=None, horizon=3)
NO_HORIZON = replace(PLAN, horizon=0, future=())
PER_STEP = replace(NO_HORIZON, per_step=True)
REDUCES = [None, "last", "mean", "max", "attention"]
CASES = [
    pytest.param(
        plan, layers, bidirectional, reduce, id=f"{name}-{layers}-{'both' if bidirectional else 'one'}-{reduce}"
    )
    for name, plan in {"horizon": PLAN, "no horizon": NO_HORIZON, "per step": PER_STEP}.items()
    for layers, bidirectional, reduce in itertools.product([1, 2], [False, True], REDUCES)
    if not (plan.per_step and reduce)
]


def built(plan: Plan = PLAN, seed: int = 0, **options: Any) -> LSTM:
    torch.manual_seed(seed)
    body = LSTM(4, **options)
    body.build(plan, outputs=plan.outputs * plan.quantiles)
    return body.eval()


def some(plan: Plan = PLAN, lengths: tuple[int, ...] = (5, 1, 7, 3), seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """x with garbage in its padding, lengths, future."""
    draw = torch.Generator().manual_seed(seed)
    batch = len(lengths)
    x = torch.randn(batch, max(1, *lengths), plan.width, generator=draw)
    x[torch.arange(x.shape[1]) >= torch.tensor(lengths)[:, None]] = 1e4
    return x, torch.tensor(lengths), torch.randn(batch, plan.horizon, len(plan.future), generator=draw)


def packed(body: LSTM, width: int) -> nn.LSTM:
    """PyTorch's own LSTM of several layers and directions, with the weights of `body`."""
    theirs = nn.LSTM(width, body.units, body.layers, batch_first=True, bidirectional=body.bidirectional)
    names = [f"_l{i}{d}" for i in range(body.layers) for d in ["", "_reverse"][: 1 + body.bidirectional]]
    for name, cell in zip(names, body.cells, strict=True):
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(theirs, kind + name).data = getattr(cell, f"{kind}_l0").data
    return theirs


@pytest.mark.parametrize(("layers", "bidirectional"), list(itertools.product([1, 2, 3], [False, True])))
def test_equals_pytorch_on_packed_sequences(layers: int, bidirectional: bool) -> None:
    x, lengths, future = some(PER_STEP)
    body = built(PER_STEP, layers=layers, bidirectional=bidirectional)
    last = built(NO_HORIZON, layers=layers, bidirectional=bidirectional)
    theirs = packed(body, PER_STEP.width)
    y, (h, _) = theirs(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    want, _ = pad_packed_sequence(y, batch_first=True)
    torch.testing.assert_close(body(x, lengths, future), want, atol=1e-6, rtol=0)
    ends = torch.cat(list(h[-(1 + bidirectional) :]), 1)
    torch.testing.assert_close(last(x, lengths, future), ends[:, None], atol=1e-6, rtol=0)


@pytest.mark.parametrize("how", ["mean", "max", "attention"])
def test_reduce_by_hand(how: str) -> None:
    x, lengths, future = some(NO_HORIZON)
    body, steps = built(NO_HORIZON, reduce=how), built(PER_STEP)
    out, all_steps = body(x, lengths, future), steps(x, lengths, future)
    for i, n in enumerate(lengths.tolist()):
        y = all_steps[i, :n]
        want = y.mean(0) if how == "mean" else y.amax(0)
        if how == "attention":
            pool = body.pool
            want = (torch.tanh(y @ pool.inner.weight.T + pool.inner.bias) @ pool.score.weight.T).softmax(0).T @ y
        torch.testing.assert_close(out[i, 0], want.reshape(-1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("plan", "layers", "bidirectional", "reduce"), CASES)
def test_padding_changes_nothing(plan: Plan, layers: int, bidirectional: bool, reduce: Any) -> None:
    body = built(plan, layers=layers, bidirectional=bidirectional, reduce=reduce)
    x, lengths, future = some(plan)
    together = body(x, lengths, future)
    longer = body(torch.cat([x, torch.full_like(x, -1e4)], 1), lengths, future)
    torch.testing.assert_close(longer[:, : together.shape[1]], together, atol=1e-6, rtol=0)
    assert longer[:, together.shape[1] :].eq(0).all()
    for i, n in enumerate(lengths.tolist()):
        alone = body(x[i : i + 1, :n], lengths[i : i + 1], future[i : i + 1])[0]
        torch.testing.assert_close(together[i, : len(alone)], alone, atol=1e-6, rtol=0)
        assert together[i, len(alone) :].eq(0).all()


@pytest.mark.parametrize(("plan", "layers", "bidirectional", "reduce"), CASES)
def test_twin_is_equal(plan: Plan, layers: int, bidirectional: bool, reduce: Any) -> None:
    body = built(plan, layers=layers, bidirectional=bidirectional, reduce=reduce)
    x, lengths, future = some(plan, (5, 0, 7, 3))
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
    model = g.model({})
    assert sum(node.op_type == "LSTM" for node in model.graph.node) == layers
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    real = torch.arange(x.shape[1]) < lengths[:, None]
    feed = {"x": x, "lengths": lengths, "future": future, "real": real}
    used = {i.name for i in session.get_inputs()}
    (got,) = session.run(None, {k: v.numpy() for k, v in feed.items() if k in used})
    np.testing.assert_allclose(got, body(x, lengths, future).detach(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_sequence_without_steps_is_finite_and_so_are_its_gradients(bidirectional: bool, reduce: Any) -> None:
    body = built(NO_HORIZON, bidirectional=bidirectional, reduce=reduce)
    x, lengths, future = some(NO_HORIZON, (0, 4))
    y = body(x, lengths, future)
    assert y[0].eq(0).all()
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in body.parameters())


def test_decoder_sees_all_that_is_known_ahead() -> None:
    plan = replace(PLAN, outputs=2, quantiles=3)
    body = built(plan)
    x, lengths, future = some(plan)
    y = body(x, lengths, future)
    assert (y.shape, body.width, body.direct) == ((4, 3, 6), 6, True)
    changed = future.clone()
    changed[:, -1, -1] += 1  # the last step's last column reaches every step of the horizon
    assert (body(x, lengths, changed) != y).all()
    assert built(replace(PLAN, future=()))(x, lengths, future[..., :0]).shape == (4, 3, 1)


def test_width_without_a_horizon() -> None:
    body = built(NO_HORIZON, bidirectional=True)
    assert (body.width, body.direct) == (8, False)
    assert body(*some(NO_HORIZON)).shape == (4, 1, 8)


@pytest.mark.parametrize("plan", [PLAN, NO_HORIZON, PER_STEP], ids=["horizon", "one", "per step"])
@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_acts_in_training_only(plan: Plan, layers: int) -> None:
    body, plain = built(plan, layers=layers, dropout=0.5), built(plan, layers=layers)
    inputs = some(plan)
    assert torch.equal(body(*inputs), plain(*inputs))
    assert not torch.allclose(body.train()(*inputs), plain(*inputs))


def test_weights_follow_from_the_seed() -> None:
    inputs = some()
    assert torch.equal(built(seed=3)(*inputs), built(seed=3)(*inputs))
    assert not torch.equal(built(seed=3)(*inputs), built(seed=4)(*inputs))


def test_building_again_draws_new_weights_and_fits_a_new_plan() -> None:
    body = LSTM(4)
    body.build(PLAN, 1)
    body.build(NO_HORIZON, 1)
    assert body.decoder is None
    assert body(*some(NO_HORIZON)).shape == (4, 1, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": 0}, "units=0: a whole number of at least 1"),
        ({"units": 4, "layers": 1.5}, "layers=1.5: a whole number"),
        ({"units": 4, "dropout": 1.0}, "dropout=1.0: a share"),
        ({"units": 4, "reduce": "men"}, "Did you mean 'mean'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        LSTM(**options)


def test_options_without_effect_are_refused() -> None:
    with pytest.raises(OptionError, match="reduce='last' has no effect with a target per step"):
        built(PER_STEP, reduce="last")
    with pytest.raises(OptionError, match="decoder has no effect without a horizon"):
        built(NO_HORIZON, decoder=Dense())
    with pytest.raises(OptionError, match="gives nothing per step"):
        built(replace(PLAN, channels=(), held=(), extras=()))


def test_made_from_its_description() -> None:
    for body in [*LSTM.examples(), LSTM(3, decoder=Dense())]:
        again = body_from({"kind": body.kind, **body.options()})
        assert again.options() == body.options()
    with pytest.raises(OptionError, match="body: lstm needs the option 'units'"):
        body_from({"kind": "lstm"})
    with pytest.raises(OptionError, match=r"decoder: unknown kind 'dens'.*Did you mean 'dense'"):
        body_from({"kind": "lstm", "units": 3, "decoder": {"kind": "dens"}})
