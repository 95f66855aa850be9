"""The graph of one row more: raw cells and the state of the rows before -> the answer, and the next state.

A model whose state can be carried (see stepping.py) has this second graph in its file, among the metadata: a run of the
first one would begin anew.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from inputlayer.bodies.base import Body
from inputlayer.columns.base import TwinPart
from inputlayer.errors import ArtefactError, OptionError
from inputlayer.graph import Graph
from inputlayer.network import Network
from inputlayer.onnx import twin
from inputlayer.onnx.base import STEP
from inputlayer.onnx.feeds import TOLERANCE, apart, from_json, to_json
from inputlayer.onnx.runtime import session
from inputlayer.stepping import NetworkEngine, rows_kept


def streamed(network: Network, told: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What a file tells of streaming, and the entries of its metadata that hold the second graph, if there is one.

    Raises
    ------
    ArtefactError
        If that graph, row by row, answers otherwise than the first one does the whole.
    """
    try:
        length = rows_kept(network)
    except OptionError as error:
        return {"refused": str(error)}, {}
    model = NetworkEngine(network).fingerprint()
    if length is not None:
        return {"length": length, "model": model}, {}
    g, answers, memory = _built(network)
    facts = {
        "length": None,
        "model": model,
        "answers": [answer.name for answer in answers],
        "memory": [to_json(array) for array in memory],
    }
    content = g.model({}).SerializeToString(deterministic=True)
    _check(content, told, facts)
    return facts, {STEP: base64.b64encode(content).decode()}


def _built(network: Network) -> tuple[Graph, list[twin.Answer], tuple[np.ndarray, ...]]:
    """The graph, its answers, and the state before the first row."""
    layer, body = network.layer, network.body
    fitted, memory = layer.learnt, NetworkEngine(network).facts.layout.memory
    assert isinstance(body, Body)
    g, raws = Graph(), twin.raw_inputs(fitted, steps=1)
    twin.declare(g, raws)
    given = [g.input(f"/state.{i}", x.dtype, ("batch", *x.shape[1:])) for i, x in enumerate(memory)]
    wired, _ = twin.to_wires(g, fitted, raws)
    steps, static, at = [], [], 0
    after: list[str] = []
    for key, part in twin.modules(layer).items():
        with g.scope(key):
            if key.startswith("static"):
                static.append(twin.static_part(g, part, wired))
                continue
            count = len(part.begin(1))
            made, left = part.onnx_step(g, wired["steps"], given[at : at + count])
            steps.append(made)
            after += left
            at += count
    with g.scope("body"):
        y, left = body.onnx_step(g, _joined(g, steps, static), given[at:])
    with g.scope("head"):
        y = network.head.onnx(g, y)
    answers = twin.answers(g, network, y, [*(raw.name for raw in raws), *given])
    for i, (name, x) in enumerate(zip([*after, *left], memory, strict=True)):
        g.output(f"/next.{i}", name, x.dtype, ("batch", *x.shape[1:]))
    return g, answers, memory


def _joined(g: Graph, steps: list[TwinPart], static: list[TwinPart]) -> str:
    """What the body sees of one row, (B, 1, width): values, extras, static features."""
    parts = [x for field in ("values", "extras") for part in steps if (x := getattr(part, field)) is not None]
    parts += [x for part in static for x in (part.values, part.extras) if x is not None]
    return parts[0] if len(parts) == 1 else g("Concat", *parts, axis=2)


def _check(content: bytes, told: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Walk the sequences that the file stores, row by row, and compare with the answers stored beside them."""
    run = session(content, "the graph of one row", 1)
    inputs = {name: from_json(array) for name, array in told["test"]["inputs"].items()}
    wanted = [from_json(array) for array in told["test"]["answers"]]
    lengths = inputs.pop(told["lengths"])
    each = told["schema"]["sequence"].get("per_step", False)
    places = {spec["name"]: spec["place"] for spec in told["inputs"]}
    places |= {f"{name}.lengths": place for name, place in places.items()}
    count = len(facts["memory"])
    for b, length in enumerate(lengths.tolist()):
        memory = [from_json(array) for array in facts["memory"]]
        for t in range(length):
            row = {n: x[b : b + 1] if places[n] == "static" else x[b : b + 1, t : t + 1] for n, x in inputs.items()}
            row |= {f"/state.{i}": x for i, x in enumerate(memory)}
            found = run.run([*facts["answers"], *(f"/next.{i}" for i in range(count))], row)
            found, memory = found[: len(wanted)], found[len(wanted) :]
            if not (each or t == length - 1):
                continue
            own = [x[b : b + 1, t : t + 1] if each else x[b : b + 1] for x in wanted]
            if not (worst := apart(told, found, own)) <= TOLERANCE:
                raise ArtefactError(
                    f"row by row the graph answers otherwise than of the whole, by {worst:.2g} in training units, so"
                    " nothing was written. This is a defect: please report it with the columns' kinds and options."
                )
