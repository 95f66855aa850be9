"""Pictures, whose rows of pixels are the steps: which digit was written?

    python examples/pictures.py                          1,797 digits of 8 x 8 pixels, which scikit-learn brings
    python examples/pictures.py mnist/*/*.png            your files: the name of the folder is what each one shows

The pictures of files may differ in size and colours: they are brought to one size, learnt from the training pictures,
and each colour is standardised by those alone. A file that is no picture is named, with all others that are none.
"""

import sys
from pathlib import Path

import inputlayer as il

if sys.argv[1:]:
    table = {"picture": sys.argv[1:], "digit": [Path(name).parent.name for name in sys.argv[1:]]}
else:
    from sklearn.datasets import load_digits

    digits = load_digits()  # 0 to 16, where a file has 0 to 255
    table = {"picture": [(15 * image).tolist() for image in digits.images], "digit": [str(d) for d in digits.target]}

schema = il.Schema({"picture": il.Image(), "digit": il.Category()}, il.Cells(steps="picture"), target="digit")
train, valid, test = il.split(table, schema, valid=0.1, test=0.2, stratify=True)
model = il.Model(il.InputLayer(schema), il.LSTM(units=32))
model.fit(train, valid, epochs=8, batch=32, lr=0.01)
scores = model.evaluate(test)
print(scores)
