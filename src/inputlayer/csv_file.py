"""Predictions as a CSV file has them: times as ISO 8601, numbers as exact as the network, texts made harmless."""

from __future__ import annotations

import math
import re

import polars as pl

from inputlayer.columns.number import NumberState
from inputlayer.heads import Classes, Regression
from inputlayer.network import Network
from inputlayer.plain import share_name
from inputlayer.prediction import quantile_name

_FORMULA = r"^[=+\-@\t\r\n\x00]"
_DIGITS = 7  # of a float32, in which the network answers
_FRACTIONS = ((1_000_000_000, ""), (1_000_000, "%.3f"), (1_000, "%.6f"), (1, "%.9f"))  # nanoseconds, a format
_NANOSECONDS = {"ms": 1_000_000, "us": 1_000, "ns": 1}


def for_csv(predictions: pl.DataFrame, network: Network) -> pl.DataFrame:
    """What `predict` gave, to be written as CSV.

    Times have no fraction where none of the column has one. Predicted numbers have seven significant digits, and so
    many more that a millionth of their target's training spread can be told: no more is known, for the network answers
    in float32 and in units of that spread. What else there is, such as the keys of series, is as it was.
    """
    numbers = [_rounded(predictions[name], unit) for name, unit in _units(network).items()]
    times = [_iso(column) for column in predictions.get_columns() if isinstance(column.dtype, pl.Datetime)]
    return harmless(predictions.with_columns(*numbers, *times))


def harmless(frame: pl.DataFrame) -> pl.DataFrame:
    """Texts that a spreadsheet would run (OWASP, CSV injection) get a ``'`` in front; numbers stay as they are.

    Names of columns are texts, too.

    >>> harmless(pl.DataFrame({"site": ["=1+1", "north"], "load": [-1.0, 2.0]})).rows()
    [("'=1+1", -1.0), ('north', 2.0)]
    """
    texts = [n for n, t in frame.schema.items() if t == pl.String or isinstance(t, pl.Categorical | pl.Enum)]
    safe = frame.with_columns(pl.col(n).cast(pl.String).str.replace(_FORMULA, "'${0}") for n in texts)
    return safe.rename({n: f"'{n}" for n in safe.columns if re.match(_FORMULA, n)})


def _units(network: Network) -> dict[str, float]:
    """Each column of predicted numbers, and its unit: the training spread of its target; 1 for probabilities."""
    head, fitted = network.head, network.layer.learnt
    if isinstance(head, Classes):
        return {share_name(label): 1.0 for label in head.labels}
    assert isinstance(head, Regression)
    units: dict[str, float] = {}
    for target in fitted.schema.targets:
        state = fitted.states[target]
        assert isinstance(state, NumberState)
        names = [target, *(quantile_name(target, q) for q in head.quantiles or ())]
        units |= dict.fromkeys(names, state.spread)
    return units


def _rounded(numbers: pl.Series, unit: float) -> pl.Series:
    """A column to the digits that it needs.

    >>> _rounded(pl.Series([1 / 3, 200 / 3]), unit=50.0).to_list()
    [0.33333333, 66.666667]
    >>> _rounded(pl.Series([101325 + 1 / 3]), unit=10.0).to_list()
    [101325.333333]
    """
    furthest = float(numbers.abs().max() or 0)  # type: ignore[arg-type]  # a maximum of numbers is a number
    further = min(max(1.0, furthest / unit), 1e10)
    return numbers.round_sig_figs(_DIGITS + math.ceil(math.log10(further)))


def _iso(times: pl.Series) -> pl.Series:
    """Times as text, with as many decimals of a second as the column needs.

    >>> times = pl.Series(["2024-01-31T10:00:00", "2024-01-31T10:00:30"]).str.to_datetime(time_unit="us")
    >>> _iso(times).to_list()
    ['2024-01-31T10:00:00', '2024-01-31T10:00:30']
    >>> _iso(times.dt.offset_by("500ms").dt.replace_time_zone("Europe/Berlin"))[0]
    '2024-01-31T10:00:00.500+01:00'
    """
    assert isinstance(times.dtype, pl.Datetime)
    scale, physical = _NANOSECONDS[times.dtype.time_unit], times.to_physical()
    fraction = next(form for each, form in _FRACTIONS if each <= scale or (physical % (each // scale) == 0).all())
    return times.dt.strftime(f"%Y-%m-%dT%H:%M:%S{fraction}{'%:z' if times.dtype.time_zone else ''}")
