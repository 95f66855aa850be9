from __future__ import annotations

import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from inputlayer.errors import MissingExtraError
from inputlayer.graph import IR_VERSION, Graph


def run(g, **feeds):
    model = g.model({})
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)


def test_a_graph_runs():
    g = Graph()
    x = g.input("x", np.float32, ("batch", 2))
    first, second = g("Split", x, outputs=2, axis=1, num_outputs=2)
    g.output("y", g("Sub", first, second), np.float32, ("batch", 1))
    (y,) = run(g, x=np.array([[3, 1], [2, 5]], np.float32))
    assert y.tolist() == [[2], [-3]]


def test_optional_inputs_and_attributes_are_left_out():
    g = Graph()
    x = g.input("x", np.float64, (3,))
    g.output("y", g("Clip", x, None, g.constant(np.float64(1)), doc_string=None), np.float64, (3,))
    assert run(g, x=np.array([-5.0, 0.5, 2.0]))[0].tolist() == [-5.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("value", "dtype", "wanted"),
    [
        (1.5, None, np.float32),
        ([1.5, 2], None, np.float32),
        (3, None, np.int64),
        (True, None, np.bool_),
        (np.float64(1.5), None, np.float64),
        (np.zeros(2, np.float64), None, np.float64),
        (1.5, np.float64, np.float64),
        ([1], np.int32, np.int32),
    ],
)
def test_types_of_constants(value, dtype, wanted):
    g = Graph()
    name = g.constant(value, dtype)
    (tensor,) = [t for t in g.model({}).graph.initializer if t.name == name]
    array = onnx.numpy_helper.to_array(tensor)
    assert array.dtype == wanted
    assert array.tolist() == np.asarray(value).tolist()


def test_equal_constants_are_kept_once():
    g = Graph()
    assert g.constant([1, 2]) == g.constant(np.array([1, 2]))
    assert len({g.constant([1, 2]), g.constant([[1, 2]]), g.constant([1.0, 2.0]), g.constant([1, 3])}) == 4


def test_text():
    g = Graph()
    words = g.constant(["new york", "Köln", ""])
    g.output("y", g("Gather", words, g.input("i", np.int64, ("n",))), np.str_, ("n",))
    assert run(g, i=np.array([1, 0, 2]))[0].tolist() == ["Köln", "new york", ""]


def test_nodes_are_named_after_their_scope():
    g = Graph()
    x = g.input("x", np.float32, ())
    with g.scope("load"), g.scope("scale"):
        g("Neg", x)
    g("Neg", x)
    names = [node.name for node in g.model({}).graph.node]
    assert names[0].startswith("/load/scale/Neg")
    assert len(set(names)) == 2


def test_names_are_never_taken_twice():
    g = Graph()
    g.input("x", np.float32, ())
    g.input("/Neg_0", np.float32, ())
    assert g("Neg", "x") != "/Neg_0"
    with pytest.raises(ValueError, match="already has a tensor named 'x'"):
        g.input("x", np.float32, ())


def test_versions_and_metadata():
    g = Graph()
    g.output("y", g("Neg", g.input("x", np.float32, ())), np.float32, ())
    model = g.model({"schema": "{}"})
    assert model.ir_version == IR_VERSION == 10
    assert {o.domain: o.version for o in model.opset_import} == {"": 21, "ai.onnx.ml": 4}
    assert {p.key: p.value for p in model.metadata_props} == {"schema": "{}"}
    unused = g.hint(g("Tokenizer", g.constant(["a b"]), domain="com.microsoft"), np.str_, ("n", "m"))
    model = g.model({})
    assert [n.op_type for n in model.graph.node] == ["Neg", "Identity"]
    assert not model.graph.initializer
    g.output("words", unused, np.str_, ("n", "m"))
    model = g.model({})
    assert "com.microsoft" in {o.domain for o in model.opset_import}
    assert len(model.graph.value_info) == 1


def test_without_onnx(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"Writing an ONNX graph needs the package 'onnx'.*inputlayer\[onnx\]"):
        Graph()
