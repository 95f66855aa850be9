"""Heads: losses by hand, what does not count, what is refused, and the twins."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional as F

from inputlayer.errors import NotFittedError, OptionError
from inputlayer.graph import Graph
from inputlayer.heads import HEADS, Classes, Head, Regression, head_from
from inputlayer.stages import Plan

PLAN = Plan(("a",), (False,), (0,), (), (), (), length=None, horizon=0)
LABELS = ["a", "b", "c"]
EXAMPLES = [example for head in HEADS.values() for example in head.examples()]


def built(head: Head, direct: bool = False, outputs: int = 1) -> Head:
    torch.manual_seed(0)
    if isinstance(head, Classes):
        head.set_classes(LABELS, [6, 3, 1])
    head.build(5, direct, replace(PLAN, outputs=outputs, quantiles=head.per_target))
    return head


def ids(head: Head) -> str:
    return json.dumps(head.options())


# -- Regression -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "costs"),
    [
        (Regression("mse"), [0.25, 4.0]),
        (Regression("mae"), [0.5, 2.0]),
        (Regression("huber"), [0.125, 1.5]),
    ],
    ids=["mse", "mae", "huber"],
)
def test_loss_by_hand(head: Head, costs: list[float]) -> None:
    y, target = torch.tensor([1.5, 3.0]).view(2, 1, 1, 1), torch.ones(2, 1, 1)
    real = torch.ones(2, 1, 1, dtype=torch.bool)
    assert head.loss(y, target, real).item() == pytest.approx(sum(costs) / 2)
    weighted = head.loss(y, target, real, torch.tensor([3.0, 1.0]))
    assert weighted.item() == pytest.approx((3 * costs[0] + costs[1]) / 4)


def test_pinball_by_hand() -> None:
    head = Regression("quantile", quantiles=[0.1, 0.5, 0.9])
    y = torch.tensor([0.0, 1.0, 3.0]).view(1, 1, 1, 3)
    loss = head.loss(y, torch.full((1, 1, 1), 2.0), torch.ones(1, 1, 1, dtype=torch.bool))
    assert loss.item() == pytest.approx((0.1 * 2 + 0.5 * 1 + 0.1 * 1) / 3)


def test_pinball_is_least_at_the_quantiles() -> None:
    head = Regression("quantile", quantiles=[0.1, 0.5, 0.9])
    target = torch.randn(1, 4001, 1, generator=torch.Generator().manual_seed(0))
    best = torch.quantile(target, torch.tensor([0.1, 0.5, 0.9]))
    real = torch.ones_like(target, dtype=torch.bool)
    losses = [head.loss((best + off).expand(1, 4001, 1, 3), target, real) for off in (-0.1, 0.0, 0.1)]
    assert losses[1] < min(losses[0], losses[2])


@pytest.mark.parametrize("head", [h for h in EXAMPLES if isinstance(h, Regression)], ids=ids)
def test_missing_targets_cost_nothing_and_poison_nothing(head: Regression) -> None:
    y = torch.randn(4, 3, 2, head.per_target, requires_grad=True)
    target, real = torch.randn(4, 3, 2), torch.rand(4, 3, 2) > 0.5
    real[0, 0, 0], real[1, 1, 1] = True, False
    holes = torch.where(real, target, torch.nan)
    loss = head.loss(y, holes, real, torch.rand(4))
    loss.backward()
    assert y.grad is not None
    assert y.grad.isfinite().all()
    assert y.grad[~real].eq(0).all()
    assert y.grad[real].ne(0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "rmse"}, "loss='rmse' is not one of.*Did you mean 'mse'"),
        ({"loss": "quantile"}, "needs quantiles"),
        ({"quantiles": [0.5]}, "no effect with loss='mse'"),
        ({"loss": "quantile", "quantiles": [0.1, 0.9]}, "must hold 0.5"),
        ({"loss": "quantile", "quantiles": [0.5, 0.1]}, "must ascend"),
        ({"loss": "quantile", "quantiles": [0.5, 0.5]}, "must ascend"),
        ({"loss": "quantile", "quantiles": [0.0, 0.5]}, "above 0 and below 1"),
    ],
)
def test_wrong_regression_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Regression(**options)


# -- Classes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "each"),
    [(None, [1, 1, 1]), ("balanced", [10 / 18, 10 / 9, 10 / 3]), ({"b": 5, "c": 0}, [1, 5, 0])],
)
def test_cross_entropy_is_that_of_pytorch(weights: Any, each: list[float]) -> None:
    head = built(Classes(weights))
    y, target = torch.randn(6, 2, 1, 3), torch.randint(0, 3, (6, 2, 1))
    loss = head.loss(y, target, torch.ones_like(target, dtype=torch.bool))
    want = F.cross_entropy(y.view(-1, 3), target.view(-1), torch.tensor(each, dtype=torch.float32))
    torch.testing.assert_close(loss, want)


def test_unseen_classes_and_missing_steps_have_no_loss() -> None:
    head = built(Classes("balanced"))
    y = torch.randn(2, 2, 1, 3, requires_grad=True)
    target = torch.tensor([[[0], [-1]], [[2], [1]]])
    real = torch.tensor([[[True], [True]], [[False], [True]]])
    head.loss(y, target, real, torch.tensor([1.0, 2.0])).backward()
    assert y.grad is not None
    touched = y.grad.abs().sum(-1)[..., 0] > 0
    assert touched.tolist() == [[True, False], [False, True]]


def test_labels_of_flags_are_named_as_in_files() -> None:
    head = Classes({"true": 3.0})
    head.set_classes([False, True], [1, 1])
    assert head.class_weights.tolist() == [1.0, 3.0]


def test_wrong_classes_are_refused() -> None:
    with pytest.raises(OptionError, match="neither None, 'balanced' nor a dict"):
        Classes("balance")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="'a' has -1"):
        Classes({"a": -1})
    with pytest.raises(OptionError, match=r"no class is named 'spm'.*Did you mean 'spam'"):
        Classes({"spm": 2.0}).set_classes(["ham", "spam"], [1, 1])
    with pytest.raises(NotFittedError, match="set_classes"):
        Classes().build(3, False, PLAN)
    with pytest.raises(OptionError, match="one target, not 2"):
        built(Classes(), outputs=2)


# -- every head -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", EXAMPLES, ids=ids)
def test_nothing_real_costs_zero(head: Head) -> None:
    built(head)
    h = torch.randn(2, 3, 5)
    target = torch.full((2, 3, 1), -1) if isinstance(head, Classes) else torch.full((2, 3, 1), torch.nan)
    loss = head.loss(head(h), target, torch.zeros(2, 3, 1, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None and p.grad.eq(0).all() for p in head.parameters())


@pytest.mark.parametrize("head", EXAMPLES, ids=ids)
@pytest.mark.parametrize("direct", [False, True])
def test_twin_is_equal(head: Head, direct: bool) -> None:
    outputs = 1 if isinstance(head, Classes) else 2
    built(head, direct, outputs)
    width = outputs * head.per_target if direct else 5
    h = torch.randn(3, 4, width)
    y = head(h)
    assert y.shape == (3, 4, outputs, head.per_target)
    g = Graph()
    g.output("y", head.onnx(g, g.input("h", np.float32, ("B", "n", width))), np.float32, ("B", "n", *y.shape[2:]))
    session = onnxruntime.InferenceSession(g.model({}).SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"h": h.numpy()})[0], y.detach(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("head", EXAMPLES, ids=ids)
def test_made_from_its_description(head: Head) -> None:
    spec = json.loads(json.dumps({"kind": head.kind, **head.options()}))
    assert head_from(spec).options() == head.options()
