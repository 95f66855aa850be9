"""Classes: which of the labels seen in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from inputlayer.errors import NotFittedError, OptionError, listed, nearest
from inputlayer.heads.base import Head, weighted_mean
from inputlayer.plain import class_name
from inputlayer.stages.base import Plan

Weights = Literal["balanced"] | Mapping[Any, float] | None


class Classes(Head):
    """One logit per class, and cross-entropy.

    Parameters
    ----------
    weights
        What an entry of each class counts in the loss. None: all the same; ``"balanced"``: entries / (classes *
        entries of the class), so that every class counts the same altogether; ``{label: weight}``: as given, others 1.

    Raises
    ------
    OptionError
        If a weight is negative, not finite, or given for a label that training rows do not have.

    Notes
    -----
    `set_classes` comes before `build`. An entry whose class was not seen in training (-1) has no loss.

    Shape: h (B, n, width) -> logits (B, n, 1, classes).

    Examples
    --------
    >>> head = Classes(weights="balanced")
    >>> head.set_classes(["ham", "spam"], [3, 1])
    >>> head.per_target
    2
    >>> [round(w, 2) for w in head.class_weights.tolist()]
    [0.67, 2.0]
    """

    kind: ClassVar[str] = "classes"
    class_weights: Tensor

    def __init__(self, weights: Weights = None) -> None:
        super().__init__()
        self.weights = _accepted(weights)
        self.labels: tuple[Any, ...] = ()

    def options(self) -> dict[str, Any]:
        return {"weights": dict(self.weights) if isinstance(self.weights, Mapping) else self.weights}

    def set_classes(self, labels: Sequence[Any], counts: Sequence[int]) -> None:
        """Say which classes there are, in the order of their index, and how often each stands in the training rows."""
        self.labels = tuple(labels)
        weights = torch.tensor(self._of_each(list(counts)), dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def _of_each(self, counts: list[int]) -> list[float]:
        if self.weights is None:
            return [1.0] * len(self.labels)
        if isinstance(self.weights, str):
            return [sum(counts) / (len(counts) * max(count, 1)) for count in counts]
        names = [class_name(label) for label in self.labels]
        for name in self.weights:
            if name not in names:
                known = f"Classes of the training rows: {listed(names)}."
                raise OptionError(f"weights: no class is named {name!r}. {known}{nearest(name, names)}")
        return [self.weights.get(name, 1.0) for name in names]

    @property
    def per_target(self) -> int:
        if not self.labels:
            raise NotFittedError("Classes", "Call set_classes(labels, counts) first.")
        return len(self.labels)

    def build(self, width: int, direct: bool, plan: Plan) -> None:
        if plan.outputs != 1:
            raise OptionError(f"Classes predicts one target, not {plan.outputs}")
        super().build(width, direct, plan)

    def loss(self, y: Tensor, target: Tensor, real: Tensor, weight: Tensor | None = None) -> Tensor:
        counts = real & (target >= 0)
        index = torch.where(counts, target, 0)
        cost = F.cross_entropy(y.flatten(0, 2), index.flatten(), reduction="none").view_as(index)
        share = None if self.weights is None else self.class_weights[index]
        return weighted_mean(cost, counts, weight, share)

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls(), cls("balanced"), cls({"a": 2.0})]


def _accepted(weights: Weights) -> Literal["balanced"] | dict[str, float] | None:
    if weights is None or weights == "balanced":
        return weights
    if not isinstance(weights, Mapping):
        raise OptionError(f"weights={weights!r} is neither None, 'balanced' nor a dict of label: weight")
    for label, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise OptionError(f"weights: {label!r} has {weight!r}, which is no finite number of at least 0")
    return {class_name(label): float(weight) for label, weight in weights.items()}
