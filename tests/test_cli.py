from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from lightning.pytorch import Callback
from typer.testing import CliRunner, Result

import inputlayer as il
from inputlayer import runs
from inputlayer.cli import app
from inputlayer.csv_file import harmless
from inputlayer.model import load
from inputlayer.project import Project
from inputlayer.table import read

HEAD = "day,load,wind"


def rows(count: int = 120) -> list[list[Any]]:
    start = datetime.date(2024, 1, 1)
    return [[start + datetime.timedelta(i), i % 7 + 0.5, "NSEW"[i % 4]] for i in range(count)]


def write(name: str, cells: list[list[Any]], head: str = HEAD) -> str:
    Path(name).write_text("\n".join([head, *(",".join(map(str, row)) for row in cells)]) + "\n")
    return name


def with_cell(row: int, column: int, value: object, count: int = 120) -> list[list[Any]]:
    cells = rows(count)
    cells[row][column] = value
    return cells


def run(*args: str) -> Result:
    return CliRunner().invoke(app, list(args), prog_name="inputlayer")


def passed(*args: str) -> str:
    result = run(*args)
    assert result.exit_code == 0, result.output
    return str(result.stdout)


def failed(*args: str, code: int = 2) -> str:
    result = run(*args)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    return str(result.stderr)


def small(text: str) -> str:
    return re.sub(r"^epochs = \d+", "epochs = 2", text.replace("units = 64", "units = 4"), flags=re.M)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with load.csv, project.toml and runs/project."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write("load.csv", rows())
        text = passed("init", "load.csv", "--target", "load", "--length", "6", "--horizon", "2")
        Path("project.toml").write_text(small(text))
        passed("train", "project.toml")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Path) -> Path:
    """A working folder with load.csv and project.toml, and no runs."""
    monkeypatch.chdir(tmp_path)
    for file in ("load.csv", "project.toml"):
        (tmp_path / file).write_text((trained / file).read_text())
    return tmp_path


# -- the road ---------------------------------------------------------------------------------------------------------


def test_the_road_on_real_weather(tmp_path: Path) -> None:
    weather = pytest.importorskip("vega_datasets").local_data.seattle_weather.filepath

    def console(*args: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "inputlayer.cli", *args],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout  # plain text, where it is no terminal
        return done.stdout

    text = console("init", str(weather), "--target", "temp_max", "--length", "30", "--horizon", "7")
    assert 'weather = { kind = "category" }' in text
    (tmp_path / "project.toml").write_text(small(text))
    said = console("train", "project.toml", "--name", "first", "--epochs", "1")
    assert "877 rows to train on, 292 to validate, 292 to test" in said
    assert "calendar mean" in said
    assert "The model" in said
    forecast = pl.read_csv(console("predict", "runs/first", str(weather)).encode(), try_parse_dates=True)
    assert forecast.columns == ["origin", "step", "date", "temp_max"]
    assert forecast["date"].to_list()[-1] == datetime.date(2016, 1, 7)


def test_train_leaves_everything_in_the_run(trained: Path) -> None:
    folder = trained / "runs" / "project"
    names = {"checkpoint.safetensors", "model.safetensors", "project.toml", "report.html", "scores.json"}
    assert {path.name for path in folder.iterdir()} == names
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["test"]["baselines"].keys() >= {"repeat last", "calendar mean"}
    assert "verdict" in scores["test"]
    assert scores["rows"] == {"train": 72, "valid": 24, "test": 24}
    assert len(scores["history"]["valid_loss"]) == 2
    assert Project.read(folder / "project.toml").table().height == 120  # its path was moved along


def test_the_run_can_be_run_again_to_the_same_model(trained: Path, here: Path) -> None:
    passed("train", str(trained / "runs" / "project" / "project.toml"), "--name", "again")
    model = "model.safetensors"
    assert (here / "runs" / "again" / model).read_bytes() == (trained / "runs" / "project" / model).read_bytes()


def test_evaluate_prints_what_python_returns(trained: Path, here: Path) -> None:
    model = trained / "runs" / "project"
    write("before.csv", rows()[:96])
    write("new.csv", rows()[96:])
    scores = load(model).evaluate(read("new.csv"), context=read("before.csv"))
    args = ["evaluate", str(model), "new.csv", "--context", "before.csv"]
    assert passed(*args) == f"{scores}\n"
    assert json.loads(passed(*args, "--json"))["rmse"] == scores["rmse"]
    assert json.loads((model / "scores.json").read_text())["test"]["rmse"] == scores["rmse"]


def test_evaluate_without_data_scores_the_projects_test_part(trained: Path, here: Path) -> None:
    run = trained / "runs" / "project"
    known = json.loads((run / "scores.json").read_text())["test"]
    assert json.loads(passed("evaluate", str(run), "--json")) == known
    assert "--context has no effect without DATA" in failed("evaluate", str(run), "--context", "load.csv")
    (here / "alone.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    assert "which table? alone.safetensors has no project that would tell" in failed("evaluate", "alone.safetensors")


def test_evaluate_refuses_rows_that_were_fitted_on(trained: Path, here: Path) -> None:
    message = failed("evaluate", str(trained / "runs" / "project"), "load.csv")
    assert "--allow-seen" in message
    assert "sequences" in passed("evaluate", str(trained / "runs" / "project"), "load.csv", "--allow-seen")


def test_predict_writes_what_python_returns(trained: Path, here: Path) -> None:
    model = trained / "runs" / "project" / "model.safetensors"
    expected = load(model).predict(read("load.csv"))
    rounded = expected.with_columns(pl.col("load").round_sig_figs(7))
    assert pl.read_csv(passed("predict", str(model), "load.csv").encode(), try_parse_dates=True).equals(rounded)
    passed("predict", str(model), "load.csv", "--output", "f.parquet")
    assert pl.read_parquet("f.parquet").equals(expected)
    passed("predict", str(model), "load.csv", "--output", "f.csv")
    assert pl.read_csv("f.csv", try_parse_dates=True).equals(rounded)
    assert ".csv or .parquet" in failed("predict", str(model), "load.csv", "--output", "f.xlsx")


def test_predict_takes_the_rows_ahead(here: Path) -> None:
    text = (
        Path("project.toml")
        .read_text()
        .replace('wind = { kind = "category" }', 'wind = { kind = "category", role = "known" }')
    )
    Path("known.toml").write_text(text)
    passed("train", "known.toml", "--epochs", "1")
    assert "'wind' must be known ahead. Pass --future FILE, a table" in failed("predict", "runs/known", "load.csv")
    write("future.csv", [["2024-04-30", "N"], ["2024-05-01", "S"]], "day,wind")
    assert passed("predict", "runs/known", "load.csv", "--future", "future.csv").count("\n") == 3
    write("late.csv", [["2024-05-30", "N"], ["2024-05-31", "S"]], "day,wind")
    assert "row 0 = " in failed("predict", "runs/known", "load.csv", "--future", "late.csv")
    write("target.csv", [["2024-04-30", "N", 1], ["2024-05-01", "S", 2]], "day,wind,load")
    assert "column 'load': is a target" in failed("predict", "runs/known", "load.csv", "--future", "target.csv")


def test_show_ends_where_the_lstm_begins(trained: Path, here: Path) -> None:
    assert "input layer ends · float32" in passed("show", "project.toml")
    model = str(trained / "runs" / "project")
    assert "LSTM begins" in passed("show", model, "load.csv")
    passed("show", model, "load.csv", "--html", "show.html")
    assert "LSTM begins" in Path("show.html").read_text()
    assert f"inputlayer show {model} DATA" in failed("show", model)


def test_missing_marks_of_the_run_serve_for_prediction(here: Path) -> None:
    write("load.csv", [*rows()[:119], ["2024-04-29", "?", "N"]])
    Path("project.toml").write_text(Path("project.toml").read_text().replace("[data]", '[data]\nmissing = ["?"]'))
    passed("train", "project.toml", "--epochs", "1")
    assert passed("predict", "runs/project", "load.csv").count("\n") == 3


def test_without_a_test_part_there_are_no_scores(here: Path) -> None:
    Path("project.toml").write_text(Path("project.toml").read_text().replace("test = 0.2", "test = 0"))
    assert "so no scores" in passed("train", "project.toml", "--epochs", "1")
    assert json.loads(Path("runs/project/scores.json").read_text())["test"] is None


# -- runs: stopped, gone on with, replaced ----------------------------------------------------------------------------


def test_ctrl_c_keeps_the_best_and_resume_ends_in_the_same_bytes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed("train", "project.toml", "--name", "whole", "--epochs", "3")
    begins = runs._when_training_begins

    def stopping(act: Any) -> Callback:
        callback: Any = begins(act)

        def on_train_epoch_start(trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

        callback.on_train_epoch_start = on_train_epoch_start
        return callback

    monkeypatch.setattr(runs, "_when_training_begins", stopping)
    message = failed("train", "project.toml", "--name", "cut", "--epochs", "3", code=130)
    assert "runs/cut holds the best weights so far. Go on with --resume." in message
    assert len(json.loads(Path("runs/cut/scores.json").read_text())["history"]["valid_loss"]) == 1
    assert load("runs/cut/model.safetensors").predict(read("load.csv")).height == 2
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert "was 3, is 4" in failed("train", "project.toml", "--name", "cut", "--epochs", "4", "--resume")
    passed("train", "project.toml", "--name", "cut", "--epochs", "3", "--resume")
    model = "model.safetensors"
    assert Path("runs/cut", model).read_bytes() == Path("runs/whole", model).read_bytes()


def test_a_run_is_never_overwritten_unasked(here: Path) -> None:
    passed("train", "project.toml", "--epochs", "1")
    before = {path.name: path.read_bytes() for path in Path("runs/project").iterdir()}
    message = failed("train", "project.toml")
    assert "runs/project holds a run already" in message
    assert "--name, or replace it with --force" in message
    write("load.csv", with_cell(100, 1, "oops"))
    assert "row 100 = 'oops'" in failed("train", "project.toml", "--force")
    assert {path.name: path.read_bytes() for path in Path("runs/project").iterdir()} == before
    write("load.csv", rows())
    passed("train", "project.toml", "--epochs", "1", "--force", "--seed", "1")
    assert Path("runs/project/model.safetensors").read_bytes() != before["model.safetensors"]
    assert Project.read("runs/project/project.toml").training["seed"] == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--name", "a/b"], "not a path"),
        (["--name", ".."], "not a path"),
        (["--resume"], "there is no run in runs/project"),
        (["--resume", "--force"], "choose one"),
        (["--epochs", "-1"], "epochs is -1"),
        (["--device", "cuda:7"], "device 'cuda:7' is not on this machine"),
    ],
)
def test_a_run_that_cannot_be_is_refused(here: Path, args: list[str], message: str) -> None:
    assert message in failed("train", "project.toml", *args)
    assert not Path("runs").exists()


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "head", "message"),
    [
        ([[r[0], r[2]] for r in rows()], "day,wind", "column 'load': is missing from the table"),
        (rows(), "day,laod,wind", "column 'load': is missing from the table. Did you mean 'laod'?"),
        (with_cell(100, 1, "oops"), HEAD, "column 'load': is not a number (row 100 = 'oops')"),
        ([], HEAD, "load.csv has no rows"),
        (rows(7), HEAD, "a window needs 8 rows (length 6 + horizon 2)"),
        ([[r[0], "", r[2]] for r in rows()], HEAD, "column 'load': all values are missing"),
        (with_cell(5, 1, "inf"), HEAD, "column 'load': is infinite (row 5 = inf)"),
        (with_cell(110, 0, rows()[109][0]), HEAD, "column 'day': has the same value twice in one series (row 109 ="),
        (with_cell(7, 0, ""), HEAD, "column 'day': has no value, so the row has no place in its series (row 7 = None)"),
    ],
)  # fmt: skip
def test_bad_table_is_one_clear_error(here: Path, cells: list[list[Any]], head: str, message: str) -> None:
    write("load.csv", cells, head)
    assert message in failed("train", "project.toml")
    assert not Path("runs").exists()


def test_all_problems_of_a_table_come_in_one_message(here: Path) -> None:
    cells = with_cell(3, 1, "oops")
    cells[90][0] = ""
    write("load.csv", cells)
    message = failed("train", "project.toml")
    assert "2 problems (rows count from 0)" in message
    assert "row 3 = 'oops'" in message
    assert "row 90 = None" in message


@pytest.mark.parametrize(
    ("cells", "head", "message"),
    [
        ([[r[0], r[1]] for r in rows()], "day,load", "column 'wind': is missing from the table"),
        (with_cell(119, 1, "inf"), HEAD, "column 'load': is infinite (row 119 = inf)"),
        (with_cell(119, 1, "oops"), HEAD, "column 'load': is not a number (row 119 = 'oops')"),
        (rows(3), HEAD, "it has 3"),
        ([], HEAD, "the table has no rows"),
    ],
)
def test_bad_table_at_prediction(trained: Path, here: Path, cells: list[list[Any]], head: str, message: str) -> None:
    write("bad.csv", cells, head)
    assert message in failed("predict", str(trained / "runs" / "project"), "bad.csv")


def test_bad_model_file(trained: Path, here: Path) -> None:
    whole = (trained / "runs" / "project" / "model.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(whole[:-100])
    assert "cut.safetensors is truncated" in failed("predict", "cut.safetensors", "load.csv")
    assert "load.csv is not an artefact" in failed("predict", "load.csv", "load.csv")
    Path("plan.toml").touch()
    assert "plan.toml is a project, and a model is needed" in failed("evaluate", "plan.toml")
    assert "there is no file 'nothing'" in failed("predict", "nothing", "load.csv")
    Path("empty").mkdir()
    assert "there is no model in empty" in failed("predict", "empty", "load.csv")
    Path("empty/checkpoint.safetensors").touch()
    message = "Go on with it: inputlayer train empty/project.toml --name empty --resume"
    assert message in failed("predict", "empty", "load.csv")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["init", "nothing.csv", "--target", "load"], "there is no file 'nothing.csv'"),
        (["init", "load.csv", "--target", "laod"], "column 'laod': is missing from the table. Did you mean 'load'?"),
        (["init", "load.csv", "--target", "load", "--output", "project.toml"], "project.toml is there already"),
        (["init", "load.csv"], "--target"),
        (["train", "nothing.toml"], "nothing.toml: No such file"),
        (["train", "load.csv"], "load.csv is data, not a project. Write a project for it first"),
        (["train", "project.toml", "--epoch", "3"], "--epochs"),
        (["trian", "project.toml"], "trian"),
    ],
)
def test_bad_command(here: Path, args: list[str], message: str) -> None:
    assert message in failed(*args)


def test_bad_project_is_told_all_at_once(here: Path) -> None:
    text = Path("project.toml").read_text().replace("units", "unit").replace("epochs", "epoch")
    Path("bad.toml").write_text(text)
    message = failed("train", "bad.toml")
    assert "bad.toml has 2 problems" in message
    assert "Did you mean 'units'?" in message
    assert "Did you mean 'epochs'?" in message


def test_too_few_sequences_for_a_draft_are_told_the_way_that_is_left(here: Path) -> None:
    write("few.csv", [[i // 5, i / 7, "ab"[i // 5 % 2]] for i in range(80)], "id,x,label")
    message = failed("init", "few.csv", "--target", "label", "--by", "id", "--output", "few.toml")
    assert "the recipe needs at least 20 sequences to train on, and here are 10. Give more rows; or choose" in message
    assert not Path("few.toml").exists()
    code = re.findall(r"in Python: (.*), where schema is what (.*) guesses, or an il.Schema", message)
    ((train, guess),) = code
    table = il.read("few.csv")
    schema = il.infer(table, "label", by="id")
    names = {"il": il, "table": table, "target": "label", "schema": schema}
    assert eval(guess, names).target == "label"
    assert eval(train.replace("(table)", "(table, epochs=1)"), names).epochs == 1


def test_project_without_its_table(here: Path) -> None:
    Path("load.csv").unlink()
    assert "there is no file 'load.csv'" in failed("train", "project.toml")


def test_a_defect_is_owned_up_to(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> str:
        raise RuntimeError("boom")

    monkeypatch.setattr("inputlayer.draft.draft", broken)
    message = failed("init", "load.csv", "--target", "load", code=1)
    assert "a defect of inputlayer, not of your data: RuntimeError: boom" in message
    assert "INPUTLAYER_DEBUG=1" in message
    monkeypatch.setenv("INPUTLAYER_DEBUG", "1")
    assert isinstance(run("init", "load.csv", "--target", "load").exception, RuntimeError)


def test_ctrl_c_anywhere_is_one_word(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **options: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("inputlayer.draft.draft", interrupted)
    assert failed("init", "load.csv", "--target", "load", code=130) == "interrupted\n"


# -- help and output --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["init", "train", "evaluate", "predict", "show", "compare", "demo"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    assert f"  inputlayer {command}" in passed(command, "--help")


@pytest.mark.parametrize("command", ["init", "train", "evaluate", "predict", "show", "compare", "export", "demo"])
def test_help_names_what_is_to_be_given_and_no_types_of_python(command: str) -> None:
    text = passed(command, "--help")
    assert not re.findall(r"<[^>]*>|\[\[|list\[", text)
    assert "Options:\n" in text
    assert ("Arguments:\n" in text) == (command != "demo")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom inputlayer.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "print(*sorted({'torch', 'polars', 'numpy', 'lightning', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_without_its_packages_the_console_says_what_to_install() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, entry = project["scripts"]["inputlayer"].partition(":")
    code = f"import sys; sys.modules['typer'] = None; from {module} import {entry}; {entry}()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: the command line needs the package 'typer'. Install it with: pip install inputlayer\n"
    )
    done = subprocess.run([sys.executable, "-m", "inputlayer", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: inputlayer ")


def test_output_to_a_file_is_utf8_whatever_the_locale(trained: Path) -> None:
    args = [sys.executable, "-m", "inputlayer.cli", "show", "project.toml"]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(args, cwd=trained, capture_output=True, env=env, check=True)
    assert "input layer ends · float32" in done.stdout.decode("utf-8")


def test_init_writes_paths_that_count_from_the_project(here: Path) -> None:
    Path("sub").mkdir()
    passed("init", "load.csv", "--target", "load", "--output", "sub/p.toml")
    assert Project.read("sub/p.toml").path == "../load.csv"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\x00"])
def test_texts_that_a_spreadsheet_would_run_are_made_harmless(start: str) -> None:
    frame = pl.DataFrame({f"{start}x": [f"{start}1+1", "a=1", None], "n": [-1.0, 2.0, None]})
    safe = harmless(frame)
    assert safe.columns == [f"'{start}x", "n"]
    assert safe.rows() == [(f"'{start}1+1", -1.0), ("a=1", 2.0), (None, None)]


def test_predictions_in_csv_are_harmless(here: Path) -> None:
    write("load.csv", [[*r, s] for s in ("=1+1", "north") for r in rows(60)], f"{HEAD},site")
    args = ["--target", "load", "--by", "site", "--length", "6", "--horizon", "1"]
    Path("panel.toml").write_text(small(passed("init", "load.csv", *args)))
    passed("train", "panel.toml", "--epochs", "1")
    assert "\n'=1+1," in passed("predict", "runs/panel", "load.csv")
    passed("predict", "runs/panel", "load.csv", "--output", "f.parquet")
    assert pl.read_parquet("f.parquet")["site"].to_list() == ["=1+1", "north"]


# -- which project tells how a table is read --------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_project_as_powershell_writes_it_can_be_shown_with_a_table(here: Path, encoding: str) -> None:
    text = Path("project.toml").read_text(encoding="utf-8").replace("[data]", '[data]\nmissing = ["none"]')
    Path("other.toml").write_text(text, encoding=encoding)
    write("new.csv", with_cell(20, 1, "none"))
    assert "load" in passed("show", "other.toml", "new.csv")


def test_a_project_beside_a_model_that_it_did_not_make_is_not_read(trained: Path, here: Path) -> None:
    expected = passed("predict", str(trained / "runs" / "project"), "load.csv")
    other = Path("other")
    other.mkdir()
    (other / "m.safetensors").write_bytes((trained / "runs" / "project" / "model.safetensors").read_bytes())
    for text in ('[project]\nname = "mine"\n', '[data]\nmissing = ["0.5"]\n'):
        (other / "project.toml").write_text(text)
        assert passed("predict", "other/m.safetensors", "load.csv") == expected


def test_a_project_that_cannot_be_read_is_no_defect(here: Path) -> None:
    Path("bad.toml").write_text("[data\n")
    assert "bad.toml is no TOML file" in failed("show", "bad.toml", "load.csv", "--context", "load.csv")


def test_evaluate_says_why_a_baseline_is_missing(trained: Path, here: Path) -> None:
    model = trained / "runs" / "project"
    made = load(model)
    assert made.baselines is not None
    assert made.baselines.left_out
    args = ["evaluate", str(model), "load.csv", "--allow-seen"]
    said, told = passed(*args), json.loads(passed(*args, "--json"))
    assert told["baselines_left_out"] == made.baselines.left_out
    assert told["baselines_blind_to"] == {"wind": "category"}
    page = (model / "report.html").read_text(encoding="utf-8")
    for name, reason in made.baselines.left_out.items():
        assert f"no {name}: {reason}" in said.splitlines()[-3]
        assert f"no {name}: {reason}" in page
    blind = "No baseline sees wind (category)."
    assert said.splitlines()[-1] == blind
    assert f"RMSE). {blind}" in page
