from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch

import inputlayer as il
from inputlayer import toml
from inputlayer.columns.base import Where
from inputlayer.columns.number import Number
from inputlayer.errors import OptionError, Problems
from inputlayer.number_embeddings import REACH, Embedded, Embeddings
from inputlayer.show import show
from samples import panel, windows

NAN = math.nan


def learn(column, cells):
    """What is learnt of one block of cells, whose problems are none."""
    problems = Problems()
    where = Where("load", 0, problems)
    state = column.finish(column.learn(column.accept(pl.Series("load", cells, pl.Float64), where), 0), where)
    assert not len(problems)
    return state


def embedded(column, train, cells):
    """The extras (cells, E) that one column gives."""
    state = learn(column, train)
    wire = column.encode(column.accept(pl.Series("load", cells, pl.Float64), Where("load", 0, Problems())), state)[""]
    module = Number.module({"load": (column, state)})
    part = module({"load": torch.from_numpy(wire)[None]})
    return part, module


def schema(role="observed", **embedding):
    """`windows` whose numbers have embeddings: the target's past, a column with gaps, and a static one."""
    made = windows()
    columns = dict(made.columns)
    columns["load"] = il.Number(**embedding)
    columns["temp"] = il.Number(fill="forward", since=True, role=role, **embedding)
    columns["size"] = il.Number(role="static", **embedding)
    return il.Schema(columns, made.sequence, target="load")


# -- by hand -------------------------------------------------------------------------------------------------------


def test_bins_lie_between_quantiles_and_fill_one_after_the_other():
    # Quantiles at 0, 1/2, 1: edges 0, 4, 20. In the paper's formula 1 is a quarter of the first bin; 8 fills it, and
    # is a quarter of the second.
    column = Number(scale="none", embedding="piecewise", size=2)
    part, module = embedded(column, [0.0, 4.0, 20.0], [0.0, 1.0, 4.0, 8.0, 20.0, -3.0, 99.0])
    assert module.extras == ("load bin 1", "load bin 2")
    wanted = [[0, 0], [0.25, 0], [1, 0], [1, 0.25], [1, 1], [0, 0], [1, 1]]
    np.testing.assert_allclose(part.extras[0].numpy(), wanted, atol=1e-7)
    assert part.values[0, :, 0].tolist() == [0.0, 1.0, 4.0, 8.0, 20.0, -3.0, 99.0]


def test_bins_are_those_of_the_raw_numbers_whatever_the_affine_scale():
    cells, probe = [3.0, -1.5, 250.0, 0.0, 7.25, -40.0, 12.0], [1.0, 8.0, 100.0]
    plain = embedded(Number(scale="none", embedding="piecewise", size=4), cells, probe)[0].extras
    for scale in ("standard", "minmax", "robust"):
        scaled = embedded(Number(scale=scale, embedding="piecewise", size=4), cells, probe)[0].extras
        np.testing.assert_allclose(scaled.numpy(), plain.numpy(), atol=1e-5)


def test_a_missing_number_has_the_embedding_of_what_fills_it_and_a_flag():
    part, module = embedded(Number(embedding="piecewise", size=2), [1.0, None, 3.0], [None, 2.0])
    assert module.extras == ("load missing", "load bin 1", "load bin 2")
    assert part.extras[0].tolist() == [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    assert part.present[0, :, 0].tolist() == [False, True]


def test_bins_that_many_rows_share_are_one_and_a_constant_column_has_none():
    edges = learn(Number(scale="none", embedding="piecewise", size=4), [0.0] * 9 + [8.0]).edges
    assert edges == (0.0, 8.0)
    part, module = embedded(Number(embedding="piecewise"), [5.0, 5.0, 5.0], [5.0, 6.0])
    assert module.extras == ()
    assert part.extras is None
    assert part.values[0, :, 0].tolist() == [0.0, 1.0]


def test_periodic_is_sines_and_cosines_then_a_linear_map_then_relu():
    embeddings = Embeddings([Embedded("load", 0, size=2, sigma=1.0)])
    (periodic,) = embeddings.periodic
    with torch.no_grad():
        periodic.frequency.copy_(torch.tensor([[0.25, 1.0]]))
        periodic.weight.copy_(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 2.0], [0.0, -1.0]]]))
        periodic.bias.copy_(torch.tensor([[0.5, 0.25]]))
        made = embeddings(torch.tensor([[[1.0], [0.125]]]))[0]
    # x = 1: a quarter turn and a whole one, so sin 1, 0 and cos 0, 1: 1 + .5, and 0 + 0 - 1 + .25 < 0.
    # x = 1/8: 1/32 and 1/8 of a turn.
    turn = 2 * math.pi
    first = math.sin(turn / 32) + 0.5
    second = math.sin(turn / 8) + 2 * math.cos(turn / 32) - math.cos(turn / 8) + 0.25
    np.testing.assert_allclose(made.numpy(), [[1.5, 0.0], [first, second]], atol=1e-6)
    assert embeddings.extras == ("load periodic 1", "load periodic 2")


def test_frequencies_are_drawn_with_the_spread_sigma_each_column_its_own():
    torch.manual_seed(0)
    columns = [Embedded("a", 0, size=400, sigma=0.01), Embedded("b", 1, size=400, sigma=5.0)]
    (periodic,) = Embeddings(columns).periodic
    spread = periodic.frequency.std(dim=1).tolist()
    assert spread == [pytest.approx(0.01, rel=0.1), pytest.approx(5.0, rel=0.1)]
    assert periodic.frequency.mean(dim=1).abs().tolist() < [0.002, 1.0]


def test_columns_of_several_sizes_and_kinds_share_a_module():
    columns = {
        "a": Number(embedding="periodic", size=3),
        "b": Number(),
        "c": Number(embedding="piecewise", size=2),
        "d": Number(embedding="periodic", size=2),
    }
    cells = [0.0, 1.0, 4.0]
    module = Number.module({name: (column, learn(column, cells)) for name, column in columns.items()})
    x = torch.tensor([[0.5, -1.0]])
    part = module(dict.fromkeys(columns, x))
    for name, column in columns.items():
        own = [i for i, extra in enumerate(module.extras) if extra.startswith(f"{name} ")]
        alone = Number.module({name: (column, learn(column, cells))})
        alone.load_state_dict({n: w for n, w in _own(module, name).items() if n in alone.state_dict()})
        made = alone({name: x}).extras
        assert len(own) == len(alone.extras)
        if own:
            torch.testing.assert_close(part.extras[..., own], made)


def _own(module, name):
    """The weights of column `a` (size 3) or `d` (size 2): each is alone in its group."""
    group = {"a": 0, "d": 1}.get(name)
    if group is None:
        return {}
    found = module.embeddings.periodic[group].state_dict()
    return {f"embeddings.periodic.0.{n}": w for n, w in found.items()}


@pytest.mark.parametrize("embedding", ["periodic", "piecewise"])
def test_the_largest_numbers_give_finite_embeddings(embedding):
    part, module = embedded(Number(embedding=embedding), [0.0, 1e-3, 2e-3], [1e300, -1e300, 3.4e38])
    assert torch.isfinite(part.extras).all()
    if embedding == "periodic":
        at_reach = module.embeddings(torch.tensor([[[REACH], [-REACH]]]))
        assert torch.equal(part.extras[0, :2], at_reach[0])


# -- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding": "periodc"}, "embedding='periodc' is not one of None, 'periodic', 'piecewise'"),
        ({"embedding": "piecewise", "size": 1}, "size=1 is not a whole number of at least 2"),
        ({"embedding": "periodic", "size": 2.5}, "size=2.5 is not a whole number"),
        ({"embedding": "periodic", "sigma": 0}, "sigma=0 is not a number above 0"),
        ({"embedding": "periodic", "sigma": math.inf}, "sigma=inf is not a number above 0"),
        ({"size": 16}, "size=16 has no effect: there is no embedding"),
        ({"sigma": 1.0}, "sigma=1.0 has no effect: there is no embedding"),
        ({"embedding": "piecewise", "sigma": 1.0}, "sigma=1.0 has no effect: embedding='piecewise' has no frequencies"),
        (
            {"embedding": "periodic", "role": "target"},
            "embedding='periodic' has no effect: a column with role='target'",
        ),
    ],
)
def test_options_without_sense_or_effect_are_refused(options, message):
    with pytest.raises(OptionError) as caught:
        Number(**options)
    assert message in str(caught.value)


def test_description_and_show_tell_bins_and_inputs():
    column = Number(embedding="piecewise", size=2)
    assert column.describe(learn(column, [0.0, 4.0, 20.0]))["edges"] == pytest.approx([0.0, 4.0, 20.0], abs=1e-5)
    layer = il.InputLayer(schema(embedding="piecewise", size=3)).fit(panel())
    text = str(show(layer, panel()))
    assert "piecewise embedding: 3 bins" in " ".join(text.split())
    text = str(show(il.InputLayer(schema(embedding="periodic")).fit(panel()), panel()))
    assert "periodic embedding: 8 inputs" in " ".join(text.split())


def test_options_stand_in_files_by_their_names():
    column = Number(embedding="periodic", size=4, sigma=0.5)
    assert column.options() == {"embedding": "periodic", "size": 4, "sigma": 0.5}
    assert list(toml.misfits(Number, column.options())) == []
    assert list(toml.misfits(Number, {"size": "8"})) == ['size = "8" must be a whole number']


# -- on the road ---------------------------------------------------------------------------------------------------


def test_bins_are_learnt_from_training_rows_only():
    made = schema(embedding="piecewise", size=4)
    train, valid, _ = il.split(panel(), made)
    model = il.Model(il.InputLayer(made), il.LSTM(units=2))
    model.fit(train, valid.frame().with_columns(pl.col("load") * 1e6), epochs=0)
    numbers = train.frame(["load"])["load"].to_numpy()
    mean, spread = numbers.mean(), numbers.std()
    wanted = (np.unique(np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1])) - mean) / spread
    state = model.fitted.states["load"]
    np.testing.assert_allclose(state.edges, wanted, atol=1e-6)


@pytest.mark.parametrize("embedding", ["periodic", "piecewise"])
@pytest.mark.parametrize("role", ["observed", "known"])
def test_the_number_stays_a_channel_and_its_embedding_joins_the_extras(embedding, role):
    made = schema(role, embedding=embedding, size=3)
    layer = il.InputLayer(made, stages=[il.InstanceNorm("last"), il.Patch(2)]).fit(panel()).eval()
    plan = layer.plans[0]
    assert plan.channels[plan.targets[0]] == "load"
    word = "periodic" if embedding == "periodic" else "bin"
    names = {n for n in plan.extras if word in n}
    assert names == {f"{name} {word} {i}" for name in ("load", "temp") for i in (1, 2, 3)}
    # Both sites have a size of their own, and two values make one bin.
    assert len([n for n in plan.static if word in n]) == (3 if embedding == "periodic" else 1)
    assert any(word in n for n in plan.future) == (role == "known")
    batch = next(iter(layer.batches(panel(), 64)))
    steps = layer.to_steps(batch)
    at = [i for i, n in enumerate(plan.extras) if n.startswith(f"load {word}")]
    bare = il.InputLayer(windows()).fit(panel())
    column = steps.values[..., plan.targets[0]]
    other = bare.to_steps(next(iter(bare.batches(panel(), 64))))
    torch.testing.assert_close(column, other.values[..., bare.plans[0].targets[0]])
    # InstanceNorm acts on the channel, not on what was made of it.
    normed, _ = layer.stages[0](steps)
    assert torch.equal(normed.extras[..., at], steps.extras[..., at])
    assert not torch.equal(normed.values, steps.values)


@pytest.mark.parametrize("embedding", ["periodic", "piecewise"])
def test_padding_changes_nothing_and_a_saved_model_comes_back_to_the_same_bytes(embedding, tmp_path):
    made = windows(pad_short=True, length=12)
    columns = {**made.columns, "load": il.Number(embedding=embedding), "temp": il.Number(embedding=embedding, size=4)}
    columns["holiday"] = il.Flag()
    made = il.Schema(columns, made.sequence, target="load")
    model = il.Model(il.InputLayer(made, stages=[il.InstanceNorm("last")]), il.LSTM(units=3))
    model.fit(panel(), epochs=1)
    frame = panel((40, 9))
    both, alone = model.predict(frame), model.predict(frame.filter(pl.col("site") == "south"))
    together = both.filter(pl.col("site") == "south")["load"].to_numpy()
    np.testing.assert_allclose(alone["load"].to_numpy(), together, rtol=1e-5)
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    model.save(first)
    again = il.load(first)
    again.save(second)
    assert first.read_bytes() == second.read_bytes()
    assert again.predict(frame).equals(both)


def test_per_channel_gives_every_target_the_embeddings_of_all():
    columns = {"a": il.Number(embedding="piecewise", size=2), "b": il.Number()}
    table = {"t": list(range(30)), "a": [float(i % 5) for i in range(30)], "b": [float(i % 3) for i in range(30)]}
    made = il.Schema(columns, il.Windows("t", length=6, horizon=2), target=["a", "b"])
    layer = il.InputLayer(made, stages=[il.PerChannel(0)]).fit(table)
    assert layer.plan.channels == ("channel",)
    assert layer.plan.extras == ("a bin 1", "a bin 2")
    x = layer(next(iter(layer.batches(table, 4)))).x
    assert torch.equal(x[0::2, :, 1:], x[1::2, :, 1:])


def test_it_helps_where_the_answer_is_no_line():
    """A wave that turns twice within the range of x: the number alone does not suffice for the same small network."""
    draw = np.random.default_rng(0)
    x = draw.uniform(-1, 1, 400)
    table = {"x": x.tolist(), "y": np.sin(8 * x).tolist()}
    losses = []
    for column in (il.Number(), il.Number(embedding="periodic", size=8, sigma=1.0)):
        made = il.Schema({"x": column, "y": il.Number()}, il.Cells(), target="y")
        model = il.Model(il.InputLayer(made), il.LSTM(units=4))
        losses.append(model.fit(table, epochs=30, lr=0.02).train_loss[-1])
    assert losses[1] < 0.5 * losses[0]
