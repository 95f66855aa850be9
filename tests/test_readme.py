"""The README does what it says: its code runs, what it shows is what is shown, and the tests it names exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import inputlayer as il
from inputlayer import demo
from inputlayer.cli import app
from inputlayer.columns.base import Role
from test_by_hand import ROWS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HOURS = 600


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


@pytest.fixture
def load_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The README's table, in a folder of its own, which is the current one."""
    draw = np.random.default_rng(0)
    hour = np.arange(HOURS)
    temperature = [None if i % 17 == 0 else round(t, 1) for i, t in enumerate(draw.normal(15, 3, HOURS).tolist())]
    columns = {
        "time": pl.Series(hour * 3_600_000).cast(pl.Datetime("ms")),
        "load": (50 + 10 * np.sin(hour / 24 * 2 * np.pi) + draw.normal(0, 1, HOURS)).round(2),
        "temperature": temperature,
        "wind": ["NESW"[i] for i in draw.integers(0, 4, HOURS)],
    }
    monkeypatch.chdir(tmp_path)
    pl.DataFrame(columns).write_csv("load.csv")
    return tmp_path


def test_every_block_has_a_language_that_is_tested() -> None:
    assert set(re.findall(r"^```(\w*)\n.*?^```", README, flags=re.M | re.S)) == {"python", "sh", "text"}


def test_python(load_csv: Path) -> None:
    """Each block goes on from the one before."""
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    again = il.load("load.safetensors").predict("load.csv")
    assert again["step"].to_list() == list(range(1, 25))
    forecast = names["forecast"]
    assert isinstance(forecast, np.ndarray)
    assert forecast.shape == (64, 24, 1)
    assert abs(forecast.mean() - 50) < 15


def test_commands(load_csv: Path) -> None:
    for line in "".join(blocks("sh")).splitlines():
        program, *arguments = shlex.split(line)
        if program != "inputlayer":
            assert line == "pip install ."
            continue
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, f"{line}\n{done.output}"
    assert pl.read_csv("forecast.csv").height == 24


def test_the_picture_is_what_show_shows() -> None:
    pytest.importorskip("vega_datasets")
    train, valid, test = demo.parts()
    assert str(il.show(demo.fitted(train), test, context=valid)).strip() == blocks("text")[0].strip()


def test_the_rows_of_what_breaks_by_hand_are_checks() -> None:
    named = re.findall(r"^\|.*\| `(\w+)` \|$", README, flags=re.M)
    assert named == [check.__name__ for check in ROWS]


def test_the_tests_that_hold_the_guarantees_are_there() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", README)
    missing = [f"{f}::{t}" for f, t in named if f"\ndef {t}(" not in (ROOT / "tests" / f).read_text(encoding="utf-8")]
    assert named
    assert not missing


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in links if "//" not in link and not (ROOT / link).exists()] == []


def test_the_page_of_kinds_tells_the_roles_once_and_sends_nobody_elsewhere() -> None:
    page = (ROOT / "docs" / "columns.md").read_text(encoding="utf-8")
    before, _, kinds = page.partition("### Number")
    (role,) = re.findall(r"^- `role`: (.*)$", before, flags=re.M)
    assert all(f'`"{name}"`: ' in role for name in get_args(Role))
    assert "- `role`:" not in kinds
    assert "See `" not in page


def test_the_page_of_kinds_is_that_of_the_registries(tmp_path: Path) -> None:
    page = ROOT / "docs" / "columns.md"
    script = page.with_suffix(".py")
    # In a process of its own, because other tests add kinds to this one.
    subprocess.run([sys.executable, script, tmp_path / "columns.md"], check=True)
    written = (tmp_path / "columns.md").read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8") == written, f"a kind or its options have changed: run {script}"
