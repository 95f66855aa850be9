"""PerChannel: who becomes which row, and what is refused. Twin and padding: the stage contract."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from inputlayer.errors import OptionError, StageError
from inputlayer.stages import InstanceNorm, PerChannel, Plan, Steps, stage_from

PLAN = Plan(("a", "b", "c"), (True, False, True), (2, 0), ("e",), ("s",), ("f",), length=4, horizon=5, outputs=2)


def made(embedding: int = 2) -> PerChannel:
    stage = PerChannel(embedding)
    stage.build(PLAN)
    return stage


def some() -> Steps:
    draw = torch.Generator().manual_seed(0)
    values, extras = (torch.randn(3, 4, n, generator=draw) for n in (3, 1))
    static, future = torch.randn(3, 1, generator=draw), torch.randn(3, 5, 1, generator=draw)
    return Steps(values, values > -1, extras, static, future, torch.tensor([4, 2, 3]))


def test_row_by_row() -> None:
    stage, steps = made(), some()
    out, _ = stage(steps)
    assert stage.codes is not None
    for b in range(3):
        for k, channel in enumerate((2, 0)):
            row = 2 * b + k
            assert torch.equal(out.values[row, :, 0], steps.values[b, :, channel])
            assert torch.equal(out.present[row, :, 0], steps.present[b, :, channel])
            assert torch.equal(out.extras[row], torch.stack([steps.values[b, :, 1], steps.extras[b, :, 0]], 1))
            assert torch.equal(out.static[row], torch.cat([steps.static[b], stage.codes.weight[k]]))
            assert torch.equal(out.future[row], steps.future[b])
            assert (int(out.lengths[row]), int(out.key[row])) == (int(steps.lengths[b]), k)  # type: ignore[index]


def test_the_plan_names_what_is_where() -> None:
    after = PerChannel(2).plan(PLAN)
    assert (after.channels, after.targets, after.held) == (("channel",), (0,), (True,))
    assert after.extras == ("b", "e")
    assert after.static == ("s", "channel code 1", "channel code 2")
    assert (after.keys, after.outputs, after.width) == (2, 1, 6)
    assert not PerChannel().plan(replace(PLAN, held=(True, False, False))).held[0]


def test_way_back_puts_each_target_in_its_place() -> None:
    y = torch.randn(6, 5, 1, 3)
    back = made().back(y, None)
    assert back.shape == (3, 5, 2, 3)
    for b in range(3):
        for k in range(2):
            assert torch.equal(back[b, :, k], y[2 * b + k, :, 0])


def test_codes_are_learnt() -> None:
    stage = made()
    stage(some())[0].static.sum().backward()
    assert stage.codes is not None
    assert stage.codes.weight.grad is not None
    assert stage.codes.weight.grad.eq(3).all()
    assert made(0).codes is None


@pytest.mark.parametrize("mode", ["last", "standard"])
def test_a_norm_behind_it_is_the_norm_before_it_and_so_is_its_way_back(mode: str) -> None:
    outcomes = []
    for parts in ([InstanceNorm(mode, affine=True), PerChannel(0)], [PerChannel(0), InstanceNorm(mode, affine=True)]):  # type: ignore[arg-type]
        plan, steps, memos = replace(PLAN, held=(False,) * 3), some(), []
        for stage in parts:
            stage.build(plan)
            plan = stage.plan(plan)
        norm = next(s for s in parts if isinstance(s, InstanceNorm))
        with torch.no_grad():  # of a and c: before it in the columns' order, behind it in the targets'
            learnt = torch.tensor([[0.5, 0.0, -0.25]]) if norm is parts[0] else torch.tensor([[-0.25], [0.5]])
            norm.log_factor.copy_(learnt)
            norm.offset.copy_(2 * learnt)
        for stage in parts:
            steps, memo = stage(steps)
            memos.append(memo)
        y = torch.linspace(0, 1, 30).view(6, 5, 1, 1)
        for stage, memo in zip(reversed(parts), reversed(memos), strict=True):
            y = stage.back(y, memo)
        outcomes.append((steps.values, y))
    for first, second in zip(*outcomes, strict=True):
        torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-6)


def test_wrong_places_and_options_are_refused() -> None:
    with pytest.raises(StageError, match=r"Put it first: stages=\[PerChannel\(8\), Patch"):
        PerChannel().plan(replace(PLAN, applied=("patch",)))
    with pytest.raises(StageError, match="Name it once"):
        PerChannel().plan(PerChannel().plan(PLAN))
    with pytest.raises(StageError, match="no target's past is an input"):
        PerChannel().plan(replace(PLAN, targets=()))
    with pytest.raises(StageError, match="1 of 2 targets have theirs"):
        PerChannel().plan(replace(PLAN, targets=(1,)))
    with pytest.raises(StageError, match="here is only one"):
        PerChannel().plan(replace(PLAN, targets=(1,), outputs=1))
    with pytest.raises(StageError, match=r"stages=\[InstanceNorm\('last'\), PerChannel\(...\)\]"):
        InstanceNorm(columns=["a"]).plan(PerChannel().plan(PLAN))
    with pytest.raises(OptionError, match="embedding=-1: a whole number of at least 0"):
        PerChannel(-1)


def test_made_from_its_description() -> None:
    for stage in PerChannel.examples():
        assert stage_from({"kind": "per_channel", **stage.options()}).options() == stage.options()
