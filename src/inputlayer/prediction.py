"""Predictions: a raw table in, a table of raw-unit predictions out; every window's forecast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
import polars as pl
import torch

from inputlayer.batch import Batch, Batches
from inputlayer.encode import Encoded, encode
from inputlayer.errors import OptionError, Problem, Problems, TableError
from inputlayer.forecast import in_table_type, last_windows, rows_ahead
from inputlayer.heads import Classes, Regression
from inputlayer.network import Network
from inputlayer.progress import progress
from inputlayer.schema import Schema
from inputlayer.sequence import Windows
from inputlayer.table import Table

_SIZE = 256  # sequences per batch when nothing is learnt: PyTorch's LSTM on a CPU is quickest there
_SEQUENCE = "\0sequence"  # a column that no table has, dropped in the end


def predict(network: Network, table: Table, future: Table | None) -> pl.DataFrame:
    """One prediction per series (from its last rows), group or row; `network` must be fitted.

    Raises
    ------
    TableError
        With every problem of the tables: columns missing, series too short, future rows that do not follow.
    """
    fitted = network.layer.learnt
    sequence = fitted.schema.sequence
    if isinstance(sequence, Windows):
        problems = Problems()
        ahead, given = rows_ahead(fitted, table, future, problems)
        if problems:
            _raise_all(network, table, problems)
        encoded = encode(fitted, table, ahead=ahead, targets=False, checked=False)
        encoded.index = last_windows(fitted, encoded)
    elif future is not None:
        raise OptionError("future= has no effect: only Windows with a horizon look ahead")
    else:
        encoded, given = encode(fitted, table, targets=False, noted=False), True
    batches = Batches(encoded, fitted, _SIZE, targets=False)
    frames = [_frame(network, encoded, b, y, table, order=given) for b, y in outputs(network, batches, "Predicting")]
    return in_order(frames)


def _raise_all(network: Network, table: Table, problems: Problems) -> NoReturn:
    """Raise `problems` together with those of the table's cells."""
    found: tuple[Problem, ...] = ()
    try:
        encode(network.layer.learnt, table, targets=False, checked=False)
    except TableError as error:
        found = error.problems
    known = {(p.column, p.what) for p in found}
    raise TableError([*found, *(p for p in problems if (p.column, p.what) not in known)])


def backtest(network: Network, table: Table, context: Sequence[Table], size: int) -> Iterator[pl.DataFrame]:
    """Every sequence's prediction beside the truth, in frames of about `size` sequences.

    Columns are those of `predict`, and ``<target>_true``.
    """
    yield from forecasts(network, encode(network.layer.learnt, table, context, raw=True), table, size)


def forecasts(network: Network, encoded: Encoded, table: Table, size: int) -> Iterator[pl.DataFrame]:
    """`backtest` of a table that is encoded already, with its raw targets."""
    # A pool holds consecutive sequences, in batches by length; a frame holds a pool, in its own order.
    batches = Batches(encoded, network.layer.learnt, _SIZE, pool=max(1, size // _SIZE))
    frames: list[pl.DataFrame] = []
    for batch, y in outputs(network, batches, "Forecasting"):
        frame = _frame(network, encoded, batch, y, table, order=True)
        frames.append(frame.with_columns(_truth(network, encoded, batch)))
        if len(frames) == batches.pool:
            yield in_order(frames)
            frames = []
    if frames:
        yield in_order(frames)


def outputs(network: Network, batches: Batches, title: str) -> Iterator[tuple[Batch, np.ndarray]]:
    """Each batch with the network's output in raw units, (B, n, K, Q) float64, in eval mode."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode(), progress(title, batches.sequences) as advance:
            for batch in batches:
                y = network(batch if device.type == "cpu" else batch.to(device))
                yield batch, network.raw(y)
                advance(len(batch))
    finally:
        network.train(was_training)


def truth(network: Network, encoded: Encoded, batch: Batch) -> np.ndarray:
    """The true targets of a batch: raw numbers (B, n, K) float64, NaN where missing, or class indices (B, n, 1)."""
    assert batch.target is not None
    if isinstance(network.head, Classes):
        classes: np.ndarray = batch.target.cpu().numpy()
        return classes
    rows = target_rows(encoded, batch)
    raw = np.stack([encoded.raw[t][rows] for t in network.layer.schema.targets], axis=-1)
    assert batch.real is not None
    return np.where(batch.real.cpu().numpy(), raw, np.nan)


def target_rows(encoded: Encoded, batch: Batch) -> np.ndarray:
    """The encoded rows of a batch's targets, (B, n); beyond a sequence's end the last row, which is no real target."""
    chosen = batch.index.cpu().numpy()
    count = encoded.index.targets or int(batch.lengths.max())
    rows: np.ndarray = encoded.index.ahead[chosen][:, None] + np.arange(count)
    return rows if encoded.index.targets else np.minimum(rows, encoded.rows.count - 1)


def _truth(network: Network, encoded: Encoded, batch: Batch) -> list[pl.Series]:
    true = truth(network, encoded, batch)
    keep = _kept(encoded, batch)
    columns = []
    for k, name in enumerate(network.layer.schema.targets):
        if isinstance(network.head, Classes):
            assert batch.real is not None
            labels = [*network.head.labels, None]
            known = batch.real.cpu().numpy()[..., k] & (true[..., k] >= 0)
            at = np.where(known, true[..., k], len(labels) - 1)[keep]
            columns.append(pl.Series(f"{name}_true", _labels(labels))[at])
        else:
            columns.append(pl.Series(f"{name}_true", true[..., k][keep], nan_to_null=True))
    return columns


def _kept(encoded: Encoded, batch: Batch) -> np.ndarray:
    """Which of a batch's target steps are real steps, (B, n) bool: all but padding."""
    count = encoded.index.targets
    lengths = batch.lengths.cpu().numpy()
    steps = count or int(lengths.max())
    return np.ones((len(batch), steps), dtype=bool) if count else np.arange(steps) < lengths[:, None]


def _frame(
    network: Network, encoded: Encoded, batch: Batch, y: np.ndarray, table: Table, *, order: bool
) -> pl.DataFrame:
    """A batch's predictions as a table, one row per target step."""
    schema = network.layer.schema
    sequence = schema.sequence
    keep = _kept(encoded, batch)
    chosen = batch.index.cpu().numpy()
    at, step = np.nonzero(keep)
    ahead = encoded.index.ahead[chosen][at]
    columns: list[pl.Series] = [pl.Series(_SEQUENCE, chosen[at])]
    series = encoded.index.series[chosen][at]
    for name in sequence.by_names:
        columns.append(encoded.rows.keys[name][series])
    if isinstance(sequence, Windows):
        last = encoded.index.start[chosen] + encoded.index.length[chosen] - 1
        columns.append(_order(network, encoded, table, last[at]).alias(_free("origin", schema)))
        if sequence.horizon:
            columns.append(pl.Series(_free("step", schema), step + 1))
            columns += [_order(network, encoded, table, ahead + step)] if order else []
    elif not sequence.by_names:
        columns.append(pl.Series(_free("row", schema), ahead))
    elif not sequence.target_rows:
        source = encoded.rows.source
        columns.append(pl.Series(_free("row", schema), ahead + step if source is None else source[ahead + step]))
    return pl.DataFrame([*columns, *_values(network, y[keep])])


def _free(name: str, schema: Schema) -> str:
    """`name`, with as many underscores as it takes to differ from the table's own columns in a prediction."""
    taken = {*schema.sequence.by_names, schema.sequence.order_name, *schema.targets}
    while name in taken:
        name += "_"
    return name


def _values(network: Network, y: np.ndarray) -> list[pl.Series]:
    """Predicted columns from (rows, K, Q)."""
    targets = network.layer.schema.targets
    head = network.head
    if isinstance(head, Classes):
        best = y[:, 0].argmax(axis=-1)
        label = pl.Series(targets[0], _labels(list(head.labels)))[best]
        return [label, *(pl.Series(f"p_{c}", y[:, 0, i]) for i, c in enumerate(head.labels))]
    assert isinstance(head, Regression)
    quantiles = head.quantiles or (0.5,)
    middle = quantiles.index(0.5)
    columns = []
    for k, name in enumerate(targets):
        columns.append(pl.Series(name, y[:, k, middle]))
        columns += [pl.Series(quantile_name(name, q), y[:, k, i]) for i, q in enumerate(head.quantiles or ())]
    return columns


def quantile_name(target: str, quantile: float) -> str:
    """The column of one quantile.

    >>> quantile_name("load", 0.1), quantile_name("load", 0.025)
    ('load_q10', 'load_q2.5')
    """
    return f"{target}_q{quantile * 100:g}"


def _labels(labels: list[Any]) -> pl.Series:
    return pl.Series(labels)


def _order(network: Network, encoded: Encoded, table: Table, rows: np.ndarray) -> pl.Series:
    """The order column at encoded rows, in its own type."""
    assert encoded.rows.order is not None
    return in_table_type(network.layer.learnt, table, encoded.rows.order[rows])


def in_order(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Join frames into one, sequences in their own order."""
    return pl.concat(frames).sort(_SEQUENCE, maintain_order=True).drop(_SEQUENCE)
