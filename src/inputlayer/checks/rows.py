"""The law of a column kind whose sequences come row by row, in torch and in a graph."""

from __future__ import annotations

import numpy as np
import torch

from inputlayer.checks.base import TWIN, numpy_of, require, require_close, run_graph
from inputlayer.checks.columns import NAMES, _batched, _entries, _module, apply, encode, learn
from inputlayer.columns.base import Example, Part, wire_name
from inputlayer.graph import Graph

_STEPS = 7


def check_rows_come_one_by_one(example: Example) -> None:
    """Row by row, with the memory of the rows before, the module makes what it makes of the whole; its twin too."""
    state = learn(example)
    module = _module(example, state)
    wires = _batched(_entries(encode(example, [*example.probe, *example.train, *example.probe], state)), 2, _STEPS)
    whole, memory = apply(module, wires), module.begin(2)
    g, types = Graph(), example.column.wires(state)
    inputs = {
        wire_name(name, suffix): g.input(wire_name(name, suffix), kind.dtype, ("batch", 1, *kind.shape))
        for name in NAMES
        for suffix, kind in types.items()
    }
    given = [g.input(f"memory {i}", x.numpy().dtype, ("batch", *x.shape[1:])) for i, x in enumerate(memory)]
    twin, after = module.onnx_step(g, inputs, given)
    for field, name in twin._asdict().items():
        if name is not None:
            g.output(f"part {field}", name, bool if field == "present" else np.float32, ("batch", 1, field))
    for i, name in enumerate(after):
        g.output(f"after {i}", name, memory[i].numpy().dtype, ("batch", *memory[i].shape[1:]))
    twins = {name: x.numpy() for name, x in zip(given, memory, strict=True)}
    for step in range(_STEPS):
        row = {name: np.ascontiguousarray(x[:, step : step + 1]) for name, x in wires.items()}
        part, memory = module.step({name: torch.from_numpy(x) for name, x in row.items()}, memory)
        found = run_graph(g, row | twins)
        twins = {name: found[f"after {i}"] for i, name in enumerate(given)}
        for field in Part._fields:
            wanted, made = getattr(whole, field), getattr(part, field)
            require((wanted is None) == (made is None), f"only one of step and forward gives {field}")
            if wanted is not None:
                cut = numpy_of(wanted)[:, step : step + 1]
                size = TWIN * min(float(np.abs(cut.astype(np.float64)).max(initial=1.0)), 1e3)
                require_close(numpy_of(made), cut, size, f"{field} of row {step}")
                require_close(found[f"part {field}"], cut, size, f"{field} of row {step} in the graph")
