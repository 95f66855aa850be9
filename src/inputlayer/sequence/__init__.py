"""Which rows make a sequence: `Windows`, `Groups`, `Cells`."""

from __future__ import annotations

from inputlayer.sequence.base import Index, Rows, Sequence
from inputlayer.sequence.cells import Cells
from inputlayer.sequence.groups import Groups
from inputlayer.sequence.windows import Windows

SEQUENCES: dict[str, type[Sequence]] = {s.kind: s for s in (Windows, Groups, Cells)}

__all__ = ["SEQUENCES", "Cells", "Groups", "Index", "Rows", "Sequence", "Windows"]
