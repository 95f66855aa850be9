"""A project: data, schema, split, stages, body, head and training in one TOML file, under the names used in Python."""

from __future__ import annotations

import codecs
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from inspect import signature
from pathlib import Path
from typing import Any

import polars as pl

from inputlayer.blocks import accepted
from inputlayer.bodies import BODIES, DECODERS, MEMBERS, body_from
from inputlayer.columns import KINDS
from inputlayer.errors import InputLayerError, OptionError, Problem, Problems, SchemaError, TableError, nearest
from inputlayer.files import FORMATS
from inputlayer.heads import HEADS, head_from
from inputlayer.layer import InputLayer
from inputlayer.model import Model
from inputlayer.order import check_places
from inputlayer.run import TrainingOptions
from inputlayer.schema import Schema
from inputlayer.sequence import SEQUENCES, Windows
from inputlayer.split import split
from inputlayer.stages import STAGES, stage_from
from inputlayer.table import Table, read
from inputlayer.toml import comment_lines, misfits, table_lines

Spec = Mapping[str, Any]
"""A part as ``{"kind": ..., **options}``."""

Comments = Mapping[str, str]
"""By place: ``""`` (above all), a section ``"split"``, one of its keys ``"split.valid"``, a stage ``"stages.patch"``;
``"columns."`` stands below the columns."""

_SECTIONS = ("data", "columns", "sequence", "split", "stages", "body", "head", "training")
_PREFIX = re.compile(r"^(stage|body|head|decoder|training options): ")


@dataclass(frozen=True)
class Project:
    """What a project's file says.

    Parameters
    ----------
    path
        The table's file, or a pattern; relative to `folder`.
    schema
        Columns, sequence, target, weight.
    body, head, stages
        Each as ``{"kind": ..., **options}``; no head: what the target's kind needs.
    split
        Arguments of `il.split`.
    training
        Arguments of `Model.fit`.
    missing
        The cells of a CSV file that stand for a missing value; None: the usual ones.
    folder
        Where the file lies.

    Examples
    --------
    >>> text = '''
    ... data = { path = "load.csv", target = "load" }
    ... sequence = { kind = "windows", order = "day", length = 14, horizon = 2 }
    ... body = { kind = "lstm", units = 8 }
    ... [columns]
    ... load = { kind = "number", fill = "forward" }
    ... '''
    >>> project = Project.from_toml(text)
    >>> project.schema.columns["load"].fill
    'forward'
    >>> Project.from_toml(project.to_toml()) == project
    True
    """

    path: str
    schema: Schema
    body: Spec
    head: Spec | None = None
    stages: Sequence[Spec] = ()
    split: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    missing: Sequence[str] | None = None
    folder: Path = field(default=Path(), compare=False)

    # -- from and to text ---------------------------------------------------------------------------------------------

    @classmethod
    def read(cls, path: str | Path) -> Project:
        """The project in the file `path`.

        Raises
        ------
        SchemaError
            With everything that is wrong with it, in one message.
        """
        path = Path(path)
        if path.name.lower().endswith(FORMATS):
            raise SchemaError(
                f"{path} is data, not a project. Write a project for it first, and then name that:"
                f" inputlayer init {path} --target COLUMN --output project.toml"
            )
        data = path.read_bytes()
        # What PowerShell's ">" writes begins with a byte order mark, in UTF-16 or UTF-8.
        encoding = "utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError as error:
            raise SchemaError(
                f"{path} is no TOML file: {error.reason} at byte {error.start}. Save it as UTF-8"
            ) from None
        return cls.from_toml(text, path.parent, str(path))

    @classmethod
    def from_toml(cls, text: str, folder: Path = Path(), name: str = "the project") -> Project:
        """The project that `text` describes; messages call it `name`."""
        try:
            described = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SchemaError(f"{name} is no TOML file: {error}") from None
        problems = Problems()
        project = _read(described, folder, problems)
        if project is not None and not problems:
            try:
                project.model()
            except InputLayerError as error:
                problems.add(str(error))
        if project is None or problems:
            lines = "".join(f"\n  {i}. {p}" for i, p in enumerate(problems, 1))
            raise SchemaError(f"{name} has {len(problems)} problem{'s' * (len(problems) > 1)}:{lines}", list(problems))
        return project

    def to_toml(self, comments: Comments | None = None) -> str:
        """The file's text, with `comments`."""
        return "\n".join(_lines(self, comments or {})) + "\n"

    def moved(self, folder: Path) -> Project:
        """The same project, for a file in `folder`."""
        path = Path(os.path.relpath(self.folder / self.path, folder)).as_posix()
        return replace(self, path=path, folder=folder)

    def with_training(self, **options: Any) -> Project:
        """The same project, with the training options that are not None."""
        given = {n: v for n, v in options.items() if v is not None}
        return replace(self, training={**self.training, **given})

    # -- what it stands for -------------------------------------------------------------------------------------------

    @property
    def options(self) -> dict[str, Any]:
        """The training options, as `Model.fit` takes them."""
        return {n: None if _switched_off(n, v) else v for n, v in self.training.items()}

    def layer(self) -> InputLayer:
        """A new input layer."""
        return InputLayer(self.schema, [stage_from(spec) for spec in self.stages])

    def model(self) -> Model:
        """A new model."""
        return Model(self.layer(), body_from(self.body), None if self.head is None else head_from(self.head))

    def table(self) -> Table:
        """The table, each cell of which has been found to be of its column's kind.

        The files that cells name are decoded once, too, those of all parts, a few at a time by threads: their
        headers alone would not show one that is damaged, and those of the test part are read again only after the
        training. Fitting and encoding then decode the training files twice, and do more to them.

        Raises
        ------
        TableError
            With every problem of the table; rows count as in the file, not as in the parts that it is split into.
        """
        where = str(self.folder / self.path)
        table = read(where) if self.missing is None else read(where, self.missing)
        problems = Problems()
        if not table.height:
            raise TableError([Problem(f"{where} has no rows")])
        title = "Checking the table"
        blocks = accepted(self.schema, table, problems, targets=True, weight=True, title=title, files=True)
        by = self.schema.sequence.by_names
        places = [
            pl.DataFrame([pl.Series("_order", block.order), *block.frame.select(by)])
            for block in blocks
            if block.order is not None
        ]
        problems.raise_if_any()
        if places:
            check_places(self.schema, table, pl.concat(places), problems)
        problems.raise_if_any()
        return table

    def parts(self) -> tuple[Table, Table | None, Table | None]:
        """Train, valid and test; None where there is none."""
        return split(self.table(), self.schema, **self.split)


# -- reading ----------------------------------------------------------------------------------------------------------


def _read(described: Spec, folder: Path, problems: Problems) -> Project | None:
    _check_names("the file", described, _SECTIONS, problems, what="section")
    parts = {n: _section(described, n, problems) for n in _SECTIONS if n != "stages"}
    sound = _check_data(parts["data"], problems)
    schema = _schema(parts, sound, problems)
    stages = _stages(described.get("stages", []), problems)
    if "body" not in described:
        problems.add('[body] is missing: give its kind and options, such as kind = "lstm" and units = 64')
    else:
        _check_body(parts["body"], problems)
    head = parts["head"] if "head" in described else None
    if head is not None:
        _check_spec("[head]", HEADS, head, head_from, problems)
    _check_split(parts["split"], problems)
    _check_training(parts["training"], parts["split"], problems)
    if schema is None or not sound:
        return None
    data = parts["data"]
    others = parts["split"], parts["training"], data.get("missing"), folder
    return Project(data["path"], schema, parts["body"], head, stages, *others)


def _section(described: Spec, name: str, problems: Problems) -> Spec:
    given = described.get(name, {})
    if isinstance(given, Mapping):
        return given
    problems.add(f"{name} must be a table: write [{name}] above its entries")
    return {}


def _check_names(where: str, given: Spec, known: Sequence[str], problems: Problems, what: str = "key") -> None:
    every = f" Known: {', '.join(known)}."
    for name in given:
        if name not in known:
            problems.add(f"{where} has no {what} {name!r}.{nearest(name, known) or every}")


def _data(path: str, target: str | list[str], weight: str | None = None, missing: list[str] | None = None) -> None:
    """The keys of [data], and what each may be."""


def _check_data(data: Spec, problems: Problems) -> bool:
    before = len(problems)
    _check_names("[data]", data, list(signature(_data).parameters), problems)
    for name in ("path", "target"):
        if name not in data:
            problems.add(f"[data] needs {name}")
    for wrong in misfits(_data, data):
        problems.add(f"[data] {wrong}")
    return len(problems) == before


def _schema(parts: Mapping[str, Spec], sound: bool, problems: Problems) -> Schema | None:
    """The schema. Where something is wrong already, only the rest of what cannot be read is noted."""
    before = len(problems)
    columns = {n: s for n, s in parts["columns"].items() if _check_types(f"column {n!r}:", KINDS, s, problems)}
    ordered = _check_types("[sequence]", SEQUENCES, parts["sequence"], problems)
    sequence = parts["sequence"] if ordered else {"kind": "cells"}
    sound = sound and len(problems) == before
    described = {"columns": columns, "sequence": sequence, "target": parts["data"]["target"] if sound else []}
    if "weight" in parts["data"]:
        described["weight"] = parts["data"]["weight"]
    try:
        return Schema.from_dict(described)
    except SchemaError as error:
        for problem in error.problems:
            if sound or problem.what != "no target is named":
                problems.add(problem.what, column=problem.column, remedy=problem.remedy)
    return None


def _stages(given: Any, problems: Problems) -> Sequence[Spec]:
    if not isinstance(given, list) or not all(isinstance(spec, Mapping) for spec in given):
        problems.add("stages must be a list of tables: write [[stages]] above the entries of each")
        return ()
    for i, spec in enumerate(given, 1):
        _check_spec(f"[[stages]] {i}", STAGES, spec, stage_from, problems)
    return given


def _check_body(body: Spec, problems: Problems) -> None:
    if all([*_nested_types("[body]", body, problems)]):
        _check_spec("[body]", BODIES, body, body_from, problems)


def _nested_types(where: str, spec: Spec, problems: Problems) -> Iterator[bool]:
    """Whether the parts that a body is made of have options of the right types: its decoder, an ensemble's member."""
    for name, registry in (("decoder", DECODERS), ("member", MEMBERS)):
        if isinstance(part := spec.get(name), Mapping):
            yield _check_types(f"{where} {name}:", registry, part, problems)
            yield from _nested_types(f"{where} {name}", part, problems)


def _check_types(where: str, registry: Mapping[str, Any], spec: Any, problems: Problems) -> bool:
    """Whether options have the right types. Unknown kinds and names are left to whoever makes the part then."""
    part = registry.get(spec["kind"]) if isinstance(spec, Mapping) and isinstance(spec.get("kind"), str) else None
    wrong = [] if part is None else list(misfits(part, spec))
    if part is None or not wrong:
        return True
    known = signature(part).parameters
    wrong += [f"{spec['kind']} has no option {n!r}.{nearest(n, known)}" for n in spec if n not in known and n != "kind"]
    for text in wrong:
        problems.add(f"{where} {text}")
    return False


def _check_spec(where: str, registry: Spec, spec: Spec, make: Callable[[Spec], Any], problems: Problems) -> None:
    try:
        if _check_types(where, registry, spec, problems):
            make(spec)
    except InputLayerError as error:
        problems.add(f"{where} {_PREFIX.sub('', str(error))}")


def _check_split(given: Spec, problems: Problems) -> None:
    known = [n for n in signature(split).parameters if n not in ("table", "schema")]
    _check_names("[split]", given, known, problems)
    for wrong in misfits(split, {n: v for n, v in given.items() if n in known}):
        problems.add(f"[split] {wrong}")


def _check_training(given: Spec, parts: Spec, problems: Problems) -> None:
    known = [f.name for f in fields(TrainingOptions)]
    _check_names("[training]", given, known, problems)
    options = {n: v for n, v in given.items() if n in known and not _switched_off(n, v)}
    wrong = list(misfits(TrainingOptions, options))
    for text in wrong:
        problems.add(f"[training] {text}")
    if "patience" in given and parts.get("valid", 1) == 0:
        problems.add("[training] patience has no effect: [split] valid = 0 leaves no part to validate on")
    try:
        if not wrong:
            TrainingOptions(**options)
    except OptionError as error:
        problems.add(f"[training] {_PREFIX.sub('', str(error))}")


def _switched_off(option: str, value: Any) -> bool:
    """Whether a training option is false for None, which TOML has not."""
    return value is False and option in ("clip", "patience")


# -- writing ----------------------------------------------------------------------------------------------------------


def _lines(project: Project, comments: Comments) -> Iterator[str]:
    described = project.schema.to_dict()
    data = {"path": project.path, "target": described["target"], "weight": described.get("weight")}
    yield from comment_lines(comments.get("", ""))
    if comments.get(""):
        yield ""
    yield from _table("data", {**data, "missing": project.missing}, comments)
    yield from ("", *_table("columns", described["columns"], comments), *comment_lines(comments.get("columns.", "")))
    sequence = dict(described["sequence"])
    if isinstance(project.schema.sequence, Windows):
        sequence.setdefault("horizon", project.schema.sequence.horizon)  # what is predicted is written out, 1 too
    yield from ("", *_table("sequence", sequence, comments))
    if project.split:
        yield from ("", *_table("split", project.split, comments))
    for spec in project.stages:
        yield from ("", *_table(f"stages.{spec['kind']}", spec, comments, header="[[stages]]"))
    yield from ("", *_table("body", project.body, comments))
    if project.head is not None:
        yield from ("", *_table("head", project.head, comments))
    if project.training:
        yield from ("", *_table("training", project.training, comments))


def _table(name: str, entries: Spec, comments: Comments, header: str | None = None) -> Iterator[str]:
    beside = {key: comments.get(f"{name}.{key}", "") for key in entries}
    return table_lines(header or f"[{name}]", entries, comments.get(name, ""), beside)
