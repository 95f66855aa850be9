"""The command line. Each command parses, makes one public call, and prints; what is slow to import waits until then."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from inputlayer.model import Model

_PROJECT = "project.toml"

# Messages speak Python; on the command line the same things have these names.
_AS_TYPED = {
    r"\bil\.read\(\.\.\., missing=\.\.\.\)": "missing = [...] under [data] in the project's file",
    r"\ballow_seen=True\b": "--allow-seen",
    r"\(il\.split\)": "(those after the training part)",
    r"\bcontext=\[train, valid\]": "several --context",
    r"\bcontext=": "--context",
    r"\bmax_gap,": "max_gap under [sequence],",
    r"\bchoose the parts yourself: il\.Model\(\.\.\.\)": (
        "choose the parts yourself, in Python: il.Model(il.InputLayer(schema), il.LSTM(units=16)).fit(table), where"
        " schema is what il.infer(table, target) guesses, or an il.Schema(...) of your own"
    ),
    r"\bPass future=,": "Pass --future FILE,",
    r"\bfuture=": "--future",
    r"\bresume=False\b": "--force, or under a new --name",
    r"\banother run=\.\.\.": "another --name, or replace it by --force",
    r"\bby=\.\.\.": "by under [sequence].",
    r"\b(?:Windows\()?(pad_short|per_step)=True\b\)?": r"\1 = true under [sequence]",
}

# Before there is a project's file, what it will say is said by options.
_AT_INIT = {
    r"\bin il\.read\(\.\.\., missing=\.\.\.\)": "by --missing CELL",
    r"\bby=\.\.\.": "--by COLUMN.",
    r"\border=,": "--order,",
}


class Commands(TyperGroup):
    """Turns whatever goes wrong in a command into one message on standard error and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Exit codes: 2 for what the user can mend, 130 for Ctrl-C, 1 for a defect of this program."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            fail("interrupted", 130)
        except Exception as error:
            if os.environ.get("INPUTLAYER_DEBUG") == "1" and not _is_typers(error):
                raise
            _report(error, _AT_INIT if ctx.invoked_subcommand == "init" else {})


class Command(TyperCommand):
    """Its help names what is to be given, and no types of Python."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections of arguments and options."""
        for kind in ("argument", "option"):
            records = [p.get_help_record(ctx) for p in self.get_params(ctx) if p.param_type_name == kind]
            rows = [(re.sub(r" <.*>$", "", name), text) for name, text in filter(None, records)]
            if rows:
                with formatter.section(f"{kind.capitalize()}s"):
                    formatter.write_dl(rows)


def _is_typers(error: Exception) -> bool:
    """Whether Typer itself prints it, and leaves: a wrong option, an exit, a closed pipe."""
    closed = isinstance(error, OSError) and error.errno == errno.EPIPE
    return closed or isinstance(error, typer.Abort) or hasattr(error, "exit_code")


def _report(error: Exception, first: Mapping[str, str]) -> None:
    from inputlayer.errors import InputLayerError

    if _is_typers(error):
        raise error
    if isinstance(error, InputLayerError):
        fail(_as_typed(str(error), first))
    if isinstance(error, OSError) and error.filename is not None:
        fail(f"{error.filename}: {error.strerror}")
    fail(
        f"a defect of inputlayer, not of your data: {type(error).__name__}: {error}\n"
        "Please report it, with the command and what INPUTLAYER_DEBUG=1 in front of it prints.",
        1,
    )


def _as_typed(text: str, first: Mapping[str, str] = MappingProxyType({})) -> str:
    for python, typed in (*first.items(), *_AS_TYPED.items()):
        text = re.sub(python, typed, text)
    return text


def fail(text: str, code: int = 2) -> None:
    """Print `text` on standard error and leave."""
    typer.echo(f"error: {text}" if code != 130 else text, err=True)
    raise typer.Exit(code)


app = typer.Typer(
    cls=Commands,
    help="From raw data, through an input layer and an LSTM, to predictions in raw units.\n\n"
    "\b\n"
    "  inputlayer init load.csv --target load > project.toml\n"
    "  inputlayer train project.toml\n"
    "  inputlayer predict runs/project load.csv",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain text, which can be pasted
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Data = Annotated[str, typer.Argument(metavar="DATA", help="A .csv, .parquet or .arrow file, or a pattern in quotes.")]
Context = Annotated[
    list[str] | None, typer.Option(metavar="FILE", help="The rows before DATA: look-back only, never scored.")
]
ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="A folder in runs/, or a .safetensors file.")]
ProjectPath = Annotated[Path, typer.Argument(metavar="PROJECT", help="The project's TOML file.")]


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Options that stand before a command."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"inputlayer {installed('inputlayer')}")
        raise typer.Exit


@app.command(cls=Command)
def init(
    data: Data,
    target: Annotated[list[str], typer.Option(metavar="COLUMN", help="What to predict; may be given several times.")],
    length: Annotated[int | None, typer.Option(metavar="ROWS", help="Look-back.")] = None,
    horizon: Annotated[int | None, typer.Option(metavar="ROWS", help="How far to predict ahead.")] = None,
    by: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="What tells one series from another.")] = None,
    order: Annotated[str | None, typer.Option(metavar="COLUMN", help="What orders the rows.")] = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(metavar="CELL", help="What stands for a missing value, too; may be given several times."),
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write here, not to standard output.")] = None,
) -> None:
    """Guess a project from a table.

    The reason for every guess stands beside it.
    The table is split first; what is guessed is guessed from its training rows alone.

    \b
    Example:
      inputlayer init load.csv --target load --length 168 --horizon 24 > project.toml
    """
    from inputlayer.draft import draft

    if output is not None and output.exists():
        fail(f"{output} is there already. Give another --output, or delete it.")
    file = output or Path(_PROJECT)
    options: Any = {"length": length, "horizon": horizon, "order": order, "by": by, "missing": missing or ()}
    text = draft(data, target, **options, file=file)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


@app.command(cls=Command)
def train(
    project: ProjectPath,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The run's folder in runs/; else the project's name.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(metavar="NUMBER", help="Instead of that in the project.")] = None,
    lr: Annotated[float | None, typer.Option(metavar="NUMBER", help="Instead of that in the project.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="NUMBER", help="Instead of that in the project.")] = None,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="Instead of that in the project.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a run of the same name.")] = False,
) -> None:
    """Train a project, and score it.

    runs/NAME/ then holds the model, its scores, the project as it was run, and a page that tells of it all.

    Ctrl-C ends the training; the best weights so far are kept. A run is never overwritten unless --force says so.

    \b
    Example:
      inputlayer train project.toml --name first --epochs 20
    """
    from inputlayer.project import Project
    from inputlayer.runs import RunFolder

    run = RunFolder.choose(Path("runs"), project.stem if name is None else name, resume=resume, force=force)
    run.train(Project.read(project).with_training(epochs=epochs, lr=lr, seed=seed, device=device), typer.echo)
    if run.interrupted:
        fail(f"interrupted: {run.path} holds the best weights so far. Go on with --resume.", 130)


@app.command(cls=Command)
def evaluate(
    model: ModelPath,
    data: Annotated[str | None, typer.Argument(metavar="DATA", help="Else the test part of the run's project.")] = None,
    context: Context = None,
    allow_seen: Annotated[
        bool, typer.Option("--allow-seen", help="Score rows that were fitted on all the same.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
) -> None:
    """Score a model beside the baselines.

    Rows that it has learnt from are refused.

    \b
    Examples:
      inputlayer evaluate runs/project
      inputlayer evaluate runs/project new.csv --context load.csv
    """
    from inputlayer.runs import json_text, last_part

    if data is None and context:
        fail("--context has no effect without DATA: the parts before the test part are its look-back")
    made = _load(model)
    table, before = last_part(model) if data is None else (_read(data, model), [_read(c, model) for c in context or ()])
    found = made.evaluate(table, context=before, allow_seen=allow_seen)
    typer.echo(json_text(found) if as_json else str(found))


@app.command(cls=Command)
def predict(
    model: ModelPath,
    data: Data,
    future: Annotated[
        str | None, typer.Option(metavar="FILE", help="The rows ahead: times, and columns known ahead.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a .csv or .parquet file, not to standard output.")
    ] = None,
) -> None:
    """Predict in raw units.

    Windows: what follows the last rows of each series. Otherwise: each group, or each row (row counts from 0).

    In CSV, times are ISO 8601, and predicted numbers have the digits that float32 can tell: seven, or more where they
    are large beside the target's spread. A text that a spreadsheet would run as a formula (it begins with = + - @) gets
    a ' in front. Parquet has everything exactly.

    \b
    Example:
      inputlayer predict runs/project load.csv --output forecast.csv
    """
    if output is not None and output.suffix not in (".csv", ".parquet"):
        fail(f"--output {output}: give a name that ends in .csv or .parquet")
    from inputlayer.csv_file import for_csv

    made = _load(model)
    found = made.predict(_read(data, model), future=None if future is None else _read(future, model))
    if output is None:
        typer.echo(for_csv(found, made.network).write_csv(), nl=False)
    elif output.suffix == ".csv":
        for_csv(found, made.network).write_csv(output)
    else:
        found.write_parquet(output)


@app.command(cls=Command)
def show(
    source: Annotated[Path, typer.Argument(metavar="MODEL_OR_PROJECT", help="A model, or a project's TOML file.")],
    data: Annotated[str | None, typer.Argument(metavar="DATA", help="Of a project: else its test part.")] = None,
    context: Context = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page, not to standard output.")] = None,
) -> None:
    """Show where the input layer ends.

    What it makes of a table, step by step: shapes, ranges, what is missing and unseen, what was learnt.

    With a project, the layer is fitted on the project's training part, and nothing is trained.

    \b
    Examples:
      inputlayer show project.toml
      inputlayer show runs/project new.csv --context load.csv --html show.html
    """
    from inputlayer.show import show as shown

    given = [_read(c, source) for c in context or ()]
    if source.suffix == ".toml":
        from inputlayer.project import Project
        from inputlayer.runs import fitted_layer

        layer, table, before = fitted_layer(Project.read(source))
        picture = shown(layer, table, before) if data is None else shown(layer, _read(data, source), given)
    elif data is None:
        fail(f"which table? Write: inputlayer show {source} DATA")
    else:
        picture = shown(_load(source).network, _read(data, source), given)
    if html is None:
        typer.echo(str(picture))
    else:
        html.write_text(picture.to_html(), encoding="utf-8")


@app.command(cls=Command)
def compare(
    project: ProjectPath,
    others: Annotated[
        list[Path] | None,
        typer.Argument(metavar="OTHERS", help="Projects whose input layers, or models, stand beside."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The folder in runs/; else the project's name and -compared.")
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="NUMBER", help="How often each is trained.", min=1)] = 3,
    epochs: Annotated[int | None, typer.Option(metavar="NUMBER", help="Instead of that in the project.")] = None,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="Instead of that in the project.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a comparison that was stopped.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a comparison of the same name.")] = False,
) -> None:
    """Measure what each part of the input layer buys.

    The same body is trained behind the whole layer, behind the layer without each stage and without each column, and
    behind the layers of other projects; all have the same seeds and as many steps, so nothing stops early. runs/NAME/
    then holds the table, and a page.

    Ctrl-C ends it; every training that is finished is kept.

    \b
    Examples:
      inputlayer compare project.toml --seeds 5
      inputlayer compare project.toml plain.toml gru.toml --name three
    """
    from inputlayer.compared import choose, compare_project

    folder = f"{project.stem}-compared" if name is None else name
    run = choose(Path("runs"), folder, resume=resume, force=force)
    found = compare_project(run, project, others or [], seeds, {"epochs": epochs, "device": device}, typer.echo)
    if found.interrupted:
        fail(f"interrupted: {run.path} holds what is finished. Go on with --resume.", 130)


@app.command(cls=Command)
def export(
    model: ModelPath,
    output: Annotated[Path, typer.Argument(metavar="FILE", help="The .onnx file to write.")],
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="A table on which answers are compared as well; none is kept.")
    ] = None,
) -> None:
    """Write a model as one ONNX file.

    Raw rows in, raw units or labels out: the input layer is inside. onnxruntime runs it, without torch; il.OnnxModel
    checks what comes in, too. It is written only once its answers are those of Python.

    \b
    Example:
      inputlayer export runs/project project.onnx
    """
    if output.suffix != ".onnx":
        fail(f"{output}: give a name that ends in .onnx")
    typer.echo(str(_load(model).export(output, None if data is None else _read(data, model))))


@app.command(cls=Command)
def demo() -> None:
    """Show what an input layer buys.

    Weather in Seattle, 7 days ahead, in under two minutes on two cores.

    \b
    Example:
      inputlayer demo
    """
    from importlib import import_module

    import_module("inputlayer.demo").main()


def _read(path: str, model: Path) -> Any:
    """The table at `path`, its missing cells marked as in `model`: a project, or what was trained by one."""
    from inputlayer.project import Project
    from inputlayer.runs import project_of
    from inputlayer.table import read

    file = model if model.suffix == ".toml" else project_of(model)
    marks = None if file is None else Project.read(file).missing
    return read(path) if marks is None else read(path, marks)


def _load(path: Path) -> Model:
    from inputlayer.model import load

    if path.suffix == ".toml" and path.is_file():
        fail(f"{path} is a project, and a model is needed. Train it: inputlayer train {path}, and give its runs/NAME")
    return load(path)


def main() -> None:
    """The console's entry. What is written to a file or a pipe is UTF-8 everywhere; a terminal shows what it can."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace")
    warnings.formatwarning = lambda message, *_: f"warning: {_as_typed(str(message))}\n"
    app(prog_name="inputlayer")


if __name__ == "__main__":
    main()
