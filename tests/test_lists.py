"""Lists with an item that does not belong there: the cells are named, whichever way they come, and no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import inputlayer as il
from inputlayer.errors import TableError
from inputlayer.table import Table

GOOD = [[0.5, 1.5, 2.5] for _ in range(9)]
STEPS = [[[0.5, 1.5], [2.5, 3.5]] for _ in range(9)]
DEEP = "lists with {} in place of lists of numbers"
ODD: dict[str, tuple[list[Any], dict[int, Any], str, list[str]]] = {
    "text": (
        GOOD,
        {3: ["a", "b"], 7: [1.0, "x"]},
        "lists with text in place of numbers",
        ["'a' at [0] of ['a', 'b']", "'x' at [1] of [1.0, 'x']"],
    ),
    "the first": (GOOD, {0: ["a"]}, "lists with text in place of numbers", ["'a' at [0] of ['a']"]),
    "text of a number": (GOOD, {4: [1.0, "2"]}, "lists with text in place of numbers", ["'2' at [1] of [1.0, '2']"]),
    "a list": (GOOD, {2: [1.0, [2.0]]}, "lists with lists of numbers in place of numbers", ["[2.0] at [1]"]),
    "a dict": (GOOD, {2: [{"a": 1}]}, "lists with dicts in place of numbers", ["{'a': 1} at [0]"]),
    "a flag": (GOOD, {2: [True]}, "lists with booleans in place of numbers", ["True at [0] of [True]"]),
    "two kinds": (GOOD, {1: ["x"], 2: [b"x"]}, "lists with bytes and text in place of numbers", ["'x' at", "b'x' at"]),
    "a flat one": (STEPS, {5: [1.0, 2.0]}, DEEP.format("numbers"), ["1.0 at [0] of [1.0, 2.0]"]),
    "text in a step": (
        STEPS,
        {5: [[1.0, 2.0], [], None, [3.0, "x"]]},
        DEEP.format("lists of text"),
        ["'x' at [3][1] of [[1.0, 2.0], [], None, [3.0, 'x']]"],
    ),
}


def mixed(case: str) -> tuple[list[Any], list[int], str, list[str]]:
    good, odd, what, shown = ODD[case]
    return [odd.get(row, cell) for row, cell in enumerate(good)], list(odd), what, shown


def doors(cells: list[Any]) -> dict[str, Any]:
    """The same column in everything that can hold such cells."""
    objects = np.empty(len(cells), object)
    objects[:] = cells
    return {
        "a dict of lists": {"s": cells},
        "a dict of arrays": {"s": objects},
        "rows": [{"s": cell} for cell in cells],
        "pandas": pd.DataFrame({"s": pd.Series(cells)}),
        "polars": pl.DataFrame({"s": pl.Series(cells, dtype=pl.Object)}),
    }


@pytest.mark.parametrize("door", doors([]))
@pytest.mark.parametrize("case", ODD)
def test_the_cells_with_an_odd_item_are_named(case: str, door: str) -> None:
    cells, rows, what, shown = mixed(case)
    with pytest.raises(TableError, match=re.escape(f"column 's': holds {what} (row {rows[0]} = {shown[0]}")) as caught:
        Table.of(doors(cells)[door])
    (problem,) = caught.value.problems
    assert list(problem.rows) == rows
    assert all(text in str(value) for text, value in zip(shown, problem.values, strict=True))


def test_all_that_is_odd_is_told_at_once() -> None:
    cells = [*GOOD, 3.0, [1.0, "x"]]
    with pytest.raises(TableError) as caught:
        Table.of({"s": cells, "t": [*STEPS, [1.0], None]})
    assert [(p.column, list(p.rows)) for p in caught.value.problems] == [("s", [9]), ("s", [10]), ("t", [9])]


def test_lists_that_hold_one_kind_are_taken_as_they_are() -> None:
    flat = [[1, 2.5], [], None, [None, 3], [float("nan")], np.arange(2), [np.float32(0.5)]]
    deep = [[[1, 2.5], []], [], None, [None, [3]], [[None]], np.ones((1, 2)), [np.arange(1)]]
    frame = Table.of({"flat": flat, "deep": deep, "text": [["a.png"], ["b.png"], [], None, *[["c"]] * 3]}).frame()
    assert frame["flat"].dtype == pl.List(pl.Float64)
    assert frame["flat"].to_list()[:4] == [[1.0, 2.5], [], None, [None, 3.0]]
    assert frame["deep"].to_list()[:5] == [[[1.0, 2.5], []], [], None, [None, [3.0]], [[None]]]
    assert frame["text"].dtype == pl.List(pl.String)
    for first in ([1, 2.5], [np.float32(0.5), 2.5], [1, np.float64(2.5)]):
        cells = Table.of({"s": [first, [1 / 3], [2**70]]}).frame()["s"]
        assert cells.to_list() == [[float(number) for number in first], [1 / 3], [2.0**70]]
    assert Table.of(pl.DataFrame({"flat": pl.Series(flat, dtype=pl.Object)})).frame()["flat"].equals(frame["flat"])


# -- text in files ----------------------------------------------------------------------------------------------------

SERIES, VECTOR, CHANNELS = il.Series(), il.Vector(), il.Series(channels=2, axes="time channel")
TEXTS: dict[str, tuple[Any, list[Any], str]] = {
    "items": (SERIES, [["1", "2"], ["3", "x"], None, ["y"]], "holds text that is no number (row 1 = 'x' at [1] of "),
    "items of vectors": (VECTOR, [["1", "x"], ["1", "2"]], "holds text that is no number (row 0 = 'x' at [1] of "),
    "items of steps": (CHANNELS, [[["1", "2"], ["x", "2"]]], "holds text that is no number (row 0 = 'x' at [1][0] of "),
    "numbers": (SERIES, [["1"], ["2", None]], "holds lists of text, no list of numbers (row 0 = ['1'], row 1 = "),
    "json": (SERIES, ["[1]", None, "[2, null]"], "holds text, no list of numbers (row 0 = '[1]', row 2 = '[2, null]')"),
    "odd json": (
        VECTOR,
        ["[1]", "[2]", "[3]", '["x"]', "oops", "[[4]]"],
        "is no list of numbers (row 3 = 'x' at [0] of ['x'], row 4 = 'oops', row 5 = [4] at [0] of [[4]])",
    ),
    "json of steps": (CHANNELS, ["[[1, 2]]", "[3, 4]"], "is no list of lists of numbers (row 1 = 3 at [0] of [3, 4])"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_text_that_is_no_list_of_numbers_is_named_in_files(case: str, tmp_path: Path) -> None:
    column, cells, message = TEXTS[case]
    frame = pl.DataFrame({"s": cells, "y": [float(i) for i in range(len(cells))]})
    frame.write_parquet(tmp_path / "t.parquet")
    with pytest.raises(TableError) as caught:
        il.InputLayer(il.Schema({"s": column, "y": il.Number()}, il.Cells(), target="y")).fit(tmp_path / "t.parquet")
    (problem,) = (p for p in caught.value.problems if p.column == "s" and p.rows)
    assert message in str(problem)


@pytest.mark.parametrize("cells", [["[1, 2]", "[3, null]"], [["1", "2"], ["3", None]]])
def test_the_remedy_makes_lists_of_such_text(cells: list[Any]) -> None:
    table = pl.DataFrame({"s": cells, "y": [0.0, 1.0]})
    layer = il.InputLayer(il.Schema({"s": il.Series(), "y": il.Number()}, il.Cells(), target="y"))
    with pytest.raises(TableError, match="Write: table") as caught:
        layer.fit(table)
    found = re.search(r"pl.col\('s'\)\.(str\.json_decode|cast)\(pl\.List\(pl\.Float64\)\)", str(caught.value))
    assert found is not None
    lists = pl.List(pl.Float64)
    made = pl.col("s").cast(lists) if found[1] == "cast" else pl.col("s").str.json_decode(lists)
    assert layer.fit(table.with_columns(made)).encode(table.with_columns(made))
