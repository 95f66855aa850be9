"""The law of a column kind whose cells hold several entries and are no steps: each becomes one vector."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from inputlayer.checks.base import TWIN, numpy_of, require, require_close, run_graph
from inputlayer.checks.columns import NAMES, SIZES, apply, encode, learn
from inputlayer.columns.base import Example, Part, Ragged, Wires, wire_name
from inputlayer.graph import Graph


def check_pooled_cells(example: Example) -> None:
    """Cells that are no steps: one vector each, as wide as its names, finite, whatever the padding, also in a graph."""
    if not example.column.steps:
        return
    state = learn(example)
    torch.manual_seed(0)
    module = example.column.pool(dict.fromkeys(NAMES, (example.column, state))).eval()
    types, g = example.column.wires(state), Graph()
    inputs: dict[str, str] = {}
    for name, (suffix, kind) in itertools.product(NAMES, types.items()):
        full = wire_name(name, suffix)
        inputs[full] = g.input(full, kind.dtype, ("batch", "time", "entries", *kind.shape))
        inputs[f"{full}.lengths"] = g.input(f"{full}.lengths", np.int64, ("batch", "time"))
    twin = module.onnx(g, inputs)
    require(twin.extras is not None and twin.values is None, "pooled cells are extras")
    g.output("extras", str(twin.extras), np.float32, ("batch", "time", "extras"))
    wires = encode(example, [*example.train, *example.probe], state)
    for batch, length in SIZES:
        given = _cells_of(wires, batch, length, 0)
        part = apply(module, given)
        wanted = _extras(part)
        require(wanted.shape == (batch, length, len(module.extras)), f"extras: shape {wanted.shape}")
        require(np.isfinite(wanted).all(), "extras: not finite")
        longer = _extras(apply(module, _cells_of(wires, batch, length, 3)))
        require_close(longer, wanted, TWIN, "extras with more padding")
        require_close(run_graph(g, given)["extras"], wanted, TWIN * max(1.0, np.abs(wanted).max()), "extras, graph")


def _extras(part: Part) -> np.ndarray:
    require(part.extras is not None and part.values is None, "pooled cells are extras")
    assert part.extras is not None
    return numpy_of(part.extras)


def _cells_of(wires: Wires, batch: int, length: int, more: int) -> dict[str, np.ndarray]:
    """Whole cells (batch, length, L, *entry), padded by what "missing" looks like, and their lengths, by wire name."""
    found: dict[str, np.ndarray] = {}
    for suffix, wire in wires.items():
        require(isinstance(wire, Ragged), f"wire {suffix!r} of a cell that is pooled is not ragged")
        assert isinstance(wire, Ragged)
        rows = np.arange(batch * length) % (len(wire.offsets) - 1)
        lengths = wire.lengths[rows]
        shape = (len(rows), lengths.max() + more, *wire.flat.shape[1:])
        padded = np.full(shape, np.nan if wire.flat.dtype.kind == "f" else 0, wire.flat.dtype)
        for i, row in enumerate(rows):
            padded[i, : lengths[i]] = wire.flat[slice(*wire.offsets[row : row + 2])]
        for name in (wire_name(n, suffix) for n in NAMES):
            found[name] = padded.reshape(batch, length, *padded.shape[1:])
            found[f"{name}.lengths"] = lengths.reshape(batch, length)
    return found
