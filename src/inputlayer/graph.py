"""A small builder of ONNX graphs. The twin of every kind, stage, body and head gets one as its argument `g`.

onnx is an optional package: it is imported when a `Graph` is made, never before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import numpy as np

from inputlayer.errors import MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

    import onnx

IR_VERSION = 10
OPSETS = {"": 21, "ai.onnx.ml": 4, "com.microsoft": 1}
_ALWAYS = ("", "ai.onnx.ml")


class Graph:
    """An ONNX graph under construction; tensors are known by their names.

    Raises `MissingExtraError` if the package onnx is not installed. Nodes carry names (with the `scope` they were made
    in), so that a failure inside a runtime says where it happened. Equal constants are kept once.

    >>> g = Graph()
    >>> x = g.input("x", np.float64, ("batch",))
    >>> scaled = g("Div", g("Sub", x, g.constant(np.float64(3))), g.constant(np.float64(2)))
    >>> g.output("y", g.cast(scaled, np.float32), np.float32, ("batch",))
    >>> [node.op_type for node in g.model({}).graph.node]
    ['Sub', 'Div', 'Cast', 'Identity']
    """

    def __init__(self) -> None:
        self._onnx = _import_onnx()
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}
        self._hints: list[onnx.ValueInfoProto] = []
        self._names: set[str] = set()
        self._scope: list[str] = []

    @overload
    def __call__(
        self,
        op: str,
        *inputs: str | None,
        outputs: Literal[1] = 1,
        domain: str = "",
        name: str | None = None,
        **attrs: Any,
    ) -> str: ...

    @overload
    def __call__(
        self, op: str, *inputs: str | None, outputs: int, domain: str = "", name: str | None = None, **attrs: Any
    ) -> tuple[str, ...]: ...

    def __call__(
        self,
        op: str,
        *inputs: str | None,
        outputs: int = 1,
        domain: str = "",
        name: str | None = None,
        **attrs: Any,
    ) -> str | tuple[str, ...]:
        """Add a node; return the name of its output, or a tuple of names where `outputs` is not 1.

        An input of None is an optional one left out. Attributes that are NumPy dtypes or arrays are converted, those
        that are None are left out.
        """
        node_name = self._fresh(name or op)
        results = [node_name] if outputs == 1 else [self._fresh(f"{name or op}:{i}") for i in range(outputs)]
        given = {key: self._attribute(value) for key, value in attrs.items() if value is not None}
        names = ["" if i is None else i for i in inputs]
        self._nodes.append(self._onnx.helper.make_node(op, names, results, name=node_name, domain=domain, **given))
        return results[0] if outputs == 1 else tuple(results)

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Add a constant; return its name.

        Without `dtype`, NumPy values keep theirs; Python floats become float32 and ints int64, as in torch.
        """
        array = np.asarray(value, dtype)
        if dtype is None and array.dtype == np.float64 and not isinstance(value, (np.ndarray, np.generic)):
            array = array.astype(np.float32)
        if array.dtype.kind in "UO":
            array = array.astype(object)
            key = ("string", array.shape, repr(array.tolist()).encode())
        else:
            key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            # The scope stays out of the name: the constant is shared with other scopes.
            name = self._free(f"/constant_{len(self._constants)}")
            self._constants[key] = self._onnx.numpy_helper.from_array(array, name)
        return str(self._constants[key].name)

    def cast(self, x: str, dtype: Any) -> str:
        """Convert the tensor `x` to a NumPy dtype."""
        return self("Cast", x, to=np.dtype(dtype))

    def input(self, name: str, dtype: Any, shape: Sequence[int | str]) -> str:
        """Declare an input of the graph. A string in `shape` names a free dimension. Returns `name`."""
        self._inputs.append(self._value(self._claim(name), dtype, shape))
        return name

    def output(self, name: str, tensor: str, dtype: Any, shape: Sequence[int | str]) -> None:
        """Declare `tensor` an output of the graph under `name`."""
        self._outputs.append(self._value(self._claim(name), dtype, shape))
        self._nodes.append(
            self._onnx.helper.make_node("Identity", [tensor], [name], name=self._fresh(f"output {name}"))
        )

    def hint(self, tensor: str, dtype: Any, shape: Sequence[int | str]) -> str:
        """State the type of `tensor`, which the checker needs after nodes that are no part of the standard.

        A string in `shape` names a dimension of this tensor alone: a runtime takes equal names for equal sizes.
        """
        own = [f"{tensor} {size}" if isinstance(size, str) else size for size in shape]
        self._hints.append(self._value(tensor, dtype, own))
        return tensor

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Name the nodes made inside after `name`: a column, a stage."""
        self._scope.append(name)
        try:
            yield
        finally:
            self._scope.pop()

    def model(self, metadata: dict[str, str]) -> onnx.ModelProto:
        """The finished model: opset 21 and ai.onnx.ml 4, and com.microsoft 1 only if a node needs it; IR version 10.

        What no output needs is left out, where there are outputs.
        """
        helper = self._onnx.helper
        nodes, needed = self._needed()
        graph = helper.make_graph(
            nodes,
            "inputlayer",
            self._inputs,
            self._outputs,
            initializer=[tensor for tensor in self._constants.values() if tensor.name in needed],
            value_info=[hint for hint in self._hints if hint.name in needed],
        )
        used = {node.domain for node in nodes}
        opsets = [helper.make_opsetid(d, v) for d, v in OPSETS.items() if d in used or d in _ALWAYS]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="inputlayer")
        if metadata:
            helper.set_model_props(model, metadata)
        return cast("onnx.ModelProto", model)

    def _needed(self) -> tuple[list[onnx.NodeProto], set[str]]:
        """The nodes that outputs stand on, and the names of all tensors among them."""
        if not self._outputs:
            return self._nodes, {t.name for t in self._constants.values()} | {h.name for h in self._hints}
        needed, kept = {output.name for output in self._outputs}, []
        for node in reversed(self._nodes):  # each stands behind those that it takes from
            if not needed.isdisjoint(node.output):
                kept.append(node)
                needed.update(node.input)
        return kept[::-1], needed

    def _attribute(self, value: Any) -> Any:
        if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
            return self._element(value)
        return self._onnx.numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value

    def _element(self, dtype: Any) -> int:
        dtype = np.dtype(dtype)
        if dtype.kind in "UO":
            return int(self._onnx.TensorProto.STRING)
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(dtype))

    def _value(self, name: str, dtype: Any, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
        info = self._onnx.helper.make_tensor_value_info(name, self._element(dtype), list(shape))
        return cast("onnx.ValueInfoProto", info)

    def _fresh(self, stem: str) -> str:
        return self._free("/" + "/".join([*self._scope, f"{stem}_{len(self._nodes)}"]))

    def _free(self, name: str) -> str:
        while name in self._names:
            name += "'"
        self._names.add(name)
        return name

    def _claim(self, name: str) -> str:
        if name in self._names:
            raise ValueError(f"the graph already has a tensor named {name!r}")
        self._names.add(name)
        return name


def _import_onnx() -> ModuleType:
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError:
        raise MissingExtraError("onnx", "onnx", "Writing an ONNX graph") from None
    return onnx
