"""Export: a trained network as one ONNX file, from raw inputs to raw units, held against Python before it is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from inputlayer import store
from inputlayer.bodies.base import Body, Decoder
from inputlayer.errors import ArtefactError, OptionError, Problem, headed
from inputlayer.fit import Fitted
from inputlayer.graph import Graph
from inputlayer.heads import Classes
from inputlayer.network import Network
from inputlayer.onnx import drawn, parity, twin
from inputlayer.onnx.base import metadata, sealed
from inputlayer.onnx.cells import KINDS
from inputlayer.onnx.clock import check_format
from inputlayer.onnx.feeds import TOLERANCE, apart, feeds, to_json
from inputlayer.onnx.runtime import session
from inputlayer.onnx.step import streamed
from inputlayer.plain import class_name
from inputlayer.receipt import Receipt
from inputlayer.sequence import Windows
from inputlayer.stages import Stage
from inputlayer.table import Table
from inputlayer.times import fixed_offset

_CHECKED, _STORED = 256, 3  # sequences compared, and those kept in the file


@dataclass(frozen=True)
class Exported:
    """What was written: path, inputs (name, type, shape, what it holds), outputs, and how it compares with Python.

    `error`: the largest difference over `checked` sequences, of numbers in units of the target's training spread, of
    classes in probability. Printed, it tells all of it.
    """

    path: Path
    inputs: tuple[tuple[str, str, tuple[int | str, ...], str], ...]
    outputs: tuple[str, ...]
    checked: int
    error: float

    def __str__(self) -> str:
        width = max(len(name) for name, *_ in self.inputs)
        lines = [
            f"{self.path}: {self.checked} sequences answered as in Python, {self.error:.1g} apart at most",
            "inputs",
        ]
        for name, dtype, shape, holds in self.inputs:
            lines.append(f"  {name:<{width}}  {dtype} ({', '.join(map(str, shape))}): {holds}")
        return "\n".join([*lines, f"outputs: {', '.join(self.outputs)}"])


def export(network: Network, path: Path, table: Table | None) -> Exported:
    """Write `network` to `path`, once it has answered `table` (or drawn rows) as Python does.

    Raises
    ------
    OptionError
        Naming everything that has no ONNX twin, before anything is written.
    ArtefactError
        If the graph answers otherwise than Python, or the file cannot be written.
    """
    was_training = network.training
    network.eval()
    try:
        _refuse(network)
        graph, told = _built(network)
        run = session(graph.model({}).SerializeToString(), str(path), 1)
        error, checked = _checked(network, told, run, table)
        rows, step = streamed(network, told)
        model = graph.model(metadata(told | {"parity": {"sequences": checked, "error": error}, "stream": rows}) | step)
    finally:
        network.train(was_training)
    content = model.SerializeToString(deterministic=True)
    key, value = sealed(content)
    seal = type(model)()
    seal.metadata_props.add(key=key, value=value)
    store.write_bytes(path, [content, seal.SerializeToString()])
    inputs = tuple((i["name"], i["dtype"], tuple(i["shape"]), i["holds"]) for i in told["tells"])
    return Exported(path, inputs, tuple(a["name"] for a in told["answers"]), checked, error)


def _refuse(network: Network) -> None:
    """Refuse what has no twin, all of it in one message."""
    fitted, problems = network.layer.learnt, []
    for name in fitted.schema.inputs:
        column, state = fitted.schema.columns[name], fitted.states[name]
        if column.kind not in KINDS:
            what = f"{type(column).__name__} has no ONNX twin: it is a kind of your own"
            problems.append(Problem(what, name, remedy="Leave the column out, or use a kind of inputlayer.columns."))
            continue
        try:
            column.onnx(Graph(), name, state)
            if column.kind == "timestamp":
                check_format(getattr(column, "format", None), name)
        except (OptionError, NotImplementedError) as error:
            problems.append(Problem(str(error) or f"{type(column).__name__} has no ONNX twin", name))
    if not isinstance(network.body, Body):
        problems.append(_own("body", network.body))
    for module in network.modules():
        problems += [_own(what, module) for what, base in _TWINNED.items() if _lacks_twin(module, base)]
    if problems:
        raise OptionError(headed(problems, "the model cannot be written as ONNX"))


_TWINNED: dict[str, Any] = {"body": Body, "decoder": Decoder, "stage": Stage}
_REMEDY = {
    "body": "Export a model with il.LSTM or il.GRU.",
    "decoder": "Use one of inputlayer.bodies.",
    "stage": "Leave it out, or write its methods onnx and onnx_back.",
}


def _lacks_twin(module: nn.Module, base: Any) -> bool:
    """Whether what a module does has no twin; a stage whose way back does nothing needs none of that."""
    names = ("back", "onnx", "onnx_back")
    own = {name for name in names if getattr(type(module), name, None) is not getattr(base, name, None)}
    return isinstance(module, base) and ("onnx" not in own or ("back" in own and "onnx_back" not in own))


def _own(what: str, module: nn.Module) -> Problem:
    """Says that a module of the user's own has no twin."""
    text = f"the {what} {type(module).__name__} has no ONNX twin: it is a module of your own"
    return Problem(text, remedy=_REMEDY[what])


# -- the graph, and what the file tells of it -------------------------------------------------------------------------


def _built(network: Network) -> tuple[Graph, dict[str, Any]]:
    fitted = network.layer.learnt
    g, raws = Graph(), twin.raw_inputs(fitted)
    try:
        twin.declare(g, raws)
    except ValueError as error:
        raise OptionError(f"the graph would have two inputs of one name: {error}. Rename the column.") from None
    wired, lengths = twin.to_wires(g, fitted, raws)
    given = None
    if twin.needs_lengths(fitted):
        given = _free("lengths", [raw.name for raw in raws])
        lengths = g.input(given, np.int64, ("batch",))
    elif lengths is None:
        whole = fitted.schema.sequence.fixed_length
        assert whole is not None
        lengths = twin.full_lengths(g, twin.batch_size(g, raws[0].name), whole)
    steps = twin.to_steps(g, network.layer, wired, twin.guarded(g, lengths))
    y = twin.through_network(g, network, steps)
    answers = twin.answers(g, network, y, [*(raw.name for raw in raws), *([given] if given else [])])
    return g, _told(network, raws, given, answers)


def _free(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _told(
    network: Network, raws: Sequence[twin.Raw], lengths: str | None, answers: Sequence[twin.Answer]
) -> dict[str, Any]:
    """All that the runtime needs to know, as JSON values."""
    fitted, head = network.layer.learnt, network.head
    schema, sequence, clock = fitted.schema, fitted.schema.sequence, fitted.clock
    timed = not isinstance(getattr(sequence, "max_gap", None), int | float)
    gap = sequence.gap_limit(timed=timed) if isinstance(sequence, Windows) and sequence.max_gap is not None else None
    told: dict[str, Any] = {
        "versions": {name: _version(name) for name in ("inputlayer", "torch", "onnx", "onnxruntime")},
        "schema": schema.to_dict(),
        "receipt": _receipt(fitted.receipt),
        "clock": None if clock is None else {"step": clock.step, "regular": clock.regular, "timed": clock.timed},
        "columns": {name: _spec(fitted, name) for name in schema.columns if name in schema.inputs},
        "reads": list(schema.inputs),
        "static": list(schema.static),
        "future": list(schema.future),
        "targets": list(schema.targets),
        "cell": sequence.steps_column,
        "horizon": schema.horizon,
        "max_gap": gap,
        "taken": sorted({*sequence.by_names, *schema.targets, *([sequence.order_name] if sequence.order_name else [])}),
        "lengths": lengths,
        "inputs": [
            {"name": r.name, "column": r.column, "place": r.place, "axes": list(r.axes), "entries": r.entries}
            for r in raws
        ],
        "answers": [
            {"name": a.name, "label": a.label, "target": a.target, "spread": _spread(fitted, a)} for a in answers
        ],
        "labels": [class_name(label) for label in head.labels] if isinstance(head, Classes) else [],
        "tells": [entry for raw in raws for entry in _tells(fitted, raw)],
    }
    if lengths is not None:
        told["tells"].append(_entry(lengths, "int64", ("batch",), "how many steps of each sequence are real"))
    return told


def _spread(fitted: Fitted, answer: twin.Answer) -> float | None:
    """What one unit of an answer is in comparisons; None for labels."""
    if answer.dtype != np.float64:
        return None
    return float(getattr(fitted.states[answer.target], "spread", 1.0))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _receipt(receipt: Receipt) -> dict[str, Any]:
    """What the fit saw; content hashes as one, which the receipt in the model's own file gives again."""
    told = {f.name: np.asarray(getattr(receipt, f.name)).tolist() for f in fields(receipt) if f.name != "hashes"}
    hashes = np.ascontiguousarray(receipt.hashes, "<i8")
    return told | {"hashes": hashlib.sha256(hashes.tobytes()).hexdigest()}


def _spec(fitted: Fitted, name: str) -> dict[str, Any]:
    """A column's kind and options, and what else is needed to take its cells in."""
    column, state = fitted.schema.columns[name], fitted.states[name]
    facts: dict[str, Any] = {}
    learnt: Any = state
    if column.kind == "category":
        facts = {"text": learnt.text}
    elif column.kind == "timestamp":
        two = column.onnx_input(state)[1] != ()
        facts = {"zone": learnt.zone, "offset": fixed_offset(learnt.zone), "two": two}
    elif column.kind == "vector":
        facts = {"learnt": learnt.size, "entry": [learnt.size]}
    elif column.kind == "audio":
        facts = {"rate": learnt.rate}
    elif column.kind == "image":
        facts = {"learnt": [*learnt.size, learnt.channels]}
    options = {f.name: getattr(column, f.name) for f in fields(column)}
    kept = {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}
    return {"kind": column.kind, **kept, **facts}


def _tells(fitted: Fitted, raw: twin.Raw) -> list[dict[str, Any]]:
    """A raw input, for people."""
    dtype = "string" if raw.dtype is object else np.dtype(raw.dtype).name
    holds = _HOLDS[fitted.schema.columns[raw.column].kind]
    entry = _entry(raw.name, dtype, raw.shape, holds(_spec(fitted, raw.column)))
    if not raw.entries:
        return [entry]
    more = _entry(f"{raw.name}.lengths", "int64", ("batch", *raw.axes), "how many of each cell's entries are real")
    return [entry, more]


def _entry(name: str, dtype: str, shape: tuple[int | str, ...], holds: str) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape), "holds": holds}


def _clock_of(spec: Mapping[str, Any]) -> str:
    text = "microseconds since 1970, -2**63 where missing"
    if spec["offset"] is None:
        text += f"; on the wall clock of {spec['zone']}, since a graph knows no zones"
    elif spec["zone"] is not None:
        text += f"; on the wall clock of {spec['zone']}"
    return text + (", and in UTC beside it" if spec["two"] else "")


_HOLDS: dict[str, Any] = {
    "number": lambda spec: "numbers, NaN where missing",
    "category": lambda spec: "text, '' where missing" if spec["text"] else "whole numbers, -2**63 where missing",
    "flag": lambda spec: "1 true, 0 false, -1 where missing",
    "timestamp": _clock_of,
    "text": lambda spec: "text, '' where missing",
    "vector": lambda spec: "numbers, all of a cell NaN where missing",
    "series": lambda spec: "numbers, NaN where missing",
    "audio": lambda spec: f"samples, {spec['rate']} a second, NaN behind the last; no file is decoded",
    "image": lambda spec: "pixels, {} x {} x {} (height, width, channels) a picture; no file is decoded".format(
        *spec["learnt"]
    ),
}


# -- the check --------------------------------------------------------------------------------------------------------


def _checked(network: Network, told: dict[str, Any], run: Any, table: Table | None) -> tuple[float, int]:
    """Compare, and put a few drawn rows with their answers into `told`: the largest difference, and of how many."""
    given, encoded = parity.sequences(network, told, Table.of(drawn.rows(network.layer.learnt)), _CHECKED)
    found = parity.in_graph(run, told, given)
    worst, count = apart(told, found, parity.in_python(network, encoded)), len(given)
    few = np.unique(np.linspace(0, count - 1, _STORED).round().astype(np.int64))
    stored = feeds(told, given, few)
    answers = run.run([answer["name"] for answer in told["answers"]], stored)
    told["test"] = {
        "inputs": {name: to_json(array) for name, array in stored.items()},
        "answers": [to_json(array) for array in answers],
    }
    if table is not None:
        given, encoded = parity.sequences(network, told, table, _CHECKED)
        worst = max(worst, apart(told, parity.in_graph(run, told, given), parity.in_python(network, encoded)))
        count += len(given)
    if not worst <= TOLERANCE:
        raise ArtefactError(
            f"the graph answers otherwise than Python, by {worst:.2g} in training units, so nothing was written. This"
            " is a defect of inputlayer, or of onnxruntime: please report it with the columns' kinds and options."
        )
    return worst, count
