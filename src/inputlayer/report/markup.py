"""Small parts of a page. Whatever comes in as text is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from inputlayer.shown import html_table
from inputlayer.wording import Cells, number, printable


def safe(value: Any) -> str:
    """A text as the page shows it: no mark-up of its own, no control characters.

    >>> safe("<b>\\t")
    '&lt;b&gt;·'
    """
    return escape(printable(str(value)))


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph, or nothing."""
    mark = f' class="{kind}"' if kind else ""
    return f"<p{mark}>{safe(text)}</p>" if text else ""


def table(cells: Cells, right_from: int) -> str:
    """A table that a narrow screen can scroll; see `html_table`."""
    return f'<div class="wide">{html_table([[printable(c) for c in row] for row in cells], right_from)}</div>'


def more(title: str, body: str) -> str:
    """What is seen when asked for."""
    return f"<details><summary>{safe(title)}</summary>{body}</details>"


def figure(drawn: str, alt: str, caption: str = "", axis: str = "") -> str:
    """A plot with what it shows in words: `alt` for those who cannot see it, `caption` for all."""
    below = f"<figcaption>{safe(caption)}</figcaption>" if caption else ""
    return f'<figure><div role="img" aria-label="{safe(alt)}">{drawn}</div>{axis}{below}</figure>'


def bars(counts: Sequence[float]) -> str:
    """A histogram without axes, small enough to stand in a table: there are so many that each must cost nothing."""
    most = max(max(counts, default=0), 1)
    path = "".join(f"M{i} 24V{24 - max(23 * c / most, 0.6):.3g}h1V24z" for i, c in enumerate(counts) if c)
    return (
        f'<svg class="bars" viewBox="0 0 {max(len(counts), 1)} 24" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="{path}"/></svg>'
    )


def histogram(told: Mapping[str, Any], of: str) -> str:
    """A histogram of `Histogram.to_dict`, with its range, and what is left out, in words."""
    least, most, low, high = _ends(told)
    beyond = [(told["below"], f"below {low}"), (told["above"], f"above {high}")]
    cut = [f"{count:,} {where} are not drawn" for count, where in beyond if count]
    whole = f"{of}: {least} to {most}"
    alt = "; ".join([f"histogram of {told['count']:,} {whole}", *cut])
    axis = f'<div class="ends"><span>{safe(low)}</span><span>{safe(of)}</span><span>{safe(high)}</span></div>'
    return figure(bars(told["counts"]), alt, "; ".join([whole, *cut]) if cut else "", axis)


def small_histogram(told: Mapping[str, Any] | None) -> str:
    """The same in the cell of a table."""
    if told is None:
        return ""
    least, most, _, _ = _ends(told)
    return f"{bars(told['counts'])}<small>{safe(least)} to {safe(most)}</small>"


def _ends(told: Mapping[str, Any]) -> list[str]:
    """Least, greatest, and where the drawn cells begin and end."""
    if "times" in told:
        return list(told["times"])
    end = told["low"] + told["width"] * len(told["counts"])
    ends = [told["min"], told["max"], max(told["low"], told["min"]), min(end, told["max"])]
    return [number(v) for v in ends]
