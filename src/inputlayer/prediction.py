"""Predictions: a raw table in, a table of raw-unit predictions out; every window's forecast."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np
import polars as pl
import torch

from inputlayer.batch import Batch, Batches
from inputlayer.bodies.base import Body
from inputlayer.encode import Encoded, encode
from inputlayer.errors import OptionError, Problem, Problems, TableError
from inputlayer.forecast import in_table_type, last_windows, rows_ahead
from inputlayer.heads import Classes, Regression
from inputlayer.network import Network
from inputlayer.plain import share_name
from inputlayer.progress import progress
from inputlayer.schema import Schema
from inputlayer.sequence import Windows
from inputlayer.table import Table

_T = TypeVar("_T")
_SIZE = 256  # sequences per batch when nothing is learnt: PyTorch's LSTM on a CPU is quickest there


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
    parts = [_part(network, encoded, batch, y) for batch, y in outputs(network, batches, "Predicting")]
    return _frame(network, encoded, parts, table, order=given)


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
    parts: list[_Part] = []
    for batch, y in outputs(network, batches, "Forecasting"):
        parts.append(_part(network, encoded, batch, y))
        if len(parts) == batches.pool:
            yield _frame(network, encoded, parts, table, order=True)
            parts = []
    if parts:
        yield _frame(network, encoded, parts, table, order=True)


def outputs(network: Network, batches: Batches, title: str) -> Iterator[tuple[Batch, np.ndarray]]:
    """Each batch with the network's output in raw units, (B, n, K, Q) float64, in eval mode."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    was_training = network.training
    network.eval()

    def run(chosen: torch.Tensor) -> tuple[Batch, np.ndarray]:
        with torch.inference_mode():
            batch = batches.gather(chosen)
            return batch, network.raw(network(batch if device.type == "cpu" else batch.to(device)))

    # A module of the user's own may keep something between calls, so its batches go one after the other.
    several = device.type == "cpu" and isinstance(network.body, Body) and len(batches) > 1
    try:
        with progress(title, batches.sequences) as advance:
            for batch, y in _in_threads(run, batches.order()) if several else map(run, batches.order()):
                yield batch, y
                advance(len(batch))
    finally:
        network.train(was_training)


def _in_threads(run: Callable[[torch.Tensor], _T], items: Iterable[torch.Tensor]) -> Iterator[_T]:
    """`run` of each item, in their order, as many at a time as PyTorch has threads, each on one thread.

    A recurrent network's steps wait for each other: two batches beside each other keep two cores busier than one batch
    shared between them. Only a few results are held ahead of the one that is asked for.
    """
    threads = torch.get_num_threads()
    waiting: deque[Future[_T]] = deque()
    try:
        with ThreadPoolExecutor(threads, "outputs", lambda: torch.set_num_threads(1)) as pool:
            for item in items:
                waiting.append(pool.submit(run, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        torch.set_num_threads(threads)  # the setting is each thread's own, but new threads start from the last one set


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


def _kept(encoded: Encoded, batch: Batch) -> np.ndarray:
    """Which of a batch's target steps are real steps, (B, n) bool: all but padding."""
    count = encoded.index.targets
    lengths = batch.lengths.cpu().numpy()
    steps = count or int(lengths.max())
    return np.ones((len(batch), steps), dtype=bool) if count else np.arange(steps) < lengths[:, None]


class _Part(NamedTuple):
    """A batch's target steps, one row each: sequence and step (rows,), y (rows, K, Q), true and real (rows, K)."""

    sequence: np.ndarray
    step: np.ndarray
    y: np.ndarray
    true: np.ndarray | None
    real: np.ndarray | None

    @classmethod
    def joined(cls, parts: Sequence[_Part]) -> _Part:
        """All rows, sequences in their own order."""
        sequence = np.concatenate([part.sequence for part in parts])
        at = slice(None) if (np.diff(sequence) >= 0).all() else np.argsort(sequence, kind="stable")
        step, y = (np.concatenate(rows)[at] for rows in ([p.step for p in parts], [p.y for p in parts]))
        true, real = [p.true for p in parts if p.true is not None], [p.real for p in parts if p.real is not None]
        if not true or not real:
            return cls(sequence[at], step, y, None, None)
        return cls(sequence[at], step, y, np.concatenate(true)[at], np.concatenate(real)[at])


def _part(network: Network, encoded: Encoded, batch: Batch, y: np.ndarray) -> _Part:
    keep = _kept(encoded, batch)
    at, step = np.nonzero(keep)
    sequence = batch.index.cpu().numpy()[at]
    if batch.real is None:
        return _Part(sequence, step, y[keep], None, None)
    return _Part(sequence, step, y[keep], truth(network, encoded, batch)[keep], batch.real.cpu().numpy()[keep])


def _frame(network: Network, encoded: Encoded, parts: Sequence[_Part], table: Table, *, order: bool) -> pl.DataFrame:
    """Predictions as a table, one row per target step, and the truth beside them where it is known."""
    schema, index = network.layer.schema, encoded.index
    sequence = schema.sequence
    chosen, step, y, true, real = _Part.joined(parts)
    ahead, series = index.ahead[chosen], index.series[chosen]
    columns = [encoded.rows.keys[name][series] for name in sequence.by_names]
    if isinstance(sequence, Windows):
        last = index.start[chosen] + index.length[chosen] - 1
        columns.append(_order(network, encoded, table, last).alias(_free("origin", schema)))
        if sequence.horizon:
            columns.append(pl.Series(_free("step", schema), step + 1))
            columns += [_order(network, encoded, table, ahead + step)] if order else []
    elif not sequence.by_names:
        columns.append(pl.Series(_free("row", schema), ahead))
    elif not sequence.target_rows:
        source = encoded.rows.source
        columns.append(pl.Series(_free("row", schema), ahead + step if source is None else source[ahead + step]))
    columns += _values(network, y)
    if true is not None and real is not None:
        columns += _truth(network, true, real)
    return pl.DataFrame(columns)


def _truth(network: Network, true: np.ndarray, real: np.ndarray) -> list[pl.Series]:
    """``<target>_true`` for each target, from (rows, K)."""
    columns = []
    for k, name in enumerate(network.layer.schema.targets):
        if isinstance(network.head, Classes):
            labels = [*network.head.labels, None]
            at = np.where(real[:, k] & (true[:, k] >= 0), true[:, k], len(labels) - 1)
            columns.append(pl.Series(f"{name}_true", _labels(labels))[at])
        else:
            columns.append(pl.Series(f"{name}_true", true[:, k], nan_to_null=True))
    return columns


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
        return [label, *(pl.Series(share_name(c), y[:, 0, i]) for i, c in enumerate(head.labels))]
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
