"""Stretch: how long it makes sequences, what stands between their steps, and when it does nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import inputlayer as il
from inputlayer.errors import OptionError, StageError
from inputlayer.stages import Plan, Steps, Stretch

PLAN = Plan(("a", "b"), (False, False), (), ("e",), (), (), length=None, horizon=0)
LENGTHS = [9, 4, 1, 0]


def steps(lengths: list[int] = LENGTHS, gap: float = 0.0) -> Steps:
    """Two channels, of which the second lacks every third step, and one extra that counts the steps from 1."""
    draw, time = torch.Generator().manual_seed(0), max(1, *lengths)
    real = torch.arange(time) < torch.tensor(lengths)[:, None]
    present = real[..., None].repeat(1, 1, 2)
    present[:, ::3, 1] = False
    values = torch.where(present, torch.randn(len(lengths), time, 2, generator=draw), gap) * real[..., None]
    extras = torch.arange(1.0, time + 1).expand(len(lengths), -1)[..., None] * real[..., None]
    none = torch.zeros(len(lengths), 0)
    return Steps(values, present, extras, none, none[:, None], torch.tensor(lengths))


def test_lengths_are_within_the_factor_either_way() -> None:
    torch.manual_seed(0)
    found = Stretch(1.5).train()(steps([60] * 2000))[0].lengths
    assert found.min() >= 40
    assert found.max() <= 90
    assert found.min() < 43
    assert found.max() > 87
    assert abs((found < 60).float().mean().item() - 0.5) < 0.05  # shorter and longer are as likely


@pytest.mark.parametrize("count", [2, 5, 9, 23])
def test_numbers_between_two_steps_as_numpy_interpolates_them(count: int) -> None:
    given = steps()
    out = Stretch(3).at(given, torch.tensor([count, 3, 1, 0]))
    for row, (old, new) in enumerate(zip(LENGTHS[:2], (count, 3), strict=True)):
        places = np.linspace(0, old - 1, new)
        want = np.interp(places, np.arange(old), given.values[row, :old, 0])
        np.testing.assert_allclose(out.values[row, :new, 0], want, atol=1e-5)
        assert out.values[row, 0, 0] == given.values[row, 0, 0]
        assert out.values[row, new - 1, 0] == pytest.approx(given.values[row, old - 1, 0].item(), abs=1e-5)


def test_what_is_missing_or_no_number_is_taken_from_the_nearer_step() -> None:
    given = steps([4], gap=7.0)
    out = Stretch(2).at(given, torch.tensor([7]))  # places 0, 0.5, 1, 1.5, 2, 2.5, 3
    a, b = given.values[0, :, 1].tolist()[1:3]
    assert out.present[0, :, 1].tolist() == [False, True, True, True, True, False, False]
    assert out.values[0, :, 1].tolist() == pytest.approx([7.0, a, a, (a + b) / 2, b, 7.0, 7.0], abs=1e-6)
    assert out.extras[0, :, 0].tolist() == [1, 2, 2, 3, 3, 4, 4]
    assert out.present[0, :, 0].all()


def test_padding_stays_empty_and_nothing_stays_nothing() -> None:
    torch.manual_seed(1)
    for _ in range(20):
        out, _ = Stretch(2).train()(steps(gap=3.0))
        padded = ~out.real()
        assert not out.values[padded].any()
        assert not out.extras[padded].any()
        assert not out.present[padded].any()
        assert out.values.shape[1] == out.lengths.max()
        assert out.lengths[2] >= 1
        assert out.lengths[3] == 0
    alone, _ = Stretch(2).train()(steps([0, 0]))
    assert alone.values.shape[1] == 1


def test_drawn_anew_by_the_seed_and_nothing_after_training() -> None:
    stage, given = Stretch(1.5).train(), steps([50, 50])
    torch.manual_seed(3)
    first, second = stage(given)[0], stage(given)[0]
    torch.manual_seed(3)
    assert torch.equal(stage(given)[0].values, first.values)
    assert first.lengths.tolist() != second.lengths.tolist()
    assert stage.eval()(given)[0] is given


@pytest.mark.parametrize("factor", [1, 0.5, -2, float("nan"), float("inf"), "2", True, None])
def test_a_factor_that_is_none(factor: Any) -> None:
    with pytest.raises(OptionError, match=r"Stretch: factor=.*: a number above 1 is needed"):
        Stretch(factor)


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (replace(PLAN, horizon=2), r"a horizon would not keep pace\. Leave it out"),
        (replace(PLAN, per_step=True), r"a target per step would not keep pace\. Leave it out"),
        (replace(PLAN, channels=(), held=()), "none that vary by step"),
        (il.Patch(2).plan(PLAN), r"Put it first: stages=\[Stretch\(1.5\), Patch"),
    ],
    ids=["horizon", "per step", "no numbers", "patches"],
)
def test_where_it_cannot_stand(plan: Plan, why: str) -> None:
    with pytest.raises(StageError, match=why):
        Stretch(1.5).plan(plan)


def test_in_a_model_of_numbers_and_categories_of_uneven_length(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    sizes = draw.integers(3, 12, 40)
    group = np.repeat(np.arange(40), sizes)
    table = {
        "site": group,
        "x": (draw.normal(0, 1, len(group)) + group % 2 * 3).tolist(),
        "gear": draw.choice(["a", "b"], len(group)).tolist(),
        "kind": np.where(group % 2, "odd", "even").tolist(),
    }
    columns = {"x": il.Number(), "gear": il.Category(), "kind": il.Category()}
    schema = il.Schema(columns, il.Groups("site"), target="kind")
    stages = [il.Noise(0.2), il.Stretch(1.5), il.Patch(2)]
    model = il.Model(il.InputLayer(schema, stages), il.LSTM(8, bidirectional=True, reduce="max"))
    history = model.fit(table, epochs=15, batch=8, lr=1e-2, device="cpu")
    assert history.train_loss[-1] < history.train_loss[0] / 2
    again = model.predict(table)
    assert again.equals(model.predict(table))  # nothing is drawn any more
    assert (again["kind"] == np.where(again["site"] % 2, "odd", "even")).mean() > 0.9
    assert model.export(tmp_path / "model.onnx").error <= 5e-6


def test_each_sequence_is_drawn_for_itself() -> None:
    torch.manual_seed(0)
    found: Tensor = Stretch(2).train()(steps([30] * 50))[0].lengths
    assert found.unique().numel() > 10
