"""Where a training run stands after an epoch, in one safetensors file; no pickle.

A run goes on to the same bytes only under the same circumstances: options, data, versions, device and threads. They are
written beside the weights and compared before anything is loaded.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inputlayer import store
from inputlayer.errors import ArtefactError, InputLayerError, shorten

FILE = "checkpoint.safetensors"
_KIND = "checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """A run after whole epochs.

    circumstances  what must be the same to go on: flat, JSON values; see `circumstances`
    history        losses and rates so far, as JSON values
    weights, best  the network's `state_dict` now, and where the validation loss was lowest
    optimiser      weight name -> name in the optimiser's state -> tensor
    """

    circumstances: Mapping[str, Any]
    history: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    optimiser: Mapping[str, Mapping[str, Tensor]]

    def save(self, folder: Path) -> None:
        """Write ``checkpoint.safetensors`` into `folder`: the old file or the new one is there, never a half."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"weights/{name}": _array(tensor) for name, tensor in self.weights.items()}
        tensors |= {f"best/{name}": _array(tensor) for name, tensor in self.best.items()}
        for name, state in self.optimiser.items():
            tensors |= {f"optimiser/{key}/{name}": _array(tensor) for key, tensor in state.items()}
        header = {"kind": _KIND, "circumstances": dict(self.circumstances), "history": dict(self.history)}
        store.write(folder / FILE, header, tensors)

    @classmethod
    def load(cls, folder: Path) -> Checkpoint | None:
        """Read what `save` wrote; None where there is no such file. Raises `ArtefactError` for a damaged one."""
        path = folder / FILE
        if not path.exists():
            return None
        header, tensors = store.read(path)
        if header.get("kind") != _KIND or not {"circumstances", "history"} <= header.keys():
            raise ArtefactError(f"{path} is not a checkpoint of a training run. Take it away, or choose another run.")
        optimiser: dict[str, dict[str, Tensor]] = {}
        for name, tensor in _part(tensors, "optimiser/").items():
            key, _, weight = name.partition("/")
            optimiser.setdefault(weight, {})[key] = tensor
        parts = _part(tensors, "weights/"), _part(tensors, "best/")
        return cls(header["circumstances"], header["history"], *parts, optimiser)

    def check(self, now: Mapping[str, Any], network: nn.Module) -> None:
        """Raise `InputLayerError` naming all that differs between then and now."""
        then = self.circumstances
        differs = [
            "the training rows, or what is done to them, are not the same"
            if name == "fingerprint"
            else f"{name} was {shorten(then.get(name))}, is {shorten(now.get(name))}"
            for name in sorted({*then, *now})
            if then.get(name) != now.get(name)
        ]
        shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        held = {name: tuple(tensor.shape) for name, tensor in self.weights.items()}
        differs += [
            f"weight {name} was {held.get(name, 'absent')}, is {shapes.get(name, 'absent')}"
            for name in sorted({*shapes, *held})
            if shapes.get(name) != held.get(name)
        ]
        if differs:
            raise InputLayerError(
                "this run cannot be resumed to the same result, because "
                + "; ".join(differs)
                + ". Use what was used then, or start anew with resume=False."
            )


def circumstances(options: Mapping[str, Any], fingerprint: str, device: torch.device, batches: int) -> dict[str, Any]:
    """What must be the same for a resumed run to end in the same bytes as an uninterrupted one.

    `fingerprint` stands for schema, fitted half and data; `batches` is the number of training batches per epoch.
    """
    if device.type == "cuda":
        chip = torch.cuda.get_device_name(device)
    else:
        chip = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {
        **options,
        "fingerprint": fingerprint,
        "training batches": batches,
        "torch": f"{torch.__version__}, CUDA {torch.version.cuda}",
        "threads": torch.get_num_threads(),
        "device": f"{device.type} ({chip})",
    }


def optimiser_state(optimiser: Optimizer, network: nn.Module) -> dict[str, dict[str, Tensor]]:
    """The optimiser's tensors by weight name."""
    state = optimiser.state
    return {name: dict(state[weight]) for name, weight in network.named_parameters() if weight in state}


def restore_optimiser(optimiser: Optimizer, network: nn.Module, state: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Put tensors of `optimiser_state` back; `optimiser` holds the weights of `network` that are trained, in order."""
    names = [name for name, weight in network.named_parameters() if weight.requires_grad]
    held = {i: dict(state[name]) for i, name in enumerate(names) if name in state}
    optimiser.load_state_dict({"state": held, "param_groups": optimiser.state_dict()["param_groups"]})


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _part(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): torch.tensor(a) for name, a in tensors.items() if name.startswith(prefix)}
