"""The contract of column kinds and stages, as checks: one function per law, each run over the examples a kind brings.

For whoever writes a kind or a stage: ``check_column(MyKind)`` and ``check_stage(MyStage)`` say which law is broken, by
which example, and how. They need the packages onnx and onnxruntime.
"""

from __future__ import annotations

from inputlayer.checks.base import ContractError, named, require
from inputlayer.checks.columns import CELL_LAWS
from inputlayer.checks.pooled import check_pooled_cells
from inputlayer.checks.rows import check_rows_come_one_by_one
from inputlayer.checks.stages import STAGE_LAWS
from inputlayer.columns.base import Column
from inputlayer.stages.base import Stage

COLUMN_LAWS = (*CELL_LAWS, check_rows_come_one_by_one, check_pooled_cells)
"""Every law of a column kind."""


def check_column(kind: type[Column]) -> None:
    """Check every law of `COLUMN_LAWS` on every example of a column kind.

    Raises
    ------
    ContractError
        For the first law broken, naming the example.

    >>> from inputlayer.columns.flag import Flag
    >>> check_column(Flag)
    """
    examples = kind.examples()
    by_hand = any(example.wires for example in examples)
    require(len(examples) >= 3 and by_hand, f"{kind.__name__}: needs 3 examples or more, one with wires by hand")
    for example in examples:
        for law in COLUMN_LAWS:
            named(law, example.column, example)


def check_stage(stage: type[Stage]) -> None:
    """Check every law of `STAGE_LAWS` on every example of a stage.

    Raises
    ------
    ContractError
        For the first law broken, naming the example.

    >>> from inputlayer.stages.instance_norm import InstanceNorm
    >>> check_stage(InstanceNorm)
    """
    examples = stage.examples()
    require(examples, f"{stage.__name__}: has no examples")
    for example in examples:
        for law in STAGE_LAWS:
            named(law, example.describe(), example)


__all__ = ["COLUMN_LAWS", "STAGE_LAWS", "ContractError", "check_column", "check_stage"]
