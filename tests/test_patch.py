"""Patch: which steps join, at each sample's own length, and what is refused. Twin and padding: the stage contract."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from inputlayer.errors import OptionError, StageError
from inputlayer.stages import Patch, Plan, Steps, stage_from

PLAN = Plan(("a", "b"), (False, True), (1,), ("e",), ("s",), (), length=10, horizon=2)


def some(lengths: tuple[int, ...], steps: int) -> Steps:
    """Values that tell their place: 100 * channel + step, counted from 1. The second step of the first is missing."""
    real = torch.arange(steps) < torch.tensor(lengths)[:, None]
    place = torch.arange(1, steps + 1).expand(len(lengths), -1)
    values = torch.stack([place, place + 100], -1) * real[..., None].float()
    present = real[..., None].repeat(1, 1, 2)
    present[0, 1, 0] = False
    none = torch.zeros(len(lengths), 1)
    return Steps(values, present, values[..., :1] + 200 * real[..., None], none, none[..., None], torch.tensor(lengths))


def test_by_hand() -> None:
    out, _ = Patch(3)(some((5, 3, 1, 0), 5))
    assert out.lengths.tolist() == [2, 1, 1, 0]
    assert out.values[0].tolist() == [[0, 1, 2, 0, 101, 102], [3, 4, 5, 103, 104, 105]]
    assert out.values[1].tolist() == [[1, 2, 3, 101, 102, 103], [0] * 6]
    assert out.values[2, 0].tolist() == [0, 0, 1, 0, 0, 101]
    assert out.extras[0, 0].tolist() == [0, 201, 202]
    assert out.present[0, 0].tolist() == [False, True, False, False, True, True]
    assert not out.values[3].any()


@pytest.mark.parametrize(("size", "stride"), [(2, None), (3, 1), (4, 3), (5, 5), (9, 4)])
def test_the_last_step_ends_the_last_patch_and_no_step_is_lost(size: int, stride: int | None) -> None:
    lengths = (1, 2, 4, 7, 9)
    out, _ = Patch(size, stride)(some(lengths, 9))
    step = stride or size
    for row, n in enumerate(lengths):
        count = 1 + max(0, -(-(n - size) // step))
        assert int(out.lengths[row]) == count
        patches = out.values[row, :count, :size]
        for j, patch in enumerate(patches):  # by hand: the j-th ends so many strides before the last step
            end = n - (count - 1 - j) * step
            assert patch.tolist() == [max(i, 0) for i in range(end - size + 1, end + 1)]
        assert set(range(1, n + 1)) <= {int(v) for v in patches.flatten()}


def test_the_plan_names_each_number() -> None:
    after = Patch(4, 3).plan(PLAN)
    out, _ = Patch(4, 3)(some((10,), 10))
    assert after.channels == tuple(f"{c}[{i}]" for c in "ab" for i in (1, 2, 3, 4))
    assert after.extras == ("e[1]", "e[2]", "e[3]", "e[4]")
    assert (after.static, after.length, after.held) == (("s",), 3, (False,) * 4 + (True,) * 4)
    assert out.values.shape == (1, 3, len(after.channels))
    assert float(out.values[0, -1, after.targets[0]]) == 110  # the target's last number


def test_the_forecast_is_left_alone() -> None:
    y = torch.randn(2, 3, 1, 1)
    stage = Patch(2)
    assert stage.back(y, stage(some((5, 3), 5))[1]) is y


def test_gradients_reach_every_step_once() -> None:
    steps = some((5, 3), 5)
    steps.values.requires_grad_()
    Patch(2)(steps)[0].values.sum().backward()
    assert steps.values.grad is not None
    np.testing.assert_array_equal(steps.values.grad[..., 0], steps.real().float())


def test_wrong_places_and_options_are_refused() -> None:
    with pytest.raises(
        StageError, match=r"Patch\(12\) is longer than the sequences, which have 10 steps. Use a size of at"
    ):
        Patch(12).plan(PLAN)
    with pytest.raises(StageError, match="each step has a target of its own"):
        Patch(2).plan(replace(PLAN, per_step=True))
    with pytest.raises(StageError, match="Use one, of a larger size"):
        Patch(2).plan(Patch(2).plan(PLAN))
    with pytest.raises(OptionError, match="size=1: a whole number of at least 2"):
        Patch(1)
    with pytest.raises(OptionError, match="stride=5 is longer than size=4"):
        Patch(4, 5)
    assert Patch(12).plan(replace(PLAN, length=None)).length is None


def test_made_from_its_description() -> None:
    for stage in Patch.examples():
        assert stage_from({"kind": "patch", **stage.options()}).options() == stage.options()
