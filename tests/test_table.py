"""Tables: every door gives the same blocks; CSV files in all the shapes that people have."""

from __future__ import annotations

import datetime as dt
import gzip
import re
import tempfile
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inputlayer import files
from inputlayer.errors import OptionError, TableError
from inputlayer.table import Table, from_array, read

DAYS = [dt.date(2024, 1, 1), dt.date(2024, 1, 2), dt.date(2024, 1, 3)]
FRAME = pl.DataFrame({"day": DAYS, "load": [1.5, None, -2.0], "wind": ["N", "S", None], "n": [1, 2, 3]})


def doors(folder: Path) -> dict[str, object]:
    paths = {suffix: str(folder / f"t.{suffix}") for suffix in ("csv", "parquet", "arrow")}
    FRAME.write_csv(paths["csv"])
    FRAME.write_parquet(paths["parquet"])
    FRAME.write_ipc(paths["arrow"])
    lists = FRAME.to_dict(as_series=False)
    return paths | {
        "table": Table.of(FRAME),
        "path": Path(paths["csv"]),
        "polars": FRAME,
        "nan": FRAME.with_columns(pl.col("load").fill_null(float("nan"))),
        "categorical": FRAME.with_columns(pl.col("wind").cast(pl.Categorical)),
        "lazy": FRAME.lazy(),
        "pandas": FRAME.to_pandas(),
        "pandas index": FRAME.to_pandas().set_index("day"),
        "pandas objects": FRAME.to_pandas().astype(object),
        "pandas categories": FRAME.to_pandas().astype({"wind": "category"}),
        "arrow table": FRAME.to_arrow(),
        "arrow dictionary": pa.table(FRAME.to_arrow()).combine_chunks(),
        "lists": lists,
        "arrays": {"day": np.array(DAYS, "M8[s]"), "load": np.array([1.5, np.nan, -2.0])}
        | {"wind": np.array(["N", "S", None], object), "n": np.array([1, 2, 3])},
        "dicts": [{k: v for k, v in row.items() if v is not None} for row in FRAME.to_dicts()],
    }


def test_every_door_gives_the_same_blocks(tmp_path: Path) -> None:
    expected = [FRAME.head(2), FRAME.tail(1)]
    for door, data in doors(tmp_path).items():
        blocks = list(Table.of(data).blocks(FRAME.columns, rows=2))
        blocks = [block.with_columns(pl.col("day").cast(pl.Date)) for block in blocks]
        assert [block.equals(want) for block, want in zip(blocks, expected, strict=True)] == [True, True], door
        assert [block.schema for block in blocks] == [FRAME.schema, FRAME.schema], door


def test_pandas_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*args: object) -> None:
        raise ImportError("pyarrow")

    data = pd.DataFrame({"t": pd.to_datetime(["2024-01-01", None]), "n": [1, 2], "x": [1.5, None], "w": ["N", None]})
    data["c"], data["k"] = data["w"].astype("category"), pd.array([1, None], dtype="Int64")
    expected = Table.of(data).frame()
    monkeypatch.setattr(pl, "from_pandas", absent)
    assert Table.of(data).frame().equals(expected)
    assert expected["k"].to_list() == [1, None]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=8), st.integers(1, 7), st.sampled_from(["eager", "lazy", "taken"]))
def test_blocks_have_the_height_asked_for_however_they_are_read(cuts: list[int], rows: int, source: str) -> None:
    total = sum(cuts)
    frame = pl.DataFrame({"i": np.arange(total)})
    parts = [frame.slice(start, cut) for start, cut in zip(np.cumsum([0, *cuts]), cuts, strict=False)]
    tables = [Table.of(part if source == "eager" else part.lazy()) for part in [frame.head(0), *parts]]
    if source == "taken":
        doubled = [Table.of(part.select(pl.col("i").repeat_by(2).explode()).lazy()) for part in parts]
        tables[1:] = [table.take(np.arange(0, table.height, 2)) for table in doubled]
    table = Table.concat(tables)
    blocks = list(table.blocks(rows=rows))
    assert table.height == total
    assert [block.height for block in blocks] == [rows] * (total // rows) + [total % rows] * (total % rows > 0)
    assert table.frame()["i"].to_list() == [i for block in blocks for i in block["i"]] == list(range(total))


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("index", [[], [0, 3, 4], [2, 3, 4], [1, 6, 9]])
def test_take_and_filter_in_any_order(index: list[int], lazy: bool) -> None:
    frame = pl.DataFrame({"i": range(5)})
    parts = [frame, frame + 5]
    table = Table.concat([Table.of(part.lazy() if lazy else part) for part in parts])
    even = pl.col("i") % 2 == 0
    assert table.take(np.array(index)).frame()["i"].to_list() == index
    assert table.take(np.array(index)).filter(even).frame()["i"].to_list() == [i for i in index if i % 2 == 0]
    assert table.filter(even).take(np.array([1, 4])).frame()["i"].to_list() == [2, 8]
    assert table.take(np.array([1, 3, 9])).take(np.array([0, 2])).height == 2


@pytest.mark.parametrize("index", [[2, 1], [1, 1], [-1], [3]])
def test_take_refuses_rows_that_do_not_ascend_or_exist(index: list[int]) -> None:
    with pytest.raises(OptionError, match="row numbers must ascend, each once, between 0 and 2"):
        Table.of(FRAME).take(np.array(index))


def test_concat_widens_types_and_fills_missing_columns() -> None:
    table = Table.concat([Table.of({"a": [1], "b": ["x"]}), Table.of(pl.LazyFrame({"a": [1.5]}))])
    assert table.columns == {"a": pl.Float64(), "b": pl.String()}
    assert table.frame().rows() == [(1.0, "x"), (1.5, None)]
    with pytest.raises(TableError, match=r"column 'a': holds List\(.*\) in one table and String in another"):
        Table.concat([Table.of({"a": [[1.0]]}), Table.of({"a": ["x"]})])


def test_cells_of_one_kind_are_made_one_type() -> None:
    day, noon = dt.date(2024, 1, 1), dt.datetime(2024, 1, 1, 12)
    table = Table.of(
        {"a": [1, 2.5, None], "b": ["x", None, float("nan")], "c": [[1], [1.5], None], "d": [day, noon, None]}
    )
    assert table.frame().to_dict(as_series=False) == {
        "a": [1.0, 2.5, None],
        "b": ["x", None, None],
        "c": [[1.0], [1.5], None],
        "d": [dt.datetime(2024, 1, 1), noon, None],
    }


NOON = dt.datetime(2024, 1, 1, 12)
MIXTURES = {
    "numbers and text": (
        [1, "x", 2.5],
        r"holds text among numbers \(row 1 = 'x'\). A column is of one type: make these",
    ),
    "one of each": (["x", 1], r"holds numbers among text \(row 1 = 1\)"),
    "three kinds": ([1, 2, "x", [1.0]], r"holds text and lists among numbers \(row 2 = 'x', row 3 = \[1.0\]\)"),
    "booleans and numbers": ([0, True, 1], r"holds booleans among numbers \(row 1 = True\)"),
    "NumPy's booleans": ([np.True_, 1.5, 2], r"holds booleans among numbers \(row 0 = "),
    "after a missing one": ([None, float("nan"), "x", "y", 3], r"holds numbers among text \(row 4 = 3\)"),
    "times and text": ([NOON, "2024-01-01", NOON], r"holds text among times \(row 1 = '2024-01-01'\)"),
    "zones": (
        [NOON.replace(tzinfo=dt.UTC), NOON, NOON],
        r"holds times with a zone among times without a zone \(row 0 = ",
    ),
    "bytes": (["x", b"y"], r"holds bytes among text \(row 1 = b'y'\). Decode them first"),
}


@pytest.mark.parametrize("mixture", MIXTURES)
def test_cells_of_several_kinds_are_refused(mixture: str) -> None:
    cells, message = MIXTURES[mixture]
    objects = np.empty(len(cells), object)
    objects[:] = cells
    for data in ({"a": cells}, [{"a": cell} for cell in cells], {"a": objects}):
        with pytest.raises(TableError, match=f"column 'a': {message}"):
            Table.of(data)


def test_all_columns_of_several_kinds_are_named_at_once() -> None:
    with pytest.raises(TableError, match=r"(?s)2 problems.*column 'a'.*column 'b'"):
        Table.of([{"a": 1, "b": "x", "c": 1.0}, {"a": "x", "b": 1, "c": None}])


def test_cells_of_arrays_keep_their_steps() -> None:
    flat = Table.of({"x": [np.arange(2.0), np.arange(3.0)]}).frame()["x"]
    deep = Table.of({"x": [np.ones((2, 3)), np.ones((1, 3))]}).frame()["x"]
    assert flat.to_list() == [[0.0, 1.0], [0.0, 1.0, 2.0]]
    assert deep.to_list() == [[[1.0] * 3] * 2, [[1.0] * 3]]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (np.zeros((2, 2)), "a table cannot be made of ndarray.*from_array"),
        (3, "a table cannot be made of int; give a path"),
        ({}, "the table has no columns"),
        ({"a": [1], "b": [1, 2]}, "columns differ in length: {'a': 1, 'b': 2}"),
        ({"a": "text"}, "column 'a': must be a list or an array, not 'text'"),
        ({"a": {1, 2}}, "column 'a': must be a list or an array, not {1, 2}"),
        ("x" * 5000 + ".csv", "cannot be read: .*too long"),
        ({1: [1], "1": [2]}, "column '1': occurs twice"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "column 'a': occurs twice"),
        (pl.LazyFrame({"a": [1]}).select("b"), "cannot be read: .*b"),
    ],
)
def test_what_is_no_table_is_refused(data: object, match: str) -> None:
    with pytest.raises(TableError, match=match):
        Table.of(data)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(TableError, match=r"column 'lod': is not in the table. The table has .*Did you mean 'load'"):
        Table.of(FRAME).blocks(["lod"])


def test_axes_of_an_array_must_be_named() -> None:
    assert from_array(np.zeros((4, 3, 2)), axes="sample time feature", y=[1, 2, 3, 4]).height == 4
    assert from_array(np.zeros((4, 3)), axes="sample time").axes == "sample time"
    with pytest.raises(OptionError, match=r"axes='sample time' names 2 axes, but the array has shape \(4, 3, 2\)"):
        from_array(np.zeros((4, 3, 2)), axes="sample time")
    with pytest.raises(OptionError, match=r"axes must be one of 'sample time', .*Did you mean 'sample time'"):
        from_array(np.zeros((4, 3)), axes="sample tme")


# -- CSV --------------------------------------------------------------------------------------------------------------


def written(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode("utf-8", errors="surrogateescape"))
    return path


@pytest.fixture(params=["in memory", "on disk"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Types are guessed from 3 rows; files are held in memory, or treated as too large for that."""
    monkeypatch.setattr(files, "INFER", 3)
    monkeypatch.setattr(files, "IN_MEMORY", 2**20 if request.param == "in memory" else 0)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("cells", "values", "dtype"),
    [
        ("1 2 3 4", [1, 2, 3, 4], pl.Int64),
        ("1 2 3 NA", [1, 2, 3, None], pl.Int64),
        ("1 2 3 4.5", [1.0, 2.0, 3.0, 4.5], pl.Float64),
        ("1 2 3 4.5 1e3", [1.0, 2.0, 3.0, 4.5, 1000.0], pl.Float64),
        ("1 2 3 99999999999999999999", [1, 2, 3, 99999999999999999999], pl.Int128),
        ("1 2 3 x 4.5", ["1", "2", "3", "x", "4.5"], pl.String),
        ("1.0 2 3 x`y", ["1.0", "2", "3", "x`y"], pl.String),
        ("NA NA NA 4.5", [None, None, None, 4.5], pl.Float64),
        ("NA NA NA x", [None, None, None, "x"], pl.String),
        ("true false NA maybe", ["true", "false", None, "maybe"], pl.String),
        ("2024-01-01 2024-01-02 NA 2024-01-03", [*DAYS[:2], None, DAYS[2]], pl.Date),
        ("2024-01-01 2024-01-02 NA soon", ["2024-01-01", "2024-01-02", None, "soon"], pl.String),
    ],
)
def test_types_widen_where_a_later_cell_does_not_fit(
    cells: str, values: list[object], dtype: object, tmp_path: Path
) -> None:
    lines = [f"{cell},{i},{cell}" for i, cell in enumerate(cells.split())]
    frame = read(written(tmp_path, "\n".join(["a,i,b", *lines]))).frame()
    assert frame["a"].to_list() == frame["b"].to_list() == values
    assert (frame["a"].dtype, frame["i"].dtype) == (dtype, pl.Int64)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is empty"),
        ("\n\n", "cannot be read: empty CSV"),
        ("a,a\n1,2\n", "column 'a': occurs twice in"),
        ("a,b\n1,2\n1,2\n1,2\n1,2\n1,2,3\n", "line 6 of .*t.csv has 3 cells, its header names 2: '1,2,3'"),
        ("a,b\n1,\udcff\udcfe\n", r"is not UTF-8: line 2, column 'b': b'\\xff\\xfe', in Windows-1252 'ÿþ'. Save"),
    ],
)
def test_a_csv_file_that_cannot_be_read_says_why(text: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=match):
        read(written(tmp_path, text))


FOREIGN = {
    "the header": ("läd,b\n1,2\n", "line 1: b'l\\xe4d', in Windows-1252 'läd'. Save it as UTF-8"),
    "a quoted cell": ('a,b\n"x, y","Z""ü"\n', "line 2, column 'b': b'Z\"\\xfc', in Windows-1252 'Z\"ü'."),
    "a cell too many": ("a\n1\n2,ü\n", "line 3: b'\\xfc'"),
    "a long cell": (f"a,b\n1,{'x' * 200_000}ü,3\n", f"line 2, column 'b': b'{'x' * 20}\\xfc', in Windows-1252"),
    "many lines": ("a\n" + "ü\n" * 9, "line 6, column 'a': b'\\xfc', in Windows-1252 'ü' and more. Save"),
    "what Windows-1252 has not": ("a\n\x81\n", "line 2, column 'a': b'\\x81'. Save it"),
    "far down": ("a,b\n" + "1,2\n" * 20_000 + "1,ü\n", "line 20002, column 'b': b'\\xfc'"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", FOREIGN)
def test_lines_that_are_not_utf8_are_named_with_their_bytes(case: str, packed: bool, tmp_path: Path) -> None:
    text, message = FOREIGN[case]
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(text.encode("latin-1")) if packed else text.encode("latin-1"))
    with pytest.raises(TableError, match=re.escape(f"{path.name} is not UTF-8: ")) as caught:
        read(path)
    assert message in str(caught.value)


def test_a_file_in_utf16_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,ü\n", encoding="utf-16")
    with pytest.raises(TableError, match=r"t\.csv is in UTF-16\. Save it as UTF-8: .* iconv -f UTF-16 -t UTF-8"):
        read(tmp_path / "t.csv")


@pytest.mark.usefixtures("small")
def test_csv_files_as_people_have_them(tmp_path: Path) -> None:
    assert read(written(tmp_path, "a,b\n")).height == 0
    assert list(read(written(tmp_path, "a,b\n")).blocks()) == []
    assert read(written(tmp_path, "a,b\n1\n")).frame().rows() == [(1, None)]
    assert read(written(tmp_path, '"a,b";c\n1;2\n')).frame().rows() == [(1, 2)]
    assert list(read(written(tmp_path, "\ufeffa\tb\r\n1\t2\r\n", "t.tsv")).columns) == ["a", "b"]
    assert read(written(tmp_path, "a\n-9\n1\n"), missing=["-9"]).frame()["a"].to_list() == [None, 1]


def test_a_pattern_joins_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, text in {"b.csv": "x,y\n2.5,b\n", "a.csv": "x\n1\n", "c.csv": "y,x\nc,3\n"}.items():
        written(tmp_path, text, name)
    table = read(str(tmp_path / "*.csv"))
    assert table.frame().rows() == [(1.0, None), (2.5, "b"), (3.0, "c")]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    assert read(written(tmp_path, "a\n1\n", "t[1].csv")).height == 1


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("none.csv", "there is no file '.*none.csv'"),
        ("t.xlsx", "t.xlsx' is not a file of a known format. Known: .*.parquet"),
        ("t.parquet", "t.parquet cannot be read"),
        ("t.arrow", "t.arrow cannot be read"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused(name: str, match: str, tmp_path: Path) -> None:
    for other in ("t.xlsx", "t.parquet", "t.arrow"):
        written(tmp_path, "not what its name says", other)
    with pytest.raises(TableError, match=match):
        read(tmp_path / name)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_files_are_read_in_pieces(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inputlayer.table.BLOCK", 4)
    frame = pl.DataFrame({"i": range(23), "x": [float("nan") if i % 5 == 0 else float(i) for i in range(23)]})
    path = tmp_path / f"t.{suffix}"
    frame.write_parquet(path, row_group_size=7) if suffix == "parquet" else frame.write_ipc(path)
    table = read(path)
    even = table.filter(pl.col("i") % 2 == 0)
    assert (table.height, even.height) == (23, 12)
    assert [block.height for block in table.blocks(rows=6)] == [6, 6, 6, 5]
    assert table.frame().equals(frame.with_columns(pl.col("x").fill_nan(None)))
    assert even.frame()["i"].to_list() == list(range(0, 23, 2))
    assert even.take(np.arange(1, 12, 3)).frame(["i"])["i"].to_list() == [2, 8, 14, 20]
    assert table.take(np.arange(5, 20)).filter(pl.col("x").is_null()).frame()["i"].to_list() == [5, 10, 15]
    joined = Table.concat([table, Table.of({"x": ["text"]})])
    assert joined.frame().rows()[-2:] == [(22, "22.0"), (None, "text")]


PIECES = [
    "a",
    "b",
    "1",
    "2.5",
    "-",
    "NA",
    "1e9",
    "true",
    "2024-01-01",
    "12:30",
    ",",
    ",",
    ";",
    "\n",
    "\n",
    '"',
    " ",
    "\r",
    "\0",
    "é",
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join), st.sampled_from([0, 2**20]))
def test_any_text_is_a_table_or_says_why_not(text: str, held: int) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(files, "INFER", 3)
        patch.setattr(files, "IN_MEMORY", held)
        try:
            table = read(written(Path(folder), text))
        except TableError:
            return
        # Once it is read, every cell fits the type that is promised.
        assert sum(block.height for block in table.blocks(rows=2)) == table.height
        assert dict(table.frame().schema) == table.columns


def test_half_a_surrogate_pair_is_named_with_its_column_and_row():
    table = {"a": ["fine", "x\ud800y", None], "b": [1.5, 2.5, 3.5], "c": [["ok"], ["\udfff"], ["ok"]]}
    with pytest.raises(TableError) as caught:
        Table.of(table)
    assert [(p.column, tuple(p.rows)) for p in caught.value.problems] == [("a", (1,)), ("c", (1,))]
    assert "column 'a': holds half of a surrogate pair, which is no character (row 1 = 'x\\ud800y')" in str(
        caught.value
    )


def test_hours_that_a_zone_leaves_out_are_read_as_text() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    cells = [dt.datetime(2024, 3, 31, hour, tzinfo=berlin) for hour in (1, 2)]
    frame = Table.of({"t": cells}).frame()
    assert frame["t"].to_list() == ["2024-03-31 01:00:00+01:00", "2024-03-31 02:00:00+01:00"]
