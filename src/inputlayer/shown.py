"""What `show` found: its numbers, as text for a terminal or a README, and as HTML for a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import Any, Literal

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from inputlayer.wording import (
    Cells,
    after_lines,
    column_cells,
    end_lines,
    printable,
    road_cells,
    road_lines,
    table_lines,
)

WIDTH = 110
_COLUMNS = 40  # columns that the text lists; the rest is counted there, and in to_dict in full


@dataclass(frozen=True)
class Shown:
    """The picture of an input layer at work. Its numbers are in `to_dict`; text and HTML show the same.

    >>> Shown({"table": {"rows": 3}}).to_dict()["table"]
    {'rows': 3}
    """

    numbers: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values, without NaN: what is not known is None. Shares lie between 0 and 1."""
        return deepcopy(dict(self.numbers))

    def __str__(self) -> str:
        out = StringIO()
        console = Console(file=out, width=WIDTH, color_system=None, force_terminal=False, force_jupyter=False)
        console.print(self)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    __repr__ = __str__

    def __rich__(self) -> RenderableType:
        told = self.numbers
        columns = column_cells(told["columns"])
        more = len(columns) - _COLUMNS - 1
        parts: list[RenderableType] = [_lines(table_lines(told)), Text(), _grid(columns[: _COLUMNS + 1], 0)]
        if more > 0:
            parts.append(Text(f" … and {more} more columns: to_dict()['columns']", style="dim"))
        parts += [Text(), _lines(road_lines(told)), _grid(road_cells(told["road"]), 3)]
        parts.append(Rule(Text(told["end"]["line"], style="bold"), characters="━", style="bold"))
        parts += [_lines(end_lines(told)), Text(), _lines(after_lines(told["after"]))]
        return Group(*parts)

    def _repr_html_(self) -> str:
        told, end = self.numbers, escape(self.numbers["end"]["line"])
        parts = [
            html_lines(table_lines(told)),
            html_table(column_cells(told["columns"]), 0),
            html_lines(road_lines(told)),
            html_table(road_cells(told["road"]), 3),
            f'<p class="end">{end}</p>',
            html_lines(end_lines(told)),
            html_lines(after_lines(told["after"])),
        ]
        return f'<div class="inputlayer-shown"><style>{_STYLE}</style>{"".join(parts)}</div>'

    def to_html(self) -> str:
        """One HTML document that needs nothing else."""
        head = '<meta charset="utf-8"><title>The input layer</title>'
        return f'<!doctype html><html lang="en"><head>{head}</head><body>{self._repr_html_()}</body></html>\n'


# -- how it is drawn ---------------------------------------------------------------------------------------------------


def _lines(lines: Iterable[tuple[str, str]]) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=12, style="dim", no_wrap=True)
    grid.add_column()
    for label, text in lines:
        grid.add_row(Text(label), Text(printable(text)))
    return Padding(grid, (0, 1))


def _grid(cells: Cells, right_from: int) -> Table:
    """A table without frame; cells from column `right_from` on stand at the right, if that is not 0."""
    head, *rows = cells
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), header_style="bold", show_edge=False)
    for i, title in enumerate(head):
        side: Literal["left", "right"] = "right" if right_from and i >= right_from else "left"
        whole, widest = title in _WHOLE, _WIDEST.get(title)
        table.add_column(Text(title), justify=side, overflow="fold", max_width=widest, no_wrap=whole)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


_WIDEST = {"column": 18, "used as": 13, "learnt from the training rows": 60, "wire": 20, "in these rows": 16}
_WHOLE = {"kind", "width", "type", "shape", "min", "max", "mean", "spread"}

_STYLE = (
    ".inputlayer-shown{font:13px/1.5 system-ui,sans-serif;max-width:72em}"
    ".inputlayer-shown table{border-collapse:collapse;margin:.6em 0;font-variant-numeric:tabular-nums}"
    ".inputlayer-shown th,.inputlayer-shown td{padding:.15em .8em .15em 0;text-align:left;vertical-align:top}"
    ".inputlayer-shown th{border-bottom:1px solid currentColor}"
    ".inputlayer-shown .r{text-align:right;white-space:nowrap}"
    ".inputlayer-shown dl{display:grid;grid-template-columns:8em 1fr;margin:.6em 0}"
    ".inputlayer-shown dt{opacity:.6}.inputlayer-shown dd{margin:0}"
    ".inputlayer-shown .end{font-weight:bold;text-align:center;border-top:2px solid currentColor;"
    "border-bottom:2px solid currentColor;padding:.3em 0}"
)


def html_lines(lines: Iterable[tuple[str, str]]) -> str:
    """Labels with their texts, escaped."""
    return f"<dl>{''.join(f'<dt>{escape(a)}</dt><dd>{escape(b)}</dd>' for a, b in lines)}</dl>"


def html_table(cells: Cells, right_from: int) -> str:
    """A table, escaped, its head first; cells from column `right_from` on stand at the right, if that is not 0."""

    def row(texts: list[str], tag: str) -> str:
        marks = [' class="r"' if right_from and i >= right_from else "" for i in range(len(texts))]
        return f"<tr>{''.join(f'<{tag}{m}>{escape(t)}</{tag}>' for t, m in zip(texts, marks, strict=True))}</tr>"

    head, *rows = cells
    return f"<table><thead>{row(head, 'th')}</thead><tbody>{''.join(row(r, 'td') for r in rows)}</tbody></table>"
