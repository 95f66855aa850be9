"""The model: trained by what counts and nothing else, honest about what it saw, refusing what it cannot use."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

import inputlayer as il
from inputlayer.batch import Batches
from inputlayer.errors import NotFittedError, OptionError, SeenRowsError, TableError
from samples import ROADS, cells, groups, panel, waves, windows


def fresh(road: str = "windows", *stages: Any) -> tuple[il.Model, pl.DataFrame]:
    schema, frame = ROADS[road]
    return il.Model(il.InputLayer(schema, stages), il.LSTM(4)), frame


def plain(**options: Any) -> il.Schema:
    return il.Schema({"load": il.Number()}, il.Windows("time", 6, 3, by="site"), target="load", **options)


def weights(model: il.Model) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.network.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("road", ROADS)
def test_the_same_seed_gives_the_same_model(road: str) -> None:
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(found))  # what was drawn before has no say
        model, frame = fresh(road)
        model.fit(frame, epochs=2, seed=seed, batch=8)
        found.append(weights(model))
    assert equal(found[0], found[1])
    assert not equal(found[0], found[2])


def test_a_layer_fitted_before_gives_the_same_model() -> None:
    one, frame = fresh()
    one.fit(frame, epochs=1)
    layer = il.InputLayer(windows()).fit(frame)
    other = il.Model(layer, il.LSTM(4))
    other.fit(frame, epochs=1)
    assert other.layer is layer
    assert equal(weights(one), weights(other))


def test_two_models_on_one_layer_keep_their_own() -> None:
    layer = il.InputLayer(windows()).fit(panel())
    one, other = il.Model(layer, il.LSTM(4)), il.Model(layer, il.LSTM(4))
    one.fit(panel(), epochs=1)
    before = weights(one)
    other.fit(panel(), epochs=1, seed=5)
    assert equal(weights(one), before)


def loss_gradient(model: il.Model, frame: pl.DataFrame) -> tuple[float, list[Tensor]]:
    """Loss and gradients of one batch of all windows of `frame`, weights counted."""
    (batch,) = Batches(model.layer.encoded(frame, training=True), model.fitted, 10_000)
    model.network.train()
    loss = model.network.loss(model.network(batch), batch)
    parameters = [p for p in model.network.parameters() if p.requires_grad]
    return loss.item(), list(torch.autograd.grad(loss, parameters, allow_unused=True))


def test_missing_targets_have_no_weight() -> None:
    # "other" is a target whose missing values must not pull; its past is no input, so that the inputs stay the same.
    schema = il.Schema(
        {"load": il.Number(), "other": il.Number(role="target")}, il.Windows("time", 6, 3, by="site"), target="other"
    )
    frame = panel((40,)).with_columns(other=pl.col("load") * 2)
    gone = pl.int_range(pl.len()).is_between(20, 30)
    holes = frame.with_columns(other=pl.when(~gone).then(pl.col("other")))
    model = il.Model(il.InputLayer(schema), il.LSTM(4))
    model.fit(frame, epochs=0)
    (batch,) = Batches(model.layer.encoded(holes), model.fitted, 10_000)
    assert batch.target is not None
    assert batch.real is not None
    y = model.network(batch)
    kept = batch.real
    expected = (y[..., 0] - batch.target)[kept].square().mean()
    assert model.network.loss(y, batch).item() == pytest.approx(expected.item(), rel=1e-6)
    assert len(batch) == 23  # of 32 windows; the 9 whose target is wholly missing are left out


@pytest.mark.parametrize("rows", ["no target", "weight 0"])
def test_rows_that_do_not_count_leave_the_gradient_as_it_is(rows: str) -> None:
    schema = il.Schema({"x": il.Number(), "y": il.Number()}, il.Cells(), target="y", weight="w")
    draw = np.random.default_rng(0)
    frame = pl.DataFrame({"x": draw.normal(size=20), "y": draw.normal(size=20), "w": [1.0, 2.0] * 10})
    model = il.Model(il.InputLayer(schema), il.LSTM(4))
    model.fit(frame, epochs=0)
    more = {
        "no target": pl.DataFrame({"x": [9.0], "y": [None], "w": [5.0]}, schema=frame.schema),
        "weight 0": pl.DataFrame({"x": [9.0], "y": [-50.0], "w": [0.0]}),
    }[rows]
    loss, gradient = loss_gradient(model, frame)
    again, others = loss_gradient(model, pl.concat([frame, more]))
    assert loss == pytest.approx(again, rel=1e-6)
    for one, other in zip(gradient, others, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other, atol=1e-7)
    doubled = pl.concat([frame.with_columns(w=pl.lit(1.0)), frame.filter(pl.col("w") == 2).with_columns(w=pl.lit(1.0))])
    assert loss == pytest.approx(loss_gradient(model, doubled)[0], rel=1e-5)


def test_classes_that_training_never_saw_have_no_loss() -> None:
    model, frame = fresh("groups")
    model.fit(frame, epochs=0)
    new = frame.with_columns(label=pl.when(pl.col("site") == "south").then(pl.lit("z")).otherwise(pl.col("label")))
    without = frame.filter(pl.col("site") != "south")
    assert loss_gradient(model, new)[0] == pytest.approx(loss_gradient(model, without)[0], rel=1e-6)


def test_the_validation_loss_counts_rows_as_the_training_loss_does() -> None:
    schema = il.Schema({"x": il.Number(), "y": il.Number()}, il.Cells(), target="y", weight="w")
    train = {"x": [0.0, 1.0, 2.0, 3.0], "y": [0.0, 1.0, 2.0, 3.0], "w": [1.0] * 4}
    valid = {"x": [0.5, 9.0], "y": [0.5, -500.0], "w": [1.0, 0.0]}
    alone = {n: v[:1] for n, v in valid.items()}
    losses = []
    for held in (valid, alone):
        losses.append(il.Model(il.InputLayer(schema), il.LSTM(4)).fit(train, held, epochs=1).valid_loss[0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_training_goes_down_and_the_best_weights_stay() -> None:
    frame = panel((120,)).with_columns(load=(pl.int_range(pl.len()) % 6).cast(pl.Float64))
    train, valid, test = il.split(frame, plain())
    model = il.Model(il.InputLayer(plain()), il.LSTM(8))
    history = model.fit(train, valid, epochs=12, lr=0.02, patience=2, batch=16)
    losses = [v for v in history.valid_loss if v is not None]
    assert history.best_epoch == int(np.argmin(losses))
    assert min(losses) < losses[0] / 2
    assert test is not None
    assert model.evaluate(test, context=valid)["rmse"] < 1.0


@pytest.mark.parametrize(("patience", "valid"), [(3, None), (0, panel())])
def test_a_patience_without_effect_or_sense_is_refused(patience: int, valid: Any) -> None:
    model, frame = fresh()
    with pytest.raises(OptionError, match="patience"):
        model.fit(frame, valid, patience=patience, epochs=0)


def test_what_is_trained_is_not_trained_anew() -> None:
    model, frame = fresh()
    model.fit(frame, epochs=0)
    with pytest.raises(OptionError, match="trained already: use continue_fit"):
        model.fit(frame)


@pytest.mark.parametrize("call", ["predict", "backtest", "evaluate", "continue_fit"])
def test_nothing_works_before_the_fit(call: str) -> None:
    model, frame = fresh()
    with pytest.raises(NotFittedError, match="The model is not fitted yet"):
        getattr(model, call)(frame)
    with pytest.raises(NotFittedError, match="The input layer is not fitted yet"):
        il.InputLayer(windows()).batches(frame)


def test_a_failed_fit_leaves_nothing_behind() -> None:
    model, frame = fresh()
    with pytest.raises(TableError, match=r"in the validation table: .*missing"):
        model.fit(frame, panel().drop("wind"), epochs=0)
    model.fit(frame.with_columns(pl.col("load") * 100), epochs=0)
    assert model.layer.learnt.receipt.rows == 65


def test_an_unknown_option_is_named_with_the_nearest() -> None:
    model, frame = fresh()
    model.fit(frame, epochs=0)
    with pytest.raises(OptionError, match=r"continue_fit has no option 'epoch'. Did you mean 'epochs'\?"):
        model.continue_fit(frame, epoch=3)


def test_problems_of_both_tables_come_in_one_message() -> None:
    model, frame = fresh()
    bad = frame.with_columns(load=pl.lit("x"))
    with pytest.raises(TableError, match=r"(?s)'load': is not a number .*'wind': in the validation table: is missing"):
        model.fit(bad, frame.drop("wind"), epochs=0)
    doubled = pl.concat([frame, frame[:1]])
    with pytest.raises(
        TableError, match=r"(?s)'time': has the same value twice.*'load': in the validation table: is not"
    ):
        model.fit(doubled, bad, epochs=0)


@pytest.mark.parametrize(
    ("kind", "cells", "only", "more"),
    [
        (il.Flag(), [True] * 4, "True", ""),
        (il.Category(), ["on", None, "on", "on"], "'on'", ""),
        (il.Category(min_count=2), ["on", "on", "on", "off"], "'on'", ", or a min_count below 2"),
    ],
)
def test_a_target_of_one_class_is_refused(kind: Any, cells: list[Any], only: str, more: str) -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0] * 10, "state": [*cells, *cells[:3] * 12]})
    schema = il.Schema({"x": il.Number(), "state": kind}, il.Cells(), "state")
    message = (
        f"column 'state': the target has one class only in the training rows, {only}: there is nothing to learn. Give"
        f" training rows of other classes too, such as by another split{more}"
    )
    model = il.Model(il.InputLayer(schema), il.LSTM(2))
    with pytest.raises(TableError) as caught:
        model.fit(frame, epochs=1)
    assert str(caught.value) == message
    with pytest.raises(TableError, match="one class only"):
        il.compare(model, frame, None, frame[:10].with_columns(pl.col("x") + 9), epochs=1)
    assert model.fit(frame, epochs=0).epochs == 0  # where nothing is trained, nothing is refused


def test_a_number_that_never_changes_is_a_target() -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0] * 20, "level": [3.0] * 40})
    model = il.Model(
        il.InputLayer(il.Schema({n: il.Number() for n in ("x", "level")}, il.Cells(), "level")), il.LSTM(2)
    )
    model.fit(frame, epochs=3, lr=0.05)
    assert model.predict(frame)["level"].to_numpy() == pytest.approx(3.0, abs=0.5)


# -- a body of one's own -----------------------------------------------------------------------------------------------


class Mean(nn.Module):
    """The mean of the real steps, and a layer."""

    width = 5

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, 5)

    def forward(self, x: Tensor, lengths: Tensor, future: Tensor, key: Tensor | None = None) -> Tensor:
        return self.linear(x.sum(1) / lengths.clamp(min=1)[:, None])[:, None]


@pytest.mark.parametrize("road", ["windows, horizon 0", "groups", "cells"])
def test_any_module_is_a_body(road: str, tmp_path: Any) -> None:
    schema, frame = ROADS[road]
    width = il.InputLayer(schema).fit(frame).width
    model = il.Model(il.InputLayer(schema), Mean(width))
    model.fit(frame, epochs=1)
    model.save(tmp_path / "own.safetensors")
    with pytest.raises(il.ArtefactError, match="a body of your own, Mean: pass one like it as body="):
        il.load(tmp_path / "own.safetensors")
    again = il.load(tmp_path / "own.safetensors", body=Mean(width))
    assert again.predict(frame).equals(model.predict(frame))


class Wider(Mean):
    """The same weights, and something else is done with them."""

    def forward(self, x: Tensor, lengths: Tensor, future: Tensor, key: Tensor | None = None) -> Tensor:
        return self.linear(x.amax(1))[:, None]


def test_a_body_unlike_the_one_in_the_file_is_named(tmp_path: Path) -> None:
    schema, frame = ROADS["cells"]
    width, path = il.InputLayer(schema).fit(frame).width, tmp_path / "own.safetensors"
    model = il.Model(il.InputLayer(schema), Mean(width))
    model.fit(frame, epochs=0)
    model.save(path)

    def refused(body: nn.Module) -> str:
        with pytest.raises(il.ArtefactError) as caught:
            il.load(path, body=body)
        return str(caught.value)

    saved = f"{path}: the model was saved with the body Mean, and body= is"
    assert refused(Wider(width)) == f"{saved} Wider: pass one like it"
    assert refused(il.LSTM(4)) == f"{saved} LSTM: pass one like it"
    other = f"{path}: body=Mean has other sizes than the Mean of the file:"
    shapes = f"linear.weight is [5, {width}] in the file and [5, {width + 1}] in body="
    assert refused(Mean(width + 1)) == f"{other} {shapes}"
    more = Mean(width)
    more.second = nn.Linear(2, 3, bias=False)
    assert refused(more) == f"{other} second.weight is only [3, 2] in body="
    narrow = Mean(width)
    narrow.width = 4
    assert refused(narrow) == f"{other} its width 4 is not that of the file"


def test_a_body_says_its_width() -> None:
    class Nameless(nn.Module):
        pass

    with pytest.raises(OptionError, match="body=Nameless: a body needs an attribute `width`"):
        il.Model(il.InputLayer(windows()), Nameless()).fit(panel(), epochs=0)


@pytest.mark.parametrize(
    "forward", [lambda self, x: x, lambda self, x, lengths: x, lambda self, x, lengths, future, key, more: x]
)
def test_a_body_that_cannot_be_called_is_refused_before_anything_is_trained(forward: Any) -> None:
    body = type("Alone", (Mean,), {"forward": forward})(3)
    message = (
        r"body=Alone: its forward takes \(x.*\), and a body is called with x .*, lengths, future and key. Such as:"
    )
    with pytest.raises(OptionError, match=message):
        il.Model(il.InputLayer(windows()), body)


def test_how_a_body_names_what_it_is_given_is_its_own_affair() -> None:
    forward = lambda self, *given: given[0].new_zeros(len(given[0]), 3, 5)  # noqa: E731
    body = type("Any", (Mean,), {"forward": forward})(3)
    assert il.Model(il.InputLayer(plain()), body).fit(panel((80,)), epochs=1).epochs == 1
    il.Model(il.InputLayer(plain()), type("Compiled", (Mean,), {"forward": max})(3))  # tells nothing of what it takes


class Returns(nn.Module):
    """A body that returns what it is told, whatever it sees."""

    width = 5

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.made = made

    def forward(self, x: Tensor, lengths: Tensor, future: Tensor, key: Tensor | None = None) -> Any:
        return self.made(x)


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (lambda x: x.new_zeros(len(x), 5), r"shape \(64, 5\)"),
        (lambda x: x.new_zeros(len(x), 3, 4), r"shape \(64, 3, 4\)"),
        (lambda x: (x, None), "a tuple"),
    ],
)
def test_a_body_that_returns_something_else_is_told_what_is_wanted(made: Any, found: str) -> None:
    schema, frame = plain(), panel((80,))
    message = rf"body=Returns: .* returned {found}, and a tensor of shape \(64, 3, 5\) is needed: .* 3 \(the horizon\)"
    with pytest.raises(OptionError, match=message):
        il.Model(il.InputLayer(schema), Returns(made)).fit(frame, epochs=1)


class Breaks(Mean):
    """A body that divides by 0 where it trains, where it does not, or not at all."""

    def __init__(self, inputs: int, where: str) -> None:
        super().__init__(inputs)
        self.where = where

    def forward(self, x: Tensor, lengths: Tensor, future: Tensor, key: Tensor | None = None) -> Tensor:
        y = super().forward(x, lengths, future, key).expand(-1, 3, -1)
        broken = self.where == ("training" if self.training else "validation")
        return torch.cat([y[:, :2], y[:, 2:] / 0], 1) if broken else y


@pytest.mark.parametrize(("where", "place"), [("training", "epoch 0"), ("validation", "the validation after epoch 0")])
def test_a_body_that_returns_no_numbers_is_named_and_not_the_rate(where: str, place: str) -> None:
    schema, frame = plain(), panel((80, 80))
    model = il.Model(il.InputLayer(schema), Breaks(1, where))
    train, valid, _ = il.split(frame, schema, valid=0.3, test=0.1)
    with pytest.raises(il.InputLayerError) as caught:
        model.fit(train, valid, epochs=1, batch=10)
    told = str(caught.value)
    message = (
        rf"the loss became (nan|inf) in {place}, step 0 \(.*\)\. It is the body: Breaks returned (\d+) numbers that are"
        r" not finite, of (\d+) in shape \((\d+), 3, 5\), for x of shape \(\4, 6, 1\) from -.* to .*\. It does so with"
        r" the weights it started with too, so no lr mends it: look in its forward"
    )
    found = re.match(message, told)
    assert found, told
    assert int(found[3]) == 3 * int(found[2]) == 15 * int(found[4])
    assert "Try an lr" not in told


def test_a_rate_that_breaks_the_weights_is_named_and_not_the_body() -> None:
    model = il.Model(il.InputLayer(plain()), Breaks(1, "nowhere"))
    with pytest.raises(il.InputLayerError, match=r"weights are those it started with\. Try an lr below 1e\+38"):
        model.fit(panel((80,)), epochs=3, batch=10, lr=1e38, clip=None)


def test_the_head_meets_the_target() -> None:
    with pytest.raises(
        OptionError, match=r"head=Classes: the target 'load' is a number, which needs il.Regression\(\)"
    ):
        il.Model(il.InputLayer(windows()), il.LSTM(4), il.Classes())


# -- what was seen -----------------------------------------------------------------------------------------------------


def test_windows_that_were_fitted_on_are_refused_and_only_those() -> None:
    schema, frame = plain(), panel((60, 60))
    train, valid, test = il.split(frame, schema, valid=0.3, test=0.3)
    model = il.Model(il.InputLayer(schema), il.LSTM(4))
    model.fit(train, valid, epochs=0)
    assert test is not None
    assert valid is not None
    seen = "series 'north', 'south' of this table lie in the time range that the model was fitted on"
    with pytest.raises(SeenRowsError, match=seen):
        model.evaluate(train)
    with pytest.raises(SeenRowsError, match=seen):
        model.evaluate(frame)
    for table, context in ((test, valid), (test, (train, valid)), (valid, train), (test, ())):
        assert model.evaluate(table, context=context)["sequences"] > 0
    assert model.evaluate(frame, allow_seen=True)["sequences"] == 2 * (60 - 8)
    # The look-back of the first windows was fitted on; what is scored was not.
    both = pl.concat([train.frame().group_by("site", maintain_order=True).tail(6), valid.frame()])
    assert model.evaluate(both)["sequences"] == model.evaluate(valid, context=train)["sequences"]


@pytest.mark.parametrize("road", ["groups", "cells"])
def test_contents_that_were_fitted_on_are_refused_and_only_those(road: str) -> None:
    schema, frame = ROADS[road]
    model = il.Model(il.InputLayer(schema), il.LSTM(4))
    model.fit(frame, epochs=0)
    other = panel((9, 5, 7), seed=9) if road == "groups" else waves(seed=9)
    assert model.evaluate(other)["sequences"] == (3 if road == "groups" else 24)
    count = 3 if road == "groups" else 24
    with pytest.raises(
        SeenRowsError, match=f"{count} of this table's {count} sequences were fitted on, or are exactly"
    ):
        model.evaluate(frame.reverse())
    one = frame.filter(pl.col("site") == "north") if road == "groups" else frame[:1]
    renamed = other.with_columns(site=pl.col("site") + "!") if road == "groups" else other
    with pytest.raises(SeenRowsError, match="1 of this table's"):
        model.evaluate(pl.concat([one, renamed]))


def test_rows_of_continue_fit_are_seen_too(tmp_path: Any) -> None:
    schema, frame = plain(), panel((60, 60))
    train, valid, test = il.split(frame, schema, valid=0.3, test=0.3)
    model = il.Model(il.InputLayer(schema), il.LSTM(4))
    model.fit(train, epochs=0)
    before = weights(model)
    learnt = dict(model.fitted.states.items())
    assert valid is not None
    assert test is not None
    model.evaluate(valid, context=train)
    model.continue_fit(valid, epochs=1)
    assert model.fitted.states == learnt
    assert not equal(before, weights(model))
    model.save(tmp_path / "m.safetensors")
    for one in (model, il.load(tmp_path / "m.safetensors")):
        with pytest.raises(SeenRowsError):
            one.evaluate(valid, context=train)
        one.evaluate(test, context=valid)


def test_rows_trained_on_behind_a_layer_fitted_elsewhere_are_seen() -> None:
    one, other = waves(), waves(seed=5)
    model = il.Model(il.InputLayer(cells()).fit(one), il.LSTM(4))
    model.fit(other, epochs=0)
    for table in (one, other):
        with pytest.raises(SeenRowsError):
            model.evaluate(table)


# -- scores ------------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_backtest() -> None:
    schema, frame = plain(), panel((60, 40))
    train, _, test = il.split(frame, schema, valid=0, test=0.4)
    model = il.Model(il.InputLayer(schema), il.LSTM(4))
    model.fit(train, epochs=1)
    assert test is not None
    found = model.evaluate(test, context=train)
    pairs = model.backtest(test, context=train)
    error = (pairs["load"] - pairs["load_true"]).to_numpy()
    spread = float(np.std(train.frame()["load"].to_numpy()))
    assert found["rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    assert found["mae_standardised"] == pytest.approx(np.abs(error).mean() / spread)
    assert set(found["baselines"]) >= {"repeat last", "ridge"}
    assert "beat" in found["verdict"]
    assert "repeat last" in str(found)


def test_class_scores_are_those_of_the_backtest() -> None:
    model, frame = fresh("groups, per step")
    model.fit(frame, epochs=1)
    pairs = model.backtest(frame)
    found = model.evaluate(frame, allow_seen=True)
    assert found["accuracy"] == pytest.approx((pairs["hot"] == pairs["hot_true"]).mean())
    assert "majority" in found["baselines"]


# -- raw data of any source --------------------------------------------------------------------------------------------

DOORS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "dict": lambda f: f.to_dict(as_series=False),
    "rows": lambda f: f.to_dicts(),
    "pandas": lambda f: f.to_pandas(),
    "arrow": lambda f: f.to_arrow(),
    "lazy": lambda f: f.lazy(),
}


@pytest.mark.parametrize("door", DOORS)
def test_any_source_gives_the_same_prediction(door: str) -> None:
    frame = panel((30,))
    expected = il.Model(il.InputLayer(plain()), il.LSTM(4))
    expected.fit(frame, epochs=1)
    given = DOORS[door](frame)
    model = il.Model(il.InputLayer(plain()), il.LSTM(4))
    model.fit(given, epochs=1)
    assert model.predict(given).equals(expected.predict(frame), null_equal=True)


def test_a_single_group_a_constant_column_and_one_row_more_than_a_window() -> None:
    single = panel((5,)).with_columns(temp=pl.lit(3.0), label=pl.lit(1.0))
    of = groups()
    model = il.Model(il.InputLayer(il.Schema({**of.columns, "label": il.Number()}, of.sequence, "label")), il.LSTM(4))
    model.fit(single, epochs=1)
    assert model.predict(single).height == 1
    schema = il.Schema({"load": il.Number()}, il.Windows("time", 6, 1), target="load")
    few = il.Model(il.InputLayer(schema), il.LSTM(4))
    few.fit(panel((7,)), epochs=1)
    assert few.predict(panel((7,))).height == 1


def test_quantiles_do_not_cross() -> None:
    table = {"day": list(range(60)), "load": [float(i * i % 11) for i in range(60)]}
    schema = il.Schema({"load": il.Number()}, il.Windows("day", length=8, horizon=3), target="load")
    model = il.Model(il.InputLayer(schema), il.LSTM(4), il.Regression("quantile", quantiles=(0.1, 0.5, 0.9)))
    model.fit(table, epochs=0)
    found = model.backtest(table).select("load_q10", "load_q50", "load_q90").to_numpy()
    assert (found[:, :-1] <= found[:, 1:]).all()
    text = str(model.evaluate(table, allow_seen=True))
    assert "pinball" in text
    assert "coverage" in text
