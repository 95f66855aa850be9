"""The second half of a page: scores, the comparison, the learning curve, forecasts and classes against the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inputlayer.evaluation import blind_lines, lacking_text
from inputlayer.plain import class_name
from inputlayer.report.markup import figure, more, paragraph, safe, table
from inputlayer.report.plots import KEY, Plots
from inputlayer.scores import score_text
from inputlayer.shown import html_lines
from inputlayer.wording import Cells, number, percent

_CLASSES = 16  # of a confusion matrix that is drawn
_DRAWN = 3  # targets
_MEASURES = (
    "rmse", "mae", "mse_standardised", "mae_standardised", "pinball", "coverage", "accuracy", "f1", "log_loss",
)  # fmt: skip
_SEQUENCES = {
    "worst": "The worst sequences, no two of which share a row of their targets",
    "typical": "Typical sequences, whose error is nearest to the median",
}


# -- scores and the comparison ----------------------------------------------------------------------------------------


def scores(told: Mapping[str, Any]) -> str:
    """The model beside the baselines, and who wins."""
    found = told["scores"]
    if found is None:
        return paragraph("The table does not have the target, so there is nothing to score.")
    names = [m for m in _MEASURES if m in found]
    if not names:
        return paragraph("There is no true value to score against.")
    if len(found.get("by_target", ())) > 1:  # several targets have units of their own, which no mean joins
        names = [n for n in names if n not in ("rmse", "mae")]
    rows = sorted(found["baselines"].items(), key=lambda b: b[1][names[0]], reverse="accuracy" in found)
    cells = [["", *(n.replace("_", " ") for n in names)]]
    cells += [[name, *(_four(s.get(n)) for n in names)] for name, s in [("model", found), *rows]]
    skipped = "".join(f", {n:,} skipped ({reason})" for reason, n in found["skipped"].items())
    lacking = found["baselines_left_out"]
    again = [r["what"] for r in told["receipts"] if r["shown"]]
    careful = f" CAREFUL: some of them are what this model was {' and '.join(again)}." if again else ""
    lead = [found["verdict"], *blind_lines(found["baselines_blind_to"])] if "verdict" in found else []
    return (
        paragraph(" ".join(lead), "lead")
        + table(cells, 1)
        + paragraph(f"Sequences: {found['sequences']:,}{skipped}.{careful}")
        + (paragraph(f"Baselines: {lacking_text(lacking)}.") if lacking else "")
        + _by_target(found)
    )


def _by_target(found: Mapping[str, Any]) -> str:
    targets = found.get("by_target", {})
    if len(targets) < 2:
        return ""
    names = [m for m in _MEASURES if m in next(iter(targets.values()))]
    cells = [["target", *(n.replace("_", " ") for n in names)]]
    return more("By target", table(cells + [[t, *(_four(s[n]) for n in names)] for t, s in targets.items()], 1))


def comparison(told: Mapping[str, Any], plots: Plots) -> str:
    """What `compare` found: the same body behind different input layers."""
    head = ["", "change", told["metric"], "spread", "difference", "95 % interval", "seconds", "weights", "bytes"]
    cells: Cells = [head]
    for row in told["rows"]:
        found = row["difference"] or {}
        low, high = (found.get(end) for end in ("low", "high"))
        difference = "" if found.get("mean") is None else f"{found['mean']:+.3g}"
        interval = "" if low is None or high is None else f"{low:+.3g} to {high:+.3g}"
        sizes = ["" if row[n] is None else f"{row[n]:,}" for n in ("parameters", "bytes")]
        seconds = "" if row["seconds"] is None else f"{row['seconds']:,.1f}"
        cells.append(
            [
                row["name"],
                row["change"] or "",
                _four(row["mean"]),
                _four(row["spread"]),
                difference,
                interval,
                seconds,
                *sizes,
            ]
        )
    fixed = told["fixed"]
    same = [(str(k), str(v)) for k, v in fixed.items()] if isinstance(fixed, Mapping) else [("fixed", str(fixed))]
    seeds = ", ".join(map(str, told["seeds"]))
    alt = f"{told['metric']} of each row of the table below"
    return (
        "".join(paragraph(s, "lead") for s in told["sentences"])
        + figure(plots.comparison(told), alt, "Dots are means, strokes the seeds. The dotted line is the full layer's.")
        + table(cells, 2)
        + paragraph("Differences are to the full layer. The same for all that have a network:")
        + html_lines([*same, ("seeds", seeds)])
    )


# -- learning ---------------------------------------------------------------------------------------------------------


def learning(history: Mapping[str, Any], plots: Plots) -> str:
    """The loss of each epoch."""
    best = history["best_epoch"]
    valid = history["valid_loss"]
    text = f"{history['epochs']:,} epochs" + (", interrupted." if history["interrupted"] else ".")
    if best is not None:
        loss = history["train_loss"][best] if valid[best] is None else valid[best]
        text += f" The weights of epoch {best} were kept: loss {number(loss)}."
    rows = zip(history["train_loss"], valid, history["lr"], strict=True)
    cells = [["epoch", "training loss", "validation loss", "learning rate"]]
    cells += [[str(i), _four(t), _four(v), _four(lr)] for i, (t, v, lr) in enumerate(rows)]
    return figure(plots.learning(history), f"loss by epoch. {text}", text) + more("The numbers", table(cells, 1))


# -- forecasts against the truth ---------------------------------------------------------------------------------------


def numbers(found: Mapping[str, Any], measured: Mapping[str, Any], plots: Plots) -> str:
    """Errors by step, all errors, the worst and the typical sequences."""
    parts = []
    for target, points in list((found["points"] or {}).items())[:_DRAWN]:
        if points:
            text = f"{target}: {len(points):,} predictions against the truth"
            parts.append(figure(plots.scatter(points, target), text, text))
    for target, told in list(found["errors"].items())[:_DRAWN]:
        if told is not None:
            text = f"{target}: {told['count']:,} errors, {number(told['min'])} to {number(told['max'])}"
            parts.append(figure(plots.histogram(told, f"prediction less truth, {target}"), f"histogram. {text}", text))
    body = _by_step(measured, plots) + f'<div class="plots">{"".join(parts)}</div>'
    for what, title in _SEQUENCES.items():
        chosen = [s for s in found["sequences"] if s["what"] == what]
        if chosen:
            body += f"<h3>{title}</h3>" + _sequences(chosen, found["baseline"], plots)
    return body


def _by_step(found: Mapping[str, Any], plots: Plots) -> str:
    steps = found.get("by_step") or []
    if len(steps) < 2:
        return ""
    beside = {n: b["by_step"] for n, b in found["baselines"].items()}
    cells = [["step", "model", *beside]]
    for i in range(len(steps)):
        cells.append([str(i + 1), *(_four(e[i] if i < len(e) else None) for e in (steps, *beside.values()))])
    known = [s for s in steps if s is not None]
    ends = f", the model's from {number(known[0])} at first to {number(known[-1])} at last" if known else ""
    text = f"RMSE by step{ends}."
    return figure(plots.by_step(steps, beside), text, text) + more("The numbers", table(cells, 1))


def _sequences(chosen: Sequence[Mapping[str, Any]], baseline: str | None, plots: Plots) -> str:
    if all(s["steps"] == 1 and not s["past"] for s in chosen):
        names = dict.fromkeys(n for s in chosen for n in s["label"])
        cells = [[*names, "target", "truth", "model", "error in training spreads"]]
        for s in chosen:
            label = [s["label"].get(n, "") for n in names]
            cells.append([*label, s["target"], _six(s["true"][0]), _six(s["predicted"][0]), number(s["error"])])
        return table(cells, len(names) + 1)
    drawn = "".join(f"<div>{_sequence(s, plots)}</div>" for s in chosen)
    key = KEY if baseline is not None else {c: t for c, t in KEY.items() if c != "orange"}
    named = {"orange": f"best baseline, {baseline}"}
    marks = "".join(f'<span><i class="{c}"></i>{safe(named.get(c, t))}</span>' for c, t in key.items())
    return f'<p class="key">{marks}</p><div class="plots">{drawn}</div>'


def _sequence(told: Mapping[str, Any], plots: Plots) -> str:
    where = ", ".join(f"{k} {v}" for k, v in told["label"].items())
    text = f"{told['target']}, {where}: rms error {number(told['error'])} training spreads"
    columns = {n: told[key] for n, key in _COLUMNS.items() if told[key] is not None}
    cells = [["step", *columns]]
    cells += [[str(i + 1), *(_six(v) for v in row)] for i, row in enumerate(zip(*columns.values(), strict=True))]
    return figure(plots.forecast(told), f"truth and forecast. {text}", text) + more("The numbers", table(cells, 1))


_COLUMNS = {
    "truth": "true",
    "model": "predicted",
    "lowest quantile": "low",
    "highest quantile": "high",
    "best baseline": "baseline",
}


# -- classes ----------------------------------------------------------------------------------------------------------


def classes(found: Mapping[str, Any], measured: Mapping[str, Any], plots: Plots) -> str:
    """The confusion matrix, how sure it is, the most confident mistakes."""
    body = _confusion(measured["confusion"]) if "confusion" in measured else ""
    if found["sure"]:
        text = "How often it is right, by how sure it is. On the line: as often as it says."
        cells = [["probability", "predictions", "right"]]
        cells += [[f"{b['low']:.1f} to {b['high']:.1f}", f"{b['count']:,}", percent(b["right"])] for b in found["sure"]]
        body += f'<div class="plots">{figure(plots.sure(found["sure"]), text, text)}{table(cells, 1)}</div>'
    if not found["mistakes"]:
        return body + paragraph("There is no mistake.")
    names = dict.fromkeys(n for m in found["mistakes"] for n in m["label"])
    cells = [[*names, "predicted", "sure", "true class", "its probability", "the row"]]
    for m in found["mistakes"]:
        label = [m["label"].get(n, "") for n in names]
        row = [] if m["step"] is None else [f"step {m['step'] + 1}"]
        row += [f"{n}: {v}" for n, v in m["cells"].items()]
        true = "not in training" if m["true"] is None else m["true"]
        sure = percent(m["sure"]), percent(m["probability"])
        cells.append([*label, m["predicted"], sure[0], true, sure[1], " · ".join(row)])
    return body + "<h3>The most confident mistakes</h3>" + table(cells, 0)


def _confusion(told: Mapping[str, Any]) -> str:
    """Rows are true classes, columns predicted ones; of many classes the pairs that are confused most."""
    labels, counts = [class_name(c) for c in told["labels"]], told["counts"]
    if len(labels) > _CLASSES:
        wrong = [(n, labels[i], labels[j]) for i, row in enumerate(counts) for j, n in enumerate(row) if n and i != j]
        wrong.sort(key=lambda w: -w[0])
        cells = [["true class", "predicted", "times"], *([a, b, f"{n:,}"] for n, a, b in wrong[:20])]
        return "<h3>The classes that are confused most</h3>" + table(cells, 2)
    head = "".join(f"<th>{safe(c)}</th>" for c in labels)
    rows = ""
    for label, row in zip(labels, counts, strict=True):
        shares = [100 * n / max(sum(row), 1) for n in row]
        shaded = (f'<td style="--share:{s:.0f}%">{n:,}</td>' for n, s in zip(row, shares, strict=True))
        rows += f"<tr><th>{safe(label)}</th>{''.join(shaded)}</tr>"
    caption = "<caption>Rows are true classes, columns predicted ones.</caption>"
    whole = f"{caption}<thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody>"
    return f'<div class="wide"><table class="confusion">{whole}</table></div>'


def _four(value: float | None) -> str:
    return "" if value is None else score_text(value)


def _six(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
