"""The artefact: a trained model in one safetensors file.

The header holds JSON only: schema, stages, body and head by kind and options, what each column learnt, receipt,
history. Kinds are looked up in closed lists; no name in the file is ever imported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from inputlayer import store
from inputlayer.baselines import Baselines
from inputlayer.bodies import body_from
from inputlayer.columns import KINDS
from inputlayer.encode import Encoded
from inputlayer.errors import ArtefactError, InputLayerError
from inputlayer.fit import Clock, Fitted
from inputlayer.heads import head_from
from inputlayer.layer import InputLayer
from inputlayer.network import Network, describe
from inputlayer.receipt import Receipt
from inputlayer.run import History
from inputlayer.schema import Schema
from inputlayer.stages import stage_from


@dataclass
class Contents:
    """What an artefact holds. `seen`: receipts of what was trained on besides the fitted half's own."""

    network: Network
    baselines: Baselines | None
    valid_receipt: Receipt | None
    history: History | None
    seen: tuple[Receipt, ...] = ()


def save(path: Path, contents: Contents) -> None:
    """Write `contents` to `path`, atomically; the same contents give the same bytes."""
    network = contents.network
    fitted = network.layer.learnt
    tensors: dict[str, np.ndarray] = {
        f"weights/{n}": t.detach().cpu().contiguous().numpy() for n, t in network.state_dict().items()
    }
    header: dict[str, Any] = {
        "kind": "model",
        "schema": fitted.schema.to_dict(),
        "columns": list(fitted.schema.columns),  # their order, which a JSON object need not keep
        "stages": network.layer.described_stages(),
        **describe(network),
        "states": {n: _packed(s, f"states/{n}", tensors) for n, s in fitted.states.items()},
        "receipt": _packed(fitted.receipt, "receipt", tensors),
        "clock": None if fitted.clock is None else _packed(fitted.clock, "clock", tensors),
        "valid_receipt": None
        if contents.valid_receipt is None
        else _packed(contents.valid_receipt, "valid_receipt", tensors),
        "seen": [_packed(r, f"seen/{i}", tensors) for i, r in enumerate(contents.seen)],
        "history": None if contents.history is None else _timeless(contents.history),
    }
    if contents.baselines is not None:
        header["baselines"], arrays = contents.baselines.state()
        tensors |= {f"baselines/{n}": a for n, a in arrays.items()}
    store.write(path, header, tensors)


def load(path: Path, body: nn.Module | None = None) -> Contents:
    """Read what `save` wrote.

    Raises
    ------
    ArtefactError
        If the file is none of ours, is damaged, comes from a newer version, or needs `body`: a module of the class and
        the sizes that it was saved with.
    """
    header, tensors = store.read(path)
    if header.get("kind") != "model":
        raise ArtefactError(f"{path} holds a {header.get('kind')!r}, not a model")
    try:
        return _contents(header, tensors, body)
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}") from None
    except (InputLayerError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ArtefactError(f"{path} cannot be read: {error}") from error


def fingerprint(fitted: Fitted, encoded: Encoded) -> str:
    """A hash of what is trained on: what was learnt, and the encoded rows."""
    digest = hashlib.sha256(repr(fitted.schema.to_dict()).encode())
    for array in (*encoded.packed.values(), *(r.flat for r in encoded.ragged.values()), encoded.index.start):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _contents(header: Mapping[str, Any], tensors: Mapping[str, np.ndarray], body: nn.Module | None) -> Contents:
    described = header["schema"]
    kinds = {n: spec["kind"] for n, spec in described["columns"].items()}
    foreign = [f"column {n!r} has the kind {kind!r}" for n, kind in kinds.items() if kind not in KINDS]
    if foreign:
        raise ArtefactError(f"{', '.join(foreign)}, which is not registered. Import the module that registers it first")
    schema = Schema.from_dict({**described, "columns": {n: described["columns"][n] for n in header["columns"]}})
    layer = InputLayer(schema, [stage_from(spec) for spec in header["stages"]])
    states = {
        n: _unpacked(KINDS[schema.columns[n].kind].State, spec, f"states/{n}", tensors)
        for n, spec in header["states"].items()
    }
    clock = None if header["clock"] is None else _unpacked(Clock, header["clock"], "clock", tensors)
    layer.restore(Fitted(schema, states, _unpacked(Receipt, header["receipt"], "receipt", tensors), clock))
    network = Network(layer, _body(header["body"], body), head_from(header["head"]))
    network.build()
    weights = {n[8:]: torch.from_numpy(a) for n, a in tensors.items() if n.startswith("weights/")}
    if body is not None:
        _check_weights(network, weights)
    network.load_state_dict(weights)
    network.eval()
    baselines = None
    if header.get("baselines") is not None:
        arrays = {n[10:]: a for n, a in tensors.items() if n.startswith("baselines/")}
        baselines = Baselines.restore(layer.learnt, header["baselines"], arrays)
    valid, history = header["valid_receipt"], header["history"]
    return Contents(
        network,
        baselines,
        None if valid is None else _unpacked(Receipt, valid, "valid_receipt", tensors),
        None if history is None else History.from_dict({**history, "seconds": [0.0] * len(history["lr"])}),
        tuple(_unpacked(Receipt, spec, f"seen/{i}", tensors) for i, spec in enumerate(header["seen"])),
    )


def _body(spec: Mapping[str, Any], given: nn.Module | None) -> nn.Module:
    if spec["kind"] is not None:
        if given is not None:
            raise ArtefactError(f"the model has a body of its own ({spec['kind']}): leave body= out")
        return body_from(spec)
    if given is None:
        raise ArtefactError(f"the model has a body of your own, {spec['class']}: pass one like it as body=")
    name = type(given).__name__
    if name != spec["class"]:
        raise ArtefactError(f"the model was saved with the body {spec['class']}, and body= is {name}: pass one like it")
    return given


def _check_weights(network: Network, weights: Mapping[str, Tensor]) -> None:
    """Refuse a body of the user's own of other sizes than the file's; those of the head follow from its `width`."""
    kept, here = ({n: tuple(w.shape) for n, w in of.items()} for of in (weights, network.state_dict()))
    problems = []
    for name in sorted({n for n in (*kept, *here) if n.startswith("body.") and kept.get(n) != here.get(n)}):
        told = [f"{list(of[name])} {where}" for of, where in ((kept, "in the file"), (here, "in body=")) if name in of]
        problems.append(f"{name.removeprefix('body.')} is {' and '.join(told) if len(told) > 1 else f'only {told[0]}'}")
    if not problems and any(kept.get(n) != shape for n, shape in here.items() if n.startswith("head.")):
        problems.append(f"its width {network.body.width} is not that of the file")
    if problems:
        name = type(network.body).__name__
        raise ArtefactError(f"body={name} has other sizes than the {name} of the file: {'; '.join(problems)}")


def _packed(state: Any, prefix: str, tensors: dict[str, np.ndarray]) -> Any:
    described, arrays = store.pack(state)
    tensors |= {f"{prefix}/{n}": a for n, a in arrays.items()}
    return described


def _unpacked(cls: type[Any], described: Any, prefix: str, tensors: Mapping[str, np.ndarray]) -> Any:
    return store.unpack(
        cls, described, {n[len(prefix) + 1 :]: a for n, a in tensors.items() if n.startswith(f"{prefix}/")}
    )


def _timeless(history: History) -> dict[str, Any]:
    """A history without its seconds: the same training gives the same file."""
    return {k: v for k, v in history.to_dict().items() if k != "seconds"}
