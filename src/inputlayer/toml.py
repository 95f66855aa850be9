"""TOML out: a small writer with comments, and the types that a part's options may have in a file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, cast, get_args, get_origin, get_type_hints

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", date: "a date"}
_NOT_IN_FILES = (NoneType, timedelta)  # TOML has neither: the option is left out, the time written as text


def value_text(value: Any) -> str:
    """A value as TOML writes it.

    >>> value_text({"load": [1, 2.5, True], "spring tide": "a\\n"})
    '{ load = [1, 2.5, true], "spring tide" = "a\\\\n" }'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)  # TOML has Python's inf and nan, too
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key_text(k)} = {value_text(v)}" for k, v in value.items() if v is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(value_text, value))}]"
    raise TypeError(f"{value!r} cannot be written as TOML")


def key_text(key: str) -> str:
    """A key as TOML writes it, quoted where it must be."""
    return key if _BARE.fullmatch(key) else value_text(key)


def table_lines(
    header: str, entries: Mapping[str, Any], above: str = "", beside: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The lines of one table: comments `above` its `header` and `beside` its entries. What is None is left out.

    >>> print("\\n".join(table_lines("[body]", {"units": 64}, "The LSTM", {"units": "numbers of its state"})))
    # The LSTM
    [body]
    units = 64  # numbers of its state
    """
    yield from comment_lines(above)
    yield header
    given = {key: f"{key_text(key)} = {value_text(value)}" for key, value in entries.items() if value is not None}
    notes = beside or {}
    wide = max((len(line) for key, line in given.items() if notes.get(key) and len(line) <= 40), default=0)
    for key, line in given.items():
        note = _one_line(notes.get(key, ""))
        yield f"{line:<{wide}}  # {note}" if note else line


def comment_lines(text: str) -> Iterator[str]:
    """`text` as comments, one for each of its lines."""
    for line in text.splitlines():
        yield f"# {_one_line(line)}".rstrip()


def _one_line(text: str) -> str:
    """A comment ends with its line, and TOML has no control characters in one."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


# -- what an option may be --------------------------------------------------------------------------------------------


def misfits(part: Callable[..., Any], options: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the types of options, by the annotations of the class or function that takes them.

    >>> from inputlayer.bodies import LSTM
    >>> list(misfits(LSTM, {"units": 64, "bidirectional": "yes", "dropout": 0}))
    ['bidirectional = "yes" must be true or false']
    """
    try:
        hints = get_type_hints(cast(Any, part).__init__ if isinstance(part, type) else part)
    except NameError:  # a dataclass, whose constructor does not know where inherited annotations come from
        hints = get_type_hints(part)
    for name, value in options.items():
        hint = hints.get(name, Any)
        if get_origin(hint) is not ClassVar and not _fits(value, hint):
            yield f"{name} = {value_text(value)} must be {_named(hint)}"


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, h) for h in inner)
    if hint is Any or origin is Literal:  # which values a Literal has, the part checks and names itself
        return True
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    if hint in _WORDS:
        return isinstance(value, int | float if hint is float else hint)
    if _is_list(origin):
        return isinstance(value, list) and all(_fits(v, inner[0]) for v in value)
    if hint in _NOT_IN_FILES:
        return False
    return isinstance(value, Mapping) or (isinstance(hint, type) and isinstance(value, hint))


def _is_list(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Sequence)


def _named(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        left_out = (*_NOT_IN_FILES, int) if float in inner else _NOT_IN_FILES  # a whole number is a number, too
        return " or ".join(dict.fromkeys(_named(h) for h in inner if h not in left_out))
    if origin is Literal:
        return "one of " + ", ".join(value_text(v) for v in inner if v is not None)
    if _is_list(origin):
        return f"a list, each {_WORDS.get(inner[0], 'value')}"
    dated = isinstance(hint, type) and issubclass(hint, date)
    return _WORDS[date] if dated else _WORDS.get(hint, "a table")
