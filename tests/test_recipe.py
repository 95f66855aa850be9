"""Recipes: each rule, from the table's own properties; printed and run again; refused where the data are too short."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import inputlayer as il
from inputlayer.cli import app
from inputlayer.errors import OptionError, TableError
from inputlayer.project import Project
from inputlayer.recipe import (
    CHOICES,
    EPOCHS,
    FEW,
    LONG,
    PATCHES,
    PATIENCE,
    SEASONS,
    SEQUENCES,
    UNTIMED_PATCHES,
    WINDOWS,
    Recipe,
    recipe,
)
from samples import panel, waves, windows

START = datetime(2024, 1, 1)


def clocked(rows: int, step: timedelta, columns: int = 2) -> pl.DataFrame:
    """A row each `step`, with numbers a, b, ..."""
    draw = np.random.default_rng(0)
    numbers = {"abcdef"[i]: np.sin(np.arange(rows) / 3) + draw.normal(0, 0.1, rows) for i in range(columns)}
    return pl.DataFrame({"time": [START + i * step for i in range(rows)], **numbers})


def forecast(
    length: int, horizon: int, step: timedelta = timedelta(hours=1), rows: int = 400, targets: Any = "a"
) -> Recipe:
    frame = clocked(rows, step)
    columns = {"a": il.Number(), "b": il.Number()}
    return il.recipe("forecast", frame, il.Schema(columns, il.Windows("time", length, horizon), target=targets))


def kinds(made: Recipe) -> list[str]:
    return [spec["kind"] for spec in made.stages]


def texts(rows: int = 40) -> pl.DataFrame:
    words = ["good film", "bad film", "a good one", "so bad"]
    return pl.DataFrame({"note": [words[i % 4] for i in range(rows)], "label": ["p", "n", "p", "n"] * (rows // 4)})


def of_texts() -> il.Schema:
    return il.Schema({"note": il.Text(min_count=1), "label": il.Category()}, il.Cells(steps="note"), target="label")


def classes(rows: int = 40) -> tuple[pl.DataFrame, il.Schema]:
    frame = waves(rows).with_columns(pl.Series("label", ["a", "b"] * (rows // 2)))
    return frame, il.Schema({"wave": il.Series(), "label": il.Category()}, il.Cells(steps="wave"), target="label")


EXAMPLES: dict[str, tuple[str, Any, il.Schema]] = {
    "long": (
        "forecast",
        clocked(200, timedelta(hours=1)),
        il.Schema({"a": il.Number(), "b": il.Number()}, il.Windows("time", 48, 24), target=["a", "b"]),
    ),
    "short": ("forecast", panel(), windows()),
    "classify": ("classify", *classes()),
    "regress": (
        "regress",
        waves(),
        il.Schema({"wave": il.Series(), "score": il.Number(scale="log")}, il.Cells(steps="wave"), target="score"),
    ),
    "text": ("text", texts(), of_texts()),
}


# -- the rules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "step", "size", "reason"),
    [
        (96, timedelta(hours=1), 24, "24 steps become one, a day, 24 rows: 4 to remember instead of 96."),
        (95, timedelta(hours=1), 12, "12 steps become one, a part of the day's 24 rows: 8 to remember"),
        (96, timedelta(minutes=15), 24, "24 steps become one, a part of the day's 96 rows"),
        (30, timedelta(days=1), 7, "7 steps become one, a week of days, 7 rows: 5 to remember"),
        (56, timedelta(hours=5), 4, "No day is a fixed number of rows here: 14 patches or so of 4 steps each."),
    ],
)
def test_a_patch_is_a_part_of_a_day(length: int, step: timedelta, size: int, reason: str) -> None:
    made = forecast(length, 12, step)
    assert kinds(made) == ["instance_norm", "autoregression", "patch"]
    assert made.stages[-1]["size"] == size
    assert reason in made.reasons["stages.patch"]
    assert made.body_spec["decoder"] == {"kind": "segments", "size": min(size, 12)}
    assert made.head_spec == {"kind": "regression", "loss": "huber"}


def test_a_clock_with_holes_tells_no_day() -> None:
    frame = clocked(400, timedelta(hours=1))
    schema = il.Schema({"a": il.Number()}, il.Windows("time", 96, 12), target="a")
    assert il.recipe("forecast", frame, schema).stages[-1]["size"] == 24
    assert il.recipe("forecast", frame[np.flatnonzero(np.arange(400) % 7 != 3)], schema).stages[-1]["size"] == 96 // 14


def test_a_short_look_back_has_no_patch() -> None:
    made = forecast(7, 12)
    assert kinds(made) == ["instance_norm", "autoregression"]
    assert made.body_spec["decoder"] == {"kind": "segments", "size": 12}


def test_several_targets_go_through_one_lstm_each() -> None:
    made = forecast(96, 24, targets=["a", "b"])
    assert kinds(made) == ["instance_norm", "per_channel", "autoregression", "patch"]
    assert made.reasons["stages.per_channel"].startswith("2 targets: one LSTM")
    assert made.body_spec["units"] == CHOICES["long"]["units"]


def test_with_enough_days_to_look_back_on_their_mean_is_taken_off() -> None:
    hours = timedelta(hours=1)
    made = forecast(14 * 24, 24, hours, targets=["a", "b"])
    assert kinds(made) == ["seasonal", "per_channel", "patch"]
    assert made.stages[0]["period"] == 24
    assert made.body_spec["units"] == CHOICES["seasonal"]["units"]
    assert made.head_spec == {"kind": "regression", "loss": CHOICES["seasonal"]["loss"]}
    assert "14 of them make a steady one" in made.reasons["stages.seasonal"]
    a_row_short, no_day = forecast(14 * 24 - 1, 24, hours), forecast(14 * 24, 24, timedelta(hours=5))
    assert kinds(a_row_short) == kinds(no_day) == ["instance_norm", "autoregression", "patch"]
    assert kinds(forecast(14 * 24, 11, hours)) == ["instance_norm", "autoregression"]  # a short horizon


def test_a_horizon_is_long_from_12_steps_on() -> None:
    short = forecast(96, 11, targets=["a", "b"])
    assert kinds(short) == ["instance_norm", "autoregression"]
    assert "decoder" not in short.body_spec
    assert short.head_spec["loss"] == "mse"
    assert kinds(forecast(96, 12, targets=["a", "b"])) == ["instance_norm", "per_channel", "autoregression", "patch"]


def test_a_target_whose_past_is_no_input_is_not_measured_from_it() -> None:
    frame = clocked(300, timedelta(hours=1))
    columns = {"a": il.Number(role="target"), "b": il.Number()}
    for horizon, wanted in ((1, []), (24, ["patch"])):
        schema = il.Schema(columns, il.Windows("time", 96, horizon), target="a")
        made = il.recipe("forecast", frame, schema)
        assert kinds(made) == wanted
        made.model().fit(frame, epochs=0)
    mixed = il.Schema(columns, il.Windows("time", 96, 24), target=["a", "b"])
    made = il.recipe("forecast", frame, mixed)
    assert kinds(made) == ["patch"]
    made.model().fit(frame, epochs=0)


def test_few_sequences_of_numbers_get_noise() -> None:
    frame, schema = classes(FEW - 2)
    made = il.recipe("classify", frame, schema)
    assert kinds(made) == ["noise", "stretch"]
    assert made.stages[0]["shift"] == CHOICES["few classes"]["shift"]
    member = {"kind": "lstm", "units": 64, "bidirectional": True, "dropout": 0.1, "reduce": "max"}
    assert made.body_spec == {"kind": "ensemble", "member": member, "size": 5}
    assert made.training["weight_decay"] == CHOICES["few classes"]["decay"]
    assert made.reasons["stages.noise"].endswith("another device, another day.")
    assert sum(loss is not None for loss in made.model().fit(frame, epochs=1, device="cpu").train_loss) == 1
    many = il.recipe("classify", *classes(FEW))
    assert kinds(many) == []
    assert many.body_spec["units"] == CHOICES["many"]["units"]
    assert "weight_decay" not in many.training
    words = pl.DataFrame(
        {"run": [i // 4 for i in range(120)], "word": ["x", "y", "z"] * 40, "end": ["a"] * 60 + ["b"] * 60}
    )
    columns = {"word": il.Category(), "end": il.Category()}
    assert kinds(il.recipe("classify", words, il.Schema(columns, il.Groups("run"), target="end"))) == []


def test_few_numbers_keep_their_level() -> None:
    """A number may be of a sequence's very level."""
    made = il.recipe(*EXAMPLES["regress"])
    assert [dict(spec) for spec in made.stages] == [{"kind": "noise", "spread": CHOICES["few"]["noise"]}]
    assert made.training["weight_decay"] == CHOICES["few"]["decay"]


def test_windows_of_one_length_are_not_stretched() -> None:
    frame = panel((150,)).drop("hot", strict=False).with_columns(hot=pl.int_range(150) % 5 < 2)
    order = next(name for name in frame.columns if frame[name].dtype.is_temporal())
    schema = il.Schema({"load": il.Number(), "hot": il.Flag()}, il.Windows(order, 12, 0), target="hot")
    made = il.recipe("classify", frame, schema)
    assert kinds(made) == ["noise"]
    made.model().fit(frame, epochs=0)


def test_a_target_at_each_step_has_no_reduce() -> None:
    columns = {"load": il.Number(), "hot": il.Flag()}
    schema = il.Schema(columns, il.Groups("day", per_step=True), target="hot")
    frame = panel((150,)).with_columns(day=pl.int_range(150) // 6)
    made = il.recipe("classify", frame, schema)
    assert "reduce" not in made.body_spec
    made.model().fit(frame, epochs=0)


def test_text_is_read_both_ways() -> None:
    made = il.recipe("text", texts(), of_texts())
    assert (made.body_spec["bidirectional"], made.body_spec["reduce"]) == (True, "max")
    assert made.head_spec == {"kind": "classes"}


@pytest.mark.parametrize(("rows", "epochs"), [(100, 120), (2_100, 32), (100_000, 3)])
def test_epochs_make_the_steps(rows: int, epochs: int) -> None:
    """2,100 rows make 2,053 windows, in 33 batches of 64: 1,000 steps of the optimiser are 31 epochs."""
    frame = {"t": list(range(rows)), "a": [float(i % 7) for i in range(rows)]}
    schema = il.Schema({"a": il.Number()}, il.Windows("t", 47, 1), target="a")
    made = il.recipe("forecast", frame, schema)
    count = rows - 47
    steps = CHOICES["short"]["steps"]
    wanted = min(max(-(-steps // -(-count // 64)), 3), 120)
    assert made.training["epochs"] == wanted
    assert abs(wanted - epochs) <= 1
    assert f"{count:,} windows in batches of 64" in made.reasons["training.epochs"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_choice_has_a_reason(name: str) -> None:
    made = il.recipe(*EXAMPLES[name])
    places = [f"stages.{spec['kind']}" for spec in made.stages]
    places += [f"body.{option}" for option in made.body_spec if option not in ("kind", "bidirectional")]
    places += [f"training.{option}" for option in made.training]
    assert "body" in made.reasons
    assert [place for place in places if not made.reasons.get(place)] == []


def test_it_reads_the_table_given_and_no_other() -> None:
    train, valid, test = il.split(clocked(300, timedelta(hours=1)), forecast(96, 12).schema)
    assert valid is not None
    assert test is not None
    made = il.recipe("forecast", train, forecast(24, 12).schema)
    assert made == il.recipe("forecast", train.frame(), forecast(24, 12).schema)


def test_the_written_rules_hold_the_constants() -> None:
    rules = " ".join((recipe.__doc__ or "").split())
    long, seasonal, short, few, classes, many, text = (CHOICES[name] for name in CHOICES)
    for said in (
        f"of {LONG} steps or more",
        f"LSTM of {long['units']} units, behind Seasonal {seasonal['units']}; Segments",
        f"a look-back of {SEASONS} days or more Seasonal(day)",
        f"LSTM of {short['units']} units behind",
        f"LSTM of {many['units']} units, the maximum",
        f"of fewer than {FEW:,} sequences: Noise of {few['noise']} on the numbers, and weight decay of {few['decay']}."
        f" A class of fewer: an Ensemble of {classes['members']} of them; Noise of {classes['noise']} on the numbers "
        f"and of {classes['shift']} on their level in a sequence; Stretch({classes['stretch']}), if lengths are uneven"
        f"; weight decay of {classes['decay']}.",
        f"LSTM of {text['units']} units, half",
        f"make {short['steps']:,} steps of the optimiser ({long['steps']:,} for a long horizon, {seasonal['steps']} "
        f"behind Seasonal, {few['steps']:,} for few sequences, {many['steps']:,} for many sequences, "
        f"{text['steps']} for texts), from {EPOCHS[0]} to {EPOCHS[1]}",
        f"fewer than {WINDOWS} windows, or {SEQUENCES} sequences",
        f"holds {PATCHES} times",
        f"a {UNTIMED_PATCHES}th of the look-back",
        f"after {PATIENCE} epochs",
    ):
        assert said in rules
    assert (short["dropout"], text["dropout"], few["units"]) == (0.5, 0.5, many["units"])
    assert (long["loss"], seasonal["loss"]) == ("huber", "mae")


# -- what it stands for --------------------------------------------------------------------------------------------


def bytes_of(model: il.Model, frame: Any, path: Path) -> bytes:
    model.fit(frame, epochs=0)
    model.save(path)
    return path.read_bytes()


@pytest.mark.parametrize("name", EXAMPLES)
def test_printed_python_makes_the_same_model(name: str, tmp_path: Path) -> None:
    task, frame, schema = EXAMPLES[name]
    made = il.recipe(task, frame, schema)
    assert str(made) == made.to_python()
    space: dict[str, Any] = {}
    exec(compile(str(made), "recipe", "exec"), space)
    assert space["model"].training == made.model().training == dict(made.training)
    wanted = bytes_of(made.model(), frame, tmp_path / "a.safetensors")
    assert bytes_of(space["model"], frame, tmp_path / "b.safetensors") == wanted
    for reason in made.reasons.values():
        assert " ".join(reason.split()[:3]) in " ".join(str(made).split())


@pytest.mark.parametrize("name", EXAMPLES)
def test_toml_makes_the_same_model(name: str, tmp_path: Path) -> None:
    task, frame, schema = EXAMPLES[name]
    made = il.recipe(task, frame, schema)
    text = made.to_toml("load.csv", {"valid": 0.2, "test": 0.1})
    again = Project.from_toml(text)
    assert again == made.project("load.csv", {"valid": 0.2, "test": 0.1})
    assert again.options == dict(made.training)
    wanted = bytes_of(made.model(), frame, tmp_path / "a.safetensors")
    assert bytes_of(again.model(), frame, tmp_path / "b.safetensors") == wanted
    for place, reason in made.reasons.items():
        assert reason in text, place


def test_parts_are_new_each_time() -> None:
    made = il.recipe(*EXAMPLES["long"])
    assert made.layer is not made.layer
    assert made.body is not made.body
    assert type(made.head) is il.Regression


def test_a_kind_of_ones_own_is_imported_by_the_program() -> None:
    class Mine(il.Number):
        pass

    task, frame, schema = EXAMPLES["long"]
    made = il.recipe(task, frame, il.Schema({"a": Mine(), "b": il.Number()}, schema.sequence, target="b"))
    assert f"from {__name__} import Mine" in str(made)
    assert "'a': Mine()," in str(made)


# -- the model's own options ---------------------------------------------------------------------------------------


def tiny(**training: Any) -> il.Model:
    return il.Model(il.InputLayer(forecast(24, 2).schema), il.LSTM(2), training=training)


def test_fit_takes_the_models_options_unless_the_call_names_others() -> None:
    train, valid, _ = il.split(clocked(120, timedelta(hours=1)), forecast(24, 2).schema)
    assert tiny(epochs=2, patience=1).fit(train).epochs == 2  # patience waits for a validation table
    assert tiny(epochs=2).fit(train, valid, epochs=1).epochs == 1
    assert tiny(lr=0.5, epochs=1).fit(train).lr == [0.5]
    assert tiny().training == {}
    one, other = tiny(epochs=0, seed=5), tiny(epochs=0)
    one.fit(train)
    other.fit(train, seed=5)
    weights = itertools.starmap(
        np.array_equal, zip(*(map(_numbers, m.network.parameters()) for m in (one, other)), strict=True)
    )
    assert all(weights)


def _numbers(weight: Any) -> np.ndarray:
    return np.asarray(weight.detach().numpy())


def test_wrong_options_are_named_when_the_model_is_made_or_fitted() -> None:
    with pytest.raises(OptionError, match=r"training has no option 'epoch'. Did you mean 'epochs'"):
        tiny(epoch=3)
    with pytest.raises(OptionError, match="epochs is -1"):
        tiny(epochs=-1)
    with pytest.raises(OptionError, match=r"fit has no option 'batchs'. Did you mean 'batch'"):
        tiny().fit(clocked(120, timedelta(hours=1)), batchs=3)


# -- refusals ------------------------------------------------------------------------------------------------------


def test_too_few_windows_are_refused_with_a_look_back_that_works() -> None:
    with pytest.raises(TableError) as caught:
        forecast(336, 96, rows=450)
    text = str(caught.value)
    assert "at least 30 windows to train on, and 450 rows make 19 (length 336 + horizon 96, stride 1)" in text
    assert "Give a look-back of at most 325 rows, or a series of at least 461 rows" in text
    forecast(325, 96, rows=450)
    forecast(336, 96, rows=461)


def test_without_any_look_back_a_shorter_horizon_is_named() -> None:
    with pytest.raises(TableError, match=r"make 0 .*a shorter horizon, or a series of at least 159 rows"):
        forecast(30, 100, rows=110)


def test_windows_are_counted_over_all_series() -> None:
    frame = panel((40, 40))
    assert il.recipe("forecast", frame, windows()).reasons["training.epochs"].startswith("64 windows")
    with pytest.raises(TableError, match="20 rows in the longest of 2 series make 24"):
        il.recipe("forecast", panel((20, 20)), windows())


def test_too_few_sequences_and_one_class_are_refused() -> None:
    frame, schema = classes()
    with pytest.raises(TableError, match="at least 20 sequences to train on, and here are 10"):
        il.recipe("classify", frame[:10], schema)
    with pytest.raises(TableError, match="'label': all rows are of one class"):
        il.recipe("classify", frame.with_columns(label=pl.lit("a")), schema)


def test_a_task_that_is_none_or_not_the_schemas_is_refused() -> None:
    with pytest.raises(OptionError, match=r"task='forcast' is not one of .* Did you mean 'forecast'"):
        il.recipe("forcast", *EXAMPLES["short"][1:])
    with pytest.raises(OptionError, match=r"task='text' is not what this schema is for.*il.recipe\('forecast', ...\)"):
        il.recipe("text", *EXAMPLES["short"][1:])
    with pytest.raises(OptionError, match=r"its target is a category, .* no horizon. Write il.recipe\('text', ...\)"):
        il.recipe("classify", *EXAMPLES["text"][1:])


def test_problems_of_the_table_are_named() -> None:
    with pytest.raises(TableError, match="column 'b': is missing from the table"):
        il.recipe("forecast", clocked(200, timedelta(hours=1), columns=1), EXAMPLES["long"][2])


# -- init ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("horizon", [1, 14])
def test_init_writes_it_and_train_runs_it(horizon: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clocked(240, timedelta(days=1)).write_csv("load.csv")
    runner = CliRunner()
    done = runner.invoke(app, ["init", "load.csv", "--target", "a", "--length", "28", "--horizon", str(horizon)])
    assert done.exit_code == 0, done.output
    made = Project.from_toml(done.output)
    train, _, _ = made.parts()
    wanted = il.recipe("forecast", train, made.schema)
    assert (made.body, list(made.stages), made.options) == (
        wanted.body_spec,
        list(wanted.stages),
        dict(wanted.training),
    )
    for reason in wanted.reasons.values():
        assert reason in done.output
    Path("project.toml").write_text(done.output)
    done = runner.invoke(app, ["train", "project.toml", "--epochs", "1"])
    assert done.exit_code == 0, done.output
    assert "The model" in done.output


def test_init_refuses_what_is_too_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clocked(60, timedelta(days=1)).write_csv("load.csv")
    done = CliRunner().invoke(app, ["init", "load.csv", "--target", "a", "--length", "28", "--horizon", "7"])
    assert done.exit_code == 2
    assert "Give a shorter horizon, or a series of at least 64 rows" in done.output
