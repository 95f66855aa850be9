"""inputlayer: everything between raw data and the first LSTM layer, as one object.

Public names are loaded when first used, so that importing the package costs nothing.

>>> import inputlayer as il
>>> table = {"day": list(range(60)), "load": [float(i % 7) for i in range(60)]}
>>> schema = il.Schema({"load": il.Number()}, il.Windows("day", length=14, horizon=2), target="load")
>>> train, valid, test = il.split(table, schema)
>>> model = il.Model(il.InputLayer(schema, stages=[il.InstanceNorm("last")]), il.LSTM(units=4))
>>> history = model.fit(train, valid, epochs=2)
>>> model.predict(table).columns
['origin', 'step', 'day', 'load']
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_NAMES = {
    "errors": (
        "ArtefactError",
        "InputLayerError",
        "MissingExtraError",
        "NotFittedError",
        "OptionError",
        "SchemaError",
        "SeenRowsError",
        "StageError",
        "TableError",
    ),
    "table": ("Table", "from_array", "read"),
    "columns": ("Audio", "Category", "Flag", "Image", "Number", "Series", "Text", "Timestamp", "Vector"),
    "sequence": ("Cells", "Groups", "Windows"),
    "schema": ("Schema",),
    "infer": ("infer",),
    "split": ("split",),
    "stages": ("Autoregression", "Difference", "InstanceNorm", "Noise", "Patch", "PerChannel", "Seasonal", "Stretch"),
    "layer": ("InputLayer",),
    "bodies": ("GRU", "LSTM", "Dense", "Ensemble", "Recursive", "Segments"),
    "heads": ("Classes", "Regression"),
    "shown": ("Shown",),
    "show": ("show",),
    "comparison": ("Comparison",),
    "streaming": ("Stream",),
    "model": ("Model", "load"),
    "recipe": ("Recipe", "recipe"),
    "compare": ("compare",),
    "onnx.runtime": ("OnnxModel",),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

_MODULES = ("keras",)  # names that are a module of ours

__all__ = sorted(_HOME)  # one list of the public names, above

if TYPE_CHECKING:
    from inputlayer import keras as keras
    from inputlayer.bodies import GRU as GRU
    from inputlayer.bodies import LSTM as LSTM
    from inputlayer.bodies import Dense as Dense
    from inputlayer.bodies import Ensemble as Ensemble
    from inputlayer.bodies import Recursive as Recursive
    from inputlayer.bodies import Segments as Segments
    from inputlayer.columns import Audio as Audio
    from inputlayer.columns import Category as Category
    from inputlayer.columns import Flag as Flag
    from inputlayer.columns import Image as Image
    from inputlayer.columns import Number as Number
    from inputlayer.columns import Series as Series
    from inputlayer.columns import Text as Text
    from inputlayer.columns import Timestamp as Timestamp
    from inputlayer.columns import Vector as Vector
    from inputlayer.compare import compare as compare
    from inputlayer.comparison import Comparison as Comparison
    from inputlayer.errors import ArtefactError as ArtefactError
    from inputlayer.errors import InputLayerError as InputLayerError
    from inputlayer.errors import MissingExtraError as MissingExtraError
    from inputlayer.errors import NotFittedError as NotFittedError
    from inputlayer.errors import OptionError as OptionError
    from inputlayer.errors import SchemaError as SchemaError
    from inputlayer.errors import SeenRowsError as SeenRowsError
    from inputlayer.errors import StageError as StageError
    from inputlayer.errors import TableError as TableError
    from inputlayer.heads import Classes as Classes
    from inputlayer.heads import Regression as Regression
    from inputlayer.infer import infer as infer
    from inputlayer.layer import InputLayer as InputLayer
    from inputlayer.model import Model as Model
    from inputlayer.model import load as load
    from inputlayer.onnx.runtime import OnnxModel as OnnxModel
    from inputlayer.recipe import Recipe as Recipe
    from inputlayer.recipe import recipe as recipe
    from inputlayer.schema import Schema as Schema
    from inputlayer.sequence import Cells as Cells
    from inputlayer.sequence import Groups as Groups
    from inputlayer.sequence import Windows as Windows
    from inputlayer.show import show as show
    from inputlayer.shown import Shown as Shown
    from inputlayer.split import split as split
    from inputlayer.stages import Autoregression as Autoregression
    from inputlayer.stages import Difference as Difference
    from inputlayer.stages import InstanceNorm as InstanceNorm
    from inputlayer.stages import Noise as Noise
    from inputlayer.stages import Patch as Patch
    from inputlayer.stages import PerChannel as PerChannel
    from inputlayer.stages import Seasonal as Seasonal
    from inputlayer.stages import Stretch as Stretch
    from inputlayer.streaming import Stream as Stream
    from inputlayer.table import Table as Table
    from inputlayer.table import from_array as from_array
    from inputlayer.table import read as read


class _Package(ModuleType):
    """This module. Importing a file sets its name here; where a public name is the same, the public name stays."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOME and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"inputlayer.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'inputlayer' has no attribute {name!r}")
    try:
        value = getattr(import_module(f"inputlayer.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:  # where only OnnxModel is served
        if error.name is None or error.name.startswith("inputlayer"):
            raise
        from inputlayer.errors import MissingExtraError

        raise MissingExtraError(error.name.partition(".")[0], "", f"inputlayer.{name}") from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
