"""Encoding: rows sorted by series and order, whatever order they come in; what cannot be encoded is said at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inputlayer as il
from inputlayer.encode import Encoded, encode
from inputlayer.errors import OptionError, TableError
from inputlayer.fit import Fitted, fit
from inputlayer.table import Table
from samples import ROADS, groups, panel, windows


def fitted(road: str = "windows") -> Fitted:
    schema, frame = ROADS[road]
    return fit(schema, Table.of(frame))


def arrays(encoded: Encoded) -> list[np.ndarray]:
    ragged = [a for r in encoded.ragged.values() for a in (r.flat, r.offsets)]
    return [*encoded.packed.values(), *ragged, encoded.index.start, encoded.index.ahead]


@pytest.mark.parametrize("road", [r for r in ROADS if r != "cells"])
@settings(max_examples=5)
@given(seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(road: str, seed: int) -> None:
    learnt, frame = fitted(road), ROADS[road][1]
    one = encode(learnt, Table.of(frame.sort("site", "time")))
    other = encode(learnt, Table.of(frame.sample(fraction=1.0, shuffle=True, seed=seed)))
    assert all(
        np.array_equal(a, b, equal_nan=a.dtype == np.float32) for a, b in zip(arrays(one), arrays(other), strict=True)
    )


def test_sorted_rows_are_not_copied() -> None:
    encoded = encode(fitted(), Table.of(panel().sort("site", "time")))
    assert encoded.rows.source is None
    wire = encoded.wire("load")
    assert isinstance(wire, np.ndarray)
    assert np.shares_memory(wire, encoded.packed["float32"])


def test_names_that_begin_alike_stay_apart() -> None:
    columns: dict[str, Any] = {"a": il.Number(), "a.b": il.Category(), "a.b.c": il.Number(), "a b": il.Flag()}
    frame = pl.DataFrame({"t": range(9), "a": range(9), "a.b": list("xyzxyzxyz"), "a.b.c": range(9), "a b": [True] * 9})
    layer = il.InputLayer(il.Schema(columns, il.Windows("t", 3), target="a")).fit(frame)
    (batch,) = layer.batches(frame)
    assert batch.target is not None
    assert batch.target.shape == (6, 1, 1)
    assert list(layer.encoded(frame).column("a")) == [""]
    model = il.Model(layer, il.LSTM(4))
    model.fit(frame, epochs=1)
    assert model.predict(frame).height == 1


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_duplicate_times_are_shown_with_both_rows() -> None:
    frame = panel((12,))
    doubled = pl.concat([frame, frame[3:4]])
    with pytest.raises(TableError) as found:
        encode(fitted(), Table.of(doubled))
    assert "column 'time': has the same value twice in one series" in str(found.value)
    assert "(row 3 = 2024-01-01 03:00, row 12 = 2024-01-01 03:00)" in str(found.value)


def test_rows_that_stand_in_the_context_too_are_told_apart() -> None:
    frame = panel((40, 25))
    own, context = frame[20:40], frame[:22]
    with pytest.raises(
        TableError, match=r"row of the context has too, in the same series \(row 0 = .*, row 1 = [^)]*\)"
    ):
        encode(fitted(), Table.of(own), [Table.of(context)])
    doubled = pl.concat([frame[:20], frame[7:8]])
    with pytest.raises(TableError, match=r"twice in one series of the context \(row 7 = .*07:00, row 20 = [^)]*\)"):
        encode(fitted(), Table.of(own), [Table.of(doubled)])


def test_the_hour_that_comes_twice_in_autumn_is_told() -> None:
    schema = il.Schema({"load": il.Number()}, il.Windows("time", 3), target="load")
    hours = [datetime(2024, 10, 27, hour) for hour in (0, 1, 2, 2, 3, 4, 5, 6)]
    table = Table.of({"time": hours, "load": [float(i) for i in range(8)]})
    with pytest.raises(TableError, match=r"row 3 = 2024-10-27 02:00\)\. Drop .* when clocks go back in autumn: give"):
        encode(fit(schema, table), table)


def test_a_gap_between_context_and_table_is_said() -> None:
    frame = panel((40,))
    context, own = Table.of(frame[:15]), Table.of(frame[20:])
    message = "of series 'north' ends at 2024-01-01 14:00 and the table begins at 2024-01-01 20:00, 5 steps missing"
    with pytest.warns(UserWarning, match=message):
        encode(fitted(), own, [context])
    schema = replace(fitted().schema, sequence=replace(fitted().schema.sequence, max_gap="1h"))
    assert encode(fit(schema, Table.of(frame)), own, [context]).index.skipped["gap"] > 0
    encode(fitted(), own, [Table.of(frame[:20])])  # no warning, which would be an error


def test_without_by_the_message_asks_for_it() -> None:
    schema = il.Schema({"load": il.Number()}, il.Windows("time", 3), target="load")
    learnt = fit(schema, Table.of(panel((9,))))
    with pytest.raises(TableError, match=r"name the column that tells the series apart: by="):
        encode(learnt, Table.of(panel((9, 9))))


def test_context_comes_before_its_own_series_rows() -> None:
    learnt, frame = fitted(), panel()
    late = pl.col("time") >= pl.lit(frame["time"][20])
    encoded = encode(learnt, Table.of(frame.filter(late)), [Table.of(frame.filter(~late))])
    assert encoded.rows.context.tolist() == [20, 20]
    with pytest.raises(TableError, match=r"25 rows of the context do not lie before .* in series 'north', 'south'"):
        encode(learnt, Table.of(frame.filter(~late)), [Table.of(frame.filter(late))])


def test_problems_of_context_say_so() -> None:
    bad = panel((20,)).with_columns(load=pl.lit("x"))
    with pytest.raises(TableError, match=r"column 'load': in the context: is not a number \(row 0 = 'x', row 1"):
        encode(fitted(), Table.of(panel((40,))[20:]), [Table.of(bad)])
    with pytest.raises(OptionError, match="context has no effect: only Windows look back"):
        encode(fitted("groups"), Table.of(panel((9, 5, 7))), [Table.of(panel())])


def test_a_context_of_another_type_loses_nothing() -> None:
    schema = il.Schema({"x": il.Number()}, il.Windows("t", 2), target="x")
    learnt = fit(schema, Table.of({"t": [0, 1, 2, 3], "x": [1.0, 2.0, 3.0, 4.0]}))
    own = Table.of({"t": [4, 5], "x": [5.0, 6.0]})
    encoded = encode(learnt, own, [Table.of({"t": [2.25, 3.5], "x": [1.0, 2.0]})])
    assert encoded.rows.order is not None
    assert encoded.rows.order.tolist() == [2.25, 3.5, 4.0, 5.0]


def test_times_and_numbers_do_not_mix() -> None:
    with pytest.raises(TableError, match="column 'time': holds numbers, not times"):
        encode(fitted(), Table.of(panel().with_columns(time=pl.int_range(pl.len()))))
    schema = il.Schema({"load": il.Number()}, il.Windows("time", 3, by="site"), target="load")
    learnt = fit(schema, Table.of(panel()))
    with pytest.raises(TableError, match="column 'time': holds numbers here and times in the training rows"):
        encode(learnt, Table.of(panel().with_columns(time=pl.int_range(pl.len()))))


def test_what_is_wrong_with_the_order_is_told_once() -> None:
    schema = il.Schema({"load": il.Number()}, il.Windows("time", 3), target="load")
    model = il.Model(il.InputLayer(schema), il.LSTM(2))
    model.fit(panel((9,)), epochs=0)
    texts = panel((9,)).with_columns(time=pl.Series(["soon"] * 9))
    numbers = panel((9,)).with_columns(time=pl.int_range(pl.len()))
    for table, what in ((texts, "holds String, which is"), (numbers, "holds numbers here and times")):
        for ask in (model.predict, model.evaluate, lambda table: model.stream().push(table.to_dicts()[0])):
            with pytest.raises(TableError, match=what) as found:
                ask(table)
            assert len(found.value.problems) == 1


def test_text_cannot_order_rows() -> None:
    schema = il.Schema({"load": il.Number()}, il.Windows("time", 3), target="load")
    frame = panel((9,)).with_columns(pl.col("time").cast(pl.String))
    with pytest.raises(
        TableError, match=r"column 'time': holds String, .* cannot order the rows. Add it to the columns"
    ):
        fit(schema, Table.of(frame))


def test_static_columns_have_one_value_per_series() -> None:
    frame = panel().with_columns(size=pl.when(pl.int_range(pl.len()) == 45).then(99.0).otherwise(pl.col("size")))
    with pytest.raises(
        TableError, match=r"column 'size': has several values within one series: 'south'. Take role='static'"
    ):
        encode(fitted(), Table.of(frame))
    gaps = panel().with_columns(size=pl.when(pl.int_range(pl.len()) % 3 == 2).then(pl.col("size")))
    wire = encode(fitted(), Table.of(gaps)).wire("size")
    assert np.array_equal(wire, encode(fitted(), Table.of(panel())).wire("size"))


def test_targets_of_groups_have_one_value() -> None:
    frame = panel((9, 5, 7))
    gaps = frame.with_columns(label=pl.when(pl.int_range(pl.len()) % 4 == 3).then(pl.col("label")))
    one, other = (encode(fitted("groups"), Table.of(f)).wire("label") for f in (frame, gaps))
    assert np.array_equal(one, other)
    torn = frame.with_columns(label=pl.when(pl.int_range(pl.len()) == 2).then(pl.lit("b")).otherwise(pl.col("label")))
    with pytest.raises(
        TableError, match=r"column 'label': has several values within one group: 'north'. .* per_step=True"
    ):
        encode(fitted("groups"), Table.of(torn))
    none = frame.with_columns(label=pl.when(pl.col("site") != "south").then(pl.col("label")))
    assert encode(fitted("groups"), Table.of(none)).index.skipped == {"no target": 1}


@pytest.mark.parametrize(("road", "needed"), [("groups", False), ("cells", False), ("windows", True)])
def test_a_target_is_needed_only_where_its_past_is_an_input(road: str, needed: bool) -> None:
    schema, frame = ROADS[road]
    without = Table.of(frame.drop(schema.targets))
    if needed:
        with pytest.raises(TableError, match="column 'load': is missing"):
            encode(fitted(road), without, targets=False)
    else:
        assert len(encode(fitted(road), without, targets=False).index)


@pytest.mark.parametrize("kind", ["time", "integer", "float", "date", "text"])
def test_any_order_column_sorts(kind: str) -> None:
    count = 12
    values: dict[str, pl.Series] = {
        "time": panel((count,))["time"],
        "integer": pl.Series(range(count)),
        "float": pl.Series(np.linspace(0, 1, count)),
        "date": pl.date_range(date(2024, 1, 1), date(2024, 1, count), eager=True),
        "text": panel((count,))["time"].dt.strftime("%d.%m.%Y %H:%M"),
    }
    columns: dict[str, Any] = {"x": il.Number()}
    if kind == "text":
        columns["t"] = il.Timestamp(format="%d.%m.%Y %H:%M")
    frame = pl.DataFrame({"t": values[kind], "x": np.arange(count, dtype=float)})
    learnt = fit(il.Schema(columns, il.Windows("t", 3), target="x"), Table.of(frame))
    encoded = encode(learnt, Table.of(frame.reverse()), raw=True)
    assert encoded.raw["x"].tolist() == list(range(count))


def test_weights_reach_the_batches() -> None:
    schema = il.Schema({"load": il.Number()}, il.Windows("time", 3, 2, by="site"), target="load", weight="w")
    frame = panel((9, 7)).with_columns(w=pl.int_range(pl.len()).cast(pl.Float64)).reverse()
    layer = il.InputLayer(schema).fit(frame)
    encoded = layer.encoded(frame, training=True)
    assert encoded.weight is not None
    assert encoded.weight[encoded.index.ahead].tolist() == [3.0, 4.0, 5.0, 6.0, 7.0, 12.0, 13.0, 14.0]
    assert layer.encoded(frame.drop("w")).weight is None


def test_groups_without_an_order_keep_the_tables() -> None:
    schema = il.Schema({"x": il.Number(scale="none"), "y": il.Number()}, il.Groups("g"), target="y")
    frame = pl.DataFrame({"g": [2, 1, 2, 1, 2], "x": [5.0, 1.0, 3.0, 9.0, 4.0], "y": [1.0, 2.0, 1.0, 2.0, 1.0]})
    encoded = encode(fit(schema, Table.of(frame)), Table.of(frame))
    assert np.asarray(encoded.wire("x")).tolist() == [1.0, 9.0, 5.0, 3.0, 4.0]


def test_unseen_and_missing_values_never_fail() -> None:
    odd = panel().with_columns(
        wind=pl.lit("storm"), temp=pl.lit(None, pl.Float64), site=pl.lit("moon") + pl.col("site")
    )
    encoded = encode(fitted(), Table.of(odd))
    assert set(np.asarray(encoded.wire("wind")).tolist()) == {1}
    assert np.isnan(np.asarray(encoded.wire("temp"))).all()


def test_groups_schema_repr_says_what_was_chosen() -> None:
    assert repr(groups(max_length=5).sequence) == "Groups(by='site', order='time', max_length=5)"
    assert repr(windows().columns["holiday"]) == "Flag(role='known')"
    assert repr(il.Cells()) == "Cells()"


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        (il.Text(min_count=1), ["a b", None, "b c a", "", "c"]),
        (il.Series(), [[1.0, 2.0], None, [float("nan"), 3.0, 1.0], [], [4.0]]),
        (il.Audio(rate=1000, bands=4), [[0.5, 0.1] * 40, None, [0.2] * 50, [0.3] * 90, [0.1] * 70]),
        (il.Image(), [[[1, 2]], None, [[3, 4]], [[5, 6]], [[7, 8]]]),
    ],
)
def test_cells_of_many_entries_are_the_same_in_blocks_of_any_size(
    column: Any, cells: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pl.DataFrame({"x": cells, "y": [float(i) for i in range(len(cells))]})
    layer = il.InputLayer(il.Schema({"x": column, "y": il.Number()}, il.Cells(), target="y")).fit(table)
    whole, blocks = layer.encoded(table), Table.blocks
    monkeypatch.setattr(Table, "blocks", lambda self, names=None, rows=2: blocks(self, names, rows))
    assert len(list(Table.of(table).blocks())) == 3
    for found, wanted in zip(arrays(layer.encoded(table)), arrays(whole), strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("sequence", [il.Windows("t", 3, by="site"), il.Groups("site", order="t")])
@pytest.mark.parametrize(
    ("column", "cells", "other"),
    [
        (il.Text(role="static", min_count=1), ["a b", "b c"], "a c"),
        (il.Series(role="static"), [[1.0, 2.0], [float("nan"), 3.0, 1.0]], [1.0, 3.0]),
        (il.Audio(role="static", rate=1000, bands=4), [[0.5, 0.1] * 40, [0.2] * 50], [0.5, 0.2] * 40),
        (il.Image(role="static"), [[[1, 2]], [[3, 4]]], [[1, 3]]),
    ],
)
def test_static_cells_of_many_entries_have_one_value_too(sequence: Any, column: Any, cells: Any, other: Any) -> None:
    def table(*x: Any) -> dict[str, Any]:
        return {"site": list("aaaabbbb"), "t": [0, 1, 2, 3] * 2, "y": [1.0] * 4 + [2.0] * 4, "x": list(x)}

    one, two = cells
    goal = il.Number(role="target")
    layer = il.InputLayer(il.Schema({"x": column, "y": goal}, sequence, target="y"))
    whole = table(*[one] * 4, *[two] * 4)
    layer.fit(whole)
    gaps = layer.encoded(table(None, one, None, one, *[two] * 3, None))
    for found, wanted in zip(arrays(gaps), arrays(layer.encoded(whole)), strict=True):
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(TableError, match=r"column 'x': has several values within one (series|group): 'b'"):
        layer.encoded(table(*[one] * 4, two, two, other, two))


def test_the_cells_that_made_a_column_of_times_text_are_named(tmp_path: Path) -> None:
    schema = il.Schema({"load": il.Number()}, il.Windows("time", 3), target="load")
    frame = panel((9,)).with_columns(pl.col("time").dt.to_string("iso"))
    times = frame["time"].to_list()
    path = tmp_path / "load.csv"
    frame.with_columns(time=pl.Series([*times[:4], "soon", *times[5:7], None, times[8]])).write_csv(path)
    expected = ["column 'time': is not a time (row 4 = 'soon')", "column 'time': has no value"]
    for ask in (lambda: fit(schema, il.read(path)), lambda: il.split(il.read(path), schema)):
        with pytest.raises(TableError) as error:
            ask()
        found = [str(problem) for problem in error.value.problems]
        assert len(found) == 2
        assert all(text.startswith(start) for text, start in zip(found, expected, strict=True))


def test_blocks_do_not_change_what_is_wrong_with_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = il.Schema({"load": il.Number()}, il.Windows("time", 3), target="load")
    times = panel((9,))["time"].dt.to_string("iso").to_list()
    blocks = Table.blocks
    monkeypatch.setattr(Table, "blocks", lambda self, columns=None, rows=2: blocks(self, columns, rows))
    for cells, what in (([*times[:8], "soon"], "is not a time (row 8 = 'soon')"), (times, "holds String, which is")):
        with pytest.raises(TableError) as error:
            fit(schema, Table.of(panel((9,)).with_columns(time=pl.Series(cells))))
        (problem,) = error.value.problems
        assert what in str(problem)
