"""The pages of docs/ do what they say: examples run, and the keys, kinds, names and limits they list are the code's."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

import inputlayer as il
from inputlayer import baselines, linear, pooled, seasons
from inputlayer import project as reader
from inputlayer.bodies import BODIES, DECODERS
from inputlayer.cli import app
from inputlayer.columns import KINDS
from inputlayer.files import FORMATS, MISSING
from inputlayer.heads import HEADS
from inputlayer.project import Project
from inputlayer.run import TrainingOptions
from inputlayer.sequence import SEQUENCES
from inputlayer.split import split
from inputlayer.stages import STAGES
from inputlayer.toml import value_text
from samples import panel

DOCS = Path(__file__).parents[1] / "docs"
BASELINES = (DOCS / "baselines.md").read_text(encoding="utf-8")
PROJECT = (DOCS / "project.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.M | re.S)


def section(page: str, title: str) -> str:
    """What stands under a heading, up to the next one as high."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, flags=re.M | re.S)
    assert found is not None, f"no heading {title}"
    return found[1]


def rows(text: str) -> dict[str, list[str]]:
    """The rows of the tables in `text`: the name in each first cell -> its cells."""
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells for cells in found}


@pytest.mark.parametrize("page", sorted(p.name for p in DOCS.glob("*.md")))
def test_links_lead_somewhere(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for path, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text):
        if "//" in path:
            continue
        target = (DOCS / path) if path else DOCS / page
        assert target.exists(), path
        heads = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.M)
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in heads}, anchor


# -- project.md --------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The page's example, beside its table, in the current folder."""
    monkeypatch.chdir(tmp_path)
    panel((300, 300)).write_csv("load.csv")
    (example,) = blocks(PROJECT, "toml")
    Path("load.toml").write_text(example, encoding="utf-8")
    return Project.read("load.toml")


def test_the_example_is_a_project(project: Project) -> None:
    assert Project.from_toml(project.to_toml()) == project
    train, valid, test = project.parts()
    assert [part.height for part in (train, valid, test) if part is not None] == [360, 120, 120]


def test_python(project: Project) -> None:
    names: dict[str, Any] = {}
    for block in blocks(PROJECT, "python"):
        exec(compile(block, "project.md", "exec"), names)
    assert names["model"].evaluate(names["test"], context=names["valid"])["sequences"] > 0


def test_commands(project: Project) -> None:
    for line in "".join(blocks(PROJECT, "sh")).splitlines():
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code == 0, f"{line}\n{done.output}"
    made = Project.read("runs/load/project.toml")
    assert made.training["epochs"] == 2
    assert made.table().height == 600


def test_every_section_is_there() -> None:
    heads = re.findall(r"^## (\[.*\])$", PROJECT, flags=re.M)
    assert [h.strip("[]") for h in heads] == list(reader._SECTIONS)


def test_every_key_of_data_is_there() -> None:
    found = rows(section(PROJECT, "[data]"))
    assert list(found) == list(signature(reader._data).parameters)
    assert found["missing"][2] == f"`{value_text(MISSING)}`"
    assert all(f"`{suffix}`" in section(PROJECT, "[data]") for suffix in FORMATS)


def options(part: Callable[..., Any]) -> dict[str, Any]:
    return {n: p.default for n, p in signature(part).parameters.items() if n not in ("table", "schema")}


@pytest.mark.parametrize(
    ("title", "known"),
    [("[split]", options(split)), ("[training]", {f.name: f.default for f in fields(TrainingOptions)})],
)
def test_every_key_is_there_with_its_default(title: str, known: Mapping[str, Any]) -> None:
    found = rows(section(PROJECT, title))
    assert {n: cells[2] for n, cells in found.items()} == {n: f"`{value_text(v)}`" for n, v in known.items()}


def ours(registry: Mapping[str, type[Any]]) -> set[str]:
    """The kinds that the package brings: other tests add some of their own."""
    return {kind for kind, made in registry.items() if made.__module__.startswith("inputlayer.")}


@pytest.mark.parametrize(
    ("title", "registry"),
    [("[columns]", KINDS), ("[[stages]]", STAGES), ("[body]", BODIES)],
)
def test_every_kind_is_there(title: str, registry: Mapping[str, type[Any]]) -> None:
    (line,) = re.findall(r"^Kinds: ([^.]*)\.", section(PROJECT, title), flags=re.M)
    assert set(re.findall(r"`(\w+)`", line)) == ours(registry)


def test_every_sequence_decoder_and_head_is_there() -> None:
    assert set(rows(section(PROJECT, "[sequence]"))) - {"kind"} == ours(SEQUENCES)
    (line,) = re.findall(r"with a `kind`: ([^.]*)\.", section(PROJECT, "[body]"))
    assert set(re.findall(r"`(\w+)`", line)) == ours(DECODERS)
    assert all(f"`{kind}`" in section(PROJECT, "[head]") for kind in ours(HEADS))


# -- baselines.md ------------------------------------------------------------------------------------------------------


def test_the_code_of_the_baselines_prints_what_stands_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    (code,), (text,) = blocks(BASELINES, "python"), blocks(BASELINES, "text")
    exec(compile(code, "baselines.md", "exec"), {})
    assert capsys.readouterr().out == text


NUMBERS = {"load": il.Number(), "temp": il.Number()}
AHEAD = il.Windows("time", length=48, horizon=6, by="site")
LAST = il.Windows("time", length=24, horizon=0, by="site")
STEPS = il.Groups("site", per_step=True)
CASES = [
    (AHEAD, "load", {"windows that look ahead, numbers"}),
    (LAST, "load", {"other numbers", "other numbers, of whole sequences"}),
    (STEPS, "load", {"other numbers", "other numbers, of single steps"}),
    (il.Cells(), "load", {"other numbers", "other numbers, of single steps"}),
    (AHEAD, "hot", {"classes", "classes, of whole sequences"}),
    (LAST, "hot", {"classes", "classes, of whole sequences"}),
    (STEPS, "hot", {"classes", "classes, of single steps"}),
    (il.Cells(), "hot", {"classes", "classes, of single steps"}),
]


@pytest.mark.parametrize(("sequence", "target", "shown"), CASES)
def test_the_baselines_shown_are_those_that_are_listed(sequence: Any, target: str, shown: set[str]) -> None:
    daily = (pl.int_range(pl.len()) % 24 / 24 * 2 * math.pi).sin() * 20
    table = panel((480, 480)).with_columns(pl.col("load") + daily)
    columns = NUMBERS if target in NUMBERS else {**NUMBERS, target: il.Flag()}
    model = il.Model(il.InputLayer(il.Schema(columns, sequence, target)), il.LSTM(units=1))
    model.fit(table, epochs=0)
    found = model.evaluate(table, allow_seen=True)["baselines"]
    listed = rows(BASELINES.split("\n## ")[0])
    assert set(found) == {name for name, cells in listed.items() if cells[1] in shown}
    assert model.baselines is not None
    assert model.baselines.left_out == {}


def test_every_baseline_is_explained() -> None:
    listed = rows(BASELINES.split("\n## ")[0])
    heads = ", ".join(re.findall(r"^### (.*)$", BASELINES, flags=re.M)).split(", ")
    assert list(listed) == heads
    assert {cells[1] for cells in listed.values()} == set().union(*(shown for _, _, shown in CASES))


def test_limits_are_those_of_the_code() -> None:
    for limit in (baselines._SEQUENCES, baselines._INPUTS, baselines._WEIGHTS, pooled._NUMBERS, pooled._CODES):
        assert f"{limit:,} " in BASELINES
    lowest, highest = linear._ALPHAS[[0, -1]]
    penalties = f"chosen among {len(linear._ALPHAS)}, from {lowest:.0e} to {highest:g} a row"
    assert penalties.replace("e-05", "e-5") in " ".join(BASELINES.split())
    assert f"1 to {seasons._HARMONICS} waves" in BASELINES
