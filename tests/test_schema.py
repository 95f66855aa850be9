"""The schema: roles, and every contradiction in one message."""

from __future__ import annotations

from typing import Any

import pytest

import inputlayer as il
from inputlayer.errors import SchemaError
from samples import ROADS

WINDOWS = il.Windows("t", 6, 2, by="site")


def schema(columns: dict[str, Any] | None = None, sequence: Any = WINDOWS, target: Any = "y", **options: Any) -> Any:
    return il.Schema(columns or {"y": il.Number(), "x": il.Number()}, sequence, target, **options)


def test_roles_say_where_a_column_is_an_input() -> None:
    columns = {
        "t": il.Timestamp(),
        "x": il.Number(),
        "holiday": il.Flag(role="known"),
        "site": il.Category(role="static"),
        "y": il.Number(),
        "z": il.Number(role="target"),
    }
    found = schema(columns, target=("y", "z"))
    assert found.past_targets == ("y",)
    assert found.steps == ("y", "t", "x", "holiday")
    assert found.future == ("t", "holiday")
    assert found.static == ("site",)
    assert "z" not in found.inputs
    assert found.needed(targets=False) == ["t", "x", "holiday", "site", "y"]
    assert found.needed(targets=True) == ["t", "x", "holiday", "site", "y", "z"]


@pytest.mark.parametrize("sequence", [il.Windows("t", 6, 0), il.Groups("site"), il.Cells()])
def test_without_a_horizon_no_target_is_an_input_and_nothing_is_ahead(sequence: Any) -> None:
    found = schema(sequence=sequence)
    assert found.past_targets == ()
    assert found.inputs == ("x",)
    assert found.future == ()
    assert "y" not in found.needed(targets=False)


def test_cells_with_steps_hold_all_others_once() -> None:
    found = ROADS["cells"][0]
    assert found.steps == ("wave",)
    assert found.static == ("wind", "mass")


@pytest.mark.parametrize("road", ROADS)
def test_a_schema_goes_to_a_dict_and_back(road: str) -> None:
    found = ROADS[road][0]
    again = il.Schema.from_dict(found.to_dict())
    assert again == found
    assert again.to_dict() == found.to_dict()


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"y": il.Number(role="known"), "x": il.Number()}, {}, "column 'y': is the target and has role='known'"),
        ({"y": il.Number(role="static"), "x": il.Number()}, {}, "column 'y': is the target and has role='static'"),
        ({"y": il.Timestamp(), "x": il.Number()}, {}, "column 'y': can be no target: a target is a Number"),
        ({"y": il.Number(), "x": il.Number(role="target")}, {}, "column 'x': has role='target' but is no target"),
        ({"y": il.Number(), "x": il.Flag(role="known")}, {"sequence": il.Cells()}, "'x': role='known' has no effect"),
        ({"y": il.Number(role="target")}, {}, "no column is an input"),
        ({"y": il.Number(), "x": il.Number()}, {"sequence": il.Cells(steps="x")}, "column 'x': Number cells hold no"),
        ({"y": il.Number(), "xs": il.Series()}, {"sequence": il.Cells(steps="x")}, "column 'x': .*Did you mean 'xs'"),
        ({"y": il.Number(), "t": il.Timestamp(role="static")}, {}, "column 't': orders the rows, so .* static"),
        ({"load": il.Number()}, {"target": "laod"}, "column 'laod': the target is not among .*Did you mean 'load'"),
        (None, {"target": ()}, "no target is named"),
        (None, {"target": 3}, "target=3: give the name of a column"),
        (None, {"target": ("y", "y")}, "a target is named twice"),
        (None, {"weight": "x"}, "column 'x': is the weight, and so cannot be an input"),
        (None, {"sequence": il.Windows("y", 6)}, "column 'y': is the target, and so cannot order the rows"),
        (None, {"sequence": il.Groups("y")}, "column 'y': is the target, and so cannot .* name their series"),
        (None, {"sequence": "windows"}, "sequence='windows': give il.Windows"),
        ({"y": il.Number(), "x": "number"}, {}, "column 'x': is 'number', which is no column kind"),
        ({"y": il.Number(), "c": il.Category()}, {"target": ("y", "c")}, "several targets must all be numbers"),
    ],
)
def test_contradictions_are_refused(columns: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        schema(columns, **options)


def test_contradictions_come_in_one_message() -> None:
    columns = {"y": il.Number(role="known"), "x": il.Number(role="target"), "t": il.Timestamp(role="static")}
    with pytest.raises(SchemaError, match=r"(?s)the schema contradicts itself, 3 problems.*'y'.*'x'.*'t'") as found:
        schema(columns)
    assert len(found.value.problems) == 3


def test_what_cannot_be_read_comes_in_one_message() -> None:
    described = {
        "columns": {"a": {"kind": "nubmer"}, "b": {"kind": "number", "scael": "log"}, "c": 3},
        "sequence": {"kind": "windows", "order": "t"},
        "taget": "a",
    }
    with pytest.raises(SchemaError) as found:
        il.Schema.from_dict(described)
    text = str(found.value)
    for part in (
        "unknown kind 'nubmer'",
        "Did you mean 'number'?",
        "number has no option 'scael'. Did you mean 'scale'?",
        "column 'c' needs a kind",
        "windows needs the option 'length'",
        "unknown key 'taget'. Did you mean 'target'?",
        "the key 'target' is missing",
    ):
        assert part in text
