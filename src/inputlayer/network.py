"""Network: InputLayer -> body -> head, and the way back; nothing else."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from inputlayer.batch import Batch
from inputlayer.bodies import BODIES
from inputlayer.bodies.base import Body
from inputlayer.errors import OptionError
from inputlayer.heads import Classes, Regression
from inputlayer.heads.base import Head
from inputlayer.layer import InputLayer


class Network(nn.Module):
    """The three parts in one module.

    Shape: Batch -> (B, n, K, Q), after the stages' way back: scaled units of K targets and Q quantiles, or logits with
    K = 1 and Q classes; n is the horizon, 1, or T for per-step targets. In training an ensemble gives the output of
    each of its members, (size, B, n, K, Q).
    """

    def __init__(self, layer: InputLayer, body: nn.Module, head: Head | None = None) -> None:
        super().__init__()
        if not isinstance(layer, InputLayer):
            raise OptionError(f"layer={layer!r}: give an il.InputLayer(schema, ...)")
        if not isinstance(body, nn.Module):
            raise OptionError(f"body={body!r}: give a module, such as il.LSTM(units=64)")
        _check_call(body)
        self.layer, self.body = layer, body
        self.head = head if head is not None else default_head(layer)
        if classes(layer) != isinstance(self.head, Classes):
            wanted = "il.Classes()" if classes(layer) else "il.Regression()"
            raise OptionError(
                f"head={type(self.head).__name__}: the target {layer.schema.target!r} is a"
                f" {layer.schema.columns[layer.schema.targets[0]].kind}, which needs {wanted}"
            )

    def build(self) -> None:
        """Draw the weights of body and head, now that the layer's sizes are known."""
        if isinstance(self.head, Classes):
            column = self.layer.schema.columns[self.layer.schema.targets[0]]
            state = self.layer.learnt.states[self.layer.schema.targets[0]]
            self.head.set_classes(column.classes(state), column.class_counts(state))
        else:
            self.layer.expect(self.head.per_target)
        plan = self.layer.plan
        outputs = plan.outputs * self.head.per_target
        if isinstance(self.body, Body):
            self.body.build(plan, outputs)
        width = getattr(self.body, "width", None)
        if not isinstance(width, int):
            raise OptionError(
                f"body={type(self.body).__name__}: a body needs an attribute `width`, the size of the last axis of what"
                " its forward(x, lengths, future, key) returns, such as `self.width = 64`"
            )
        self.head.build(width, bool(getattr(self.body, "direct", False)), plan)

    def forward(self, batch: Batch) -> Tensor:
        inputs = self.layer(batch)
        hidden = self.body(inputs.x, inputs.lengths, inputs.future, inputs.key)
        if not isinstance(self.body, Body):
            self._check_hidden(hidden, inputs.x)
        if hidden.dim() > 3:
            return torch.stack([self.layer.back(self.head(of_member), inputs) for of_member in hidden])
        y: Tensor = self.head(hidden)
        return self.layer.back(y, inputs)

    def _check_hidden(self, hidden: Any, x: Tensor) -> None:
        """Refuse what a body of the user's own must not return: errors of the head would name no body."""
        plan = self.layer.plan
        count, n = len(x), x.shape[1] if plan.per_step else max(plan.horizon, 1)
        width: Any = self.body.width
        wanted = (count, n, width)
        if isinstance(hidden, Tensor) and tuple(hidden.shape) == wanted:
            return
        found = f"shape {tuple(hidden.shape)}" if isinstance(hidden, Tensor) else f"a {type(hidden).__name__}"
        steps = "one per step" if plan.per_step else "the horizon" if plan.horizon else "one per sequence"
        raise OptionError(
            f"body={type(self.body).__name__}: its forward(x, lengths, future, key) returned {found}, and a tensor of"
            f" shape {wanted} is needed: {count} sequences, {n} ({steps}), and the {width} numbers of its `width`"
        )

    def loss(self, y: Tensor, batch: Batch) -> Tensor:
        """The mean loss over real target steps, weighted."""
        if batch.target is None or batch.real is None:
            raise OptionError("this batch carries no targets, so there is no loss: give the table its target columns")
        if y.dim() > 4:  # of an ensemble in training: none of its members is to lean on another
            return torch.stack([self.head.loss(own, batch.target, batch.real, batch.weight) for own in y]).mean()
        return self.head.loss(y, batch.target, batch.real, batch.weight)

    def raw(self, y: Tensor) -> np.ndarray:
        """The output in raw units, (B, n, K, Q) float64; for classes probabilities, (B, n, 1, classes)."""
        if isinstance(self.head, Classes):
            probabilities: np.ndarray = torch.softmax(y.detach().double(), dim=-1).cpu().numpy()
            return probabilities
        # Quantiles that cross are put in order: never worse in pinball loss (Chernozhukov et al. 2010).
        return np.sort(self.layer.raw(y), axis=-1)


def _check_call(body: nn.Module) -> None:
    """Refuse a body that cannot be called as `Network.forward` calls it."""
    try:
        taken = inspect.signature(body.forward)
    except ValueError:  # compiled code, which tells nothing
        return
    try:
        taken.bind("x", "lengths", "future", "key")
    except TypeError:
        raise OptionError(
            f"body={type(body).__name__}: its forward takes {taken}, and a body is called with x (batch, time, width of"
            " the layer), lengths, future and key. Such as: def forward(self, x, lengths, future, key=None): return"
            " self.linear(x.mean(1, keepdim=True))"
        ) from None


def classes(layer: InputLayer) -> bool:
    """Whether the target is a class."""
    return layer.schema.columns[layer.schema.targets[0]].kind != "number"


def default_head(layer: InputLayer) -> Head:
    """The head that the target's kind decides."""
    return Classes() if classes(layer) else Regression()


def describe(network: Network) -> dict[str, Any]:
    """Body and head by kind and options, as JSON values; a body of the user's own by its class name."""
    body = network.body
    own = {"kind": None, "class": type(body).__name__}
    known = type(body) in BODIES.values()
    return {
        "body": {"kind": body.kind, **body.options()} if isinstance(body, Body) and known else own,
        "head": {"kind": network.head.kind, **network.head.options()},
    }
