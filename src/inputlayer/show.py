"""The picture of an input layer at work: what was learnt, what becomes of a table stage by stage, and where it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import signature
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from inputlayer.batch import Batch, Batches
from inputlayer.bodies.base import Body
from inputlayer.columns.base import Column, Ragged, Wires
from inputlayer.columns.number import Number, spellings
from inputlayer.encode import Encoded, encode
from inputlayer.errors import NotFittedError
from inputlayer.fit import Fitted
from inputlayer.heads import Classes
from inputlayer.layer import InputLayer, tables
from inputlayer.network import Network, describe
from inputlayer.road import BODY, COLUMNS, JOINED, WIRES, Road, Watch
from inputlayer.sequence import Windows
from inputlayer.shown import Shown
from inputlayer.stages.base import Stage
from inputlayer.table import Table
from inputlayer.wording import called, undone

SAMPLE = 1_024  # sequences sent down the road
_BATCH = 64


def show(network: Network | InputLayer, table: Any, context: Any = ()) -> Shown:
    """Send a table through an input layer, and look at every step of the way.

    Parameters
    ----------
    network
        A fitted `InputLayer`, or the `Network` it is the front of.
    table
        Raw data, with the target or without. All its rows are counted; at most 1,024 sequences, evenly spread, are
        sent down the road.
    context
        A table, or several, of the rows before: look-back only.

    Returns
    -------
    Shown
        Prints as text, renders as HTML, and gives its numbers by `to_dict`.

    Raises
    ------
    NotFittedError
        If the layer, or the network behind it, has learnt nothing yet.
    TableError
        With every problem of the tables.

    Examples
    --------
    >>> import inputlayer as il
    >>> table = {"day": list(range(40)), "load": [float(i % 7) for i in range(40)]}
    >>> schema = il.Schema({"load": il.Number()}, il.Windows("day", length=14, horizon=2), target="load")
    >>> train, valid, test = il.split(table, schema)
    >>> shown = il.show(il.InputLayer(schema).fit(train), test, context=[train, valid])
    >>> shown.to_dict()["end"]["line"]
    'input layer ends · float32 (7, 14, 1) · LSTM begins'
    """
    layer = network if isinstance(network, InputLayer) else network.layer
    if isinstance(network, Network) and not hasattr(network.head, "linear"):
        raise NotFittedError("The network")
    table = Table.of(table)
    targets = all(t in table.columns for t in layer.schema.targets)
    return look(network, table, encode(layer.learnt, table, tables(context), targets=targets), targets=targets)


def look(
    network: Network | InputLayer, table: Table, encoded: Encoded, *, targets: bool, watch: Watch | None = None
) -> Shown:
    """`show` of a table that is encoded already; `watch` is given every tensor of the road, batch by batch."""
    layer = network if isinstance(network, InputLayer) else network.layer
    fitted = layer.learnt
    batches = Batches(encoded, fitted, _BATCH, targets=targets)
    road = _walk(network, batches, watch)
    return Shown(
        {
            "table": _table(table, encoded, batches, targets=targets),
            "receipt": _receipt(fitted, encoded, targets=targets),
            "columns": [_column(layer, table, encoded, n, targets=targets) for n in layer.schema.columns],
            "sample": {"sequences": road.sequences, "of": batches.sequences, "padding": road.padding},
            "road": road.lines(),
            "end": _end(network, road),
            "after": _after(network, road),
        }
    )


# -- the table and what was learnt from others ------------------------------------------------------------------------


def _table(table: Table, encoded: Encoded, batches: Batches, *, targets: bool) -> dict[str, Any]:
    schema, index = batches.schema, encoded.index
    used = {*schema.needed(targets=True), schema.weight}
    series = len(encoded.receipt.keys) if isinstance(schema.sequence, Windows) else encoded.receipt.sequences
    return {
        "rows": table.height,
        "context_rows": int(encoded.rows.context.sum()),
        "series": series,
        "sequence": called(type(schema.sequence).__name__, schema.sequence.options()),
        "sequences": len(index),
        "skipped": dict(index.skipped),
        "length": [int(index.length.min()), int(index.length.max())],
        "padding": batches.padding(),
        "batch": _BATCH,
        "axes": table.axes,
        "target": list(schema.targets),
        "target_given": targets,
        "unused": [n for n in table.columns if n not in used],
    }


def _receipt(fitted: Fitted, encoded: Encoded, *, targets: bool) -> dict[str, Any]:
    """What was learnt from, and how much of what is shown was among it."""
    learnt, shown = fitted.receipt, encoded.receipt
    windows = isinstance(fitted.schema.sequence, Windows)
    # Groups and cells are known by a hash of all their columns, which a table without its target does not have.
    known = windows or targets
    seen, names = learnt.overlap(shown) if known else (None, [])
    span = None
    if windows and len(learnt.first):
        span = [_order_text(v, timed=encoded.rows.timed) for v in (learnt.first.min(), learnt.last.max())]
    return {
        "rows": learnt.rows,
        "sequences": learnt.sequences,
        "unit": "series" if windows else fitted.schema.sequence.kind,
        "span": span,
        "kept": len(learnt.hashes) if not windows and len(learnt.hashes) < learnt.sequences else None,
        "shown": shown.sequences,
        "seen": seen,
        "seen_names": [n for n in names if n][:5],
    }


def _order_text(value: Any, *, timed: bool) -> str:
    if not timed:
        return f"{value:g}" if isinstance(value, np.floating) else str(value)
    return str(pl.Series([int(value)]).cast(pl.Datetime("us"))[0]).removesuffix(" 00:00:00")


# -- one column -------------------------------------------------------------------------------------------------------


def _column(layer: InputLayer, table: Table, encoded: Encoded, name: str, *, targets: bool) -> dict[str, Any]:
    schema, state = layer.schema, layer.learnt.states[name]
    column = schema.columns[name]
    places = {"steps": schema.steps, "future": schema.future, "static": schema.static, "target": schema.targets}
    wires = {s: w._asdict() | {"shape": list(w.shape)} for s, w in column.wires(state).items()}
    shown = None
    if targets or name in schema.inputs:
        shown = _shown_rows(column, encoded, encoded.column(name))
        if isinstance(column, Number) and column.sentinels:
            shown["sentinels"] = _sentinels(column, table.frame([name])[name])
    return {
        "name": name,
        "kind": column.kind,
        "role": column.role,
        "places": [p for p, names in places.items() if name in names],
        "learnt": column.describe(state),
        "wires": wires,
        "features": features(layer, name),
        "shown": shown,
    }


def features(layer: InputLayer, name: str) -> list[str]:
    """The numbers per step that a column becomes, before any stage; none of a column that is no input."""
    if name not in layer.schema.inputs:
        return []
    column = layer.schema.columns[name]
    # Embeddings are drawn when a module is made, and this one is thrown away: no one's weights may depend on it.
    pooled = column.steps and layer.schema.sequence.steps_column != name
    with torch.random.fork_rng(devices=[]):
        make = type(column).pool if pooled else type(column).module
        module = make({name: (column, layer.learnt.states[name])})
    return [*module.channels, *module.extras]


def _shown_rows(column: Column, encoded: Encoded, wires: Wires) -> dict[str, Any]:
    """What is out of the ordinary in the table's own rows, as shares.

    `missing`: of the cells, sentinels among them; `gaps`: where cells hold several numbers, those of the numbers that
    are missing.
    """
    rows = encoded.rows
    place = np.arange(rows.count) - np.repeat(rows.offsets[:-1], np.diff(rows.offsets))
    own = place >= np.repeat(rows.context, np.diff(rows.offsets))
    missing = column.missing(wires)[own]
    held = {s: w.flat if isinstance(w, Ragged) else w[own] for s, w in wires.items()}
    cells = next(iter(held.values()))
    ragged = isinstance(next(iter(wires.values())), Ragged)
    limit = getattr(column, "clip", None)
    with np.errstate(invalid="ignore"):
        clipped = None if limit is None else _share(np.abs(cells) > limit)
    # Codes between missing, which is 0, and the first class stand for what training did not see.
    unseen = _share((cells > 0) & (cells < column.first_class)) if column.first_class > 1 else None
    return {
        "count": int(missing.size),
        "missing": _share(missing),
        "gaps": _share(np.isnan(cells)) if ragged and cells.dtype == np.float32 else None,
        "unseen": unseen,
        "clipped": clipped,
        "constant": _constant(held, np.zeros(len(cells), bool) if ragged else missing),
    }


def _sentinels(column: Number, cells: pl.Series) -> float | None:
    """The share of cells that hold a number the user named as meaning "missing"."""
    return _share(np.isin(cells.cast(pl.Float64).to_numpy(), spellings(column.sentinels)))


def _share(mask: np.ndarray) -> float | None:
    return float(mask.mean()) if mask.size else None


def _constant(wires: Mapping[str, Any], missing: np.ndarray) -> bool:
    """Whether several values are there and all are the same."""
    given = [w[~missing] for w in wires.values()]
    return len(given[0]) > 1 and all(bool((w == w[:1]).all()) for w in given)


# -- the road ---------------------------------------------------------------------------------------------------------


def _walk(network: Network | InputLayer, batches: Batches, watch: Watch | None) -> Road:
    """Send a sample of the sequences down the road, in eval mode and without gradients."""
    count = batches.sequences
    chosen = torch.from_numpy(np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).round().astype(np.int64)))
    length = batches.length[chosen]
    chosen = chosen[torch.argsort(length, stable=True)]
    parts = [chosen[i : i + _BATCH] for i in range(0, len(chosen), _BATCH)]
    held = sum(int(batches.length[p].max()) * len(p) for p in parts)
    road = Road(len(chosen), 1.0 - int(length.sum()) / held if held else 0.0, watch=watch)
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            for part in parts:
                _one_batch(network, batches.gather(part).to(device), road)
    finally:
        network.train(was_training)
    return road


def _one_batch(network: Network | InputLayer, batch: Batch, road: Road) -> None:
    layer = network if isinstance(network, InputLayer) else network.layer
    for part, wire, real in _wires(batch):
        present = ~torch.isnan(wire) if wire.is_floating_point() else None
        road.add(WIRES, "wires", part, wire, real, present)
    steps, memos = layer.to_steps(batch), []
    road.add_steps(COLUMNS, "columns' modules", steps)
    for i, stage in enumerate(layer.stages):
        steps, memo = stage(steps)
        memos.append(memo)
        road.add_steps(COLUMNS + 1 + i, _stage(stage), steps)
    inputs = layer.to_inputs(steps, memos)
    real = torch.arange(inputs.x.shape[1], device=inputs.x.device) < inputs.lengths[:, None]
    road.add(JOINED, "joined", "x", inputs.x, real)
    if isinstance(network, Network):
        hidden = network.body(inputs.x, inputs.lengths, inputs.future, inputs.key)
        road.add(BODY, "body", "", hidden, None)
        y = network.head(hidden)
        road.add(BODY, "head", "", y, None)
        _predictions(network, layer.back(y, inputs), batch, road)


def _wires(batch: Batch) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """The wires of each place side by side, by dtype, with the mask of their real steps."""
    length = next(iter(batch.steps.values())).shape[1] if batch.steps else 0
    real = torch.arange(length, device=batch.lengths.device) < batch.lengths[:, None]
    for place, wires in (("steps", batch.steps), ("static", batch.static), ("future", batch.future)):
        axes = 1 if place == "static" else 2
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for wire in wires.values():
            by_dtype.setdefault(wire.dtype, []).append(wire.reshape(*wire.shape[:axes], -1))
        for joined in (torch.cat(same, dim=-1) for same in by_dtype.values()):
            yield place, joined, real if place == "steps" else None


def _stage(stage: nn.Module) -> str:
    assert isinstance(stage, Stage)
    described = stage.describe()
    return called(str(described.pop("stage", type(stage).__name__)), described)


def _predictions(network: Network, y: Tensor, batch: Batch, road: Road) -> None:
    raw = network.raw(y)
    if network.layer.plan.per_step:
        raw = raw[(np.arange(raw.shape[1]) < batch.lengths.cpu().numpy()[:, None])][:, None]
    if isinstance(network.head, Classes):
        likely = raw.reshape(-1, raw.shape[-1])
        won = np.bincount(likely.argmax(axis=-1), minlength=likely.shape[-1])
        road.classes = won if road.classes is None else road.classes + won
        road.likely = likely.sum(axis=0) if road.likely is None else road.likely + likely.sum(axis=0)
        return
    quantiles = getattr(network.head, "quantiles", None) or (0.5,)
    for k, target in enumerate(network.layer.schema.targets):
        road.add(BODY, f"predicted {target}", "", torch.from_numpy(raw[:, :, k, quantiles.index(0.5)].copy()), None)


# -- where the input layer ends, and what follows ----------------------------------------------------------------------


def _end(network: Network | InputLayer, road: Road) -> dict[str, Any]:
    layer = network if isinstance(network, InputLayer) else network.layer
    body = type(network.body).__name__ if isinstance(network, Network) else "LSTM"
    joined, plan = road.named("joined"), layer.plan
    shape = ", ".join(map(str, joined["shape"]))
    return {
        "dtype": joined["dtype"],
        "shape": joined["shape"],
        "line": f"input layer ends · {joined['dtype']} ({shape}) · {body} begins",
        "features": [*plan.channels, *plan.extras, *plan.static],
        "future": list(plan.future),
        "weights": sum(p.numel() for p in layer.parameters()),
    }


def _undone(stage: nn.Module) -> str:
    """What the way back through a stage does; nothing for one that leaves the units as they are."""
    assert isinstance(stage, Stage)
    if type(stage).back is Stage.back:
        return ""
    if stage.forecasts:
        return f"the forecast of {_stage(stage)} is added, sequence by sequence"
    return f"{_stage(stage)} is undone, sequence by sequence"


def _after(network: Network | InputLayer, road: Road) -> dict[str, Any]:
    layer = network if isinstance(network, InputLayer) else network.layer
    back = [line for s in reversed(layer.stages) if layer.plans[0].targets and (line := _undone(s))]
    for target in layer.schema.targets:
        column, state = layer.schema.columns[target], layer.learnt.states[target]
        back.append(undone(target, column.kind, column.describe(state)))
    if not isinstance(network, Network):
        return {"body": None, "head": None, "back": back, "predictions": None}
    told = describe(network)
    parts = {}
    for name, module in (("body", network.body), ("head", network.head)):
        usual = signature(type(module)).parameters if isinstance(module, Body) else {}
        options = {k: v for k, v in told[name].items() if k not in ("kind", "class")}
        options = {k: v for k, v in options.items() if k not in usual or v != usual[k].default}
        parts[name] = {
            "name": called(type(module).__name__, options),
            "weights": sum(p.numel() for p in module.parameters()),
            "shape": road.named(name)["shape"],
        }
    return {**parts, "back": back, "predictions": _predicted(network, road)}


def _predicted(network: Network, road: Road) -> list[dict[str, Any]]:
    """Per target what came out, in raw units, or per class how often it won and its mean probability."""
    layer = network.layer
    if isinstance(network.head, Classes) and road.classes is not None and road.likely is not None:
        count = max(int(road.classes.sum()), 1)
        rows = zip(network.head.labels, road.classes / count, road.likely / count, strict=True)
        told = [{"class": c, "won": float(w), "probability": float(p) if np.isfinite(p) else None} for c, w, p in rows]
        return [{"target": layer.schema.targets[0], "classes": told}]
    told = []
    for target in layer.schema.targets:
        learnt = layer.schema.columns[target].describe(layer.learnt.states[target])
        span = [learnt["minimum"], learnt["maximum"]] if {"minimum", "maximum"} <= learnt.keys() else None
        told.append({"target": target, **road.named(f"predicted {target}"), "learnt": span})
    return told
