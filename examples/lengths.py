"""Sequences of uneven length: is a spell of rain one of summer, or of winter?

    python examples/lengths.py                           days of rain in Seattle, from the package vega_datasets
    python examples/lengths.py data.csv id day label     your file: what names a sequence, orders its rows, is predicted

A batch is padded at its end to its longest sequence. To keep that little, sequences of like length stand together; the
order of the batches is drawn anew in each epoch all the same. Padding changes nothing: not what is learnt, and not an
answer, which is the same for a spell alone as among others.
"""

import sys

import polars as pl

import inputlayer as il

if sys.argv[1:]:
    path, by, order, label = sys.argv[1:]
    rows = pl.read_csv(path, try_parse_dates=True)
else:
    from vega_datasets import data

    by, order, label = "spell", "date", "half"
    rows = pl.read_csv(data.seattle_weather.filepath, try_parse_dates=True).drop("weather")
    rows = rows.with_columns(spell=(pl.col("precipitation") > 0).rle_id()).filter(pl.col("precipitation") > 0)
    summer = pl.col("date").first().over("spell").dt.month().is_between(4, 9)
    rows = rows.with_columns(half=pl.when(summer).then(pl.lit("summer")).otherwise(pl.lit("winter")))

columns = {n: il.Number() for n, dtype in rows.schema.items() if dtype.is_numeric() and n not in (by, label)}
schema = il.Schema({**columns, label: il.Category()}, il.Groups(by, order=order), target=label)
train, valid, test = il.split(rows, schema, valid=0.2, test=0.2, stratify=True)
model = il.Model(il.InputLayer(schema), il.LSTM(units=16, bidirectional=True))
model.fit(train, valid, epochs=8, batch=16, lr=0.01)
scores = model.evaluate(test)
print(scores)

batches = model.layer.batches(train, 16, shuffle=True)
lengths = batches.length
print(f"{lengths.min()} to {lengths.max()} days a spell; {batches.padding():.0%} of what the batches hold is padding")
among = model.predict(test)
one = among[0, by]
alone = model.predict(test.filter(pl.col(by) == one))
print(f"spell {one} alone, and among others:", alone, among[:1], sep="\n")
