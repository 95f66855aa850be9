"""Every kind of column and every stage keeps its contract; and the checks notice one that does not."""

from __future__ import annotations

import pkgutil
from dataclasses import replace

import numpy as np
import pytest

import inputlayer.columns
import inputlayer.stages
from inputlayer.checks import COLUMN_LAWS, STAGE_LAWS, ContractError, check_column, check_stage
from inputlayer.columns import KINDS
from inputlayer.columns.number import Number, NumberModule
from inputlayer.stages import STAGES
from inputlayer.stages.instance_norm import InstanceNorm

COLUMN_CASES = [
    pytest.param(law, example, id=f"{kind}-{i}-{law.__name__}")
    for kind, column in KINDS.items()
    for i, example in enumerate(column.examples())
    for law in COLUMN_LAWS
]
STAGE_CASES = [
    pytest.param(law, example, id=f"{kind}-{i}-{law.__name__}")
    for kind, stage in STAGES.items()
    for i, example in enumerate(stage.examples())
    for law in STAGE_LAWS
]


@pytest.mark.parametrize(("law", "example"), COLUMN_CASES)
def test_column(law, example):
    law(example)


@pytest.mark.parametrize(("law", "example"), STAGE_CASES)
def test_stage(law, example):
    law(example)


@pytest.mark.parametrize(("folder", "registry"), [(inputlayer.columns, KINDS), (inputlayer.stages, STAGES)])
def test_every_file_is_registered(folder, registry):
    files = {module.name for module in pkgutil.iter_modules(folder.__path__)} - {"base"}
    assert files == {made.__module__.rsplit(".", 1)[1] for made in registry.values()}


# -- mutants: each breaks one law, and the checks say which ------------------------------------------------------------


class WrongDivisor(Number):
    """The spread of a sample in place of the population's: no round trip can see it."""

    def finish(self, statistic, where):
        state = super().finish(statistic, where)
        return replace(state, scale=replace(state.scale, spread=state.scale.spread * 2))


class LooksAtTheBatch(Number):
    def encode(self, values, state):
        return {"": super().encode(values, state)[""] + np.float32(len(values) == 1)}


class FillsInTheWire(Number):
    def encode(self, values, state):
        return super().encode(np.nan_to_num(values), state)


class ForgetsTheSecondBlock(Number):
    def learn(self, values, first_row):
        return super().learn(values if first_row == 0 else values[:0], first_row)


class DividesOnce(Number):
    def back(self, y, state):
        return super().back(y, state) * 1.001


class SaysNothing(Number):
    def describe(self, state):
        return {"mean": float("nan")}


class SinglePrecision(Number):
    def onnx(self, g, x, state):
        return super().onnx(g, g.cast(g.cast(x, np.float32), np.float64), state)


class FillsFromBehind(NumberModule):
    def forward(self, wires):
        part = super().forward(wires)
        return part._replace(values=part.values + part.values.mean(dim=1, keepdim=True))


class SeesTheFuture(Number):
    @classmethod
    def module(cls, columns):
        return FillsFromBehind(columns)


COLUMN_MUTANTS = [
    (WrongDivisor, "check_wires_worked_by_hand"),
    (LooksAtTheBatch, "check_rows_stand_alone"),
    (FillsInTheWire, "check_missing_is_told_apart"),
    (ForgetsTheSecondBlock, "check_merge_equals_whole"),
    (DividesOnce, "check_back_undoes_encode"),
    (SaysNothing, "check_description_and_options"),
    (SinglePrecision, "check_twin_encodes_the_same"),
    (SeesTheFuture, "check_steps_see_no_later_ones"),
]


@pytest.mark.parametrize(("mutant", "law"), COLUMN_MUTANTS)
def test_a_broken_column_is_noticed(mutant, law):
    found = set()
    for example in mutant.examples():
        for check in COLUMN_LAWS:
            try:
                check(example)
            except ContractError:
                found.add(check.__name__)
    assert law in found
    with pytest.raises(ContractError, match="check_"):
        check_column(mutant)


class MeanOverPadding(InstanceNorm):
    def forward(self, steps):
        level = steps.values.mean(dim=1, keepdim=True)
        out, memo = super().forward(steps)
        return out.replace(values=(out.values + level) * steps.real()[..., None]), memo


class NoWayBack(InstanceNorm):
    def back(self, y, memo):
        return y


class TwinWithoutWayBack(InstanceNorm):
    def onnx_back(self, g, y, memo):
        return y


class DividesByTheSpread(InstanceNorm):
    def forward(self, steps):
        out, memo = super().forward(steps)
        return out.replace(values=out.values / out.values.std(dim=1, keepdim=True)), memo


STAGE_MUTANTS = [
    (MeanOverPadding, "check_padding_changes_nothing"),
    (NoWayBack, "check_way_back"),
    (TwinWithoutWayBack, "check_twin"),
    (DividesByTheSpread, "check_bare_windows"),
]


@pytest.mark.filterwarnings("ignore:std")
@pytest.mark.parametrize(("mutant", "law"), STAGE_MUTANTS)
def test_a_broken_stage_is_noticed(mutant, law):
    check = next(check for check in STAGE_LAWS if check.__name__ == law)
    with pytest.raises(ContractError):
        check(mutant("mean"))
    with pytest.raises(ContractError, match="check_"):
        check_stage(mutant)


def test_examples_are_required():
    class Bare(Number):
        @classmethod
        def examples(cls):
            return []

    with pytest.raises(ContractError, match="Bare: needs 3 examples or more"):
        check_column(Bare)


def test_the_message_names_law_and_example():
    with pytest.raises(ContractError, match=r"^check_wires_worked_by_hand: WrongDivisor\(.*\): wire ''"):
        check_column(WrongDivisor)
