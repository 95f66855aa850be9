"""A network fed row by row: what stands behind `Model.stream`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inputlayer import store
from inputlayer.batch import Batch
from inputlayer.blocks import Block, accepted
from inputlayer.bodies.base import Body
from inputlayer.columns.base import Ragged, Where, Wires, wire_name
from inputlayer.errors import OptionError, Problems, TableError
from inputlayer.fit import Fitted, check_timed
from inputlayer.heads import Classes, Regression
from inputlayer.kept import Entry, Layout, Memory, Read, Row, Values
from inputlayer.network import Network, describe
from inputlayer.plain import share_name
from inputlayer.prediction import quantile_name
from inputlayer.quick import Quick
from inputlayer.sequence import Groups, Windows
from inputlayer.streaming import Answers, Facts, Stream, columns_read, note
from inputlayer.table import Table
from inputlayer.times import Times


def stream(network: Network) -> Stream:
    """A stream of a fitted network, with the weights as they are now.

    Raises
    ------
    OptionError
        If the network cannot be fed row by row, saying which part of it and what could.
    """
    return Stream(NetworkEngine(network))


class NetworkEngine:
    """Reads rows into wires, and runs the network over them: the `Engine` of PyTorch."""

    def __init__(self, network: Network) -> None:
        fitted = network.layer.learnt
        # A copy: what is carried belongs to these weights, and training would leave eval mode.
        self.network = deepcopy(network, {id(fitted): fitted}).eval()
        self.fitted, self.schema = fitted, fitted.schema
        self.device = next((p.device for p in network.parameters()), torch.device("cpu"))
        length = rows_kept(network)
        self._parts: dict[str, int] = {}  # tensors of memory by part of the layer; what follows is the body's
        with torch.inference_mode():
            memory = self._begin() if length is None else ()
        self.facts = _facts(fitted, Layout(length, _entries(fitted, self.schema.steps), _static(fitted), memory))
        self._quick = Quick(fitted, self.schema.inputs, self.schema.sequence.by_names)
        self._quick_ahead = Quick(fitted, self.schema.future)
        self._names = _names(self.network)

    # -- rows ------------------------------------------------------------------------------------------------------

    def read(self, rows: Sequence[Row]) -> Read:
        """Rows -> wires; by the quick way if their cells are plain, else by the one that tables take."""
        order, wires = self._quick(rows) or self._read_tables(rows)
        layout = self.facts.layout
        static = {}
        for name, entries in layout.static.items():
            own = {full: wires[full] for full in entries}
            static[name] = own, self._missing(name, own)
        return Read(order, {name: wires[name] for name in layout.steps}, static)

    def _missing(self, column: str, wires: Mapping[str, np.ndarray]) -> np.ndarray:
        """Which rows hold no value of a column, (N,) bool."""
        own: Wires = {}
        for full, wire in wires.items():
            own[full[len(column) + 1 :]] = _ragged(list(wire)) if wire.dtype == object else wire
        return self.schema.columns[column].missing(own)

    def _read_tables(self, rows: Sequence[Row]) -> tuple[list[float], dict[str, np.ndarray]]:
        """The same for cells of any kind, each row read as a table; raises what is wrong with them."""
        problems, order, wires = Problems(), [], []
        for i, row in enumerate(rows):
            found = Problems()
            blocks = accepted(self.schema, Table.of([row]), found, targets=False, weight=False, title="", first_row=i)
            try:
                number, wired = self._encoded(next(iter(blocks)), self.schema.inputs, found)
                order += number
                wires.append(wired)
            except TableError as error:
                note(problems, error, i)
        problems.raise_if_any()
        return order, {name: np.concatenate([wired[name] for wired in wires]) for name in wires[0]}

    def _encoded(
        self, block: Block, names: Iterable[str], problems: Problems
    ) -> tuple[list[float], dict[str, np.ndarray]]:
        columns, states, wires = self.schema.columns, self.fitted.states, {}
        for name in names:
            columns[name].check(block.values[name], states[name], Where(name, block.first_row, problems))
        clock = self.fitted.clock
        if clock is not None and block.order is not None:
            check_timed(self.schema, block.frame, clock.timed, problems)
        problems.raise_if_any()
        for name in names:
            for suffix, wire in columns[name].encode(block.values[name], states[name]).items():
                wires[wire_name(name, suffix)] = _cells(wire) if isinstance(wire, Ragged) else wire
        problems.raise_if_any()  # files are read no earlier
        return [] if block.order is None else block.order.tolist(), wires

    def read_ahead(self, rows: Sequence[Row]) -> tuple[list[float], dict[str, np.ndarray]]:
        """Rows of the horizon -> their order, and the wires of what is known of them."""
        found = self._quick_ahead(rows)
        if found is not None:
            return found
        problems, table = Problems(), Table.of(list(rows))
        known = dict.fromkeys([str(self.schema.sequence.order_name), *self.schema.future])
        cells = table.frame(list(known)).to_dict(as_series=False)
        # The columns that nothing is known of are missing, and the series are known: neither is looked at.
        rest: dict[str, list[int | None]] = {name: [0] * len(rows) for name in self.schema.sequence.by_names}
        rest |= {n: [None] * len(rows) for n in self.schema.needed(targets=False) if n not in known and n not in rest}
        found_problems = Problems()
        (block,) = accepted(
            self.schema, Table.of({**cells, **rest}), found_problems, targets=False, weight=False, title="Reading rows"
        )
        problems.extend(found_problems, "in future=: ")
        problems.raise_if_any()
        return self._encoded(block, self.schema.future, problems)

    def make_ahead(self, order: np.ndarray) -> dict[str, np.ndarray]:
        """The wires of the order column at `order` (N,)."""
        name = str(self.schema.sequence.order_name)
        state: Any = self.fitted.states[name]
        times = Times(order, None if state.zone is None else "UTC", np.zeros(len(order), bool))
        wires = self.schema.columns[name].encode(times, state)
        return {wire_name(name, suffix): wire for suffix, wire in wires.items() if not isinstance(wire, Ragged)}

    # -- the network -----------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def run(self, steps: Values, static: Values, ahead: Values) -> Answers:
        """Windows, all of one length -> answers."""
        batch = self._batch(steps, static, ahead)
        y = self.network.raw(self.network(batch))
        return self._answers(y if self.facts.horizon else y[:, -1])

    @torch.inference_mode()
    def step(self, steps: Values, static: Values, memory: Memory) -> tuple[Answers, Memory]:
        """One row more of each group -> answers, and the states after it."""
        layer, body = self.network.layer, self.network.body
        assert isinstance(body, Body)
        tensors = [torch.from_numpy(x).to(self.device) for x in memory]
        parts, at = {}, 0
        for key, count in self._parts.items():
            parts[key], at = tuple(tensors[at : at + count]), at + count
        made, after = layer.step(self._batch(steps, static, {}), parts)
        hidden, state = body.step(layer.to_inputs(made, []).x, tuple(tensors[at:]))
        answers = self._answers(self.network.raw(self.network.head(hidden))[:, -1])
        return answers, tuple(x.cpu().numpy() for x in (*(x for key in self._parts for x in after[key]), *state))

    def _begin(self) -> Memory:
        body = self.network.body
        assert isinstance(body, Body)
        parts = self.network.layer.begin(1)
        self._parts = {key: len(memory) for key, memory in parts.items()}
        found = (*(x for memory in parts.values() for x in memory), *body.begin(1))
        return tuple(np.ascontiguousarray(x.cpu().numpy()) for x in found)

    def _batch(self, steps: Values, static: Values, ahead: Values) -> Batch:
        first = next(iter({**steps, **static}.values()))
        length = first.shape[1] if steps else 1
        lengths = torch.full((len(first),), length)
        batch = Batch(_tensors(steps), _tensors(ahead), _tensors(static), lengths, lengths, full=True)
        return batch if self.device.type == "cpu" else batch.to(self.device)

    def _answers(self, y: np.ndarray) -> Answers:
        """The network's output in raw units, (B, K, Q) or (B, H, K, Q), by name."""
        return {name: answer(y) for name, answer in self._names.items()}

    def fingerprint(self) -> str:
        """A hash of the schema, of what was learnt, and of the weights."""
        layer = self.network.layer
        described = [self.schema.to_dict(), list(self.schema.columns), layer.described_stages(), describe(self.network)]
        digest = hashlib.sha256(store.canonical(described).encode())
        for name in self.schema.columns:
            told, arrays = store.pack(self.fitted.states[name])
            digest.update(f"{name}{store.canonical(told)}".encode())
            for array in arrays.values():
                digest.update(np.ascontiguousarray(array).tobytes())
        for name, weight in self.network.state_dict().items():
            digest.update(name.encode() + weight.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def rows_kept(network: Network) -> int | None:
    """How many rows of a series a stream has to keep; None if the network's state can be carried instead.

    Raises
    ------
    OptionError
        If neither will do.
    """
    sequence, body = network.layer.schema.sequence, network.body
    if isinstance(sequence, Windows):
        return sequence.length
    if not isinstance(sequence, Groups):
        raise OptionError("Cells have no rows to come: each is a sequence by itself. Use predict.")
    if sequence.max_length is not None:
        return sequence.max_length
    reasons = [
        f"{type(stage).__name__} looks at the whole sequence again at each row. Leave it out"
        for stage in network.layer.stages
        if not getattr(stage, "training_only", False)
    ]
    own = f"{type(body).__name__}, a body of your own, has no state that is known here. Use il.LSTM or il.GRU"
    reasons.append(body.whole_only() if isinstance(body, Body) else own)
    reasons = [reason for reason in reasons if reason]
    if reasons:
        raise OptionError(
            f"stream: the state of this model cannot be carried from row to row. {'; '.join(reasons)}; or give"
            " il.Groups(max_length=...), and the last rows are kept in its place"
        )
    return None


def _facts(fitted: Fitted, layout: Layout) -> Facts:
    schema, sequence, clock = fitted.schema, fitted.schema.sequence, fitted.clock
    windows = sequence if isinstance(sequence, Windows) else None
    order = sequence.order_name
    return Facts(
        columns=columns_read(schema.inputs, sequence.by_names, order),
        by=sequence.by_names,
        order=order,
        what="series" if windows else "group",
        layout=layout,
        short=windows is None or windows.pad_short,
        horizon=schema.horizon,
        future=schema.future,
        made=schema.future == (order,),
        step=int(clock.step) if clock is not None and clock.regular else None,
        gap=None if windows is None or windows.max_gap is None else windows.gap_limit(timed=False),
    )


def _entries(fitted: Fitted, names: Iterable[str]) -> dict[str, Entry]:
    """The wires of columns, as entries of a row."""
    return {
        wire_name(name, suffix): Entry(wire.dtype, wire.shape, wire.ragged)
        for name in names
        for suffix, wire in fitted.schema.columns[name].wires(fitted.states[name]).items()
    }


def _static(fitted: Fitted) -> dict[str, dict[str, Entry]]:
    return {name: _entries(fitted, [name]) for name in fitted.schema.static}


def _cells(ragged: Ragged) -> np.ndarray:
    """The entries of each row, as an array of arrays."""
    found = np.empty(len(ragged.offsets) - 1, object)
    for i in range(len(found)):
        found[i] = ragged.flat[ragged.offsets[i] : ragged.offsets[i + 1]]
    return found


def _ragged(cells: Sequence[np.ndarray]) -> Ragged:
    return Ragged(np.concatenate(cells), np.cumsum([0, *map(len, cells)]))


def _tensors(values: Values) -> dict[str, Tensor]:
    """Wires (B, ..., *entry) as a batch has them; entries of uneven number right-padded, with their lengths."""
    made: dict[str, Tensor] = {}
    for name, x in values.items():
        if x.dtype != object:
            made[name] = torch.from_numpy(x)
            continue
        counts = np.array([len(cell) for cell in x.flat], np.int64)
        first = x.flat[0]
        missing = np.nan if first.dtype.kind == "f" else 0
        padded = np.full((x.size, max(1, int(counts.max())), *first.shape[1:]), missing, first.dtype)
        for row, cell in enumerate(x.flat):
            padded[row, : len(cell)] = cell
        made[name] = torch.from_numpy(padded.reshape(*x.shape, *padded.shape[1:]))
        made[f"{name}.lengths"] = torch.from_numpy(counts.reshape(x.shape))
    return made


def _names(network: Network) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What predictions call each answer, and how it is taken from the output (..., K, Q)."""
    targets, head = network.layer.schema.targets, network.head
    if isinstance(head, Classes):
        labels = np.array(head.labels)
        shares = {share_name(label): _at(0, i) for i, label in enumerate(head.labels)}
        return {targets[0]: lambda y: labels[y[..., 0, :].argmax(axis=-1)], **shares}
    assert isinstance(head, Regression)
    quantiles = head.quantiles or (0.5,)
    made = {}
    for k, name in enumerate(targets):
        made[name] = _at(k, quantiles.index(0.5))
        made |= {quantile_name(name, q): _at(k, i) for i, q in enumerate(head.quantiles or ())}
    return made


def _at(target: int, number: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda y: y[..., target, number]
