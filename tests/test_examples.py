"""Each program in examples/ runs, learns something, takes a file of the reader's, and ends in Keras too."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = ["lengths", "mixed", "pictures", "series", "sound", "text"]
WITH_KERAS = ["mixed", "series", "text"]
TABLE = {"mixed": ["load"], "series": ["time", "load"], "text": ["note", "label"], "lengths": ["id", "time", "kind"]}
BETTER_THAN = {"mixed": "calendar mean", "series": "calendar mean"}  # the others tell classes apart


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> dict[str, Any]:
    """The variables that an example leaves."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_and_learns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name not in ("pictures", "sound", "text"):
        pytest.importorskip("vega_datasets")
    scores = run(monkeypatch, name)["scores"]
    if name in BETTER_THAN:
        assert scores["rmse"] < scores["baselines"][BETTER_THAN[name]]["rmse"]
    else:
        assert scores["accuracy"] > scores["baselines"]["majority"]["accuracy"]


def ends_in_keras(arguments: list[list[str]]) -> list[dict[str, float]]:
    """The scores of examples, each a name and its arguments, in one new process, whose Keras runs on torch."""
    code = (
        "import json, runpy, sys\n"
        f"for name, *more in {arguments!r}:\n"
        "    sys.argv = [name, *more, '--keras']\n"
        f"    print('SCORES', json.dumps(runpy.run_path(f'{EXAMPLES}/{{name}}.py')['scores']))"
    )
    given = {**os.environ, "KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=given)
    assert done.returncode == 0, done.stderr
    return [json.loads(line.removeprefix("SCORES")) for line in done.stdout.splitlines() if line.startswith("SCORES")]


@pytest.mark.skipif(find_spec("keras") is None, reason="not installed: keras")
def test_it_ends_in_keras(tmp_path: Path) -> None:
    path = table(tmp_path)
    found = ends_in_keras([[name, path, *TABLE[name]] for name in WITH_KERAS])
    assert [sorted(scores) for scores in found] == [["loss", "mae"], ["loss", "mae"], ["accuracy", "loss"]]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("keras") is None, reason="not installed: keras")
def test_it_learns_in_keras() -> None:
    pytest.importorskip("vega_datasets")
    mixed, series, text = ends_in_keras([[name] for name in WITH_KERAS])
    assert mixed["mae"] < 0.5  # of the training rows' spread
    assert series["mae"] < 0.6
    assert text["accuracy"] > 0.6  # of three topics


def table(folder: Path) -> str:
    """A file of 200 rows, for any of the programs that read one."""
    draw = np.random.default_rng(0)
    rows = {
        "time": pl.Series(np.arange(200) * 3_600_000).cast(pl.Datetime("ms")),
        "load": draw.normal(50, 9, 200).round(2),
        "wind": ["NESW"[i] for i in draw.integers(0, 4, 200)],
        "note": [f"a {['good', 'bad, bad'][i % 2]} film {i}" for i in range(200)],
        "label": [["p", "n"][i % 2] for i in range(200)],
        "id": [i // 5 for i in range(200)],
        "kind": [["u", "v"][i // 5 % 2] for i in range(200)],
    }
    pl.DataFrame(rows).write_csv(folder / "t.csv")
    return str(folder / "t.csv")


@pytest.mark.parametrize("name", TABLE)
def test_it_takes_a_table(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = run(monkeypatch, name, table(tmp_path), *TABLE[name])["scores"]
    assert scores["sequences"] > 1


def test_it_takes_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow = pytest.importorskip("PIL.Image")
    for shade in ("dark", "light"):
        (tmp_path / shade).mkdir()
        for i in range(10):
            pixels = np.full((6, 5), 10 * i + 150 * (shade == "light"), np.uint8)
            pillow.fromarray(pixels).save(tmp_path / shade / f"{i}.png")
    assert run(monkeypatch, "pictures", *map(str, sorted(tmp_path.glob("*/*"))))["scores"]["sequences"] == 4


def test_it_takes_sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile = pytest.importorskip("soundfile")
    draw = np.random.default_rng(0)
    for i in range(20):
        loud = draw.normal(0, [0.01, 0.3][i % 2], 2000 + 100 * i)
        soundfile.write(tmp_path / f"{['soft', 'loud'][i % 2]}_{i}.wav", loud, 16_000)
    assert run(monkeypatch, "sound", *map(str, sorted(tmp_path.glob("*"))))["scores"]["sequences"] == 4


def test_no_name_hides_a_module_of_pythons() -> None:
    # A program's folder is searched first, so an example called numbers.py would stand in for Python's own.
    assert not {path.stem for path in EXAMPLES.glob("*.py")} & set(sys.stdlib_module_names)


def test_the_readme_names_each() -> None:
    text = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"examples/{name}.py" not in text] == []


@pytest.mark.parametrize("name", WITH_KERAS)
def test_what_was_wrong_is_said_first(name: str) -> None:
    first = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# The program that this one corrects:"
