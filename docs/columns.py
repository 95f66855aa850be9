"""Writes docs/columns.md: every kind of column, every stage and the rest, as the registries and docstrings have them.

Run `python docs/columns.py` after a docstring or an option has changed; tests/test_readme.py fails until then.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from inputlayer.bodies import BODIES, DECODERS
from inputlayer.columns import KINDS, Column
from inputlayer.heads import HEADS
from inputlayer.recipe import recipe
from inputlayer.sequence import SEQUENCES
from inputlayer.stages import STAGES

PAGE = Path(__file__).with_name("columns.md")
PARTS: list[tuple[str, str, Mapping[str, type[Any]]]] = [
    ("Kinds of columns", "What a column holds. `columns = {...}` of `il.Schema`.", KINDS),
    ("Sequences", "Which rows, or which cell, make one sequence. `sequence=` of `il.Schema`.", SEQUENCES),
    ("Stages", "Steps on the whole sequence, in order. `stages=[...]` of `il.InputLayer`.", STAGES),
    ("Bodies", "What reads the sequence. The second argument of `il.Model`.", BODIES),
    ("Decoders", "How a body's last state becomes the steps of a horizon. `decoder=` of a body.", DECODERS),
    ("Heads", "What turns a body's output into the target. The third argument of `il.Model`.", HEADS),
]
_SKIPPED = ("Examples", "See Also", "Attributes")


def page() -> str:
    """The whole page."""
    lines = ["# Kinds of columns, stages, and the rest", "", "Written by `docs/columns.py` from the docstrings.", ""]
    for title, _, registry in PARTS:
        lines += [f"- {title}: " + ", ".join(f"[{c.__name__}](#{c.__name__.lower()})" for c in registry.values())]
    lines += ["- [Recipes](#recipes): all of them chosen by rules"]
    for title, what, registry in PARTS:
        lines += ["", f"## {title}", "", what]
        if registry is KINDS:
            lines += ["", "Every kind has:", "", *_options(_sections(Column)["Parameters"])]
        for kind, made in registry.items():
            lines += ["", f"### {made.__name__}", "", f"`il.{made.__name__}({_call(made)})`, in files `{kind}`.", ""]
            lines += _described(made)
    lines += ["", "## Recipes", "", f"`il.recipe({_call(recipe)})`, and `inputlayer init`.", "", *_described(recipe)]
    return "\n".join(lines) + "\n"


def _call(made: Callable[..., Any]) -> str:
    """The constructor's options with their defaults."""
    options = [o for o in inspect.signature(made).parameters.values() if o.kind is not o.VAR_POSITIONAL]
    options = [o for o in options if o.kind is not o.VAR_KEYWORD]  # a module without options has torch's signature
    return ", ".join(o.name if o.default is o.empty else f"{o.name}={o.default!r}" for o in options)


def _described(made: Callable[..., Any]) -> Iterator[str]:
    """A numpydoc docstring as Markdown, without its examples."""
    sections = _sections(made)
    yield sections.pop("").strip()
    for title, body in sections.items():
        if title in _SKIPPED:
            continue
        yield from ("", f"**{title}**", "")
        yield from _options(body) if title in ("Parameters", "Raises") else [body.strip()]


def _sections(made: Callable[..., Any]) -> dict[str, str]:
    """The parts of a numpydoc docstring by their titles; what stands before the first has none."""
    text = re.sub(r"``(.*?)``", r"`\1`", inspect.cleandoc(made.__doc__ or ""))
    text = re.split(r"^>>> ", text, maxsplit=1, flags=re.M)[0]
    head, *sections = re.split(r"^(\w[\w ]+)\n-{3,}\n", text, flags=re.M)
    return {"": head, **dict(zip(sections[::2], sections[1::2], strict=True))}


def _options(body: str) -> Iterator[str]:
    """Each name as an item, its indented lines as the text."""
    for name, text in re.findall(r"^(\S.*)\n((?:[ \t]+.*\n?|\n(?=[ \t]))*)", body.strip() + "\n", flags=re.M):
        yield f"- `{name.strip()}`: {' '.join(text.split())}"


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE).write_text(page(), encoding="utf-8")
