"""Model: the public face. Each method is one call to the file that does the work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import nn

from inputlayer import artefact, checkpoint, evaluation, prediction
from inputlayer.baselines import Baselines, fit_baselines
from inputlayer.batch import Batches
from inputlayer.blocks import accepted
from inputlayer.encode import Encoded, encode
from inputlayer.errors import ArtefactError, NotFittedError, OptionError, Problem, Problems, TableError, nearest
from inputlayer.fit import Fitted, check_classes, fit
from inputlayer.heads.base import Head
from inputlayer.layer import InputLayer, tables
from inputlayer.network import Network
from inputlayer.onnx.export import Exported, export
from inputlayer.receipt import Receipt
from inputlayer.report import Report, summarise
from inputlayer.run import History, TrainingOptions
from inputlayer.schema import Schema
from inputlayer.show import show
from inputlayer.shown import Shown
from inputlayer.stepping import stream
from inputlayer.streaming import Stream
from inputlayer.table import Table
from inputlayer.training import train

FILE = "model.safetensors"  # in the folder of a run
_OTHERS = ("callbacks", "logger", "run", "resume")  # what `fit` takes beside the training options


class Model:
    """An input layer, a body behind it, and a head: from a raw table to predictions in raw units.

    Parameters
    ----------
    layer
        The input layer, fitted or not.
    body
        `il.LSTM(...)`, or any `nn.Module` with ``forward(x, lengths, future, key) -> (B, n, width)`` and ``width``.
    head
        `il.Regression(...)` or `il.Classes(...)`; by default what the target's kind needs.
    training
        Training options that `fit` takes where the call does not name them, such as ``{"epochs": 20}``. `il.recipe`
        gives them; they are no part of the file.

    Examples
    --------
    >>> import inputlayer as il
    >>> table = {"day": list(range(60)), "load": [float(i % 7) for i in range(60)]}
    >>> schema = il.Schema({"load": il.Number()}, il.Windows("day", length=14, horizon=2), target="load")
    >>> train, valid, test = il.split(table, schema)
    >>> model = il.Model(il.InputLayer(schema), il.LSTM(units=4))
    >>> history = model.fit(train, valid, epochs=2)
    >>> model
    <Model: load; Windows(order='day', length=14, horizon=2); LSTM; Regression; trained>
    >>> model.predict(table)["day"].to_list()
    [60, 61]
    """

    def __init__(
        self,
        layer: InputLayer,
        body: nn.Module,
        head: Head | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        self.training = dict(training or {})
        _options("training", {}, self.training)
        self.network = Network(layer, body, head)
        self.baselines: Baselines | None = None
        self.valid_receipt: Receipt | None = None
        self.history: History | None = None
        self.seen: tuple[Receipt, ...] = ()
        self.trained = False

    def __repr__(self) -> str:
        schema, network = self.layer.schema, self.network
        parts = [", ".join(schema.columns), repr(schema.sequence)]
        parts += [type(part).__name__ for part in (*self.layer.stages, network.body, network.head)]
        return f"<Model: {'; '.join(parts)}; {'trained' if self.trained else 'not trained'}>"

    @property
    def layer(self) -> InputLayer:
        """The input layer."""
        return self.network.layer

    @property
    def fitted(self) -> Fitted:
        """The fitted half of the layer.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        if not self.trained:
            raise NotFittedError("The model")
        return self.layer.learnt

    def fit(
        self,
        train: Any,
        valid: Any = None,
        *,
        callbacks: Iterable[Any] = (),
        logger: Any = None,
        run: str | Path | None = None,
        resume: bool = False,
        **training: Any,
    ) -> History:
        """Fit the layer on `train`, draw the weights, and train.

        Parameters
        ----------
        train, valid
            Tables of raw data. Training rows come before validation rows, and are their look-back.
        callbacks, logger
            Lightning's.
        run
            A folder for checkpoints, one after each epoch; with ``resume=True`` training goes on from there.
        **training
            ``epochs=50``, ``batch=64``, ``lr=1e-3``, ``weight_decay=0.0``, ``patience=10``, ``clip=1.0``,
            ``schedule="cosine"``, ``seed=0``, ``device="auto"``: see `TrainingOptions`. Those not given are the model's
            own, where it has any, else these. ``epochs=0`` fits and draws, and trains nothing. `patience`, the epochs
            without a better validation loss before training stops, needs `valid`.

        Returns
        -------
        History
            Losses by epoch. Ctrl-C ends the training, with the best weights so far, and sets `interrupted`.

        Raises
        ------
        TableError
            With every problem of the tables, before anything is trained.
        """
        options = _options("fit", training, self.training, valid=valid is not None)
        if self.trained:
            raise OptionError("this model is trained already: use continue_fit(new), or make a new model")
        train, valid = Table.of(train), None if valid is None else Table.of(valid)
        if self.layer.trained:  # it stands in another model, which keeps it as it is
            self.network.layer = deepcopy(self.layer)
        given = self.layer.fitted
        fitted = given or _fitted(self.layer.schema, train, valid)
        if options.epochs:
            check_classes(fitted)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(options.seed)
                self.layer.restore(fitted)
                self.network.build()
            return self._train(train, valid, options, callbacks, logger, run, resume)
        finally:
            if not self.trained:
                self.layer.fitted = given  # so that another call may fit it on another table

    def continue_fit(self, train: Any, valid: Any = None, **options: Any) -> History:
        """Train on, with new rows, from the weights as they are. The fitted half stays as it is.

        Takes the training options of `fit`.
        """
        self.fitted  # noqa: B018  # raises where not fitted
        rest = {n: options.pop(n) for n in _OTHERS if n in options}
        chosen = _options("continue_fit", options, {}, valid=valid is not None)
        valid = None if valid is None else Table.of(valid)
        return self._train(Table.of(train), valid, chosen, **rest)

    def _train(
        self,
        train_table: Table,
        valid: Table | None,
        options: TrainingOptions,
        callbacks: Iterable[Any] = (),
        logger: Any = None,
        run: str | Path | None = None,
        resume: bool = False,
    ) -> History:
        fitted = self.layer.learnt
        encoded, encoded_valid = _encoded(fitted, train_table, valid)
        held = None if encoded_valid is None else Batches(encoded_valid, fitted, 4 * options.batch)
        batches = Batches(encoded, fitted, options.batch, shuffle=True, seed=options.seed)
        if self.baselines is None:
            self.baselines = fit_baselines(fitted, encoded)
        self.history = train(
            self.network,
            batches,
            held,
            options,
            callbacks=callbacks,
            logger=logger,
            run=None if run is None else Path(run),
            resume=resume,
            fingerprint="" if run is None else artefact.fingerprint(fitted, encoded),
        )
        self.trained = self.layer.trained = True
        self.valid_receipt = None if encoded_valid is None else encoded_valid.receipt
        if not any(encoded.receipt.same(r) for r in (fitted.receipt, *self.seen)):
            self.seen = (*self.seen, encoded.receipt)
        return self.history

    def predict(self, table: Any, *, future: Any = None) -> pl.DataFrame:
        """Predictions in raw units: one forecast per series from its last rows; one row per group; one per row.

        Parameters
        ----------
        table
            Raw data; the target is needed only where its past is an input.
        future
            For columns with ``role="known"``: a table of the next `horizon` rows of each series.

        Returns
        -------
        polars.DataFrame
            Windows: the `by` columns; ``origin``, what the order column holds in the last row seen; ``step``, from 1 to
            the horizon; the order column, where it is known; each target, and its quantiles (``load_q10``). Groups: the
            `by` columns, and each target; with ``per_step=True`` a line for each row, and ``row``, its number in
            `table`, from 0. Cells: ``row``, and each target. Classes: the label, and ``p_<class>``. Where a column of
            the table that is given back has the name ``origin``, ``step`` or ``row``, theirs ends in ``_``.

        Raises
        ------
        TableError
            With every problem of the tables.
        """
        self.fitted  # noqa: B018  # raises where not fitted
        return prediction.predict(self.network, Table.of(table), None if future is None else Table.of(future))

    def backtest(self, table: Any, *, context: Any = ()) -> pl.DataFrame:
        """Every sequence's prediction beside the truth, as `predict` gives it, with ``<target>_true``."""
        return pl.concat(self.backtest_blocks(table, context=context))

    def backtest_blocks(self, table: Any, *, context: Any = (), size: int = 8192) -> Iterator[pl.DataFrame]:
        """The same in frames of about `size` sequences, for tables whose backtest does not fit in memory."""
        self.fitted  # noqa: B018  # raises where not fitted
        return prediction.backtest(self.network, Table.of(table), tables(context), size)

    def evaluate(self, table: Any, *, context: Any = (), allow_seen: bool = False) -> evaluation.Scores:
        """Scores on `table`, beside those of the baselines.

        Parameters
        ----------
        context
            A table, or several, of the rows before: look-back only, never scored.
        allow_seen
            Score rows that were fitted on all the same.

        Raises
        ------
        SeenRowsError
            If rows of `table` were fitted on.
        """
        self.fitted  # noqa: B018  # raises where not fitted
        return evaluation.evaluate(
            self.network, self.baselines, Table.of(table), tables(context), allow_seen=allow_seen, seen=self.seen
        )

    def show(self, table: Any, *, context: Any = ()) -> Shown:
        """What each stage makes of `table`, and where the input layer ends: prints as text, renders as HTML."""
        self.fitted  # noqa: B018  # raises where not fitted
        return show(self.network, table, context)

    def stream(self, state: str | Path | None = None) -> Stream:
        """A stream: raw rows pushed one at a time, the prediction after each.

        Parameters
        ----------
        state
            A file that `Stream.save` wrote: the stream goes on from there.

        Raises
        ------
        OptionError
            If the model cannot be fed row by row, saying which part of it and what could.
        """
        self.fitted  # noqa: B018  # raises where not fitted
        made = stream(self.network)
        if state is not None:
            made.load(state)
        return made

    def report(self, table: Any, *, context: Any = (), allow_seen: bool = False) -> Report:
        """One page on this model and `table`, the raw data, each stage, forecasts, scores: see `Report.save`.

        Takes what `evaluate` takes, and refuses the same rows. Without the target's columns nothing is scored.
        """
        self.fitted  # noqa: B018  # raises where not fitted
        return Report(*summarise(self._contents(), Table.of(table), tables(context), allow_seen=allow_seen))

    def save(self, path: str | Path) -> None:
        """Write the model to one ``.safetensors`` file: the old file or the new one is there, never a half."""
        self.fitted  # noqa: B018  # raises where not fitted
        artefact.save(Path(path), self._contents())

    def _contents(self) -> artefact.Contents:
        return artefact.Contents(self.network, self.baselines, self.valid_receipt, self.history, self.seen)

    def export(self, path: str | Path, table: Any = None) -> Exported:
        """Write the model as one ONNX file: raw rows in, raw units or labels out, the input layer inside.

        `OnnxModel` reads it with onnxruntime and NumPy alone; any other onnxruntime runs it too. Before it is written,
        its answers are compared with those of `predict`, on rows drawn from what was learnt; a few of these stay in
        the file, beside their answers. Rows of yours are never written.

        Parameters
        ----------
        table
            Raw data to compare answers on as well: 256 sequences of it, evenly spread.

        Returns
        -------
        Exported
            What the graph takes and gives, and how close its answers are. Printed, it tells all of it.

        Raises
        ------
        OptionError
            Naming everything that has no ONNX twin, such as a body of your own; nothing is written then.
        ArtefactError
            If an answer differs by more than 1e-5 in training units, or the file cannot be written.
        MissingExtraError
            If onnx or onnxruntime is not installed.
        """
        self.fitted  # noqa: B018  # raises where not fitted
        return export(self.network, Path(path), None if table is None else Table.of(table))


def load(path: str | Path, *, body: nn.Module | None = None) -> Model:
    """Read a model that `Model.save` wrote. Nothing in the file can run code.

    Parameters
    ----------
    path
        The file, or the folder of a run, which holds it as ``model.safetensors``.
    body
        For a model with a body of your own: a module like the one it was trained with; its weights come from the file.

    Raises
    ------
    ArtefactError
        If the file is none of ours, is damaged, or comes from a newer version.
    """
    contents = artefact.load(_file(Path(path)), body)
    model = Model.__new__(Model)
    model.training = {}
    model.network, model.baselines = contents.network, contents.baselines
    model.valid_receipt, model.history, model.seen = contents.valid_receipt, contents.history, contents.seen
    model.trained = model.layer.trained = True
    return model


def _file(path: Path) -> Path:
    """The model's file, where `path` may be the folder of a run."""
    if not path.is_dir() or (path / FILE).exists():
        return path / FILE if path.is_dir() else path
    if (path / checkpoint.FILE).exists():
        name = path.name
        raise ArtefactError(
            f"there is no model in {path}: its training was stopped before {FILE} was written. Go on with it:"
            f" inputlayer train {path / 'project.toml'} --name {name} --resume"
        )
    raise ArtefactError(f"there is no model in {path}: {FILE} is missing. Give the folder of a run, or a model's file")


def _options(call: str, given: Mapping[str, Any], usual: Mapping[str, Any], *, valid: bool = True) -> TrainingOptions:
    """The options `given`, then the `usual` ones; `call` is what messages name, `valid` whether there is such a table.

    Raises
    ------
    OptionError
        For an unknown name, a wrong value, and a patience that nothing can be measured by.
    """
    known = [f.name for f in fields(TrainingOptions)]
    for name in (*given, *usual):
        if name not in known:
            raise OptionError(f"{call} has no option {name!r}.{nearest(name, [*known, *_OTHERS])}")
    if not valid and given.get("patience") is not None:
        raise OptionError(f"patience={given['patience']!r} has no effect without a validation table: pass valid=")
    return TrainingOptions(**{**usual, **given})


def _encoded(fitted: Fitted, train: Table, valid: Table | None) -> tuple[Encoded, Encoded | None]:
    """Both tables encoded, train being what validation windows look back on; the problems of both are raised at once.

    Raises
    ------
    TableError
        With every problem of both tables.
    """
    try:
        encoded = encode(fitted, train, training=True)
    except TableError as error:
        raise TableError([*error.problems, *_problems(fitted.schema, valid)]) from None
    if valid is None:
        return encoded, None
    context = (train,) if fitted.schema.sequence.kind == "windows" else ()
    try:
        return encoded, encode(fitted, valid, context, weighted=True)
    except TableError as error:
        raise TableError([replace(p, what=f"in the validation table: {p.what}") for p in error.problems]) from None


def _fitted(schema: Schema, train: Table, valid: Table | None) -> Fitted:
    """`fit.fit`, whose error also names what is wrong with the validation table."""
    try:
        return fit(schema, train)
    except TableError as error:
        raise TableError([*error.problems, *_problems(schema, valid)]) from None


def _problems(schema: Schema, valid: Table | None) -> list[Problem]:
    """What is wrong with the cells of a validation table."""
    if valid is None:
        return []
    problems = Problems()
    try:
        title = "Reading the validation table"
        for _ in accepted(schema, valid, problems, targets=True, weight=True, title=title, files=True):
            pass
    except TableError as error:
        return [replace(p, what=f"in the validation table: {p.what}") for p in error.problems]
    return [replace(p, what=f"in the validation table: {p.what}") for p in problems]
