"""Image: a picture, whose rows of pixels are steps or which is one vector; or a list of pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar, cast, get_args

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from inputlayer.columns.base import (
    Column,
    ColumnModule,
    Example,
    Part,
    PooledModule,
    Ragged,
    State,
    TwinPart,
    Where,
    Wire,
    Wires,
    choose,
    wire_name,
)
from inputlayer.errors import OptionError
from inputlayer.media import Media, UnreadableError
from inputlayer.pictures import Convolutions, check, load

if TYPE_CHECKING:
    from inputlayer.graph import Graph

T = TypeVar("T")

Cell = Literal["picture", "frames"]
Shape = tuple[int, int, int]
_READING, _CHECKING = "Reading pictures", "Checking pictures"
_REMEDY = {
    "picture": "A cell is a path, the bytes of a file, or rows of pixels. A list of pictures needs cell='frames'.",
    "frames": "With cell='frames' a cell is a list: of paths, of the bytes of files, or of rows of pixels each.",
}


@dataclass(frozen=True)
class ImageState(State):
    """What an image column learnt.

    `size` (height, width) and `channels` that every picture is brought to. `mean`, `spread`: of each channel over the
    pixels of the training pictures (of those that have that size and channels already, where these are learnt).
    `pictures`: how many there were; `others`: those of another size or number of channels; `missing`: cells without;
    `frames`: the fewest and the most pictures of one cell.
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    pictures: int
    others: int
    missing: int
    frames: tuple[int, int]


class Seen(NamedTuple):
    """Pictures of one shape: how many, their pixels, and per channel the sum of values and of squares, all exact."""

    pictures: int
    pixels: int
    totals: tuple[int, ...]
    squares: tuple[int, ...]

    @classmethod
    def of(cls, picture: np.ndarray) -> Seen:
        """One picture, (height, width, channels) uint8."""
        values = picture.reshape(-1, picture.shape[2]).astype(np.int64)
        totals, squares = values.sum(axis=0).tolist(), np.square(values).sum(axis=0).tolist()
        return cls(1, len(values), tuple(totals), tuple(squares))

    def merge(self, other: Seen) -> Seen:
        """Both."""
        totals = (a + b for a, b in zip(self.totals, other.totals, strict=True))
        squares = (a + b for a, b in zip(self.squares, other.squares, strict=True))
        return Seen(self.pictures + other.pictures, self.pixels + other.pixels, tuple(totals), tuple(squares))

    def scale(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Means and spreads; a constant has spread 1."""
        n = self.pixels
        variances = [(n * b - a * a) / n**2 for a, b in zip(self.totals, self.squares, strict=True)]
        return tuple(a / n for a in self.totals), tuple(math.sqrt(v) or 1.0 for v in variances)


@dataclass(frozen=True)
class ImageStatistic:
    """What one block gives: by the shape of pictures; cells without one; fewest and most pictures of a cell."""

    shapes: dict[Shape, Seen]
    missing: int
    frames: tuple[int, ...]

    def merge(self, other: ImageStatistic) -> ImageStatistic:
        """Both blocks, `self` being the earlier."""
        shapes = dict(self.shapes)
        for shape, seen in other.shapes.items():
            shapes[shape] = shapes[shape].merge(seen) if shape in shapes else seen
        frames = (*self.frames, *other.frames)
        return ImageStatistic(shapes, self.missing + other.missing, (min(frames), max(frames)) if frames else ())


@dataclass(frozen=True, kw_only=True)
class Image(Column):
    """A picture: the path of a PNG or JPEG file, the bytes of one, or rows of pixels, each a number or 3 numbers.

    Pictures are brought to one size and number of channels, kept as 8 bit pixels and standardised per channel.
    Transparent pixels are laid over black; a picture is turned as its camera says. Files are read a few at a time,
    by threads unless they are quick; one of more than 64 million pixels is refused before it is decoded. A missing cell
    has no pixels.

    With ``Cells(steps=...)`` the rows of pixels are the steps, from the top; with ``cell="frames"`` the pictures of the
    cell's list are, each a vector from a small trained stack of convolutions. Elsewhere a cell is one such vector, the
    mean over its frames if there are several.

    Parameters
    ----------
    size
        (height, width) that pictures are brought to. None: the size that at least half of the training pictures have.
    channels
        1 (grey) or 3 (red, green, blue). None: what most training pictures have.
    cell
        What a cell holds: a ``"picture"``, or a list of ``"frames"``.
    width
        Numbers of the vector that the convolutions give.

    Raises
    ------
    OptionError
        For a value that an option cannot have.
    MissingExtraError
        When a file is read, or a picture resized, and Pillow is not installed.

    Examples
    --------
    >>> from inputlayer.errors import Problems
    >>> digit, where = Image(), Where("digit", 0, Problems())
    >>> cells = digit.accept(pl.Series([[[0, 255], [255, 0]], [[255, 255], [0, 0]]]), where)
    >>> state = digit.finish(digit.learn(cells, 0), where)
    >>> state.size, state.mean, digit.encode(cells, state)[""].flat.shape
    ((2, 2), (127.5,), (4, 2, 1))
    """

    kind: ClassVar[str] = "image"
    State: ClassVar[type[State]] = ImageState
    invertible: ClassVar[bool] = False
    steps: ClassVar[bool] = True

    size: tuple[int, int] | None = None
    channels: int | None = None
    cell: Cell = "picture"
    width: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("cell", self.cell, get_args(Cell))
        choose("channels", self.channels, (None, 1, 3))
        if self.size is not None:
            object.__setattr__(self, "size", tuple(self.size) if isinstance(self.size, list | tuple) else ())
            if len(self.size) != 2 or not all(_is_count(n) for n in self.size):
                raise OptionError("size is not (height, width), two whole numbers of at least 1.")
        if not _is_count(self.width):
            raise OptionError(f"width={self.width!r} is not a whole number of at least 1.")
        if self.role == "target":
            raise OptionError("role='target': a picture cannot be predicted.")

    # -- fitted half --------------------------------------------------------------------------------------------------

    def accept(self, values: pl.Series, where: Where) -> Media:
        """Cells as they are; they are read in `examine`, `learn` and `encode`, and bad ones noted in `where` then."""
        frames = self.cell == "frames"
        return Media.of(values, where, (3, 4) if frames else (2, 3), _REMEDY[self.cell], several=frames)

    def examine(self, values: Media) -> None:
        """Decode each picture, and keep nothing."""

        def read(cell: Any) -> None:
            self._read(cell, check)

        values.check(read, _CHECKING)

    def _read(self, cell: Any, reader: Callable[[Any], T]) -> list[T]:
        """What `reader` makes of each picture of one cell."""
        if self.cell == "picture":
            return [reader(cell)]
        if isinstance(cell, np.ndarray) and cell.ndim < 3:
            raise UnreadableError("is no list of pictures of one size", _REMEDY["frames"])
        if not len(cell):
            raise UnreadableError("is a list without pictures", "Make the cell null, or leave the row out.")
        if any(frame is None for frame in cell):
            raise UnreadableError("is a list with a missing picture", "Take it out of the list.")
        return [_named(frame, reader) for frame in cell]

    def _pictures(self, values: Media, state: ImageState | None = None) -> Iterator[list[np.ndarray] | None]:
        size, channels = (self.size, self.channels) if state is None else (state.size, state.channels)
        return values.read(lambda cell: self._read(cell, partial(load, size=size, channels=channels)), _READING)

    def learn(self, values: Media, first_row: int) -> ImageStatistic:
        """Sums over the pixels, by the shape of the pictures."""
        shapes: dict[Shape, Seen] = {}
        counts = []
        for pictures in self._pictures(values):
            for picture in pictures or ():
                seen = Seen.of(picture)
                shape = (picture.shape[0], picture.shape[1], picture.shape[2])
                shapes[shape] = shapes[shape].merge(seen) if shape in shapes else seen
            counts += [len(pictures)] if pictures else []
        return ImageStatistic(shapes, values.missing, (min(counts), max(counts)) if counts else ())

    def finish(self, statistic: Any, where: Where) -> ImageState:
        """Choose size and channels; note a problem if there is no picture, or no size that is common."""
        shapes: dict[Shape, Seen] = statistic.shapes
        if not shapes:
            what, remedy = "all values are missing", "Remove the column from the schema, or give rows that have values."
            where.problems.add(what, column=where.column, remedy=remedy)
            return ImageState(self.size or (1, 1), self.channels or 1, (), (), 0, 0, statistic.missing, (0, 0))
        shape = min(shapes, key=lambda s: (-shapes[s].pictures, s))
        pictures = sum(seen.pictures for seen in shapes.values())
        same = sum(seen.pictures for s, seen in shapes.items() if s[:2] == shape[:2])
        if 2 * same < pictures:
            sizes = len({s[:2] for s in shapes})
            what = f"the pictures have {sizes} sizes, and none that half of them have"
            where.problems.add(what, column=where.column, remedy="Give size=(height, width).")
        mean, spread = shapes[shape].scale()
        return ImageState(
            size=shape[:2],
            channels=shape[2],
            mean=mean,
            spread=spread,
            pictures=pictures,
            others=pictures - shapes[shape].pictures,
            missing=statistic.missing,
            frames=(statistic.frames[0], statistic.frames[-1]),
        )

    def check(self, values: Media, state: ImageState, where: Where) -> None:
        """Examine the cells where nothing else will read them: the table is refused already."""
        if len(where.problems):
            self.examine(values)

    def wires(self, state: ImageState) -> dict[str, Wire]:
        """Rows of pixels (width, channels), or frames (height, width, channels)."""
        row = (state.size[1], state.channels)
        return {"": Wire("uint8", row if self.cell == "picture" else (state.size[0], *row), ragged=True)}

    def encode(self, values: Media, state: ImageState) -> Wires:
        """Cells -> rows of pixels, or frames, uint8."""
        whole = self.cell == "frames"
        flat, counts = [np.zeros((0, *self.wires(state)[""].shape), np.uint8)], []
        for pictures in self._pictures(values, state):
            counts.append(0 if pictures is None else len(pictures) * (1 if whole else state.size[0]))
            flat += [p[None] if whole else p for p in pictures or ()]
        return {"": Ragged(np.concatenate(flat), np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]))}

    def describe(self, state: ImageState) -> dict[str, Any]:
        """Size, channels, counts, and each channel's mean and spread."""
        return {
            "height, width": list(state.size),
            "colours": state.channels,
            "cell": self.cell,
            "pictures": state.pictures,
            "resized": state.others,
            "missing": state.missing,
            "frames": list(state.frames),
            "mean": list(state.mean),
            "spread": list(state.spread),
        }

    # -- trained half -------------------------------------------------------------------------------------------------

    @classmethod
    def module(cls, columns: Mapping[str, tuple[Any, Any]]) -> ImageSteps:
        """Rows of pixels, or frames, as steps."""
        return ImageSteps(columns)

    @classmethod
    def pool(cls, columns: Mapping[str, tuple[Any, Any]]) -> PooledImage:
        """A cell as one vector."""
        return PooledImage(columns)

    # -- twin ---------------------------------------------------------------------------------------------------------

    def onnx(self, g: Graph, x: str, state: ImageState) -> dict[str, str]:
        """Pixels are wires already."""
        return {"": g("Identity", x)}

    def onnx_input(self, state: ImageState) -> tuple[Any, tuple[int | str, ...]]:
        """A row of pixels, or a frame, of the state's size, uint8."""
        return np.uint8, self.wires(state)[""].shape

    def onnx_values(self, values: Media, state: ImageState) -> np.ndarray:
        """The rows, or frames, of all cells, one after the other."""
        wire = self.encode(values, state)[""]
        return wire.flat if isinstance(wire, Ragged) else wire

    # -- contract -----------------------------------------------------------------------------------------------------

    @classmethod
    def examples(cls) -> list[Example]:
        """Grey and coloured pictures, frames, one of 1 x 1, missing cells; one worked by hand."""
        grey, coloured = pl.List(pl.List(pl.UInt8)), pl.List(pl.List(pl.List(pl.UInt8)))
        draw = np.random.default_rng(0)
        tall = [[[0, 1], [2, 3], [4, 255]], None, [[9, 9], [9, 9], [9, 9]]]
        by_hand = [[[[9], [9]], [[9], [9]], [[9], [9]]], [], [[[0], [1]], [[2], [3]], [[4], [255]]]]
        photos = draw.integers(0, 256, (3, 6, 5, 3)).tolist()
        films = [draw.integers(0, 256, (n, 4, 4)).tolist() for n in (2, 1, 3)]
        return [
            Example(cls(), tall, [tall[2], None, tall[0]], {"": by_hand}, grey),
            Example(cls(width=3), photos, [photos[1], None], dtype=coloured),
            Example(cls(cell="frames", width=4), [*films, None], films[1:], dtype=pl.List(grey)),
            Example(cls(size=(1, 1), channels=1, width=2), [[[3]], [[7]]], [[[5]]], dtype=grey),
        ]


class ImageSteps(ColumnModule):
    """Rows of pixels as steps: values ``x[0]``, ..., one per number of a row. Frames: a vector each, extras.

    Shape: wires (B, T, width, channels) or (B, T, height, width, channels) each -> values, present, extras.
    """

    def __init__(self, columns: Mapping[str, tuple[Image, ImageState]]) -> None:
        super().__init__()
        rows = {name: state for name, (column, state) in columns.items() if column.cell == "picture"}
        films = {name: pair for name, pair in columns.items() if name not in rows}
        self.rows, self.films = [wire_name(n, "") for n in rows], [wire_name(n, "") for n in films]
        self.channels = tuple(f"{n}[{i}]" for n, s in rows.items() for i in range(s.size[1] * s.channels))
        self.held = (False,) * len(self.channels)
        self.extras = tuple(f"{n}[{i}]" for n, (column, _) in films.items() for i in range(column.width))
        for name in ("mean", "spread"):
            each = [torch.tensor(getattr(s, name)).float().repeat(s.size[1]) for s in rows.values()]
            self.register_buffer(name, torch.cat(each) if each else None, persistent=False)
        self.stacks = nn.ModuleList(_stack(column, state) for column, state in films.values())

    def forward(self, wires: Mapping[str, Tensor]) -> Part:
        """Wires -> Part."""
        part = Part()
        if self.rows:
            pixels = torch.cat([wires[name].flatten(2) for name in self.rows], dim=-1).float()
            values = (pixels - self.get_buffer("mean")) / self.get_buffer("spread")
            part = part._replace(values=values, present=torch.ones_like(values, dtype=torch.bool))
        if self.films:
            made = [
                stack(wires[n].flatten(0, 1)).unflatten(0, wires[n].shape[:2])
                for n, stack in zip(self.films, self.stacks, strict=True)
            ]
            part = part._replace(extras=torch.cat(made, dim=-1))
        return part

    def onnx(self, g: Graph, wires: Mapping[str, str]) -> TwinPart:
        """The same, in a graph."""
        part = TwinPart()
        if self.rows:
            flat = [g("Reshape", wires[name], g.constant([0, 0, -1])) for name in self.rows]
            pixels = g.cast(g("Concat", *flat, axis=-1), np.float32)
            mean, spread = (g.constant(self.get_buffer(n).cpu().numpy()) for n in ("mean", "spread"))
            values = g("Div", g("Sub", pixels, mean), spread)
            part = part._replace(values=values, present=g("GreaterOrEqual", pixels, g.constant(0.0)))
        if self.films:
            stacks = cast(Iterable[Convolutions], self.stacks)
            made = [_each(g, wires[n], 2, stack) for n, stack in zip(self.films, stacks, strict=True)]
            part = part._replace(extras=g("Concat", *made, axis=-1))
        return part


class PooledImage(PooledModule):
    """One vector per cell from a stack of convolutions, the mean over its frames."""

    def __init__(self, columns: Mapping[str, tuple[Image, ImageState]]) -> None:
        super().__init__(columns)
        self.heights = [s.size[0] if c.cell == "picture" else 0 for c, s in columns.values()]
        self.stacks = nn.ModuleList(_stack(column, state) for column, state in columns.values())

    def pooled(self, number: int, entries: Tensor, lengths: Tensor) -> Tensor:
        pixels, height = entries, self.heights[number]
        if height:  # the rows are those of one picture, of which a batch without any holds too few
            pixels = functional.pad(pixels, (0, 0, 0, 0, 0, height))[:, :, None, :height]
        real = torch.arange(pixels.shape[2], device=pixels.device) < lengths.unsqueeze(-1)
        seen = self.stacks[number](pixels.flatten(0, 2)).unflatten(0, pixels.shape[:3]) * real.unsqueeze(-1)
        mean: Tensor = seen.sum(dim=2) / real.sum(dim=2).clamp_min(1).unsqueeze(-1)
        return mean

    def onnx_pooled(self, g: Graph, number: int, entries: str, lengths: str) -> str:
        pixels, height, two = entries, self.heights[number], g.constant([2])
        if height:
            more = g("Concat", g("Shape", pixels, end=2), g.constant([height]), g("Shape", pixels, start=3), axis=0)
            none = g("Expand", g.constant(np.zeros((1,) * 5, np.uint8)), more)
            pixels = g("Slice", g("Concat", pixels, none, axis=2), g.constant([0]), g.constant([height]), two)
            pixels = g("Unsqueeze", pixels, two)
        count = g("Gather", g("Shape", pixels), g.constant(2), axis=0)
        place = g("Range", g.constant(0), count, g.constant(1))
        real = g.cast(g("Less", place, g("Unsqueeze", lengths, g.constant([-1]))), np.float32)
        stack = cast(Convolutions, self.stacks[number])
        seen = g("Mul", _each(g, pixels, 3, stack), g("Unsqueeze", real, g.constant([-1])))
        frames = g("Max", g("ReduceSum", real, two, keepdims=1), g.constant(1.0))
        return g("Div", g("ReduceSum", seen, two, keepdims=0), frames)


def _named(frame: Any, reader: Callable[[Any], T]) -> T:
    """`reader` on one of several frames; what is wrong with it is said of that frame."""
    try:
        return reader(frame)
    except UnreadableError as error:
        error.entry = frame
        raise


def _stack(column: Image, state: ImageState) -> Convolutions:
    return Convolutions(state.size, state.mean, state.spread, column.width)


def _each(g: Graph, pixels: str, axes: int, stack: Convolutions) -> str:
    """`stack` in a graph, on pictures along the first `axes` axes."""
    lead, entry = g("Shape", pixels, end=axes), g("Shape", pixels, start=axes)
    flat = g("Reshape", pixels, g("Concat", g.constant([-1]), entry, axis=0))
    return g("Reshape", stack.onnx(g, flat), g("Concat", lead, g.constant([-1]), axis=0))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
