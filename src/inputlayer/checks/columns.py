"""The laws of a column kind, each checked on an example that the kind brings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from inputlayer.checks.base import TWIN, numpy_of, require, require_close, require_json, run_graph
from inputlayer.columns.base import ColumnModule, Example, Part, Ragged, Where, Wires, wire_name
from inputlayer.errors import Problems, shorten
from inputlayer.graph import Graph
from inputlayer.store import pack, unpack

NAMES = ("load", "b.c")  # two columns of a kind, one with a dot in its name, share a module
MERGED = 1e-12  # relative: what was learnt in pieces against what was learnt at once


class _Taken(NamedTuple):
    """Cells as a kind takes them in."""

    values: Any
    problems: Problems


def _take(example: Example, cells: Sequence[Any]) -> _Taken:
    problems = Problems()
    return _Taken(example.column.accept(_cells(example, cells), Where(NAMES[0], 0, problems)), problems)


def _cells(example: Example, cells: Sequence[Any]) -> pl.Series:
    return pl.Series(NAMES[0], list(cells), dtype=example.dtype, strict=example.dtype is not None)


def learn(example: Example, pieces: Sequence[Sequence[Any]] | None = None) -> Any:
    """What is learnt of the example's training cells, at once or in pieces."""
    statistic, row, problems = None, 0, Problems()
    for cells in pieces or [example.train]:
        found = example.column.learn(_take(example, cells).values, row)
        statistic = found if statistic is None else statistic.merge(found)
        row += len(cells)
    state = example.column.finish(statistic, Where(NAMES[0], 0, problems))  # type: ignore[arg-type]  # there is a piece, and so a statistic
    require(not len(problems), f"learning notes problems: {[str(p) for p in problems]}")
    return state


def encode(example: Example, cells: Sequence[Any], state: Any) -> Wires:
    return example.column.encode(_take(example, cells).values, state)


def _entries(wires: Wires) -> dict[str, np.ndarray]:
    """The wires' entries, those of ragged ones end to end."""
    return {suffix: wire.flat if isinstance(wire, Ragged) else wire for suffix, wire in wires.items()}


def check_wires_match_their_type(example: Example) -> None:
    """Dtype, shape and raggedness are those that `wires` states, for training and probe cells."""
    state = learn(example)
    types = example.column.wires(state)
    for cells in (example.train, example.probe):
        wires = encode(example, cells, state)
        require(list(wires) == list(types), f"wires {list(wires)}, not {list(types)}")
        for suffix, wire in wires.items():
            kind = types[suffix]
            require(isinstance(wire, Ragged) == kind.ragged, f"wire {suffix!r}: ragged={kind.ragged} is not so")
            rows = len(wire.offsets) - 1 if isinstance(wire, Ragged) else len(wire)
            flat = _entries(wires)[suffix]
            require(rows == len(cells), f"wire {suffix!r}: {rows} rows of {len(cells)} cells")
            require(flat.dtype == kind.dtype, f"wire {suffix!r}: {flat.dtype}, not {kind.dtype}")
            require(flat.shape[1:] == kind.shape, f"wire {suffix!r}: entries {flat.shape[1:]}, not {kind.shape}")
            require(flat.dtype.kind != "f" or not np.isinf(flat).any(), f"wire {suffix!r}: infinite")


def check_wires_worked_by_hand(example: Example) -> None:
    """The probe's wires are those that the author worked out; a mistake that fits itself passes every other law."""
    if example.wires is None:
        return
    wires = encode(example, example.probe, learn(example))
    require(set(wires) == set(example.wires), f"wires {list(wires)}, by hand {list(example.wires)}")
    for suffix, wire in wires.items():
        wanted = list(example.wires[suffix])
        if isinstance(wire, Ragged):
            lengths = [len(row) for row in wanted]
            require(wire.lengths.tolist() == lengths, f"wire {suffix!r}: lengths {wire.lengths}, by hand {lengths}")
            wanted = [entry for row in wanted for entry in row]
        flat = _entries(wires)[suffix]
        require_close(flat, np.array(wanted, flat.dtype), max(example.tolerance, 1e-6), f"wire {suffix!r}")


def check_rows_stand_alone(example: Example) -> None:
    """A row's wires depend on its own cell only, and reading them changes neither cells nor state."""
    state = learn(example)
    whole = encode(example, example.probe, state)
    for row in range(len(example.probe)):
        alone = encode(example, example.probe[row : row + 1], state)
        for suffix, wire in whole.items():
            own = wire.flat[slice(*wire.offsets[row : row + 2])] if isinstance(wire, Ragged) else wire[row : row + 1]
            require_close(_entries(alone)[suffix], own, 0.0, f"row {row} alone, wire {suffix!r}")
    for suffix, flat in _entries(encode(example, example.probe, state)).items():
        require_close(flat, _entries(whole)[suffix], 0.0, f"encoded again, wire {suffix!r}")


def check_missing_is_told_apart(example: Example) -> None:
    """A missing cell never fails and has the wires of no cell that is there; or it is noted, where a row needs one."""
    column, state = example.column, learn(example)
    gap = _take(example, [None])
    wires = column.encode(gap.values, state)
    if len(gap.problems):
        ragged = any(isinstance(wire, Ragged) for wire in wires.values())
        require(ragged, f"a missing cell is noted: {[str(p) for p in gap.problems]}")
        return
    require(column.missing(wires).tolist() == [True], "missing() does not know a missing cell")
    untyped = column.encode(column.accept(pl.Series([None, None]), Where(NAMES[0], 0, Problems())), state)
    require(column.missing(untyped).all(), "missing() does not know the cells of a column of nulls")
    for cells in (example.train, example.probe):
        known = ~column.missing(encode(example, cells, state))
        cut = _cells(example, cells).is_null().to_numpy()
        require(not (known & cut).any(), "a null has the wires of a cell that is there")
        require(
            known.any() or cut.all() or cells is example.probe, "every training cell has the wires of a missing one"
        )


def check_merge_equals_whole(example: Example) -> None:
    """Learning in pieces, cut anywhere, gives what learning at once gives; the same pieces give the same."""
    whole, cells = learn(example), example.train
    for cut in range(1, len(cells)):
        apart = learn(example, [cells[:cut], cells[cut:]])
        _require_same_state(apart, whole, MERGED, f"cut before row {cut}")
    one_by_one = learn(example, [cells[i : i + 1] for i in range(len(cells))])
    _require_same_state(one_by_one, whole, MERGED, "row by row")
    _require_same_state(learn(example), whole, 0.0, "learnt again")


def _require_same_state(found: Any, wanted: Any, tolerance: float, what: str) -> None:
    require(type(found) is type(wanted), f"{what}: {type(found).__name__}, not {type(wanted).__name__}")
    if is_dataclass(wanted):
        for f in fields(wanted):
            _require_same_state(getattr(found, f.name), getattr(wanted, f.name), tolerance, f"{what}, {f.name}")
    elif isinstance(wanted, (tuple, list)):
        require(len(found) == len(wanted), f"{what}: {shorten(found)}, not {shorten(wanted)}")
        for i, (a, b) in enumerate(zip(found, wanted, strict=True)):
            _require_same_state(a, b, tolerance, f"{what}[{i}]")
    elif isinstance(wanted, (float, np.ndarray)):
        size = float(np.max(np.abs(wanted), initial=1.0))
        require(np.isfinite(wanted).all(), f"{what}: not finite")
        require_close(found, wanted, tolerance * size, what)
    else:
        require(found == wanted, f"{what}: {shorten(found)}, not {shorten(wanted)}")


def check_back_undoes_encode(example: Example) -> None:
    """`back` gives what was encoded: numbers within the stated tolerance, labels that have the same codes."""
    column, state = example.column, learn(example)
    if not column.invertible:
        return
    values = _take(example, example.train).values
    y = _entries(column.encode(values, state))[""]
    if y.dtype.kind == "f":
        raw = np.asarray(values.flat if isinstance(values, Ragged) else values, np.float64)
        back = column.back(y, state)
        require(back.dtype == np.float64, f"back gives {back.dtype}, not float64")
        reach = float(np.nanmax(raw) - np.nanmin(raw)) or 1.0
        require_close(back, raw, (1e-6 + example.tolerance) * reach, "back")
        return
    seen = y[y >= column.first_class]
    labels = column.back(seen.astype(np.int64) - column.first_class, state)
    again = column.encode(column.accept(pl.Series(NAMES[0], labels.tolist()), Where(NAMES[0], 0, Problems())), state)
    require_close(_entries(again)[""], seen, 0.0, "the codes of the labels that came back")


def check_description_and_options(example: Example) -> None:
    """`describe` gives JSON without NaN, and `options` make the same column again."""
    told = example.column.describe(learn(example))
    require(told, "describe gives nothing")
    require_json(told, "describe")
    again = type(example.column)(**json.loads(json.dumps(example.column.options())))
    require(again == example.column, f"options make {again}")


def _module(example: Example, state: Any) -> ColumnModule:
    torch.manual_seed(0)  # the same weights each time, where there are any
    return example.column.module(dict.fromkeys(NAMES, (example.column, state))).eval()


def _batched(entries: dict[str, np.ndarray], batch: int, length: int) -> dict[str, np.ndarray]:
    """Wires of `batch` sequences of `length` steps, the rows repeated as often as needed, by wire name."""
    at = np.arange(batch * length)
    shaped = {s: e[at % len(e)].reshape(batch, length, *e.shape[1:]) for s, e in entries.items()}
    return {wire_name(name, suffix): entry for name in NAMES for suffix, entry in shaped.items()}


def apply(module: ColumnModule, wires: dict[str, np.ndarray]) -> Part:
    part: Part = module({name: torch.from_numpy(np.ascontiguousarray(wire)) for name, wire in wires.items()})
    return part


def check_module_gives_what_it_names(example: Example) -> None:
    """The module's tensors are finite, as wide as its names say, and each weight has a gradient."""
    state = learn(example)
    module = _module(example, state)
    for cells in (example.train, example.probe, [*example.probe, example.train[0]]):
        wires = _batched(_entries(encode(example, cells, state)), 2, 5)
        part = apply(module, wires)
        widths = {"values": len(module.channels), "present": len(module.channels), "extras": len(module.extras)}
        for name, width in widths.items():
            tensor = getattr(part, name)
            require((tensor is None) == (width == 0), f"{name}: {width} named, but {tensor if width else 'one'} given")
            if tensor is not None:
                require(tensor.shape == (2, 5, width), f"{name}: shape {tuple(tensor.shape)}, not (2, 5, {width})")
                require(torch.isfinite(tensor).all(), f"{name}: not finite")
    require(len(module.held) == len(module.channels), f"held has {len(module.held)} entries")
    made = [t.square().sum() for t in (part.values, part.extras) if t is not None and t.requires_grad]
    weights = list(module.parameters())
    require(bool(made) == bool(weights), "there are weights, but nothing that depends on them")
    for gradient in torch.autograd.grad(torch.stack(made).sum(), weights, allow_unused=True) if made else ():
        require(gradient is not None, "a weight is not used")
        require(torch.isfinite(gradient).all(), "a gradient is not finite")


def check_steps_see_no_later_ones(example: Example) -> None:
    """What comes after a step, padding or another sequence of the batch has no say in what the module makes of it."""
    state = learn(example)
    module, entries = _module(example, state), _entries(encode(example, [*example.train, *example.probe], state))
    wires = _batched(entries, 2, 6)
    whole = apply(module, wires)
    for length in (1, 4):
        other = apply(module, {n: np.concatenate([w[:1, :length], w[1:, : 6 - length]], 1) for n, w in wires.items()})
        alone = apply(module, {n: w[:1, :length] for n, w in wires.items()})
        for name in Part._fields:
            tensors = [getattr(part, name) for part in (whole, other, alone)]
            if tensors[0] is not None:
                for found in tensors[1:]:
                    require_close(numpy_of(found)[:1, :length], numpy_of(tensors[0])[:1, :length], TWIN, name)


SIZES = ((1, 5), (3, 2))  # batch and length: a graph must hold for any


def check_twin_encodes_the_same(example: Example) -> None:
    """The graph gives the same wires from raw values: exactly, or within the example's tolerance."""
    column, state = example.column, learn(example)
    cells = [*example.train, *example.probe]
    values = _take(example, cells).values
    dtype, trailing = column.onnx_input(state)
    raw = np.asarray(column.onnx_values(values, state))
    fixed = tuple(a if isinstance(b, str) else b for a, b in zip(raw.shape[1:], trailing, strict=False))
    require(raw.shape[1:] == fixed, f"onnx_values gives entries {raw.shape[1:]}, not {trailing}")
    g = Graph()
    wires = column.onnx(g, g.input("raw", dtype, ("batch", "time", *trailing)), state)
    types = column.wires(state)
    if "lengths" in wires and types[""].ragged:
        _check_twin_pads_the_same(g, wires, raw, column.encode(values, state)[""], example.tolerance)
        return
    for suffix, name in wires.items():
        g.output(f"wire {suffix}", name, types[suffix].dtype, ("batch", "time", *types[suffix].shape))
    require(list(wires) == list(types), f"the graph gives wires {list(wires)}, not {list(types)}")
    entries = _entries(column.encode(values, state))
    for batch, length in SIZES:
        found = run_graph(g, {"raw": _batched({"": raw}, batch, length)[NAMES[0]].astype(dtype)})
        shaped = _batched(entries, batch, length)
        for suffix in wires:
            wanted = shaped[wire_name(NAMES[0], suffix)]
            require_close(found[f"wire {suffix}"], wanted, example.tolerance, f"wire {suffix!r} of the graph")


def _check_twin_pads_the_same(g: Graph, wires: dict[str, str], raw: np.ndarray, wire: Any, tolerance: float) -> None:
    """The law where a raw cell holds several entries: they stand right-padded, and the graph says how many."""
    shape = wire.flat.shape[1:]
    g.output("wire", wires[""], wire.flat.dtype, ("batch", "time", "entries", *shape))
    g.output("wire.lengths", wires["lengths"], np.int64, ("batch", "time"))
    for batch, length in SIZES:
        at = (np.arange(batch * length) % len(raw)).reshape(batch, length)
        found = run_graph(g, {"raw": raw[at]})
        require_close(found["wire.lengths"], wire.lengths[at], 0.0, "the graph's lengths")
        for place, row in np.ndenumerate(at):
            own = wire.flat[slice(*wire.offsets[row : row + 2])]
            require_close(found["wire"][place][: len(own)], own, tolerance, f"the graph's entries of cell {row}")


def check_twin_of_the_module(example: Example) -> None:
    """The graph makes the same parts of the wires as the module, at any batch size and length."""
    state = learn(example)
    module, entries = _module(example, state), _entries(encode(example, [*example.train, *example.probe], state))
    types, g = example.column.wires(state), Graph()
    inputs = {
        wire_name(name, suffix): g.input(wire_name(name, suffix), kind.dtype, ("batch", "time", *kind.shape))
        for name in NAMES
        for suffix, kind in types.items()
    }
    twin = module.onnx(g, inputs)
    for field, name in twin._asdict().items():
        if name is not None:
            g.output(f"part {field}", name, bool if field == "present" else np.float32, ("batch", "time", field))
    for batch, length in SIZES:
        wires = _batched(entries, batch, length)
        part, found = apply(module, wires), run_graph(g, wires)
        for field, tensor in part._asdict().items():
            require((tensor is None) == (f"part {field}" not in found), f"only one of graph and module gives {field}")
            if tensor is not None:
                wanted = numpy_of(tensor)
                size = float(np.abs(wanted).max(initial=1.0))
                require_close(found[f"part {field}"], wanted, TWIN * min(size, 1e3), f"{field} of the graph")


def check_twin_of_the_way_back(example: Example) -> None:
    """The graph gives the same raw units, within 1e-9 of their size, or the same labels."""
    column, state = example.column, learn(example)
    if not column.invertible:
        return
    wire = column.wires(state)[""]
    if wire.dtype == "float32":
        y = np.random.default_rng(0).standard_normal((2, 3, *wire.shape)).astype(np.float32)
    else:
        codes = _entries(encode(example, example.train, state))[""].astype(np.int64) - column.first_class
        y = np.resize(codes[codes >= 0], (2, 3))
    wanted = np.array(column.back(y, state).tolist())  # labels by their own type, not as objects
    g = Graph()
    g.output("back", column.onnx_back(g, g.input("y", y.dtype, y.shape), state), wanted.dtype, wanted.shape)
    size = float(np.abs(wanted).max(initial=1.0)) if wanted.dtype.kind == "f" else 0.0
    found = run_graph(g, {"y": y})["back"]
    require_close(found.astype(wanted.dtype), wanted, 1e-9 * size, "back of the graph")


def check_state_is_kept(example: Example) -> None:
    """The state, packed into JSON and arrays as a file holds it and unpacked again, is the same."""
    state = learn(example)
    told, arrays = pack(state)
    again = unpack(type(state), json.loads(json.dumps(told, allow_nan=False)), arrays)
    _require_same_state(again, state, 0.0, "the state read again")


CELL_LAWS: tuple[Callable[[Example], None], ...] = (
    check_wires_match_their_type,
    check_wires_worked_by_hand,
    check_rows_stand_alone,
    check_missing_is_told_apart,
    check_merge_equals_whole,
    check_back_undoes_encode,
    check_description_and_options,
    check_state_is_kept,
    check_module_gives_what_it_names,
    check_steps_see_no_later_ones,
    check_twin_encodes_the_same,
    check_twin_of_the_module,
    check_twin_of_the_way_back,
)
"""The laws of a column kind, but for that of pooled cells."""
