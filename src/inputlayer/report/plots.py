"""The plots of a report, each as SVG that stands in the page: its colours and its type are the page's."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from inputlayer.errors import MissingExtraError
from inputlayer.wording import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that stand for one of the page's own, which differ by day and by night.
INK, SOFT, BLUE, ORANGE, GREY = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05"
_OF_THE_PAGE = {
    INK: "currentColor",
    SOFT: "var(--soft)",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
    GREY: "var(--grey)",
}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: small, and found by a search
    "text.parse_math": False,  # a column may be called "$"
    "font.sans-serif": ["DejaVu Sans"],  # it comes with matplotlib, so that a label takes the same room everywhere
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": SOFT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "image.interpolation": "nearest",
}
KEY = {
    "grey": "what came before",
    "ink": "truth",
    "blue": "model",
    "orange": "best baseline",
}
"""What the lines of `Plots.forecast` are, by colour."""
_LABEL = 34  # characters beside a plot
_NAMED_ROWS = 40  # features that are named beside a picture


class Plots:
    """Draws; the same numbers give the same text.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """

    def __init__(self) -> None:
        try:
            import matplotlib.figure  # noqa: F401
        except ImportError:
            raise MissingExtraError("matplotlib", "report", "A report") from None
        self._drawn = 0

    @contextmanager
    def _axes(
        self, wide: float, high: float, left: float = 0.6, right: float = 0.12
    ) -> Iterator[tuple[Axes, list[str]]]:
        """Axes to draw in, in inches; afterwards the list holds the SVG."""
        import matplotlib
        from matplotlib.figure import Figure

        self._drawn += 1
        done: list[str] = []
        with matplotlib.rc_context(), warnings.catch_warnings():
            matplotlib.rcdefaults()  # whatever the user's own file says
            # A salt for each, because the plots of a page share its names.
            settings: Any = matplotlib.rcParams
            settings.update(_STYLE | {"svg.hashsalt": f"inputlayer {self._drawn}"})
            # The reader's machine draws the letters, and may have those that this one lacks.
            warnings.filterwarnings("ignore", message=r"Glyph \d+")
            figure = Figure(figsize=(wide, high))
            box = (left / wide, 0.42 / high, 1 - (left + right) / wide, 1 - 0.52 / high)
            yield figure.add_axes(box), done
            done.append(_svg(figure))

    def learning(self, history: Mapping[str, Any]) -> str:
        """The loss of each epoch."""
        with self._axes(5.4, 2.6) as (axes, done):
            _line(axes, history["train_loss"], BLUE, "training")
            if any(v is not None for v in history["valid_loss"]):
                _line(axes, history["valid_loss"], ORANGE, "validation")
            if history["best_epoch"] is not None:
                axes.axvline(history["best_epoch"], color=GREY, linewidth=1, linestyle=":", label="kept")
            axes.locator_params(axis="x", integer=True)
            axes.set_xlabel("epoch")
            axes.legend(loc="upper right")
        return done[0]

    def forecast(self, told: Mapping[str, Any]) -> str:
        """One sequence: its past, the truth, the forecast, the best baseline's; see `KEY`."""
        past, true = _numbers(told["past"]), _numbers(told["true"])
        ahead = np.arange(len(true)) + (1 if len(past) else 0)
        marker = "o" if len(true) == 1 else None
        with self._axes(4.4, 2.4) as (axes, done):
            if len(past):
                axes.plot(np.arange(-len(past) + 1, 1), past, color=GREY, linewidth=1.2)
                axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
            if told["low"] is not None:
                low, high = _numbers(told["low"]), _numbers(told["high"])
                axes.fill_between(ahead, low, high, color=BLUE, alpha=0.2, linewidth=0)
            axes.plot(ahead, true, color=INK, marker=marker, markersize=4)
            if told["baseline"] is not None:
                beside = _numbers(told["baseline"])
                axes.plot(ahead, beside, color=ORANGE, linewidth=1, linestyle="--", marker=marker)
            axes.plot(ahead, _numbers(told["predicted"]), color=BLUE, marker=marker, markersize=4)
            axes.set_xlabel("step")
        return done[0]

    def by_step(self, model: Sequence[float | None], baselines: Mapping[str, Sequence[float | None]]) -> str:
        """The error of each step of the horizon, of the model and of the baselines."""
        with self._axes(5.4, 2.8) as (axes, done):
            steps = np.arange(1, len(model) + 1)
            styles = ["--", ":", "-.", (0, (6, 2)), (0, (1, 3)), (0, (3, 1, 1, 1))]
            for i, (name, errors) in enumerate(baselines.items()):
                axes.plot(steps, _numbers(errors), color=GREY, linewidth=1.2, linestyle=styles[i % 6], label=name)
            axes.plot(steps, _numbers(model), color=BLUE, linewidth=2.2, label="model")
            axes.locator_params(axis="x", integer=True)
            axes.set_xlabel("step of the horizon")
            axes.legend(loc="lower right", ncols=2)
        return done[0]

    def histogram(self, told: Mapping[str, Any], label: str) -> str:
        """The counts of `Histogram.to_dict`."""
        with self._axes(4.4, 2.2) as (axes, done):
            axes.stairs(told["counts"], edges(told), color=BLUE, fill=True)
            if told["low"] < 0 < told["low"] + told["width"] * len(told["counts"]):
                axes.axvline(0, color=INK, linewidth=0.8)
            axes.set_xlabel(_cut(label))
        return done[0]

    def scatter(self, points: Sequence[Sequence[float]], target: str) -> str:
        """Predictions against the truth."""
        found = np.array(points, dtype=np.float64)
        low, high = found.min(), found.max()
        with self._axes(3.8, 3.4) as (axes, done):
            axes.plot([low, high], [low, high], color=GREY, linewidth=0.8)
            axes.plot(found[:, 0], found[:, 1], color=BLUE, marker=".", markersize=4, linewidth=0, alpha=0.6)
            axes.set_xlabel(f"{_cut(target)}, truth")
            axes.set_ylabel("prediction")
        return done[0]

    def sure(self, bins: Sequence[Mapping[str, Any]]) -> str:
        """How often predictions are right, by how sure they are."""
        with self._axes(3.8, 2.8) as (axes, done):
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
            axes.plot([b["sure"] for b in bins], [b["right"] for b in bins], color=BLUE, marker="o", markersize=4)
            axes.set_xlabel("probability of the predicted class")
            axes.set_ylabel("share that is right")
            axes.set(xlim=(0, 1.02), ylim=(0, 1.05))
        return done[0]

    def picture(self, told: Mapping[str, Any]) -> str:
        """What the body sees of one sequence: a row per feature, a column per step."""
        x = np.array([_numbers(row) for row in told["x"]]).T
        rows = len(x)
        bound = float(np.nanquantile(np.abs(x), 0.99)) if np.isfinite(x).any() else 0.0
        named = rows <= _NAMED_ROWS
        with self._axes(6.4, max(1.4, min(4.6, 0.17 * rows + 0.6)), left=2.0 if named else 0.6, right=0.5) as (
            axes,
            done,
        ):
            first = told["steps"] - x.shape[1] + 0.5
            shown = axes.imshow(
                x, aspect="auto", cmap="RdBu_r", vmin=-bound or -1, vmax=bound or 1,
                extent=(first, told["steps"] + 0.5, rows - 0.5, -0.5),
            )  # fmt: skip
            axes.grid(visible=False)
            axes.figure.colorbar(shown, ax=axes, pad=0.02, aspect=12, fraction=0.06)
            if named:
                axes.set_yticks(range(rows), [_cut(n) for n in told["features"]])
            axes.set_xlabel("step")
        return done[0]

    def comparison(self, told: Mapping[str, Any]) -> str:
        """The score of each input layer, with that of each seed."""
        rows = [r for r in told["rows"] if r["mean"] is not None]
        colours = {"full": BLUE, "baseline": GREY, "other": ORANGE}
        with self._axes(6.4, 0.24 * len(rows) + 0.7, left=2.5) as (axes, done):
            for place, row in enumerate(rows):
                colour = colours.get(row["group"], INK)
                seeds = [v for v in row["by_seed"] or () if v is not None]
                axes.plot(seeds, [place] * len(seeds), color=colour, marker="|", markersize=7, linewidth=0)
                axes.plot([row["mean"]], [place], color=colour, marker="o", markersize=5, linewidth=0)
                if row["group"] == "full":
                    axes.axvline(row["mean"], color=BLUE, linewidth=0.8, linestyle=":")
            axes.set_yticks(range(len(rows)), [_cut(r["name"]) for r in rows])
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.set_xlabel(_cut(" · ".join(filter(None, [told["metric"], told["unit"]]))))
        return done[0]


def edges(told: Mapping[str, Any]) -> list[float]:
    """Where the cells of a histogram begin and end."""
    return [told["low"] + told["width"] * i for i in range(len(told["counts"]) + 1)]


def _line(axes: Axes, values: Sequence[float | None], color: str, label: str) -> None:
    marker = "o" if len(values) == 1 else None
    axes.plot(range(len(values)), _numbers(values), color=color, label=label, marker=marker)


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _cut(text: str) -> str:
    text = " ".join(printable(text).split())
    return text if len(text) <= _LABEL else text[: _LABEL - 1] + "…"


def _svg(figure: Figure) -> str:
    """The figure as one element: without names that nothing refers to, in the page's colours."""
    out = StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = out.getvalue()
    text = text[text.index("<svg") :].replace("'DejaVu Sans'", "system-ui")
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda m: m.group(0) if m.group(1) in used else "", text)
    text = re.sub(r">\s+<", "><", text)
    text = re.sub(r' d="[^"]*"', lambda m: " ".join(m.group(0).split("\n")), text)
    for stand_in, colour in _OF_THE_PAGE.items():
        text = text.replace(stand_in, colour)
    return text.replace("<svg ", '<svg aria-hidden="true" ', 1).strip()
