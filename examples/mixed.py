# The program that this one corrects:
#     scaled = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)               # 100 rows of 10 numbers
#     merged = concatenate([Input(shape=(10,)), Embedding(5, 10)(Input(shape=(1,)))])
#     LSTM(32)(tf.expand_dims(merged, axis=1))
# It stops at `concatenate`: the numbers have shape (batch, 10), the embedding (batch, 1, 10). Past that, each sequence
# has one step, of which an LSTM makes nothing that a dense layer does not; a category that was not among the five stops
# it at serving, a missing number makes every output NaN, and mean and spread are of all rows and end with the program.
# Here each column says what it holds, and its part is joined to the others at every step of a window of rows. What is
# unseen or missing has its place, is trained for, and never stops a forecast.
"""Numbers and a category joined at each step: tomorrow's highest temperature, from a month of weather.

python examples/mixed.py                             Seattle, from the package vega_datasets
python examples/mixed.py load.csv load               your file, and its column to predict; the rest is guessed
KERAS_BACKEND=torch python examples/mixed.py --keras            a Keras LSTM behind the same input layer
"""

import sys

import inputlayer as il

given = [argument for argument in sys.argv[1:] if argument != "--keras"]
if not given:
    from vega_datasets import data

    given = [data.seattle_weather.filepath, "temp_max"]

table = il.read(given[0])
schema = il.infer(table, target=given[1], length=30, horizon=1)
print(*(f"{name}: {reason}" for name, reason in schema.reasons.items()), sep="\n")
train, valid, test = il.split(table, schema, valid=0.2, test=0.2)
layer = il.InputLayer(schema).fit(train)

if "--keras" in sys.argv:
    import keras

    model = keras.Sequential([il.keras.InputLayer(layer), keras.layers.LSTM(32), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    batches, ahead = il.keras.dataset(layer, train, shuffle=True), il.keras.dataset(layer, test, context=valid)
    model.fit(batches, validation_data=il.keras.dataset(layer, valid, context=train), epochs=6, verbose=2)
    scores = model.evaluate(ahead, verbose=0, return_dict=True)  # of what is scaled
else:
    model = il.Model(layer, il.LSTM(units=32))
    model.fit(train, valid, epochs=6, lr=0.01)
    print(model.show(test, context=valid))
    scores = model.evaluate(test, context=valid)
print(scores)
