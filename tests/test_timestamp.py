from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inputlayer.columns.base import Where
from inputlayer.columns.timestamp import Timestamp, TimestampState
from inputlayer.errors import OptionError, Problems, TableError
from inputlayer.graph import Graph
from inputlayer.onnx.cells import Noted
from inputlayer.onnx.cells import times as onnx_times
from inputlayer.onnx.tables import cells_of
from inputlayer.times import FIELDS, NAT

BERLIN = pl.Datetime("us", "Europe/Berlin")
ALL = Timestamp(parts=FIELDS, elapsed=True)


def accept(column, cells, dtype=None):
    where = Where("date", 0, Problems())
    times = column.accept(pl.Series(cells, dtype=dtype), where)
    where.problems.raise_if_any()
    return times


def learnt(column, cells, dtype=None):
    where = Where("date", 0, Problems())
    state = column.finish(column.learn(accept(column, cells, dtype), 0), where)
    where.problems.raise_if_any()
    return state


def span(start, step, count):
    return [datetime.fromisoformat(start) + i * step for i in range(count)]


@pytest.mark.parametrize("example", Timestamp.examples())
def test_examples_by_hand(example):
    column, state = example.column, learnt(example.column, example.train, example.dtype)
    got = column.encode(accept(column, example.probe, example.dtype), state)
    assert {suffix: wire.tolist() for suffix, wire in got.items()} == example.wires
    for suffix, wire in column.wires(state).items():
        assert (got[suffix].dtype, got[suffix].shape[1:]) == (wire.dtype, wire.shape)


# -- the calendar, against Python's ------------------------------------------------------------------------------------


def by_python(t):
    return [t.second, t.minute, t.hour, t.weekday(), t.day, t.month, t.timetuple().tm_yday]


@given(st.lists(st.datetimes(), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_calendar_of_naive_times(times):
    got = ALL.encode(accept(ALL, times, pl.Datetime("us")), learnt(ALL, times, pl.Datetime("us")))
    assert got["parts"].tolist() == [by_python(t) for t in times]
    epoch = datetime(1970, 1, 1)
    assert got["time"].tolist() == [[(t - epoch).days, (t - epoch).seconds, (t - epoch).microseconds] for t in times]


@given(
    st.lists(st.datetimes(datetime(1950, 1, 1), datetime(2037, 1, 1)), min_size=1, max_size=20),
    st.sampled_from(["Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "UTC", "Etc/GMT-2", "Etc/GMT+11"]),
)
@settings(max_examples=60, deadline=None)
def test_calendar_of_a_zone(times, zone):
    aware, dtype = [t.replace(tzinfo=UTC) for t in times], pl.Datetime("us", zone)
    state = learnt(ALL, aware, dtype)
    assert state.zone == zone
    got = ALL.encode(accept(ALL, aware, dtype), state)["parts"]
    assert got.tolist() == [by_python(t.astimezone(ZoneInfo(zone))) for t in aware]


def test_every_day_edge_of_five_centuries():
    days = np.arange(np.datetime64("1800-01-01"), np.datetime64("2301-01-01"))
    edges = np.concatenate([days.astype("datetime64[us]"), days.astype("datetime64[us]") - 1])
    column = Timestamp(parts=("weekday", "day", "month", "yearday"), elapsed=False)
    got = column.encode(accept(column, edges), learnt(column, edges))["parts"]
    s = pl.Series(edges).dt
    expected = np.stack([s.weekday().to_numpy() - 1, s.day(), s.month(), s.ordinal_day()], axis=-1)
    assert np.array_equal(got, expected)


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-31", datetime(2024, 1, 31)),
        (" 2024-01-31 10:20 ", datetime(2024, 1, 31, 10, 20)),
        ("2024-01-31T10:20:30.123456789", datetime(2024, 1, 31, 10, 20, 30, 123456)),
        ("2024-01-31T10:20:30Z", datetime(2024, 1, 31, 10, 20, 30)),
        ("2024-01-31 10:20:30 +05:30", datetime(2024, 1, 31, 4, 50, 30)),
        ("2024-01-31T10:20-0330", datetime(2024, 1, 31, 13, 50)),
        ("2024-01-31T10:20:30.5+02", datetime(2024, 1, 31, 8, 20, 30, 500000)),
    ],
)
def test_iso_text(text, expected):
    got = accept(Timestamp(), [text, None, ""])
    assert got.utc.tolist() == [(expected - datetime(1970, 1, 1)) // timedelta(microseconds=1), NAT, NAT]
    assert got.zone == ("UTC" if expected.hour != int(text.strip()[11:13] or 0) or "Z" in text else None)


@given(st.lists(st.datetimes(timezones=st.just(UTC)) | st.datetimes(), min_size=1, max_size=10))
@settings(max_examples=60, deadline=None)
def test_iso_text_against_python(times):
    text = [t.replace(tzinfo=None).isoformat() for t in times]
    assert (
        accept(Timestamp(), text).utc.tolist()
        == accept(Timestamp(), times and [t.replace(tzinfo=None) for t in times], pl.Datetime("us")).utc.tolist()
    )


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        ([date(1969, 12, 31), None], None),
        ([datetime(1969, 12, 31), None], pl.Datetime("ms")),
        ([datetime(1969, 12, 31), None], pl.Datetime("us")),
        ([-86_400_000_000_000, None], pl.Datetime("ns")),
        (["1969-12-31", None], pl.Categorical),
    ],
)
def test_types_of_times(cells, dtype):
    assert accept(Timestamp(), cells, dtype).utc.tolist() == [-86_400_000_000, NAT]


def test_nanoseconds_round_down():
    assert accept(Timestamp(), [-1, 1, -1000, -1001], pl.Datetime("ns")).utc.tolist() == [-1, 0, -1, -2]


@pytest.mark.parametrize(
    ("cells", "dtype", "message"),
    [
        (["2024-01-01", "31/12/2024", "x"], None, r"is not a time \(row 1 = '31/12/2024', row 2 = 'x'\).*ISO 8601"),
        (["2024-02-30"], None, r"is not a time \(row 0 = '2024-02-30'\)"),
        (["2024-01-01T00:00+25:00"], None, r"is not a time \(row 0 = '2024-01-01T00:00\+25:00'\)"),
        (["0000-01-01"], None, r"is not a time \(row 0 = '0000-01-01'\)"),
        (["2024-01-01T10:00Z", "2024-01-01T10:00"], None, r"has no zone, where others have one \(row 1 = '2024-01"),
        ([None, 1_700_000_000], None, r"holds numbers, not times \(row 1 = 1700000000\).*from_epoch"),
        ([True], None, r"holds cells of type Boolean, not times \(row 0 = True\)"),
        ([2**62, None], pl.Datetime("ms"), r"is outside the years 1 to 9999 \(row 0 = 4611686018427387904\)"),
        ([-(2**63)], pl.Datetime("us"), r"is outside the years 1 to 9999 \(row 0 = -9223372036854775808\)"),
        ([2**31 - 1], pl.Date, r"is outside the years 1 to 9999 \(row 0 = 2147483647\)"),
    ],
)
def test_bad_cells(cells, dtype, message):
    with pytest.raises(TableError, match=message):
        accept(Timestamp(), pl.Series(cells).cast(dtype) if dtype == pl.Date else cells, dtype)


NAIVE, AWARE = "2024-01-01T10:00", "2024-01-01T10:00+01:00"


@pytest.mark.parametrize(
    ("cells", "message", "rows"),
    [
        ([NAIVE, NAIVE, AWARE, None], "has a zone, where most have none", [2]),
        ([AWARE, NAIVE, "", AWARE], "has no zone, where others have one", [1]),
        ([NAIVE, AWARE], "has no zone, where others have one", [0]),
        ([NAIVE, NAIVE, "x", AWARE], "has a zone, where most have none", [3]),
    ],
)
def test_the_cells_whose_zone_is_that_of_few_are_named(cells, message, rows):
    here, there = Problems(), Problems()
    times = Timestamp().accept(pl.Series(cells), Where("date", 0, here))
    onnx_times(cells_of("date", cells), None, Noted("date", there))
    assert (here_said := list(map(str, here))) == list(map(str, there))
    assert f"column 'date': {message} (row {rows[0]} = {cells[rows[0]]!r}). Give every time a zone" in here_said[0]
    assert [row for row, bad in enumerate(times.bad) if bad and cells[row] != "x"] == rows
    assert (times.zone is None) == (message == "has a zone, where most have none")


def test_format():
    column = Timestamp(format="%d.%m.%Y %H:%M")
    assert accept(column, ["31.01.1970 01:00"]).utc.tolist() == [(30 * 24 + 1) * 3_600_000_000]
    assert accept(column, [date(1970, 1, 2)]).utc.tolist() == [86_400_000_000]
    with pytest.raises(TableError, match=r"is not a time \(row 0 = '1970-01-31'\)\. The format is '%d\.%m\.%Y %H:%M'"):
        accept(column, ["1970-01-31"])
    zoned = accept(Timestamp(format="%Y-%m-%d %H:%M %z"), ["1970-01-01 02:00 +0200"])
    assert (zoned.zone, zoned.utc.tolist()) == ("UTC", [0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": ("hours",)}, r"parts='hours' is not one of .* Did you mean 'hour'\?"),
        ({"parts": ("hour", "hour")}, "names a part twice"),
        ({"role": "target"}, "a time cannot be a target"),
        ({"role": "static", "elapsed": True}, "no effect with role='static'"),
        ({"elapsed": "yes"}, "elapsed='yes' is not one of None, True, False"),
        ({"format": "%Q"}, "format='%Q' does not describe a time"),
        ({"format": "day"}, "format='day' does not describe a time"),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(OptionError, match=message):
        Timestamp(**options)


# -- learning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "count", "parts"),
    [
        (timedelta(hours=1), 48, ()),
        (timedelta(hours=1), 49, ("hour",)),
        (timedelta(hours=1), 24 * 14 + 1, ("hour", "weekday")),
        (timedelta(minutes=10), 13, ("minute",)),
        (timedelta(seconds=5), 25, ("second",)),
        (timedelta(seconds=0.5), 240, ()),
        (timedelta(days=1), 14, ()),
        (timedelta(days=1), 730, ("weekday",)),
        (timedelta(days=1), 731, ("weekday", "yearday")),
        (timedelta(days=7), 106, ("yearday",)),
    ],
)
def test_parts_chosen_from_span_and_step(step, count, parts):
    state = learnt(Timestamp(), span("2024-01-01", step, count))
    assert (state.parts, state.unit) == (parts, 0)
    assert state.step == step // timedelta(microseconds=1)


def test_months_and_years():
    months = [datetime(2020 + i // 12, i % 12 + 1, 1) for i in range(36)]
    assert learnt(Timestamp(elapsed=False), months).parts == ("weekday", "yearday")
    years = [datetime(y, 1, 1) for y in range(2000, 2020)]
    assert "yearday" not in learnt(Timestamp(elapsed=False), years).parts


def test_elapsed_where_the_grid_has_gaps():
    hours = span("2024-01-01", timedelta(hours=1), 200)
    assert learnt(Timestamp(), hours).unit == 0
    assert learnt(Timestamp(), hours[:100] + hours[102:]).unit == 0  # 1 % of the grid
    assert learnt(Timestamp(), hours[:100] + hours[103:]).unit == round(199 * 3_600_000_000 / 196)
    assert learnt(Timestamp(elapsed=True), hours).unit == 3_600_000_000
    assert learnt(Timestamp(elapsed=True), hours[:1]).unit == 1_000_000
    assert learnt(Timestamp(elapsed=False), hours[::3] + hours[:2]).unit == 0


@given(st.permutations(range(12)), st.integers(1, 11))
@settings(max_examples=30, deadline=None)
def test_state_depends_neither_on_order_nor_on_blocks(order, cut):
    cells = [
        None,
        None,
        *span("2024-02-28T23:59:57", timedelta(seconds=3), 5),
        *span("1969-12-30", timedelta(days=40), 5),
    ]
    column, where = Timestamp(), Where("date", 0, Problems())
    shuffled = [cells[i] for i in order]
    blocks = [column.learn(accept(column, part, pl.Datetime("us")), 0) for part in (shuffled[:cut], shuffled[cut:])]
    assert column.finish(blocks[0].merge(blocks[1]), where) == learnt(column, cells)
    assert not len(where.problems)


def test_nothing_to_learn_and_mixed_zones():
    with pytest.raises(TableError, match="column 'date': all values are missing"):
        learnt(Timestamp(), [None, None])
    column, where = Timestamp(), Where("date", 0, Problems())
    blocks = [column.learn(accept(column, [text]), 0) for text in ("2024-01-01T00:00Z", "2024-01-01T00:00")]
    column.finish(blocks[0].merge(blocks[1]), where)
    with pytest.raises(TableError, match=r"some times have a zone \(UTC\) and some have none"):
        where.problems.raise_if_any()


def test_naive_against_aware():
    naive, aware = ["2024-01-01T00:00"], ["2024-01-01T00:00Z"]
    for train, serve, message in [
        (naive, aware, "had no zone in training and has the zone UTC now"),
        (aware, naive, "had the zone UTC in training and has none now"),
    ]:
        where = Where("date", 0, Problems())
        times, state = accept(Timestamp(), [None, *serve]), learnt(Timestamp(), train)
        Timestamp().check(times, state, where)
        with pytest.raises(TableError, match=rf"column 'date': {message} \(row 1 = "):
            where.problems.raise_if_any()
        with pytest.raises(TableError, match=message):
            Timestamp().encode(times, state)
    Timestamp().encode(accept(Timestamp(), [None]), learnt(Timestamp(), aware))


def test_another_zone_at_serving_is_converted():
    column = Timestamp(parts=("hour",), elapsed=False)
    state = learnt(column, [datetime(2024, 7, 1, tzinfo=UTC)], BERLIN)
    assert column.encode(accept(column, ["2024-07-01T10:00Z"]), state)["parts"].tolist() == [[12]]
    assert column.encode(accept(column, ["2024-01-01T10:00Z"]), state)["parts"].tolist() == [[11]]


def test_order_is_in_utc():
    column, where = Timestamp(), Where("date", 0, Problems())
    autumn = [datetime(2024, 10, 27, h, 30, tzinfo=UTC) for h in (0, 1)]  # both 2:30 in Berlin
    got = column.order_values(accept(column, [*autumn, None], BERLIN), where)
    assert got.dtype == np.int64
    assert got[1] - got[0] == 3_600_000_000
    with pytest.raises(TableError, match=r"has no value, so the row has no place in its series \(row 2 = None\)"):
        where.problems.raise_if_any()


def test_missing_rows_from_wires():
    for column in (Timestamp(parts=("hour",)), Timestamp(elapsed=True), Timestamp()):
        state = learnt(column, ["2024-01-01", "2024-01-02"])
        wires = column.encode(accept(column, ["0001-01-01", None]), state)
        assert column.missing(wires).tolist() == [False, True]


def test_describe():
    state = learnt(Timestamp(), [datetime(2024, 7, 1, tzinfo=UTC), None], BERLIN)
    assert Timestamp().describe(state) == {
        "zone": "Europe/Berlin",
        "first": "2024-07-01 02:00:00",
        "last": "2024-07-01 02:00:00",
        "step": "0:00:00",
        "parts": [],
        "elapsed": "not used",
        "missing": 1,
    }


# -- the module and the twin -------------------------------------------------------------------------------------------


def tensors(name, wires):
    return {f"{name}.{suffix}": torch.from_numpy(wire)[None] for suffix, wire in wires.items()}


def test_module_by_hand():
    column = Timestamp(parts=("hour", "month"), elapsed=True)
    state = TimestampState(None, 0, 0, 1, 1, 1, ("hour", "month"), 3_600_000_000)
    net = Timestamp.module({"my.date": (column, state)})
    assert net.extras == (
        "my.date hour sin",
        "my.date hour cos",
        "my.date month sin",
        "my.date month cos",
        "my.date elapsed",
        "my.date missing",
    )
    cells = ["1969-12-31T06:00", "1969-12-31T09:00", None, "1970-01-01T00:00", "1970-01-01T00:00:00.000001"]
    out = net(tensors("my.date", column.encode(accept(column, cells), state))).extras[0]
    root = math.sqrt(0.5)
    dec, jan = [-0.5, math.sqrt(0.75)], [0.0, 1.0]
    expected = [
        [1, 0, *dec, 0, 0],
        [root, -root, *dec, math.log(4), 0],
        [0, 0, 0, 0, 0, 1],
        [0, 1, *jan, 0, 0],
        [0, 1, *jan, 1 / 3.6e9, 0],
    ]
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, torch.tensor(expected, dtype=torch.float32), atol=1e-7, rtol=1e-6)


def test_elapsed_starts_anew_and_never_runs_backwards():
    state = learnt(Timestamp(elapsed=True), ["2024-01-01", "2024-01-02"])
    net = Timestamp.module({"date": (Timestamp(elapsed=True), state)})
    wires = Timestamp().encode(accept(Timestamp(), ["2024-01-01", "2024-01-03", "2024-01-02"]), state)
    out = net(tensors("date", wires)).extras[0, :, 0]
    torch.testing.assert_close(out, torch.tensor([0.0, math.log(3), 0.0]))
    alone = net({"date.time": torch.from_numpy(wires["time"][1:2])[None]}).extras
    assert alone.tolist() == [[[0.0]]]


def test_nothing_in_use_gives_no_extras():
    column = Timestamp()
    state = learnt(column, ["2024-01-01"])
    net = Timestamp.module({"date": (column, state)})
    assert net(tensors("date", column.encode(accept(column, ["2024-01-01"]), state))).extras is None
    assert net.extras == ()


@pytest.mark.parametrize("zone", [None, "UTC", "Etc/GMT-2", "Europe/Berlin"])
def test_twin_equals_encode_and_module(zone):
    rng = np.random.default_rng(0)
    utc = np.sort(rng.integers(-62_000_000_000, 250_000_000_000, 500)) * 1_000_000 + rng.integers(0, 1_000_000, 500)
    cells = pl.Series([*utc.tolist(), None, -1, 0, None], dtype=pl.Datetime("us", zone))
    column = ALL
    times, state = accept(column, cells), learnt(column, cells)
    net = Timestamp.module({"date": (column, state)})
    wires = column.encode(times, state)

    g = Graph()
    dtype, trailing = column.onnx_input(state)
    assert trailing == ((2,) if zone == "Europe/Berlin" else ())
    names = column.onnx(g, g.input("date", dtype, ("B", "T", *trailing)), state)
    for suffix, name in names.items():
        g.output(suffix, name, wires[suffix].dtype, ("B", "T", *column.wires(state)[suffix].shape))
    extras = net.onnx(g, {f"date.{suffix}": name for suffix, name in names.items()}).extras
    g.output("extras", extras, np.float32, ("B", "T", "E"))
    session = onnxruntime.InferenceSession(g.model({}).SerializeToString())
    raw = column.onnx_values(times, state)
    *got, part = session.run(None, {"date": raw[None]})
    for (suffix, expected), array in zip(wires.items(), got, strict=True):
        assert np.array_equal(array[0], expected), suffix
    np.testing.assert_allclose(part, net(tensors("date", wires)).extras.numpy(), atol=1e-6)
    single = session.run(["extras"], {"date": raw[None, :1]})[0]
    np.testing.assert_allclose(single, part[:, :1], atol=1e-6)
