"""Raw data in, as blocks of rows, whatever it comes from: the one door to dataframe libraries.

A `Table` is one or several polars frames, eager or lazy, under one schema. Missing is always null (NaN numbers become
null at the door), text is always String, so a kind of column sees the same cells whatever they were read from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from inputlayer import lists, plain
from inputlayer.errors import OptionError, Problem, TableError, listed, nearest, shorten
from inputlayer.files import MISSING, open_files, reported

BLOCK = 65_536  # rows; the fitted half is cut into these, so the same rows give the same bytes

Step = Callable[[Any], Any]  # what is done to a polars frame, eager or lazy


def read(path: str | Path, missing: Sequence[str] = MISSING) -> Table:
    """Open a CSV, Parquet or Arrow IPC file, or all files that a pattern such as ``"data/*.csv"`` names.

    Parquet, Arrow and large CSV files stay on disk and are read block by block; the files of a pattern are joined in
    the order of their names. Column types of a CSV file come from its first 10,000 rows and are widened where a later
    cell does not fit: whole numbers to decimal ones, and those to text.

    Parameters
    ----------
    path
        A file, or a pattern; what it is says its suffix (.csv, .tsv, .txt, .parquet, .pq, .arrow, .ipc, .feather).
    missing
        The cells that stand for a missing value in a CSV file.

    Raises
    ------
    TableError
        If there is no such file, or it cannot be read, or is empty.
    """
    parts = [_Part(file.frame, file.name, file.pieces).tidy() for file in open_files(path, tuple(missing))]
    return Table.concat([Table((part,)) for part in parts])


def from_array(x: np.ndarray, axes: str, y: np.ndarray | Sequence[Any] | None = None) -> Table:
    """A table with a row per sample: column ``x`` holds its steps as a list, column ``y`` its target, if given.

    `axes` says which axis of `x` is which, because the shape alone cannot: ``"sample time"`` for (samples, steps), one
    number per step, or ``"sample time feature"`` for (samples, steps, features).

    >>> table = from_array(np.zeros((100, 10)), axes="sample time")
    >>> table.height, table.columns
    (100, {'x': List(Float64)})
    """
    x = np.asarray(x)
    known = {"sample time": 2, "sample time feature": 3}
    if axes not in known:
        raise OptionError(f"axes must be one of {listed(known)}, not {shorten(axes)}.{nearest(str(axes), known)}")
    if x.ndim != known[axes]:
        raise OptionError(f"axes={axes!r} names {known[axes]} axes, but the array has shape {x.shape}.")
    data: dict[str, Any] = {"x": x}
    if y is not None:
        data["y"] = y
    return replace(Table.of(data), axes=axes)


@dataclass(frozen=True, eq=False)
class _Part:
    """A frame, eager or lazy, after `steps` that act on single rows; of a lazy one, which of its rows (None: all).

    `pieces` says that reading a slice of the frame costs little more than its share, as with a Parquet file.
    """

    base: pl.DataFrame | pl.LazyFrame
    source: str = ""
    pieces: bool = False
    steps: tuple[Step, ...] = ()
    rows: np.ndarray | None = field(default=None, repr=False)

    @cached_property
    def frame(self) -> pl.DataFrame | pl.LazyFrame:
        return reduce(lambda frame, step: step(frame), self.steps, self.base)

    @cached_property
    def schema(self) -> dict[str, pl.DataType]:
        with reported(self.source):
            return dict(self.frame.collect_schema())

    @cached_property
    def height(self) -> int:
        return self._count(self.frame) if self.rows is None else len(self.rows)

    def stream(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """The rows in order, in frames of any height up to `rows`."""
        first = 0
        with reported(self.source):
            for batch in self._read(columns, rows):
                if self.rows is None:
                    yield batch
                else:
                    start, stop = np.searchsorted(self.rows, [first, first + batch.height])
                    yield batch[self.rows[start:stop] - first]
                first += batch.height

    def _read(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        frame = self.frame.select(columns)
        if isinstance(frame, pl.DataFrame):
            yield from frame.iter_slices(rows)
        elif self.pieces:
            # polars reads ahead by whole row groups; asked for piece after piece, it holds a bounded number of rows.
            for start in range(0, self._count(self.base), BLOCK):
                piece = replace(self, base=self.base.slice(start, BLOCK)).frame
                yield from piece.lazy().select(columns).collect().iter_slices(rows)
        else:
            yield from frame.collect_batches(chunk_size=rows, maintain_order=True)

    def _count(self, frame: pl.DataFrame | pl.LazyFrame) -> int:
        if isinstance(frame, pl.DataFrame):
            return frame.height
        with reported(self.source):
            return int(frame.select(pl.len()).collect(engine="streaming").item())

    def _then(self, step: Step) -> _Part:
        if isinstance(self.base, pl.LazyFrame):
            return replace(self, steps=(*self.steps, step))
        with reported(self.source):
            return replace(self, base=step(self.base))

    def take(self, index: np.ndarray) -> _Part:
        if isinstance(self.base, pl.LazyFrame):
            return replace(self, rows=index if self.rows is None else self.rows[index])
        if len(index) and int(index[-1]) - int(index[0]) + 1 == len(index):  # no copy
            return replace(self, base=self.base.slice(int(index[0]), len(index)))
        return replace(self, base=self.base[index])

    def filter(self, condition: pl.Expr) -> _Part:
        if self.rows is None:
            return self._then(lambda frame: frame.filter(condition))
        names = [name for name in condition.meta.root_names() if name in self.schema]
        masks = [batch.select(condition).to_series() for batch in self.stream(names, BLOCK)]
        kept = pl.concat(masks).fill_null(False).to_numpy() if masks else np.zeros(0, dtype=bool)
        return replace(self, rows=self.rows[kept])

    def aligned(self, schema: Mapping[str, pl.DataType]) -> _Part:
        """The same rows under `schema`: missing columns null, types widened."""
        if self.schema == schema:
            return self
        cells = [
            (pl.col(name) if name in self.schema else pl.lit(None)).cast(dtype).alias(name)
            for name, dtype in schema.items()
        ]
        return self._then(lambda frame: frame.select(cells))

    def tidy(self) -> _Part:
        """NaN numbers become null, and categories text. Columns without either are not copied."""
        frame, cells = self.base, []
        for name, dtype in self.schema.items():
            if isinstance(dtype, pl.Categorical | pl.Enum):
                cells.append(pl.col(name).cast(pl.String))
            elif dtype.is_float() and (isinstance(frame, pl.LazyFrame) or frame[name].is_nan().any()):
                cells.append(pl.col(name).fill_nan(None))
        return self._then(lambda frame: frame.with_columns(cells)) if cells else self


@dataclass(frozen=True, eq=False)
class Table:
    """The raw data: rows and named columns. Made by `read`, `from_array` and `Table.of`; never changed.

    >>> table = Table.of({"load": [1.5, None], "wind": ["N", "S"]})
    >>> table.height, list(table.columns)
    (2, ['load', 'wind'])
    >>> [block.height for block in table.blocks(["wind"], rows=1)]
    [1, 1]
    """

    parts: tuple[_Part, ...] = field(repr=False)
    axes: str | None = None

    def __repr__(self) -> str:
        axes = "" if self.axes is None else f", axes={self.axes!r}"
        return f"Table({self.height:,} rows{axes}: {', '.join(f'{n} {t}' for n, t in self.columns.items())})"

    @staticmethod
    def of(data: Any) -> Table:
        """A table of whatever holds one.

        `data` is a Table, a path (then as `read`), a polars DataFrame or LazyFrame, a pandas DataFrame (a named index
        is a column), a pyarrow table or anything else with the Arrow stream interface, a dict of lists or arrays, or a
        list of dicts. Raises `TableError` for anything else, and for lists of cells of several kinds, such as numbers
        and text, which are not made one.
        """
        if isinstance(data, Table):
            return data
        if isinstance(data, str | Path):
            return read(data)
        with reported("the data"):
            part = _Part(_frame(data), "the table").tidy()
        if not part.schema:
            raise TableError([Problem("the table has no columns")])
        return Table((part,))

    @staticmethod
    def concat(tables: Iterable[Table]) -> Table:
        """The rows of all `tables`, one after the other; a column that one of them lacks is missing there.

        Where types differ, the wider one is taken; raises `TableError` where there is none.
        """
        listed_tables = list(tables)
        if not listed_tables:
            raise OptionError("Table.concat needs at least one table.")
        parts = [part for table in listed_tables for part in table.parts]
        axes = {table.axes for table in listed_tables}
        schema = _common([part.schema for part in parts])
        return Table(tuple(part.aligned(schema) for part in parts), axes.pop() if len(axes) == 1 else None)

    @property
    def columns(self) -> dict[str, pl.DataType]:
        """The columns in order, with their polars types."""
        return dict(self.parts[0].schema)

    @property
    def height(self) -> int:
        """The number of rows."""
        return sum(part.height for part in self.parts)

    def blocks(self, columns: Sequence[str] | None = None, rows: int = BLOCK) -> Iterator[pl.DataFrame]:
        """The rows in order, in frames of exactly `rows` rows (the last may be shorter), however they are read.

        Never holds more than a few blocks. Raises `TableError` if a column of `columns` does not exist.
        """
        names = self._named(columns)
        return _recut((batch for part in self.parts for batch in part.stream(names, rows)), rows)

    def frame(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """All rows in memory."""
        names = self._named(columns)
        schema = {name: self.columns[name] for name in names}
        return pl.concat([pl.DataFrame(schema=schema), *self.blocks(names)], rechunk=True)

    def take(self, index: np.ndarray) -> Table:
        """The rows numbered `index` (n,) int64, counted from 0, ascending."""
        index = np.asarray(index, dtype=np.int64)
        if len(index) and (index[0] < 0 or index[-1] >= self.height or (np.diff(index) <= 0).any()):
            raise OptionError(f"row numbers must ascend, each once, between 0 and {self.height - 1}")
        ends = np.cumsum([0, *(part.height for part in self.parts)])
        cuts = np.searchsorted(index, ends)
        taken = (part.take(index[cuts[i] : cuts[i + 1]] - ends[i]) for i, part in enumerate(self.parts))
        return replace(self, parts=tuple(taken))

    def filter(self, condition: pl.Expr) -> Table:
        """The rows for which `condition` is true; it may look at one row at a time only."""
        return replace(self, parts=tuple(part.filter(condition) for part in self.parts))

    def _named(self, columns: Sequence[str] | None) -> list[str]:
        known = self.columns
        names = list(known) if columns is None else list(columns)
        absent = [name for name in names if name not in known]
        if absent:
            has = f"The table has {listed(known, 20)}."
            raise TableError([Problem("is not in the table", n, remedy=has + nearest(n, known)) for n in absent])
        return names


def _recut(batches: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    held: list[pl.DataFrame] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += batch.height
        if count >= rows:
            joined = pl.concat(held)
            yield from joined.head(count - count % rows).iter_slices(rows)
            held, count = [joined.tail(count % rows)], count % rows
    if count:
        yield pl.concat(held)


def _common(schemas: Sequence[Mapping[str, pl.DataType]]) -> dict[str, pl.DataType]:
    common: dict[str, pl.DataType] = {}
    problems = []
    for schema in schemas:
        for name, dtype in schema.items():
            wider = _wider(common.get(name, dtype), dtype)
            if wider is None:
                problems.append(Problem(f"holds {common[name]} in one table and {dtype} in another", name))
            else:
                common[name] = wider
    if problems:
        raise TableError(problems)
    return common


def _wider(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    if one == other:
        return one
    try:
        frames = [pl.DataFrame(schema={"": dtype}) for dtype in (one, other)]
        wider = pl.concat(frames, how="vertical_relaxed").schema[""]
    except pl.exceptions.PolarsError:
        return None
    # polars calls text the common type of lists and text, and then cannot cast to it.
    return wider if wider.is_nested() or not (one.is_nested() or other.is_nested()) else None


def _frame(data: Any) -> pl.DataFrame | pl.LazyFrame:
    if isinstance(data, pl.DataFrame):
        objects = [name for name, dtype in data.schema.items() if dtype == pl.Object]
        return data.with_columns(*_columns({name: data[name] for name in objects}, objects)) if objects else data
    if isinstance(data, pl.LazyFrame):
        return data
    if _is_pandas(data):
        data = data.reset_index() if data.index.name is not None or data.index.nlevels > 1 else data
        return _columns({str(name): data.iloc[:, i] for i, name in enumerate(data.columns)}, list(data.columns))
    if isinstance(data, Mapping):
        plain.refuse_one_row(data, "the table")
        return _columns({str(name): values for name, values in data.items()}, list(data))
    if hasattr(data, "__arrow_c_stream__"):
        return pl.DataFrame(data)
    if isinstance(data, list | tuple) and all(isinstance(row, Mapping) for row in data):
        names = list(dict.fromkeys(name for row in data for name in row))
        return _columns({str(name): [row.get(name) for row in data] for name in names}, names)
    kinds = "a path, a polars or pandas DataFrame, a pyarrow table, a dict of lists or arrays, a list of dicts"
    remedy = " For an array, use il.from_array." if isinstance(data, np.ndarray) else ""
    raise TableError([Problem(f"a table cannot be made of {type(data).__name__}; give {kinds}.{remedy}")])


def _columns(values: Mapping[str, Any], names: Sequence[Any]) -> pl.DataFrame:
    series: list[pl.Series] = []
    problems: list[Problem] = []
    for name, cells in values.items():
        try:
            series.append(_series(name, cells))
        except TableError as error:
            problems += error.problems
    if problems:
        raise TableError(problems)
    twice = sorted({str(name) for name in names if [str(other) for other in names].count(str(name)) > 1})
    heights = {one.name: len(one) for one in series}
    if twice:
        raise TableError([Problem("occurs twice", name) for name in twice])
    if len(set(heights.values())) > 1:
        raise TableError([Problem(f"columns differ in length: {heights}")])
    return pl.DataFrame(series)


def _series(name: str, values: Any) -> pl.Series:
    ordered = hasattr(values, "__len__") and hasattr(values, "__iter__") and not isinstance(values, Set | Mapping)
    if isinstance(values, str | bytes) or not ordered:
        raise TableError([Problem(f"must be a list or an array, not {shorten(values)}", name)])
    try:
        series = _readable(name, values)
    except UnicodeEncodeError:
        rows = [row for row, cell in enumerate(values) if plain.is_torn(cell)]
        raise TableError([plain.torn(name, rows, values)]) from None
    return series.arr.to_list() if isinstance(series.dtype, pl.Array) else series


def _readable(name: str, values: Any) -> pl.Series:
    try:
        series = _typed(name, values)
        if series.dtype != pl.Object:
            return series
    except (UnicodeEncodeError, TableError):
        raise
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        pass
    return _mixed(name, [None if plain.is_missing(cell) else cell for cell in values])


def _typed(name: str, values: Any) -> pl.Series:
    if isinstance(values, pl.Series):
        if values.dtype != pl.Object:
            return values.alias(name)
        values = values.to_list()
    if _is_pandas(values) and values.dtype != object:
        try:
            return pl.Series(name, pl.from_pandas(values))
        except ImportError:  # without pyarrow, by way of NumPy
            values = values.to_numpy()
    if hasattr(values, "__arrow_c_stream__") and not _is_pandas(values):
        return pl.Series(name, values)
    if hasattr(values, "__array__"):
        array = np.asarray(values)
        if array.dtype != object:
            coarse = array.dtype.kind == "M" and np.datetime_data(array.dtype)[0] not in ("D", "ms", "us", "ns")
            return pl.Series(name, array.astype("datetime64[ms]") if coarse else array)
    cells = [None if plain.is_missing(cell) else cell for cell in values]
    plain.refuse_mixture(name, cells)
    first = next((cell for cell in cells if cell is not None), None)
    return lists.series_of(name, cells) if isinstance(first, list | tuple | np.ndarray) else pl.Series(name, cells)


def _mixed(name: str, cells: list[Any]) -> pl.Series:
    """Cells that polars takes for several types: numbers, times or, so that the column's kind can name it, text."""
    plain.refuse_mixture(name, cells)
    if all(cell is None or isinstance(cell, int | float | np.number) for cell in cells):
        return pl.Series(name, [None if cell is None else float(cell) for cell in cells], dtype=pl.Float64)
    if all(cell is None or isinstance(cell, date) for cell in cells):
        # Not of a zone that polars does not know, nor an hour that a zone leaves out: these are read as text.
        with suppress(ValueError, pl.exceptions.PolarsError):
            return pl.Series(name, [datetime.combine(cell, time()) if type(cell) is date else cell for cell in cells])
    return pl.Series(name, [None if cell is None else str(cell) for cell in cells], dtype=pl.String)


def _is_pandas(data: Any) -> bool:
    return type(data).__module__.partition(".")[0] == "pandas"
