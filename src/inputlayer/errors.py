"""Every exception of the package, and how its text is built.

A message says what is wrong, where (column and row), shows the value, and says what to do. Problems of a table are
gathered first and raised together, so that a person mends a file once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

_SHOWN = 5  # rows or names shown before "and N more"


def shorten(value: object, width: int = 80) -> str:
    """Return ``repr(value)`` cut to `width` characters, control characters escaped; times as people write them.

    >>> shorten("abc")
    "'abc'"
    >>> len(shorten("x" * 1000))
    80
    >>> shorten(datetime(2024, 1, 5, 13)), shorten(date(2024, 1, 5))
    ('2024-01-05 13:00', '2024-01-05')
    """
    if isinstance(value, datetime):
        whole = not value.second and not value.microsecond
        return value.isoformat(sep=" ", timespec="minutes" if whole else "auto")
    if isinstance(value, date):
        return value.isoformat()
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= width else text[: width - 3] + "..."


def listed(values: Iterable[object], shown: int = _SHOWN) -> str:
    """Join `values` with commas, the first `shown` of them, then how many more there are.

    >>> listed(["a", "b"])
    "'a', 'b'"
    >>> listed(range(9), shown=3)
    '0, 1, 2 and 6 more'
    """
    items = list(values)
    text = ", ".join(shorten(v) for v in items[:shown])
    return text if len(items) <= shown else f"{text} and {len(items) - shown} more"


def nearest(name: str, names: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the name most like `name`, or nothing.

    >>> nearest("lod", ["load", "wind"])
    " Did you mean 'load'?"
    >>> nearest("zzz", ["load"])
    ''
    """
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a table or a schema: what, where, which values, what to do.

    `rows` count from 0, the first row of the table that was given; `total` is how many rows are concerned.
    """

    what: str
    column: str | None = None
    rows: Sequence[int] = ()
    values: Sequence[object] = ()
    total: int = 0
    remedy: str = ""

    def __str__(self) -> str:
        where = f"column {self.column!r}: " if self.column is not None else ""
        text = where + self.what
        if self.rows:
            total = max(self.total, len(self.rows))
            shown = [
                f"row {row}" + (f" = {shorten(self.values[i])}" if i < len(self.values) else "")
                for i, row in enumerate(list(self.rows)[:_SHOWN])
            ]
            more = f" and {total - len(shown)} more" if total > len(shown) else ""
            text += f" ({', '.join(shown)}{more})"
        return _then(text, self.remedy) if self.remedy else text


class InputLayerError(ValueError):
    """Base of every error that this package raises on purpose."""


class SchemaError(InputLayerError):
    """The schema contradicts itself or cannot be read. `problems` holds each thing that is wrong."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems) or (Problem(message),)
        super().__init__(message)


class TableError(InputLayerError):
    """The data does not fit the schema. `problems` holds each thing that is wrong."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(headed(self.problems, "the table does not fit the schema"))


class OptionError(InputLayerError):
    """An option has a value it cannot have, would have no effect, or contradicts another."""


class StageError(InputLayerError):
    """A stage cannot stand where it was put. The message gives an order that works."""


class NotFittedError(InputLayerError):
    """Something needs a fitted layer or a trained model, and this one is neither."""

    def __init__(self, what: str, remedy: str = "Call fit(train) first.") -> None:
        super().__init__(f"{what} is not fitted yet. {remedy}")


class SeenRowsError(InputLayerError):
    """Rows to be evaluated were among those fitted on."""


class ArtefactError(InputLayerError):
    """A file is not an artefact, is damaged, or comes from a newer version."""


class MissingExtraError(InputLayerError, ImportError):
    """A package is needed and not installed: an optional one, or any where there is only what serving takes."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        whole = f"'inputlayer[{extra}]'" if extra else "inputlayer"
        super().__init__(f"{purpose} needs the package {package!r}. Install it with: pip install {whole}")


def _then(text: str, sentence: str) -> str:
    """`text` as a sentence of its own, and the next one."""
    return f"{text}{'' if text[-1:] in '.?' else '.'} {sentence}"


def headed(problems: Sequence[Problem], head: str) -> str:
    """Return one message for all `problems`: a single line for one, a numbered list for several."""
    counted = any(p.rows for p in problems)
    if len(problems) == 1:
        return _then(str(problems[0]), "Rows count from 0.") if counted else str(problems[0])
    lines = [f"{head}, {len(problems)} problems{' (rows count from 0)' if counted else ''}:"]
    return "\n".join([*lines, *(f"  {i}. {p}" for i, p in enumerate(problems, 1))])


def unknown_ahead(order: str, named: Sequence[str], rows: str) -> Problem:
    """A forecast lacks the columns `named` of the `rows` ahead; or, where none are named, the order column's times.

    >>> print(unknown_ahead("time", ["holiday"], "a table of the next 3 rows with time, holiday"))
    'holiday' must be known ahead. Pass future=, a table of the next 3 rows with time, holiday
    """
    what, remedy = f"{', '.join(map(repr, named or [order]))} must be known ahead", f"Pass future=, {rows}"
    if not named:
        what += ": it is an input, and the steps of the training rows are not regular, so the coming ones are not known"
        remedy += "; or, if only some rows are missing, add them with empty cells and fit again"
    return Problem(what, remedy=remedy)


class Problems:
    """A collector: `add` each problem found, then `raise_if_any` once.

    >>> problems = Problems()
    >>> problems.add("is not a number", column="load", rows=[3], values=["x"])
    >>> problems.raise_if_any()
    Traceback (most recent call last):
    ...
    inputlayer.errors.TableError: column 'load': is not a number (row 3 = 'x'). Rows count from 0.
    """

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def add(
        self,
        what: str,
        *,
        column: str | None = None,
        rows: Sequence[int] = (),
        values: Sequence[object] = (),
        remedy: str = "",
    ) -> None:
        """Note a problem. The same problem of the same column in a later block joins the earlier one."""
        for i, old in enumerate(self._found):
            if rows and (old.what, old.column, old.remedy) == (what, column, remedy):
                self._found[i] = Problem(
                    what,
                    column,
                    [*old.rows, *rows][:_SHOWN],
                    [*old.values, *values][:_SHOWN],
                    old.total + len(rows),
                    remedy,
                )
                return
        self._found.append(Problem(what, column, list(rows)[:_SHOWN], list(values)[:_SHOWN], len(rows), remedy))

    def extend(self, others: Iterable[Problem], where: str = "") -> None:
        """Take over the problems of another table, `where` saying which one."""
        self._found += [replace(p, what=f"{where}{p.what}") for p in others]

    def raise_if_any(self) -> None:
        """Raise `TableError` with all that was found."""
        if self._found:
            raise TableError(self._found)
