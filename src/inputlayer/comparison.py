"""What `compare` found: its numbers, as text for a terminal, as HTML for a notebook, and as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from io import StringIO
from textwrap import fill
from typing import Any

import numpy as np

from inputlayer.errors import MissingExtraError, OptionError, listed, nearest
from inputlayer.intervals import Difference, Measure, difference

WIDTH = 110
FULL = "full layer"
ANY = -1  # in place of the seed, of what has none
_WIDE = 0.05  # of the score: an interval that reaches further hides what matters
_FEW = 10  # seeds, below which more of them are worth their time
GROUPS = {
    "full": "",
    "stage": "a stage taken away",
    "column": "a column taken away",
    "alternative": "another input layer",
    "baseline": "no network",
    "other": "not the input layer: a model that differs in something else",
}
_COLOURS = {
    "stage": "#1b6ca8",
    "column": "#2a9d5c",
    "alternative": "#8a4fbe",
    "baseline": "#777777",
    "other": "#c8641e",
}


@dataclass(frozen=True)
class Result:
    """One row: what was changed, and what came of it.

    losses  (B blocks of test sequences, K targets) by seed; what has no seed, a baseline, has them under `ANY`
    counts  (B, K) target steps; seconds: of training, the mean over seeds; parameters: that are trained; bytes: of the
    fitted half. None where there is none.
    """

    name: str
    group: str
    change: str
    losses: Mapping[int, np.ndarray]
    counts: np.ndarray
    seconds: float | None = None
    parameters: int | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Comparison:
    """The same body behind different input layers. The numbers are in `to_dict`; text and HTML show the same.

    measure  the score; seeds: that were asked for; fixed: what is the same for all rows, by name
    notes    what could not be had, and why; interrupted: whether Ctrl-C ended it

    >>> counts = np.ones((4, 1))
    >>> rows = [
    ...     Result(FULL, "full", "", {0: counts, 1: counts}, counts),
    ...     Result("raw", "alternative", "no scaling", {0: 4 * counts, 1: 4 * counts}, counts),
    ... ]
    >>> found = Comparison(Measure("rmse", "°C", root=True), rows, (0, 1), {})
    >>> found.difference("raw").mean
    1.0
    """

    measure: Measure
    results: Sequence[Result]
    seeds: Sequence[int]
    fixed: Mapping[str, Any]
    notes: Sequence[str] = ()
    interrupted: bool = field(default=False)

    def difference(self, name: str, than: str = FULL) -> Difference | None:
        """The score of the row `name` less that of the row `than`, with its 95 % interval (see `intervals.difference`).

        None where they share no seed, or were not scored on the same target steps.

        Raises
        ------
        OptionError
            If there is no such row.
        """
        rows = {r.name: r for r in self.results}
        for wanted in (name, than):
            if wanted not in rows:
                raise OptionError(f"there is no row {wanted!r}.{nearest(wanted, rows) or f' Rows: {listed(rows, 20)}'}")
        pair = rows[name], rows[than]
        seeds = [s for s in self.seeds if all(s in r.losses or ANY in r.losses for r in pair)]
        if not seeds or not np.array_equal(pair[0].counts, pair[1].counts):
            return None
        ours, other = (np.stack([r.losses[s if s in r.losses else ANY] for s in seeds]) for r in pair)
        return difference(self.measure, ours, other, pair[0].counts)

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values.

        `metric`, `unit`, `better` ("lower" or "higher"), `seeds`, `fixed`, `interrupted`, `sentences`, and `rows`, each
        with `name`, `group` (full, stage, column, alternative, baseline, other), `change`, `mean`, `spread` (over
        seeds; None for fewer than two), `by_seed` (None where a seed is not there), `difference` to the full layer
        (`mean`, `low`, `high`; the ends None where there are too few test sequences for them; `too_few`: "seeds" or
        "test rows" where, for want of these, the interval holds 0 and reaches beyond 5 % of the full layer's score) or
        None, `seconds`, `parameters`, `bytes`.
        """
        return {
            "metric": self.measure.name,
            "unit": self.measure.unit,
            "better": "higher" if self.measure.higher else "lower",
            "seeds": list(self.seeds),
            "fixed": dict(self.fixed),
            "interrupted": self.interrupted,
            "rows": [self._row(result) for result in self.results],
            "sentences": self._sentences(),
        }

    def _row(self, result: Result) -> dict[str, Any]:
        scores = {s: float(self.measure.score(x, result.counts)) for s, x in result.losses.items()}
        by_seed = list(scores.values())
        found = None if result.group == "full" or not self._has_full else self.difference(result.name)
        return {
            "name": result.name,
            "group": result.group,
            "change": result.change,
            "mean": float(np.mean(by_seed)),
            "spread": float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else None,
            "by_seed": [scores.get(s) for s in self.seeds] if result.group != "baseline" else [],
            "difference": None if found is None else self._told(result.name, found),
            "seconds": result.seconds,
            "parameters": result.parameters,
            "bytes": result.bytes,
        }

    def _told(self, name: str, found: Difference) -> dict[str, Any]:
        return {**{n: _finite(v) for n, v in found._asdict().items()}, "too_few": self._too_few(name, found)}

    def _too_few(self, name: str, found: Difference) -> str | None:
        """What there is too little of to tell the row `name` from the full layer."""
        full, row = (next(r for r in self.results if r.name == n) for n in (FULL, name))
        score = float(np.mean([self.measure.score(x, full.counts) for x in full.losses.values()]))
        if found.low > 0 or found.high < 0 or max(-found.low, found.high) <= _WIDE * abs(score):
            return None
        # An interval of one seed speaks of the test rows alone.
        each = [(row.losses.get(s, row.losses.get(ANY)), x) for s, x in full.losses.items()]
        alone = [difference(self.measure, ours[None], x[None], full.counts) for ours, x in each if ours is not None]
        usual = float(np.median([d.high - d.low for d in alone]))
        return "seeds" if 1 < len(alone) < _FEW and found.high - found.low > 1.5 * usual else "test rows"

    @property
    def _has_full(self) -> bool:
        return any(r.group == "full" for r in self.results)

    def _sentences(self) -> list[str]:
        rows = [self._row(result) for result in self.results]
        seeds = len(self.seeds)
        said = [*_against_baselines(rows, self.measure, seeds), *_parts(rows, self.measure, seeds)]
        if any("seeds are too few" in sentence for sentence in said):
            more = 5 if seeds < 5 else _FEW
            said.append(f"Try --seeds {more} (in Python seeds=range({more})).")
        if any(row["difference"] for row in rows):
            blocks = max(int((r.counts.sum(axis=1) > 0).sum()) for r in self.results)
            drawn = f"{seeds} seeds and " if seeds > 1 else ""
            alone = "" if drawn else " With one seed they say nothing of other trainings."
            said.append(
                f"Differences are to the full layer; their 95 % intervals are paired over {drawn}{blocks} blocks of"
                f" test sequences, and each holds for itself: of twenty, one misses by chance.{alone}"
            )
        return [*said, *self.notes]

    # -- as text ------------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        told = self.to_dict()
        cells = _cells(told)
        widths = [max(len(row[i]) for _, row in cells) for i in range(len(cells[0][1]))]
        lines = [_headline(told), *_fixed_lines(told["fixed"]), ""]
        for group, row in cells:
            if group:
                lines.append(group)
            name, *others = (
                c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
            )
            lines.append("   ".join([f"  {name}", *others]).rstrip())
        paragraphs = [fill(sentence, WIDTH) for sentence in told["sentences"]]
        return "\n".join([*lines, *(["", *paragraphs] if paragraphs else [])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        told = self.to_dict()
        (_, head), *body = _cells(told)
        parts = [f"<thead><tr>{''.join(f'<th>{escape(c)}</th>' for c in head)}</tr></thead><tbody>"]
        for group, row in body:
            if group:
                parts.append(f'<tr><th colspan="{len(row)}" class="g">{escape(group)}</th></tr>')
            parts.append(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>")
        sentences = "".join(f"<p>{escape(s)}</p>" for s in told["sentences"])
        fixed = "<br>".join(escape(line) for line in [_headline(told), *_fixed_lines(told["fixed"])])
        style = f"<style>{_STYLE}</style>"
        table = f"<table>{''.join(parts)}</tbody></table>"
        return f'<div class="inputlayer-comparison">{style}<p>{fixed}</p>{table}{sentences}</div>'

    def plot(self) -> str:
        """The differences to the full layer with their intervals, as SVG.

        Raises
        ------
        MissingExtraError
            Without the package matplotlib, which the extra ``report`` installs.
        """
        return plot(self.to_dict())


def plot(told: Mapping[str, Any]) -> str:
    """`Comparison.plot`, from what `Comparison.to_dict` gave.

    Raises
    ------
    MissingExtraError
        Without the package matplotlib, which the extra ``report`` installs.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "report", "A plot") from None
    rows = [row for row in told["rows"] if row["difference"]]
    # No text is read as a formula, and the same numbers give the same bytes.
    with rc_context({"text.parse_math": False, "svg.hashsalt": "inputlayer", "svg.fonttype": "none"}):
        figure = Figure(figsize=(8, 1.1 + 0.3 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for y, row in enumerate(rows):
            found, colour = row["difference"], _COLOURS[row["group"]]
            if found["low"] is not None:
                axes.plot([found["low"], found["high"]], [y, y], color=colour, linewidth=2)
            axes.plot([found["mean"]], [y], "o", color=colour)
        axes.axvline(0, color="black", linewidth=1)
        axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_xlabel(f"difference in {told['metric']} to the {FULL}, with its 95 % interval ({told['unit']})")
        out = StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


# -- what is told ------------------------------------------------------------------------------------------------------


def _headline(told: Mapping[str, Any]) -> str:
    seeds = ", ".join(map(str, told["seeds"]))
    return f"{told['metric']} ({told['unit']}; {told['better']} is better), mean ± spread over seeds {seeds}"


def _fixed_lines(fixed: Mapping[str, Any]) -> list[str]:
    """What is the same for all rows, in lines that fit."""
    if not fixed:
        return []
    text = "The same for all: " + " · ".join(f"{name} {_value(value)}" for name, value in fixed.items())
    return fill(text, WIDTH, break_long_words=False).splitlines()


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _cells(told: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Rows of cells, the head first, each with the heading that stands above it, if any."""
    cells = [("", ["", told["metric"], "difference", "95 % interval", "seconds", "weights", "bytes fitted"])]
    places, before = _places(told["rows"]), "full"
    for row in told["rows"]:
        heading = GROUPS[row["group"]] if row["group"] != before else ""
        before = row["group"]
        spread = "" if row["spread"] is None else f" ± {row['spread']:.{places}f}"
        found = row["difference"] or {"mean": None, "low": None}
        ends = "" if found["low"] is None else f"{found['low']:+.{places}f} to {found['high']:+.{places}f}"
        gap = "" if found["mean"] is None else f"{found['mean']:+.{places}f}"
        sizes = ["" if row[n] is None else f"{row[n]:,}" for n in ("parameters", "bytes")]
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f}"
        cells.append((heading, [row["name"], f"{row['mean']:.{places}f}{spread}", gap, ends, seconds, *sizes]))
    return cells


def _places(rows: Sequence[Mapping[str, Any]]) -> int:
    """Decimals that show four digits of the smallest score, at most six."""
    least = min((abs(row["mean"]) for row in rows if row["mean"]), default=1.0)
    return int(min(max(3 - math.floor(math.log10(least)), 0), 6))


def _against_baselines(rows: Sequence[Mapping[str, Any]], measure: Measure, seeds: int) -> list[str]:
    full = next((row for row in rows if row["group"] == "full"), None)
    baselines = [row for row in rows if row["group"] == "baseline" and row["difference"]]
    if full is None or not baselines:
        return []
    best = (max if measure.higher else min)(baselines, key=lambda row: row["mean"])
    # Of a score that is almost nothing beside the other, digits say nothing.
    found, places = best["difference"], _places([max(full, best, key=lambda row: abs(row["mean"]))])
    verdicts = {"worse": "beats", "better": "loses to", "": "cannot be told from"}
    verdict = f"The full layer {verdicts[_side(found, measure)]} the best baseline, {best['name']}"
    if found["too_few"]:
        verdict = f"{_want(found, seeds)} to tell the full layer from the best baseline, {best['name']}"
    ends = (
        ""
        if found["low"] is None
        else f", 95 % interval {0 - found['high']:+.{places}f} to {0 - found['low']:+.{places}f}"
    )
    return [
        f"{verdict}: {full['mean']:.{places}f} against {best['mean']:.{places}f}, a difference of"
        f" {0 - found['mean']:+.{places}f}{ends}."
    ]


def _parts(rows: Sequence[Mapping[str, Any]], measure: Measure, seeds: int) -> list[str]:
    """Which parts of the full layer pay, which harm, and of which it cannot be said."""
    texts = {"worse": "It is worse {}.", "better": "It is better {}.", "": "It cannot be told from the full layer {}."}
    said: dict[str, list[str]] = {text: [] for text in texts.values()}
    for row in rows:
        if row["group"] in ("stage", "column") and row["difference"]:
            found = row["difference"]
            text = f"{_want(found, seeds)} to tell whether it is worse or better {{}}." if found["too_few"] else ""
            said.setdefault(text or texts[_side(found, measure)], []).append(row["name"])
    return [text.format("; ".join(names)) for text, names in said.items() if names]


def _want(found: Mapping[str, Any], seeds: int) -> str:
    return f"{seeds} seeds are too few" if found["too_few"] == "seeds" else "The test part is too small"


def _side(found: Mapping[str, Any], measure: Measure) -> str:
    """Whether a row is "worse" or "better" than the full layer beyond doubt."""
    low, high = found["low"], found["high"]
    if low is None or high is None or low <= 0 <= high:
        return ""
    return "worse" if (low > 0) != measure.higher else "better"


_STYLE = (
    ".inputlayer-comparison{font:13px/1.5 system-ui,sans-serif;max-width:72em}"
    ".inputlayer-comparison table{border-collapse:collapse;margin:.6em 0;font-variant-numeric:tabular-nums}"
    ".inputlayer-comparison th,.inputlayer-comparison td{padding:.15em .8em .15em 0;text-align:right}"
    ".inputlayer-comparison td{white-space:nowrap}"
    ".inputlayer-comparison tr>:first-child{text-align:left}"
    ".inputlayer-comparison thead th{border-bottom:1px solid currentColor}"
    ".inputlayer-comparison .g{padding-top:.7em;font-weight:normal;opacity:.7}"
)
