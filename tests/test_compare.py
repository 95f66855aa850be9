"""compare: its numbers are those of models made by hand, and what is finished is neither lost nor mixed."""

from __future__ import annotations

import importlib.util
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

import inputlayer as il
from inputlayer.bodies.base import real_steps
from inputlayer.cli import app
from inputlayer.comparison import ANY, FULL, Result
from inputlayer.intervals import Measure
from inputlayer.project import Project
from inputlayer.stages import Plan
from inputlayer.variants import apart
from samples import groups, panel, waves, windows

OPTIONS: dict[str, Any] = {"epochs": 2, "lr": 0.01, "batch": 32, "device": "cpu"}


def table(rows: int = 160) -> pl.DataFrame:
    draw = np.random.default_rng(0)
    load = np.sin(np.arange(rows)) + draw.normal(0, 0.3, rows) + np.arange(rows) / 40
    wind = [["N", "S", None][i] for i in draw.integers(0, 3, rows)]
    return pl.DataFrame({"day": range(rows), "load": load, "wind": wind, "temp": draw.normal(size=rows)})


def schema(**options: Any) -> il.Schema:
    columns = {"load": il.Number(), "wind": il.Category(), "temp": il.Number()}
    return il.Schema(columns, il.Windows("day", **{"length": 6, "horizon": 2, **options}), target="load")


PARTS = il.split(table(), schema())


def model(body: Any = None) -> il.Model:
    return il.Model(il.InputLayer(schema(), [il.InstanceNorm("last"), il.Patch(2)]), body or il.LSTM(units=3))


def by_hand(made: il.Model, seed: int) -> dict[str, Any]:
    """The scores of a model that a person trains with the same options."""
    train, valid, test = PARTS
    made.fit(train, valid, seed=seed, patience=OPTIONS["epochs"], **OPTIONS)
    return made.evaluate(test, context=[train, valid])


@pytest.fixture(scope="module")
def found() -> il.Comparison:
    raw = il.Schema({"load": il.Number(scale="none")}, schema().sequence, "load")
    return il.compare(
        model(),
        *PARTS,
        seeds=(3, 1),
        alternatives={"raw": il.InputLayer(raw)},
        others={"longer": il.Model(il.InputLayer(schema(length=9)), il.LSTM(units=3))},
        **OPTIONS,
    )


def is_told(mean: float, text: str) -> bool:
    """Whether `text` has `mean`, to three decimals or more."""
    return any(f" {mean:.{places}f}" in text for places in (3, 4, 5))


def rows_of(comparison: il.Comparison) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in comparison.to_dict()["rows"]}


# -- what it finds -----------------------------------------------------------------------------------------------------


def test_rows_and_groups(found: il.Comparison) -> None:
    groups_of: dict[str, list[str]] = {}
    for row in found.to_dict()["rows"]:
        groups_of.setdefault(row["group"], []).append(row["name"])
    assert groups_of == {
        "full": ["full layer"],
        "stage": ["without InstanceNorm", "without Patch"],
        "column": ["without wind", "without temp"],
        "alternative": ["raw"],
        "baseline": ["repeat last", "seasonal", "ridge", "ridge on all numbers"],
        "other": ["longer"],
    }


def test_numbers_are_those_of_models_made_by_hand(found: il.Comparison) -> None:
    norm, patch = il.InstanceNorm("last"), il.Patch(2)
    without = il.Schema({n: c for n, c in schema().columns.items() if n != "wind"}, schema().sequence, "load")
    raw = il.Schema({"load": il.Number(scale="none")}, schema().sequence, "load")
    layers = {
        "full layer": il.InputLayer(schema(), [norm, patch]),
        "without InstanceNorm": il.InputLayer(schema(), [patch]),
        "without wind": il.InputLayer(without, [norm, patch]),
        "raw": il.InputLayer(raw),
        "longer": il.InputLayer(schema(length=9)),
    }
    told = rows_of(found)
    for name, layer in layers.items():
        made = il.Model(layer, il.LSTM(units=3))
        first = by_hand(made, 3)
        second = by_hand(il.Model(il.InputLayer(layer.schema, list(layer.stages)), il.LSTM(units=3)), 1)
        scores = [first["rmse"], second["rmse"]]
        assert told[name]["by_seed"] == pytest.approx(scores, rel=1e-9)
        assert told[name]["mean"] == pytest.approx(np.mean(scores), rel=1e-9)
        assert told[name]["spread"] == pytest.approx(np.std(scores, ddof=1), rel=1e-6)
        assert told[name]["parameters"] == sum(p.numel() for p in made.network.parameters())
        if name == "full layer":
            for baseline, score in first["baselines"].items():
                assert told[baseline]["mean"] == pytest.approx(score["rmse"], rel=1e-9)
    change = told["raw"]["difference"]
    assert change["mean"] == pytest.approx(told["raw"]["mean"] - told["full layer"]["mean"])
    assert change["low"] < change["mean"] < change["high"]
    assert told["raw"]["bytes"] < told["full layer"]["bytes"]


def made_up(full: dict[int, Any], baseline: Any, part: dict[int, Any]) -> il.Comparison:
    """A comparison of losses that are given by seed and block, of a step each."""
    counts = np.ones((8, 1))

    def losses(of: Any) -> np.ndarray:
        return np.broadcast_to(np.reshape(of, (-1, 1)), counts.shape)

    rows = [
        Result(FULL, "full", "", {seed: losses(x) for seed, x in full.items()}, counts),
        Result("without wind", "column", "", {seed: losses(x) for seed, x in part.items()}, counts),
        Result("ridge", "baseline", "", {ANY: losses(baseline)}, counts),
    ]
    return il.Comparison(Measure("rmse", "°C", root=True), rows, tuple(full), {})


def test_what_an_interval_is_too_wide_for_is_said() -> None:
    uneven = [1.0, 9.0, 0.5, 4.0, 0.1, 6.0, 2.0, 8.0]
    by_seed = made_up({0: 1.0, 1: 4.0, 2: 9.0}, 4.0, {0: 16.0, 1: 25.0, 2: 36.0}).to_dict()["sentences"]
    assert by_seed[0].startswith(
        "3 seeds are too few to tell the full layer from the best baseline, ridge: 2.000 against 2.000, a difference of"
        " +0.000, 95 % interval -2.484 to +2.484."
    )
    assert by_seed[1:3] == ["It is worse without wind.", "Try --seeds 5 (in Python seeds=range(5))."]
    by_rows = made_up({0: uneven, 1: uneven}, uneven[::-1], {0: uneven[::-1], 1: uneven[::-1]}).to_dict()
    assert by_rows["sentences"][0].startswith(
        "The test part is too small to tell the full layer from the best baseline"
    )
    assert by_rows["sentences"][1] == "The test part is too small to tell whether it is worse or better without wind."
    assert not any("--seeds" in sentence for sentence in by_rows["sentences"])
    assert [row["difference"] and row["difference"]["too_few"] for row in by_rows["rows"]] == [None, *["test rows"] * 2]
    near = made_up({0: 4.00, 1: 4.04, 2: 3.96}, 4.0, {0: 4.01, 1: 3.99, 2: 4.0}).to_dict()["sentences"]
    assert near[0].startswith("The full layer cannot be told from the best baseline, ridge: 2.000 against 2.000, a")
    assert near[1] == "It cannot be told from the full layer without wind."


def test_a_verdict_has_the_digits_of_the_larger_score() -> None:
    told = made_up({0: 0.25, 1: 0.25}, 1e-18, {0: 0.25, 1: 0.25}).to_dict()["sentences"]
    assert ": 0.5000 against 0.0000, a difference of +0.5000, " in told[0]


def several() -> tuple[il.Model, Any]:
    of = windows()
    columns = {**of.columns, "temp": il.Number(fill="forward")}
    two = il.Schema(columns, of.sequence, ("load", "temp"))
    return il.Model(il.InputLayer(two), il.LSTM(2)), panel((90, 70))


def per_step() -> tuple[il.Model, Any]:
    frame = panel((40, 40)).with_columns(site=pl.int_range(pl.len()) // 8)
    return il.Model(il.InputLayer(groups(per_step=True)), il.LSTM(2)), frame


def cells() -> tuple[il.Model, Any]:
    frame = waves(60)
    columns = {"wave": il.Series(), "wind": il.Category(), "label": il.Category()}
    frame = frame.with_columns(label=pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("a")).otherwise(pl.lit("b")))
    return il.Model(il.InputLayer(il.Schema(columns, il.Cells(steps="wave"), "label")), il.LSTM(2)), frame


@pytest.mark.parametrize(
    ("make", "metric"), [(several, "mse_standardised"), (per_step, "accuracy"), (cells, "accuracy")]
)
def test_every_kind_of_target_has_the_score_of_evaluate(make: Any, metric: str) -> None:
    made, frame = make()
    train, valid, test = il.split(frame, made.layer.schema, 0.2, 0.2)
    told = il.compare(made, train, valid, test, seeds=(0,), columns=False, epochs=1, device="cpu").to_dict()
    made.fit(train, valid, epochs=1, device="cpu")
    context = [train, valid] if isinstance(made.layer.schema.sequence, il.Windows) else ()
    scores = made.evaluate(test, context=context)
    assert told["metric"] == metric
    assert told["better"] == ("higher" if metric == "accuracy" else "lower")
    assert told["rows"][0]["by_seed"] == pytest.approx([scores[metric]], rel=1e-9)
    told_baselines = {row["name"]: row["mean"] for row in told["rows"] if row["group"] == "baseline"}
    assert told_baselines == pytest.approx({name: s[metric] for name, s in scores["baselines"].items()}, rel=1e-9)


def test_without_a_validation_part_the_last_weights_count() -> None:
    train, _, test = il.split(table(), schema(), valid=0)
    told = il.compare(model(), train, None, test, seeds=(0,), stages=False, columns=False, **OPTIONS).to_dict()
    made = model()
    made.fit(train, **OPTIONS)
    assert told["rows"][0]["mean"] == pytest.approx(made.evaluate(test, context=train)["rmse"], rel=1e-9)
    assert told["rows"][0]["spread"] is None


def test_options_not_given_are_the_models_own() -> None:
    given = il.Model(model().layer, il.LSTM(3), training={"epochs": 0, "patience": 3, "lr": 0.5, "seed": 7})
    fixed = il.compare(given, *PARTS, seeds=(0,), stages=False, columns=False, lr=0.25).to_dict()["fixed"]
    assert (fixed["epochs"], fixed["lr"]) == (0, 0.25)


def test_all_have_the_same_steps(found: il.Comparison) -> None:
    fixed = found.to_dict()["fixed"]
    assert fixed["steps"] == 2 * -(-fixed["training sequences"] // 32)
    assert fixed["test sequences"] == PARTS[2].height - 1  # the last has no second day to predict


def test_rows_can_be_compared_with_each_other(found: il.Comparison) -> None:
    told = rows_of(found)
    gap = found.difference("raw", "without wind")
    assert gap is not None
    assert gap.mean == pytest.approx(told["raw"]["mean"] - told["without wind"]["mean"])
    best = found.difference("ridge", "repeat last")
    assert best is not None
    assert best.low < best.mean < best.high
    with pytest.raises(il.OptionError, match=r"no row 'without win'. Did you mean 'without wind'\?"):
        found.difference("without win")


def test_what_was_scored_on_other_windows_has_no_difference() -> None:
    further = il.Model(il.InputLayer(schema(horizon=3)), il.LSTM(units=3))
    told = rows_of(
        il.compare(model(), *PARTS, seeds=(0,), stages=False, columns=False, others={"further": further}, **OPTIONS)
    )
    assert told["further"]["difference"] is None
    assert told["further"]["mean"] > 0


# -- how it is shown ---------------------------------------------------------------------------------------------------


def test_numbers_are_json_and_the_text_shows_them(found: il.Comparison) -> None:
    told = found.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    text = str(found)
    assert all(is_told(row["mean"], text) for row in told["rows"])
    assert "a stage taken away" in text
    assert "not the input layer" in text
    assert "paired over 2 seeds" in text
    assert all(len(line) <= 110 for line in text.splitlines() if not line.startswith("  "))


def test_html_is_escaped(found: il.Comparison) -> None:
    named = il.Comparison(found.measure, found.results, found.seeds, {"body": "<script>"}, ["a < b"])
    page = named._repr_html_()
    assert "<script>" not in page
    assert "a &lt; b" in page


def test_the_plot_is_svg_and_always_the_same(found: il.Comparison) -> None:
    pytest.importorskip("matplotlib")
    svg = found.plot()
    assert svg == found.plot()
    assert "<svg" in svg
    assert "without wind" in svg


def test_without_matplotlib_the_plot_names_the_extra(found: il.Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(il.MissingExtraError, match=r"A plot needs .*inputlayer\[report\]"):
        found.plot()


# -- what is left out, and what is refused -----------------------------------------------------------------------------


def test_what_cannot_be_taken_away_is_said() -> None:
    made, frame = cells()
    train, valid, test = il.split(frame, made.layer.schema, 0.2, 0.2)
    told = il.compare(made, train, valid, test, seeds=(0,), epochs=0).to_dict()
    assert "without wave" not in [row["name"] for row in told["rows"]]
    assert any("'wave' cannot be taken away: it holds the steps." in sentence for sentence in told["sentences"])


def test_what_no_baseline_sees_is_said(found: il.Comparison) -> None:
    assert "No baseline sees wind (category)." in str(found).splitlines()


def test_a_stage_that_needs_a_column_is_said() -> None:
    layer = il.InputLayer(schema(), [il.InstanceNorm("last", columns=["load", "temp"])])
    told = il.compare(il.Model(layer, il.LSTM(2)), *PARTS, seeds=(0,), stages=False, epochs=0).to_dict()
    assert [row["name"] for row in told["rows"] if row["group"] == "column"] == ["without wind"]
    assert any("no row 'without temp'" in sentence for sentence in told["sentences"])


def test_a_layer_whose_loss_runs_away_is_left_out() -> None:
    huge = table().with_columns(temp=pl.col("temp") * 1e30)
    train, valid, test = il.split(huge, schema())
    raw = il.InputLayer(
        il.Schema({**schema().columns, "temp": il.Number(scale="none")}, schema().sequence, "load"),
    )
    linear = example("bodies").Linear()
    told = il.compare(
        il.Model(il.InputLayer(schema()), linear),
        *(train, valid, test),
        seeds=(0,), columns=False, alternatives={"raw": raw}, **OPTIONS,
    ).to_dict()  # fmt: skip
    assert "raw" not in [row["name"] for row in told["rows"]]
    assert any("no row 'raw': with seed 0, the loss became" in sentence for sentence in told["sentences"])


def test_wrong_options_are_named_at_once() -> None:
    with pytest.raises(il.OptionError) as error:
        il.compare(model(), *PARTS, seeds=(0, 0), patience=3, seed=1, epoch=2, lr=-1.0)
    for text in ("patience: ", "seed: give seeds=", "'epoch'. Did you mean 'epochs'?", "seeds=(0, 0)", "lr is -1.0"):
        assert text in str(error.value)


class Own(torch.nn.Linear):
    """A body whose weights are there from the start."""

    width = 1

    def __init__(self) -> None:
        super().__init__(1, 1)

    def forward(self, x: Any, lengths: Any, future: Any, key: Any = None) -> Any:
        return super().forward(x)


def test_wrong_rows_are_named_at_once() -> None:
    layer, other = il.InputLayer(schema()), il.InputLayer(schema(length=9))
    with pytest.raises(il.OptionError) as error:
        il.compare(
            model(),
            *PARTS,
            alternatives={"longer": other, "itself": model().layer, "without wind": layer, "model": model()},  # type: ignore[dict-item]
            others={
                "layer": layer,
                "same body": il.Model(layer, il.LSTM(3)),
                "own": il.Model(layer, Own()),
            },  # type: ignore[dict-item]
        )
    message = str(error.value)
    assert "'longer' has sequence Windows(order='day', length=9, horizon=2), not" in message
    assert "'itself' is the full layer itself" in message
    assert "two rows would be called 'without wind': give yours another name" in message
    assert "'model' is" in message
    assert "'layer' is" in message
    assert "'same body' differs in its input layer only: give that in alternatives=" in message
    assert "others: 'own': the body Own has its weights already" in message


def test_a_layer_that_cannot_be_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    layers = {"long": il.InputLayer(schema(), [il.Patch(7)]), "wide": il.InputLayer(schema(), [il.Patch(9)])}
    with pytest.raises(il.OptionError, match=r"'long': .*; 'wide': "):
        il.compare(model(), *PARTS, alternatives=layers, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_problems_of_all_tables_are_named_at_once() -> None:
    train, valid, test = table()[:100], table()[100:130], table()[130:]
    valid, test = valid.with_columns(temp=pl.lit("warm")), test.drop("wind")
    with pytest.raises(il.TableError) as error:
        il.compare(model(), train, valid, test)
    assert "in the validation table: " in str(error.value)
    assert "in the test table: is missing" in str(error.value)


def test_rows_that_were_learnt_from_are_refused() -> None:
    made, frame = cells()
    train, valid, _ = il.split(frame, made.layer.schema, 0.2, 0.2)
    with pytest.raises(il.SeenRowsError):
        il.compare(made, train, valid, train)


# -- interrupted, and gone on with -------------------------------------------------------------------------------------


class Counting(il.LSTM):
    """An LSTM that counts its trainings, and presses Ctrl-C in one of them."""

    trained: ClassVar[int] = 0
    stop_in: ClassVar[int] = 0
    fresh: bool = False

    def build(self, plan: Plan, outputs: int) -> None:
        super().build(plan, outputs)
        self.fresh = True

    def forward(self, x: Any, lengths: Any, future: Any, key: Any = None) -> Any:
        if self.training and self.fresh:
            self.fresh = False
            Counting.trained += 1
            if Counting.trained == Counting.stop_in:
                signal.raise_signal(signal.SIGINT)
        return super().forward(x, lengths, future, key)


@pytest.fixture
def counting() -> Iterator[type[Counting]]:
    Counting.trained = Counting.stop_in = 0
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
    yield Counting
    signal.signal(signal.SIGINT, before)
    Counting.trained = Counting.stop_in = 0


def timeless(comparison: il.Comparison) -> dict[str, Any]:
    told = comparison.to_dict()
    return {**told, "rows": [{**row, "seconds": None} for row in told["rows"]]}


def test_an_interrupted_comparison_goes_on_to_the_same_numbers(counting: type[Counting], tmp_path: Path) -> None:
    def run(folder: str, seeds: tuple[int, ...] = (0, 1), **options: Any) -> il.Comparison:
        given = {"run": tmp_path / folder, **options, **OPTIONS}
        return il.compare(model(Counting(3)), *PARTS, seeds=seeds, columns=False, **given)

    whole = run("whole")
    assert counting.trained == 6  # the full layer, less one stage, less the other; two seeds
    counting.trained, counting.stop_in = 0, 5
    part = run("part")
    assert part.interrupted
    told = rows_of(part)
    assert told["full layer"]["by_seed"][1] is not None
    assert told["without Patch"]["by_seed"][1] is None
    assert told["without Patch"]["difference"] is not None
    assert "Not yet trained: without InstanceNorm with seed 1, without Patch with seed 1." in str(part)
    counting.trained, counting.stop_in = 0, 0
    again = run("part", resume=True)
    assert counting.trained == 2
    assert timeless(again) == timeless(whole)
    counting.trained = 0
    more = run("part", seeds=(2, 0), resume=True)
    assert counting.trained == 3
    assert rows_of(more)["full layer"]["by_seed"][1] == rows_of(whole)["full layer"]["by_seed"][0]


def test_interrupted_at_once_shows_the_baselines(counting: type[Counting]) -> None:
    counting.stop_in = 1
    part = il.compare(model(Counting(3)), *PARTS, seeds=(0,), **OPTIONS)
    assert {row["group"] for row in part.to_dict()["rows"]} == {"baseline"}
    assert "Not yet trained: full layer with seed 0" in str(part)


def test_other_settings_and_tables_are_not_mixed_in(tmp_path: Path) -> None:
    train, valid, test = PARTS
    fixed: dict[str, Any] = {"seeds": (0,), "columns": False, "stages": False, "run": tmp_path}
    il.compare(model(), *PARTS, **fixed, **OPTIONS)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(il.OptionError, match=r"holds parts of a comparison: go on with it by resume=True"):
        il.compare(model(), *PARTS, **fixed, **OPTIONS)
    with pytest.raises(il.InputLayerError, match=r"epochs was 2, is 3 \(full layer\); lr was 0\.01, is 0\.02") as error:
        il.compare(model(), *PARTS, **fixed, resume=True, **{**OPTIONS, "lr": 0.02, "epochs": 3})
    assert "training table" not in str(error.value)  # it is the same
    with pytest.raises(il.InputLayerError, match=r"body units was 3, is 4 \(full layer\)"):
        il.compare(model(il.LSTM(4)), *PARTS, **fixed, resume=True, **OPTIONS)
    with pytest.raises(il.InputLayerError, match=r"the test table is another one \(baselines, full layer\)"):
        il.compare(model(), train, valid, test.take(np.arange(test.height - 1)), **fixed, resume=True, **OPTIONS)
    assert kept == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(il.OptionError, match=r"resume=True needs run="):
        il.compare(model(), *PARTS, resume=True)


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    fixed: dict[str, Any] = {"seeds": (0,), "columns": False, "stages": False, "run": tmp_path}
    il.compare(model(), *PARTS, **fixed, **OPTIONS)
    (part,) = tmp_path.glob("full-layer-*")
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(il.ArtefactError, match=part.name):
        il.compare(model(), *PARTS, **fixed, resume=True, **OPTIONS)


# -- bodies of one's own -----------------------------------------------------------------------------------------------


def example(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["Linear", "Transformer"])
def test_bodies_of_ones_own_are_compared_and_kept(name: str, tmp_path: Path) -> None:
    body = getattr(example("bodies"), name)
    told = rows_of(il.compare(model(body()), *PARTS, seeds=(0, 1), columns=False, **OPTIONS))
    assert told["full layer"]["by_seed"][0] != told["full layer"]["by_seed"][1]
    assert told["without Patch"]["mean"] != told["full layer"]["mean"]
    made = model(body())
    made.fit(PARTS[0], epochs=1)
    made.save(tmp_path / "own.safetensors")
    assert il.load(tmp_path / "own.safetensors", body=body()).predict(table()).equals(made.predict(table()))


def test_padding_does_not_matter_to_the_transformer() -> None:
    torch.manual_seed(0)
    body = example("bodies").Transformer()
    plan = Plan(("load",), (False,), (0,), (), (), (), length=9, horizon=4)
    body.build(plan, 1)
    body.eval()
    x, lengths = torch.randn(3, 9, 1), torch.tensor([9, 4, 1])
    x = x * real_steps(lengths, 9)[..., None]
    together = body(x, lengths, torch.zeros(3, 4, 0))
    for i, length in enumerate(lengths.tolist()):
        alone = body(x[i : i + 1, :length], lengths[i : i + 1], torch.zeros(1, 4, 0))
        torch.testing.assert_close(alone, together[i : i + 1], atol=1e-6, rtol=0)


# -- from a shell ------------------------------------------------------------------------------------------------------

PROJECT = """
data = { path = "load.csv", target = "load" }
sequence = { kind = "windows", order = "day", length = 6, horizon = 2 }
stages = [{ kind = "instance_norm" }]
body = { kind = "lstm", units = 3 }
training = { epochs = 1, patience = 5, seed = 4, device = "cpu" }
[columns]
load = { kind = "number" }
wind = { kind = "category" }
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    table().write_csv("load.csv")
    Path("project.toml").write_text(PROJECT)
    Path("plain.toml").write_text(PROJECT.replace('stages = [{ kind = "instance_norm" }]', ""))
    Path("gru.toml").write_text(PROJECT.replace("lstm", "gru").replace("patience = 5, ", ""))
    return tmp_path


def shell(*args: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["compare", *args], prog_name="inputlayer")
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return str(done.output)


def test_the_command_compares_a_project(here: Path) -> None:
    said = shell("project.toml", "plain.toml", "gru.toml", "--seeds", "2")
    assert "patience" not in said
    folder = here / "runs" / "project-compared"
    told = json.loads((folder / "comparison.json").read_text())
    assert told["seeds"] == [4, 5]
    groups_of = {row["name"]: row["group"] for row in told["rows"] if row["group"] != "baseline"}
    assert groups_of == {
        "full layer": "full",
        "without InstanceNorm": "stage",
        "without wind": "column",
        "plain": "alternative",
        "gru": "other",
    }
    means = {row["name"]: row["by_seed"] for row in told["rows"]}
    assert means["plain"] == means["without InstanceNorm"]
    assert all(is_told(row["mean"], said) for row in told["rows"])
    before = [path.read_bytes() for path in sorted((folder / "parts").iterdir())]
    assert "holds a run already" in shell("project.toml", code=2)
    shell("project.toml", "--seeds", "2", "--resume")
    assert [path.read_bytes() for path in sorted((folder / "parts").iterdir())] == before
    message = " ".join(shell("project.toml", "--resume", "--epochs", "2", code=2).split())
    assert "epochs was 1, is 2" in message
    assert "another --name, or replace it by --force" in message
    shell("project.toml", "--force", "--epochs", "0", "--seeds", "1")
    assert len(list((folder / "parts").iterdir())) == 4


def test_other_projects_must_share_what_is_not_compared(here: Path) -> None:
    Path("far.toml").write_text(PROJECT.replace("epochs = 1", "epochs = 2").replace("load.csv", "other.csv"))
    message = " ".join(shell("project.toml", "far.toml", code=2).split())
    assert "far.toml: [data] and [training] must be as in project.toml" in message
    Path("none.toml").write_text(PROJECT + "[split]\ntest = 0\n")
    assert "needs a test part" in shell("none.toml", code=2)
    assert not Path("runs").exists()


def test_ctrl_c_keeps_what_is_finished(here: Path, counting: type[Counting], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inputlayer.project.body_from", lambda spec: Counting(3))
    counting.stop_in = 2
    said = shell("project.toml", "--seeds", "1", code=130)
    assert "full layer" in said
    assert "Go on with --resume" in said
    assert json.loads((here / "runs" / "project-compared" / "comparison.json").read_text())["interrupted"] is True
    counting.stop_in = 0
    shell("project.toml", "--seeds", "1", "--resume")


def test_what_is_refused_leaves_nothing_behind(here: Path) -> None:
    Path("again.toml").write_text(PROJECT)
    Path("long.toml").write_text(PROJECT.replace('instance_norm"', 'patch", size = 7'))
    shell("project.toml", "again.toml", code=2)
    shell("project.toml", "long.toml", code=2)
    assert not Path("runs").exists()
    shell("project.toml", "--seeds", "1", "--epochs", "0")
    kept = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    shell("project.toml", "long.toml", "--force", code=2)
    shell("project.toml", "--resume", "--epochs", "2", code=2)
    assert kept == {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}


def test_projects_are_compared_by_what_they_are_and_not_by_how_they_are_written(here: Path) -> None:
    marks = 'missing = ["NA", "", "N/A", "NaN", "nan", "null", "NULL"]'
    text = PROJECT.replace("units = 3", "units = 3, layers = 1").replace("seed = 4", "seed = 4, batch = 64")
    text = text.replace('{ kind = "instance_norm" }', "").replace('target = "load"', f'target = "load", {marks}')
    Path("bare.toml").write_text(f'{text}[head]\nkind = "regression"\n[split]\nvalid = 0.2\n')
    segments = PROJECT.replace("units = 3", 'units = 3, decoder = { kind = "segments", size = 1 }')
    Path("segments.toml").write_text(segments)
    shell("project.toml", "bare.toml", "segments.toml", "--seeds", "1", "--epochs", "0")
    told = json.loads((here / "runs" / "project-compared" / "comparison.json").read_text())
    groups = {row["name"]: row["group"] for row in told["rows"]}
    assert (groups["bare"], groups["segments"]) == ("alternative", "other")


def test_decoders_that_differ_in_an_option_only_are_other_models() -> None:
    decoders = il.LSTM(3, decoder=il.Segments(1)), il.LSTM(3, decoder=il.Segments(2))
    told = il.compare(
        model(decoders[0]),
        *PARTS,
        seeds=(0,),
        stages=False,
        columns=False,
        others={"wide": model(decoders[1])},
        epochs=0,
    ).to_dict()
    assert "wide" in [row["name"] for row in told["rows"]]


def test_what_a_shell_cannot_compare_is_said_in_its_own_terms(here: Path) -> None:
    Path("again.toml").write_text(PROJECT + '[head]\nkind = "regression"\n')
    table().with_columns(importance=pl.lit(1.0)).write_csv("load.csv")
    Path("weighed.toml").write_text(PROJECT.replace('target = "load"', 'target = "load", weight = "importance"'))
    message = " ".join(shell("project.toml", "again.toml", "weighed.toml", code=2).split())
    assert "again.toml: it makes the same model as project.toml" in message
    assert "weighed.toml: weight under [data] must be as in project.toml" in message


def test_one_thing_written_in_two_ways_is_one_thing(here: Path) -> None:
    table().with_columns(site=pl.lit("A")).write_csv("load.csv")
    first = PROJECT.replace('order = "day"', 'order = "day", by = "site"')
    first = first.replace('"instance_norm" }', '"instance_norm" }, { kind = "patch", size = 2 }')
    again = first.replace('"site"', '["site"]').replace('target = "load"', 'target = ["load"]')
    again = again.replace("units = 3", 'units = 3, reduce = "last", decoder = { kind = "dense" }')
    again = again.replace("size = 2", "size = 2, stride = 2")
    for name, text in (("first", first), ("again", again), ("other", again.replace("stride = 2", "stride = 1"))):
        Path(f"{name}.toml").write_text(text)
    message = " ".join(shell("first.toml", "again.toml", "other.toml", code=2).split())
    assert message == "error: again.toml: it makes the same model as first.toml"
    models = [Project.read(f"{name}.toml").model() for name in ("first", "again")]
    for made in models:
        made.fit(table().with_columns(site=pl.lit("A")), epochs=1, seed=0)
    weights, same = (made.network.state_dict() for made in models)
    assert weights.keys() == same.keys()
    assert all(torch.allclose(weight, same[name]) for name, weight in weights.items())
    gru = il.Ensemble(il.GRU(3), 2), il.Ensemble(il.GRU(3, decoder=il.Dense()), 2)
    assert apart(*map(model, gru)) == []
    assert apart(model(gru[0]), model(il.Ensemble(il.GRU(3, decoder=il.Segments(1)), 2)))
