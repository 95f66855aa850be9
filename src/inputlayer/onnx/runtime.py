"""OnnxModel: predictions from an exported file with onnxruntime and NumPy alone; neither torch nor polars is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inputlayer.errors import ArtefactError, MissingExtraError, OptionError, Problem, Problems, TableError
from inputlayer.onnx.ahead import Ahead, in_its_type, last_windows, rows_ahead
from inputlayer.onnx.base import step_of, told_by
from inputlayer.onnx.cells import Noted, taken
from inputlayer.onnx.engine import OnnxEngine
from inputlayer.onnx.feeds import TOLERANCE, Feeds, Sequences, apart, batches, collected, from_json
from inputlayer.onnx.rows import Rows, by_names, read, settle
from inputlayer.onnx.tables import cells_of
from inputlayer.plain import share_name
from inputlayer.streaming import Stream, columns_read

Predictions = dict[str, np.ndarray]


class OnnxModel:
    """A model that `Model.export` wrote.

    It needs onnxruntime and NumPy, and loads neither torch nor polars. What comes in is checked as `Model.predict`
    checks it, with the same errors.

    Parameters
    ----------
    path
        The ``.onnx`` file.
    threads
        Threads of a run. One is quickest for single records, and leaves the other cores to other requests.

    Raises
    ------
    ArtefactError
        If the file is none of ours, is damaged or changed, comes from a newer version, or does not answer on this
        machine what it answered where it was written (`self_test`).

    Examples
    --------
    >>> import tempfile
    >>> import inputlayer as il
    >>> table = {"day": list(range(60)), "load": [float(i % 7) for i in range(60)]}
    >>> schema = il.Schema({"load": il.Number()}, il.Windows("day", length=14, horizon=2), target="load")
    >>> model = il.Model(il.InputLayer(schema), il.LSTM(units=4))
    >>> history = model.fit(table, epochs=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     told = model.export(f"{folder}/load.onnx")
    ...     served = il.OnnxModel(f"{folder}/load.onnx")
    >>> {name: column.shape for name, column in served.predict(table).items()}
    {'origin': (2,), 'step': (2,), 'day': (2,), 'load': (2,)}
    >>> served.predict({"load": np.ones((3, 14))})["load"].shape
    (3, 2)
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise OptionError(f"threads={threads!r}: a whole number of at least 1 is needed")
        try:
            content = Path(path).read_bytes()
        except FileNotFoundError:
            raise ArtefactError(f"there is no file {str(path)!r}") from None
        except OSError as error:
            raise ArtefactError(f"{path} cannot be read: {error.strerror or error}") from error
        self._start(content, str(path), threads)

    @classmethod
    def of(cls, content: bytes, threads: int = 1) -> OnnxModel:
        """The model of a file's bytes."""
        made = cls.__new__(cls)
        made._start(content, "the model", threads)
        return made

    def _start(self, content: bytes, where: str, threads: int) -> None:
        self.told = told_by(content, where)
        self._step = step_of(content)
        self._where, self._threads = where, threads
        self._session = session(content, where, threads)
        self._outputs = [answer["name"] for answer in self.told["answers"]]
        self.self_test()

    def __repr__(self) -> str:
        """The columns that it reads, and the targets that it predicts."""
        sequence = self.told["schema"]["sequence"]
        names = columns_read(self.told["reads"], by_names(sequence), sequence.get("order"))
        return f"OnnxModel({', '.join(self.told['targets'])} from {', '.join(names)})"

    def self_test(self) -> float:
        """Run the rows stored in the file, and compare with the answers stored beside them.

        Returns
        -------
        float
            The largest difference: of numbers in units of the target's training spread, of classes in probability.

        Raises
        ------
        ArtefactError
            If it is larger than 1e-5.
        """
        test = self.told["test"]
        found = self._run({name: from_json(array) for name, array in test["inputs"].items()})
        worst = apart(self.told, found, [from_json(array) for array in test["answers"]])
        if not worst <= TOLERANCE:
            raise ArtefactError(
                f"{self._where} answers otherwise here than where it was written: by {worst:.2g}, in training units."
                " Update onnxruntime, or export the model again."
            )
        return worst

    def predict(self, data: Any, *, future: Any = None, lengths: Any = None) -> Predictions:
        """Predictions in raw units, as `Model.predict` gives them, in NumPy arrays.

        Parameters
        ----------
        data
            A table: a dict of lists or arrays, a list of dicts, a polars or pandas DataFrame, a pyarrow table. Or a
            batch of windows or groups: a dict of arrays with the batch first, ``{"load": (batch, time)}``.
        future
            For columns with ``role="known"``: a table of the next `horizon` rows of each series; for a batch
            ``{"holiday": (batch, horizon)}``.
        lengths
            Of a batch whose sequences differ in length: how many steps of each are real, (batch,). None: all.

        Returns
        -------
        dict
            Of a table: the columns of `Model.predict`, times as datetime64 (UTC where they have a zone). Of a batch:
            each target, its quantiles, or the label and ``p_<class>``, with the batch first.

        Raises
        ------
        TableError
            With every problem of the data.
        """
        batch = self._is_batch(data)
        if lengths is not None and not batch:
            raise OptionError("lengths= has no effect on a table: its own columns say where each sequence ends")
        if batch:
            return self._named(self._predict_batch(data, future, lengths))
        if self.told["schema"]["sequence"]["kind"] == "windows":
            return self._windows(data, future)
        if future is not None:
            raise OptionError("future= has no effect: only Windows with a horizon look ahead")
        return self._rows(data)

    def stream(self, state: str | Path | None = None) -> Stream:
        """A stream: raw rows pushed one at a time, the prediction after each, as that of `Model.stream`.

        Parameters
        ----------
        state
            A file that `Stream.save` wrote, of a stream of this file or of the model that wrote it: the stream goes on
            from there.

        Raises
        ------
        OptionError
            If the model cannot be fed row by row, saying which part of it and what could.
        """
        if "refused" in self.told["stream"]:
            raise OptionError(self.told["stream"]["refused"])
        run = self._session.run
        if self.told["stream"]["length"] is None:
            run = session(self._step, self._where, self._threads).run
        made = Stream(OnnxEngine(self.told, run, self._named))
        if state is not None:
            made.load(state)
        return made

    # -- tables ---------------------------------------------------------------------------------------------------

    def _windows(self, data: Any, future: Any) -> Predictions:
        rows = self._read(data)
        behind = rows_ahead(self.told, rows, future)
        start = last_windows(self.told, rows, None if behind is None else behind.order)
        end = rows.offsets[1:]
        values = {} if behind is None else behind.values
        found = self._answers(Sequences(rows.values, rows.moved, start, end - start, rows.moved[end - 1], values))
        assert rows.order is not None
        origin = in_its_type(rows.order[rows.moved[end - 1]], rows)
        return self._long(rows, origin, behind, found)

    def _long(self, rows: Rows, origin: np.ndarray, behind: Ahead | None, found: list[np.ndarray]) -> Predictions:
        """One row per series and step."""
        horizon = max(1, self.told["horizon"])
        made = {name: np.repeat(keys, horizon) for name, keys in rows.keys.items()}
        made[self._free("origin")] = np.repeat(origin, horizon)
        if behind is not None:
            made[self._free("step")] = np.tile(np.arange(1, horizon + 1), len(origin))
            if behind.meant:
                made[self.told["schema"]["sequence"]["order"]] = in_its_type(behind.order.ravel(), rows)
        return made | self._named([y.reshape(-1, *y.shape[2:]) if behind is not None else y for y in found])

    def _rows(self, data: Any) -> Predictions:
        """Groups and cells."""
        rows, sequence = self._read(data), self.told["schema"]["sequence"]
        if not rows.count:
            raise TableError([Problem("the table has no rows")])
        first, end = rows.offsets[:-1], rows.offsets[1:]
        if sequence["kind"] == "cells":
            at = np.arange(rows.count)
            found = self._answers(Sequences(rows.values, at, at, np.ones(rows.count, np.int64), at, {}))
            return {self._free("row"): at, **self._named(found)}
        start = np.maximum(first, end - (sequence.get("max_length") or rows.count))
        length = end - start
        found = self._answers(Sequences(rows.values, rows.moved, start, length, rows.moved[first], {}))
        if not sequence.get("per_step"):
            return {**rows.keys, **self._named(found)}
        real = np.arange(int(length.max())) < length[:, None]
        series, step = np.nonzero(real)
        made = {name: keys[series] for name, keys in rows.keys.items()}
        made[self._free("row")] = rows.moved[start[series] + step]
        return made | self._named([y[real] for y in found])

    def _read(self, data: Any) -> Rows:
        rows, problems = read(self.told, data, self.told["reads"]), Problems()
        if rows.count and self.told["schema"]["sequence"]["kind"] != "cells":
            settle(self.told, rows, problems)
        problems.raise_if_any()
        return rows

    def _answers(self, sequences: Sequences) -> list[np.ndarray]:
        runs = [(chosen, self._run(feeds)) for chosen, feeds in batches(self.told, sequences)]
        return collected(len(sequences), runs)

    # -- batches --------------------------------------------------------------------------------------------------

    def _is_batch(self, data: Any) -> bool:
        """Whether a dict holds arrays with the batch first: one axis more than the column of a table has."""
        if not isinstance(data, Mapping) or self.told["schema"]["sequence"]["kind"] == "cells":
            return False
        steps = [spec for spec in self.told["inputs"] if spec["place"] == "steps" and spec["column"] in data]
        depth = [(np.ndim(data[s["column"]]), s) for s in steps if hasattr(data[s["column"]], "shape")]
        return any(ndim == 2 + len(self.told["columns"][s["column"]].get("entry", ())) for ndim, s in depth)

    def _predict_batch(self, data: Mapping[str, Any], future: Any, lengths: Any) -> list[np.ndarray]:
        problems, sizes = Problems(), dict[str, int]()
        made: Feeds = {}
        for spec in self.told["inputs"]:
            source, of = (future or {}, "future=") if spec["place"] == "future" else (data, "the batch")
            if spec["column"] not in source:
                problems.add(f"is missing from {of}", column=spec["column"], remedy=f"It has: {', '.join(source)}")
                continue
            found = self._batch_input(spec, np.asarray(source[spec["column"]]), sizes, problems)
            made |= {} if found is None else found
        problems.raise_if_any()
        if self.told["lengths"] is not None:
            made[self.told["lengths"]] = _lengths(lengths, sizes)
        elif lengths is not None:
            raise OptionError("lengths= has no effect: every sequence of this model has the same number of steps")
        return self._run(made)

    def _batch_input(
        self, spec: Mapping[str, Any], array: np.ndarray, sizes: dict[str, int], problems: Problems
    ) -> Feeds | None:
        """One input of a batch; `sizes` are those of the free axes, as the inputs before have them."""
        name, column = spec["column"], self.told["columns"][spec["column"]]
        axes = ("batch", *spec["axes"])
        wanted = tuple(sizes.get(a, -1) if isinstance(a, str) else a for a in axes)
        entry = tuple(column.get("entry", ()))
        given = array.shape[: len(axes)]
        fits = len(array.shape) == len(axes) + len(entry) and array.shape[len(axes) :] == entry
        if not fits or any(w not in (-1, n) for w, n in zip(wanted, given, strict=True)):
            told = ", ".join(str(s) if s != -1 else str(a) for a, s in zip(axes, wanted, strict=True))
            shape = f"({', '.join([told, *map(str, entry)])})"
            problems.add(f"has the shape {array.shape}, not {shape}", column=name)
            return None
        for axis, size in zip(axes, given, strict=True):
            if not size:
                what = "holds no sequence" if axis == "batch" else "has no steps"
                problems.add(what, column=name, remedy="Give at least one.")
                return None
            if isinstance(axis, str):
                sizes[axis] = size
        flat = cells_of(name, array.reshape(-1, *entry))
        values = taken(flat, column, Noted(name, problems))
        if isinstance(values, list) or spec["entries"]:
            problems.add("holds several entries a cell: give a table", column=name)
            return None
        return {spec["name"]: values.reshape(*given, *values.shape[1:])}

    # -- both -----------------------------------------------------------------------------------------------------

    def _run(self, feeds: Feeds) -> list[np.ndarray]:
        found: list[np.ndarray] = self._session.run(self._outputs, feeds)
        return found

    def _named(self, found: list[np.ndarray]) -> Predictions:
        """The answers under the names that predictions have."""
        made: Predictions = {}
        for answer, y in zip(self.told["answers"], found, strict=True):
            if answer["label"]:
                made[answer["label"]] = y
            else:
                made |= {share_name(label): y[..., i] for i, label in enumerate(self.told["labels"])}
        return made

    def _free(self, name: str) -> str:
        while name in self.told["taken"]:
            name += "_"
        return name


def session(content: bytes, where: str, threads: int) -> Any:
    """An onnxruntime session of the graph.

    Raises
    ------
    MissingExtraError
        If onnxruntime is not installed.
    ArtefactError
        If it does not take the graph.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnx", "Predicting from an ONNX file") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base of their own
        version = onnxruntime.__version__
        raise ArtefactError(f"{where} cannot be run by onnxruntime {version}: {error}") from None


def _lengths(lengths: Any, sizes: Mapping[str, int]) -> np.ndarray:
    """The lengths of a batch, checked."""
    if lengths is None:
        return np.full(sizes["batch"], sizes["time"], np.int64)
    given = np.asarray(lengths)
    if given.shape != (sizes["batch"],) or given.dtype.kind not in "iu":
        raise OptionError(f"lengths={lengths!r}: {sizes['batch']} whole numbers are needed, one for each sequence")
    if len(given) and (given.min() < 1 or given.max() > sizes["time"]):
        raise OptionError(f"lengths={lengths!r}: each must lie between 1 and {sizes['time']}, the steps there are")
    return given.astype(np.int64)
