"""The folder of a comparison: the project that was compared, each training that is finished, the table, and a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from inputlayer.compare import compare_into
from inputlayer.comparison import Comparison
from inputlayer.errors import OptionError
from inputlayer.files import MISSING
from inputlayer.finished import Finished
from inputlayer.layer import InputLayer
from inputlayer.model import Model
from inputlayer.project import Project
from inputlayer.report import FILE as REPORT
from inputlayer.report import Report
from inputlayer.run import TrainingOptions
from inputlayer.runs import PROJECT, RunFolder, json_text, write_whole
from inputlayer.split import split
from inputlayer.variants import apart, changes

COMPARISON, PARTS = "comparison.json", "parts"
_FILES = (COMPARISON, REPORT, PROJECT, PARTS)


def choose(runs: Path, name: str, *, resume: bool, force: bool) -> RunFolder:
    """The folder `name` in `runs`, as `RunFolder.choose` does it. What stands there goes when training begins.

    Raises
    ------
    OptionError
        If it may not be used.
    """
    return RunFolder.choose(runs, name, resume=resume, force=force, files=_FILES, last=COMPARISON)


def compare_project(
    run: RunFolder,
    path: Path,
    others: Sequence[Path],
    seeds: int,
    options: Mapping[str, Any],
    say: Callable[[str], None],
) -> Comparison:
    """Compare the input layer of the project in `path` with itself less each part, and with what `others` bring.

    Parameters
    ----------
    run
        The folder that gets everything.
    seeds
        How many, counted from the project's.
    options
        Of training, in place of the project's; None: the project's.
    say
        Gets what a person wants to read.

    Raises
    ------
    OptionError
        If another project has other data, another split or other training options; if there is no test part.
    """
    project = Project.read(path)
    alternatives, models = _beside(path, project, others)
    project = project.with_training(**options)
    train, valid, test = project.parts()
    if test is None:
        raise OptionError(f"{path}: a comparison needs a test part, and [split] test is 0")
    # patience in a project's file speaks of train, not of this: all layers get the same number of steps.
    training = {n: v for n, v in project.options.items() if n != "patience"}
    start = training.pop("seed", 0)
    kept = Finished(run.path / PARTS, run.resume, lambda: _begin(run, project))
    tables, drawn = (train, valid, test), tuple(range(start, start + seeds))
    found = compare_into(kept, project.model(), tables, drawn, alternatives, models, **training)
    told = found.to_dict()
    write_whole(run.path / COMPARISON, json_text(told))
    say(str(found))
    if told["rows"]:
        Report({"comparison": told}).leave(run.path, say)
    say(f"\n{run.path} holds {', '.join(file for file in _FILES if (run.path / file).exists())}")
    return found


def _begin(run: RunFolder, project: Project) -> None:
    run.path.mkdir(parents=True, exist_ok=True)
    if not run.resume:
        for file in (run.path / COMPARISON, run.path / REPORT, *(run.path / PARTS).glob("*.safetensors")):
            file.unlink(missing_ok=True)
    text = project.moved(run.path).to_toml({"": "As it was compared by inputlayer compare."})
    write_whole(run.path / PROJECT, text)


def _beside(path: Path, first: Project, others: Sequence[Path]) -> tuple[dict[str, InputLayer], dict[str, Model]]:
    """Other projects by name: those that differ in their input layer only, and those that differ in more."""
    alternatives: dict[str, InputLayer] = {}
    mine = first.model()
    models: dict[str, Model] = {}
    wrong = []
    for file in others:
        other = Project.read(file)
        differs = [part for part, mine in _shared(first).items() if _shared(other)[part] != mine]
        if differs:
            wrong.append(f"{file}: {' and '.join(differs)} must be as in {path}")
        if file.stem in {*alternatives, *models}:
            wrong.append(f"{file}: another project has this name, too")
        model = other.model()
        if apart(mine, model):
            models[file.stem] = model
            continue
        alternatives[file.stem] = model.layer
        if other.schema.weight != first.schema.weight:
            wrong.append(f"{file}: weight under [data] must be as in {path}, where only the input layer differs")
        elif not changes(mine.layer, model.layer):
            wrong.append(f"{file}: it makes the same model as {path}")
    if wrong:
        raise OptionError("; ".join(wrong))
    return alternatives, models


def _shared(project: Project) -> dict[str, Any]:
    """What a comparison has once, defaults filled in."""
    cut = signature(split).bind(None, None, **project.split)
    cut.apply_defaults()
    missing = MISSING if project.missing is None else project.missing
    return {
        "[data]": ((project.folder / project.path).resolve(), set(missing), project.schema.targets),
        "[split]": cut.arguments,
        "[training]": TrainingOptions(**{**project.options, "patience": None}),  # it has no say in a comparison
    }
