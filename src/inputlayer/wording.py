"""What `show` found, put into words: lines of a label and a text, and tables of cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Lines = list[tuple[str, str]]
Cells = list[list[str]]


def table_lines(told: Mapping[str, Any]) -> Lines:
    """What was shown and what was learnt from."""
    table = told["table"]
    given = [f"{_count(table['rows'], 'row')}"]
    given += [f"{_count(table['context_rows'], 'row')} of context before them"] if table["context_rows"] else []
    given += [f"axes {table['axes']!r}"] if table["axes"] else []
    given += [] if table["target_given"] else ["without the target"]
    found = [f"{_count(table['sequences'], 'sequence')} of {_from_to(*table['length'])}"]
    found += [f"{n:,} skipped ({reason})" for reason, n in table["skipped"].items()] or ["none skipped"]
    padded = f"{percent(table['padding'])} padding in batches of {table['batch']}" if table["padding"] else "no padding"
    lines = [("shown", " · ".join([*given, table["sequence"]])), ("sequences", ", ".join([*found, padded]))]
    lines.append(("learnt from", _learnt_from(told["receipt"])))
    if table["unused"]:
        lines.append(("not used", _some(table["unused"], 8)))
    return lines


def _learnt_from(receipt: Mapping[str, Any]) -> str:
    unit = receipt["unit"]
    text = _count(receipt["rows"], "row")
    if receipt["sequences"] > 1 and unit != "cells":
        text += f" in {receipt['sequences']:,} {unit}"
    if receipt["span"]:
        text += f", {receipt['span'][0]} to {receipt['span'][1]}"
    if receipt["kept"] is not None:
        text += f" ({receipt['kept']:,} of these {unit} kept to tell)"
    if receipt["seen"] is None:
        return f"{text}. Whether the shown {unit} are among them cannot be told without the target"
    if not receipt["seen"]:
        return f"{text}; none of the shown rows is among them"
    names = f" ({_some(receipt['seen_names'], 5)})" if receipt["seen_names"] else ""
    where = "reach into the time learnt from" if unit == "series" else "are among them"
    return f"{text}. CAREFUL: {receipt['seen']:,} of the {receipt['shown']:,} shown {unit} {where}{names}"


def column_cells(columns: Iterable[Mapping[str, Any]]) -> Cells:
    """The table of columns, its head first."""
    rows = [["column", "kind", "used as", "learnt from the training rows", "wire", "width", "in these rows"]]
    for c in columns:
        wire = " + ".join(_wire(w) for w in c["wires"].values())
        width = str(len(c["features"])) if c["features"] else "-"
        rows.append([c["name"], c["kind"], " ".join(c["places"]), learnt(c["learnt"]), wire, width, _state(c["shown"])])
    return rows


def _wire(wire: Mapping[str, Any]) -> str:
    sizes = ["steps"] * wire["ragged"] + [str(s) for s in wire["shape"]]
    return f"{wire['dtype']} ({', '.join(sizes)})" if sizes else str(wire["dtype"])


def folded(names: Sequence[str]) -> list[str]:
    """Names of features, those that count on and those of one wave as one.

    >>> folded(["load", "site[0]", "site[1]", "site[2]", "date hour sin", "date hour cos"])
    ['load', 'site[0…2]', 'date hour sin cos']
    """
    told: list[str] = []
    open_stem, first = "", ""
    for name in names:
        stem, _, place = name.removesuffix("]").rpartition("[")
        if stem and place.isdecimal() and name.endswith("]"):
            if stem == open_stem:
                told[-1] = f"{stem}[{first}…{place}]"
            else:
                open_stem, first = stem, place
                told.append(name)
            continue
        open_stem = ""
        wave = name.removesuffix(" cos")
        if wave != name and told and told[-1] == f"{wave} sin":
            told[-1] += " cos"
        else:
            told.append(name)
    return told


def _state(shown: Mapping[str, Any] | None) -> str:
    if shown is None:
        return "not given"
    words = {
        "missing": "missing",
        "sentinels": "sentinels among them",
        "gaps": "of the numbers missing",
        "unseen": "unseen",
        "clipped": "clipped",
    }
    shares = [f"{percent(shown[s])} {told}" for s, told in words.items() if shown.get(s)]
    return ",\n".join(shares + ["constant"] * shown["constant"]) or "all there"


def learnt(told: Mapping[str, Any]) -> str:
    """What one column learnt, in a line and in raw units.

    >>> learnt({"scale": "standard", "mean": 15.2317, "spread": 7.0965, "minimum": -1.6, "maximum": 34.4})
    'standard: mean 15.2, spread 7.1, -1.6 to 34.4'
    """
    for mark, words in _WORDS.items():
        if mark in told:
            parts = words(told)
            break
    else:
        parts = [f"{k} {_plain(v)}" for k, v in told.items() if v not in (None, False, [], 0)]
    return ", ".join(parts)


def _scaled(told: Mapping[str, Any]) -> list[str]:
    scale = "not scaled" if told["scale"] == "none" else told["scale"]
    if told.get("constant"):
        parts = [f"constant {number(told['mean'])}: divided by 1"]
    else:
        numbers = f"mean {number(told['mean'])}, spread {number(told['spread'])}"
        parts = [f"{scale}: {numbers}", f"{number(told['minimum'])} to {number(told['maximum'])}"]
    parts += [f"{', '.join(number(s) for s in told['sentinels'])} means missing"] if told.get("sentinels") else []
    parts += [f"clip ±{number(told['clip'])}"] if told.get("clip") is not None else []
    if told.get("embedding"):
        inputs = f"{told['bins']} bins" if "bins" in told else f"{told['size']} inputs"
        parts.append(f"{told['embedding']} embedding: {inputs}")
    if told.get("missing"):
        parts.append(f"{told['missing']:,} missing → {told.get('fill', 'filled')}")
        parts += ["flagged"] if told.get("flag") else []
    return parts


def _vocabulary(told: Mapping[str, Any]) -> list[str]:
    common = told["common"]
    top = [f"{_plain(value)} {count:,}" for value, count in common[:4]]
    parts = [f"{_count(told['size'], 'value')}: {', '.join(top)}{', …' * (told['size'] > 4)}"]
    parts += [f"{told['rare values']:,} rare"] if told.get("rare values") else []
    return parts + ([f"{told['missing']:,} missing"] if told.get("missing") else [])


def _times(told: Mapping[str, Any]) -> list[str]:
    first, last = (str(told[k]).removesuffix(" 00:00:00") for k in ("first", "last"))
    parts = [f"{first} to {last}", f"step {str(told['step']).removesuffix(', 0:00:00')}"]
    parts += [f"zone {told['zone']}"] if told["zone"] != "none" else []
    parts += [f"by {', '.join(told['parts'])}"] if told["parts"] else []
    parts += [f"elapsed {told['elapsed']}"] if told["elapsed"] != "not used" else []
    return parts + ([f"{told['missing']:,} missing"] if told.get("missing") else [])


def _yes_no(told: Mapping[str, Any]) -> list[str]:
    parts = [f"{told['true']:,} true, {told['false']:,} false"]
    return parts + ([f"{told['missing']:,} missing"] if told["missing"] else []) + ["constant"] * told["constant"]


def _channels(told: Mapping[str, Any]) -> list[str]:
    channels, steps = told["channels"], told["steps"]
    parts = [_from_to(*steps)] if steps else []
    if len(channels) == 1:
        return parts + _scaled(channels[0])
    ranges = [[c[k] for c in channels] for k in ("mean", "spread")]
    means, spreads = (f"{number(min(r))} to {number(max(r))}" for r in ranges)
    return [*parts, f"{len(channels)} channels, {channels[0]['scale']}: means {means}, spreads {spreads}"]


def _sounds(told: Mapping[str, Any]) -> list[str]:
    frames = f"{told['width']} {'bands' if told['features'] == 'mel' else 'coefficients'}"
    parts = [f"{_count(told['sounds'], 'sound')} at {told['rate']:,} Hz", f"{_from_to(*told['frames'])} of {frames}"]
    parts += [f"{told['resampled']:,} resampled"] if told["resampled"] else []
    return parts + ([f"{told['missing']:,} missing"] if told["missing"] else [])


def _pictures(told: Mapping[str, Any]) -> list[str]:
    height, width = told["height, width"]
    colours = "grey" if told["colours"] == 1 else f"{told['colours']} colours"
    parts = [f"{_count(told['pictures'], 'picture')} of {height} x {width}, {colours}"]
    parts += [f"{_from_to(*told['frames'])} a cell"] if told["cell"] == "frames" else []
    parts += [f"{told['resized']:,} resized"] if told["resized"] else []
    return parts + ([f"{told['missing']:,} missing"] if told["missing"] else [])


_WORDS = {
    "rate": _sounds,
    "colours": _pictures,
    "scale": _scaled,
    "common": _vocabulary,
    "step": _times,
    "true": _yes_no,
    "channels": _channels,
}
"""How to put what was learnt into words, by a key that tells it; any other kind's is told key by key."""


def road_lines(told: Mapping[str, Any]) -> Lines:
    """Which sequences were sent down the road."""
    sample = told["sample"]
    what = f"{sample['sequences']:,} of {sample['of']:,} sequences, evenly spread"
    if sample["sequences"] == sample["of"]:
        what = f"all {_count(sample['of'], 'sequence')}" if sample["of"] > 1 else "the one sequence"
    what += f", {percent(sample['padding'])} of it padding" if sample["padding"] else ""
    return [("the road", f"{what} · (batch, time, width) · real steps only")]


def road_cells(road: Iterable[Mapping[str, Any]]) -> Cells:
    """The table of tensors, its head first."""
    rows = [["stage", "part", "type", "shape", "min", "max", "mean", "spread", "missing"]]
    last = None
    for line in road:
        codes = line["what"] == "wires" and not line["dtype"].startswith("float")
        if codes:
            moments = [number(line["min"]), number(line["max"]), "codes", ""]
        else:
            size = max(abs(line["min"] or 0.0), abs(line["max"] or 0.0))
            moments = [scaled(line[k], size) for k in ("min", "max", "mean", "spread")]
        what = "" if line["what"] == last else line["what"]
        missing = "" if line["missing"] is None else percent(line["missing"])
        broken = f" {line['not_finite']:,} NOT FINITE" if line["not_finite"] else ""
        rows.append([what, line["part"], line["dtype"], shape(line["shape"]), *moments, missing + broken])
        last = line["what"]
    return rows


def end_lines(told: Mapping[str, Any]) -> Lines:
    """What each step of the body's input is made of."""
    end = told["end"]
    lines = [("each step", f"{_count(len(end['features']), 'number')}: {_some(folded(end['features']), 16)}")]
    if end["future"]:
        ahead = _some(folded(end["future"]), 16)
        lines.append(("and ahead", f"{_count(len(end['future']), 'number')} a step: {ahead}"))
    weights = "nothing: all of it is counted" if not end["weights"] else _count(end["weights"], "weight")
    return [*lines, ("trained", weights)]


def after_lines(after: Mapping[str, Any]) -> Lines:
    """Body, head, the way back, and what came out."""
    lines = []
    for part in ("body", "head"):
        if after[part] is not None:
            weights = f" · {_count(after[part]['weights'], 'weight')}" if after[part]["weights"] else ""
            lines.append((part, f"{after[part]['name']} → {shape(after[part]['shape'])}{weights}"))
    lines += [("way back" if i == 0 else "", f"{i + 1}. {text}") for i, text in enumerate(after["back"])]
    for i, told in enumerate(after["predictions"] or ()):
        lines.append(("predicted" if i == 0 else "", f"{told['target']}: {_outcome(told)}"))
    return lines


def _outcome(told: Mapping[str, Any]) -> str:
    if "classes" in told:
        won = sorted(told["classes"], key=lambda c: -float(c["won"]))
        return _some([f"{_plain(c['class'])} {percent(c['won'])}" for c in won], 8)
    low, high, mean, spread = (number(told[k]) for k in ("min", "max", "mean", "spread"))
    numbers = f"{low} to {high}, mean {mean}, spread {spread}"
    if told["learnt"]:
        numbers += " (training rows: {} to {})".format(*map(number, told["learnt"]))
    return numbers + (f", {told['not_finite']:,} NOT FINITE" if told["not_finite"] else "")


def undone(target: str, kind: str, told: Mapping[str, Any]) -> str:
    """How a target's scaled numbers become raw units again.

    >>> undone("load", "number", {"scale": "standard", "mean": 15.2317, "spread": 7.0965, "constant": False})
    'load = output * 7.1 + 15.2'
    """
    scale = told.get("scale")
    if scale in ("standard", "robust", "minmax"):
        center, divisor = {
            "standard": ("mean", told["spread"]),
            "robust": ("center", told.get("divisor")),
            "minmax": ("minimum", told.get("maximum", 0) - told.get("minimum", 0)),
        }[scale]
        shift = told[center]
        sign = "-" if shift < 0 else "+"
        return f"{target} = output * {number(divisor or 1.0)} {sign} {number(abs(shift))}"
    if scale is not None:
        return f"{target} = output" if scale == "none" else f"{target}: the {scale} scale, read backwards"
    return f"{target}: the {kind} of the largest logit; probabilities by softmax"


# -- small words -------------------------------------------------------------------------------------------------------


def number(x: float | None) -> str:
    """Three digits that count.

    >>> number(0.0), number(15.2317), number(-1.6), number(1234567.0), number(0.00012), number(None)
    ('0', '15.2', '-1.6', '1,234,567', '1.2e-04', '-')
    """
    if x is None or x == 0:
        return "-" if x is None else "0"
    x = float(x) if float(x).is_integer() and abs(x) < 1e9 else float(f"{x:.3g}")
    size = math.floor(math.log10(abs(x)))
    if not -3 <= size < 9:
        mantissa, _, power = f"{x:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{power}"
    text = f"{x:,.{max(0, 2 - size)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def scaled(x: float | None, size: float = 1.0) -> str:
    """A number of the road, where most are near 1; `size` is that of the largest of its row.

    >>> scaled(-0.0247), scaled(4.0), scaled(12345.6), scaled(-1e-9), scaled(1e-9, size=1e-8)
    ('-0.02', '4.00', '12,300', '0.00', '1e-09')
    """
    if x is not None and abs(x) < 0.005 and size >= 0.05:
        return "0.00"
    return f"{x:.2f}" if x is not None and 0.005 <= abs(x) < 1_000 else number(x)


def percent(share: float | None) -> str:
    """A share in hundredths, never 0 where there is one.

    >>> percent(0.0), percent(0.123), percent(0.00001), percent(1.0)
    ('0 %', '12 %', '< 0.1 %', '100 %')
    """
    if share is None:
        return "-"
    hundredths = 100 * share
    if 0 < hundredths < 0.1:
        return "< 0.1 %"
    return f"{hundredths:.1f} %" if 0 < hundredths < 9.95 or 99 < hundredths < 100 else f"{hundredths:.0f} %"


def shape(sizes: Sequence[int]) -> str:
    """A shape as PyTorch writes it."""
    return f"({', '.join(map(str, sizes))})"


def called(name: str, options: Mapping[str, Any]) -> str:
    """How a part is made, options that are None left out.

    >>> called("LSTM", {"units": 8, "reduce": None, "decoder": {"kind": "dense"}})
    'LSTM(units=8, decoder=dense)'
    >>> called("Ensemble", {"member": {"kind": "gru", "units": 8, "reduce": None}, "size": 5})
    'Ensemble(member=gru(units=8), size=5)'
    """
    given = {k: v for k, v in options.items() if v is not None}
    return f"{name}({', '.join(f'{k}={_option(v)}' for k, v in given.items())})"


def _option(value: Any) -> str:
    if not isinstance(value, Mapping) or "kind" not in value:
        return repr(value)
    more = {k: v for k, v in value.items() if k != "kind" and v is not None}
    return called(value["kind"], more) if more else str(value["kind"])


def _from_to(low: int, high: int) -> str:
    return _count(high, "step") if low == high else f"{low:,} to {high:,} steps"


def _count(n: int, of: str) -> str:
    return f"{n:,} {of}{'s' * (n != 1)}"


def _some(texts: Sequence[Any], shown: int) -> str:
    more = [f"… {len(texts) - shown} more"] if len(texts) > shown else []
    return ", ".join([*map(_plain, texts[:shown]), *more])


def printable(text: str) -> str:
    """`text` with a dot for each control character but the end of a line.

    >>> printable("a\\tb")
    'a·b'
    """
    return "".join(c if c.isprintable() or c == "\n" else "·" for c in text)


def _plain(value: Any) -> str:
    text = " ".join(printable(number(value) if isinstance(value, float) else str(value)).splitlines())
    return text if len(text) <= 40 else text[:39] + "…"
