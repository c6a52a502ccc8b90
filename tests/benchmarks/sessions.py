"""One member as an onnxruntime session, as well as it can be done: fused GRU nodes, one thread, state fed back."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from lobmodels.checkpoint import Checkpoint


class Session:
    """Steps one network: inputs (1, 1, F), predictions (1, 1, 2)."""

    def __init__(self, member: Checkpoint) -> None:
        self.member = member
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, len(member.pipeline.names)))]
        self.outputs: list[Any] = []
        self.feed: dict[str, np.ndarray] = {}
        self._build()
        graph = helper.make_graph(self.nodes, "member", self.inputs, self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.names = [entry.name for entry in self.session.get_outputs()]
        self.t = 0

    def step(self, x: np.ndarray) -> np.ndarray:
        """One row; the state is kept."""
        self.feed["x"] = x
        if "age" in self.feed:
            self.feed["age"] = np.array(self.t, np.float32)
        y, *state = self.session.run(self.names, self.feed)
        for name, value in zip(self.names[1:], state, strict=True):
            self.feed[name[5:]] = value
        self.t += 1
        return y

    def _node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"n{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names if outputs > 1 else names[0]

    def _constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def _weight(self, name: str) -> np.ndarray:
        return self.member.weights[name].numpy()

    def _state(self, name: str, shape: tuple[int, ...]) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        self.feed[name] = np.zeros(shape, np.float32)
        return name

    def _next(self, name: str, value: str, shape: tuple[int, ...]) -> None:
        self.outputs.append(helper.make_tensor_value_info(f"next_{name}", TensorProto.FLOAT, shape))
        self.nodes.append(helper.make_node("Identity", [value], [f"next_{name}"]))

    def _linear(self, x: str, name: str) -> str:
        product = self._node("MatMul", x, self._constant(self._weight(f"{name}.weight").T))
        return self._node("Add", product, self._constant(self._weight(f"{name}.bias")))

    def _norm(self, x: str, name: str) -> str:
        gain, shift = (self._constant(self._weight(f"{name}.{part}")) for part in ("weight", "bias"))
        return self._node("LayerNormalization", x, gain, shift, axis=-1, epsilon=1e-5)

    def _build(self) -> None:
        config, x = self.member.config, "x"
        self.outputs.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 1, 2)))
        if config.input_block == "projection":
            x = self._norm(self._linear(x, "block.linear"), "block.norm")
        for layer in range(config.num_layers):
            x = self._gru(x, layer, config.hidden_size)
        if config.architecture == "gru_attention":
            x = self._norm(self._node("Add", x, self._attention(x)), "norm")
        if config.head == "mlp":
            x = self._linear(self._node("Relu", self._linear(x, "head.0")), "head.3")
        else:
            x = self._linear(x, "head")
        self.nodes.append(helper.make_node("Identity", [x], ["y"]))

    def _gru(self, x: str, layer: int, size: int) -> str:
        def gates(name: str) -> np.ndarray:  # torch has r, z, n; ONNX z, r, n
            r, z, n = np.split(self._weight(f"recurrent.{name}_l{layer}"), 3)
            return np.concatenate([z, r, n])[None]

        bias = np.concatenate([gates("bias_ih"), gates("bias_hh")], 1)
        weights = [self._constant(a) for a in (gates("weight_ih"), gates("weight_hh"), bias)]
        h = self._state(f"h{layer}", (1, 1, size))
        y, following = self._node("GRU", x, *weights, "", h, outputs=2, hidden_size=size, linear_before_reset=1)
        self._next(f"h{layer}", following, (1, 1, size))
        return self._node("Squeeze", y, self._constant(np.array([1])))

    def _attention(self, x: str) -> str:
        config = self.member.config
        heads, window = config.attention_heads, config.attention_window
        size = config.hidden_size // heads
        self._state("age", ())
        weight, bias = self._weight("attention.in_proj_weight"), self._weight("attention.in_proj_bias")
        projected = self._node("Add", self._node("MatMul", x, self._constant(weight.T)), self._constant(bias))
        parts = self._node("Split", projected, outputs=3, axis=-1)
        shape = self._constant(np.array([heads, 1, size]))
        query, *pair = (self._node("Reshape", part, shape) for part in parts)
        rings = []
        for name, new in zip(("keys", "values"), pair, strict=True):
            past = self._state(name, (heads, window, size))
            bounds = [self._constant(np.array([value])) for value in (1, window, 1)]
            rings.append(self._node("Concat", self._node("Slice", past, *bounds), new, axis=1))
            self._next(name, rings[-1], (heads, window, size))
        scores = self._node("MatMul", query, self._node("Transpose", rings[0], perm=[0, 2, 1]))
        scores = self._node("Mul", scores, self._constant(np.float32(size**-0.5)))
        seen = self._node("LessOrEqual", self._constant(np.arange(window - 1, -1, -1, dtype=np.float32)), "age")
        scores = self._node("Where", seen, scores, self._constant(np.float32(-1e30)))
        mixed = self._node("MatMul", self._node("Softmax", scores, axis=-1), rings[1])
        mixed = self._node("Reshape", mixed, self._constant(np.array([1, 1, heads * size])))
        return self._linear(mixed, "attention.out_proj")
