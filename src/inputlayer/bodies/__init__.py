"""What stands behind the input layer: `LSTM`, `GRU`, an `Ensemble` of them, and their decoders `Dense`, `Segments`,
`Recursive`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inputlayer.bodies.base import Body, Decoder
from inputlayer.bodies.dense import Dense
from inputlayer.bodies.ensemble import Ensemble
from inputlayer.bodies.gru import GRU
from inputlayer.bodies.lstm import LSTM
from inputlayer.bodies.recursive import Recursive
from inputlayer.bodies.segments import Segments
from inputlayer.stages import made

BODIES: dict[str, type[Body]] = {b.kind: b for b in (LSTM, GRU, Ensemble)}
MEMBERS = {kind: body for kind, body in BODIES.items() if body is not Ensemble}
DECODERS: dict[str, type[Decoder]] = {d.kind: d for d in (Dense, Segments, Recursive)}


def body_from(spec: Mapping[str, Any]) -> Body:
    """The body that ``{"kind": body.kind, **body.options()}`` describes.

    >>> body_from({"kind": "lstm", "units": 8, "decoder": {"kind": "dense"}}).options()["decoder"]
    {'kind': 'dense'}
    """
    return _made(BODIES, spec, "body")


def _made(registry: Mapping[str, type[Body]], spec: Mapping[str, Any], what: str) -> Body:
    decoder, member = spec.get("decoder"), spec.get("member")
    if isinstance(decoder, Mapping):
        spec = {**spec, "decoder": made(DECODERS, decoder, "decoder")}
    if isinstance(member, Mapping):
        spec = {**spec, "member": _made(MEMBERS, member, "member")}
    return made(registry, spec, what)


__all__ = [
    "BODIES",
    "DECODERS",
    "GRU",
    "LSTM",
    "MEMBERS",
    "Body",
    "Decoder",
    "Dense",
    "Ensemble",
    "Recursive",
    "Segments",
    "body_from",
]
