"""What `init` says of a table that is not as it should be, and that what it advises can be followed."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import inputlayer as il
from inputlayer.files import MISSING
from inputlayer.project import Project
from test_cli import failed, passed

TIMES = [(datetime(2024, 1, 1) + timedelta(hours=hour)).isoformat(timespec="minutes") for hour in range(100)]
LOADS = [str(hour % 24 + 0.5) for hour in range(100)]
RATINGS = [str(1 + hour % 5) for hour in range(100)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(**columns: list[str]) -> str:
    lines = [",".join(columns), *map(",".join, zip(*columns.values(), strict=True))]
    Path("t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "t.csv"


def put(cells: list[str], **odd: str) -> list[str]:
    """`cells`, with others in the rows that are named: r3="?"."""
    return [odd.get(f"r{row}", cell) for row, cell in enumerate(cells)]


INIT = ["init", "t.csv", "--target", "load", "--length", "6"]


@pytest.mark.parametrize("row", [10, 95])  # of the training part, of the test part
@pytest.mark.parametrize("mark", ["?", "-", "n/a", "abc"])
def test_a_mark_among_few_numbers_is_named_with_an_option_that_takes_it(mark: str, row: int) -> None:
    write(time=TIMES, load=LOADS, rating=put(RATINGS, **{f"r{row}": mark}))
    said = failed(*INIT)
    assert f"column 'rating': is not a number (row {row} = '{mark}'). Correct these cells, or name them by" in said
    assert "by --missing CELL if they mean missing" in said
    passed(*INIT, "--missing", mark, "--missing", "#", "--output", "p.toml")
    made = Project.read("p.toml")
    assert made.missing == [*MISSING, mark, "#"]
    assert isinstance(made.schema.columns["rating"], il.Number)
    assert made.table().frame()["rating"].null_count() == 1


def test_a_mark_in_a_target_of_few_numbers_does_not_make_classes_of_them() -> None:
    write(time=TIMES, load=put(RATINGS, r3="?"))
    assert "column 'load': is not a number (row 3 = '?')" in failed(*INIT)


def test_without_further_marks_the_project_names_none() -> None:
    write(time=TIMES, load=LOADS)
    assert "missing" not in passed(*INIT)


def test_a_horizon_of_one_step_is_written_out() -> None:
    write(time=TIMES, load=LOADS)
    text = passed(*INIT)
    assert re.search(r"^horizon = 1 +# rows predicted after it$", text, re.M)
    assert Project.from_toml(text).to_toml() == Project.from_toml(text.replace("horizon = 1", "")).to_toml()


def test_marks_have_no_effect_on_files_that_have_none() -> None:
    il.read(write(time=TIMES, load=LOADS)).frame().write_parquet("t.parquet")
    said = failed("init", "t.parquet", "--target", "load", "--missing", "?")
    assert "missing has no effect on t.parquet: only in a CSV file is a missing value a text" in said


def test_what_python_names_by_arguments_is_named_by_options() -> None:
    write(load=LOADS, wind=["NSEW"[row % 4] for row in range(100)])
    assert "Name one with --order, a column of times or numbers" in failed(*INIT)


SITES = ["ab"[row % 2] for row in range(100)]
PANEL = [TIMES[row // 2] for row in range(100)]
TWICE = {
    "one series": ({"time": put(TIMES, r71=TIMES[70])}, [], "(row 70 = 2024-01-03 22:00, row 71 = 2024-01-03 22:00)"),
    "a panel": (
        {"time": put(PANEL, r8=TIMES[3]), "site": SITES},
        [],
        "(row 6 = 2024-01-01 03:00, row 8 = 2024-01-01 03:00). Drop the repeated rows. Rows count from 0.",
    ),
    "whole numbers": ({"time": put([str(3 * i) for i in range(100)], r5="12")}, ["--order", "time"], "(row 4 = 12, ro"),
}


@pytest.mark.parametrize("case", TWICE)
def test_rows_with_the_same_place_are_named_as_train_names_them(case: str) -> None:
    columns, options, shown = TWICE[case]
    data = write(**columns, load=LOADS)
    said = failed(*INIT, *options)
    assert f"column 'time': has the same value twice in one series {shown}" in said
    by = ["--by", "site"] if "site" in columns else []
    write(**{**columns, "time": PANEL if by else [str(i) for i in range(100)] if options else TIMES}, load=LOADS)
    passed(*INIT, *options, *by, "--output", "p.toml")
    write(**columns, load=LOADS)
    assert data in Path("p.toml").read_text()
    assert failed("train", "p.toml") == said.replace("--by COLUMN", "by under [sequence]")


@pytest.mark.parametrize("column", ["time", "site"])
def test_a_row_without_a_place_is_named(column: str) -> None:
    columns = {"time": PANEL, "site": SITES}
    write(**{**columns, column: put(columns[column], r40="")}, load=LOADS)
    why = "has no place in its series" if column == "time" else "belongs to no series"
    assert f"column '{column}': has no value, so the row {why} (row 40 = None)" in failed(*INIT, "--by", "site")


def test_a_time_with_a_zone_among_times_without_is_named() -> None:
    write(time=put(TIMES, r17=f"{TIMES[17]}+01:00"), load=LOADS)
    assert "column 'time': has a zone, where most have none (row 17 = '2024-01-01T17:00+01:00'). Give" in failed(*INIT)
