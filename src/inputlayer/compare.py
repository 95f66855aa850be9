"""compare: the same body behind different input layers, and what each part of the layer buys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from inputlayer.baselines import Baselines, Learnt, fit_baselines
from inputlayer.batch import Batches
from inputlayer.comparison import ANY, Comparison, Result
from inputlayer.encode import encode
from inputlayer.errors import InputLayerError, OptionError, nearest
from inputlayer.evaluation import blind_lines, blind_to
from inputlayer.finished import Finished, Part
from inputlayer.heads import Classes
from inputlayer.layer import InputLayer
from inputlayer.model import Model
from inputlayer.prediction import outputs
from inputlayer.prepared import Parts, Prepared, prepare_all
from inputlayer.progress import progress
from inputlayer.run import TrainingOptions
from inputlayer.table import Table
from inputlayer.tally import Tally, measure
from inputlayer.variants import part_text, variants

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer

_NOT_HERE = {  # options of a training that a comparison has not, and why
    "patience": "all layers get the same number of steps, so nothing stops early. Leave it out",
    "seed": "give seeds=(0, 1, 2)",
}
_BASELINES = "baselines"
_SIZE = 256  # sequences per batch when nothing is learnt

Key = tuple[str, int]


def compare(
    model: Model,
    train: Any,
    valid: Any,
    test: Any,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    stages: bool = True,
    columns: bool = True,
    alternatives: Mapping[str, InputLayer] | None = None,
    others: Mapping[str, Model] | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    **training: Any,
) -> Comparison:
    """Train the body of `model` behind different input layers, all else the same, and score each on `test`.

    Behind every input layer stand the same body, look-back, target and loss, trained on the same rows with the same
    number of gradient steps and the same seeds: nothing stops early. With `valid` the weights of the epoch of the
    lowest validation loss are kept, without it the last. The rows are

    - the full layer, that of `model`;
    - the layer without each of its stages, and without each of its columns (all but the target's);
    - the layers of `alternatives`;
    - the baselines that `Model.evaluate` has;
    - and apart from these `others`: models that differ in what is not the input layer.

    A part that cannot be taken away is left out, and `to_dict()["sentences"]` says why.

    Parameters
    ----------
    model
        What to compare, trained or not: its layer, body and head are copied, and drawn anew for each seed.
    train, valid, test
        Tables of raw data, as `il.split` gives them; `valid` may be None. Windows look back on the parts before.
    seeds
        Of the weights and the order of the batches; each layer is trained once with each.
    stages, columns
        Whether to take away the stages, and the columns, one by one.
    alternatives
        Name -> another input layer, with the same sequence and target.
    others
        Name -> a model with another look-back, body, decoder or loss.
    run
        A folder where each training that is finished is kept; with ``resume=True`` the rest is trained.
    **training
        Options of `Model.fit`: epochs, batch, lr, clip, schedule, device. Those not given are the model's own, where it
        has any.

    Returns
    -------
    Comparison
        Means and spreads over seeds of the score that `Model.evaluate` judges by (RMSE; `mse_standardised` of several
        targets; accuracy), differences to the full layer with 95 % intervals (see `intervals.difference`: paired over
        seeds and over blocks of test sequences, by jackknife and analysis of variance), seconds of training, trained
        weights, and bytes of the fitted half. Ctrl-C ends it with what is finished, and sets `interrupted`.

    Raises
    ------
    OptionError
        With everything that is wrong with the options, before anything is trained.
    TableError
        With every problem of the tables.
    SeenRowsError
        If rows of `test` are among those of `train`.
    InputLayerError
        If the folder was made with other settings or tables. Or: the loss of the full layer is no finite number.

    Examples
    --------
    >>> import inputlayer as il
    >>> table = {"day": list(range(90)), "load": [float(i % 7) for i in range(90)], "wind": ["N", "S", "S"] * 30}
    >>> columns = {"load": il.Number(), "wind": il.Category()}
    >>> schema = il.Schema(columns, il.Windows("day", length=14, horizon=2), target="load")
    >>> model = il.Model(il.InputLayer(schema, [il.InstanceNorm("last")]), il.LSTM(units=4))
    >>> found = il.compare(model, *il.split(table, schema), seeds=(0, 1), epochs=2)
    >>> [row["name"] for row in found.to_dict()["rows"] if row["group"] != "baseline"]
    ['full layer', 'without InstanceNorm', 'without wind']
    """
    kept = Finished(None if run is None else Path(run), resume)
    named = alternatives or {}, others or {}
    return compare_into(kept, model, (train, valid, test), seeds, *named, stages=stages, columns=columns, **training)


def compare_into(
    kept: Finished,
    model: Model,
    tables: tuple[Any, Any, Any],
    seeds: Sequence[int],
    alternatives: Mapping[str, InputLayer],
    others: Mapping[str, Model],
    /,
    *,
    stages: bool = True,
    columns: bool = True,
    **training: Any,
) -> Comparison:
    """`compare` of the `tables` train, valid and test, which leaves what is finished in `kept`."""
    if not isinstance(model, Model):
        raise OptionError(f"compare({type(model).__name__}): give an il.Model(layer, body)")
    own = {n: v for n, v in model.training.items() if n not in _NOT_HERE}
    options = _options(seeds, {**own, **training})
    rows, notes = variants(model, alternatives, others, stages=stages, columns=columns)
    train, valid, test = tables
    parts = Parts(Table.of(train), None if valid is None else Table.of(valid), Table.of(test))
    parts.check(model.layer.schema)
    prepared = prepare_all(rows, parts, options, notes)
    wanted = {(p.name, seed): p.circumstances for seed in seeds for p in prepared}
    done = kept.load({(_BASELINES, ANY): prepared[0].tables, **wanted})
    if kept.begin is not None:
        kept.begin()
    failed: dict[str, str] = {}
    interrupted = False
    try:
        _work(prepared, parts, options, kept, done, wanted, failed)
    except KeyboardInterrupt:
        interrupted = True
    results = list(_results(prepared, done, seeds, failed))
    left = [f"{name} with seed {seed}" for name, seed in wanted if (name, seed) not in done]
    notes = [*_blind(done), *notes, *failed.values()]
    if interrupted:
        notes.append(f"Interrupted. Not yet trained: {', '.join(left) or 'nothing'}.")
    fixed = _fixed(prepared[0], parts, options)
    return Comparison(measure(model.layer), results, tuple(seeds), fixed, notes, interrupted)


def _options(seeds: Sequence[int], given: Mapping[str, Any]) -> TrainingOptions:
    """The training options; what is wrong with them and with the seeds is raised at once."""
    known = [f.name for f in fields(TrainingOptions) if f.name not in _NOT_HERE]
    wrong = [
        f"{name}: {_NOT_HERE[name]}" if name in _NOT_HERE else f"compare has no option {name!r}.{nearest(name, known)}"
        for name in given
        if name not in known
    ]
    whole = isinstance(seeds, Sequence) and all(type(s) is int and 0 <= s < 2**63 for s in seeds)
    if not whole or not seeds or len(set(seeds)) < len(seeds):
        wrong.append(f"seeds={seeds!r}: give whole numbers of at least 0, each once, such as (0, 1, 2)")
    try:
        options = TrainingOptions(**{n: v for n, v in given.items() if n in known})
    except OptionError as error:
        wrong.append(str(error))
    if wrong:
        raise OptionError("; ".join(wrong))
    return options


# -- the work ----------------------------------------------------------------------------------------------------------


def _fixed(full: Prepared, parts: Parts, options: TrainingOptions) -> dict[str, Any]:
    """What is the same for all rows but the `others`."""
    schema = full.fitted.schema
    return {
        "body": part_text(full.variant.body),
        "head": part_text(full.variant.head),
        "sequence": repr(schema.sequence),
        "target": list(schema.targets),
        "steps": full.steps * options.epochs,
        **{n: getattr(options, n) for n in ("epochs", "batch", "lr", "weight_decay", "schedule", "clip")},
        **{f"{name} sequences": count for name, count in full.sequences.items()},
    }


def _work(
    prepared: Sequence[Prepared],
    parts: Parts,
    options: TrainingOptions,
    kept: Finished,
    done: MutableMapping[Key, Part],
    wanted: Mapping[Key, Mapping[str, Any]],
    failed: dict[str, str],
) -> None:
    """Fill `done`, seed by seed, so that an interrupted comparison has every row, and `failed`: why one has none."""
    if (_BASELINES, ANY) not in done:
        done[_BASELINES, ANY] = _baselines(prepared[0], parts)
        kept.save(_BASELINES, ANY, prepared[0].tables, done[_BASELINES, ANY])
    rows = {p.name: p for p in prepared}
    left = [key for key in wanted if key not in done]
    with progress("Comparing", len(left) * max(options.epochs, 1)) as advance:
        for name, seed in left:
            if name in failed:
                continue
            try:
                done[name, seed] = _trained(rows[name], parts, options, seed, advance)
            except InputLayerError as error:
                if rows[name].variant.group == "full":
                    raise
                failed[name] = f"There is no row {name!r}: with seed {seed}, {error}"
                continue
            kept.save(name, seed, wanted[name, seed], done[name, seed])


def _trained(row: Prepared, parts: Parts, options: TrainingOptions, seed: int, advance: Callable[[int], None]) -> Part:
    """Train a variant with one seed, and score it."""
    model = row.variant.model()
    model.layer.restore(row.fitted)
    model.baselines = Baselines(row.fitted, Learnt({}))  # they are learnt once, beside
    given = {n: v for n, v in asdict(options).items() if n not in _NOT_HERE}
    if parts.valid is not None:
        given["patience"] = max(options.epochs, 1)  # the same number of steps for all
    history = model.fit(parts.train, parts.valid, seed=seed, callbacks=[_each_epoch(advance)], **given)
    if history.interrupted:
        raise KeyboardInterrupt
    encoded = parts.encoded_test(row.fitted)
    total = Tally(model.network, encoded, row.blocks)
    for batch, y in outputs(model.network, Batches(encoded, row.fitted, _SIZE), "Scoring"):
        total.add(y, batch)
    return Part({"seconds": sum(history.seconds)}, {"losses": total.losses, "counts": total.counts})


def _each_epoch(advance: Callable[[int], None]) -> Callback:
    from lightning.pytorch import Callback

    class Epochs(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            advance(1)

    return Epochs()


def _baselines(full: Prepared, parts: Parts) -> Part:
    fitted = full.fitted
    baselines = fit_baselines(fitted, encode(fitted, parts.train, training=True))
    network = full.variant.model().network
    network.layer.restore(fitted)
    with torch.random.fork_rng(devices=[]):
        network.build()
    encoded = parts.encoded_test(fitted)
    totals: dict[str, Tally] = {}
    for batch in Batches(encoded, fitted, _SIZE):
        for name, y in baselines.predict(encoded, batch).items():
            total = totals.setdefault(name, Tally(network, encoded, full.blocks))
            total.add(y[..., None, :] if isinstance(network.head, Classes) else y[..., None], batch, point=True)
    arrays = {f"losses {i}": total.losses for i, total in enumerate(totals.values())}
    arrays |= {f"counts {i}": total.counts for i, total in enumerate(totals.values())}
    return Part({"names": list(totals), "blind to": blind_to(baselines)}, arrays)


def _blind(done: Mapping[Key, Part]) -> list[str]:
    found = done.get((_BASELINES, ANY))
    return [] if found is None else blind_lines(found.numbers.get("blind to", {}))


def _results(
    prepared: Sequence[Prepared], done: Mapping[Key, Part], seeds: Sequence[int], failed: Mapping[str, str]
) -> Iterator[Result]:
    """The rows that there are, the models that are not about the input layer last."""
    for row in (p for p in prepared if p.variant.group != "other"):
        yield from _result(row, done, seeds, failed)
    names = {p.name for p in prepared}
    found = done.get((_BASELINES, ANY))
    for i, name in enumerate(found.numbers["names"]) if found is not None else ():
        assert found is not None
        losses, counts = found.arrays[f"losses {i}"], found.arrays[f"counts {i}"]
        yield Result(f"{name} (baseline)" if name in names else name, "baseline", "", {ANY: losses}, counts)
    for row in (p for p in prepared if p.variant.group == "other"):
        yield from _result(row, done, seeds, failed)


def _result(
    row: Prepared, done: Mapping[Key, Part], seeds: Sequence[int], failed: Mapping[str, str]
) -> Iterator[Result]:
    found = {seed: done[row.name, seed] for seed in seeds if (row.name, seed) in done}
    if not found or row.name in failed:
        return
    parts = list(found.values())
    yield Result(
        row.name,
        row.variant.group,
        row.variant.change,
        {seed: part.arrays["losses"] for seed, part in found.items()},
        parts[0].arrays["counts"],
        float(np.mean([part.numbers["seconds"] for part in parts])),
        row.parameters,
        row.bytes,
    )
