# The program that this one corrects:
#     data = np.random.rand(100, 10)                              # "100 samples, 10 time steps"
#     scaled = (data - data.mean(axis=0)) / data.std(axis=0)
#     LSTM(32)(Input(shape=(10,)))
#     model.fit(scaled.reshape(1, 100, 10), np.random.rand(1, 100, 1))
# It stops at its LSTM: "expected ndim=3, found ndim=2". Past that, the reshape makes one sample of 100 steps and 10
# numbers out of what was called 100 samples of 10 steps. Mean and spread are of all rows, those held out included, and
# one pair for each place in time. They end with the program, so no forecast can be put back into raw units.
# Here the schema says what a row, a sequence and the target are; what the layer learns, it learns from training rows
# only, one pair for each column; and it goes into the model's file, and into the way back to degrees.
"""A normalised series: the highest temperature of the next 7 days, from the last 30.

python examples/series.py                            Seattle, from the package vega_datasets
python examples/series.py load.csv time load         your file: its column of times, its column to predict
KERAS_BACKEND=torch python examples/series.py --keras           a Keras LSTM behind the same input layer
"""

import sys

import inputlayer as il

given = [argument for argument in sys.argv[1:] if argument != "--keras"]
if not given:
    from vega_datasets import data

    given = [data.seattle_weather.filepath, "date", "temp_max"]
path, order, target = given

table = il.read(path)
columns = {order: il.Timestamp(), target: il.Number()}
schema = il.Schema(columns, il.Windows(order, length=30, horizon=7), target=target)
train, valid, test = il.split(table, schema, valid=0.2, test=0.2)
layer = il.InputLayer(schema).fit(train)

if "--keras" in sys.argv:
    import keras
    import torch

    model = keras.Sequential([il.keras.InputLayer(layer), keras.layers.LSTM(32), keras.layers.Dense(7)])
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    batches, ahead = il.keras.dataset(layer, train, shuffle=True), il.keras.dataset(layer, test, context=valid)
    model.fit(batches, validation_data=il.keras.dataset(layer, valid, context=train), epochs=6, verbose=2)
    scores = model.evaluate(ahead, verbose=0, return_dict=True)  # of what is scaled
    forecast = layer.raw(torch.from_numpy(model.predict(ahead, verbose=0))[..., None])[-1, :, 0]
else:
    model = il.Model(layer, il.LSTM(units=32))
    model.fit(train, valid, epochs=6, lr=0.01)
    scores = model.evaluate(test, context=valid)
    forecast = model.predict(table)
print(scores, forecast, sep="\n")
