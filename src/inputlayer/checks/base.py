"""What all checks share: the error, comparing, and running a graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from inputlayer.errors import MissingExtraError
from inputlayer.graph import Graph

TWIN = 1e-6  # absolute: ONNX against torch, in scaled units


class ContractError(AssertionError):
    """A kind or a stage breaks a law of its contract."""


def named(law: Callable[[Any], None], what: object, example: Any) -> None:
    """Run one law, and name it and the example if it is broken."""
    try:
        law(example)
    except ContractError as error:
        raise ContractError(f"{law.__name__}: {what}: {error}") from None


def require(condition: object, message: str) -> None:
    """Raise `ContractError` with `message` unless `condition` holds."""
    if not condition:
        raise ContractError(message)


def require_close(found: Any, wanted: Any, tolerance: float, what: str) -> None:
    """Equal shapes, NaN in the same places, and no farther apart than `tolerance` (absolute; 0: the very same)."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    require(found.shape == wanted.shape, f"{what}: shape {found.shape}, not {wanted.shape}")
    same = found == wanted
    if wanted.dtype.kind == "f":
        same = same | (np.isnan(found) & np.isnan(wanted)) | (np.abs(found - wanted) <= tolerance)
    at = np.argwhere(~np.asarray(same))
    if len(at):
        place = tuple(at[0].tolist())
        raise ContractError(f"{what}: {found[place]!r} at {list(place)}, not {wanted[place]!r} ({len(at)} differ)")


def require_json(value: object, what: str) -> None:
    """JSON values without NaN, and nothing that JSON would turn into something else."""
    try:
        again = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ContractError(f"{what} is not JSON: {error}") from None
    require(again == value, f"{what} is not JSON: {value!r} becomes {again!r}")


def numpy_of(tensor: Tensor) -> np.ndarray:
    """A tensor's numbers."""
    return np.asarray(tensor.detach().cpu().numpy())


def run_graph(g: Graph, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run the finished graph in onnxruntime: its outputs by name.

    Raises
    ------
    MissingExtraError
        If onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnx", "Checking an ONNX graph") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = g.model({})
    if not model.graph.output:  # onnxruntime cannot run a graph of nothing
        return {}
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = {i.name for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    found = session.run(names, {name: value for name, value in feeds.items() if name in wanted})
    return dict(zip(names, found, strict=True))
