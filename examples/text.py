# The program that this one corrects:
#     text_data = np.random.randint(0, 1000, size=(100, 20))      # "already tokenized"
#     LSTM(64)(Embedding(1000, 50)(Input(shape=(20,))))
#     model.fit(text_data, np.random.randint(0, 2, size=(100, 1)), epochs=10)
# It runs, and its loss falls to 0.1: it learns random labels by heart, and nothing is held out that would show it. No
# text was ever read: what cuts and numbers the words is missing, and so is what becomes of a word that it never saw.
# Every text has 20 words; were shorter ones filled up with 0, that is a word too, and nothing masks it.
# Here the cells are texts. Words are counted in the training rows; unseen ones and padding have codes of their own;
# each text keeps its length, and padding is masked; the score is of held-out rows, beside that of the majority.
"""Text, in tokens and their embedding: is a docstring of Python's about numbers, files or the network?

python examples/text.py                              the docstrings of some modules of the standard library
python examples/text.py sms.csv text label           your file: its column of texts, its column to predict
KERAS_BACKEND=torch python examples/text.py --keras             a Keras LSTM behind the same input layer
"""

import sys
from importlib import import_module
from inspect import getdoc, getmembers

import inputlayer as il

TOPICS = {
    "numbers": ["math", "cmath", "decimal", "fractions", "statistics", "random", "numbers", "operator"],
    "files": ["os", "io", "pathlib", "shutil", "tempfile", "zipfile", "tarfile", "glob"],
    "network": ["socket", "ssl", "http.client", "urllib.request", "smtplib", "imaplib", "ftplib", "email.message"],
}


def docstrings() -> dict[str, list[str]]:
    """Each text once, with its topic."""
    modules = [(import_module(name), topic) for topic, names in TOPICS.items() for name in names]
    owners = [(member, topic) for module, topic in modules for _, member in getmembers(module) if callable(member)]
    methods = [(member, topic) for owner, topic in owners for _, member in getmembers(owner) if isinstance(owner, type)]
    found = {doc: topic for thing, topic in [*owners, *methods] if (doc := getdoc(thing)) and len(doc) > 30}
    return {"text": list(found), "label": list(found.values())}


given = [argument for argument in sys.argv[1:] if argument != "--keras"]
table, text, label = (il.read(given[0]), *given[1:]) if given else (docstrings(), "text", "label")

columns = {text: il.Text(max_length=60, width=16), label: il.Category()}
schema = il.Schema(columns, il.Cells(steps=text), target=label)
train, valid, test = il.split(table, schema, valid=0.1, test=0.2, stratify=True)
layer = il.InputLayer(schema).fit(train)

if "--keras" in sys.argv:
    import keras

    classes = layer.learnt.states[label].vocabulary
    ending = [keras.layers.LSTM(32), keras.layers.Dense(len(classes), activation="softmax")]
    model = keras.Sequential([il.keras.InputLayer(layer), *ending])
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    batches, held = il.keras.dataset(layer, train, 32, shuffle=True), il.keras.dataset(layer, test)
    model.fit(batches, validation_data=il.keras.dataset(layer, valid), epochs=4, verbose=2)
    scores = model.evaluate(held, verbose=0, return_dict=True)
else:
    model = il.Model(layer, il.LSTM(units=32))
    model.fit(train, valid, epochs=4, batch=32, lr=0.01)
    scores = model.evaluate(test)
print(scores)
