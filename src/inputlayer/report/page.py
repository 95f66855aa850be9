"""The numbers of a report as one HTML page, which needs nothing else: no script, no file beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inputlayer.errors import MissingExtraError
from inputlayer.evaluation import Scores
from inputlayer.report import inputs, results
from inputlayer.report.markup import safe
from inputlayer.report.plots import Plots
from inputlayer.report.style import STYLE


@dataclass(frozen=True)
class Report:
    """A model and a table, told in one page. Its numbers are in `to_dict`; the page shows the same.

    numbers  of `summarise`, of `compare` under ``"comparison"``, or of both
    scores   as `Model.evaluate` gives them; None without a target

    >>> Report({"comparison": None}).to_dict()
    {'comparison': None}
    """

    numbers: Mapping[str, Any]
    scores: Scores | None = None

    def to_dict(self) -> dict[str, Any]:
        """All numbers as JSON values, without NaN: what is not known is None."""
        return deepcopy(dict(self.numbers))

    def to_html(self) -> str:
        """One HTML document that needs nothing else; the same numbers give the same bytes.

        Raises
        ------
        MissingExtraError
            Without matplotlib, which the extra ``report`` installs.
        """
        return page(self.numbers)

    def save(self, path: str | Path) -> None:
        """Write the page: the old file or the new one is there, never a half.

        Raises
        ------
        MissingExtraError
            Without matplotlib, which the extra ``report`` installs.
        """
        path, text = Path(path), self.to_html()
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)

    def leave(self, folder: Path, say: Callable[[str], None]) -> None:
        """Write ``report.html`` into a run's folder; where matplotlib is missing, say what would have given it."""
        try:
            self.save(folder / FILE)
        except MissingExtraError as error:
            say(f"No {FILE}: {error}")


FILE = "report.html"


def page(told: Mapping[str, Any]) -> str:
    """The page of `Report.numbers`. All text in it is escaped.

    Raises
    ------
    MissingExtraError
        Without matplotlib, which the extra ``report`` installs.
    """
    plots = Plots()
    given = {title: body for title, body in _sections(told, plots).items() if body}
    links = " · ".join(f'<a href="#part{i}">{title}</a>' for i, title in enumerate(given))
    parts = [f'<section id="part{i}"><h2>{t}</h2>{body}</section>' for i, (t, body) in enumerate(given.items())]
    title = safe(_title(told))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n"
        f"<body><header><h1>{title}</h1><nav>{links}</nav></header>\n<main>{''.join(parts)}</main></body></html>\n"
    )


def _sections(told: Mapping[str, Any], plots: Plots) -> dict[str, str]:
    """What the page is made of, in its order, which is that of the data after the scores."""
    made: dict[str, str] = {}
    modelled = "shown" in told
    if modelled:
        made["How well it does"] = results.scores(told)
    if told.get("comparison") is not None:
        made["What the input layer buys"] = results.comparison(told["comparison"], plots)
    if not modelled:
        return made
    made["The raw data"] = inputs.data(told)
    made["What each stage makes of it"] = inputs.stages(told)
    made["What the body sees"] = inputs.seen(told, plots)
    if told["history"] is not None and told["history"]["epochs"]:
        made["The learning curve"] = results.learning(told["history"], plots)
    found = told["outcome"]
    if found is not None:
        draw = results.classes if found["kind"] == "classes" else results.numbers
        made["Prediction against truth"] = draw(found, told["scores"], plots)
    made["The receipt"] = inputs.receipt(told)
    return made


def _title(told: Mapping[str, Any]) -> str:
    if "title" not in told:
        return "Input layers compared"
    names, ahead = told["title"]["targets"], told["title"]["horizon"]
    text = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return text + (f", {ahead} {'step' if ahead == 1 else 'steps'} ahead" if ahead else "")
