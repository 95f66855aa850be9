"""Before a comparison trains: every layer is fitted, every table encoded once, and what is wrong is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from inputlayer import store
from inputlayer.artefact import fingerprint
from inputlayer.batch import Batches
from inputlayer.blocks import accepted
from inputlayer.encode import Encoded, encode
from inputlayer.errors import InputLayerError, OptionError, Problems, TableError
from inputlayer.evaluation import check_unseen, judged
from inputlayer.fit import Fitted, check_classes
from inputlayer.network import Network, describe
from inputlayer.progress import progress
from inputlayer.run import TrainingOptions
from inputlayer.schema import Schema
from inputlayer.sequence import Windows
from inputlayer.table import Table
from inputlayer.tally import blocks_of
from inputlayer.variants import Variant


@dataclass(frozen=True)
class Parts:
    """The tables that every layer learns from, and is scored on."""

    train: Table
    valid: Table | None
    test: Table

    @property
    def named(self) -> dict[str, Table]:
        tables = {"training": self.train, "validation": self.valid, "test": self.test}
        return {name: table for name, table in tables.items() if table is not None}

    def context(self, schema: Schema) -> tuple[Table, ...]:
        """What the windows of the test part look back on."""
        before = (self.train,) if self.valid is None else (self.train, self.valid)
        return before if isinstance(schema.sequence, Windows) else ()

    def check(self, schema: Schema) -> None:
        """Raise `TableError` with every cell of every table that its column does not take, and every bad file."""
        found = Problems()
        for name, table in self.named.items():
            problems = Problems()
            try:
                title = f"Checking {name} rows"
                for _ in accepted(schema, table, problems, targets=True, weight=False, title=title, files=True):
                    pass
            except TableError as error:
                problems = Problems()
                problems.extend(error.problems)
            found.extend(problems, f"in the {name} table: ")
        found.raise_if_any()

    def encoded_test(self, fitted: Fitted) -> Encoded:
        return encode(fitted, self.test, self.context(fitted.schema), raw=True)

    def encoded(self, fitted: Fitted) -> dict[str, Encoded]:
        """All parts, by name."""
        found = {"training": encode(fitted, self.train, training=True)}
        if self.valid is not None:
            found["validation"] = encode(fitted, self.valid, self.context(fitted.schema)[:1], weighted=True)
        return {**found, "test": self.encoded_test(fitted)}


# -- before anything is trained ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """A variant whose layer has learnt from the training part, and what is known of it by then.

    circumstances  what must be the same for its results to be used again, as JSON values
    blocks         of each test sequence, for the intervals (S,)
    sequences      of each part; steps: of an epoch
    """

    variant: Variant
    fitted: Fitted
    circumstances: dict[str, Any]
    blocks: np.ndarray
    sequences: dict[str, int]
    steps: int
    parameters: int
    bytes: int

    @property
    def name(self) -> str:
        return self.variant.name

    @property
    def tables(self) -> dict[str, Any]:
        """The circumstances of the baselines."""
        return {n: v for n, v in self.circumstances.items() if n.endswith(" table")}


def prepare_all(rows: Sequence[Variant], parts: Parts, options: TrainingOptions, notes: list[str]) -> list[Prepared]:
    """Fit every layer. What cannot be taken away is noted; what the user named and cannot be had is an error."""
    prepared, wrong = [], []
    with progress("Fitting the input layers", len(rows)) as advance:
        for row in rows:
            try:
                prepared.append(_prepare(row, parts, options))
            except InputLayerError as error:
                if row.group == "full":
                    raise
                if row.group in ("stage", "column"):
                    notes.append(f"There is no row {row.name!r}: {error}")
                else:
                    wrong.append(f"{row.name!r}: {error}")
            advance(1)
    if wrong:
        raise OptionError("; ".join(wrong))
    return prepared


def _prepare(variant: Variant, parts: Parts, options: TrainingOptions) -> Prepared:
    model = variant.model()
    fitted = model.layer.fit(parts.train).learnt
    if options.epochs:
        check_classes(fitted)
    with torch.random.fork_rng(devices=[]):
        model.network.build()
    encoded = parts.encoded(fitted)
    check_unseen(fitted.receipt, judged(encoded["test"]))
    lacking = [name for name, part in encoded.items() if not len(part.index)]
    if lacking:
        raise InputLayerError(f"the {lacking[0]} table holds no whole sequence with a target")
    described, arrays = store.pack(dict(fitted.states))
    return Prepared(
        variant,
        fitted,
        {
            **_circumstances(model.network, options),
            **{f"{n} table": fingerprint(fitted, e) for n, e in encoded.items()},
        },
        blocks_of(encoded["test"], fitted.schema),
        {name: len(part.index) for name, part in encoded.items()},
        len(Batches(encoded["training"], fitted, options.batch)),
        sum(p.numel() for p in model.network.parameters() if p.requires_grad),
        len(store.canonical(described)) + sum(a.nbytes for a in arrays.values()),
    )


def _circumstances(network: Network, options: TrainingOptions) -> dict[str, Any]:
    schema = network.layer.schema.to_dict()
    told = describe(network)
    return {
        **{n: v for n, v in asdict(options).items() if n not in ("patience", "seed")},
        **{f"column {n!r}": spec for n, spec in schema.pop("columns").items()},
        "columns": list(network.layer.schema.columns),
        **schema,
        "stages": network.layer.described_stages(),
        "body": told["body"] if told["body"]["kind"] else repr(network.body),
        "head": told["head"],
        "torch": str(torch.__version__),
    }
