"""A graph beside the network it was made of: every sequence of a table through both, and how far they are apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inputlayer.batch import Batches
from inputlayer.encode import Encoded, encode
from inputlayer.errors import Problems
from inputlayer.heads import Classes, Regression
from inputlayer.network import Network
from inputlayer.onnx.feeds import SIZE, Sequences, batches, collected
from inputlayer.onnx.rows import read, settle
from inputlayer.prediction import outputs
from inputlayer.table import Table


def sequences(network: Network, told: Mapping[str, Any], table: Table, most: int) -> tuple[Sequences, Encoded]:
    """At most `most` of a table's sequences, evenly spread, as the graph takes them, and as Python encodes them."""
    fitted = network.layer.learnt
    encoded = encode(fitted, table, targets=False)
    index = encoded.index
    chosen = np.unique(np.linspace(0, len(index) - 1, min(most, len(index))).round().astype(np.int64))
    mask = np.zeros(len(index), bool)
    mask[chosen] = True
    encoded.index = index = index.keep(mask, "not chosen")
    taken = read(told, table, told["reads"])
    if told["schema"]["sequence"]["kind"] != "cells":
        settle(told, taken, Problems())
    source = np.arange(taken.count) if encoded.rows.source is None else encoded.rows.source
    ahead = source[(index.ahead[:, None] + np.arange(told["horizon"])).astype(np.int64)].ravel()
    values = {
        name: [v[row] for row in ahead] if isinstance(v := taken.values[name], list) else v[ahead]
        for name in told["future"]
    }
    start, length = index.start.astype(np.int64), index.length.astype(np.int64)
    if told["cell"] is not None:
        start, length = np.arange(len(index)), np.ones(len(index), np.int64)
    return Sequences(taken.values, source, start, length, source[index.ahead], values), encoded


def in_python(network: Network, encoded: Encoded) -> list[np.ndarray]:
    """What the network answers to each sequence, in the order of the graph's outputs."""
    made = []
    for batch, y in outputs(network, Batches(encoded, network.layer.learnt, SIZE, targets=False), "Checking"):
        made.append((batch.index.numpy(), answers_of(network, y)))
    return collected(len(encoded.index), made)


def answers_of(network: Network, y: np.ndarray) -> list[np.ndarray]:
    """`Network.raw`'s output (B, n, K, Q), as the graph's outputs have it."""
    schema, head = network.layer.schema, network.head
    y = y if schema.horizon or schema.sequence.target_rows == 0 else y[:, 0]
    if isinstance(head, Classes):
        shares = y[..., 0, :]
        return [np.array(head.labels)[shares.argmax(axis=-1)], shares]
    assert isinstance(head, Regression)
    found = []
    for k in range(len(schema.targets)):
        levels = head.quantiles
        found.append(y[..., k, 0 if levels is None else levels.index(0.5)])
        found += [y[..., k, i] for i in range(len(levels or ()))]
    return found


def in_graph(session: Any, told: Mapping[str, Any], given: Sequences) -> list[np.ndarray]:
    """What the graph answers to each sequence."""
    names = [answer["name"] for answer in told["answers"]]
    return collected(len(given), [(chosen, session.run(names, feeds)) for chosen, feeds in batches(told, given)])
