"""An ONNX graph, written like a formula: values with arithmetic, and a call for any other operator."""

from __future__ import annotations

import copy
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from mindvit.extras import needed

OPSET, IR_VERSION = 20, 9  # the first with GELU, and the oldest form of file that may hold it
MOST_BYTES = 2**31 - 2**20  # of a file: protobuf's 2 GiB, less what is no weight
SMALL = 1024  # bytes; such stay in the file, as the shapes that a reader checks must
ALIGNED = 4096  # bytes, so that weights beside the file can be mapped into memory


class Value:
    """A tensor of a Graph; a number or array that meets it takes its type."""

    def __init__(self, graph: Graph, name: str, dtype: Any) -> None:
        self.graph, self.name, self.dtype = graph, name, np.dtype(dtype)

    def to(self, dtype: Any) -> Value:
        number = self.graph.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.graph("Cast", self, to=number, dtype=dtype)

    def __add__(self, other: Any) -> Value:
        return self.graph("Add", self, other)

    def __sub__(self, other: Any) -> Value:
        return self.graph("Sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self.graph("Sub", self.graph.constant(other, self.dtype), self)

    def __mul__(self, other: Any) -> Value:
        return self.graph("Mul", self, other)

    def __truediv__(self, other: Any) -> Value:
        return self.graph("Div", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self.graph("Div", self.graph.constant(other, self.dtype), self)

    def __lt__(self, other: Any) -> Value:
        return self.graph("Less", self, other, dtype=bool)

    def __le__(self, other: Any) -> Value:
        return self.graph("LessOrEqual", self, other, dtype=bool)

    def __gt__(self, other: Any) -> Value:
        return self.graph("Greater", self, other, dtype=bool)

    def __and__(self, other: Any) -> Value:
        return self.graph("And", self, other)

    __radd__, __rmul__ = __add__, __mul__


class Graph:
    """What becomes an ONNX model."""

    def __init__(self) -> None:
        self.onnx = needed("onnx", "export")
        self.nodes: list[Any] = []
        self.tensors: dict[str, np.ndarray] = {}
        self.inputs: list[Any] = []

    def input(self, name: str, dtype: Any, shape: list[int | str]) -> Value:
        """An input; sizes with a name are known only when the file runs."""
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(self.onnx.helper.make_tensor_value_info(name, kind, shape))
        return Value(self, name, dtype)

    def constant(self, value: Any, dtype: Any, name: str | None = None) -> Value:
        """A number or array as a Value."""
        name = name or f"constant_{len(self.tensors)}"
        self.tensors[name] = np.ascontiguousarray(value, dtype) if np.ndim(value) else np.array(value, dtype)
        return Value(self, name, dtype)

    def __call__(self, operator: str, *inputs: Any, dtype: Any = None, **attributes: Any) -> Value:
        """The operator's output, of its first input's type unless another is given; a list of whole numbers among the
        inputs is int64, as shapes and axes are."""
        return self.several(operator, 1, *inputs, dtype=dtype, **attributes)[0]

    def where(self, condition: Value, yes: Any, no: Any) -> Value:
        """`yes` where the condition holds, else `no`."""
        kind = next((value.dtype for value in (yes, no) if isinstance(value, Value)), np.dtype(float))
        yes, no = (value if isinstance(value, Value) else self.constant(value, kind) for value in (yes, no))
        return self("Where", condition, yes, no, dtype=kind)

    def several(self, operator: str, outputs: int, *inputs: Any, dtype: Any = None, **attributes: Any) -> list[Value]:
        """The outputs of an operator that has so many."""
        kind = next(value.dtype for value in inputs if isinstance(value, Value))
        given = [value if isinstance(value, Value) else self.constant(value, np.int64 if isinstance(value, list)
                                                                      else kind) for value in inputs]
        name = f"{operator}_{len(self.nodes)}"
        names = [f"{name}_{i}" if i else name for i in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(operator, [value.name for value in given], names, name,
                                                     **attributes))
        return [Value(self, each, dtype or kind) for each in names]

    def output(self, value: Value, name: str, shape: list[int | str], metadata: dict[str, str]) -> None:
        """Ends the graph: its output, of this shape under this name, and what a file says of itself."""
        helper = self.onnx.helper
        self("Identity", value)
        self.nodes[-1].output[0] = name
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        graph = helper.make_graph(self.nodes, "mindvit", self.inputs,
                                  [helper.make_tensor_value_info(name, kind, shape)])
        self.model = helper.make_model(graph, producer_name="mindvit", ir_version=IR_VERSION,
                                       opset_imports=[helper.make_opsetid("", OPSET)])
        helper.set_model_props(self.model, metadata)

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        return sum(array.nbytes for array in self.tensors.values())

    def in_one(self) -> bytes:
        """The model as the content of one file.

        Raises:
            ValueError: it would be longer than protobuf can make it.
        """
        if self.nbytes > MOST_BYTES:
            raise ValueError(f"the weights have {self.nbytes:,} bytes, more than one ONNX file holds ({MOST_BYTES:,})")
        model = copy.deepcopy(self.model)
        model.graph.initializer.extend(self.onnx.numpy_helper.from_array(array, name)
                                       for name, array in self.tensors.items())
        return model.SerializeToString()

    def apart(self, place: Callable[[str, np.ndarray], dict[str, Any]]) -> bytes:
        """The model as the content of a file whose large arrays lie elsewhere, where `place` puts them and says so."""
        model = copy.deepcopy(self.model)
        for name, array in self.tensors.items():
            if array.nbytes < SMALL:
                model.graph.initializer.append(self.onnx.numpy_helper.from_array(array, name))
                continue
            tensor = model.graph.initializer.add(name=name, dims=array.shape,
                                                 data_location=self.onnx.TensorProto.EXTERNAL,
                                                 data_type=self.onnx.helper.np_dtype_to_tensor_dtype(array.dtype))
            for key, value in place(name, array).items():
                tensor.external_data.add(key=key, value=str(value))
        return model.SerializeToString()

    def write(self, path: pathlib.Path) -> list[pathlib.Path]:
        """Writes the model to a file, its weights to `<name>.data` beside it where one file cannot hold them; returns
        what was written."""
        if self.nbytes <= MOST_BYTES:
            path.write_bytes(self.in_one())
            return [path]
        beside = path.with_name(f"{path.name}.data")
        with open(beside, "wb") as file:
            def place(name, array):
                file.seek(-file.tell() % ALIGNED, os.SEEK_CUR)
                start = file.tell()
                file.write(array.data)
                return {"location": beside.name, "offset": start, "length": array.nbytes}

            path.write_bytes(self.apart(place))
        return [beside, path]
