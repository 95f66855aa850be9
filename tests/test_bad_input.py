"""What a table may bring that is odd: it works as the laws say, or all of it is named in one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import inputlayer as il
from inputlayer.errors import TableError
from test_nine_kinds import rows, schemas, told, trained

ODD = {
    "empty": "",
    "blanks": " \t\u200b",
    "unseen": "zzz qqq",
    "control": "good\x00\x07 film\x1b[0m",
    "long": "good film " * 100_000,
    "joined": "a\u0301" * 1_000,
}


@pytest.mark.parametrize("road", ["groups", "cells", "cells, steps=text"])
def test_odd_texts_give_finite_answers(road: str) -> None:
    schema, table = schemas()[road], rows()
    if road == "cells, steps=text":  # a step each for a million characters says nothing of the text
        schema = il.Schema(
            {**schema.columns, "text": il.Text(min_count=1, width=3, max_length=50)}, schema.sequence, schema.target
        )
    model = trained(schema, table)
    texts = [list(ODD.values())[i % len(ODD)] if i < len(ODD) else "good" for i in range(len(table["text"]))]
    found = told(model, {**table, "text": texts}).select(pl.selectors.float()).to_numpy()
    assert np.isfinite(found).all()


def test_all_bad_cells_of_a_table_come_in_one_message(tmp_path: Path) -> None:
    sound, picture = tmp_path / "a.wav", tmp_path / "a.png"
    sound.write_text("no sound")
    picture.write_text("no picture")
    bad: dict[str, list[Any]] = {
        "clip": [str(sound), None, str(tmp_path / "gone.wav")],
        "photo": [None, str(picture), None],
        "text": [b"fine", b"\xff\xfe", None],
        "vector": [[1.0, 2.0], [1.0, 2.0], [1.0]],
        "series": [[1.0], [float("inf")], None],
        "y": [1.0, 2.0, 3.0],
    }
    columns = {
        "clip": il.Audio(), "photo": il.Image(), "text": il.Text(), "vector": il.Vector(), "series": il.Series(),
        "y": il.Number(),
    }  # fmt: skip
    pytest.importorskip("soundfile")
    pytest.importorskip("PIL")
    with pytest.raises(TableError) as caught:
        il.InputLayer(il.Schema(columns, il.Cells(), target="y")).fit(bad)
    found = {(p.column, tuple(p.rows)) for p in caught.value.problems if p.rows}
    assert {
        ("text", (1,)),
        ("vector", (2,)),
        ("series", (1,)),
        ("clip", (0,)),
        ("clip", (2,)),
        ("photo", (1,)),
    } <= found
