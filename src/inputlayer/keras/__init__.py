"""The trained half of a fitted layer as a Keras 3 layer, in `keras.ops`: for TensorFlow, JAX and PyTorch.

    import inputlayer as il, keras

    layer = il.InputLayer(schema).fit(train)
    model = keras.Sequential([il.keras.InputLayer(layer), keras.layers.LSTM(64), keras.layers.Dense(schema.horizon)])
    model.compile("adam", "mse")
    model.fit(il.keras.dataset(layer, train, 64, shuffle=True), validation_data=il.keras.dataset(layer, valid))
    model.save("load.keras")

Kinds with a Keras half: number, category, flag, timestamp, series, text, vector.
Kinds without one, which are refused: audio, image. Stages are refused as well.

Nothing of Keras is loaded before the first of these names is used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from inputlayer.errors import MissingExtraError, OptionError

_HOME = {"InputLayer": "layer", "Sequences": "batches", "dataset": "batches"}

__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from inputlayer.keras.batches import Sequences as Sequences
    from inputlayer.keras.batches import dataset as dataset
    from inputlayer.keras.layer import InputLayer as InputLayer


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'inputlayer.keras' has no attribute {name!r}")
    _check_keras()
    for home in sorted(set(_HOME.values())):  # all of them, so that Keras knows the layer by name when it reads a file
        import_module(f"inputlayer.keras.{home}")
    value = getattr(import_module(f"inputlayer.keras.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


def _check_keras() -> None:
    """Raise the error that says what is missing: Keras, or the backend that it was told to use."""
    try:
        import keras  # noqa: F401  # only whether it can be imported
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] == "keras":
            raise MissingExtraError("keras", "keras", "il.keras") from error
        backend = os.environ.get("KERAS_BACKEND") or "tensorflow, unless ~/.keras/keras.json says otherwise"
        raise OptionError(
            f"Keras cannot load its backend ({backend}): there is no package {error.name!r}. Install it, or set the"
            " environment variable KERAS_BACKEND to 'torch' before Python starts: PyTorch is here already."
        ) from error
