"""The ensemble as one ONNX graph, raw row and state in, prediction and next state out, for hosts without Python.

The feature definitions are not written a second time: `lobmodels.features` uses operators alone, so it runs on
`Value`s, which record what is done to them. Members of one shape are stacked as in the numpy runtime. The graph is
checked in onnxruntime against the runtime before it is kept.

Inputs: `row` (32,) float64, `step` () float64, the step in its sequence, and `state.*`, zeros before a sequence.
Outputs: `prediction` (2,) float64 and `next.*`, to be fed back as `state.*`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lobmodels import features
from lobmodels.checkpoint import Checkpoint
from lobmodels.ensemble.bundle import Bundle
from lobmodels.ensemble.graph_builder import Builder, Rows, Value
from lobmodels.ensemble.runtime import COLUMNS, LIMIT
from lobmodels.errors import BundleError
from lobmodels.files import write_atomically

TOLERANCE = 1e-5
CHECKED_STEPS = 40


def write_graph(path: Path, bundle: Bundle) -> Path:
    """Write the checked graph of `bundle` to `path`. Raises `BundleError` where onnx is not installed, or where
    onnxruntime does not agree with the runtime."""
    data = graph_bytes(bundle)
    difference = check(data, bundle)
    if not difference <= TOLERANCE:
        raise BundleError(f"the ONNX graph differs from the runtime by {difference:.1e}, more than {TOLERANCE:.0e}")
    write_atomically(path, data)
    return path


def graph_bytes(bundle: Bundle) -> bytes:
    """The graph as a serialised ONNX model."""
    try:
        import onnx
    except ImportError:
        raise BundleError("`onnx` needs the onnx extra: pip install 'lobtuna[onnx]'", arguments=["onnx"]) from None
    builder = Builder(onnx)
    inputs = _network_inputs(builder, bundle)
    members = []
    for k, stack in enumerate(_stacks(bundle)):
        members.append(_Stack(builder, f"stack{k}", [bundle.members[i] for i in stack]).outputs(inputs, stack))
    order = [i for stack in _stacks(bundle) for i in stack]
    y = builder.cast(builder("Concat", *members, axis=0), onnx.TensorProto.DOUBLE)  # (K, 2)
    weighted = builder("Mul", y, builder.constant(bundle.weights[order]))
    builder.output("prediction", builder("ReduceSum", weighted, builder.ints(0), keepdims=0), np.float64, (2,))
    return bytes(builder.model().SerializeToString())


def check(data: bytes, bundle: Bundle) -> float:
    """Largest difference between the graph in onnxruntime and the numpy runtime, over noise and a fresh start."""
    session = open_session(data)
    predictor = bundle.predictor("numpy")
    rows = np.random.default_rng(0).standard_normal((CHECKED_STEPS, COLUMNS))
    rows[3, 4] = np.nan
    largest = 0.0
    for start in (0, 7):
        state = initial_state(session)
        for t, row in enumerate(rows[start:]):
            prediction, state = step(session, row, t, state)
            expected = predictor.predict(0, t, True, row)
            assert expected is not None
            largest = max(largest, float(np.abs(prediction - expected).max()))
    return largest


def open_session(data: bytes) -> Any:
    """The graph in onnxruntime, on one thread."""
    try:
        import onnxruntime
    except ImportError:
        raise BundleError("`onnx` needs the onnx extra: pip install 'lobtuna[onnx]'", arguments=["onnx"]) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def initial_state(session: Any) -> dict[str, NDArray[Any]]:
    """The state before a sequence: zeros for every `state.*` input."""
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64}
    return {
        entry.name: np.zeros(entry.shape, types[entry.type])
        for entry in session.get_inputs()
        if entry.name.startswith("state.")
    }


def step(
    session: Any, row: NDArray[np.float64], t: int, state: dict[str, NDArray[Any]]
) -> tuple[NDArray[np.float64], dict[str, NDArray[Any]]]:
    """One row through the graph: prediction (2,) and the next state."""
    outputs = session.run(None, {"row": row, "step": np.array(t, np.float64), **state})
    names = [entry.name for entry in session.get_outputs()]
    found = dict(zip(names, outputs, strict=True))
    return found.pop("prediction"), {name.replace("next.", "state.", 1): value for name, value in found.items()}


def _network_inputs(builder: Builder, bundle: Bundle) -> list[str]:
    """The input (1, 1, F) float32 of each member: clean row, features, normaliser; equal pipelines share one."""
    double = builder.onnx.TensorProto.DOUBLE
    row, step_ = builder.input("row", np.float64, (COLUMNS,)), builder.input("step", np.float64, ())
    shape = (features.HISTORY - 1, COLUMNS)
    past = builder.state("rows", shape, np.float64)
    last = builder("Gather", past, builder.constant(np.array(0, np.int64)), axis=0)
    broken = builder("Or", builder("IsNaN", row), builder("IsInf", row))
    clean = builder("Where", broken, last, row)
    clean = builder("Min", builder("Max", clean, builder.scalar(-LIMIT)), builder.scalar(LIMIT))
    history = builder("Concat", builder("Unsqueeze", clean, builder.ints(0)), past, axis=0)
    builder.next(
        "rows", builder("Slice", history, builder.ints(0), builder.ints(features.HISTORY - 1)), shape, np.float64
    )
    rows, t = Rows(builder, history), Value(builder, builder.cast(step_, double))
    pieces: dict[str, list[str]] = {}
    for group in dict.fromkeys(group for member in bundle.members for group in member.pipeline.groups):
        out: list[Any] = [None] * len(features.NAMES[group])
        features.GROUPS[group](rows, t, out)
        pieces[group] = [builder("Unsqueeze", value.name, builder.ints(0)) for value in out]
    made: dict[tuple[Any, ...], str] = {}
    found = []
    for member in bundle.members:
        pipeline, norm = member.pipeline, member.pipeline.normalizer
        key = (pipeline.groups, norm.mean.tobytes() if norm else b"", norm.std.tobytes() if norm else b"")
        if key not in made:
            parts = [clean, *(piece for group in pipeline.groups for piece in pieces[group])]
            x = builder("Concat", *parts, axis=0) if len(parts) > 1 else clean
            if norm is not None:
                x = builder("Div", builder("Sub", x, builder.constant(norm.mean)), builder.constant(norm.std))
            x = builder.cast(x, builder.onnx.TensorProto.FLOAT)
            made[key] = builder("Unsqueeze", x, builder.ints(0, 1))
        found.append(made[key])
    return found


def _stacks(bundle: Bundle) -> list[list[int]]:
    """Indices of members whose weights have the same names and shapes, and that attend alike."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, member in enumerate(bundle.members):
        shapes = tuple((name, tuple(tensor.shape)) for name, tensor in member.weights.items())
        attention = member.config.active()
        groups.setdefault((shapes, attention.get("attention_heads"), attention.get("attention_window")), []).append(i)
    return list(groups.values())


class _Stack:
    """K members of one shape as batched products: vectors are (K, 1, n)."""

    def __init__(self, builder: Builder, name: str, members: list[Checkpoint]) -> None:
        self.b, self.name, self.members = builder, name, members
        self.config, self.k = members[0].config, len(members)

    def outputs(self, inputs: list[str], stack: list[int]) -> str:
        """Predictions (K, 2) float32."""
        b, config = self.b, self.config
        own = [inputs[i] for i in stack]
        x = own[0] if len(set(own)) == 1 else b("Concat", *own, axis=0)
        if config.input_block == "projection":
            x = self._norm(self._linear(x, "block.linear"), "block.norm")
        for layer in range(config.num_layers):
            x = self._lstm(x, layer) if config.architecture == "lstm" else self._gru(x, layer)
        if config.architecture == "gru_attention":
            x = self._norm(b("Add", x, self._attention(x)), "norm")
        if config.head == "mlp":
            x = self._linear(b("Relu", self._linear(x, "head.0")), "head.3")
        else:
            x = self._linear(x, "head")
        return b("Reshape", x, b.ints(self.k, 2))

    def _weight(self, name: str) -> NDArray[np.float32]:
        return np.stack([member.weights[name].numpy() for member in self.members])

    def _product(self, x: str, weight: str, bias: str) -> str:
        matrix = self.b.constant(self._weight(weight).transpose(0, 2, 1))
        return self.b("Add", self.b("MatMul", x, matrix), self.b.constant(self._weight(bias)[:, None]))

    def _linear(self, x: str, name: str) -> str:
        return self._product(x, f"{name}.weight", f"{name}.bias")

    def _norm(self, x: str, name: str) -> str:
        b = self.b
        centred = b("Sub", x, b("ReduceMean", x, axes=[-1]))
        variance = b("ReduceMean", b("Mul", centred, centred), axes=[-1])
        scale = b("Sqrt", b("Add", variance, b.constant(np.float32(1e-5))))
        x = b("Mul", b("Div", centred, scale), b.constant(self._weight(f"{name}.weight")[:, None]))
        return b("Add", x, b.constant(self._weight(f"{name}.bias")[:, None]))

    def _gates(self, x: str, h: str, layer: int, parts: int) -> tuple[list[str], list[str]]:
        from_x = self._product(x, f"recurrent.weight_ih_l{layer}", f"recurrent.bias_ih_l{layer}")
        from_h = self._product(h, f"recurrent.weight_hh_l{layer}", f"recurrent.bias_hh_l{layer}")
        return self.b.split(from_x, parts), self.b.split(from_h, parts)

    def _gru(self, x: str, layer: int) -> str:
        b, name, shape = self.b, f"{self.name}.h{layer}", (self.k, 1, self.config.hidden_size)
        h = b.state(name, shape)
        (rx, zx, nx), (rh, zh, nh) = self._gates(x, h, layer, 3)
        r, z = b("Sigmoid", b("Add", rx, rh)), b("Sigmoid", b("Add", zx, zh))
        n = b("Tanh", b("Add", nx, b("Mul", r, nh)))
        h = b("Add", n, b("Mul", z, b("Sub", h, n)))
        b.next(name, h, shape)
        return h

    def _lstm(self, x: str, layer: int) -> str:
        b, shape = self.b, (self.k, 1, self.config.hidden_size)
        names = f"{self.name}.h{layer}", f"{self.name}.c{layer}"
        h, c = (b.state(name, shape) for name in names)
        from_x, from_h = self._gates(x, h, layer, 4)
        i, f, g, o = (b("Add", a, e) for a, e in zip(from_x, from_h, strict=True))
        kept, fresh = b("Mul", b("Sigmoid", f), c), b("Mul", b("Sigmoid", i), b("Tanh", g))
        c = b("Add", kept, fresh)
        h = b("Mul", b("Sigmoid", o), b("Tanh", c))
        for name, value in zip(names, (h, c), strict=True):
            b.next(name, value, shape)
        return h

    def _attention(self, x: str) -> str:
        b, heads, window = self.b, self.config.attention_heads, self.config.attention_window
        size = self.config.hidden_size // heads
        ring = (self.k, heads, window, size)
        projected = self._product(x, "attention.in_proj_weight", "attention.in_proj_bias")
        query, *pair = (b("Reshape", part, b.ints(self.k, heads, 1, size)) for part in b.split(projected, 3))
        rings = []
        for name, new in zip(("keys", "values"), pair, strict=True):
            past = b.state(f"{self.name}.{name}", ring)
            kept = b("Slice", past, b.ints(1), b.ints(window), b.ints(2))
            rings.append(b("Concat", kept, new, axis=2))
            b.next(f"{self.name}.{name}", rings[-1], ring)
        scores = b("MatMul", query, b("Transpose", rings[0], perm=[0, 1, 3, 2]))  # (K, heads, 1, window)
        scores = b("Mul", scores, b.constant(np.float32(size**-0.5)))
        age = b.constant(np.arange(window - 1, -1, -1, dtype=np.float64))
        seen = b("LessOrEqual", age, "step")
        scores = b("Where", seen, scores, b.constant(np.float32(-1e30)))
        mixed = b("MatMul", b("Softmax", scores, axis=-1), rings[1])
        mixed = b("Reshape", mixed, b.ints(self.k, 1, self.config.hidden_size))
        return self._linear(mixed, "attention.out_proj")
