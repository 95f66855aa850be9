"""Guessing: each kind with its reason, from the rows given and no others."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import inputlayer as il
from inputlayer.draft import draft
from inputlayer.errors import TableError
from samples import panel, waves

DAYS = pl.date_range(date(2024, 1, 1), date(2024, 12, 30), eager=True)


def of(values: Any, **options: Any) -> tuple[Any, str]:
    """The kind and the reason for a column of `values` beside a target."""
    frame = pl.DataFrame(
        {"day": DAYS[: len(values)], "c": values, "load": np.arange(len(values)) % 5 + 0.5}, strict=False
    )
    schema = il.infer(frame, "load", **options)
    return schema.columns.get("c"), schema.reasons["c"]


@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [
        ([1.5, 2.0, None] * 20, il.Number(), "numbers"),
        ([1, 0, 1, None] * 15, il.Flag(), "only 0 and 1"),
        ([True, False, None] * 20, il.Flag(), "true or false"),
        (["yes", "no", None] * 20, il.Flag(), "only yes and no"),
        (["N", "S", "W"] * 20, il.Category(), "text of 3 different values"),
        (["2024-01-01", "2024-02-01"] * 30, il.Timestamp(), "text that reads as times"),
        ([datetime(2024, 1, 1)] * 60, il.Timestamp(), "times"),
        ([-9999.0, 3.0, 4.0] * 20, il.Number(sentinels=(-9999,)), "numbers; -9999 stands far from the rest"),
        (list(range(60)), None, "left out: it counts the rows"),
        ([7.0] * 60, None, "left out: always 7.0"),
        ([None] * 60, None, "left out: no row has a value"),
        ([f"note {i}" for i in range(60)], None, "left out: 60 different texts in 60 rows are no categories"),
        ([f"id-{i * 7919} x{i} y{i}" for i in range(60)], None, "left out: 60 different texts"),
        ([f"The {i}. film was good" for i in range(60)], il.Text(), "prose: 60 different texts in 60 rows, of 5 words"),
        (["it was so good", "it was so bad"] * 30, il.Category(), "text of 2 different values"),
        (
            [f"a/{i}.wav" for i in range(30)] + [None, "b/C.FLAC"],
            il.Audio(),
            "paths of files, which end in .wav or .fl",
        ),
        ([f"{i % 3}.jpeg" for i in range(60)], il.Image(), "paths of files, which end in .jpeg"),
        ([f"{i}.txt" for i in range(60)], None, "left out: 60 different texts"),
        (
            [[f"{i}.png", f"{i + 1}.png"] for i in range(60)],
            il.Image(cell="frames"),
            "lists of paths of pictures, which",
        ),
        ([[0.5, i, None] for i in range(60)], il.Vector(), "lists of 3 numbers each; if they are steps in time"),
        ([b"RIFF1234"] * 60, il.Audio(), "bytes of files, which begin as audio does"),
        ([b"\x89PNG1234"] * 60, il.Image(), "bytes of files, which begin as image does"),
        ([b"what?"] * 60, None, "left out: Binary is no kind"),
    ],
)
def test_kinds_are_guessed_with_a_reason(values: Any, kind: Any, reason: str) -> None:
    found, why = of(values)
    assert found == kind
    assert why.startswith(reason)


def test_a_rare_extreme_is_no_sentinel() -> None:
    assert of([-99.0, *np.linspace(-50, 50, 59)])[0] == il.Number()
    assert of([-99.0, -99.0, *np.linspace(-90, 50, 58)])[0] == il.Number()


def test_series_are_told_apart_and_what_each_has_once_is_static() -> None:
    schema = il.infer(panel((200, 150)), "load", length=24, horizon=3)
    assert schema.sequence == il.Windows("time", 24, 3, by="site")
    assert schema.columns["size"] == il.Number(role="static")
    assert schema.columns["site"] == il.Category(role="static")
    assert "times repeat, but not within one 'site'" in schema.reasons["sequence"]


def test_a_time_that_slipped_in_twice_neither_makes_series_nor_hides_them() -> None:
    times = [datetime(2024, 1, 1) + timedelta(days=i) for i in range(60)]
    twice = [*times[:30], times[29], *times[31:]]
    load, wind = [i + 0.5 for i in range(60)], ["NSW"[i % 3] for i in range(60)]
    assert il.infer({"day": twice, "load": load, "wind": wind}, "load", length=3).sequence == il.Windows("day", 3)
    sites = {"day": [*twice, *times], "load": load * 2, "wind": wind * 2, "site": ["a"] * 60 + ["b"] * 60}
    assert il.infer(sites, "load", length=3).sequence == il.Windows("day", 3, by="site")


def test_the_length_follows_the_clock() -> None:
    hours = pl.DataFrame(
        {"t": [datetime(2024, 1, 1) + timedelta(hours=h) for h in range(3000)], "y": np.arange(3000.0)}
    )
    assert il.infer(hours, "y").sequence == il.Windows("t", 168)
    assert il.infer(pl.DataFrame({"t": DAYS, "y": np.arange(365.0)}), "y").sequence == il.Windows("t", 30)
    assert il.infer(pl.DataFrame({"t": DAYS, "y": np.arange(365.0)})[:50], "y").sequence == il.Windows("t", 5)


def test_rows_that_nothing_orders_are_samples() -> None:
    schema = il.infer({"x": [1.5, 2.5, 3.5] * 20, "label": ["a", "b", "a"] * 20}, "label")
    assert schema.sequence == il.Cells()
    assert schema.columns["label"] == il.Category()
    assert "no column orders the rows" in schema.reasons["sequence"]


def test_lists_are_steps() -> None:
    schema = il.infer(waves(), "score")
    assert schema.sequence == il.Cells(steps="wave")
    assert schema.columns["wave"] == il.Series()
    wide = il.infer(il.from_array(np.zeros((9, 5, 3)), "sample time feature", y=np.arange(9.0) ** 2), "y")
    assert wide.columns["x"] == il.Series(channels=3, axes="time channel")


def test_lists_beside_times_are_values_of_a_step() -> None:
    frame = pl.DataFrame(
        {"day": DAYS[:60], "wave": [[0.5] * (i % 3) for i in range(60)], "load": np.arange(60) % 5 + 0.5}
    )
    schema = il.infer(frame, "load", length=4)
    assert schema.columns["wave"] == il.Series()
    assert schema.reasons["wave"] == "lists of 0 to 2 numbers"
    assert il.InputLayer(schema).fit(frame).width > 32


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([f"the {i}. film was good" for i in range(40)], "text"),
        ([f"{i}.wav" for i in range(40)], "audio"),
        ([f"{i}.png" for i in range(40)], "image"),
    ],
)
def test_cells_of_many_entries_are_steps_where_nothing_orders_the_rows(cells: Any, kind: str) -> None:
    table = {"cell": cells, "x": [[0.5, 1.0]] * 40, "label": ["a", "b"] * 20}
    schema = il.infer(table, "label")
    assert schema.sequence == il.Cells(steps="cell")
    assert [c.kind for c in schema.columns.values()] == [kind, "vector", "category"]


def test_a_row_counter_orders_where_windows_are_asked_for() -> None:
    frame = {"n": list(range(40)), "y": [float(i % 7) for i in range(40)]}
    assert il.infer(frame, "y", length=5).sequence == il.Windows("n", 5)
    assert il.infer(frame, "y", horizon=2).sequence == il.Windows("n", 4, 2)
    with pytest.raises(TableError, match="windows were asked for, and no column orders the rows"):
        il.infer({"x": [1.5, 1.2] * 20, "y": [2.0, 3.0] * 20}, "y", length=5)


def test_only_the_rows_given_are_read() -> None:
    # New categories, sentinels and gaps behind the training part change no guess made from it.
    frame = panel((200,))
    train, *_ = il.split(frame, il.infer(frame[:120], "load", length=24))
    late = frame[120:].with_columns(load=pl.lit(-9999.0), wind=pl.lit("x"))
    again, *_ = il.split(pl.concat([frame[:120], late]), il.infer(frame[:120], "load", length=24))
    assert il.infer(train, "load", length=24) == il.infer(again, "load", length=24)


def test_the_guess_can_be_fitted() -> None:
    schema = il.infer(panel((200, 150)), "load", length=12, horizon=2)
    assert il.InputLayer(schema).fit(panel((200, 150))).width > 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "laod"}, r"column 'laod': is missing from the table. Did you mean 'load'\?"),
        ({"target": "load", "order": "when", "by": "who"}, "(?s)'when': is missing.*'who': is missing"),
        ({"target": "none"}, "column 'none': is the target, and none of the first rows has a value"),
    ],
)
def test_what_cannot_be_guessed_is_said(options: dict[str, Any], message: str) -> None:
    frame = panel().with_columns(none=pl.lit(None, pl.Float64))
    with pytest.raises(TableError, match=message):
        il.infer(frame, **options)
    with pytest.raises(TableError, match="the table has no rows"):
        il.infer(panel().clear(), "load")


def test_a_few_cells_that_are_no_numbers_do_not_make_a_category() -> None:
    cells = [str(i / 7) for i in range(100)]
    schema = il.infer({"day": list(range(100)), "load": [0.5, 1.0] * 50, "temp": ["n/a?", *cells[1:]]}, "load")
    assert isinstance(schema.columns["temp"], il.Number)
    assert "such as 'n/a?'" in schema.reasons["temp"]


FEW = [str(1 + i % 5) for i in range(60)]


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        (["?"], il.Number()),
        (["?", "n/a", "?", "#N/A", "Missing"], il.Number()),
        (["-"] * 30, il.Number()),  # what no class is called may stand in half of the cells
        (["-"] * 31, il.Category()),
        (["o", "1O", "4,5"], il.Number()),
        (["3+", "3+"], il.Category()),  # a class
        ([f"{i} or so" for i in range(7)], il.Category()),  # more than a tenth
    ],
)
def test_few_numbers_are_no_category_for_what_is_no_class(odd: list[str], kind: il.Number | il.Category) -> None:
    found, reason = of([*odd, *FEW[len(odd) :]])
    assert found == kind
    assert (f"numbers, but for {len(odd)} of 60 cells, such as {odd[0]!r}: correct" in reason) == (kind == il.Number())


@pytest.mark.parametrize(
    ("form", "days", "reason"),
    [
        ("%d.%m.%Y", 60, "in the format %d.%m.%Y"),
        ("%m/%d/%Y", 60, "in the format %m/%d/%Y"),
        ("%m/%d/%y", 60, "in the format %m/%d/%y"),
        ("%Y/%m/%d %H:%M", 60, "in the format %Y/%m/%d %H:%M"),
        ("%d/%m/%Y", 12, "in the format %d/%m/%Y. CAREFUL: %m/%d/%Y fits all cells as well; write that if the month"),
    ],
)
def test_dates_of_other_formats_are_read(tmp_path: Path, form: str, days: int, reason: str) -> None:
    cells = [(datetime(2024, 1, 1) + timedelta(days=day)).strftime(form) for day in range(days)]
    (tmp_path / "t.csv").write_text("\n".join(["day,load", *(f"{cell},{i}.5" for i, cell in enumerate(cells))]))
    for table in ({"day": cells, "load": [i + 0.5 for i in range(days)]}, il.read(tmp_path / "t.csv")):
        schema = il.infer(table, "load", length=3)
        assert reason in schema.reasons["day"] or schema.reasons["day"] == "times"
        if "Y/" not in form:  # with the year first there is no doubt, and the reader has made times of them
            assert schema.columns["day"] == il.Timestamp(format=form)
        il.InputLayer(schema).fit(table)


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y-%m-%d %H:%M", "%d.%m.%Y"])
@pytest.mark.parametrize("rows", [[0], [7, 30]])
def test_a_few_cells_that_are_no_times_do_not_take_the_clock_away(form: str, rows: list[int]) -> None:
    cells = [(datetime(2024, 1, 1) + timedelta(days=day)).strftime(form) for day in range(60)]
    for row in rows:
        cells[row] = "n/a?"
    table = {"day": cells, "wind": ["N", "S", "W"] * 20, "load": [i + 0.5 for i in range(60)]}
    schema = il.infer(table, "load", length=3)
    assert schema.sequence == il.Windows("day", 3)  # and no series of its own for each wind that such a cell has
    assert f", but for {len(rows)} of 60 cells, such as 'n/a?': correct them, or leave" in schema.reasons["day"]
    with pytest.raises(TableError, match=rf"column 'day': is not a time \(row {rows[0]} = 'n/a\?'"):
        il.InputLayer(schema).fit(table)


@pytest.mark.parametrize("few", [1, 25, 30, 59])
def test_times_of_which_some_have_a_zone_are_times_and_the_few_are_named(few: int) -> None:
    cells = [(datetime(2024, 1, 1) + timedelta(hours=hour)).isoformat(sep=" ") for hour in range(60)]
    table = {"day": [f"{c}+01:00" if i < few else c for i, c in enumerate(cells)], "load": [i + 0.5 for i in range(60)]}
    schema = il.infer(table, "load", length=3)
    assert schema.sequence == il.Windows("day", 3)
    wrong = min(few, 60 - few)
    assert f"but for {wrong} of 60 cells, such as '2024-01-" in schema.reasons["day"]
    row, what = (0, "has a zone, where most") if few < 30 else (few, "has no zone, where others")
    with pytest.raises(TableError, match=rf"column 'day': {what} have \w+ \(row {row} = '2024-01-"):
        il.InputLayer(schema).fit(table)


def test_times_of_several_offsets_are_times() -> None:
    cells = [f"2024-01-{1 + i // 24:02d} {i % 24:02d}:00+0{1 + i // 30}:00" for i in range(60)]
    assert of(cells[:30] + cells[31:]) == (il.Timestamp(), "text that reads as times")


def test_a_column_with_more_cells_that_are_no_times_holds_none() -> None:
    cells = [f"2024-01-{day:02d}" for day in range(1, 21)]
    assert of([*cells[:18], "x", "y"])[0] == il.Timestamp()
    assert of([*cells[:17], "x", "y", "z"])[0] == il.Category()


def test_the_order_of_day_and_month_is_that_of_most_cells() -> None:
    cells = [(datetime(2024, 1, 1) + timedelta(days=day)).strftime("%m/%d/%Y") for day in range(13)]
    table = {"day": cells, "load": [i + 0.5 for i in range(13)]}
    assert il.infer(table, "load", length=3).columns["day"] == il.Timestamp(format="%m/%d/%Y")
    days = [(datetime(2024, 1, 1) + timedelta(days=day)).strftime("%d/%m/%Y") for day in range(12)]
    reason = il.infer({**table, "day": ["?", *days]}, "load", length=3).reasons["day"]
    assert reason.endswith("CAREFUL: %m/%d/%Y fits as many cells; write that if the month comes first")


def test_groups_that_are_asked_for_are_given() -> None:
    table = {"id": [1, 1, 2, 2] * 3, "x": [0.5, 1.0, 2.5] * 4, "label": ["a", "a", "b", "b"] * 3}
    assert il.infer(table, "label", by="id").sequence == il.Groups("id")


def test_a_target_that_changes_within_a_group_is_one_for_each_row() -> None:
    table = {"id": ["p", "p", "q", "q"] * 3, "x": [0.5, 1.0, 2.5] * 4, "alarm": ["no", "yes", "no", None] * 3}
    schema = il.infer(table, "alarm", by="id")
    assert schema.sequence == il.Groups("id", per_step=True)
    assert "'alarm' changes within one, so every row has its own" in schema.reasons["sequence"]
    il.InputLayer(schema).fit(table).encode(table)


def test_a_target_with_one_value_in_each_series_is_one_for_each_group() -> None:
    times = [datetime(2024, 1, 1) + timedelta(hours=hour) for hour in range(4)] * 3
    ids, verdicts = [i for i in "pqr" for _ in range(4)], [v for v in ("good", "bad", "good") for _ in range(4)]
    table = {"id": ids, "time": times, "x": [i / 7 for i in range(12)], "verdict": verdicts}
    schema = il.infer(table, "verdict", by="id")
    assert schema.sequence == il.Groups("id", "time")
    assert schema.reasons["sequence"].startswith("all rows of one id are a sequence; which has one value to predict")
    assert list(schema.columns) == ["time", "x", "verdict"]
    assert schema.reasons["id"].startswith("left out: it names the group")
    asked = il.infer(table, "verdict", by="id", length=2)
    assert asked.sequence == il.Windows("time", 2, by="id")


def test_a_look_back_that_is_guessed_fits_the_longest_series() -> None:
    times = [datetime(2024, 1, 1) + timedelta(hours=hour) for hour in range(60)] * 40
    table = {"id": [i for i in range(40) for _ in range(60)], "time": times, "x": [i / 7 for i in range(2400)]}
    schema = il.infer(table, "x", by="id")
    assert schema.sequence == il.Windows("time", 6, by="id")
    assert "a tenth of the longest series" in schema.reasons["sequence"]


def test_a_counter_is_one_when_rows_were_drawn_by_chance_too() -> None:
    rows = [i for i in range(100) if i % 5 not in (1, 3)]  # three fifths, as `init` looks at
    table = {"id": rows, "age": [(7 * i) % 60 + 18 for i in rows], "x": [i / 7 for i in rows]}
    schema = il.infer(table, "x")
    assert schema.reasons["id"] == "left out: it counts the rows"
    assert list(schema.columns) == ["age", "x"]


def test_a_draft_names_the_kinds_of_text_and_lists(tmp_path: Path) -> None:
    path = tmp_path / "notes.parquet"
    rows = [{"note": f"the {i}. film was good", "x": [0.5, 1.0], "label": "ab"[i % 2]} for i in range(60)]
    pl.DataFrame(rows).write_parquet(path)
    text = draft(path, "label", file=tmp_path / "notes.toml")
    assert "inputlayer train notes.toml" in text
    assert 'note = { kind = "text" }' in text
    assert 'x = { kind = "vector" }' in text
    assert 'steps = "note"' in text
