"""InstanceNorm: masked statistics, the way back, and its twin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from inputlayer.errors import OptionError, StageError
from inputlayer.graph import Graph
from inputlayer.stages import InstanceNorm, Plan, Steps, TwinSteps, stage_from

PLAN = Plan(("a", "b", "c"), (False, False, True), (1, 0), (), (), (), 6, 2, outputs=2)


def some(seed: int = 0, batch: int = 5, length: int = 6, offset: float = 0.0) -> Steps:
    """Random steps with gaps and padding; zeros where nothing is real, as the layer gives them."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, length + 1, (batch,), generator=draw)
    real = torch.arange(length) < lengths[:, None]
    present = (torch.rand(batch, length, 3, generator=draw) > 0.3) & real[..., None]
    values = (torch.randn(batch, length, 3, generator=draw) + offset) * real[..., None]
    empty = torch.zeros(batch, 0)
    return Steps(values, present, empty[:, None].expand(batch, length, 0), empty, torch.zeros(batch, 2, 0), lengths)


def made(mode: Any) -> InstanceNorm:
    stage = InstanceNorm(mode)
    stage.plan(PLAN)
    stage.build(PLAN)
    return stage


def by_hand(x: np.ndarray, mode: str) -> tuple[float, float]:
    """Shift and scale of the present values of one channel."""
    if mode == "last" or not len(x):
        return (float(x[-1]) if len(x) else 0.0), 1.0
    constant = x.max() == x.min()
    return float(x.mean()), 1.0 if mode == "mean" or constant else float(np.sqrt(x.var() + 1e-5))


@pytest.mark.parametrize("mode", ["last", "mean", "standard"])
def test_equals_the_definition_per_sample_and_channel(mode: str) -> None:
    steps = some()
    out, memo = made(mode)(steps)
    for b in range(5):
        for c in range(3):
            there = steps.present[b, :, c].numpy()
            x = steps.values[b, :, c].double().numpy()
            shift, scale = by_hand(x[there], mode)
            kept = there | ((c == 2) & (np.arange(6) < int(steps.lengths[b])))
            np.testing.assert_allclose(
                out.values[b, :, c], np.where(kept, (x - shift) / scale, 0), atol=2e-5, rtol=2e-5
            )
            if c < 2:
                assert float(memo.shift[b, 0, 1 - c, 0]) == pytest.approx(shift, abs=1e-5)


@pytest.mark.parametrize("stage", InstanceNorm.examples(), ids=lambda s: s.mode)
def test_way_back_undoes_it(stage: InstanceNorm) -> None:
    steps = some(1, offset=3.0)
    stage.build(PLAN)
    out, memo = stage(steps)
    y = out.values[:, :, [1, 0]][..., None].expand(-1, -1, -1, 3)  # as if the network repeated its targets' past
    want = steps.values[:, :, [1, 0]][..., None].expand(-1, -1, -1, 3)
    there = steps.present[:, :, [1, 0]][..., None].expand_as(want)
    torch.testing.assert_close(stage.back(y, memo)[there], want[there], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", ["last", "mean", "standard"])
def test_constant_and_wholly_missing_windows_are_finite(mode: str) -> None:
    steps = some()
    steps = steps.replace(values=torch.full_like(steps.values, 0.1) * steps.real()[..., None])
    steps.present[0] = False
    steps = steps.replace(values=steps.values.requires_grad_())
    out, memo = made(mode)(steps)
    y = made(mode).back(torch.ones(5, 2, 2, 1), memo)
    y.sum().backward()
    assert (out.values[1:].abs() < 1e-6).all()  # shifted by their own level, not blown up
    assert out.values[0, :, :2].eq(0).all()
    assert y[0].eq(1.0).all()
    torch.testing.assert_close(y[1:].max(), torch.tensor(1.1))
    assert steps.values.grad is not None
    assert steps.values.grad.isfinite().all()


@pytest.mark.parametrize("mode", ["last", "mean", "standard"])
def test_padding_changes_nothing(mode: str) -> None:
    short = some(2)
    long = short.replace(
        values=torch.cat([short.values, torch.zeros(5, 3, 3)], 1),
        present=torch.cat([short.present, torch.zeros(5, 3, 3, dtype=torch.bool)], 1),
    )
    (one, memo), (other, longer) = made(mode)(short), made(mode)(long)
    torch.testing.assert_close(other.values[:, :6], one.values, atol=1e-6, rtol=0)
    assert other.values[:, 6:].eq(0).all()
    torch.testing.assert_close(longer.shift, memo.shift, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["last", "mean", "standard"])
@pytest.mark.parametrize("targets", [(1, 0), ()])
@pytest.mark.parametrize("columns", [None, ("b",)])
def test_twin_is_equal(mode: Any, targets: tuple[int, ...], columns: tuple[str, ...] | None) -> None:
    stage, steps = InstanceNorm(mode, columns), some(3)
    stage.build(replace(PLAN, targets=targets))
    steps.present[0] = False
    y = torch.randn(5, 2, 2, 3)
    out, memo = stage(steps)
    g = Graph()
    x = TwinSteps(
        g.input("values", np.float32, ("B", "T", 3)),
        g.input("present", np.bool_, ("B", "T", 3)),
        "", "", "", "",
        g.input("real", np.bool_, ("B", "T")),
    )  # fmt: skip
    twin, kept = stage.onnx(g, x)
    g.output("out", twin.values, np.float32, ("B", "T", 3))
    g.output("back", stage.onnx_back(g, g.input("y", np.float32, ("B", 2, 2, 3)), kept), np.float32, ("B", 2, 2, 3))
    session = onnxruntime.InferenceSession(g.model({}).SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {"values": steps.values, "present": steps.present, "real": steps.real(), "y": y}
    got = session.run(None, {k: v.numpy() for k, v in feed.items()})
    np.testing.assert_allclose(got[0], out.values, atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(got[1], stage.back(y, memo), atol=1e-6, rtol=1e-6)


def test_a_target_that_is_no_input_has_no_way_back() -> None:
    stage = InstanceNorm("mean")
    stage.build(replace(PLAN, targets=()))
    y = torch.randn(5, 1, 1, 1)
    assert stage.back(y, stage(some())[1]) is y


def test_wrong_places_are_refused() -> None:
    stage = InstanceNorm()
    assert stage.plan(PLAN).applied == ("instance_norm",)
    with pytest.raises(StageError, match="acts on numbers"):
        stage.plan(replace(PLAN, channels=(), held=(), targets=()))
    with pytest.raises(StageError, match=r"stages=\[InstanceNorm\('last'\), Patch"):
        stage.plan(replace(PLAN, applied=("patch",)))
    with pytest.raises(StageError, match="1 of 2 targets have theirs among the inputs"):
        stage.plan(replace(PLAN, targets=(1,)))
    with pytest.raises(OptionError, match="Did you mean 'mean'"):
        InstanceNorm("men")  # type: ignore[arg-type]


def test_made_from_its_description() -> None:
    for stage in InstanceNorm.examples():
        assert stage_from({"kind": stage.kind, **stage.options()}).options() == stage.options()
    with pytest.raises(OptionError, match="unknown kind 'instance_norms'"):
        stage_from({"kind": "instance_norms"})
    with pytest.raises(OptionError, match=r"has no option 'mod'\. Did you mean 'mode'"):
        stage_from({"kind": "instance_norm", "mod": "last"})


@pytest.mark.parametrize("mode", ["last", "standard"])
def test_columns_left_out_keep_their_level_and_their_fills(mode: Any) -> None:
    steps = some(offset=3.0)
    chosen, everything = InstanceNorm(mode, columns=["b"]), made(mode)
    chosen.build(PLAN)
    out, memo = chosen(steps)
    assert torch.equal(out.values[..., [0, 2]], steps.values[..., [0, 2]])
    assert torch.equal(out.values[..., 1], everything(steps)[0].values[..., 1])
    y = torch.randn(5, 2, 2, 1)
    back = chosen.back(y, memo)
    assert torch.equal(back[:, :, 1], y[:, :, 1])  # target 1 is channel a, which was left alone
    assert torch.allclose(back[:, :, 0], everything.back(y, everything(steps)[1])[:, :, 0])


@pytest.mark.parametrize("key", [None, torch.tensor([0, 1, 0, 1, 0])])
def test_a_learnt_affine_is_undone_and_missing_entries_stand_at_the_level(key: torch.Tensor | None) -> None:
    plan = PLAN if key is None else replace(PLAN, keys=2)
    stage, plain = InstanceNorm("standard", ["a", "b"], affine=True), InstanceNorm("standard", ["a", "b"])
    stage.build(plan)
    plain.build(plan)
    steps = some(offset=3.0).replace(key=key)
    assert torch.equal(stage(steps)[0].values, plain(steps)[0].values)  # at first it changes nothing
    torch.manual_seed(0)
    for weight in stage.parameters():
        torch.nn.init.normal_(weight)
    (out, memo), (before, _) = stage(steps), plain(steps)
    of = torch.zeros(5, dtype=torch.int64) if key is None else key
    factor, offset = stage.log_factor[of].exp()[:, None], stage.offset[of][:, None]
    want = torch.where(steps.real()[..., None], before.values * factor + offset, 0.0)
    torch.testing.assert_close(out.values[..., :2], want[..., :2], atol=1e-6, rtol=1e-6)
    assert torch.equal(out.values[..., 2], before.values[..., 2])  # left out
    there = steps.present[..., [1, 0]]
    back = stage.back(out.values[..., [1, 0], None], memo)[..., 0]
    torch.testing.assert_close(back[there], steps.values[..., [1, 0]][there], atol=1e-5, rtol=1e-5)
    assert stage_from({"kind": "instance_norm", **stage.options()}).options() == stage.options()


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(StageError, match=r"'bb' is no number that varies by step\. Did you mean 'b'\?"):
        InstanceNorm(columns=["bb"]).plan(PLAN)
