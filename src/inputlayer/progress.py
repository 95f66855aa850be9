"""A progress bar for work that takes more than a moment: on a terminal only, on standard error only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_DELAY = 1.0  # seconds of work before a bar is worth a look

_silent: ContextVar[bool] = ContextVar("_silent", default=False)
_outer: ContextVar[_Bar | None] = ContextVar("_outer", default=None)


@contextmanager
def quiet() -> Iterator[None]:
    """Show no progress bar inside this block.

    >>> with quiet(), progress("Learning statistics", total=2) as advance:
    ...     advance(2)
    """
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


@contextmanager
def progress(title: str, total: int | None, *, inner: bool = False) -> Iterator[Callable[[int], None]]:
    """Give a function to call with the number of units done since its last call.

    A bar appears on standard error once the work has taken a second, and goes when it ends. Nothing is written where
    standard error is no terminal, inside `quiet`, or inside another `progress`: the outer one counts all of the work.
    `total` is the number of units, or None where it is not known beforehand. With `inner` the bar also appears inside
    another one that is not drawn yet: for steps of the outer one that take long themselves.

    >>> with progress("Learning statistics", total=3) as advance:
    ...     for _ in range(3):
    ...         advance(1)
    """
    outer = _outer.get()
    free = outer is None or (inner and not outer.drawn)
    bar = _Bar(title, total, shown=free and not _silent.get() and sys.stderr is not None and sys.stderr.isatty())
    token = _outer.set(bar)
    try:
        yield bar.advance
    finally:
        _outer.reset(token)
        bar.close()


class _Bar:
    def __init__(self, title: str, total: int | None, *, shown: bool) -> None:
        self._title = title
        self._total = total
        self._done = 0
        self._start_at = time.monotonic() + _DELAY if shown else float("inf")
        self._drawn: tuple[Progress, TaskID] | None = None

    @property
    def drawn(self) -> bool:
        return self._drawn is not None

    def advance(self, units: int) -> None:
        self._done += units
        if self._drawn is None and time.monotonic() >= self._start_at:
            self._drawn = self._draw()
        if self._drawn is not None:
            drawing, task = self._drawn
            drawing.update(task, completed=self._done)

    def close(self) -> None:
        if self._drawn is not None:
            self._drawn[0].stop()

    def _draw(self) -> tuple[Progress, TaskID]:
        # Imported here, because most runs never draw and `import inputlayer` has to stay quick.
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        # Standard output is not redirected: rich would send what is printed meanwhile to standard error.
        drawing = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
        drawing.start()
        return drawing, drawing.add_task(self._title, total=self._total)
