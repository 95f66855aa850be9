"""Pictures: decoding to 8 bit pixels, and a small stack of convolutions that makes one vector of each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from inputlayer.errors import MissingExtraError
from inputlayer.media import UnreadableError, existing

if TYPE_CHECKING:
    from types import ModuleType

    from inputlayer.graph import Graph

Size = tuple[int, int]

_PIXELS = 64_000_000  # of one picture; looked at before anything is decoded
_LEVELS = 255
_GREY = ("1", "L", "LA", "La")
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow would cut these off at 255
_FIRST, _SECOND = 16, 32  # channels of the first two convolutions


def load(cell: str | bytes | np.ndarray, size: Size | None, channels: int | None) -> np.ndarray:
    """A picture's pixels (height, width, channels) uint8.

    `size` (height, width) and `channels` (1 or 3) are what it is brought to; None: as it is. Transparent pixels are
    laid over black, and a picture is turned as its camera says. Raises `UnreadableError` for what is no picture, and
    `MissingExtraError`.
    """
    if isinstance(cell, np.ndarray):
        pixels = _checked(cell)
        same = size in (None, pixels.shape[:2]) and channels in (None, pixels.shape[2])
        if same:
            return pixels
        picture = _import_pillow().fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        return _fitted(picture, size, channels)
    return _fitted(_decoded(cell), size, channels)


def check(cell: str | bytes | np.ndarray) -> None:
    """Raise what `load` would, for less work: a JPEG is decoded at the smallest scale there is, which reads all of it.

    Nothing less would do: Pillow finds out where a file is cut off only as it decodes.
    """
    if isinstance(cell, np.ndarray):
        _checked(cell)
    else:
        _decoded(cell, small=True)


def _checked(cell: np.ndarray) -> np.ndarray:
    """An array (height, width) or (height, width, 1 or 3) of whole numbers from 0 to 255."""
    if cell.dtype == object or cell.ndim not in (2, 3) or (cell.ndim == 3 and cell.shape[2] not in (1, 3)):
        raise UnreadableError("is no list of rows of pixels, all of one length", "A pixel is a number, or 3 of them.")
    if not cell.size:
        raise UnreadableError("is a picture without pixels")
    pixels = cell.astype(np.uint8) if np.isfinite(cell).all() and cell.min() >= 0 and cell.max() <= _LEVELS else None
    if pixels is None or (pixels != cell).any():
        raise UnreadableError("holds pixels that are no whole numbers from 0 to 255", "Scale them to that range.")
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _decoded(cell: str | bytes, *, small: bool = False) -> Any:
    """A Pillow image of mode L or RGB; `small`: of any size, whichever is decoded soonest."""
    pillow = _import_pillow()
    source = io.BytesIO(cell) if isinstance(cell, bytes) else existing(cell)
    try:
        with pillow.open(source, formats=("PNG", "JPEG")) as image:
            if image.width * image.height > _PIXELS:
                raise _too_large()
            if image.mode in _DEEP:
                what = f"is a picture of mode {image.mode!r}, whose pixels need more than 8 bits"
                raise UnreadableError(what, "Scale it to 8 bits.")
            if small:
                image.draft(None, (1, 1))
            return _upright(image)
    except UnreadableError:
        raise
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning):
        raise _too_large() from None
    except Exception:  # a damaged file makes Pillow raise nearly any of them
        # Its texts name addresses and byte counts, which would make each file another problem.
        raise UnreadableError(
            "cannot be read as a picture", "It must be whole, and PNG or JPEG whatever it is called."
        ) from None


def _too_large() -> UnreadableError:
    return UnreadableError(f"is a picture of more than {_PIXELS // 10**6} million pixels", "Make it smaller.")


def _upright(image: Any) -> Any:
    from PIL import Image, ImageOps

    image.load()
    grey = image.mode in _GREY
    image = ImageOps.exif_transpose(image)
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        layers = image.convert("RGBA")
        image = Image.new("RGBA", layers.size, (0, 0, 0, _LEVELS))
        image.alpha_composite(layers)
    return image.convert("L" if grey else "RGB")


def _fitted(picture: Any, size: Size | None, channels: int | None) -> np.ndarray:
    if channels is not None:
        picture = picture.convert("L" if channels == 1 else "RGB")
    if size is not None and picture.size != size[::-1]:
        picture = picture.resize(size[::-1], _import_pillow().Resampling.BILINEAR)
    pixels = np.array(picture)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _import_pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtraError("Pillow", "image", "Reading or resizing pictures") from None
    return Image


class Convolutions(nn.Module):
    """Three convolutions of 3 x 3 with ReLU, halved in size after the first two, and the mean over all places.

    Shape: pixels (N, height, width, channels) uint8 -> (N, `width`) float32.
    """

    def __init__(self, size: Size, mean: Sequence[float], spread: Sequence[float], width: int) -> None:
        super().__init__()
        self.width = width
        self.halved = _halvings(size)
        widths = (len(mean), _FIRST, _SECOND, width)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        # What was learnt by counting, so it is no part of the weights that are saved.
        self.register_buffer("mean", torch.tensor(mean).float(), persistent=False)
        self.register_buffer("spread", torch.tensor(spread).float(), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels -> one vector each."""
        x = ((pixels.float() - self.get_buffer("mean")) / self.get_buffer("spread")).permute(0, 3, 1, 2)
        for layer, window in zip(self.layers, self.halved, strict=True):
            x = torch.relu(layer(x))
            x = functional.max_pool2d(x, window) if window else x
        return x.mean(dim=(2, 3))

    def onnx(self, g: Graph, pixels: str) -> str:
        """The same, in a graph."""
        mean, spread = (g.constant(self.get_buffer(n).cpu().numpy()) for n in ("mean", "spread"))
        x = g("Transpose", g("Div", g("Sub", g.cast(pixels, np.float32), mean), spread), perm=[0, 3, 1, 2])
        for layer, window in zip(self.layers, self.halved, strict=True):
            weights = (g.constant(layer.get_parameter(n).detach().cpu().numpy()) for n in ("weight", "bias"))
            x = g("Relu", g("Conv", x, *weights, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
            x = g("MaxPool", x, kernel_shape=list(window), strides=list(window)) if window else x
        return g("ReduceMean", x, g.constant([2, 3]), keepdims=0)


def _halvings(size: Size) -> tuple[Size | None, ...]:
    """The windows of the pools after each convolution, for a size that may be 1 already."""
    found: list[Size | None] = []
    for _ in range(2):
        window = (min(2, size[0]), min(2, size[1]))
        found.append(window)
        size = (size[0] // window[0], size[1] // window[1])
    return (*found, None)
