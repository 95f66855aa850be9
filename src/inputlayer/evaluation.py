"""Evaluation: scores of a model beside those of the baselines, gathered batch by batch; the backtest is never built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from inputlayer.baselines import Baselines
from inputlayer.batch import Batch, Batches
from inputlayer.encode import Encoded, encode
from inputlayer.errors import SeenRowsError, listed
from inputlayer.heads import Classes, Regression
from inputlayer.network import Network
from inputlayer.prediction import outputs, truth
from inputlayer.receipt import Receipt, key_text
from inputlayer.scores import ClassScores, RegressionScores, score_text
from inputlayer.table import Table

_SIZE = 256  # sequences per batch
_NAMED = 5  # columns


class Scores(dict[str, Any]):
    """The scores by name; as text a small table of model and baselines, and who wins."""

    def __str__(self) -> str:
        # Several targets have units of their own, which no mean joins.
        errors = ("mse_standardised", "mae_standardised") if len(self.get("by_target", ())) > 1 else ("rmse", "mae")
        main = "accuracy" if "accuracy" in self else errors[0]
        names = [n for n in (*errors, "pinball", "coverage", "accuracy", "f1", "log_loss") if n in self]
        rows = [
            ("model", self),
            *sorted(self["baselines"].items(), key=lambda b: b[1][main], reverse=main == "accuracy"),
        ]
        wide = max(len(n) for n, _ in rows)
        lines = [" ".join([" " * wide, *(f"{n:>10}" for n in names)])]
        for name, scores in rows:
            cells = [f"{score_text(scores[n]) if n in scores else '':>{max(10, len(n))}}" for n in names]
            lines.append(" ".join([f"{name:<{wide}}", *cells]))
        skipped = "".join(f"; {n} skipped: {reason}" for reason, n in self["skipped"].items())
        lines.append(f"{self['sequences']} sequences{skipped}")
        if self["baselines_left_out"]:
            lines.append(lacking_text(self["baselines_left_out"]))
        if self.get("verdict"):
            lines += [self["verdict"], *blind_lines(self["baselines_blind_to"])]
        return "\n".join(lines)


def lacking_text(left_out: Mapping[str, str]) -> str:
    """Which baselines there are not, and why.

    >>> lacking_text({"calendar mean": "the order column holds no times", "ridge": "it would have 10 weights"})
    'no calendar mean: the order column holds no times; no ridge: it would have 10 weights'
    """
    return "; ".join(f"no {name}: {reason}" for name, reason in left_out.items())


def blind_to(baselines: Baselines) -> dict[str, str]:
    """The columns that the network sees and none of the `baselines` does, with their kinds."""
    schema, learnt = baselines.fitted.schema, baselines.learnt
    seen: set[str | None] = set()
    if baselines.ahead:
        seen |= {*schema.past_targets, schema.sequence.order_name}
        seen |= set(baselines.past.others) if learnt.everything is not None else set()
        seen |= set(schema.sequence.by_names) if learnt.calendar is not None else set()
    elif learnt.pooled is not None:
        seen |= set(baselines.pooled.names)
    return {n: schema.columns[n].kind for n in schema.inputs if n not in seen}


def blind_lines(columns: Mapping[str, str]) -> list[str]:
    """A sentence on the `columns`, with their kinds, that no baseline sees; none where there are no such columns.

    >>> blind_lines({"review": "text", "photo": "image"})
    ['No baseline sees review (text), photo (image).']
    """
    names = [f"{name} ({kind})" for name, kind in columns.items()]
    more = f" and {len(names) - _NAMED} more columns" if len(names) > _NAMED else ""
    return [f"No baseline sees {', '.join(names[:_NAMED])}{more}."] if names else []


def evaluate(
    network: Network,
    baselines: Baselines | None,
    table: Table,
    context: Sequence[Table],
    *,
    allow_seen: bool,
    seen: Sequence[Receipt] = (),
) -> Scores:
    """Score every sequence of `table`. `seen`: receipts of what was trained on besides the fitted half's own.

    Returns
    -------
    Scores
        The model's scores (see `scores.RegressionScores`, `scores.ClassScores`), ``sequences``, ``skipped`` by reason,
        ``baselines`` by name, ``baselines_left_out``: why others cannot be had, ``baselines_blind_to``: the
        kinds of the columns that no baseline sees, by name, and ``verdict``, a sentence on whether the model beats the
        best of them.

    Raises
    ------
    SeenRowsError
        If rows of `table` were fitted on and `allow_seen` is False.
    TableError
        With every problem of the tables.
    """
    fitted = network.layer.learnt
    encoded = encode(fitted, table, context, raw=True)
    return score(network, baselines, encoded, refused=() if allow_seen else (fitted.receipt, *seen))


Watch = Callable[[Batch, np.ndarray, np.ndarray], None]
"""Given each batch, the output in raw units (B, n, K, Q) and the truth (B, n, K): see `prediction.truth`."""


def score(
    network: Network,
    baselines: Baselines | None,
    encoded: Encoded,
    *,
    refused: Sequence[Receipt] = (),
    watch: Watch | None = None,
) -> Scores:
    """`evaluate` of a table that is encoded already, with its raw targets; `refused`: receipts of what was seen.

    Raises
    ------
    SeenRowsError
        If rows are among those of a receipt.
    """
    for receipt in refused:
        check_unseen(receipt, judged(encoded))
    fitted = network.layer.learnt
    batches = Batches(encoded, fitted, _SIZE)
    model = _scorer(network, point=False)
    others: dict[str, RegressionScores | ClassScores] = {}
    for batch, y in outputs(network, batches, "Evaluating"):
        true = truth(network, encoded, batch)
        _add(model, y, true, batch)
        if watch is not None:
            watch(batch, y, true)
        for name, predicted in (baselines.predict(encoded, batch) if baselines is not None else {}).items():
            scorer = others.setdefault(name, _scorer(network, point=True))
            _add(
                scorer,
                predicted[..., None, :] if isinstance(scorer, ClassScores) else predicted[..., None],
                true,
                batch,
            )
    found = model.result()
    beside = {n: s.result() for n, s in others.items()}
    scores = Scores(found)
    scores |= {"sequences": batches.sequences, "skipped": dict(encoded.index.skipped), "baselines": beside}
    scores["baselines_left_out"] = {} if baselines is None else baselines.left_out
    scores["baselines_blind_to"] = {} if baselines is None else blind_to(baselines)
    if baselines is not None and beside:
        scores["verdict"] = baselines.verdict(found, beside)
    return scores


def judged(encoded: Encoded) -> Receipt:
    """The receipt of what is scored: of windows their target rows alone, for a look-back may have been seen."""
    index, order = encoded.index, encoded.rows.order
    if not encoded.receipt.keys or order is None:
        return encoded.receipt
    series, starts = np.unique(index.series, return_index=True)
    names = key_text(encoded.rows.keys)
    first, last = order[index.ahead], order[index.ahead + index.targets - 1]
    return Receipt(
        rows=encoded.receipt.rows,
        sequences=len(series),
        keys=tuple(names[g] for g in series),
        first=np.minimum.reduceat(first, starts),
        last=np.maximum.reduceat(last, starts),
    )


def check_unseen(seen: Receipt, given: Receipt) -> None:
    """Refuse rows that were fitted on.

    Raises
    ------
    SeenRowsError
        With how many sequences, and which series.
    """
    count, names = seen.overlap(given)
    if not count:
        return
    if seen.keys:
        named = [n for n in names if n]
        what = f"series {listed(named)}" if named else "rows"
        what += " of this table lie in the time range that the model was fitted on"
    else:  # known by their content, so that a held-out twin of a training sequence counts too
        what = f"{count} of this table's {given.sequences} sequences were fitted on, or are exactly like one that was"
    raise SeenRowsError(
        f"{what}, so a score would flatter the model. Evaluate on held-out rows (il.split), or pass allow_seen=True to"
        " score them all the same."
    )


def _scorer(network: Network, *, point: bool) -> RegressionScores | ClassScores:
    head, layer = network.head, network.layer
    if isinstance(head, Classes):
        return ClassScores(tuple(head.labels))
    assert isinstance(head, Regression)
    targets = layer.schema.targets
    states: list[Any] = [layer.learnt.states[t] for t in targets]
    spreads = np.array([state.spread for state in states])
    return RegressionScores(targets, spreads, None if point else head.quantiles)


def _add(scorer: RegressionScores | ClassScores, y: np.ndarray, true: np.ndarray, batch: Any) -> None:
    if isinstance(scorer, ClassScores):
        scorer.add(y[:, :, 0], true[..., 0], batch.real.cpu().numpy()[..., 0])
    else:
        scorer.add(y, true)
