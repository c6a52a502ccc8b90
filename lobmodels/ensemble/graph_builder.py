"""ONNX nodes written as calls, and feature definitions recorded as nodes: what `graph` beside it builds with."""

from __future__ import annotations

from typing import Any

import numpy as np

from lobmodels.ensemble.runtime import COLUMNS

OPSET, IR = 17, 8  # what onnxruntime 1.18, the oldest we name, reads


class Builder:
    """Collects nodes; a call adds one and returns the name of its result."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: dict[tuple[Any, ...], Any] = {}
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def split(self, x: str, parts: int, axis: int = -1) -> list[str]:
        """`parts` equal pieces."""
        names = [f"split_{len(self.nodes)}_{i}" for i in range(parts)]
        self.nodes.append(self.onnx.helper.make_node("Split", [x], names, axis=axis))
        return names

    def constant(self, array: Any) -> str:
        """A tensor; equal ones are kept once."""
        array = np.asarray(array, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            name = f"constant_{len(self.constants)}"
            self.constants[key] = self.onnx.numpy_helper.from_array(array, name)
        return str(self.constants[key].name)

    def scalar(self, value: float) -> str:
        return self.constant(np.array(value, np.float64))

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def cast(self, x: str, kind: int) -> str:
        return self("Cast", x, to=kind)

    def input(self, name: str, dtype: Any, shape: tuple[int, ...]) -> str:
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(self.onnx.helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, value: str, dtype: Any, shape: tuple[int, ...]) -> None:
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.outputs.append(self.onnx.helper.make_tensor_value_info(name, kind, shape))
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name]))

    def state(self, name: str, shape: tuple[int, ...], dtype: Any = np.float32) -> str:
        return self.input(f"state.{name}", dtype, shape)

    def next(self, name: str, value: str, shape: tuple[int, ...], dtype: Any = np.float32) -> None:
        self.output(f"next.{name}", value, dtype, shape)

    def model(self) -> Any:
        graph = self.onnx.helper.make_graph(
            self.nodes, "ensemble", self.inputs, self.outputs, list(self.constants.values())
        )
        opset = self.onnx.helper.make_opsetid("", OPSET)
        model = self.onnx.helper.make_model(graph, opset_imports=[opset], producer_name="lobtuna", ir_version=IR)
        self.onnx.checker.check_model(model, full_check=True)
        return model


class Value:
    """A scalar of the graph, float64 or a truth value; Python's operators add nodes."""

    def __init__(self, builder: Builder, name: str) -> None:
        self.builder, self.name = builder, name

    def _do(self, op: str, *operands: Any) -> Value:
        names = [value.name if isinstance(value, Value) else self.builder.scalar(value) for value in operands]
        return Value(self.builder, self.builder(op, *names))

    def __add__(self, other: Any) -> Value:
        return self._do("Add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self._do("Add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self._do("Sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self._do("Sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return self._do("Mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Value:
        return self._do("Div", self, other)

    def __pow__(self, other: Any) -> Value:
        return self._do("Pow", self, other)

    def __abs__(self) -> Value:
        return self._do("Abs", self)

    def _compare(self, op: str, other: Any) -> Value:
        truth = self._do(op, self, other)
        return Value(self.builder, self.builder.cast(truth.name, self.builder.onnx.TensorProto.DOUBLE))

    def __lt__(self, other: Any) -> Value:
        return self._compare("Less", other)

    def __le__(self, other: Any) -> Value:
        return self._compare("LessOrEqual", other)

    def __gt__(self, other: Any) -> Value:
        return self._compare("Greater", other)

    def __ge__(self, other: Any) -> Value:
        return self._compare("GreaterOrEqual", other)


class Rows:
    """`rows[k][i]` of the feature definitions over a history tensor (HISTORY, 32)."""

    def __init__(self, builder: Builder, history: str) -> None:
        self.builder = builder
        self.flat = builder("Reshape", history, builder.ints(-1))
        self.seen: dict[int, Value] = {}

    def __getitem__(self, k: int) -> Any:
        return Row(self, k)

    def at(self, place: int) -> Value:
        if place not in self.seen:
            index = self.builder.constant(np.array(place, np.int64))
            self.seen[place] = Value(self.builder, self.builder("Gather", self.flat, index, axis=0))
        return self.seen[place]


class Row:
    """One row of the history."""

    def __init__(self, rows: Rows, k: int) -> None:
        self.rows, self.k = rows, k

    def __getitem__(self, i: int) -> Value:
        return self.rows.at(self.k * COLUMNS + i)
