"""What a model must beat: forecasts and classes that take no network, learnt from the same training rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from inputlayer import store
from inputlayer.batch import Batch
from inputlayer.encode import Encoded
from inputlayer.fit import Fitted
from inputlayer.linear import Linear, logistic, ridge, softmax
from inputlayer.past import Past, filled, last_real, one_period_before
from inputlayer.pooled import Pooled, moments, standard, target_rows
from inputlayer.scores import score_text
from inputlayer.seasons import Calendar, learn_calendar, likely_periods
from inputlayer.sequence import Groups

_SEQUENCES = 20_000  # training sequences that a linear model learns from, at most
_WORK = 3e10  # multiplications that one may take
_INPUTS = 1_500  # its inputs, at most
_WEIGHTS = 2_000_000  # its weights, which ride in the model's file, at most
_BLOCK = 65_536


@dataclass(frozen=True)
class Learnt:
    """What the baselines learnt. Targets count in units of their training spread, from their training mean.

    Parameters
    ----------
    left_out
        Baseline -> why it cannot be had.
    period
        Rows after which the series repeats; 0 if no period is used.
    levels
        (G + 1, K) the mean of each training series, and 0 for others; (0, K) if they are too many.
    means
        The mean of the target over training sequences (K,), or the shares of its classes (C,).
    inputs
        Mean and inverse spread of the pooled numbers, (2, F).
    ridge, deviations
        Linear models, one per target.
    everything, pooled
        Linear models of all targets.
    """

    left_out: dict[str, str]
    period: int = 0
    calendar: Calendar | None = None
    levels: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    means: np.ndarray = field(default_factory=lambda: np.zeros(0))
    inputs: np.ndarray = field(default_factory=lambda: np.zeros((2, 0)))
    ridge: tuple[Linear, ...] = ()
    deviations: tuple[Linear, ...] = ()
    everything: Linear | None = None
    pooled: Linear | None = None


class Baselines:
    """Fitted baselines: `fit_baselines` makes them, `restore` reads them.

    Windows that look ahead, for numbers: ``repeat last``; ``seasonal`` (the value one period before); ``calendar mean``
    (see `seasons.Calendar`); ``ridge`` on the target's own past; ``ridge on deviations`` from the calendar mean;
    ``ridge on all numbers`` of the window (up to 1,500), which knows more and learns more noise. Other numbers:
    ``mean``; ``ridge on the pooled sequence`` (see `pooled.Pooled`). Classes: ``majority``; ``logistic on the pooled
    sequence``. Where each step has its own target, and where a sequence is one step, it is ``... on the step``.
    """

    def __init__(self, fitted: Fitted, learnt: Learnt) -> None:
        schema = fitted.schema
        self.fitted, self.learnt = fitted, learnt
        self.classes = schema.columns[schema.targets[0]].kind != "number"
        self.ahead = bool(schema.horizon) and not self.classes
        self.per_step = isinstance(schema.sequence, Groups) and schema.sequence.per_step
        self.pooled = Pooled(fitted, per_step=self.per_step)
        if self.ahead:
            self.past = Past(fitted)
            self.usual = Past(fitted, learnt.levels, learnt.calendar)

    @property
    def left_out(self) -> dict[str, str]:
        """The baselines that cannot be had, and why."""
        return dict(self.learnt.left_out)

    def predict(self, encoded: Encoded, batch: Batch) -> dict[str, np.ndarray]:
        """Each baseline's prediction for `batch`: (B, n, K) in raw units, or the probabilities of classes (B, n, C)."""
        chosen = batch.index.cpu().numpy()
        if self.ahead:
            return {n: self.past.raw(y) for n, y in self._forecasts(encoded, chosen).items()}
        index = encoded.index
        if self.per_step:
            steps = int(index.length[chosen].max())
            rows = np.minimum(index.start[chosen][:, None] + np.arange(steps), encoded.rows.count - 1)
        else:
            rows = index.ahead[chosen][:, None] + np.arange(index.targets)
        constant = np.broadcast_to(self.learnt.means, (*rows.shape, len(self.learnt.means)))
        found = {"majority" if self.classes else "mean": constant if self.classes else self._raw(constant)}
        model = self.learnt.pooled
        if model is not None:
            y = model(standard(self._inputs(encoded, chosen, rows), self.learnt.inputs))
            y = y.reshape(*rows.shape, -1) if self.per_step else np.repeat(y[:, None], rows.shape[1], axis=1)
            found[self._pooled_name] = softmax(y) if self.classes else self._raw(y)
        return found

    def _forecasts(self, encoded: Encoded, chosen: np.ndarray) -> dict[str, np.ndarray]:
        learnt, past = self.learnt, self.past
        found: dict[str, np.ndarray] = {}
        if past.all_seen:
            window = past.window(encoded, chosen)
            found["repeat last"] = np.repeat(last_real(window)[:, None], past.horizon, axis=1)
            if learnt.period:
                found["seasonal"] = one_period_before(window, learnt.period, past.horizon)
        if learnt.calendar is not None:
            found["calendar mean"] = self.usual.usual(encoded, past.ahead(encoded, chosen))
        if learnt.ridge:
            found["ridge"] = _applied(learnt.ridge, past, encoded, chosen)
        if learnt.deviations:
            deviations = _applied(learnt.deviations, self.usual, encoded, chosen)
            found["ridge on deviations"] = found["calendar mean"] + deviations
        if learnt.everything is not None:
            y = learnt.everything(past.all(encoded, chosen))
            found["ridge on all numbers"] = y.reshape(len(chosen), past.horizon, -1)
        return found

    @property
    def _pooled_name(self) -> str:
        return f"{'logistic' if self.classes else 'ridge'} on the {'step' if self.pooled.single else 'pooled sequence'}"

    def _inputs(self, encoded: Encoded, chosen: np.ndarray, rows: np.ndarray) -> np.ndarray:
        index = encoded.index
        if self.per_step:
            flat = rows.reshape(-1)
            return self.pooled(encoded, flat, np.ones_like(flat), flat)
        return self.pooled(encoded, index.start[chosen], index.length[chosen], index.ahead[chosen])

    def _raw(self, scaled: np.ndarray) -> np.ndarray:
        states: list[Any] = [self.fitted.states[t] for t in self.fitted.schema.targets]
        raw: np.ndarray = scaled * np.array([s.spread for s in states]) + np.array([s.mean for s in states])
        return raw

    def beaten_by(self, score: float, scores: Mapping[str, float], measure: str | None = None) -> str:
        """A sentence: whether a model with `score` beats the best of the baselines' `scores`.

        `measure` names them: by default RMSE, of which less is better, or for classes accuracy.
        """
        if not scores:
            return "There is no baseline to compare the model with."
        name = measure or ("accuracy" if self.classes else "RMSE")
        sign = 1.0 if self.classes else -1.0
        best = max(scores, key=lambda n: sign * scores[n])
        if sign * score > sign * scores[best]:
            return f"The model beats the best baseline, {best!r} ({_both(score, scores[best])} {name})."
        return f"The model does not beat {best!r} ({_both(scores[best], score)} {name})."

    def verdict(self, scores: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]]) -> str:
        """`beaten_by`, of whole results as `scores` gives them. Several targets are compared in standardised units."""
        several = len(self.fitted.schema.targets) > 1
        measure = "accuracy" if self.classes else "mse_standardised" if several else "rmse"
        if measure not in scores:
            return "There is no true value to score against."
        beside = {n: b[measure] for n, b in baselines.items()}
        return self.beaten_by(scores[measure], beside, "MSE in standardised units" if several else None)

    def state(self) -> tuple[Any, dict[str, np.ndarray]]:
        """What was learnt, as JSON values and arrays."""
        return store.pack(self.learnt)

    @classmethod
    def restore(cls, fitted: Fitted, described: Any, arrays: Mapping[str, np.ndarray]) -> Self:
        """Undo `state`.

        Raises
        ------
        ArtefactError
            If it is damaged.
        """
        return cls(fitted, store.unpack(Learnt, described, dict(arrays)))


def fit_baselines(fitted: Fitted, encoded: Encoded) -> Baselines:
    """Learn the baselines from encoded training rows. What cannot be had is left out, with the reason in `left_out`.

    >>> from inputlayer.columns import Number
    >>> from inputlayer.encode import encode
    >>> from inputlayer.fit import fit
    >>> from inputlayer.schema import Schema
    >>> from inputlayer.sequence import Windows
    >>> from inputlayer.table import Table
    >>> table = Table.of({"day": range(60), "y": [0.0, 1.0, 2.0] * 20})
    >>> fitted = fit(Schema({"y": Number()}, Windows("day", 6, 2), "y"), table)
    >>> baselines = fit_baselines(fitted, encode(fitted, table, training=True))
    >>> baselines.learnt.period, baselines.left_out["calendar mean"]
    (3, 'the order column holds no times')
    """
    empty = Baselines(fitted, Learnt({}))
    if not len(encoded.index):
        return Baselines(fitted, Learnt({"all": "there is no training sequence"}))
    learnt = _learn_forecasts(empty, encoded) if empty.ahead else _learn_pooled(empty, encoded)
    return Baselines(fitted, learnt)


# -- forecasts ---------------------------------------------------------------------------------------------------------


def _learn_forecasts(baselines: Baselines, encoded: Encoded) -> Learnt:
    fitted, past = baselines.fitted, baselines.past
    left_out: dict[str, str] = {}
    learnt = Learnt(left_out, levels=_levels(past, encoded))
    calendar = _calendar(past, encoded, learnt.levels, left_out)
    learnt = replace(learnt, calendar=calendar, everything=_joint_ridge(past, encoded, left_out))
    if not past.all_seen:
        own = ("repeat last", "seasonal", "ridge", "ridge on deviations")
        left_out |= dict.fromkeys(own, "the target's past is no input")
        return replace(learnt, left_out=left_out)
    period = _period(past, encoded, left_out)
    plain = _own_ridge(fitted, encoded, "ridge", left_out, None, None)
    deviations: tuple[Linear, ...] = ()
    if calendar is None:
        left_out["ridge on deviations"] = "there is no calendar mean"
    else:
        deviations = _own_ridge(fitted, encoded, "ridge on deviations", left_out, learnt.levels, calendar)
    return replace(learnt, period=period, ridge=plain, deviations=deviations)


def _levels(past: Past, encoded: Encoded) -> np.ndarray:
    """The mean of each training series, (G + 1, K), the last one 0; (0, K) where they would fill the file."""
    count, width = len(past.fitted.receipt.keys), len(past.targets)
    if count * width > _WEIGHTS:
        return np.zeros((0, width))
    total, real = np.zeros((count + 1, width)), np.zeros((count + 1, width))
    for rows in _blocks(encoded.rows.count):
        y = past.scaled(encoded, rows)
        series = past.series(encoded, rows)
        for k in range(width):
            some = ~np.isnan(y[:, k])
            real[:, k] += np.bincount(series[some], minlength=count + 1)
            total[:, k] += np.bincount(series[some], weights=y[some, k], minlength=count + 1)
    return np.asarray(total / np.maximum(real, 1))


def _period(past: Past, encoded: Encoded, left_out: dict[str, str]) -> int:
    """The period within the look-back that forecasts the training windows best."""
    clock = past.fitted.clock
    if clock is not None and not clock.regular:
        left_out["seasonal"] = "the steps of the training rows are not regular"
        return 0
    offsets = encoded.rows.offsets
    longest = int(np.diff(offsets).argmax())
    rows = np.arange(max(offsets[longest], offsets[longest + 1] - 100_000), offsets[longest + 1])
    step = clock.step if clock is not None and clock.timed else None
    periods = likely_periods(step, past.scaled(encoded, rows)[:, 0], past.length)
    if not periods:
        left_out["seasonal"] = f"no period shows within the look-back of {past.length} rows"
        return 0
    errors = np.zeros(len(periods))
    for chosen in past.chunks(_spread_out(len(encoded.index), 2_000)):
        window, true = past.window(encoded, chosen), past.scaled(encoded, past.ahead(encoded, chosen))
        for i, period in enumerate(periods):
            errors[i] += np.nansum((one_period_before(window, period, past.horizon) - true) ** 2)
    return periods[int(errors.argmin())]


def _calendar(past: Past, encoded: Encoded, levels: np.ndarray, left_out: dict[str, str]) -> Calendar | None:
    order = encoded.rows.order
    if order is None or not encoded.rows.timed:
        left_out["calendar mean"] = "the order column holds no times"
        return None
    clock, schema = past.fitted.clock, past.fitted.schema
    times: Any = past.fitted.states.get(str(schema.sequence.order_name))
    gaps = np.diff(order[:_BLOCK])
    gaps = gaps[gaps > 0]
    step = clock.step if clock is not None and clock.regular else float(np.median(gaps)) if len(gaps) else np.inf
    level = Past(past.fitted, levels)

    def deviations(rows: slice) -> np.ndarray:
        return level.deviations(encoded, np.arange(*rows.indices(encoded.rows.count)))

    calendar = learn_calendar(order, deviations, step, None if times is None else times.zone)
    if calendar.empty:
        left_out["calendar mean"] = "no cycle of the calendar shows in the span of the training rows"
        return None
    return calendar


def _own_ridge(
    fitted: Fitted,
    encoded: Encoded,
    name: str,
    left_out: dict[str, str],
    levels: np.ndarray | None,
    calendar: Calendar | None,
) -> tuple[Linear, ...]:
    """A model of each target's own past."""
    count, length = len(fitted.schema.targets), Past(fitted).length
    weights = count * length * fitted.schema.horizon
    if weights > _WEIGHTS:
        left_out[name] = f"it would have {weights:,} weights"
    models: list[Linear] = []
    for k in range(count if name not in left_out else 0):
        past = Past(fitted, levels, calendar, [k])
        model = ridge(_examples(past, encoded, _learners(encoded, count * length**2), joint=False))
        if model is None:
            left_out[name] = "fewer than two training windows have half of their target or more"
            return ()
        models.append(model)
    return tuple(models)


def _joint_ridge(past: Past, encoded: Encoded, left_out: dict[str, str]) -> Linear | None:
    """One model of all numbers for all targets."""
    name, width = "ridge on all numbers", past.width
    weights = width * past.horizon * len(past.targets)
    if width == past.length and past.all_seen:
        left_out[name] = "no other column is a number"
    elif not width:
        left_out[name] = "no input is a number"
    elif width > _INPUTS:
        left_out[name] = f"a window holds {width:,} numbers, and more than {_INPUTS:,} take long to learn from"
    elif weights > _WEIGHTS:
        left_out[name] = f"it would have {weights:,} weights"
    if name in left_out:
        return None
    model = ridge(_examples(past, encoded, _learners(encoded, width**2), joint=True))
    if model is None:
        left_out[name] = "fewer than two training windows have half of their target or more"
    return model


def _learners(encoded: Encoded, work: int) -> np.ndarray:
    """The windows that a model learns from which takes `work` multiplications for each."""
    return _spread_out(len(encoded.index), min(_SEQUENCES, max(1_000, int(_WORK / work))))


def _examples(
    past: Past, encoded: Encoded, chosen: np.ndarray, *, joint: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of inputs (n, p) and outputs (n, m). Windows of which half the target is missing are left out."""
    for part in past.chunks(chosen):
        y = past.deviations(encoded, past.ahead(encoded, part))
        enough = (~np.isnan(y)).mean(axis=1).min(axis=1) > 0.5
        kept = part[enough]
        if not len(kept):
            continue
        y = np.stack([filled(x) for x in np.moveaxis(y[enough], -1, 0)], axis=-1)
        yield past.all(encoded, kept) if joint else past.own(encoded, kept)[0], y.reshape(len(kept), -1)


def _applied(models: tuple[Linear, ...], past: Past, encoded: Encoded, chosen: np.ndarray) -> np.ndarray:
    """(B, H, K)"""
    return np.stack([m(x) for m, x in zip(models, past.own(encoded, chosen), strict=True)], axis=-1)


# -- pooled sequences --------------------------------------------------------------------------------------------------


def _learn_pooled(baselines: Baselines, encoded: Encoded) -> Learnt:
    schema, states = baselines.fitted.schema, baselines.fitted.states
    name = baselines._pooled_name
    sequences, rows = target_rows(encoded.index)
    y = _true(baselines, encoded, rows)
    real = (y >= 0) if baselines.classes else ~np.isnan(y).any(axis=1)
    size = len(schema.columns[schema.targets[0]].classes(states[schema.targets[0]])) if baselines.classes else 0
    if baselines.classes:
        means = np.bincount(y[real], minlength=size) / max(int(real.sum()), 1)
    else:
        means = np.where(np.isnan(y), 0.0, y).sum(axis=0) / np.maximum((~np.isnan(y)).sum(axis=0), 1)
    learnt = Learnt({}, means=means)
    if baselines.pooled.empty:
        return replace(learnt, left_out={name: "no input can be pooled"})
    usable = np.flatnonzero(real)
    at = usable[_spread_out(len(usable), _SEQUENCES)]
    if len(at) < 2:
        return replace(learnt, left_out={name: "fewer than two training sequences have a whole target"})
    x = baselines._inputs(encoded, sequences[at], rows[at])
    mean, scale = moments(x)
    x = standard(x, np.stack([mean, scale]))
    model = logistic(x, y[at], size) if baselines.classes else ridge([(x, y[at])])
    if model is None:
        return replace(learnt, left_out={name: "the training rows hold one class only"})
    return replace(learnt, inputs=np.stack([mean, scale]), pooled=model)


def _true(baselines: Baselines, encoded: Encoded, rows: np.ndarray) -> np.ndarray:
    """The targets at `rows` (R,): (R, K) in units of their spread, or class indices (R,), negative where none is."""
    schema = baselines.fitted.schema
    states: dict[str, Any] = dict(baselines.fitted.states)
    if baselines.classes:
        codes = np.asarray(encoded.wire(schema.targets[0]))[rows].astype(np.int64)
        return np.asarray(codes - schema.columns[schema.targets[0]].first_class)
    columns = []
    for name in schema.targets:
        raw = schema.columns[name].back(np.asarray(encoded.wire(name))[rows], states[name])
        columns.append((raw - states[name].mean) / states[name].spread)
    return np.stack(columns, axis=1)


def _spread_out(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` numbers, evenly spaced."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)


def _blocks(count: int) -> Iterator[np.ndarray]:
    for first in range(0, count, _BLOCK):
        yield np.arange(first, min(first + _BLOCK, count))


def _both(first: float, second: float) -> str:
    """Two scores with four digits that count, or, up to six, as many as tell them apart.

    >>> _both(3.5634, 3.8), _both(0.98121, 0.98124), _both(0.5, 0.5)
    ('3.563 against 3.8', '0.98121 against 0.98124', '0.5 against 0.5')
    """
    texts = [score_text(first), score_text(second)]
    for digits in (5, 6) if first != second else ():
        if texts[0] != texts[1]:
            break
        texts = [score_text(first, digits), score_text(second, digits)]
    return " against ".join(texts)
