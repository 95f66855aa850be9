"""What stands behind the input layer: `LSTM`, with its decoder `Dense`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inputlayer.bodies.base import Body, Decoder
from inputlayer.bodies.dense import Dense
from inputlayer.bodies.lstm import LSTM
from inputlayer.stages import made

BODIES: dict[str, type[Body]] = {b.kind: b for b in (LSTM,)}
DECODERS: dict[str, type[Decoder]] = {d.kind: d for d in (Dense,)}


def body_from(spec: Mapping[str, Any]) -> Body:
    """The body that ``{"kind": body.kind, **body.options()}`` describes.

    >>> body_from({"kind": "lstm", "units": 8, "decoder": {"kind": "dense"}}).options()["decoder"]
    {'kind': 'dense'}
    """
    decoder = spec.get("decoder")
    if isinstance(decoder, Mapping):
        spec = {**spec, "decoder": made(DECODERS, decoder, "decoder")}
    return made(BODIES, spec, "body")


__all__ = ["BODIES", "DECODERS", "LSTM", "Body", "Decoder", "Dense", "body_from"]
