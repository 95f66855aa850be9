"""Recipes: stages, body, head and training for a table, chosen by written rules, each choice with its reason.

The constants stand in `CHOICES`; the rules in the docstring of `recipe`, which docs/columns.md repeats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import nn

from inputlayer.bodies import body_from
from inputlayer.errors import OptionError, Problem, TableError, nearest
from inputlayer.fit import fit
from inputlayer.heads import Head, head_from
from inputlayer.layer import InputLayer
from inputlayer.model import Model
from inputlayer.program import program
from inputlayer.project import Comments, Project, Spec
from inputlayer.schema import Schema
from inputlayer.sequence import Windows
from inputlayer.stages import stage_from
from inputlayer.table import Table

TASKS = ("forecast", "classify", "regress", "text")

CHOICES: Mapping[str, Mapping[str, Any]] = {
    # A horizon of LONG steps and more; `code`: the width of PerChannel's embedding.
    "long": {"units": 128, "loss": "huber", "code": 8, "batch": 64, "lr": 1e-3, "steps": 400},
    # The same behind Seasonal: what is left of a window is small, and soon learnt.
    "seasonal": {"units": 32, "loss": "mae", "code": 8, "batch": 64, "lr": 1e-3, "steps": 300},
    "short": {"units": 64, "dropout": 0.5, "batch": 64, "lr": 1e-3, "steps": 1_000},
    # Classes and numbers of whole sequences: fewer than FEW of them, or more.
    "few": {"units": 64, "dropout": 0.1, "noise": 1.0, "decay": 0.3, "batch": 16, "lr": 2e-3, "steps": 2_000},
    # Of them, classes of whole sequences: another level or speed makes no other class, but may be the number asked for.
    "few classes": {"members": 5, "noise": 0.5, "shift": 0.5, "stretch": 1.2, "decay": 0.1},  # the rest as few
    "many": {"units": 64, "dropout": 0.3, "batch": 32, "lr": 1e-3, "steps": 1_500},
    "text": {"units": 64, "dropout": 0.5, "batch": 32, "lr": 1e-3, "steps": 800},
}
LOSSES = {
    "mae": "absolute error, which a few wild days do not rule; mse punishes these",
    "huber": "squared error up to one training spread, absolute beyond: a few wild days do not rule",
}
LONG = 12  # steps of a horizon from which it is decoded in segments
FEW = 1_000  # sequences below which noise and weight decay keep them from being learnt by heart
LINEAR = 96  # last steps, at most, that Autoregression is given
PATCHES = 4  # that a look-back holds at least
SEASONS = 14  # that a look-back holds at least, for their mean to be a level and a season worth taking off
UNTIMED_PATCHES = 14  # that a look-back is cut into where no clock says how long a day is
EPOCHS = (3, 120)  # at least, at most
PATIENCE = 10
WINDOWS, SEQUENCES = 30, 20  # fewer to train on are refused
_DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class Recipe:
    """What `recipe` chose. Printed, it is the Python that it stands for.

    schema     as it was given
    stages, body_spec, head_spec   each as ``{"kind": ..., **options}``, as in a project's file
    training   options of `Model.fit`
    reasons    a sentence for each choice, by the place it has in a project's file: ``"stages.patch"``, ``"body.units"``
    """

    schema: Schema
    stages: tuple[Spec, ...]
    body_spec: Spec
    head_spec: Spec
    training: Mapping[str, Any]
    reasons: Mapping[str, str]

    @property
    def layer(self) -> InputLayer:
        """A new input layer."""
        return InputLayer(self.schema, [stage_from(spec) for spec in self.stages])

    @property
    def body(self) -> nn.Module:
        """A new body."""
        return body_from(self.body_spec)

    @property
    def head(self) -> Head:
        """A new head."""
        return head_from(self.head_spec)

    def model(self) -> Model:
        """A new model, whose `fit` takes `training` where the call does not name an option."""
        return Model(self.layer, self.body, self.head, self.training)

    def __str__(self) -> str:
        return self.to_python()

    def to_python(self) -> str:
        """A program that makes `model()` anew, each choice with its reason as a comment."""
        return program(self.project(""), self.reasons)

    def project(self, path: str, split: Mapping[str, Any] | None = None) -> Project:
        """The same as a project, for the table at `path`; `split` as for `il.split`."""
        return Project(path, self.schema, self.body_spec, self.head_spec, list(self.stages), split or {}, self.training)

    def to_toml(self, path: str, split: Mapping[str, Any] | None = None, comments: Comments | None = None) -> str:
        """The text of that project's file, the reasons as its comments; further `comments` by place."""
        return self.project(path, split).to_toml({**(comments or {}), **self.reasons})


def recipe(task: str, table: Any, schema: Schema) -> Recipe:
    """Stages, body, head and training options that are good without tuning.

    Parameters
    ----------
    task
        ``"forecast"``: numbers of the horizon, from Windows; ``"classify"``: a class; ``"regress"``: a number for each
        sequence or step; ``"text"``: a class or a number of texts whose tokens are the steps.
    table
        The training rows, and no others: all that is looked at.
    schema
        Columns, sequence and target; `il.infer` guesses one. It is taken as it is.

    Returns
    -------
    Recipe
        Its `model()` is ready to be fitted; its `reasons` say why; printed, it is the Python that it stands for.

    Raises
    ------
    OptionError
        For a task that is none, or that the schema is not for, with the one that is.
    TableError
        If fewer than 30 windows, or 20 sequences otherwise, can be trained on, with what would do; and with every
        problem of the table.

    Notes
    -----
    The rules, in the order of the road:

    - A day is as many rows as the steps of the order column make a day (hours: 24); where a step is a day, a week, 7.
      It needs a clock: times, at most 1 % of whose steps are longer than the usual one.
    - A forecast whose targets' pasts are all inputs: InstanceNorm("last"), as series drift from their training level;
      with a horizon of 12 steps or more and a look-back of 14 days or more Seasonal(day) in its place.
    - Behind InstanceNorm, Autoregression of the look-back, of its last 96 steps at most.
    - A forecast of 12 steps or more: PerChannel, if there are several targets; Patch of the largest divisor of a day
      that the look-back holds 4 times (without a clock, a 14th of the look-back), if that is 2 steps or more; an
      LSTM of 128 units, behind Seasonal 32; Segments as long as a patch; the Huber loss, behind Seasonal absolute
      error: neither is ruled by a few wild days.
    - A shorter forecast: an LSTM of 64 units behind all columns at once, half of its state dropped in training; squared
      error.
    - A class or a number of whole sequences: a two-way LSTM of 64 units, the maximum over its steps, a share of 0.3 of
      which is dropped, of fewer than 1,000 sequences 0.1. A number, or one of each step, of fewer than 1,000 sequences:
      Noise of 1.0 on the numbers, and weight decay of 0.3. A class of fewer: an Ensemble of 5 of them; Noise of 0.5 on
      the numbers and of 0.5 on their level in a sequence; Stretch(1.2), if lengths are uneven; weight decay of 0.1.
      Noise and Stretch are for columns Number and Series alone.
    - Texts: a two-way LSTM of 64 units, half of whose state is dropped, the maximum over its steps.
    - Epochs: as many as make 1,000 steps of the optimiser (400 for a long horizon, 300 behind Seasonal, 2,000 for few
      sequences, 1,500 for many sequences, 800 for texts), from 3 to 120. A validation table may end it earlier, after
      10 epochs without a lower loss.

    Examples
    --------
    >>> import inputlayer as il
    >>> table = {"day": list(range(200)), "load": [float(i % 7) for i in range(200)]}
    >>> schema = il.Schema({"load": il.Number()}, il.Windows("day", length=28, horizon=14), target="load")
    >>> made = il.recipe("forecast", table, schema)
    >>> [stage["kind"] for stage in made.stages], made.training["epochs"]
    (['instance_norm', 'autoregression', 'patch'], 120)
    >>> made.reasons["body.units"]
    'for a horizon of 12 steps or more'
    """
    _check_task(task, schema)
    given = Table.of(table)
    facts = _Facts.of(given, schema)
    parts = _forecast(facts) if task == "forecast" else _text(facts) if task == "text" else _whole(facts)
    steps, batch = parts.choice["steps"], parts.choice["batch"]
    least, most = EPOCHS
    epochs = min(max(math.ceil(steps / math.ceil(facts.sequences / batch)), least), most)
    decay = {"weight_decay": parts.choice["decay"]} if "decay" in parts.choice else {}
    training = {"epochs": epochs, "batch": batch, "lr": parts.choice["lr"], **decay, "patience": PATIENCE, "seed": 0}
    each = "windows" if facts.windows else "sequences"
    reasons = {
        **parts.reasons,
        "training.epochs": f"{facts.sequences:,} {each} in batches of {batch}: about {steps:,} steps, within"
        f" {least} to {most} epochs",
        "training.batch": f"{each} per step",
        "training.lr": "learning rate of Adam at the first step; it falls to 0 over all epochs",
        "training.patience": "epochs without a lower validation loss, after which to stop",
        "training.seed": "of the weights, the order of the batches and dropout",
    }
    if decay:
        reasons["training.weight_decay"] = "the share of lr by which every weight shrinks at each step"
    return Recipe(schema, parts.stages, parts.body, parts.head, MappingProxyType(training), MappingProxyType(reasons))


def task_of(schema: Schema) -> str:
    """The task that a schema is for.

    >>> from inputlayer.columns import Category, Text
    >>> from inputlayer.sequence import Cells
    >>> task_of(Schema({"note": Text(), "label": Category()}, Cells(steps="note"), target="label"))
    'text'
    """
    steps = schema.sequence.steps_column
    if steps is not None and schema.columns[steps].kind == "text":
        return "text"
    if schema.columns[schema.targets[0]].kind != "number":
        return "classify"
    return "forecast" if schema.horizon else "regress"


def _check_task(task: str, schema: Schema) -> None:
    if task not in TASKS:
        raise OptionError(f"task={task!r} is not one of {', '.join(map(repr, TASKS))}.{nearest(str(task), TASKS)}")
    fits = task_of(schema)
    if task != fits:
        kind = schema.columns[schema.targets[0]].kind
        sequence = type(schema.sequence).__name__
        raise OptionError(
            f"task={task!r} is not what this schema is for: its target is a {kind}, its sequences are {sequence} with "
            f"{f'a horizon of {schema.horizon}' if schema.horizon else 'no horizon'}. Write il.recipe({fits!r}, ...)"
        )


# -- what the table says ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Facts:
    """What the rules look at: sequences to train on; rows of a day, None without a clock."""

    schema: Schema
    sequences: int
    day: int | None
    unit: str

    @property
    def windows(self) -> bool:
        return isinstance(self.schema.sequence, Windows)

    @property
    def length(self) -> int:
        """Steps of a look-back."""
        sequence = self.schema.sequence
        assert isinstance(sequence, Windows)
        return sequence.length

    @classmethod
    def of(cls, table: Table, schema: Schema) -> _Facts:
        sequences = _sequences(table, schema)
        fitted = fit(schema, table)
        clock = fitted.clock
        step = clock.step if clock is not None and clock.timed and clock.regular else 0
        day = 7 if step == _DAY else int(_DAY / step) if step and _DAY % step == 0 and step < _DAY else None
        target = schema.columns[schema.targets[0]]
        if target.kind != "number" and len(target.classes(fitted.states[schema.targets[0]])) < 2:
            raise TableError(
                [Problem("all rows are of one class", column=schema.targets[0], remedy="Add rows of others")]
            )
        return cls(schema, sequences, day, "week of days" if step == _DAY else "day")


def _sequences(table: Table, schema: Schema) -> int:
    """How many sequences there are to train on; too few are refused."""
    sequence, by = schema.sequence, schema.sequence.by_names
    missing = [name for name in by if name not in table.columns]
    if not by or missing:
        counts = np.array([table.height])
    else:
        counts = table.frame(list(by)).group_by(list(by)).len()["len"].to_numpy()
    if not isinstance(sequence, Windows):
        count = len(counts) if by else table.height
        if count < SEQUENCES:
            what = f"the recipe needs at least {SEQUENCES} sequences to train on, and here are {count}"
            raise TableError([Problem(what, remedy="Give more rows; or choose the parts yourself: il.Model(...)")])
        return count
    count = _windows(counts, sequence, sequence.length)
    if count < WINDOWS:
        raise TableError([_too_short(counts, sequence, count)])
    return count


def _windows(counts: np.ndarray, sequence: Windows, length: int) -> int:
    least = 1 if sequence.pad_short else length
    free = counts.astype(np.int64) - least - sequence.horizon
    return int(np.where(free < 0, 0, free // sequence.stride + 1).sum())


def _too_short(counts: np.ndarray, sequence: Windows, count: int) -> Problem:
    length, horizon = sequence.length, sequence.horizon
    rows = f"{counts.max():,} rows" + (f" in the longest of {len(counts):,} series" if len(counts) > 1 else "")
    what = f"the recipe needs at least {WINDOWS} windows to train on, and {rows} make {count}"
    what += f" (length {length} + horizon {horizon}, stride {sequence.stride})"
    fits = [shorter for shorter in range(length - 1, 0, -1) if _windows(counts, sequence, shorter) >= WINDOWS]
    more = (WINDOWS - 1) * sequence.stride + (1 if sequence.pad_short else length) + horizon
    other = f"a look-back of at most {fits[0]} rows" if fits else "a shorter horizon"
    return Problem(what, remedy=f"Give {other}, or a series of at least {more:,} rows")


# -- the rules --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parts:
    """What a rule chose."""

    choice: Mapping[str, Any]
    stages: tuple[Spec, ...]
    body: Spec
    head: Spec
    reasons: Mapping[str, str]


def _forecast(facts: _Facts) -> _Parts:
    norm, why = _norm(facts.schema)
    if facts.schema.horizon < LONG:
        choice = CHOICES["short"]
        body = {"kind": "lstm", "units": choice["units"], "dropout": choice["dropout"]}
        stages, linear = _linear(facts, norm)
        why |= linear | {
            "body": "One LSTM sees all columns at once.",
            "body.units": f"for a horizon below {LONG} steps, where all columns tell of the next ones",
            "body.dropout": "half of the state is dropped in training: windows overlap and are soon learnt by heart",
            "head.loss": "squared error; for errors that a few wild rows do not rule, mae",
        }
        return _Parts(choice, (*norm, *stages), body, {"kind": "regression", "loss": "mse"}, why)
    if norm and facts.day is not None and facts.length >= SEASONS * facts.day:
        return _long(facts, *_season(facts, facts.day), CHOICES["seasonal"])
    return _long(facts, norm, why, CHOICES["long"])


def _season(facts: _Facts, day: int) -> tuple[tuple[Spec, ...], dict[str, str]]:
    """Seasonal, where the look-back holds enough days for their mean to be steady."""
    why = f"Each window is measured from its own mean {facts.unit}, which its forecast gets back: "
    why += f"{facts.length // day} of them make a steady one."
    return ({"kind": "seasonal", "period": day},), {"stages.seasonal": why}


def _norm(schema: Schema) -> tuple[tuple[Spec, ...], dict[str, str]]:
    """InstanceNorm, where every target's past is there to measure from."""
    if len(schema.past_targets) < len(schema.targets):
        return (), {}
    why = "Each window is measured from its last value, which its forecast gets back: it follows a drifting level."
    return ({"kind": "instance_norm", "mode": "last"},), {"stages.instance_norm": why}


def _linear(facts: _Facts, norm: tuple[Spec, ...]) -> tuple[tuple[Spec, ...], dict[str, str]]:
    """Autoregression, behind InstanceNorm."""
    if all(stage["kind"] != "instance_norm" for stage in norm):
        return (), {}
    size = min(facts.length, LINEAR)
    why = f"What the last {size} steps say linearly is forecast beside the LSTM, which learns the rest."
    return ({"kind": "autoregression", "size": size},), {"stages.autoregression": why}


def _long(facts: _Facts, norm: tuple[Spec, ...], why: dict[str, str], choice: Mapping[str, Any]) -> _Parts:
    schema, stages = facts.schema, list(norm)
    if norm and len(schema.targets) > 1:
        stages.append({"kind": "per_channel", "embedding": choice["code"]})
        why["stages.per_channel"] = (
            f"{len(schema.targets)} targets: one LSTM learns from each of them what all have in common."
        )
    linear, said = _linear(facts, norm)
    stages += linear
    why |= said
    size, reason = _patch(facts)
    if size > 1:
        stages.append({"kind": "patch", "size": size})
        why["stages.patch"] = reason
    segment = min(size if size > 1 else LONG, schema.horizon)
    body = {
        "kind": "lstm",
        "units": choice["units"],
        "decoder": {"kind": "segments", "size": segment},
    }
    few = "; few, as what is left is small" if "stages.seasonal" in why else ""
    why |= {
        "body": "The horizon is decoded in segments, all at once: errors do not add up from step to step.",
        "body.units": f"for a horizon of {LONG} steps or more{few}",
        "body.decoder": f"segments of {segment} steps, "
        + ("as long as a patch" if size == segment else "of one length"),
        "head.loss": LOSSES[choice["loss"]],
    }
    return _Parts(choice, tuple(stages), body, {"kind": "regression", "loss": choice["loss"]}, why)


def _patch(facts: _Facts) -> tuple[int, str]:
    """Steps of a patch, 1 for none, and why."""
    length = facts.length
    if facts.day is None:
        size = length // UNTIMED_PATCHES
        return size, f"No day is a fixed number of rows here: {UNTIMED_PATCHES} patches or so of {size} steps each."
    most = length // PATCHES
    size = max((d for d in range(1, most + 1) if facts.day % d == 0), default=1)
    whole = (
        f"a {facts.unit}, {facts.day} rows" if size == facts.day else f"a part of the {facts.unit}'s {facts.day} rows"
    )
    return size, f"{size} steps become one, {whole}: {math.ceil(length / size)} to remember instead of {length}."


def _whole(facts: _Facts) -> _Parts:
    """A class or a number of each sequence."""
    schema = facts.schema
    few, per_step = facts.sequences < FEW, schema.sequence.target_rows == 0
    classes = not per_step and schema.columns[schema.targets[0]].kind != "number"
    choice = CHOICES["few" if few else "many"]
    choice = {**choice, **CHOICES["few classes"]} if few and classes else choice
    numbers = any(schema.columns[name].kind in ("number", "series") for name in schema.steps)
    stages, why = _moved(schema, choice) if few and numbers else ((), {})
    body: Spec = {"kind": "lstm", "units": choice["units"], "bidirectional": True, "dropout": choice["dropout"]}
    body = body if per_step else {**body, "reduce": "max"}
    why |= {
        "body": "What comes later in a sequence may explain what came before, so it is read both ways.",
        "body.units": "of each direction",
        "body.dropout": "in training this share of its state is dropped",
        "body.reduce": "the maximum over all steps: a mark may stand at any of them",
    }
    if "members" in choice:
        body = {"kind": "ensemble", "member": body, "size": choice["members"]}
        why["body.member"] = "; ".join(why.pop(f"body.{name}") for name in ("units", "dropout", "reduce"))
        why["body.size"] = "of these, whose mean errs less than each; for a fifth of the time, write the member alone"
    return _Parts(choice, stages, body, *_headed(schema, why))


def _moved(schema: Schema, choice: Mapping[str, Any]) -> tuple[tuple[Spec, ...], dict[str, str]]:
    """The stages that change few sequences a little, anew at each epoch."""
    why = {"stages.noise": f"Fewer than {FEW:,} sequences: noise in training keeps them from being learnt by heart."}
    noise: Spec = {"kind": "noise", "spread": choice["noise"]}
    if "shift" not in choice:
        return (noise,), why
    why["stages.noise"] += " The shift is that of whole sequences: another device, another day."
    noise = {**noise, "shift": choice["shift"]}
    if schema.sequence.fixed_length is not None:
        return (noise,), why
    why["stages.stretch"] = "In training sequences are read a little faster or slower: few show every speed there is."
    return (noise, {"kind": "stretch", "factor": choice["stretch"]}), why


def _text(facts: _Facts) -> _Parts:
    choice = CHOICES["text"]
    options = {"units": choice["units"], "bidirectional": True, "dropout": choice["dropout"], "reduce": "max"}
    why = {
        "body": "A word's meaning depends on those before and after it, so it is read both ways.",
        "body.units": "of each direction",
        "body.dropout": "half of the state is dropped in training: words alone are soon known by heart",
        "body.reduce": "the maximum over all tokens: a single word may tell",
    }
    return _Parts(choice, (), {"kind": "lstm", **options}, *_headed(facts.schema, why))


def _headed(schema: Schema, why: dict[str, str]) -> tuple[Spec, dict[str, str]]:
    """The head that the target needs, and the reasons with its own."""
    if schema.columns[schema.targets[0]].kind == "number":
        return {"kind": "regression", "loss": "mse"}, {**why, "head.loss": "squared error"}
    return {"kind": "classes"}, {
        **why,
        "head.kind": f"because the target is a {schema.columns[schema.targets[0]].kind}",
    }
