from __future__ import annotations

import datetime
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from inputlayer import SchemaError, TableError
from inputlayer.bodies import BODIES, DECODERS
from inputlayer.columns import KINDS
from inputlayer.draft import draft
from inputlayer.heads import HEADS
from inputlayer.network import describe
from inputlayer.project import Project
from inputlayer.sequence import Cells, Groups, Windows
from inputlayer.stages import STAGES
from inputlayer.toml import comment_lines, key_text, misfits, table_lines, value_text

DATA = 'data = { path = "load.csv", target = "load" }\n'
SEQUENCE = 'sequence = { kind = "windows", order = "day", length = 3 }\n'
BODY = 'body = { kind = "lstm", units = 4 }\n'
COLUMNS = '[columns]\nload = { kind = "number" }\n'
WHOLE = DATA + SEQUENCE + BODY + COLUMNS


def project(**changes: Any) -> Project:
    described = {**tomllib.loads(WHOLE), **changes}
    return Project.from_toml("\n".join(f"{k} = {value_text(v)}" for k, v in described.items()))


def again(made: Project) -> Project:
    found = Project.from_toml(made.to_toml())
    assert found == made
    return found


# -- text out and in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "", "a'b\"c\\", "tab\there\nline\x00\x7f\x1b", "Größe 😀", True, False, 0, -3, 2**62, 1e-5, 1e300, -0.5, 1e16,
        [], ["a", 1.5, [True]], {"a b": 1, "": {"x": []}}, datetime.date(2024, 2, 29),
        datetime.datetime(2024, 2, 29, 10, 30, tzinfo=datetime.UTC), float("inf"),
    ],
)  # fmt: skip
def test_value_round_trip(value: object) -> None:
    assert tomllib.loads(f"x = {value_text(value)}") == {"x": value}


def test_comments_stay_comments() -> None:
    lines = [*comment_lines("one\nx = 1\x00\u2028"), *table_lines("[a]", {"b": 1}, "c\rd = 2", {"b": "e\nf = 3"})]
    assert tomllib.loads("\n".join(lines)) == {"a": {"b": 1}}


@pytest.mark.parametrize("name", ["a", "a.b", "", "Größe", 'quo"te', "new\nline", "[x]", "#"])
def test_any_column_name_round_trips(name: str) -> None:
    made = project(columns={name: {"kind": "number"}}, data={"path": "x.csv", "target": name})
    assert list(again(made).schema.columns) == [name]
    assert key_text("plain-1_x") == "plain-1_x"


def test_unwritable_value_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be written as TOML"):
        value_text(object())


# -- every part round trips -------------------------------------------------------------------------------------------

COLUMN_EXAMPLES = [
    pytest.param(example.column, id=f"{kind}{i}")
    for kind, cls in KINDS.items()
    for i, example in enumerate(cls.examples())
]


@pytest.mark.parametrize("column", COLUMN_EXAMPLES)
def test_every_column_round_trips(column: Any) -> None:
    columns = {"load": {"kind": "number"}, "x": {"kind": column.kind, **column.options()}}
    sequence = {"kind": "windows", "order": "day", "length": 3}
    if column.kind == "series":
        sequence = {"kind": "cells", "steps": "x"}
    if column.role == "target":
        columns, target = {**columns, "other": {"kind": "number"}}, "x"
    else:
        target = "load"
    made = project(columns=columns, sequence=sequence, data={"path": "x.csv", "target": target})
    assert made.schema.columns["x"] == column
    again(made)


@pytest.mark.parametrize(
    "sequence",
    [
        Windows("day", 3, horizon=2, by=("site", "line"), stride=2, max_gap="2h", pad_short=True),
        Windows("day", 3, horizon=0, by="site", max_gap=datetime.timedelta(minutes=90)),
        Groups("site", order="day", per_step=True, max_length=9),
        Cells(),
    ],
)
def test_every_sequence_round_trips(sequence: Any) -> None:
    described = {"kind": sequence.kind, **sequence.options()}
    columns = {"load": {"kind": "number"}, "x": {"kind": "number"}}
    made = project(columns=columns, sequence=described, data={"path": "x.csv", "target": "load"})
    assert again(made).schema.sequence.options() == sequence.options()


@pytest.mark.parametrize("stage", [s for cls in STAGES.values() for s in cls.examples()], ids=repr)
def test_every_stage_round_trips(stage: Any) -> None:
    made = again(project(stages=[{"kind": stage.kind, **stage.options()}]))
    (found,) = made.layer().stages
    assert found.options() == stage.options()


@pytest.mark.parametrize("body", [b for cls in BODIES.values() for b in cls.examples()])
def test_every_body_round_trips(body: Any) -> None:
    options = {k: v for k, v in body.options().items() if v is not None}
    found = describe(project(body={"kind": body.kind, **options}).model().network)["body"]
    assert found == {"kind": body.kind, **body.options()}
    again(project(body={"kind": body.kind, **options}))


@pytest.mark.parametrize("decoder", [d for cls in DECODERS.values() for d in cls.examples()])
def test_every_decoder_round_trips(decoder: Any) -> None:
    body = {"kind": "lstm", "units": 2, "decoder": {"kind": decoder.kind, **decoder.options()}}
    assert again(project(body=body)).model().network.body.decoder.options() == decoder.options()


@pytest.mark.parametrize("head", [h for cls in HEADS.values() for h in cls.examples()])
def test_every_head_round_trips(head: Any) -> None:
    columns = {"load": {"kind": "number" if head.kind == "regression" else "category"}, "x": {"kind": "number"}}
    options = {k: v for k, v in head.options().items() if v is not None}
    made = again(project(columns=columns, head={"kind": head.kind, **options}))
    assert made.model().network.head.options() == head.options()


def test_training_split_and_data_round_trip() -> None:
    training = {"epochs": 3, "batch": 8, "lr": 0.01, "clip": False, "schedule": "constant", "seed": 7, "device": "cpu"}
    split = {"valid": datetime.date(2024, 3, 1), "test": "2024-04-01"}
    data = {"path": "x.csv", "target": ["load"], "weight": "w", "missing": ["?", ""]}
    made = again(project(training=training, split=split, data=data))
    assert made.options == {**training, "clip": None}
    assert (made.schema.weight, made.schema.target, list(made.missing or ())) == ("w", ("load",), ["?", ""])


# -- what is wrong ----------------------------------------------------------------------------------------------------


def test_everything_wrong_is_told_at_once() -> None:
    text = (
        "[dat]\n[data]\npath = 1\ntargt = 'load'\n[columns]\nload = { kind = 'numer' }\nday = { kind = 'timestamp', "
        "forma = '' }\nx = 3\n[sequence]\nkind = 'windows'\norder = 'day'\nlength = '3'\nstide = 1\n[[stages]]\n"
        "kind = 'instance_nrm'\n[body]\nkind = 'lstm'\nunit = 3\n[head]\nkind = 'regression'\nloss = 'mes'\n"
        "[split]\ntst = 0.2\nstratify = 'no'\n[training]\nepoch = 3\nlr = -1\n"
    )
    with pytest.raises(SchemaError) as caught:
        Project.from_toml(text, name="p.toml")
    message = str(caught.value)
    assert message.startswith("p.toml has 16 problems:\n  1. ")
    for part in (
        "no section 'dat'. Did you mean 'data'?", "[data] path = 1 must be text", "[data] needs target",
        "[data] has no key 'targt'. Did you mean 'target'?", "unknown kind 'numer'", "no option 'forma'",
        "column 'x' needs a kind", '[sequence] length = "3" must be a whole number', "windows has no option 'stide'",
        "unknown kind 'instance_nrm'", "lstm has no option 'unit'. Did you mean 'units'?",
        "loss='mes' is not one of", "[split] has no key 'tst'. Did you mean 'test'?",
        '[split] stratify = "no" must be true or false', "[training] has no key 'epoch'", "lr is -1",
    ):  # fmt: skip
        assert part in message


MEMBER = 'body = {{ kind = "ensemble", member = {{ kind = {} }} }}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = = 1", r"p.toml is no TOML file: .*line 1"),
        (DATA + BODY + COLUMNS, "sequence needs a kind"),
        (DATA + SEQUENCE + COLUMNS, r"\[body\] is missing"),
        (DATA + SEQUENCE + 'body = "lstm"\n' + COLUMNS, r"body must be a table: write \[body\]"),
        (DATA + SEQUENCE + BODY + "stages = 3\n" + COLUMNS, r"write \[\[stages\]\]"),
        (DATA + SEQUENCE + 'body = { kind = "lstm", units = 4, decoder = { kind = "dens" } }\n' + COLUMNS, "'dense'"),
        (DATA + SEQUENCE + MEMBER.format('"lstm"') + COLUMNS, r"\[body\] member: lstm needs the option 'units'"),
        (
            DATA + SEQUENCE + MEMBER.format('"ensemble"') + COLUMNS,
            r"\[body\] member: unknown kind .*Known: lstm, gru\.",
        ),
        (DATA + SEQUENCE + 'body = { kind = "lstm", units = true }\n' + COLUMNS, "units = true must be a whole number"),
        (WHOLE.replace('"number"', '"category"') + '[head]\nkind = "regression"', "is a category, which needs"),
        (WHOLE + "[split]\nvalid = 0\n[training]\npatience = 3", "patience has no effect: .split. valid = 0"),
        (WHOLE.replace('"load" }', '"laod" }'), "column 'laod': the target is not among the columns. Did you"),
    ],
)
def test_one_problem_is_named(text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Project.from_toml(text, name="p.toml")


def test_foreign_bytes_are_named(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_bytes(WHOLE.encode() + b"# \xff")
    with pytest.raises(SchemaError, match=r"p\.toml is no TOML file: invalid start byte at byte \d+\. Save"):
        Project.read(tmp_path / "p.toml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_that_any_shell_wrote_are_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "p.toml").write_bytes(WHOLE.replace("day", "Tag ä").encode(encoding))
    assert Project.read(tmp_path / "p.toml").schema.sequence.order_name == "Tag ä"


def test_misfits_of_a_function() -> None:
    def takes(a: list[str], b: int | None = None) -> None: ...

    assert list(misfits(takes, {"a": ["x"], "b": 3})) == []
    assert list(misfits(takes, {"a": [1], "b": "x"})) == [
        "a = [1] must be a list, each text",
        'b = "x" must be a whole number',
    ]


# -- the table --------------------------------------------------------------------------------------------------------


def days(count: int) -> list[datetime.date]:
    return [datetime.date(2024, 1, 1) + datetime.timedelta(i) for i in range(count)]


def written(folder: Path, rows: dict[str, list[Any]], text: str = WHOLE) -> Project:
    pl.DataFrame(rows).write_csv(folder / "load.csv")
    (folder / "p.toml").write_text(text)
    return Project.read(folder / "p.toml")


def test_rows_count_as_in_the_file(tmp_path: Path) -> None:
    load = [str(i) for i in range(50)]
    load[3] = load[45] = "oops"  # of the training part, and of the test part
    with pytest.raises(TableError, match=r"column 'load': is not a number \(row 3 = 'oops', row 45 = 'oops'\)"):
        written(tmp_path, {"day": days(50), "load": load}).parts()


def test_repeated_times_count_as_in_the_file(tmp_path: Path) -> None:
    rows = {"day": [*days(49), days(49)[-1]], "load": list(range(50)), "site": ["a"] * 49 + ["b"]}
    with pytest.raises(TableError, match=r"twice in one series \(row 48 = '?2024-02-18'?, row 49 = "):
        written(tmp_path, rows).parts()
    panel = written(tmp_path, rows, WHOLE.replace("length = 3", 'length = 3, by = "site"'))
    assert panel.table().height == 50


def test_missing_cells_are_those_named(tmp_path: Path) -> None:
    rows = {"day": days(20), "load": [*map(str, range(19)), "?"]}
    with pytest.raises(TableError, match="'\\?'"):
        written(tmp_path, rows).table()
    text = WHOLE.replace('target = "load"', 'target = "load", missing = ["?"]')
    assert written(tmp_path, rows, text).table().frame()["load"].null_count() == 1


def test_paths_count_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    made = written(tmp_path / "a", {"day": days(20), "load": list(range(20))})
    (tmp_path / "b" / "c").mkdir(parents=True)
    moved = made.moved(tmp_path / "b" / "c")
    assert moved.path == "../../a/load.csv"
    assert moved.table().height == 20


# -- the draft --------------------------------------------------------------------------------------------------------


def table(count: int = 100) -> dict[str, list[Any]]:
    return {
        "row": list(range(count)),
        "day": days(count),
        "load": [i % 7 + 0.5 if i % 20 else -9999.0 for i in range(count)],
        "wind": ["NSEW"[i % 4] for i in range(count)],
        "same": ["x"] * count,
        "bad\nname = 1": [float(i % 3) for i in range(count)],
    }


def drafted(folder: Path, rows: dict[str, list[Any]], target: str = "load", **options: Any) -> str:
    pl.DataFrame(rows).write_csv(folder / "load.csv")
    return draft(folder / "load.csv", target, file=folder / "project.toml", **options)


def test_draft_is_a_project_with_reasons(tmp_path: Path) -> None:
    text = drafted(tmp_path, table(), length=6, horizon=2)
    made = Project.from_toml(text, tmp_path)
    assert list(made.schema.columns) == ["day", "load", "wind", "bad\nname = 1"]
    assert made.schema.columns["load"].options() == {"sentinels": [-9999.0]}
    assert list(made.stages) == [{"kind": "instance_norm", "mode": "last"}, {"kind": "autoregression", "size": 6}]
    assert "-9999 stands far from the rest, taken for missing; the target, whose past is an input" in text
    assert "# row: left out: it counts the rows" in text
    assert "# same: left out: always 'x'" in text
    assert "from the 60 training rows alone" in text
    assert [part.height for part in made.parts() if part is not None] == [60, 20, 20]


def test_draft_for_classes_has_their_head(tmp_path: Path) -> None:
    made = Project.from_toml(drafted(tmp_path, table(), "wind", length=6), tmp_path)
    assert (made.head, list(made.stages)) == ({"kind": "classes"}, [{"kind": "noise", "spread": 0.5, "shift": 0.5}])
    assert made.body["kind"] == "ensemble"


def test_draft_reads_training_rows_only(tmp_path: Path) -> None:
    rows = table()
    changed = {**rows, "wind": [w if i < 60 else f"new{i}" for i, w in enumerate(rows["wind"])]}
    changed["load"] = [v if i < 60 else 1e6 * i for i, v in enumerate(rows["load"])]
    assert drafted(tmp_path, changed, length=6) == drafted(tmp_path, rows, length=6)


def test_draft_of_a_panel(tmp_path: Path) -> None:
    one, two = table(), table()
    rows = {k: one[k] + two[k] for k in ("day", "load")} | {"site": ["a"] * 100 + ["b"] * 100}
    made = Project.from_toml(drafted(tmp_path, rows, length=6, by=["site"]), tmp_path)
    assert made.schema.sequence.by_names == ("site",)
    assert made.schema.columns["site"].role == "static"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WHOLE + "[split]\nvalid = true\n", "[split] valid = true must be a number or text or a date"),
        (
            WHOLE.replace("length = 3", "length = 3, max_gap = {}"),
            "[sequence] max_gap = {} must be a number or text",
        ),
    ],
)
def test_what_an_option_may_be_is_named_as_a_file_has_it(text: str, message: str) -> None:
    with pytest.raises(SchemaError) as error:
        Project.from_toml(text)
    assert str(error.value).splitlines()[1:] == [f"  1. {message}"]


def test_patience_can_be_switched_off() -> None:
    made = again(project(training={"patience": False, "epochs": 3}))
    assert made.options == {"patience": None, "epochs": 3}
    with pytest.raises(SchemaError, match="patience = true must be a whole number"):
        project(training={"patience": True})


@pytest.mark.parametrize("row", [40, 95])  # of the training part, of the test part
def test_draft_names_the_cell_that_makes_text_of_numbers_wherever_it_stands(tmp_path: Path, row: int) -> None:
    rows = table()
    rows["wind"] = [i * 0.25 for i in range(100)]
    rows["wind"][row] = "broken"
    with pytest.raises(TableError, match=rf"column 'wind'.*row {row} = 'broken'"):
        drafted(tmp_path, {**rows, "wind": [str(w) for w in rows["wind"]]}, length=6)


def test_draft_does_not_take_numbers_with_a_decimal_comma_for_words(tmp_path: Path) -> None:
    rows = {**table(), "wind": [f"{i},25" for i in range(100)]}
    with pytest.raises(TableError, match=r"column 'wind'.*'0,25'"):
        drafted(tmp_path, rows, length=6)
