"""The layer alone, in front of any torch module."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import inputlayer as il
from inputlayer.batch import Batches
from inputlayer.errors import NotFittedError, OptionError
from samples import ROADS, panel, windows


@pytest.mark.parametrize("road", ROADS)
def test_what_the_body_sees_has_the_plans_sizes(road: str) -> None:
    schema, frame = ROADS[road]
    layer = il.InputLayer(schema).fit(frame)
    for batch in layer.batches(frame, 5):
        inputs = layer(batch)
        assert inputs.x.shape == (len(batch), int(batch.lengths.max()), layer.width)
        assert inputs.x.dtype == torch.float32
        assert inputs.future.shape == (len(batch), schema.horizon, len(layer.plan.future))
        assert torch.isfinite(inputs.x).all()
        real = torch.arange(inputs.x.shape[1]) < batch.lengths[:, None]
        assert not inputs.x[~real].any()


def test_wires_are_named_by_column_and_rows_are_sorted() -> None:
    frame = panel((12, 9))
    layer = il.InputLayer(windows()).fit(frame)
    wires = layer.encode(frame.reverse())
    expected = (frame["load"].to_numpy() - frame["load"].mean()) / np.std(frame["load"].to_numpy())
    assert np.allclose(wires["load"], np.concatenate([expected[:12], expected[12:]]), atol=1e-6)
    assert wires["sequence.start"].tolist() == [0, 1, 2, 3, 12]
    assert wires["sequence.length"].tolist() == [6] * 5
    assert wires["sequence.target"].tolist() == [6, 7, 8, 9, 18]
    assert set(wires) >= {"load", "wind", "holiday", "time.parts", "time.time", "size", "site"}


def test_cells_give_their_entries_end_to_end() -> None:
    schema, frame = ROADS["cells"]
    wires = il.InputLayer(schema).fit(frame).encode(frame)
    lengths = frame["wave"].list.len().to_list()
    assert wires["wave.lengths"].tolist() == lengths
    assert len(wires["wave"]) == sum(lengths)


def test_batches_without_targets_serve() -> None:
    schema, frame = ROADS["groups"]
    layer = il.InputLayer(schema).fit(frame)
    (batch,) = layer.batches(frame.drop("label"))
    assert batch.target is None
    assert batch.real is None
    assert layer(batch).x.shape[-1] == layer.width


@pytest.mark.parametrize("mode", ["last", "mean", "standard"])
def test_back_gives_each_window_its_level(mode: Any) -> None:
    frame = panel((30,)).with_columns(other=pl.col("load") * 3)
    columns = {"load": il.Number(), "other": il.Number()}
    schema = il.Schema(columns, il.Windows("time", 6, 2), target=("load", "other"))
    layer = il.InputLayer(schema, [il.InstanceNorm(mode)]).fit(frame)
    (batch,) = layer.batches(frame, 100)
    inputs = layer(batch)
    y = inputs.x[:, -2:, :2]
    assert torch.allclose(layer.back(y, inputs), torch.stack([batch.steps["load"], batch.steps["other"]], -1)[:, -2:])
    four = layer.back(y.unsqueeze(-1), inputs)
    assert torch.equal(four[..., 0], layer.back(y, inputs))
    raw = layer.raw(layer.back(y, inputs))
    assert raw.dtype == np.float64
    assert np.allclose(raw[..., 1], 3 * raw[..., 0], atol=1e-4)
    assert np.allclose(raw[:, -1, 0], frame["load"].to_numpy()[5:28], atol=1e-5)


def test_gradients_reach_the_embeddings() -> None:
    frame = panel((30,))
    layer = il.InputLayer(windows()).fit(frame)
    network = nn.LSTM(layer.width, 4, batch_first=True)
    batch = next(iter(layer.batches(frame, 8, shuffle=True)))
    network(layer(batch).x)[0].sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


def test_stages_are_the_layers_own() -> None:
    stage = il.InstanceNorm("last")
    one, other = (il.InputLayer(windows(), [stage]) for _ in range(2))
    assert one.stages[0] is not other.stages[0]
    with pytest.raises(OptionError, match=r"is no stage. Write il.InstanceNorm"):
        il.InputLayer(windows(), ["last"])  # type: ignore[list-item]


@pytest.mark.parametrize("call", ["width", "plan", "learnt"])
def test_sizes_are_known_once_fitted(call: str) -> None:
    with pytest.raises(NotFittedError, match="The input layer is not fitted yet"):
        getattr(il.InputLayer(windows()), call)


def test_static_columns_alone_are_an_input() -> None:
    columns: dict[str, Any] = {"size": il.Number(role="static"), "load": il.Number(role="target")}
    schema = il.Schema(columns, il.Windows("time", 6, 2, by="site"), target="load")
    model = il.Model(il.InputLayer(schema), il.LSTM(4))
    model.fit(panel(), epochs=1)
    assert model.layer.width == 1
    assert model.predict(panel()).height == 4


def test_horizon_columns_see_the_horizon_and_no_more() -> None:
    frame = panel((30,))
    layer = il.InputLayer(windows()).fit(frame)
    assert layer.schema.future == ("time", "holiday")
    changed = frame.with_columns(
        load=pl.when(pl.int_range(pl.len()) >= 27).then(99.0).otherwise(pl.col("load")),
        wind=pl.when(pl.int_range(pl.len()) >= 27).then(pl.lit("W")).otherwise(pl.col("wind")),
    )
    (one,), (other,) = layer.batches(frame, 100), layer.batches(changed, 100)
    assert torch.equal(layer(one).x[-1], layer(other).x[-1])
    assert torch.equal(layer(one).future[-1], layer(other).future[-1])
    known = frame.with_columns(
        holiday=pl.when(pl.int_range(pl.len()) >= 27).then(~pl.col("holiday")).otherwise(pl.col("holiday"))
    )
    (third,) = layer.batches(known, 100)
    assert torch.equal(layer(one).x[-1], layer(third).x[-1])
    assert not torch.equal(layer(one).future[-1], layer(third).future[-1])


@pytest.mark.parametrize("horizon", [0, 2])
def test_a_target_is_an_input_only_by_its_past(horizon: int) -> None:
    frame = panel((30,))
    layer = il.InputLayer(windows(horizon=horizon)).fit(frame)
    assert ("load" in layer.plan.channels) == bool(horizon)
    for road in ("groups", "groups, per step", "cells"):
        schema, table = ROADS[road]
        plan = il.InputLayer(schema).fit(table).plan
        assert not set(schema.targets) & {*plan.channels, *plan.extras, *plan.static}


ODD: dict[pl.DataType, list[Any]] = {
    pl.Float64(): [None, 1e30, -1e30, 0.0],
    pl.String(): [None, "", "never seen", "N"],
    pl.Boolean(): [None, True],
}


@pytest.mark.parametrize("road", ROADS)
@settings(max_examples=8)
@given(data=st.data())
def test_missing_and_unseen_values_never_fail(road: str, data: st.DataObject) -> None:
    schema, frame = ROADS[road]
    layer = fitted(road)
    inputs = [n for n in schema.inputs if frame.schema[n] in ODD and schema.columns[n].role != "static"]
    for name in data.draw(st.lists(st.sampled_from(inputs), min_size=1, unique=True)):
        value = data.draw(st.sampled_from(ODD[frame.schema[name]]))
        rows = data.draw(st.sets(st.integers(0, frame.height - 1)))
        odd = pl.int_range(pl.len()).is_in(list(rows))
        frame = frame.with_columns(
            pl.when(odd).then(pl.lit(value, frame.schema[name])).otherwise(pl.col(name)).alias(name)
        )
    (batch,) = Batches(layer.encoded(frame, targets=False), layer.learnt, 10_000, targets=False)
    with torch.inference_mode():
        seen = layer(batch)
    assert torch.isfinite(seen.x).all()
    assert torch.isfinite(seen.future).all()


@cache
def fitted(road: str) -> il.InputLayer:
    schema, frame = ROADS[road]
    return il.InputLayer(schema, [] if road == "cells" else [il.InstanceNorm("standard")]).fit(frame)


@pytest.mark.parametrize("shape", [(4, 2), (4, 3, 1), (4, 2, 2), (4, 2, 2, 1)])
def test_an_output_of_the_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    table = {"day": list(range(20)), "load": [float(i % 7) for i in range(20)]}
    schema = il.Schema({"load": il.Number()}, il.Windows("day", length=4, horizon=2), target="load")
    layer = il.InputLayer(schema, [il.InstanceNorm("last")]).fit(table)
    inputs = layer(next(iter(layer.batches(table, 4))))
    with pytest.raises(OptionError, match=r"not \(batch, 2, 1 target\)"):
        layer.back(torch.zeros(shape), inputs)
    with pytest.raises(OptionError, match=r"not \(batch, 2, 1 target\)"):
        layer.raw(torch.zeros(shape))
