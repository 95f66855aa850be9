"""Noise: what it moves, and when; its place among the stages. Twin and padding: the stage contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import inputlayer as il
from inputlayer.errors import OptionError, StageError
from inputlayer.stages import Noise, Plan, Steps


def steps(gap: float = 0.0) -> Steps:
    """Two sequences of 4,000 and 2,000 steps, two channels, every tenth number of the second filled with `gap`."""
    lengths, none = torch.tensor([4000, 2000]), torch.zeros(2, 4000, 0)
    present = (torch.arange(4000) < lengths[:, None])[..., None].repeat(1, 1, 2)
    real = present.clone()
    present[:, ::10, 1] = False
    values = torch.where(present, 5.0, gap) * real
    return Steps(values, present, none, none[:, 0], none[:, :0], lengths)


def test_present_numbers_are_moved_by_the_spread_and_nothing_else_is() -> None:
    torch.manual_seed(0)
    given = steps(gap=3.0)
    out, _ = Noise(0.5).train()(given)
    moved = (out.values - given.values)[given.present]
    assert abs(moved.mean().item()) < 0.02
    assert abs(moved.std().item() - 0.5) < 0.02
    assert torch.equal(out.values[~given.present], given.values[~given.present])
    assert torch.equal(out.present, given.present)
    assert given.values.unique().tolist() == [0.0, 3.0, 5.0]  # those that came in are as they were


def test_a_shift_is_the_same_at_all_steps_of_a_sequence() -> None:
    torch.manual_seed(0)
    given = steps(gap=3.0)
    out, _ = Noise(shift=0.5).train()(given)
    moved = out.values - given.values
    assert not moved[~given.present].any()
    each = [moved[b, :, c][given.present[b, :, c]] for b in range(2) for c in range(2)]
    assert all((numbers - numbers[0]).abs().max() < 1e-5 for numbers in each)
    assert len({round(numbers[0].item(), 3) for numbers in each}) == 4  # of its own for each sequence and channel


def test_shifts_have_their_spread() -> None:
    torch.manual_seed(0)
    none, present = torch.zeros(3000, 2, 0), torch.ones(3000, 2, 1, dtype=torch.bool)
    given = Steps(torch.zeros(3000, 2, 1), present, none, none[:, 0], none[:, :0], torch.full((3000,), 2))
    first, second = Noise(0.3, shift=0.4).train()(given)[0].values[..., 0].unbind(1)
    assert abs(first.std().item() - 0.5) < 0.02  # 0.3 and 0.4 apart from each other: the root of their squares
    assert abs((first - second).std().item() - 0.3 * 2**0.5) < 0.02  # what both steps share is gone


def test_it_is_drawn_anew_and_follows_the_seed() -> None:
    stage, given = Noise(0.5).train(), steps()
    torch.manual_seed(3)
    first, second = stage(given)[0].values, stage(given)[0].values
    torch.manual_seed(3)
    assert torch.equal(stage(given)[0].values, first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf"), "0.5", True, None])
def test_a_spread_that_is_none(wrong: Any) -> None:
    with pytest.raises(OptionError, match=r"Noise: spread=.*: a number of at least 0 is needed"):
        Noise(wrong)
    with pytest.raises(OptionError, match=r"Noise: shift=.*: a number of at least 0 is needed"):
        Noise(0.5, shift=wrong)


def test_no_noise_at_all_is_refused() -> None:
    with pytest.raises(OptionError, match="with a spread and a shift of 0 there is none"):
        Noise()


def test_without_numbers_it_is_refused() -> None:
    with pytest.raises(StageError, match="none that vary by step"):
        Noise(0.5).plan(Plan((), (), (), ("word",), (), (), length=None, horizon=0))


def table() -> dict[str, Any]:
    draw, hour = np.random.default_rng(0), np.arange(200)
    load = 20.0 + np.sin(hour / 4) + draw.normal(0, 0.1, 200)
    return {"hour": hour, "load": load, "wind": load[::-1]}


def model(*stages: Any) -> il.Model:
    targets = ["load", "wind"]
    schema = il.Schema({n: il.Number() for n in targets}, il.Windows("hour", length=12, horizon=4), target=targets)
    return il.Model(il.InputLayer(schema, list(stages)), il.LSTM(6))


@pytest.mark.parametrize("other", [il.InstanceNorm("last"), il.Difference(2)], ids=["norm", "difference"])
def test_a_level_that_is_given_back_is_taken_off_first(other: Any) -> None:
    with pytest.raises(
        StageError, match=r"Noise has moved it already. Put it first: stages=\[\w+\(.*\), Noise\(...\)\]"
    ):
        model(Noise(0.3), other).fit(table(), epochs=0)
    model(other, Noise(0.3)).fit(table(), epochs=1)


@pytest.mark.parametrize("other", [il.Patch(4), il.PerChannel()], ids=["patch", "channel"])
def test_either_side_of_patches_and_channels(other: Any) -> None:
    model(Noise(0.3), other).fit(table(), epochs=1)
    model(other, Noise(0.3)).fit(table(), epochs=1)


def test_it_is_there_in_training_only(tmp_path: Any) -> None:
    loud, quiet = model(il.InstanceNorm("last"), Noise(2.0)), model(il.InstanceNorm("last"))
    losses = [m.fit(table(), epochs=2, seed=1, device="cpu").train_loss for m in (loud, quiet)]
    assert losses[0][0] != losses[1][0]
    forecast = loud.predict(table())
    assert loud.predict(table()).equals(forecast)
    loud.save(tmp_path / "loud.safetensors")
    again = il.load(tmp_path / "loud.safetensors")
    assert again.predict(table()).equals(forecast)
    again.network.load_state_dict(quiet.network.state_dict())
    assert again.predict(table()).equals(quiet.predict(table()))
