"""The folder of a run: the project as it was run, its checkpoint, the model, its scores, and the report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from inputlayer import checkpoint
from inputlayer.errors import InputLayerError, OptionError, nearest
from inputlayer.layer import InputLayer
from inputlayer.model import FILE as MODEL
from inputlayer.model import Model
from inputlayer.project import Project
from inputlayer.report import FILE as REPORT
from inputlayer.report import Report, plain
from inputlayer.run import History
from inputlayer.table import Table

if TYPE_CHECKING:
    from lightning.pytorch import Callback

SCORES, PROJECT = "scores.json", "project.toml"
_FILES = (MODEL, SCORES, REPORT, PROJECT, checkpoint.FILE)
_EPOCHS = 5  # of the history that are printed


@dataclass
class RunFolder:
    """One run's folder. It is made, and what it holds replaced, when training begins: bad data costs nothing.

    path  the folder; resume  whether to go on with what it holds; interrupted  whether Ctrl-C ended the training
    """

    path: Path
    resume: bool = False
    interrupted: bool = False
    started: bool = field(default=False, init=False)

    @classmethod
    def choose(
        cls, runs: Path, name: str, *, resume: bool, force: bool, files: Sequence[str] = _FILES, last: str = SCORES
    ) -> Self:
        """The folder `name` in `runs`. A run that is there already is gone on with, or replaced, only when asked.

        `files` are what a run leaves there, `last` the one that says that it is finished.

        Raises
        ------
        OptionError
            If it may not be used.
        """
        if Path(name).name != name or name in ("", ".", ".."):
            raise OptionError(f"--name {name}: give the name of a folder in {runs}, not a path")
        if resume and force:
            raise OptionError("--resume goes on with a run and --force replaces it: choose one")
        path = runs / name
        there = [file for file in files if (path / file).exists()]
        if resume and not there:
            others = [p.name for p in runs.iterdir() if p.is_dir()] if runs.is_dir() else []
            raise OptionError(f"--resume: there is no run in {path}.{nearest(name, others)}")
        if there and not (resume or force):
            stopped = "" if last in there else "go on with it by --resume, "
            raise OptionError(
                f"{path} holds a run already ({', '.join(there)}): {stopped}give this one another --name, or replace it"
                " with --force"
            )
        return cls(path, resume)

    def train(self, project: Project, say: Callable[[str], None]) -> None:
        """Train `project` and write everything; `say` gets what a person wants to read meanwhile."""
        train, valid, test = project.parts()
        model = project.model()
        rows = {"train": train, "valid": valid, "test": test}
        counts = {name: 0 if part is None else part.height for name, part in rows.items()}
        say(f"{counts['train']:,} rows to train on, {counts['valid']:,} to validate, {counts['test']:,} to test")
        start = _when_training_begins(lambda: self._start(project))
        history = model.fit(train, valid, run=self.path, resume=self.resume, callbacks=[start], **project.options)
        self._start(project)  # where there was nothing to train
        model.save(self.path / MODEL)
        self.interrupted = history.interrupted
        say(f"\n{history_end(history)}\n")
        report = self._report(model, train, valid, test, context(project, train, valid))
        scores = None if test is None else report.scores
        write_whole(self.path / SCORES, json_text({"test": scores, "rows": counts, "history": history.to_dict()}))
        say("No test part ([split] test = 0), so no scores." if scores is None else str(scores))
        report.leave(self.path, say)
        say(f"\n{self.path} holds {', '.join(file for file in _FILES if (self.path / file).exists())}")

    def _report(
        self, model: Model, train: Table, valid: Table | None, test: Table | None, before: list[Table]
    ) -> Report:
        """On the test part; where there is none on the last part there is, which the page says was seen."""
        if test is not None:
            try:
                return model.report(test, context=before)
            except InputLayerError as error:
                kept = self.path / MODEL
                raise InputLayerError(f"the model is in {kept}, but its test part cannot be scored: {error}") from error
        return model.report(train if valid is None else valid, context=before[:-1], allow_seen=True)

    def _start(self, project: Project) -> None:
        if self.started:
            return
        self.started = True
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.resume:
            for file in (SCORES, MODEL, REPORT):
                (self.path / file).unlink(missing_ok=True)
        write_whole(self.path / PROJECT, project.moved(self.path).to_toml({"": "As it was run by inputlayer train."}))


def context(project: Project, *parts: Table | None) -> list[Table]:
    """The tables that windows of a later part look back on; nothing else looks back."""
    looks_back = project.schema.sequence.kind == "windows"
    return [part for part in parts if part is not None and looks_back]


def project_of(run: Path) -> Path | None:
    """The project's file that `run`, a run's folder or model, was trained by; None where nothing tells that it was."""
    path = (run if run.is_dir() else run.parent) / PROJECT
    # Beside a model of another name, or elsewhere, it may be another model's.
    return path if path.exists() and (run.is_dir() or run.name == MODEL) else None


def last_part(run: Path) -> tuple[Table, list[Table]]:
    """The test part of the project that `run`, a run's folder or model, was trained by, and what came before it.

    Raises
    ------
    OptionError
        If there is no project beside the model, or it has no test part.
    """
    path = project_of(run)
    if path is None:
        raise OptionError(f"which table? {run} has no project that would tell. Write: inputlayer evaluate {run} DATA")
    project = Project.read(path)
    train, valid, test = project.parts()
    if test is None:
        raise OptionError(f"{path} has no test part ([split] test = 0). Write: inputlayer evaluate {run} DATA")
    return test, context(project, train, valid)


def fitted_layer(project: Project) -> tuple[InputLayer, Table, list[Table]]:
    """The project's input layer, fitted on its training part; the last of its parts, and the parts before that."""
    parts = [part for part in project.parts() if part is not None]
    return project.layer().fit(parts[0]), parts[-1], context(project, *parts[:-1])


def history_end(history: History) -> str:
    """The last epochs, and the best one.

    >>> history = History()
    >>> for loss in (3.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0):
    ...     history.add(train_loss=1.0, valid_loss=loss, lr=0.001, seconds=1.0)
    >>> len(history_end(history).splitlines())
    7
    """
    head, *lines = str(history).splitlines()
    best = [lines[history.best_epoch]] if history.best_epoch is not None else []
    last = lines[-_EPOCHS:]
    return "\n".join([head, *(line for line in best if line not in last), *last])


def json_text(value: Any) -> str:
    """`value` as JSON, indented; what is no finite number becomes null."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def write_whole(path: Path, text: str) -> None:
    """The old file or the new one is there, never a half."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8")
    temporary.replace(path)


def _when_training_begins(act: Callable[[], None]) -> Callback:
    from lightning.pytorch import Callback, LightningModule, Trainer

    class Start(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            act()

    return Start()
