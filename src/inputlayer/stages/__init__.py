"""Steps on the whole sequence between the columns and the body: `InstanceNorm`, `Seasonal`, `Difference`,
`PerChannel`, `Autoregression`, `Patch`, `Noise`, `Stretch`."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any, TypeVar

from inputlayer.errors import OptionError, nearest
from inputlayer.stages.autoregression import Autoregression
from inputlayer.stages.base import Plan, Stage, Steps, TwinSteps
from inputlayer.stages.difference import Difference
from inputlayer.stages.instance_norm import InstanceNorm
from inputlayer.stages.noise import Noise
from inputlayer.stages.patch import Patch
from inputlayer.stages.per_channel import PerChannel
from inputlayer.stages.seasonal import Seasonal
from inputlayer.stages.stretch import Stretch

STAGES: dict[str, type[Stage]] = {
    s.kind: s for s in (InstanceNorm, Seasonal, Difference, PerChannel, Autoregression, Patch, Noise, Stretch)
}

_Made = TypeVar("_Made")


def made(registry: Mapping[str, type[_Made]], spec: Mapping[str, Any], what: str) -> _Made:
    """Make a part from ``{"kind": ..., **options}``, the kind being one of `registry`.

    Raises
    ------
    OptionError
        For an unknown kind, or unknown and missing options, all in one message, naming `what`.

    Examples
    --------
    >>> made(STAGES, {"kind": "instance_norm", "mode": "mean"}, "stage").options()
    {'mode': 'mean'}
    """
    kind = spec.get("kind")
    if not isinstance(kind, str) or kind not in registry:
        hint = nearest(str(kind), registry)
        raise OptionError(f"{what}: unknown kind {kind!r}. Known: {', '.join(registry)}.{hint}")
    known = {n: p for n, p in signature(registry[kind]).parameters.items() if p.kind is Parameter.POSITIONAL_OR_KEYWORD}
    options = {name: value for name, value in spec.items() if name != "kind"}
    wrong = [f"{kind} has no option {name!r}.{nearest(name, known)}" for name in options if name not in known]
    for name, parameter in known.items():
        if parameter.default is Parameter.empty and name not in options:
            wrong.append(f"{kind} needs the option {name!r}")
    if wrong:
        raise OptionError(f"{what}: {' '.join(w if w[-1] in '.?' else w + '.' for w in wrong)}")
    return registry[kind](**options)


def stage_from(spec: Mapping[str, Any]) -> Stage:
    """The stage that ``{"kind": stage.kind, **stage.options()}`` describes.

    >>> stage_from({"kind": "instance_norm"}).options()
    {'mode': 'last'}
    """
    return made(STAGES, spec, "stage")


__all__ = [
    "STAGES",
    "Autoregression",
    "Difference",
    "InstanceNorm",
    "Noise",
    "Patch",
    "PerChannel",
    "Plan",
    "Seasonal",
    "Stage",
    "Steps",
    "Stretch",
    "TwinSteps",
    "made",
    "stage_from",
]
