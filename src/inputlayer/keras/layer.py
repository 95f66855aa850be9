"""`il.keras.InputLayer`: wires in, (batch, time, width) and the mask of its real steps out."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self, cast

import keras
import numpy as np
from keras import ops

from inputlayer import store
from inputlayer.columns import KINDS
from inputlayer.columns.base import ColumnModule, wire_name
from inputlayer.errors import ArtefactError, InputLayerError, OptionError
from inputlayer.fit import Clock, Fitted
from inputlayer.keras.base import Half, KerasTensors
from inputlayer.keras.kinds import HALVES, POOLED
from inputlayer.layer import InputLayer as TorchLayer
from inputlayer.receipt import Receipt
from inputlayer.schema import Schema

LENGTH = "sequence.length"
_DTYPES = ("float32", "float64", "int32", "int64", "uint8")


class _Source(NamedTuple):
    """Hides the torch layer: on the torch backend a Keras layer takes over the weights of its attributes."""

    layer: TorchLayer


@keras.saving.register_keras_serializable("inputlayer")
class InputLayer(keras.layers.Layer):
    """The trained half of a fitted `il.InputLayer`, as a Keras layer.

    It begins with the weights of the torch layer; embeddings are trained with the rest of the model. What the fit
    learnt is in its configuration, as JSON, so a ``.keras`` file is complete: `layer` encodes raw tables after
    ``keras.saving.load_model``. (Name ``il.keras.InputLayer`` once before that: Keras looks classes up by name.)

    Parameters
    ----------
    layer
        A fitted layer without stages, all of whose inputs are of kinds that have a Keras half.
    **options
        Of every Keras layer: `name`, `trainable`, `dtype`.

    Shape: a dict of wires, as `dataset` gives them -- of the steps (B, T, *entry), of static columns (B, *entry),
    and ``"sequence.length"`` (B,) -- to (B, T, width), zero where padded. Its mask (B, T) is True at real steps, and
    keras.layers.LSTM and its kin honour it. Columns that are known ahead give their past only.

    Raises
    ------
    OptionError
        For a kind without a Keras half, by name, for stages, and where no column has a value at each step.
    NotFittedError
        If the layer is not fitted.

    Examples
    --------
    >>> import inputlayer as il, keras
    >>> table = {"day": list(range(40)), "load": [float(i % 7) for i in range(40)]}
    >>> schema = il.Schema({"load": il.Number()}, il.Windows("day", length=14, horizon=2), target="load")
    >>> layer = il.InputLayer(schema).fit(table)
    >>> model = keras.Sequential([il.keras.InputLayer(layer), keras.layers.LSTM(4), keras.layers.Dense(2)])
    >>> model.compile("adam", "mse")
    >>> history = model.fit(il.keras.dataset(layer, table, 8, shuffle=True), epochs=1, verbose=0)
    >>> model.predict(il.keras.dataset(layer, table), verbose=0).shape
    (25, 2)
    """

    def __init__(self, layer: TorchLayer, **options: Any) -> None:
        super().__init__(**options)
        _check(layer)
        self._source = _Source(layer)
        self._wires = {place: _wires(layer, names) for place, names in _places(layer).items()}
        self._step_wire = next(iter(self._wires["steps"]))
        self._halves: list[tuple[str, Half]] = []
        self._tables: list[list[Any]] = []
        for key, part in cast(Iterable[tuple[str, ColumnModule]], layer.parts.items()):
            place, kind = key.split("_", 1)
            names = [n for n in _places(layer)[place] if layer.schema.columns[n].kind == kind]
            half = (POOLED if _pooled(layer, names[0]) else HALVES)[kind](part, names)
            self._halves.append((place, half))
            self._tables.append([self._weight(f"{key}_{i}", start) for i, start in enumerate(half.start())])
        # A state of its own, and so a number in the file, only where it is needed.
        self._seed = keras.random.SeedGenerator() if any(half.random for _, half in self._halves) else None
        self.width = layer.width
        self.supports_masking = True
        self.built = True

    def _weight(self, name: str, start: np.ndarray) -> Any:
        weight = self.add_weight(shape=start.shape, initializer="zeros", name=name)
        weight.assign(start)
        return weight

    @property
    def layer(self) -> TorchLayer:
        """The fitted layer, which encodes tables. Its torch weights are those that training began with."""
        return self._source.layer

    def inputs(self) -> dict[str, Any]:
        """A `keras.Input` for each wire, for models that are written as functions of their inputs."""
        wires = {LENGTH: keras.Input((), dtype="int32", name=LENGTH)}
        for place, ahead in (("steps", (None,)), ("static", ())):
            for name, (dtype, shape) in self._wires[place].items():
                wires[name] = keras.Input((*ahead, *shape), dtype=dtype, name=name)
        return wires

    def build(self, input_shape: Any) -> None:
        """Nothing: the weights' shapes were learnt from the training rows, not from a batch."""

    def call(self, wires: KerasTensors, training: bool | None = None) -> Any:
        """Wires -> (B, T, width). In training, Text drops tokens if it was told to."""
        absent = [name for name in (LENGTH, *self._wires["steps"], *self._wires["static"]) if name not in wires]
        if absent:
            raise OptionError(f"the wires lack {', '.join(map(repr, absent))}. il.keras.dataset gives them all.")
        still = {name: ops.expand_dims(wires[name], 1) for name in self._wires["static"]}
        values, extras, static = [], [], []
        for (place, half), tables in zip(self._halves, self._tables, strict=True):
            given = still if place == "static" else wires
            part = half(half.drop(given, self._seed) if training and half.random else given, tables)
            if place == "static":
                static += [x for x in part if x is not None]
            else:
                values += [part.values] if part.values is not None else []
                extras += [part.extras] if part.extras is not None else []
        real = ops.expand_dims(self.compute_mask(wires), -1)
        marks = ops.cast(real, self.compute_dtype)
        # What stands at padded steps may be anything finite; where, as 0 * x would keep the sign.
        each = [ops.where(real, ops.cast(x, self.compute_dtype), 0 * marks) for x in (*values, *extras)]
        return ops.concatenate([*each, *(marks * ops.cast(x, self.compute_dtype) for x in static)], axis=-1)

    def compute_mask(self, wires: KerasTensors, previous_mask: Any = None) -> Any:
        """Which steps are real, (B, T) bool."""
        steps = wires[self._step_wire]
        while len(steps.shape) > 2:
            steps = steps[..., 0]
        counted = ops.cumsum(ops.ones_like(steps, dtype="int32"), axis=1)
        return counted <= ops.expand_dims(ops.cast(wires[LENGTH], "int32"), -1)

    def compute_output_shape(self, input_shape: Mapping[str, Any]) -> tuple[int | None, ...]:
        """(B, T, width)."""
        return (*input_shape[self._step_wire][:2], self.width)

    # -- in a file ----------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The options, and what the fit learnt, as JSON values; arrays in base64."""
        fitted = self.layer.learnt
        described = {
            "schema": fitted.schema.to_dict(),
            "columns": list(fitted.schema.columns),  # their order, which a JSON object need not keep
            "states": {name: _packed(state) for name, state in fitted.states.items()},
            "receipt": _packed(fitted.receipt),
            "clock": None if fitted.clock is None else _packed(fitted.clock),
        }
        return {**super().get_config(), "layer": described}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The layer of `get_config`, as fitted; Keras then reads the weights.

        Raises
        ------
        ArtefactError
            If the configuration is none of ours, or damaged.
        """
        options = {name: value for name, value in config.items() if name != "layer"}
        try:
            layer = _layer(config["layer"])
        except (InputLayerError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtefactError(f"the configuration of an InputLayer cannot be read: {error}") from error
        return cls(layer, **options)


def _places(layer: TorchLayer) -> dict[str, list[str]]:
    """The columns of each group of modules, as `il.InputLayer` names them; and "steps", those of past and known."""
    schema = layer.schema
    past = [n for n in schema.steps if n not in schema.future]
    known = [n for n in schema.steps if n in schema.future]
    return {"past": past, "known": known, "steps": past + known, "static": list(schema.static)}


def _pooled(layer: TorchLayer, name: str) -> bool:
    """Whether the cells of a column hold several entries and are no steps."""
    return layer.schema.columns[name].steps and layer.schema.sequence.steps_column != name


def _wires(layer: TorchLayer, names: list[str]) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """The wires of columns: their type, and their shape without batch and time; None where it varies."""
    found: dict[str, tuple[str, tuple[int | None, ...]]] = {}
    for name in names:
        for suffix, wire in layer.schema.columns[name].wires(layer.learnt.states[name]).items():
            pooled = wire.ragged and _pooled(layer, name)
            found[wire_name(name, suffix)] = (wire.dtype, (None, *wire.shape) if pooled else wire.shape)
            if pooled:
                found[f"{wire_name(name, suffix)}.lengths"] = ("int32", ())
    return found


def _check(layer: TorchLayer) -> None:
    """Refuse what has no Keras half."""
    if layer.described_stages():
        kinds = ", ".join(stage["kind"] for stage in layer.described_stages())
        raise OptionError(f"stages have no Keras half yet ({kinds}). Use il.InputLayer(schema) without stages.")
    layer.learnt  # noqa: B018  # raises where not fitted
    for name in layer.schema.inputs:
        kind = layer.schema.columns[name].kind
        if kind not in (POOLED if _pooled(layer, name) else HALVES):
            what = KINDS[kind].__name__ if kind in KINDS else kind
            at = " whose cells are no steps" if kind in HALVES else ""
            raise OptionError(f"column {name!r}: {what}{at} has no Keras half. These have: {', '.join(HALVES)}.")
    if not layer.schema.steps:
        raise OptionError("no column has a value at each step, so there is no sequence: every input is static")


def _packed(state: Any) -> dict[str, Any]:
    described, arrays = store.pack(state)
    return {"state": described, "arrays": dict(_written(arrays))}


def _written(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, array in arrays.items():
        data = base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode("ascii")
        yield name, {"dtype": array.dtype.name, "shape": list(array.shape), "base64": data}


def _unpacked(cls: type[Any], packed: Mapping[str, Any]) -> Any:
    arrays = {}
    for name, spec in packed["arrays"].items():
        if spec["dtype"] not in _DTYPES:
            raise ArtefactError(f"array {name!r}: unknown type {spec['dtype']!r}")
        dtype = np.dtype(spec["dtype"]).newbyteorder("<")
        flat = np.frombuffer(base64.b64decode(spec["base64"], validate=True), dtype)
        arrays[name] = flat.reshape(spec["shape"]).astype(spec["dtype"])
    return store.unpack(cls, packed["state"], arrays)


def _layer(described: Mapping[str, Any]) -> TorchLayer:
    columns = described["schema"]["columns"]
    schema = Schema.from_dict({**described["schema"], "columns": {n: columns[n] for n in described["columns"]}})
    states = {n: _unpacked(schema.columns[n].State, packed) for n, packed in described["states"].items()}
    clock = None if described["clock"] is None else _unpacked(Clock, described["clock"])
    layer = TorchLayer(schema)
    layer.restore(Fitted(schema, states, _unpacked(Receipt, described["receipt"]), clock))
    return layer
