"""Files of sounds and pictures that cannot be read are named before anything is learnt, with the user's rows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import inputlayer as il
from inputlayer.cli import app
from inputlayer.project import Project

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed: pip install 'inputlayer[audio]'")
Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed: pip install 'inputlayer[image]'")

ROWS = 40
SEQUENCES = {
    "cells": 'sequence = { kind = "cells", steps = "clip" }',
    "windows": 'sequence = { kind = "windows", order = "t", length = 2, horizon = 1, by = "g" }',
}
PROJECT = """
data = {{ path = "data.csv", target = "y" }}
{sequence}
split = {{ valid = 0.2, test = 0.2 }}
body = {{ kind = "lstm", units = 2 }}
training = {{ epochs = 1 }}
[columns]
clip = {{ kind = "audio", bands = 4, width = 2 }}
photo = {{ kind = "image", width = 2 }}
x = {{ kind = "number" }}
y = {{ kind = "number" }}
"""
COMMANDS = {
    "init": ("init", "data.csv", "--target", "y"),
    "train": ("train", "project.toml"),
    "show": ("show", "project.toml"),
    "compare": ("compare", "project.toml", "--seeds", "1"),
}


def table() -> dict[str, list[Any]]:
    """A sound and a picture in each row, written to files; times in no order."""
    draw = np.random.default_rng(0)
    for i in range(ROWS):
        soundfile.write(f"{i}.wav", draw.normal(0, 0.1, 600), 8000, subtype="PCM_16")
        pixels = draw.integers(0, 256, (4, 4), dtype=np.uint8)
        Image.fromarray(pixels).save(f"{i}.png" if i % 2 else f"{i}.jpg")
    return {
        "t": draw.permutation(ROWS).tolist(),
        "g": ["ab"[i % 2] for i in range(ROWS)],
        "clip": [f"{i}.wav" for i in range(ROWS)],
        "photo": [f"{i}.png" if i % 2 else f"{i}.jpg" for i in range(ROWS)],
        "x": draw.normal(size=ROWS).round(3).tolist(),
        "y": draw.normal(size=ROWS).round(3).tolist(),
    }


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """The table of a folder of its own, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return table()


def written(cells: dict[str, list[Any]], sequence: str = "cells") -> Project:
    pl.DataFrame(cells).write_csv("data.csv")
    Path("project.toml").write_text(PROJECT.format(sequence=SEQUENCES[sequence]))
    return Project.read("project.toml")


def parts(cells: dict[str, list[Any]], sequence: str = "cells") -> list[list[int]]:
    """The rows of train, valid and test."""
    project = written(cells, sequence)
    numbered = pl.DataFrame(cells).with_row_index("row")
    return [p.frame(["row"])["row"].to_list() for p in il.split(numbered, project.schema, **project.split) if p]


def cut(name: str) -> None:
    whole = Path(name).read_bytes()
    Path(name).write_bytes(whole[: len(whole) * 2 // 3])


def failed(*args: str) -> str:
    result = CliRunner().invoke(app, list(args), prog_name="inputlayer")
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    return str(result.stderr)


def found(message: str) -> dict[tuple[str, str], list[int]]:
    """The rows that a message names, by column and by what is wrong."""
    problems = re.findall(r"column '(\w+)': ([^(\n]*) \((row [^)]*)\)", message)
    return {(name, what): [int(n) for n in re.findall(r"row (\d+)", rows)] for name, what, rows in problems}


@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize("command", COMMANDS)
def test_bad_files_of_all_parts_are_named_at_once(here: dict[str, list[Any]], command: str, sequence: str) -> None:
    rows = parts(here, sequence)
    gone, short, dark = ([rows[part][i] for part in range(3)] for i in (1, 3, 4))
    for row in gone:
        Path(here["clip"][row]).unlink()
    for row in short:
        cut(here["clip"][row])
    for row in dark:
        cut(here["photo"][row])
    told = failed(*COMMANDS[command])
    assert found(told) == {
        ("clip", "is no file that is there"): sorted(gone),
        ("clip", "is a sound that is cut short: its end is missing"): sorted(short),
        ("photo", "cannot be read as a picture"): sorted(dark),
    }
    assert all(f"row {row} = '{row}.wav'" in told for row in gone)
    assert not Path("runs").exists()


def test_a_cell_of_a_later_part_that_is_no_path_is_named_by_init(here: dict[str, list[Any]]) -> None:
    row = parts(here, "windows")[2][4]
    here["clip"][row] = "none"
    written(here)
    assert found(failed(*COMMANDS["init"])) == {("clip", "is no file that is there"): [row]}


@pytest.mark.parametrize("part", range(3))
def test_one_damaged_file_is_named_before_a_training_begins(here: dict[str, list[Any]], part: int) -> None:
    row = parts(here)[part][5]
    cut(here["photo"][row])
    assert found(failed("train", "project.toml")) == {("photo", "cannot be read as a picture"): [row]}
    assert not Path("runs").exists()


def test_bad_files_are_named_beside_other_bad_cells(here: dict[str, list[Any]]) -> None:
    cut(here["clip"][7])
    written({**here, "x": [*map(str, here["x"][:-1]), "much"]})
    assert found(failed("train", "project.toml")) == {
        ("clip", "is a sound that is cut short: its end is missing"): [7],
        ("x", "is not a number"): [ROWS - 1],
    }


def test_a_file_that_is_gone_after_the_training_is_named_by_evaluate(here: dict[str, list[Any]]) -> None:
    row = parts(here)[2][4]
    assert CliRunner().invoke(app, ["train", "project.toml"]).exit_code == 0
    Path(here["clip"][row]).unlink()
    assert found(failed("evaluate", "runs/project")) == {("clip", "is no file that is there"): [row]}


def test_of_a_list_of_files_the_bad_one_is_named(here: dict[str, list[Any]]) -> None:
    cut("9.png")
    films = [[f"{i + 1}.png", f"{i}.jpg"] for i in range(0, ROWS, 2)]
    pl.DataFrame({"film": films, "y": here["y"][::2]}).write_parquet("films.parquet")
    text = PROJECT.format(sequence='sequence = { kind = "cells", steps = "film" }').split("[columns]")[0]
    columns = '[columns]\nfilm = { kind = "image", cell = "frames", width = 2 }\ny = { kind = "number" }\n'
    Path("project.toml").write_text(text.replace("data.csv", "films.parquet") + columns)
    told = failed("train", "project.toml")
    assert found(told) == {("film", "cannot be read as a picture"): [4]}
    assert "(row 4 = '9.png')" in told


def test_a_comparison_names_the_tables_of_bad_files(here: dict[str, list[Any]]) -> None:
    model = written(here).model()
    cuts = (slice(20), slice(20, 30), slice(30, None))
    train, valid, test = ({name: cells[rows] for name, cells in here.items()} for rows in cuts)
    for name in ("3.wav", "24.wav", "35.wav"):
        cut(name)
    with pytest.raises(il.TableError) as caught:
        il.compare(model, train, valid, test, epochs=1, seeds=[0])
    what = "is a sound that is cut short: its end is missing"
    assert [(p.what, tuple(p.rows)) for p in caught.value.problems] == [
        (f"in the {name} table: {what}", (row,)) for name, row in (("training", 3), ("validation", 4), ("test", 5))
    ]


def test_python_counts_the_rows_of_the_tables_it_is_given(here: dict[str, list[Any]]) -> None:
    model = written(here).model()
    train, valid = ({name: cells[rows] for name, cells in here.items()} for rows in (slice(30), slice(30, None)))
    cut("33.wav")
    with pytest.raises(il.TableError, match=r"in the validation table: .* \(row 3 = '33.wav'\)"):
        model.fit(train, valid)
    Path("8.jpg").unlink()
    with pytest.raises(il.TableError) as caught:
        model.fit(train, valid)
    assert [(p.column, tuple(p.rows)) for p in caught.value.problems] == [("photo", (8,)), ("clip", (3,))]
