"""The first half of a page: the raw data, what each stage makes of it, what the body sees, and the receipt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inputlayer.report.markup import bars, figure, histogram, more, paragraph, safe, small_histogram, table
from inputlayer.report.plots import Plots
from inputlayer.shown import html_lines
from inputlayer.wording import (
    Cells,
    after_lines,
    column_cells,
    end_lines,
    learnt,
    percent,
    road_cells,
    road_lines,
    table_lines,
)

_COLUMNS = 30  # drawn; the others are in the table of the receipt


def data(told: Mapping[str, Any]) -> str:
    """A card for each column: its values, what is missing, what was learnt."""
    shown, raw = told["shown"], told["raw"]
    cards = [_column(c, raw[c["name"]], shown["table"]["rows"]) for c in shown["columns"][:_COLUMNS]]
    rest = len(shown["columns"]) - len(cards)
    text = f"{rest:,} more columns are told of in the receipt." if rest else ""
    return html_lines(table_lines(shown)) + f'<div class="cards">{"".join(cards)}</div>' + paragraph(text)


def _column(column: Mapping[str, Any], raw: Mapping[str, Any], rows: int) -> str:
    state = column["shown"]
    facts = [("used as", f"{' '.join(column['places'])} ({column['role']})"), ("rows", f"{rows:,}")]
    if state is None:
        facts.append(("", "not in the table"))
    else:
        facts += [(s, percent(state[s])) for s in ("missing", "unseen", "clipped") if state[s] is not None]
        facts += [("", "constant")] if state["constant"] else []
    drawn = (
        ""
        if raw["numbers"] is None
        else histogram(raw["numbers"], "times" if column["kind"] == "timestamp" else "values")
    )
    drawn += "" if raw["common"] is None else _commonest(raw["common"], raw["values"])
    drawn += "" if raw["steps"] is None else histogram(raw["steps"], "steps in a cell")
    facts.append(("learnt", learnt(column["learnt"])))
    head = f"<h3>{safe(column['name'])} <small>{safe(column['kind'])}</small></h3>"
    return f'<div class="card">{head}{drawn}{html_lines(facts)}</div>'


def _commonest(common: Sequence[Sequence[Any]], values: int) -> str:
    most = max(count for _, count in common)
    rows = [
        f'<tr><td>{safe(value)}</td><td class="r">{count:,}</td>'
        f'<td class="share"><i style="width:{100 * count / most:.1f}%"></i></td></tr>'
        for value, count in common
    ]
    rest = f"<figcaption>and {values - len(common):,} more values</figcaption>" if values > len(common) else ""
    return f'<figure><table class="common"><tbody>{"".join(rows)}</tbody></table>{rest}</figure>'


def stages(told: Mapping[str, Any]) -> str:
    """A line for each column: its histogram in the raw data, after its module, after each stage."""
    shown, passing = told["shown"], told["passing"]
    heads = "".join(f"<th>{safe(h)}</th>" for h in ("", "raw", *passing["steps"]))
    rows = [_passage(n, told["raw"].get(n), after) for n, after in list(passing["columns"].items())[:_COLUMNS]]
    sample = shown["sample"]
    text = (
        f"Of {sample['sequences']:,} of {sample['of']:,} sequences, evenly spread; raw: of all rows. Missing numbers "
        "and padding do not count. What a stage makes of a column's numbers stands in the column's line."
    )
    drawn = f'<table class="passing"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    road = html_lines(road_lines(shown)) + table(road_cells(shown["road"]), 3)
    return paragraph(text) + f'<div class="wide">{drawn}</div>' + more("Every tensor of the road", road)


def _passage(name: str, raw: Mapping[str, Any] | None, after: Sequence[Mapping[str, Any] | None]) -> str:
    first = "" if raw is None else small_histogram(raw["numbers"])
    if raw is not None and raw["common"] is not None:
        counts = [count for _, count in raw["common"]]
        first = f"{bars(counts)}<small>{raw['values']:,} values</small>"
    cells = "".join(f"<td>{c}</td>" for c in (first, *map(small_histogram, after)))
    return f"<tr><th>{safe(name)}</th>{cells}</tr>"


def seen(told: Mapping[str, Any], plots: Plots) -> str:
    """Where the input layer ends, with a picture of one sequence there."""
    shown, one = told["shown"], told["picture"]
    caption = (
        f"Sequence {one['sequence'] + 1:,} as the body sees it: {one['steps']:,} steps of {one['width']:,} numbers."
    )
    drawn = (len(one["x"]), len(one["features"]))
    if drawn != (one["steps"], one["width"]):
        caption += f" Drawn: the last {drawn[0]} steps, the first {drawn[1]} numbers."
    if one["sequences"] > 1:
        caption += f" PerChannel makes {one['sequences']} of it, of which this is the first."
    shares = f"{percent(shown['table']['padding'])} of the steps in batches of {shown['table']['batch']}"
    lines = [*end_lines(shown), *after_lines(shown["after"]), ("padding", shares)]
    lengths = "" if told["lengths"] is None else histogram(told["lengths"], "steps of a sequence")
    return (
        paragraph(shown["end"]["line"], "end")
        + figure(plots.picture(one), f"numbers by step and feature. {caption}", caption)
        + html_lines(lines)
        + lengths
    )


def receipt(told: Mapping[str, Any]) -> str:
    """What the model has seen, and whether that was shown again."""
    unit = told["shown"]["receipt"]["unit"]
    cells: Cells = [["this model was", "rows", unit, f"of the shown {unit}, seen"]]
    for r in told["receipts"]:
        cells.append([r["what"], f"{r['rows']:,}", f"{r['sequences']:,}", f"{r['shown']:,} of {r['of']:,}"])
    columns = table(column_cells(told["shown"]["columns"]), 0)
    return table(cells, 1) + more("What each column learnt, and its wires", columns)
