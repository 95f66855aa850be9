"""Claim: raw sentences become padded batches of codes 5 times as fast as by Keras, 2 times as fast as by Python.

The 10,662 movie reviews, 10 times over, batches of 64. All cut them by one rule (a run of letters, marks and digits is
a word, any other sign a word by itself, A to Z in lower case), and look words up in one vocabulary (20,000, each seen
twice): 0 is padding, 1 unseen. The sentences stand in memory as each library likes them (a polars column, a tensor of
strings, a list); timed is one pass over the batches, everything from the sentence on included, again and again for 5 s.
The note holds the sum of all codes: the same sum, the same work (Python lowers a few more letters). Keras comes in 3
ways: the layer called batch by batch; mapped over a `tf.data` pipeline, on all threads; and the same with Keras' own
rule, which does less (signs are thrown away).
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from common import BATCH, THREADS, Stopwatch, System, main, rates, review_sentences

COPIES, SECONDS, VOCABULARY = 10, 5, 20_000


def sentences() -> list[str]:
    reviews = review_sentences("negative") + review_sentences("positive")
    return [f"{review} {copy}" for copy in range(COPIES) for review in reviews]  # all of them different


def passes(batches: Callable[[], Iterable[Any]], count: int, total: Callable[[Any], Any]) -> dict[str, Any]:
    watch, begun = Stopwatch(), time.perf_counter()
    while len(watch.laps) < 2 or time.perf_counter() - begun < SECONDS:
        watch.repeat(lambda: [None for _ in batches()], 1)
    return watch.rates(count, f"codes sum to {sum(int(total(b)) for b in batches()):,}")


def ours() -> dict[str, Any]:
    import polars as pl
    import torch

    import inputlayer as il

    torch.set_num_threads(THREADS)
    table = pl.DataFrame({"sentence": sentences()}).with_row_index("row")
    schema = il.Schema({"sentence": il.Text(max_size=VOCABULARY), "row": il.Number()}, il.Cells("sentence"), "row")
    layer, raw = il.InputLayer(schema).fit(table), table.select("sentence")
    return passes(lambda: layer.batches(raw, BATCH), len(raw), lambda b: b.steps["sentence"].sum())


def words_of(sentence: str) -> list[str]:
    """The same rule for Python's `re`, as far as the reviews go: they hold no mark by itself."""
    return re.findall(r"\w+|[^\w\s]", lowered(sentence))


def lowered(sentence: str) -> str:
    return re.sub("[A-Z]+", lambda found: found[0].lower(), sentence)


def vocabulary() -> list[str]:
    counts = Counter(word for sentence in sentences() for word in words_of(sentence))
    return sorted((w for w in counts if counts[w] > 1), key=lambda w: (-counts[w], w))[:VOCABULARY]


def python() -> dict[str, Any]:
    """As torchtext did it: a tokeniser in Python, a dictionary, `pad_sequence`."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    torch.set_num_threads(THREADS)
    raw, find = sentences(), re.compile(r"\w+|[^\w\s]").findall
    codes = {word: code for code, word in enumerate(vocabulary(), 2)}

    def batch(some: list[str]) -> torch.Tensor:
        found = [torch.tensor([codes.get(word, 1) for word in find(sentence.lower())]) for sentence in some]
        return pad_sequence(found, batch_first=True)

    return passes(
        lambda: (batch(raw[i : i + BATCH]) for i in range(0, len(raw), BATCH)), len(raw), lambda codes: codes.sum()
    )


def keras_layer(own_rule: bool = False) -> Any:
    import keras
    import tensorflow as tf

    def spaced(text: Any) -> Any:
        return tf.strings.regex_replace(tf.strings.lower(text), r"([^\pL\pM\pN_\s])", r" \1 ")

    rule = "lower_and_strip_punctuation" if own_rule else spaced
    return keras.layers.TextVectorization(standardize=rule, output_mode="int", vocabulary=vocabulary())


def keras_by_batch() -> dict[str, Any]:
    import tensorflow as tf

    layer, raw = keras_layer(), tf.constant(sentences())
    count = len(raw)
    return passes(lambda: (layer(raw[i : i + BATCH]) for i in range(0, count, BATCH)), count, lambda b: b.numpy().sum())


def keras_pipeline(own_rule: bool = False) -> dict[str, Any]:
    import tensorflow as tf

    raw = sentences()
    dataset = tf.data.Dataset.from_tensor_slices(raw).batch(BATCH)
    mapped = dataset.map(keras_layer(own_rule), num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return passes(lambda: mapped, len(raw), lambda b: b.numpy().sum())


def keras_own_rule() -> dict[str, Any]:
    return keras_pipeline(own_rule=True)


TENSORFLOW = {"KERAS_BACKEND": "tensorflow"}
SYSTEMS = [
    System("inputlayer", ours, peer=False),
    System("Keras TextVectorization by batch", keras_by_batch, environment=TENSORFLOW),
    System("Keras TextVectorization in tf.data", keras_pipeline, environment=TENSORFLOW),
    System("the same, Keras' own rule", keras_own_rule, environment=TENSORFLOW),
    System("Python, as in torchtext", python),
]

if __name__ == "__main__":
    main(__file__, SYSTEMS, lambda found: "## Sentences to batches\n\n" + rates(found, "sentences/s", "inputlayer"))
