from __future__ import annotations

import random
import re
import sys
import time
import unicodedata

import numpy as np
import polars as pl
import pytest
import torch

import inputlayer as il
from inputlayer.checks import COLUMN_LAWS
from inputlayer.checks.base import run_graph
from inputlayer.codes import FIRST, MISSING, UNSEEN
from inputlayer.columns.base import Example, Where
from inputlayer.columns.text import Text
from inputlayer.errors import MissingExtraError, OptionError, Problems, TableError
from inputlayer.graph import Graph
from inputlayer.store import pack, unpack
from inputlayer.tokens import WORD, lowered
from inputlayer.words import cut

POINTS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
EVERY = ["".join(POINTS[i : i + 1000]) for i in range(0, len(POINTS), 1000)]


def accept(column, cells, dtype=pl.String, first_row=0):
    problems = Problems()
    values = column.accept(pl.Series("x", cells, dtype=dtype), Where("x", first_row, problems))
    return values, [str(p) for p in problems]


def learn(column, *blocks):
    problems, statistic = Problems(), None
    for cells in blocks:
        found = column.learn(accept(column, cells)[0], 0)
        statistic = found if statistic is None else statistic.merge(found)
    return column.finish(statistic, Where("x", 0, problems)), [str(p) for p in problems]


def codes(column, state, cells):
    wire = column.encode(accept(column, cells)[0], state)[""]
    return [wire.flat[a:b].tolist() for a, b in zip(wire.offsets[:-1], wire.offsets[1:], strict=True)]


def words(text):
    cut_up = cut(pl.Series([text]), lower=False)
    return [cut_up.one(i).decode() for i in range(len(cut_up.starts))]


# -- the rule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Don't panic :-)", ["Don", "'", "t", "panic", ":", "-", ")"]),
        ("snake_case, 3.5%", ["snake_case", ",", "3", ".", "5", "%"]),
        ("na\u00efve nai\u0308ve", ["na\u00efve", "nai\u0308ve"]),  # a mark belongs to its letter
        ("\u0939\u093f\u0928\u094d\u0926\u0940", ["\u0939\u093f\u0928\u094d\u0926\u0940"]),  # vowel signs too
        ("a\u00a0b\u3000c\u200bd\ufeffe\x85f\x00g", list("abcdefg")),  # blanks of every kind, controls among them
        ("\U0001f600\U0001f600\ufe0f!", ["\U0001f600", "\U0001f600", "!"]),
        ("\u00bfqu\u00e9\u2026?", ["\u00bf", "qu\u00e9", "\u2026", "?"]),
    ],
)
def test_words(text, wanted):
    assert words(text) == wanted


def test_letters_are_those_of_unicode():
    old = unicodedata.ucd_3_2_0  # what it assigns, every Python and every later version assigns
    known = [p for p in POINTS if old.category(p) not in ("Cn", "Co") and not 0xFE00 <= ord(p) <= 0xFE0F]
    found = pl.Series([f"a{point}b" for point in known]).str.extract_all(WORD).to_list()
    for point, parts in zip(known, found, strict=True):
        category = unicodedata.category(point)
        kind = "letter" if category[0] in "LMN" or point == "_" else "blank" if category[0] in "ZC" else "sign"
        assert parts == {"letter": [f"a{point}b"], "blank": ["a", "b"], "sign": ["a", point, "b"]}[kind], hex(
            ord(point)
        )


def test_only_a_to_z_are_lowered():
    assert lowered(pl.Series(EVERY)).to_list() == [re.sub("[A-Z]", lambda m: m[0].lower(), text) for text in EVERY]


def fuzzed(count):
    rng = random.Random(0)
    ranges = [
        (0x20, 0x7F),
        (0, 0x20),
        (0x80, 0x250),
        (0x300, 0x370),
        (0x900, 0xE00),
        (0x2000, 0x2100),
        (0x3000, 0x3100),
    ]
    ranges += [(0xE000, 0x10000), (0x10000, 0x11000), (0x1F300, 0x1FB00), (0xE0000, 0xE0200), (0x41, 0x5B)]
    for _ in range(count):
        some = rng.sample(ranges, 3)
        yield "".join(chr(rng.randrange(*rng.choice(some))) for _ in range(rng.randint(0, 40)))


@pytest.mark.parametrize(
    "column", [Text(), Text(lower=False, max_length=7), Text(tokens="character"), Text(max_size=9)]
)
def test_the_graph_cuts_every_text_alike(column):
    cells = [*EVERY, *fuzzed(500), "", " ", "\x00", "a\x00b", "word " * 50]
    state, _ = learn(column, EVERY[:30], list(fuzzed(300)), ["word"])
    g = Graph()
    wires = column.onnx(g, g.input("x", object, ("batch",)), state)
    g.output("codes", wires[""], np.int32, ("batch", "tokens"))
    g.output("lengths", wires["lengths"], np.int64, ("batch",))
    found = run_graph(g, {"x": column.onnx_values(accept(column, cells)[0], state)})
    wanted = codes(column, state, cells)
    assert found["lengths"].tolist() == list(map(len, wanted))
    assert [row[: len(w)].tolist() for row, w in zip(found["codes"], wanted, strict=True)] == wanted


@pytest.mark.parametrize("cells", [[""], ["  ", ""]])
def test_the_graph_takes_a_batch_without_any_token(cells):
    column, g = Text(min_count=1), Graph()
    state, _ = learn(column, ["a"])
    wires = column.onnx(g, g.input("x", object, ("batch",)), state)
    g.output("codes", wires[""], np.int32, ("batch", "tokens"))
    assert run_graph(g, {"x": np.array(cells, object)})["codes"].tolist() == [[MISSING]] * len(cells)


# -- learning ---------------------------------------------------------------------------------------------------------


def test_the_vocabulary_is_by_count_and_then_by_value():
    state, _ = learn(Text(), ["b a c", "A"], ["b c, x", None, ""])
    assert (state.words, state.counts) == (("a", "b", "c"), (2, 2, 2))
    assert (state.cells, state.missing, state.tokens, state.unseen, state.longest) == (5, 2, 8, 2, 4)


def test_the_vocabulary_can_be_held_small():
    state, _ = learn(Text(max_size=1, min_count=1), ["b a c a"])
    assert state.words == ("a",)
    assert codes(Text(), state, ["a b"]) == [[FIRST, UNSEEN]]


def test_what_is_cut_off_is_not_learnt():
    column = Text(max_length=2, min_count=1)
    state, _ = learn(column, ["a b c", "a"])
    assert state.words == ("a", "b")
    assert codes(column, state, ["b a a a"]) == [[3, 2]]


def test_a_cell_without_a_token_is_one_step_of_missing():
    column = Text(min_count=1)
    state, _ = learn(column, ["a b"])
    assert codes(column, state, ["", "a", None, " \t\x00\u200b", "z"]) == [
        [MISSING],
        [FIRST],
        [MISSING],
        [MISSING],
        [UNSEEN],
    ]
    wires = column.encode(accept(column, ["", "a", None, "z"])[0], state)
    assert column.missing(wires).tolist() == [True, False, True, False]


def test_other_columns_of_text_are_read_as_text():
    for dtype in (pl.Categorical, pl.Enum(["a b", "c"])):
        assert accept(Text(), ["a b", None, "c"], dtype)[0].to_list() == ["a b", None, "c"]
    assert accept(Text(), [b"\xc3\xa4", None], pl.Binary)[0].to_list() == ["\u00e4", None]


def test_bad_cells_are_noted():
    values, problems = accept(Text(), [b"ok", b"\xff\xfe", None], pl.Binary, first_row=7)
    assert values.to_list() == ["ok", None, None]
    assert problems == [
        "column 'x': is not text in UTF-8 (row 8 = b'\\xff\\xfe'). Read the file in its own encoding first."
    ]
    assert accept(Text(), [1.5, None], pl.Float64)[1] == [
        "column 'x': holds Float64, not text (row 0 = 1.5). Use Number()."
    ]
    assert "holds List(String), not text" in accept(Text(), [["a"]], pl.List(pl.String))[1][0]


def test_nothing_to_learn_is_a_problem():
    assert "no cell holds any text" in learn(Text(), ["", None])[1][0]
    assert learn(Text(), ["a b"])[1] == ["column 'x': no token occurs min_count=2 times. Lower min_count."]


@pytest.mark.parametrize("tokens", ["word", "character"])
@pytest.mark.parametrize("unit", ["a", ".", "\n", "a\u0301", "\u200d", "\u0627", "aB ", "\U0001f600", "'"])
def test_a_million_characters_take_linear_time(tokens, unit):
    column = Text(tokens=tokens, min_count=1)
    state, _ = learn(column, ["a."])

    def seconds(length):
        cells = accept(column, [unit * (length // len(unit))])[0]
        times = []
        for _ in range(3):
            start = time.process_time()
            column.encode(cells, state)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(1_000_000) < 40 * max(seconds(100_000), 0.002)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": "words"}, "tokens='words' is not one of .* Did you mean 'word'"),
        ({"max_length": 0}, "max_length=0 is not a whole number"),
        ({"max_size": None}, "max_size=None is not a whole number"),
        ({"dropout": 1}, "dropout=1 is not a share"),
        ({"role": "target"}, "a text cannot be a target"),
        ({"vectors": "v.txt", "width": 3}, "width=3 has no effect"),
        ({"vectors": "v.txt", "tokens": "bpe"}, "vectors has no effect with tokens='bpe'"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(OptionError, match=message):
        Text(**options)


# -- the trained half -------------------------------------------------------------------------------------------------


def test_the_unseen_stands_for_the_average_token():
    column = Text(min_count=1, width=3)
    state, _ = learn(column, ["a a a b"])
    module = column.module({"x": (column, state)})
    zero, unseen, a, b = module({"x": torch.tensor([[0, 1, 2, 3]])}).extras[0]
    assert zero.tolist() == [0.0] * 3
    torch.testing.assert_close(unseen, 0.75 * a + 0.25 * b)


def test_dropped_tokens_are_read_as_unseen_in_training_only():
    column = Text(min_count=1, dropout=0.5)
    state, _ = learn(column, ["a b"])
    given = {"x": torch.tensor([[0, 2] * 500], dtype=torch.int32)}
    for module in (column.module({"x": (column, state)}), column.pool({"x": (column, state)})):
        wires = given if module.__class__.__name__ == "TextModule" else {"x": given["x"].unsqueeze(1)}
        torch.manual_seed(0)
        before = module.eval()(wires).extras
        torch.testing.assert_close(module(wires).extras, before)
        dropped = module.train()(wires).extras
        assert not torch.equal(dropped, before)
        if module.__class__.__name__ == "TextModule":
            changed = (dropped != before).any(dim=-1)[0]
            assert not changed[::2].any()  # what is missing stays missing
            assert 0.4 < changed[1::2].float().mean() < 0.6


def test_a_pooled_cell_weighs_as_much_as_one_number():
    column = Text(min_count=1)
    state, _ = learn(column, [" ".join(f"w{i}" for i in range(400))])
    torch.manual_seed(0)
    module = column.pool({"x": (column, state)})
    vector = module({"x": torch.arange(2, 402).view(1, 1, -1)}).extras
    assert 0.7 < vector.norm() < 1.4


def test_a_pooled_cell_is_the_mean_of_its_tokens():
    column = Text(min_count=1, width=3)
    for cells, flags in ((["a b"], ()), (["a b", None], ("x missing",))):
        state, _ = learn(column, cells)
        module = column.pool({"x": (column, state)})
        given = torch.tensor([[[2, 3, 2, 0], [0, 0, 0, 0], [3, 0, 0, 0]]], dtype=torch.int32)
        vectors = module({"x": given}).extras[0]
        a, b = module.tables[0].weight[2:]
        torch.testing.assert_close(vectors[:, :3], torch.stack([(2 * a + b) / 3, 0 * a, b]))
        assert module.extras[3:] == flags
        assert vectors[:, 3:].flatten().tolist() == ([0.0, 1.0, 0.0] if flags else [])


def test_a_text_is_a_column_like_any_other(tmp_path):
    rows = {
        "text": ["good film", "bad film", "", "good, good", None, "bad!", "so bad", "a good one"] * 4,
        "note": ["x y", "y", "x", None, "y x", "", "z", "y"] * 4,
        "label": ["p", "n", "n", "p", "p", "n", "n", "p"] * 4,
    }
    schema = il.Schema(
        {"text": il.Text(), "note": il.Text(width=2), "label": il.Category()}, il.Cells(steps="text"), target="label"
    )
    model = il.Model(il.InputLayer(schema), il.LSTM(units=4, bidirectional=True, reduce="max"))
    model.fit(rows, epochs=2, device="cpu")
    assert next(iter(model.layer.batches(rows, 32))).lengths.min() == 1
    model.save(tmp_path / "m.safetensors")
    told = il.load(tmp_path / "m.safetensors").predict(rows)
    assert told.equals(model.predict(rows))
    assert "text text steps" in " ".join(str(model.show(rows)).split())


# -- vectors ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def vectors(tmp_path):
    path = tmp_path / "vectors.txt"

    def write(text):
        path.write_bytes(text.encode("latin1"))
        return Text(vectors=str(path), min_count=1)

    return write


@pytest.mark.parametrize("head", ["", "3 2\n"])
def test_an_embedding_starts_from_given_vectors(vectors, head):
    column = vectors(f"{head}b 0.5 -1\nzzz 9 9 9\na 2 3e0 \nb 7 7\n")
    state, _ = learn(column, ["a b c a"])
    assert (state.words, state.known, state.width) == (("a", "b", "c"), (0, 1), 2)
    told, arrays = pack(state)
    state = unpack(type(state), told, arrays)  # the file is not asked again
    table = column.module({"x": (column, state)}).tables[0].weight
    assert table[FIRST : FIRST + 2].tolist() == [[2.0, 3.0], [0.5, -1.0]]
    assert table[FIRST + 2].abs().min() > 0
    assert table.requires_grad


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2\nb 1\n", "line 2 does not hold 2 finite numbers after 'b'"),
        ("a 1 x\n", "line 1 does not hold any finite numbers after 'a'"),
        ("a 1 2\nb 1 nan\n", "line 2 does not hold 2 finite numbers"),
        ("zzz 1 2\n", "has a vector for no word of the vocabulary"),
        ("\xff 1 2\n", "cannot be read: 'utf-8' codec"),
    ],
)
def test_a_bad_file_of_vectors(vectors, text, message):
    with pytest.raises(TableError, match=message):
        learn(vectors(text), ["a b"])


def test_no_file_of_vectors():
    with pytest.raises(TableError, match=r"cannot be read: .*No such file"):
        learn(Text(vectors="nowhere.txt"), ["a a"])


# -- pieces -----------------------------------------------------------------------------------------------------------

TOLD = ["hug pug pun bun hugs", "hug hug pug hugs", None, "bun pug \u00e9"]


def bpe(**options):
    pytest.importorskip("tokenizers")
    return Text(tokens="bpe", **options)


def test_pieces_worked_by_hand():
    column = bpe(max_size=10)
    state, _ = learn(column, TOLD)
    # characters twice or more: b g h n p s u; pairs: ug 8 (hug 3, hugs 2, pug 3), then h+ug 5, then p+ug and un 3
    assert state.words == ("b", "g", "h", "n", "p", "s", "u", "ug", "hug", "pug")
    assert state.merges == ("u g", "h ug", "p ug")
    assert codes(column, state, ["Hugs bug", "\u00e9p", ""]) == [[10, 7, 2, 9], [UNSEEN, 6], [MISSING]]
    assert dict(zip(state.words, state.counts, strict=True))["hug"] == 5
    assert state.unseen == 1


def test_pieces_of_a_word_as_long_as_a_book():
    """The trainer takes the square of a word's length in steps, so that this would go on for half an hour."""
    column = bpe(max_size=20)
    state, _ = learn(column, [*TOLD, "pug" * 300_000, "x" * 1_000_000])
    assert {"pug", "xx"} <= set(state.words)
    (found,) = codes(column, state, ["x" * 1_000_000])
    assert len(found) < 600_000


def test_pieces_are_cut_off_and_parted_by_words():
    column = bpe(max_length=3)
    state, _ = learn(column, TOLD)
    assert [len(c) for c in codes(column, state, ["hug hug hug hug", "\u00e9\u00e9\u00e9\u00e9 a", "hug"])] == [3, 3, 1]


@pytest.mark.parametrize("law", [law for law in COLUMN_LAWS if "twin_encodes" not in law.__name__])
def test_laws_of_pieces(law):
    law(Example(bpe(max_size=12), TOLD, ["hugs", "x y", "", None], dtype=pl.String))


def test_the_same_words_give_the_same_pieces():
    rng = random.Random(1)
    texts = [" ".join("".join(rng.choices("abcd\u00e9", k=rng.randint(1, 6))) for _ in range(20)) for _ in range(100)]
    column = bpe(max_size=60)
    first, _ = learn(column, texts)
    for _ in range(3):
        rng.shuffle(texts)
        again, _ = learn(column, texts[:30], texts[30:])
        assert (again.words, again.merges, again.counts) == (first.words, first.merges, first.counts)


def test_pieces_have_no_graph():
    column = bpe()
    state, _ = learn(column, TOLD)
    with pytest.raises(OptionError, match="tokens='bpe' cannot be written as ONNX"):
        column.onnx(Graph(), "x", state)


def test_pieces_need_their_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"needs the package 'tokenizers'.*inputlayer\[text\]"):
        learn(Text(tokens="bpe"), TOLD)
