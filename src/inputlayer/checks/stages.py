"""The laws of a stage, each checked on one that it brings as an example."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inputlayer.checks.base import TWIN, numpy_of, require, require_close, require_json, run_graph
from inputlayer.errors import StageError
from inputlayer.graph import Graph
from inputlayer.stages import stage_from
from inputlayer.stages.base import Plan, Stage, Steps, TwinSteps

PLAN = Plan(
    channels=("a", "b", "c"),
    held=(False, True, False),
    targets=(2, 0),
    extras=("e0", "e1"),
    static=("s",),
    future=("f",),
    length=None,
    horizon=3,
    outputs=2,
)
WHOLE = replace(PLAN, targets=(), horizon=0)  # for a stage that takes no horizon
LENGTHS = (8, 5, 1)
FIELDS = ("values", "present", "extras", "static", "future", "lengths", "key")


def _steps(lengths: tuple[int, ...] = LENGTHS, padding: int = 0) -> Steps:
    """Sequences that differ in level and spread, with gaps in the first, padded to the longest and `padding` more."""
    draw = torch.Generator().manual_seed(0)
    batch, time = len(lengths), max(lengths) + padding
    values = torch.randn(batch, max(LENGTHS), 3, generator=draw) * 2 + torch.arange(batch)[:, None, None]
    extras = torch.randn(batch, max(LENGTHS), 2, generator=draw)
    values, extras = (torch.cat([t, torch.zeros(batch, padding, t.shape[2])], 1)[:, :time] for t in (values, extras))
    sizes = torch.tensor(lengths)
    real = (torch.arange(time) < sizes[:, None])[..., None]
    present = real.expand(-1, -1, 3).clone()
    present[0, 2:4, 0] = present[0, lengths[0] - 1, 2] = False
    return Steps(
        values=values * (present | (real & torch.tensor(PLAN.held))),
        present=present,
        extras=extras * real,
        static=torch.randn(batch, 1, generator=draw),
        future=torch.randn(batch, 3, 1, generator=draw),
        lengths=sizes,
    )


def _one(steps: Steps, row: int) -> Steps:
    """One sequence alone, without its padding."""
    time = int(steps.lengths[row])
    cut = {name: getattr(steps, name)[row : row + 1] for name in FIELDS if getattr(steps, name) is not None}
    return Steps(**{n: t[:, :time] if n in ("values", "present", "extras") else t for n, t in cut.items()})


def _sizes(stage: Stage) -> Plan:
    """The plan that is checked on: with a horizon, unless the stage refuses one."""
    try:
        copy.deepcopy(stage).plan(PLAN)
    except StageError:
        return WHOLE
    return PLAN


def _built(stage: Stage, *, trained: bool = True) -> tuple[Stage, Plan]:
    """A copy of the stage with its weights made, and the plan it leaves."""
    made, sizes = copy.deepcopy(stage), _sizes(stage)
    torch.manual_seed(0)
    plan = made.plan(sizes)
    made.build(sizes)
    with torch.no_grad():  # as if trained: what a weight does at its first value may be nothing
        for weight in made.parameters() if trained else ():
            weight.add_(torch.randn_like(weight) / 4)
    return made.eval(), plan


def _output(steps: Steps, plan: Plan) -> Tensor:
    """Something a network may have put out: (B', horizon or 1, targets, quantiles)."""
    shape = (max(plan.horizon, 1), plan.outputs, plan.quantiles)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).expand(len(steps.values), *shape).contiguous()


def check_plan_tells_the_sizes(stage: Stage) -> None:
    """What comes out is as wide as the plan says and finite; padded steps hold zeros and are not present."""
    made, plan = _built(stage)
    given = _steps()
    kept = copy.deepcopy(given)
    out, memo = made(given)
    for name in FIELDS[:6]:
        require_close(numpy_of(getattr(given, name)), numpy_of(getattr(kept, name)), 0.0, f"the {name} that came in")
    widths = {"values": plan.channels, "present": plan.channels, "extras": plan.extras, "static": plan.static}
    for name, names in {**widths, "future": plan.future}.items():
        tensor = getattr(out, name)
        require(tensor.shape[-1] == len(names), f"{name}: {tensor.shape[-1]} wide, the plan names {len(names)}")
        require(torch.isfinite(tensor).all(), f"{name}: not finite")
    padded = ~out.real()
    require(bool(padded.any()) or out.values.shape[1] == 1, "no step is padding any more")
    require(not bool(out.present[padded].any()), "padded steps are present")
    require(not bool(out.values[padded].any()), "padded steps hold values")
    back = made.back(_output(out, plan), memo)
    wanted = (len(LENGTHS), max(plan.horizon, 1), PLAN.outputs, PLAN.quantiles)
    require(back.shape == wanted, f"back gives {tuple(back.shape)}, not {wanted}")
    require(plan.applied == (*PLAN.applied, stage.kind), f"the plan's applied is {plan.applied}")


def check_padding_changes_nothing(stage: Stage) -> None:
    """A sequence alone, in a batch, or padded further: the same steps, and the same way back."""
    made, plan = _built(stage)
    whole = _steps()
    out, memo = made(whole)
    back = made.back(_output(out, plan), memo)
    for row in range(len(LENGTHS)):
        _require_same_row(made, plan, _one(whole, row), (out, back), row, "alone")
    further, memo = made(_steps(padding=3))
    _require_steps(further, out, "padded further")
    require_close(numpy_of(made.back(_output(further, plan), memo)), numpy_of(back), TWIN, "back, padded further")


def _require_same_row(made: Stage, plan: Plan, one: Steps, whole: tuple[Steps, Tensor], row: int, what: str) -> None:
    alone, memo = made(one)
    count = len(alone.values)  # several, where channels became sequences of their own
    place = slice(row * count, (row + 1) * count)
    out = whole[0].replace(**{n: getattr(whole[0], n)[place] for n in FIELDS if getattr(whole[0], n) is not None})
    _require_steps(alone, out, f"sequence {row} {what}")
    back = made.back(_output(alone, plan), memo)
    require_close(numpy_of(back), numpy_of(whole[1][row : row + 1]), TWIN, f"back, sequence {row} {what}")


def _require_steps(found: Steps, wanted: Steps, what: str) -> None:
    """The same steps, as far as the shorter of both goes; padding may differ in length only."""
    time = min(found.values.shape[1], wanted.values.shape[1])
    for name in FIELDS:
        a, b = getattr(found, name), getattr(wanted, name)
        require((a is None) == (b is None), f"{name}, {what}: only one is there")
        if a is not None:
            a, b = (t[:, :time] if name in ("values", "present", "extras") else t for t in (a, b))
            require_close(numpy_of(a), numpy_of(b), TWIN * 10, f"{name}, {what}")


def check_way_back(stage: Stage) -> None:
    """Targets come back as they were, where the stage keeps the steps one for one.

    Either those of the window itself, as a network that repeats them would put them out; or, with a stage that measures
    each step from those before it, those that follow the window. What a stage adds of its own is nothing at first.
    """
    made, plan = _built(stage, trained=not stage.forecasts)
    steps = _steps((8, 8, 8))
    out, memo = made(steps)
    if out.values.shape[1] != steps.values.shape[1] or not plan.targets:
        return
    there = steps.present[..., list(PLAN.targets)]
    wanted = steps.values[..., list(PLAN.targets)]
    if not stage.forecasts:
        back = made.back(out.values[..., list(plan.targets)][..., None], memo)[..., 0]
        if bool(((back - wanted).abs() <= 1e-5)[there].all()):
            return
    start = 8 - PLAN.horizon
    _, memo = made(_steps((start,) * 3))
    ahead = out.values[:, start:, list(plan.targets)][..., None]
    back = made.back(ahead, memo)[..., 0]  # the first sequence has gaps
    require_close(numpy_of(back[1:]), numpy_of(wanted[1:, start:]), 1e-5, "targets that came back")


def check_bare_windows(stage: Stage) -> None:
    """Windows that are constant, wholly missing or one step long give finite numbers, both ways."""
    made, plan = _built(stage)
    steps = _steps()
    real = steps.real()[..., None]
    cases = {
        "constant": steps.replace(values=torch.full_like(steps.values, 7.25) * real, present=real.expand(-1, -1, 3)),
        "missing": steps.replace(values=steps.values * 0, present=torch.zeros_like(steps.present)),
        "one step": _steps((1, 1, 1)),
    }
    for name, case in cases.items():
        out, memo = made(case)
        require(torch.isfinite(out.values).all(), f"a {name} window gives values that are not finite")
        back = made.back(_output(out, plan), memo)
        require(torch.isfinite(back).all(), f"the way back of a {name} window is not finite")


def check_no_target_among_inputs(stage: Stage) -> None:
    """Where no target is an input, output comes back unchanged, or the stage says that it needs them."""
    made = copy.deepcopy(stage)
    plan = replace(_sizes(stage), targets=())
    try:
        after = made.plan(plan)
    except StageError:
        return
    made.build(plan)
    out, memo = made.eval()(_steps())
    y = _output(out, after)
    require(made.back(y, memo).shape[0] == len(LENGTHS), "back loses sequences")
    if len(out.values) == len(LENGTHS):
        require_close(numpy_of(made.back(y, memo)), numpy_of(y), 0.0, "output that no stage is to change")


def check_options(stage: Stage) -> None:
    """`options`, as JSON, make the same stage again; `describe` is JSON."""
    again = stage_from(json.loads(json.dumps({"kind": stage.kind, **stage.options()})))
    require(again.options() == stage.options(), f"options make {again.options()}")
    require_json(stage.describe(), "describe")
    (made, _), (other, _) = _built(stage), _built(again)
    other.load_state_dict(made.state_dict())
    _require_steps(other(_steps())[0], made(_steps())[0], "made again")


def check_twin(stage: Stage) -> None:
    """The graph gives the same steps and the same way back, at any batch size and length."""
    made, plan = _built(stage)
    g = Graph()
    shapes: dict[str, tuple[Any, tuple[int | str, ...]]] = {
        "values": (np.float32, ("batch", "time", 3)),
        "present": (np.bool_, ("batch", "time", 3)),
        "extras": (np.float32, ("batch", "time", 2)),
        "static": (np.float32, ("batch", 1)),
        "future": (np.float32, ("batch", 3, 1)),
        "lengths": (np.int64, ("batch",)),
        "real": (np.bool_, ("batch", "time")),
    }
    given = TwinSteps(**{name: g.input(name, dtype, shape) for name, (dtype, shape) in shapes.items()})
    ahead = max(plan.horizon, 1)
    y = g.input("y", np.float32, ("outputs", ahead, plan.outputs, plan.quantiles))
    twin, memo = made.onnx(g, given)
    g.output("back", made.onnx_back(g, y, memo), np.float32, ("batch", ahead, PLAN.outputs, PLAN.quantiles))
    ranks = {"values": 3, "present": 3, "extras": 3, "static": 2, "future": 3, "lengths": 1, "real": 2, "key": 1}
    for name, tensor in twin._asdict().items():
        if tensor is not None:
            dtype = np.int64 if name == "key" else shapes[name][0]
            g.output(f"out {name}", tensor, dtype, [f"{name}{i}" for i in range(ranks[name])])
    for steps in (_steps(), _steps((3, 4))):
        _require_twin(made, plan, g, steps)


def _require_twin(made: Stage, plan: Plan, g: Graph, steps: Steps) -> None:
    out, memo = made(steps)
    y = _output(out, plan)
    feeds = {name: numpy_of(getattr(steps, name)) for name in FIELDS[:6]}
    found = run_graph(g, {**feeds, "real": numpy_of(steps.real()), "y": numpy_of(y)})
    wanted = {name: getattr(out, name) for name in FIELDS} | {"real": out.real()}
    for name, tensor in wanted.items():
        require((tensor is None) == (f"out {name}" not in found), f"only one of graph and stage gives {name}")
        if tensor is not None:
            require_close(found[f"out {name}"], numpy_of(tensor), TWIN * 10, f"{name} of the graph")
    require_close(found["back"], numpy_of(made.back(y, memo)), TWIN * 10, "back of the graph")


def check_training_only(stage: Stage) -> None:
    """A stage that says it does nothing once trained leaves the steps and the output as they are."""
    if not stage.training_only:
        return
    made, plan = _built(stage)
    given = _steps()
    out, memo = made(given)
    for name in FIELDS[:6]:
        require_close(numpy_of(getattr(out, name)), numpy_of(getattr(given, name)), 0.0, f"{name} of a trained model")
    y = _output(out, plan)
    require_close(numpy_of(made.back(y, memo)), numpy_of(y), 0.0, "the way back of a trained model")


STAGE_LAWS: tuple[Callable[[Stage], None], ...] = (
    check_plan_tells_the_sizes,
    check_padding_changes_nothing,
    check_way_back,
    check_bare_windows,
    check_no_target_among_inputs,
    check_options,
    check_twin,
    check_training_only,
)
"""Every law of a stage."""
