"""The numbers of a report, as JSON values: what the data was, what became of it, how well the model does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inputlayer.artefact import Contents
from inputlayer.encode import encode
from inputlayer.evaluation import Scores, judged, score
from inputlayer.heads import Classes
from inputlayer.receipt import Receipt
from inputlayer.report.histogram import Histogram
from inputlayer.report.outcome import ClassOutcome, NumberOutcome
from inputlayer.report.passing import Passing, picture
from inputlayer.report.raw import raw_data
from inputlayer.show import look
from inputlayer.table import Table


def summarise(
    contents: Contents, table: Table, context: Sequence[Table] = (), *, allow_seen: bool = False
) -> tuple[dict[str, Any], Scores | None]:
    """All that a report tells of a model and a table, and its scores; without the target's columns there are none.

    The table is encoded once, predicted once, and shown by a sample of its sequences. Of its predictions nothing is
    kept but a few numbers a sequence.

    Raises
    ------
    SeenRowsError
        If rows of `table` were fitted on and `allow_seen` is False.
    TableError
        With every problem of the tables.
    """
    network, layer = contents.network, contents.network.layer
    fitted = layer.learnt
    targets = all(t in table.columns for t in layer.schema.targets)
    encoded = encode(fitted, table, context, targets=targets, raw=targets)
    scores, outcome, shown_sequence = None, None, len(encoded.index) // 2
    if targets:
        watch: Any = (ClassOutcome if isinstance(network.head, Classes) else NumberOutcome)(network, encoded)
        refused = () if allow_seen else (fitted.receipt, *contents.seen)
        scores = score(network, contents.baselines, encoded, refused=refused, watch=watch)
        if isinstance(watch, ClassOutcome):
            outcome = watch.to_dict(table)
        else:
            outcome = watch.to_dict(contents.baselines, _best(scores), table)
            typical = [s["sequence"] for s in outcome["sequences"] if s["what"] == "typical"]
            shown_sequence = typical[0] if typical else shown_sequence
    passing = Passing(layer)
    shown = look(network, table, encoded, targets=targets, watch=passing).to_dict()
    lengths = Histogram.of(np.asarray(encoded.index.length))
    told = {
        "title": _title(contents),
        "shown": shown,
        "raw": raw_data(layer.schema, table, encoded),
        "passing": passing.to_dict(),
        "picture": picture(layer, encoded, shown_sequence, targets=targets),
        "lengths": lengths.to_dict() if lengths.minimum < lengths.maximum else None,
        "history": None if contents.history is None else contents.history.to_dict(),
        "scores": scores,
        "outcome": outcome,
        "receipts": _receipts(contents, judged(encoded)),
    }
    return plain(told), scores


def _title(contents: Contents) -> dict[str, Any]:
    layer = contents.network.layer
    return {"targets": list(layer.schema.targets), "horizon": layer.schema.horizon}


def _best(scores: Scores) -> str | None:
    """The baseline that is nearest to the truth."""
    errors = {n: b["mse_standardised"] for n, b in scores["baselines"].items() if "mse_standardised" in b}
    return min(errors, key=lambda n: errors[n]) if errors else None


def _receipts(contents: Contents, shown: Receipt) -> list[dict[str, Any]]:
    """What was fitted on, trained on besides and validated on, and how much of what is shown was among it."""
    fitted = contents.network.layer.learnt.receipt
    parts = [
        ("fitted and trained on", fitted),
        *(("trained on besides", r) for r in contents.seen if not r.same(fitted)),
    ]
    parts += [("validated on: chose the epoch", contents.valid_receipt)] if contents.valid_receipt is not None else []
    return [
        {"what": what, "rows": r.rows, "sequences": r.sequences, "shown": r.overlap(shown)[0], "of": shown.sequences}
        for what, r in parts
    ]


def plain(value: Any) -> Any:
    """`value` as JSON values: keys become texts, and what is no finite number None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
