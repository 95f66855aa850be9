"""Autoregression: values by hand, uneven lengths, where it may stand, and what it is for. Twin: the stage contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import inputlayer as il
from inputlayer.errors import OptionError, StageError
from inputlayer.stages import Autoregression, Patch, Plan, Steps


def plan(**changes: Any) -> Plan:
    given: dict[str, Any] = {
        "channels": ("a", "b"), "held": (False, False), "targets": (0,), "extras": (), "static": (), "future": (),
        "length": None, "horizon": 2,
    }  # fmt: skip
    return Plan(**given | changes)


def test_each_step_of_the_horizon_has_its_own_weights_of_the_last_steps() -> None:
    stage = Autoregression(2)
    stage.build(plan())
    with torch.no_grad():
        # Rows: a and b one step before the last, then a and b of the last; columns: the two steps ahead.
        stage.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [10.0, 0.0], [0.0, 20.0]]))
        stage.bias.copy_(torch.tensor([0.5, -0.5]))
    values = torch.tensor([[[9.0, 9.0], [1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [0.0, 0.0], [0.0, 0.0]]])
    lengths = torch.tensor([3, 1])
    none = torch.zeros(2, 3, 0)
    steps = Steps(values, values != 0, none, none[:, 0], none[:, :2], lengths)
    out, memo = stage(steps)
    assert out is steps
    found = stage.back(torch.zeros(2, 2, 1, 3), memo)
    wanted = torch.tensor([[31.5, 83.5], [50.5, 119.5]])  # the second sequence has a single step: before it is nothing
    torch.testing.assert_close(found, wanted[..., None, None].expand(2, 2, 1, 3))


@pytest.mark.parametrize(
    ("stage", "given", "message"),
    [
        (Autoregression(24), plan(length=12), r"needs sequences of at least 24 steps, and these have 12"),
        (Autoregression(4), Patch(2).plan(plan(length=12)), r"stages=\[Autoregression\(4\), Patch\(\.\.\.\)\]"),
        (Autoregression(4), plan(channels=(), held=(), targets=()), "none that vary by step"),
        (Autoregression(4), plan(horizon=0), "here is no horizon"),
        (Autoregression(4), plan(targets=()), "no target has its past among the inputs"),
        (Autoregression(4), plan(outputs=2), "Give role='target' to all of them or to none"),
    ],
)
def test_a_place_where_it_cannot_stand(stage: Autoregression, given: Plan, message: str) -> None:
    with pytest.raises(StageError, match=message):
        stage.plan(given)


@pytest.mark.parametrize("size", [0, -3, 2.5, True])
def test_a_size_that_is_none(size: Any) -> None:
    with pytest.raises(OptionError, match="size"):
        Autoregression(size)


class Nothing(torch.nn.Module):
    """A body that says the same of every sequence."""

    width = 1

    def forward(self, x: torch.Tensor, lengths: torch.Tensor, future: torch.Tensor, key: Any = None) -> torch.Tensor:
        return x.new_zeros(len(x), 1, 1)


def test_what_is_linear_is_learnt_where_the_body_says_nothing() -> None:
    hour = np.arange(400)
    draw = np.random.default_rng(0)
    load = np.zeros(400)
    for i in range(2, 400):
        load[i] = 1.6 * load[i - 1] - 0.9 * load[i - 2] + draw.normal(0, 0.1)
    schema = il.Schema({"load": il.Number(scale="none")}, il.Windows("hour", length=8, horizon=1), target="load")
    model = il.Model(il.InputLayer(schema, [il.Autoregression(2)]), Nothing())
    model.fit({"hour": hour, "load": load}, epochs=60, batch=32, lr=0.05)
    (made,) = model.network.layer.stages
    assert isinstance(made, Autoregression)
    np.testing.assert_allclose(made.weight.detach().flatten(), [-0.9, 1.6], atol=0.1)


def test_the_way_back_names_what_is_added_and_what_is_undone() -> None:
    table = {"hour": list(range(60)), "load": [float(i % 7) for i in range(60)]}
    schema = il.Schema({"load": il.Number()}, il.Windows("hour", length=8, horizon=2), target="load")
    stages = [il.InstanceNorm("last"), il.Autoregression(3), il.Patch(2)]
    back = il.show(il.InputLayer(schema, stages).fit(table), table).to_dict()["after"]["back"]
    assert [line.split(",")[0] for line in back[:2]] == [
        "the forecast of Autoregression(size=3) is added",
        "InstanceNorm(mode='last') is undone",
    ]
    assert back[2].startswith("load = output *")
