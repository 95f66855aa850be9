from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from inputlayer import demo
from inputlayer.cli import app
from inputlayer.demo import Score, verdict
from inputlayer.errors import MissingExtraError

pytest.importorskip("vega_datasets")


@pytest.fixture(scope="module")
def told() -> list[str]:
    """A quick and rough run: one epoch, two seeds."""
    paragraphs: list[str] = []
    demo.run(paragraphs.append, seeds=(0, 1), epochs=1)
    return paragraphs


def test_it_shows_then_compares_then_judges(told: list[str]) -> None:
    shown, table, sentence = told
    assert "input layer ends · float32 (286, 30, 13) · LSTM begins" in shown
    assert "none of the shown rows is among them" in shown
    names = [line.removeprefix("    LSTM on ").strip().split("  ")[0] for line in table.splitlines()[-4:]]
    assert names == list(demo.layers())
    assert len(re.findall(r"\d ± \d\.\d\d$", table, flags=re.M)) == 4
    assert "the best baseline, ridge on deviations:" in sentence
    assert sentence.count("95 % interval") == 2
    assert sentence.endswith("\nNo baseline sees weather (category), wet (flag).")


def test_baselines_are_those_of_evaluate(told: list[str]) -> None:
    # Worked out beside the package, from the rows of the file.
    for name, rmse in {"repeat last": 4.62, "calendar mean": 3.83, "ridge": 3.78, "ridge on deviations": 3.57}.items():
        found = re.search(rf"^ *{name} +(\S+)$", told[1], flags=re.M)
        assert found is not None
        assert float(found[1]) == pytest.approx(rmse, abs=0.011)


def test_layers_differ_in_one_thing_each() -> None:
    widths = {name: layer.fit(demo.parts()[0]).width for name, layer in demo.layers().items()}
    assert list(widths.values()) == [4, 4, 13, 13]
    assert len({json.dumps(layer.schema.to_dict()["sequence"]) for layer in demo.layers().values()}) == 1


def score(level: float, seeds: int = 3, noise: float = 0.3) -> Score:
    draw = np.random.default_rng(int(100 * level) + seeds)
    return Score(f"at {level}", (level + noise * draw.normal(size=(seeds, 286, 7))) ** 2)


@pytest.mark.parametrize(
    ("level", "found"), [(3.0, "beats the best"), (5.0, "loses to the best"), (4.001, "cannot be told from the best")]
)
def test_the_sentence_says_so_whichever_way_it_falls(level: float, found: str) -> None:
    assert found in verdict(score(level), score(4.0, seeds=1), score(6.0))


def test_without_its_data_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"The demo needs .*'vega_datasets'.*inputlayer\[demo\]"):
        demo.weather()
    assert importlib.util.find_spec("vega_datasets") is not None


def test_the_command_prints_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "run", lambda out: [out("a picture"), out("a table")])
    assert CliRunner().invoke(app, ["demo"]).stdout == "a picture\n\na table\n\n"


@pytest.mark.slow
def test_the_readme_has_the_table_of_a_whole_run() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    paragraphs: list[str] = []
    demo.run(paragraphs.append)
    lines = [line.rsplit(maxsplit=3) for line in paragraphs[1].splitlines() if " ± 0" in line]
    assert len(lines) == 4
    for name, mean, _, spread in lines:
        there = re.search(rf"{re.escape(name.strip())} +(\d\.\d\d) ± \d", readme)
        assert there is not None
        # Another processor rounds otherwise, and training carries that on: three spreads, and 0.05 for a small one.
        assert float(there[1]) == pytest.approx(float(mean), abs=max(3 * float(spread), 0.05))
