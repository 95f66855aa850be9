"""A serving machine holds onnxruntime, NumPy and this package without its dependencies: each example runs there."""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import subprocess
import sys
import venv
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import inputlayer as il

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
ABSENT = ("torch", "polars", "lightning", "sklearn", "safetensors", "typer", "rich", "onnx", "PIL", "soundfile")
ROWS = {"lengths": 40, "mixed": 40, "pictures": 6, "series": 40, "sound": 6, "text": 6}  # what is handed over of each
DAYS = {"lengths": "date"}  # a column that only orders rows, and so is no text
OWN_DATA = ("mixed", "series", "lengths")  # that comes with a package

# What a serving machine runs: raw rows, as JSON has them, to predictions.
SERVE = """
import importlib.util, json, sys
from datetime import date
import numpy as np
import inputlayer as il
path, absent, days = sys.argv[1:]
there = [name for name in absent.split() if importlib.util.find_spec(name)]
served = il.OnnxModel(path)
rows = json.load(sys.stdin)
for row in rows if days else ():
    row[days] = date.fromisoformat(row[days])
found = served.predict(rows)
print(json.dumps({"there": there, "answers": {n: np.array(x).astype(str).tolist() for n, x in found.items()}}))
"""


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    constraints = str(ROOT / "constraints.txt")
    done = pip(python, "-c", constraints, "--retries", "1", "onnxruntime", "numpy", "hatchling")
    if done.returncode and "connection" in done.stderr.lower():
        pytest.skip("pip reaches no package index, so there is no environment to be made")
    assert done.returncode == 0, done.stderr
    done = pip(python, "--no-deps", "--no-build-isolation", str(ROOT))
    assert done.returncode == 0, done.stderr
    done = subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "hatchling"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return python


def pip(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-I", "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def served(bare: Path, path: Path, rows: list[dict[str, Any]], days: str = "") -> dict[str, list[Any]]:
    """What the file answers in the bare environment."""
    command = [str(bare), "-I", "-W", "error", "-c", SERVE, str(path), " ".join(ABSENT), days]
    done = subprocess.run(command, input=json.dumps(rows), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["there"] == []
    return dict(told["answers"])


def plain(table: Any, count: int) -> list[dict[str, Any]]:
    """The last rows of a table as a web service would get them: JSON, in which a time is text."""
    rows = il.Table.of(table).frame().tail(count).to_dicts()
    return list(json.loads(json.dumps(rows, default=str)))


def assert_same(found: dict[str, list[Any]], model: il.Model, rows: list[dict[str, Any]]) -> None:
    wanted = model.predict(rows)
    assert list(found) == wanted.columns
    for name in wanted.columns:
        if wanted[name].dtype.is_numeric():
            np.testing.assert_allclose(np.array(found[name], float), wanted[name], rtol=1e-5, atol=1e-5)
        elif wanted[name].dtype.is_temporal():
            assert np.array(found[name], "M8[us]").tolist() == wanted[name].cast(pl.Datetime("us")).to_list()
        else:
            assert found[name] == wanted[name].cast(pl.String).to_list()


@pytest.mark.parametrize("name", ROWS)
def test_the_file_of_each_example(name: str, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in OWN_DATA:
        pytest.importorskip("vega_datasets")
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    left = runpy.run_path(str(ROOT / "examples" / f"{name}.py"))
    model, rows = left["model"], plain(left["test"], ROWS[name])
    model.export(tmp_path / "model.onnx")
    days = DAYS.get(name, "")
    found = served(bare, tmp_path / "model.onnx", rows, days)
    assert_same(found, model, [row | {days: date.fromisoformat(row[days])} for row in rows] if days else rows)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> dict[str, il.Model]:
    """The models of examples/bodies.py by the name of their body, with the weights they begin with."""
    made: dict[str, il.Model] = {}
    fit = il.Model.fit

    def drawn(model: il.Model, train: Any, valid: Any, **options: Any) -> Any:
        made[type(model.network.body).__name__] = model
        return fit(model, train, valid, epochs=0)

    monkeypatch.setattr(il.Model, "fit", drawn)
    runpy.run_path(str(ROOT / "examples" / "bodies.py"), run_name="__main__")
    return made


def test_the_example_with_bodies_of_its_own(models: dict[str, il.Model], bare: Path, tmp_path: Path) -> None:
    # A body of one's own is PyTorch code that has no ONNX twin: it is refused by name, and the LSTM beside it is not.
    assert sorted(models) == ["LSTM", "Linear", "Transformer"]
    for name in ("Linear", "Transformer"):
        with pytest.raises(il.OptionError, match=f"the body {name} has no ONNX twin"):
            models[name].export(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
    rows = [{"hour": hour, "load": float(hour % 24)} for hour in range(60)]
    models["LSTM"].export(tmp_path / "model.onnx")
    assert_same(served(bare, tmp_path / "model.onnx", rows), models["LSTM"], rows)


def test_the_console_says_what_it_lacks(bare: Path) -> None:
    done = subprocess.run([bare.with_name("inputlayer"), "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the command line needs the package ")
    assert done.stderr.count("\n") == 1


def test_the_list_of_examples_is_whole() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == {*ROWS, "bodies"}


def test_what_the_environment_lacks_is_here() -> None:
    # Otherwise a name that was misspelt would be absent anywhere.
    assert [n for n in ("torch", "polars", "lightning", "sklearn", "onnx") if importlib.util.find_spec(n) is None] == []
