"""What turns a body's output into the target: `Regression`, `Classes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inputlayer.heads.base import Head
from inputlayer.heads.classes import Classes
from inputlayer.heads.regression import Regression
from inputlayer.stages import made

HEADS: dict[str, type[Head]] = {h.kind: h for h in (Regression, Classes)}


def head_from(spec: Mapping[str, Any]) -> Head:
    """The head that ``{"kind": head.kind, **head.options()}`` describes.

    >>> head_from({"kind": "regression", "loss": "mae"}).options()
    {'loss': 'mae', 'quantiles': None}
    """
    return made(HEADS, spec, "head")


__all__ = ["HEADS", "Classes", "Head", "Regression", "head_from"]
