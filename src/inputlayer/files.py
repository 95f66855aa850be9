"""Files of raw data, opened lazily: formats, patterns, and the types of a CSV file's columns."""

from __future__ import annotations

import codecs
import csv
import glob
import gzip
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import polars as pl

from inputlayer.errors import Problem, TableError, shorten

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")

IN_MEMORY = 512 * 2**20  # bytes; a CSV file up to this size is parsed once and held, a larger one at each pass
INFER = 10_000  # rows of a CSV file that its column types are guessed from

CSV = (".csv", ".tsv", ".txt", ".csv.gz", ".csv.zst")
_PARQUET = (".parquet", ".pq")
_ARROW = (".arrow", ".ipc", ".feather")
FORMATS = CSV + _PARQUET + _ARROW

_SAVE = (
    "Save it as UTF-8: a spreadsheet calls that CSV UTF-8, and iconv -f CP1252 -t UTF-8 OLD > NEW turns one into it."
)
_SHOWN = 5  # lines that are not UTF-8, before "and more"
_YEAR_FIRST = r"^\s*\d{4}\D"

# What a column is read as where a cell does not fit its type: whole numbers beyond 64 bits keep their digits, any
# other misfit ends as text, so that the column's kind can name the rows.
_WIDER: dict[pl.DataType, pl.DataType] = {pl.Int64(): pl.Int128(), pl.Int128(): pl.Float64()}
_MISFIT = re.compile(r"could not parse `.*` as dtype `.*` at column .*\(column number (\d+)\)", re.DOTALL)


class Opened(NamedTuple):
    """A file's name and frame, and whether a slice of the frame costs little more than its share of the whole."""

    name: str
    frame: pl.DataFrame | pl.LazyFrame
    pieces: bool


def open_files(path: str | Path, missing: tuple[str, ...]) -> list[Opened]:
    """Each file that `path`, a file or a pattern, names; in the order of the names."""
    with reported(str(path)):
        found = glob.glob(str(path), recursive=True)  # noqa: PTH207 (a pattern may be absolute)
        paths = [str(path)] if Path(path).exists() else sorted(found)
    if not paths:
        raise TableError([Problem(f"there is no file {str(path)!r}")])
    return [Opened(file, _opened(Path(file), missing), file.lower().endswith(_PARQUET + _ARROW)) for file in paths]


@contextmanager
def reported(source: str) -> Iterator[None]:
    """Turn an error of polars or of the system into a `TableError` that names what was read."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TableError(
            [Problem(f"{source} cannot be read: {first}", remedy=_SAVE if "utf-8" in first else "")]
        ) from error


def _opened(path: Path, missing: tuple[str, ...]) -> pl.DataFrame | pl.LazyFrame:
    name = path.name.lower()
    if not (path.is_file() and name.endswith(FORMATS)):
        raise TableError(
            [Problem(f"{str(path)!r} is not a file of a known format", remedy=f"Known: {', '.join(FORMATS)}.")]
        )
    with reported(str(path)):
        if path.stat().st_size == 0:
            raise TableError([Problem(f"{path} is empty")])
        if name.endswith(_PARQUET):
            frame = pl.scan_parquet(path, glob=False)
        elif name.endswith(_ARROW):
            frame = pl.scan_ipc(path, glob=False)
        else:
            return _csv(path, missing)
        frame.collect_schema()  # so that a file that is not what its name says is refused here
        return frame


def _csv(path: Path, missing: tuple[str, ...]) -> pl.DataFrame | pl.LazyFrame:
    """Parse the whole file, widening a column as often as a cell does not fit; hold the rows of a small file."""
    separator = _separator(path)
    scan = partial(pl.scan_csv, path, separator=separator, null_values=list(missing), try_parse_dates=True, glob=False)
    try:
        types = _guessed(path, scan)
        if any("\ufffd" in name for name in types):  # what polars makes of a header that is not UTF-8
            _report_bytes(path, separator)
        while True:
            try:
                return _checked(scan(schema_overrides=types), path.stat().st_size)
            except pl.exceptions.ComputeError as error:
                misfit = _MISFIT.search(str(error))
                if misfit is None:
                    raise
                column = list(types)[int(misfit[1]) - 1]
                types[column] = _WIDER.get(types[column], pl.String())
    except pl.exceptions.ComputeError as error:
        if "utf-8" in str(error):
            _report_bytes(path, separator)
        _report_long_line(path, separator, error)
        raise


def _checked(lazy: pl.LazyFrame, size: int) -> pl.DataFrame | pl.LazyFrame:
    if size <= IN_MEMORY:
        return lazy.collect()
    lazy.select(pl.all().null_count()).collect(engine="streaming")  # every cell is parsed, none is held
    return lazy


def _separator(path: Path) -> str:
    """The comma, or else what the header has in its place."""
    if path.suffix in (".gz", ".zst"):
        return ","
    with path.open(encoding="utf-8", errors="replace") as file:
        header = re.sub(r'"[^"]*"', "", file.readline(2**20))
    return next((mark for mark in ",;\t|" if mark in header), ",")


def _guessed(path: Path, scan: Callable[..., pl.LazyFrame]) -> dict[str, pl.DataType]:
    types = dict(scan(infer_schema_length=INFER).collect_schema())
    twice = [name for name in types if re.sub(r"_duplicated_\d+$", "", name) in types.keys() - {name}]
    if twice:
        raise TableError([Problem(f"occurs twice in {path}", name.rpartition("_duplicated_")[0]) for name in twice])
    head = scan(infer_schema=False, n_rows=INFER).collect()
    # polars takes 01/02/2024 for the first of February. What was meant is for the column's kind to say.
    loose = [
        n
        for n, t in types.items()
        if isinstance(t, pl.Date | pl.Datetime) and not head[n].str.contains(_YEAR_FIRST).all()
    ]
    types |= dict.fromkeys(loose, pl.String())
    # A column without a value so far was guessed to be text; it may become numbers further down.
    empty = [name for name in types if head.height == INFER and head[name].null_count() == INFER]
    return types | dict.fromkeys(empty, pl.Int64())


def _report_bytes(path: Path, separator: str) -> None:
    """Say which lines of the file are not UTF-8, if any are."""
    if path.suffix == ".zst":
        return
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        header = file.readline()
        if header.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise TableError([Problem(f"{path} is in UTF-16", remedy=_SAVE.replace("CP1252", "UTF-16"))])
        names = _cells(header, separator)
        bad = (_foreign(line, number, names, separator) for number, line in enumerate(chain([header], file), 1))
        found = list(islice((told for told in bad if told), _SHOWN + 1))
    if found:
        more = " and more" * (len(found) > _SHOWN)
        raise TableError([Problem(f"{path} is not UTF-8: {', '.join(found[:_SHOWN])}{more}", remedy=_SAVE)])


def _foreign(line: bytes, number: int, names: list[str], separator: str) -> str | None:
    """What of a line is not UTF-8: its number, column and bytes, and what they are likely to be.

    >>> print(_foreign("3,Zürich".encode("latin-1"), 2, ["load", "town"], ","))
    line 2, column 'town': b'Z\\xfcrich', in Windows-1252 'Zürich'
    """
    at = _bad_byte(line)
    if at is None:
        return None
    place = len(_cells(line[:at] + b"x", separator)) - 1
    where = f"line {number}" + (f", column {names[place]!r}" if number > 1 and place < len(names) else "")
    cell = _cells(line, separator)[place].encode("latin-1")
    start = max(0, (_bad_byte(cell) or 0) - 20)
    shown = cell[start : start + 40]
    read = shown.decode("cp1252", errors="replace")
    return f"{where}: {shown!r}" + ("" if "\ufffd" in read else f", in Windows-1252 {read!r}")


def _bad_byte(text: bytes) -> int | None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


def _cells(line: bytes, separator: str) -> list[str]:
    """The cells of a line, of whatever bytes: each becomes one character of Latin-1."""
    text = line.decode("latin-1")
    try:
        return next(csv.reader([text], delimiter=separator))
    except csv.Error:  # a cell is too long for it
        return text.split(separator)


def _report_long_line(path: Path, separator: str, error: Exception) -> None:
    """Say which line of the file has more cells than the header names, if that is what `error` is about."""
    if "more fields" not in str(error) or path.suffix in (".gz", ".zst"):
        return
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines = csv.reader(file, delimiter=separator)
        width = len(next(lines))
        for cells in lines:
            if len(cells) > width:
                what = f"line {lines.line_num} of {path} has {len(cells)} cells, its header names {width}"
                raise TableError([Problem(f"{what}: {shorten(separator.join(cells))}")])
