"""Difference: masked differences, adding up again, and what is refused. Twin and padding: the stage contract."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from inputlayer.errors import OptionError, StageError
from inputlayer.stages import Difference, Plan, Steps, stage_from

PLAN = Plan(("a", "b"), (False, True), (1, 0), (), (), (), length=8, horizon=5, outputs=2)


def made(lag: int = 1, plan: Plan = PLAN) -> Difference:
    stage = Difference(lag)
    stage.plan(plan)
    stage.build(plan)
    return stage


def steps(a: list[float | None], b: list[float | None], length: int | None = None) -> Steps:
    """One sequence; None is missing: filled with 0 in a, with the value held (9 before any) in b."""
    length = len(a) if length is None else length
    held, last = [], 9.0
    for x in b:
        last = last if x is None else x
        held.append(last)
    present = torch.tensor([[x is not None for x in c] for c in (a, b)]).T[None]
    values = torch.tensor([[x or 0.0 for x in a], held]).T[None]
    real = (torch.arange(len(a)) < length)[None, :, None]
    none = torch.zeros(1, len(a), 0)
    return Steps(values * real, present & real, none, none[:, 0], torch.zeros(1, 5, 0), torch.tensor([length]))


def test_by_hand_with_gaps() -> None:
    given = steps([1, 3, None, 7, 8, 8], [None, 2, None, 5, 6, 1])
    out, _ = made()(given)
    assert out.values[0, :, 0].tolist() == [0, 2, 0, 0, 1, 0]  # a gap has no difference on either side
    assert out.present[0, :, 0].tolist() == [False, True, False, False, True, True]
    assert out.values[0, :, 1].tolist() == [0, 0, 0, 3, 1, -5]  # held: against the value last seen, once one was seen
    assert out.present[0, :, 1].tolist() == [False, False, False, True, True, True]


@pytest.mark.parametrize("lag", [1, 2, 3, 5])
def test_what_follows_is_added_up_again(lag: int) -> None:
    torch.manual_seed(0)
    whole = torch.randn(3, 13, 2) * 4 + 50
    present, none = torch.ones(3, 13, 2).bool(), torch.zeros(3, 13, 0)
    both = Steps(whole, present, none, none[:, 0], none[:, :5], torch.full((3,), 13))
    first = Steps(whole[:, :8], present[:, :8], none[:, :8], none[:, 0], none[:, :5], torch.full((3,), 8))
    ahead = made(lag)(both)[0].values[:, 8:, [1, 0]]
    back = made(lag).back(ahead[..., None], made(lag)(first)[1])
    torch.testing.assert_close(back[..., 0], whole[:, 8:, [1, 0]], atol=2e-5, rtol=0)


def test_adds_to_the_last_present_number_at_the_same_place_of_the_season() -> None:
    given = steps([1, 2, 3, 4, None, 6, 0], [None] * 7, length=6)  # season of 2: the places are 5, 3, .. and 6, 4, ..
    _, memo = made(2)(given)
    assert memo is not None
    assert memo[0, :, 1].tolist() == [3, 6]
    assert memo[0, :, 0].tolist() == [0, 0]  # b: nothing was ever present
    _, memo = made(4)(steps([1, None, None], [2, 3, 4]))  # a season longer than the sequence
    assert memo is not None
    assert memo[0, :, 1].tolist() == [1, 1, 1, 1]
    assert memo[0, :, 0].tolist() == [4, 2, 3, 4]


def test_a_forecast_of_no_change_repeats_the_season() -> None:
    stage = made(2)
    _, memo = stage(steps([1, 2, 3, 4], [1, 2, 3, 5]))
    back = stage.back(torch.zeros(1, 5, 2, 1), memo)
    assert back[0, :, 0, 0].tolist() == [3, 5, 3, 5, 3]
    assert back[0, :, 1, 0].tolist() == [3, 4, 3, 4, 3]


def test_wholly_missing_and_constant_windows() -> None:
    for given in (steps([None] * 4, [None] * 4), steps([7] * 4, [7] * 4)):
        out, memo = made()(given)
        assert not out.values.any()
        assert made().back(torch.zeros(1, 5, 2, 1), memo).isfinite().all()


def test_wrong_places_and_options_are_refused() -> None:
    with pytest.raises(StageError, match=r"quantiles do not add up.*Use InstanceNorm\('last'\) in its place"):
        Difference().plan(replace(PLAN, quantiles=3))
    assert Difference().plan(replace(PLAN, quantiles=3, targets=())).applied == ("difference",)
    with pytest.raises(StageError, match="here is no horizon"):
        Difference().plan(replace(PLAN, horizon=0, targets=()))
    with pytest.raises(StageError, match=r"stages=\[Difference\(1\), Patch"):
        Difference().plan(replace(PLAN, applied=("patch",)))
    with pytest.raises(StageError, match=r"Difference\(8\) needs sequences of more than 8 steps, and these have 8"):
        Difference(8).plan(PLAN)
    with pytest.raises(StageError, match="1 of 2 targets have theirs among the inputs"):
        Difference().plan(replace(PLAN, targets=(0,)))
    with pytest.raises(StageError, match="acts on numbers"):
        Difference().plan(replace(PLAN, channels=(), held=(), targets=()))
    with pytest.raises(OptionError, match="lag=0: a whole number of at least 1"):
        Difference(0)


def test_made_from_its_description() -> None:
    for stage in Difference.examples():
        assert stage_from({"kind": "difference", **stage.options()}).options() == stage.options()
