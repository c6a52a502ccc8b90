"""The online predictor: every member of an ensemble advanced by one row at a time, with numpy alone, faster with numba.

A submission carries a copy of this file, beside `features.py`, so it imports neither torch nor the project, and is long
because it is one file: files and inputs, the parts that networks are made of and the tables that name them, the numpy
step, the compiled step, the choice between the two. The feature definitions are handed in. Members whose shapes agree
are stacked and stepped together with numpy; features and normalised inputs that members share are computed once a step.

A part (`Part`) holds everything about one piece of a network online: how its weights are laid out, its step with
numpy, its instructions for the compiled step. `ARCHITECTURES`, `INPUT_BLOCKS` and `HEADS` map the names in a
configuration to parts. `docs/extending.md` of the project adds one step by step.

Order of arithmetic: raw columns and features in float64, normalised in float64, rounded once to float32; networks in
float32; the weighted mean of the members in float64. That is what training does, so predictions equal torch's to 1e-5.

What is defined for rows that break the contract:
- A value that is not finite keeps the column's last finite value of the sequence, 0 before there is one; finite values
  are cut to ±`LIMIT`. The state therefore stays finite whatever arrives.
- A row with step 0 starts a sequence, whatever its `seq_ix`. A sequence that starts later, and a step that is repeated
  or skipped, raise `SequenceError`: the state would not be the one the networks were trained with. A submission is not
  `strict`: it takes such a row as the first one of a sequence and goes on, and logs the first time that it happens.
"""

# ruff: noqa: F821  (the names that compiled functions call are bound by `_compile`)
from __future__ import annotations

import functools
import json
import logging
import math
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

FORMAT = 1  # of manifest.json; another number is refused
COLUMNS = 32  # of a row, where the manifest does not say where each column is kept
LIMIT = 1e6  # raw columns are scaled to about ±5; beyond this a value is noise, and its powers must not overflow
EPSILON = np.float32(1e-5)  # of torch's LayerNorm
TOLERANCE = 1e-5  # largest difference allowed between the compiled step and the numpy step at start-up
BLOCK = 8  # rows of a product that are added at once in compiled code; row counts are padded to it with zero weights
ONE, HALF = np.float32(1.0), np.float32(0.5)
GRAPH = (
    "graph"  # of a member that runs as an ONNX graph: true in the manifest, and the name of its bytes among the arrays
)
OWN = "own"  # feature groups that are ONNX graphs: a list in the manifest, and the places in it that a pipeline reads


class RuntimeFormatError(ValueError):
    """The files beside the runtime are damaged, incomplete, or of another format."""


class SequenceError(ValueError):
    """Rows do not arrive as sequences that start at step 0 and advance by one."""


# ----------------------------------------------------------------------------------------------- files and layout


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file: eight bytes of header length, a JSON header, the data.

    Raises `RuntimeFormatError` where the file is shorter than its header says.
    """
    types_ = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "U8": np.uint8}
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    if size > len(data) - 8:
        raise RuntimeFormatError(f"{path.name} holds {len(data)} bytes, less than its header promises: it is damaged")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        start, stop = (8 + size + offset for offset in entry["data_offsets"])
        if stop > len(data):
            raise RuntimeFormatError(f"{path.name} ends inside {name!r}: it is damaged")
        arrays[name] = np.frombuffer(data[start:stop], types_[entry["dtype"]]).reshape(entry["shape"])
    return arrays


class Inputs:
    """Which features are computed, and which columns, shifted and scaled, each distinct input of a network reads."""

    def __init__(
        self,
        pipelines: list[dict[str, Any]],
        arrays: dict[str, np.ndarray],
        features: Any,
        slots: list[int] | None = None,
        own: list[dict[str, Any]] | None = None,
    ) -> None:
        """`slots` says where each column of a row is kept, so that features find the ones they read at their numbers.
        `own` are the feature groups that are graphs: their features are kept behind the columns of the row."""
        if own and slots is None:
            slots = list(range(COLUMNS))
        self.slots = None if slots is None else np.array(slots, np.int64)
        slots = list(range(COLUMNS)) if slots is None else slots
        self.count = len(slots)  # columns of a row
        self.raw = max(COLUMNS, max(slots) + 1)
        self.own: list[range] = []  # where the features of each group of `own` are kept
        for entry in own or ():
            self.own.append(range(self.raw, self.raw + len(entry["gives"])))
            self.raw = self.own[-1].stop
        used = {group for pipeline in pipelines for group in pipeline["groups"]}
        if used - set(features.GROUPS):
            raise RuntimeFormatError(f"feature groups {sorted(used - set(features.GROUPS))} are not in features.py")
        self.starts: dict[str, int] = {}  # the groups that are read, each with its first place among the raw columns
        self.width = self.raw
        for group in (name for name in features.GROUPS if name in used):
            self.starts[group] = self.width
            self.width += len(features.NAMES[group])
        read: list[int] = []
        mean: list[float] = []
        std: list[float] = []
        self.offsets: list[int] = []
        self.sizes: list[int] = []
        for i, pipeline in enumerate(pipelines):
            index = list(slots)
            for group in pipeline["groups"]:
                start = self.starts[group]
                index += range(start, start + len(features.NAMES[group]))
            for place in pipeline.get(OWN, ()):
                index += self.own[place]
            self.offsets.append(len(read))
            self.sizes.append(len(index))
            read += index
            for name, default, values in (("mean", 0.0, mean), ("std", 1.0, std)):
                array = (
                    _need(arrays, f"pipeline.{i}.{name}") if pipeline["normalizer"] else np.full(len(index), default)
                )
                if len(array) != len(index):
                    raise RuntimeFormatError(f"pipeline {i}: {len(array)} values of {name} for {len(index)} columns")
                values += array.tolist()
        self.columns = np.array(read, np.int64)
        self.mean = np.array(mean, np.float64)
        self.std = np.array(std, np.float64)


def _need(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise RuntimeFormatError(f"the weights file lacks {name!r}")
    return arrays[name]


class Weights:
    """One member: its tensors by the names that torch gave them, and its values in the manifest."""

    def __init__(self, member: dict[str, Any], arrays: dict[str, np.ndarray], prefix: str) -> None:
        self.member, self.arrays, self.prefix = member, arrays, prefix

    def __getitem__(self, name: str) -> np.ndarray:
        return _need(self.arrays, f"{self.prefix}.{name}")

    def number(self, name: str) -> int:
        """A whole number of the configuration."""
        return int(self.member[name])

    def linear(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Weight (n, m) and bias (m,) of a linear layer."""
        return self[f"{name}.weight"].T, self[f"{name}.bias"]

    def parts(self) -> list[Part]:
        """The network from input to prediction. Raises `RuntimeFormatError` for an unknown name."""
        tables = (("input_block", INPUT_BLOCKS), ("architecture", ARCHITECTURES), ("head", HEADS))
        return [part for field, table in tables for part in self._entry(field, table)(self)]

    def _entry(self, field: str, table: dict[str, Any]) -> Any:
        word = self.member[field]
        if word not in table:
            raise RuntimeFormatError(f"{field} {word!r} has no online step; this runtime knows {', '.join(table)}")
        return table[word]


# -------------------------------------------------------------------------------------------------- parts of networks


class Part:
    """One piece of one member's network: float32 `arrays` in the layout of the step, inputs down, outputs across, in
    the order in which they are used.

    A sigmoid is computed as .5 + .5 tanh(x/2); its halving is folded into the weights, which is exact.
    """

    recurrent = False  # whether its output is kept as state for the next step

    def __init__(self, *arrays: np.ndarray, width: int) -> None:
        self.arrays = [np.ascontiguousarray(array, np.float32) for array in arrays]
        self.width = width  # of the output

    def shape(self) -> tuple[Any, ...]:
        """What the parts of two members must share to be stepped together."""
        return (type(self).__name__, *(array.shape for array in self.arrays))

    def stacked(self, *arrays: np.ndarray) -> Any:
        """The numpy step of K members from their stacked arrays: `step(x, t)` maps (K, 1, n + 1) to (K, 1, m + 1),
        each with its last element 1, and `reset()` forgets the sequence."""
        raise NotImplementedError

    def emit(self, program: Program, x: int, y: int) -> None:
        """Add the instructions that read the input at address `x` and leave the output at `y`."""
        raise NotImplementedError


class Projection(Part):
    """A linear layer and a layer norm."""

    def __init__(self, weights: Weights) -> None:
        weight, bias = weights.linear("block.linear")
        super().__init__(weight, bias, weights["block.norm.weight"], weights["block.norm.bias"], width=len(bias))

    def stacked(self, *arrays: np.ndarray) -> Any:
        return _ProjectionStep(*arrays)

    def emit(self, program: Program, x: int, y: int) -> None:
        weight, bias, gamma, beta = self.arrays
        program.linear(weight, bias, x, y)
        program.norm(gamma, beta, y, y)


class Convolution(Part):
    """A linear layer over the last `kernel` inputs, the oldest first, and a layer norm."""

    def __init__(self, weights: Weights) -> None:
        weight, bias = weights.linear("block.linear")
        self.kernel = weights.number("conv_kernel")
        super().__init__(weight, bias, weights["block.norm.weight"], weights["block.norm.bias"], width=len(bias))

    def shape(self) -> tuple[Any, ...]:
        return (*super().shape(), self.kernel)

    def stacked(self, *arrays: np.ndarray) -> Any:
        return _ConvolutionStep(arrays, self.kernel)

    def emit(self, program: Program, x: int, y: int) -> None:
        weight, bias, gamma, beta = self.arrays
        seen = program.state(len(weight))
        program.emit(_shift, 0, x, seen, len(weight), len(weight) // self.kernel)
        program.linear(weight, bias, seen, y)
        program.norm(gamma, beta, y, y)


class Gru(Part):
    """One GRU layer. Layout: inputs (n, r, z), states (r, z, n), so that both meet in one buffer (n_x, r, z, n_h)."""

    recurrent = True

    def __init__(self, weights: Weights, layer: int) -> None:
        rx, zx, nx = np.split(weights[f"recurrent.weight_ih_l{layer}"], 3)
        rh, zh, nh = np.split(weights[f"recurrent.weight_hh_l{layer}"], 3)
        brx, bzx, bnx = np.split(weights[f"recurrent.bias_ih_l{layer}"], 3)
        brh, bzh, bnh = np.split(weights[f"recurrent.bias_hh_l{layer}"], 3)
        super().__init__(
            np.concatenate([nx, HALF * rx, HALF * zx]).T,
            np.concatenate([HALF * rh, HALF * zh, nh]).T,
            np.concatenate([bnx, HALF * (brx + brh), HALF * (bzx + bzh), bnh]),
            width=len(bnh),
        )

    def stacked(self, *arrays: np.ndarray) -> Any:
        (wx, wh, bias), h = arrays, self.width
        wx = _with_bias(wx, bias[:, : 3 * h])
        wh = _with_bias(wh, np.concatenate([0 * bias[:, : 2 * h], bias[:, 3 * h :]], 1))
        wh[:, :, 2 * h :] *= HALF  # r is kept as 1 + tanh, twice its value
        return _GruStep(wx, wh, h)

    def emit(self, program: Program, x: int, y: int) -> None:
        wx, wh, bias = self.arrays
        work = program.work(4 * self.width)
        program.linear(wx, bias, x, work)
        program.linear(wh, None, y, work + self.width)
        program.emit(_gru_gates, 0, work, y, self.width)


class Lstm(Part):
    """One LSTM layer. Layout of the gates: (i, f, o, g)."""

    recurrent = True

    def __init__(self, weights: Weights, layer: int) -> None:
        bias = weights[f"recurrent.bias_ih_l{layer}"] + weights[f"recurrent.bias_hh_l{layer}"]
        arrays = [weights[f"recurrent.weight_{source}_l{layer}"] for source in ("ih", "hh")]
        super().__init__(*(self._order(array).T for array in (*arrays, bias)), width=len(bias) // 4)

    @staticmethod
    def _order(gates: np.ndarray) -> np.ndarray:
        i, f, g, o = np.split(gates, 4)
        return np.concatenate([HALF * i, HALF * f, HALF * o, g])

    def stacked(self, *arrays: np.ndarray) -> Any:
        wx, wh, bias = arrays
        return _LstmStep(_with_bias(wx, bias), _with_bias(wh, 0 * bias), self.width)

    def emit(self, program: Program, x: int, y: int) -> None:
        wx, wh, bias = self.arrays
        work = program.work(4 * self.width)
        program.linear(wx, bias, x, work)
        program.linear(wh, None, y, work)
        program.emit(_lstm_gates, 0, work, y, self.width, program.state(self.width))


class Attention(Part):
    """LayerNorm(x + attention over the last `window` inputs, the present one included). 1/sqrt(d) is in the weights."""

    def __init__(self, weights: Weights) -> None:
        size = weights.number("hidden_size")
        self.heads, self.window = weights.number("attention_heads"), weights.number("attention_window")
        scale = np.ones(3 * size)
        scale[:size] = 1.0 / math.sqrt(size // self.heads)
        super().__init__(
            (weights["attention.in_proj_weight"] * scale[:, None]).T,
            weights["attention.in_proj_bias"] * scale,
            *weights.linear("attention.out_proj"),
            weights["norm.weight"],
            weights["norm.bias"],
            width=size,
        )

    def shape(self) -> tuple[Any, ...]:
        return (*super().shape(), self.heads, self.window)

    def stacked(self, *arrays: np.ndarray) -> Any:
        return _AttentionStep(arrays, self.heads, self.window)

    def emit(self, program: Program, x: int, y: int) -> None:
        """Heads are padded like the rows of a product, because a product runs over each of them."""
        w_in, b_in, w_out, b_out, gamma, beta = self.arrays
        heads, size, stride = self.heads, _padded(self.width // self.heads), _padded(self.window)
        wide = heads * size
        query = program.work(4 * wide + heads * stride)  # query, key, value, mixed values, scores
        mixed, scores = query + 3 * wide, query + 4 * wide
        keys, values = program.state(wide * stride), program.state(wide * stride)
        zeros = program.constant(np.zeros(max(size, stride), np.float32))
        program.linear(_pad_heads(w_in, 3 * heads), _pad_heads(b_in, 3 * heads), x, query)
        program.emit(_push, values, query + wide, keys, wide, stride, self.window)
        for head in range(heads):
            first, shares = head * size, scores + head * stride
            program.emit(_product, keys + first * stride, query + first, shares, stride, zeros, stride, size, stride)
            program.emit(_softmax, 0, shares, shares, stride, 0, self.window)
            program.emit(_product, values + first, shares, mixed + first, size, zeros, size, stride, wide)
        program.linear(np.ascontiguousarray(_pad_heads(w_out.T, heads).T), b_out, mixed, y)
        program.norm(gamma, beta, x, y)


class Hidden(Part):
    """A linear layer whose negative outputs become 0."""

    def __init__(self, weights: Weights, name: str) -> None:
        weight, bias = weights.linear(name)
        super().__init__(weight, bias, width=len(bias))

    def stacked(self, *arrays: np.ndarray) -> Any:
        return _HiddenStep(*arrays)

    def emit(self, program: Program, x: int, y: int) -> None:
        weight, bias = self.arrays
        program.linear(weight, bias, x, y)
        program.emit(_relu, 0, y, y, self.width)


class Output(Part):
    """The linear layer at the end, which gives the predictions."""

    def __init__(self, weights: Weights, name: str) -> None:
        weight, bias = weights.linear(name)
        super().__init__(weight, bias, width=len(bias))

    def stacked(self, *arrays: np.ndarray) -> Any:
        return _OutputStep(*arrays)

    def emit(self, program: Program, x: int, y: int) -> None:
        weight, bias = self.arrays
        program.linear(weight, bias, x, y)


class OutputPerTarget(Output):
    """The output of each target over its own share of the inputs: a linear layer whose other weights are 0."""

    def __init__(self, weights: Weights, name: str) -> None:
        weight, bias = weights.linear(name)  # (M, targets)
        size, targets = weight.shape
        whole = np.zeros((targets * size, targets), np.float32)
        for k in range(targets):
            whole[k * size : (k + 1) * size, k] = weight[:, k]
        Part.__init__(self, whole, bias, width=targets)


def _layers(part: Any, weights: Weights) -> list[Part]:
    return [part(weights, layer) for layer in range(weights.number("num_layers"))]


# The names in a configuration, each with the parts that it stands for.
INPUT_BLOCKS: dict[str, Callable[[Weights], list[Part]]] = {
    "none": lambda weights: [],
    "projection": lambda weights: [Projection(weights)],
    "convolution": lambda weights: [Convolution(weights)],
}
ARCHITECTURES: dict[str, Callable[[Weights], list[Part]]] = {
    "gru": lambda weights: _layers(Gru, weights),
    "lstm": lambda weights: _layers(Lstm, weights),
    "gru_attention": lambda weights: [*_layers(Gru, weights), Attention(weights)],
}
HEADS: dict[str, Callable[[Weights], list[Part]]] = {
    "linear": lambda weights: [Output(weights, "head")],
    "mlp": lambda weights: [Hidden(weights, "head.0"), Output(weights, "head.3")],
    "mlp_per_target": lambda weights: [Hidden(weights, "head.0"), OutputPerTarget(weights, "head.3")],
}


# --------------------------------------------------------------------------------------------- the step, with numpy


class NumpyStep:
    """The step with numpy: members of one shape in one stacked product each."""

    name = "numpy"

    def __init__(
        self, inputs: Inputs, features: Any, members: list[list[Part]], pipelines: list[int], blend: np.ndarray
    ) -> None:
        self.inputs, self.features, self.blend = inputs, features, blend
        history = features.history_of(inputs.starts)
        self.rows = [[0.0] * inputs.raw for _ in range(history)]  # plain floats: the definitions run fastest so
        self.raw = np.zeros(inputs.width)
        self.x = np.zeros(len(inputs.columns), np.float32)
        self.members = np.zeros(blend.shape, np.float32)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for k, parts in enumerate(members):
            shape = (inputs.sizes[pipelines[k]], *(part.shape() for part in parts))
            groups.setdefault(shape, []).append(k)
        self.stacks = [
            (indices, _Stack([members[k] for k in indices], shape[0]), [pipelines[k] for k in indices])
            for shape, indices in groups.items()
        ]

    def reset(self) -> None:
        """Forget the sequence."""
        for row in self.rows:
            row[:] = [0.0] * self.inputs.raw
        for _, stack, _ in self.stacks:
            stack.reset()

    def step(self, row: np.ndarray, t: int) -> np.ndarray:
        """Prediction (targets,) after raw row (slots,) float64, the t-th of its sequence."""
        x = self.x = self._inputs(row, t)
        for indices, stack, pipelines in self.stacks:
            for slot, pipeline in enumerate(pipelines):
                start = self.inputs.offsets[pipeline]
                stack.x[slot, 0, :-1] = x[start : start + self.inputs.sizes[pipeline]]
            self.members[indices] = stack.step(t)
        return np.add.reduce(self.blend * self.members)

    def _inputs(self, row: np.ndarray, t: int) -> np.ndarray:
        """Every distinct network input, one behind the other, float32."""
        if not np.abs(row).max() <= LIMIT:
            last = np.array(self.rows[0])
            row = np.clip(np.where(np.isfinite(row), row, last), -LIMIT, LIMIT)
        inputs = self.inputs
        raw = self.raw
        raw[: inputs.raw] = row
        self.rows.insert(0, self.rows.pop())
        self.rows[0][:] = row.tolist()
        for group, start in inputs.starts.items():
            out = [0.0] * len(self.features.NAMES[group])
            self.features.GROUPS[group](self.rows, t, out)
            raw[start : start + len(out)] = out
        return ((raw[inputs.columns] - inputs.mean) / inputs.std).astype(np.float32)


class _Stack:
    """K members of one shape. Vectors carry a last element 1, so that biases are rows of the weights."""

    def __init__(self, members: list[list[Part]], width: int) -> None:
        self.x = _ones(len(members), width)
        self.parts = [
            same[0].stacked(*(np.stack(arrays) for arrays in zip(*(part.arrays for part in same), strict=True)))
            for same in zip(*members, strict=True)
        ]

    def reset(self) -> None:
        for part in self.parts:
            part.reset()

    def step(self, t: int) -> np.ndarray:  # (K, 2)
        x = self.x
        for part in self.parts:
            x = part.step(x, t)
        return x[:, 0]


class _Stateless:
    """A step that keeps nothing."""

    def reset(self) -> None:
        pass


class _ProjectionStep(_Stateless):
    def __init__(self, weight: np.ndarray, bias: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> None:
        self.weight, self.gamma, self.beta = _with_bias(weight, bias), gamma, beta
        self.output = _ones(*bias.shape)

    def step(self, x: np.ndarray, t: int) -> np.ndarray:
        self.output[:, 0, :-1] = _layer_norm(np.matmul(x, self.weight)[:, 0], self.gamma, self.beta)
        return self.output


class _ConvolutionStep:
    """The last inputs of K members in one row each, the oldest first, and the element 1."""

    def __init__(self, arrays: tuple[np.ndarray, ...], kernel: int) -> None:
        weight, bias, self.gamma, self.beta = arrays
        self.weight, self.output = _with_bias(weight, bias), _ones(*bias.shape)
        self.seen, self.width = _ones(len(bias), weight.shape[1]), weight.shape[1] // kernel

    def reset(self) -> None:
        self.seen[..., :-1] = 0.0

    def step(self, x: np.ndarray, t: int) -> np.ndarray:
        seen, width = self.seen, self.width
        seen[..., : -width - 1] = seen[..., width:-1]  # numpy copies where the two overlap
        seen[..., -width - 1 :] = x  # its last element is 1, too
        self.output[:, 0, :-1] = _layer_norm(np.matmul(seen, self.weight)[:, 0], self.gamma, self.beta)
        return self.output


class _HiddenStep(_Stateless):
    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        self.weight, self.output = _with_bias(weight, bias), _ones(*bias.shape)

    def step(self, x: np.ndarray, t: int) -> np.ndarray:
        np.maximum(np.matmul(x, self.weight)[:, 0], 0.0, out=self.output[:, 0, :-1])
        return self.output


class _OutputStep(_Stateless):
    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        self.weight = _with_bias(weight, bias)

    def step(self, x: np.ndarray, t: int) -> np.ndarray:
        """(K, 1, n + 1) to predictions (K, 1, 2)."""
        return np.matmul(x, self.weight)


class _AttentionStep(_Stateless):
    """Keys and values in a ring, whose order is immaterial. A step reads only what this sequence has filled."""

    def __init__(self, arrays: tuple[np.ndarray, ...], heads: int, window: int) -> None:
        self.arrays, self.heads, self.window = arrays, heads, window
        k, size = arrays[4].shape
        self.keys = np.zeros((k, heads, size // heads, window), np.float32)
        self.values = np.zeros((k, heads, window, size // heads), np.float32)
        self.output = _ones(k, size)

    def step(self, x: np.ndarray, t: int) -> np.ndarray:
        w_in, b_in, w_out, b_out, gamma, beta = self.arrays
        h = x[:, 0, :-1]
        k, size = h.shape
        place, filled = t % self.window, min(t + 1, self.window)
        projected = np.matmul(h[:, None], w_in)[:, 0] + b_in
        query, key, value = projected.reshape(k, 3, self.heads, -1).transpose(1, 0, 2, 3)
        self.keys[..., place] = key
        self.values[:, :, place] = value
        scores = np.matmul(query[:, :, None], self.keys[..., :filled])  # (K, heads, 1, filled)
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        mixed = np.matmul(scores, self.values[:, :, :filled]).reshape(k, 1, size)
        self.output[:, 0, :-1] = _layer_norm(h + np.matmul(mixed, w_out)[:, 0] + b_out, gamma, beta)
        return self.output


class _CellStep:
    """Gates of K stacked cells. Products leave them side by side for each member; they are moved gate by gate into
    contiguous blocks, because an operation on a strided view costs three times one on a block. One member's need no
    move."""

    def __init__(self, wx: np.ndarray, wh: np.ndarray, hidden: int) -> None:
        k, gates = len(wx), wx.shape[2] // hidden
        self.wx, self.wh = wx, wh
        self.products = tuple(np.empty((k, 1, gates * hidden), np.float32) for _ in range(2))
        self.delta, self.c = np.empty((k, hidden), np.float32), np.zeros((k, hidden), np.float32)
        self.output = _ones(k, hidden)
        sides = [product.reshape(k, gates, hidden).transpose(1, 0, 2) for product in self.products]
        self.gates, self.h = sides, self.output[:, 0, :-1]
        self.before: list[tuple[np.ndarray, np.ndarray]] = []  # copies (to, from) after the products
        self.after: list[tuple[np.ndarray, np.ndarray]] = []  # and after the step
        if k > 1:
            self.gates, self.h = [np.empty(side.shape, np.float32) for side in sides], np.zeros((k, hidden), np.float32)
            self.before = list(zip(self.gates, sides, strict=True))
            self.after = [(self.output[:, 0, :-1], self.h)]

    def reset(self) -> None:
        self.h[:] = self.c[:] = self.output[:, 0, :-1] = 0.0

    def step(self, x: np.ndarray, t: int) -> np.ndarray:
        """(K, 1, n) to (K, 1, H), each with its last element 1."""
        np.matmul(x, self.wx, self.products[0])
        np.matmul(self.output, self.wh, self.products[1])
        for to, source in self.before:
            np.copyto(to, source)
        self.advance()
        for to, source in self.after:
            np.copyto(to, source)
        return self.output

    def advance(self) -> None:
        """The next state from `gates`."""
        raise NotImplementedError


class _GruStep(_CellStep):
    def __init__(self, wx: np.ndarray, wh: np.ndarray, hidden: int) -> None:
        super().__init__(wx, wh, hidden)
        self.n, self.r, self.z = self.gates[0]
        self.rz_x, self.rz_h, self.n_h = self.gates[0][1:], self.gates[1][:2], self.gates[1][2]

    def advance(self) -> None:
        n, rz, h, delta = self.n, self.rz_x, self.h, self.delta
        np.add(rz, self.rz_h, rz)
        np.tanh(rz, rz)
        np.add(rz, ONE, rz)
        np.multiply(self.r, self.n_h, delta)
        np.add(n, delta, n)
        np.tanh(n, n)
        np.subtract(h, n, delta)
        np.multiply(delta, self.z, delta)
        np.multiply(delta, HALF, delta)
        np.add(n, delta, h)


class _LstmStep(_CellStep):
    def advance(self) -> None:
        gates, c = self.gates[0], self.c
        np.add(gates, self.gates[1], gates)
        np.tanh(gates, gates)
        np.multiply(gates[:3], HALF, gates[:3])
        np.add(gates[:3], HALF, gates[:3])
        i, f, o, g = gates
        np.multiply(c, f, c)
        np.multiply(i, g, self.delta)
        np.add(c, self.delta, c)
        np.multiply(o, np.tanh(c), self.h)


def _ones(k: int, width: int) -> np.ndarray:
    """(K, 1, width + 1): zeros, and a last element 1 that picks up the bias row."""
    vector = np.zeros((k, 1, width + 1), np.float32)
    vector[..., -1] = 1.0
    return vector


def _with_bias(weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(K, n, m) and (K, m) to (K, n + 1, m)."""
    return np.ascontiguousarray(np.concatenate([weight, bias[:, None]], 1))


def _layer_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    variance = np.square(centred).mean(-1, keepdims=True)
    return centred / np.sqrt(variance + EPSILON) * gamma + beta


# --------------------------------------------------------------------------------------------- the step, with numba
# `Program` turns the members into instructions over one float32 memory that holds inputs, weights and states alike. An
# instruction is the address of one of the functions below, compiled, and its operands. So every loop is compiled once,
# whatever the members are, and start-up stays short. Indices are unsigned and constants typed on purpose: a signed
# index brings a check for negative values that blocks vectorisation, a bare literal lifts its expression to float64.

U0, U1, U2, U3, U4, U5, U6, U7, U8 = (np.uint64(i) for i in range(9))
ZERO = np.float32(0.0)
TANH_LIMIT = np.float32(7.90531110763549805)  # beyond it the rational form has rounded to ±1
P1, P3, P5, P7, P9, P11, P13 = (
    np.float32(value)
    for value in (
        4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05, 5.12229709037114e-08,
        -8.60467152213735e-11, 2.00018790482477e-13, -2.76076847742355e-16,
    )
)  # fmt: skip
Q0, Q2, Q4, Q6 = (
    np.float32(value)
    for value in (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)
)


def _tanh(x):  # type: ignore[no-untyped-def]
    """Rational approximation of Eigen's `ptanh`, within 3e-7 everywhere."""
    x = x if x < TANH_LIMIT else TANH_LIMIT
    x = x if x > -TANH_LIMIT else -TANH_LIMIT
    s = x * x
    p = x * (P1 + s * (P3 + s * (P5 + s * (P7 + s * (P9 + s * (P11 + s * P13))))))
    return p / (Q0 + s * (Q2 + s * (Q4 + s * Q6)))


def _product(pointer, w, x, y, m, a, b, n, stride, t):  # type: ignore[no-untyped-def]
    """y (m,) += x (n,) @ w (n, m); with b = m numbers at a, y starts from those. `n` is a multiple of 8.

    Eight rows are added at a time: each load and store of y serves eight products.
    """
    memory = carray(pointer, SIZE)
    for j in range(b):
        memory[y + j] = memory[a + j]
    for i in range(U0, n, U8):
        p = x + i
        x0, x1, x2, x3 = memory[p], memory[p + U1], memory[p + U2], memory[p + U3]
        x4, x5, x6, x7 = memory[p + U4], memory[p + U5], memory[p + U6], memory[p + U7]
        w0 = w + i * stride
        w1, w2, w3, w4 = w0 + stride, w0 + U2 * stride, w0 + U3 * stride, w0 + U4 * stride
        w5, w6, w7 = w0 + U5 * stride, w0 + U6 * stride, w0 + U7 * stride
        for j in range(m):
            memory[y + j] += (x0 * memory[w0 + j] + x1 * memory[w1 + j] + x2 * memory[w2 + j] + x3 * memory[w3 + j]) + (
                x4 * memory[w4 + j] + x5 * memory[w5 + j] + x6 * memory[w6 + j] + x7 * memory[w7 + j]
            )


def _gru_gates(pointer, w, x, y, m, a, b, n, stride, t):  # type: ignore[no-untyped-def]
    """The state at y (m,) becomes the next one, from (n_x, r, z, n_h) at x."""
    memory = carray(pointer, SIZE)
    r, z, new = x + m, x + U2 * m, x + U3 * m
    for j in range(U2 * m):
        memory[r + j] = HALF + HALF * _tanh(memory[r + j])
    for j in range(m):
        candidate = _tanh(memory[x + j] + memory[r + j] * memory[new + j])
        memory[y + j] = candidate + memory[z + j] * (memory[y + j] - candidate)


def _lstm_gates(pointer, w, x, y, m, a, b, n, stride, t):  # type: ignore[no-untyped-def]
    """The state at y and the cell at a (m,) become the next ones, from (i, f, o, g) at x."""
    memory = carray(pointer, SIZE)
    f, o, g = x + m, x + U2 * m, x + U3 * m
    for j in range(U3 * m):
        memory[x + j] = HALF + HALF * _tanh(memory[x + j])
    for j in range(m):
        cell = memory[f + j] * memory[a + j] + memory[x + j] * _tanh(memory[g + j])
        memory[a + j] = cell
        memory[y + j] = memory[o + j] * _tanh(cell)


def _norm(pointer, w, x, y, m, a, b, n, stride, t):  # type: ignore[no-untyped-def]
    """y (m,) becomes LayerNorm(y + x), gain and shift at w; x = y adds nothing."""
    memory = carray(pointer, SIZE)
    if x != y:
        for j in range(m):
            memory[y + j] += memory[x + j]
    mean = ZERO
    for j in range(m):
        mean += memory[y + j]
    mean /= np.float32(m)
    variance = ZERO
    for j in range(m):
        variance += (memory[y + j] - mean) * (memory[y + j] - mean)
    scale = ONE / math.sqrt(variance / np.float32(m) + EPSILON)
    for j in range(m):
        memory[y + j] = (memory[y + j] - mean) * scale * memory[w + j] + memory[w + m + j]


def _push(pointer, w, x, y, m, a, b, n, stride, t):  # type: ignore[no-untyped-def]
    """The key at x and the value behind it, (m,) each, enter the rings of the last b steps: keys (m, a) at y, values
    (a, m) at w."""
    memory, place = carray(pointer, SIZE), t % b
    for j in range(m):
        memory[y + j * a + place] = memory[x + j]
        memory[w + place * m + j] = memory[x + m + j]


def _softmax(pointer, w, x, y, m, a, b, n, stride, t):  # type: ignore[no-untyped-def]
    """y (m,) becomes its softmax over the steps that the ring of b holds, and 0 behind them."""
    memory, filled = carray(pointer, SIZE), (t + U1 if t < b else b)
    top = memory[y]
    for j in range(filled):
        top = memory[y + j] if memory[y + j] > top else top
    total = ZERO
    for j in range(m):
        share = math.exp(memory[y + j] - top) if j < filled else ZERO
        memory[y + j] = share
        total += share
    for j in range(filled):
        memory[y + j] /= total


def _shift(pointer, w, x, y, m, a, b, n, stride, t):  # type: ignore[no-untyped-def]
    """The row of past inputs at y (m,) moves by a numbers, and the input at x (a,) becomes its end."""
    memory, kept = carray(pointer, SIZE), m - a
    for j in range(kept):
        memory[y + j] = memory[y + j + a]
    for j in range(a):
        memory[y + kept + j] = memory[x + j]


def _relu(pointer, w, x, y, m, a, b, n, stride, t):  # type: ignore[no-untyped-def]
    """y (m,) loses its negative values."""
    memory = carray(pointer, SIZE)
    for j in range(m):
        memory[y + j] = memory[y + j] if memory[y + j] > ZERO else ZERO


def _feature_group(rows, t, out):  # type: ignore[no-untyped-def]
    """A feature group by address: rows (history, slots) and features (COUNT,), float64."""
    definition(carray(rows, ROWS), t, carray(out, COUNT))


def _advance(row, t, rows, raw, groups, columns, mean, std, program, bounds, blend, out, outputs, memory):  # type: ignore[no-untyped-def]
    """Everything one row changes: the row history, features, network inputs, every member's state; out (targets,) last.

    A row of `groups` is the address of a feature group and its first place in `raw`, in bytes. A row of `program` is an
    instruction: an address, then the operands of `Program.emit`.
    """
    for k in range(rows.shape[0] - 1, 0, -1):
        for j in range(rows.shape[1]):
            rows[k, j] = rows[k - 1, j]
    for j in range(rows.shape[1]):
        value = row[j]
        value = value if -HUGE <= value <= HUGE else rows[0, j]  # not NaN, not infinite; or still the last row's
        value = value if value < LIMIT else LIMIT
        value = value if value > -LIMIT else -LIMIT
        rows[0, j] = value
        raw[j] = value
    for k in range(groups.shape[0]):
        call_group(groups[k, 0], (np.uint64(rows.ctypes.data), np.uint64(t), raw.ctypes.data + groups[k, 1]))
    for j in range(columns.shape[0]):
        memory[j] = (raw[columns[j]] - mean[j]) / std[j]
    # Every other step visits the members backwards: those used last are still in the cache.
    count, pointer, step = blend.shape[0], np.uint64(memory.ctypes.data), np.uint64(t)
    for i in range(count):
        member = i if t % 2 == 0 else count - 1 - i
        for k in range(bounds[member], bounds[member + 1]):
            w, x, y, m = program[k, 1], program[k, 2], program[k, 3], program[k, 4]
            a, b, n, stride = program[k, 5], program[k, 6], program[k, 7], program[k, 8]
            call_instruction(program[k, 0], (pointer, w, x, y, m, a, b, n, stride, step))
    targets = out.shape[0]
    for j in range(targets):
        total = 0.0
        for i in range(count):
            total += blend[i, j] * memory[outputs + targets * i + j]
        out[j] = total


# The memory's regions, in this order. Until every size is known, an address is its region, shifted, and a place in it.
INPUTS, OUTPUTS, VALUES, WORK, STATES, CONSTANTS = range(6)
SHIFT = 40
LINE = 16  # float32 numbers of a cache line; regions and constants start at one


class Program:
    """Members as instructions over one memory: inputs, predictions (members, targets), what parts hand on, scratch,
    states, constants. Members run one after the other, and share the regions in which nothing lasts beyond a step."""

    def __init__(self, inputs: Inputs, members: list[list[Part]], pipelines: list[int], targets: int) -> None:
        self.lines: list[tuple[Any, ...]] = []
        self.bounds = [0]
        self.constants: list[np.ndarray] = []
        self.sizes = [len(inputs.columns), targets * len(members), 0, 0, 0, 0]
        for k, (parts, pipeline) in enumerate(zip(members, pipelines, strict=True)):
            self._member(parts, (INPUTS << SHIFT) + inputs.offsets[pipeline], (OUTPUTS << SHIFT) + targets * k)
            self.bounds.append(len(self.lines))
        self.sizes[STATES] += BLOCK  # the last padded product may read that far
        self.bases = np.cumsum([0, *(-(-size // LINE) * LINE for size in self.sizes)]).tolist()

    def _member(self, parts: list[Part], x: int, out: int) -> None:
        value = VALUES << SHIFT
        for part in parts:
            if part is parts[-1]:
                y = out
            elif part.recurrent:
                y = self.state(part.width)
            else:
                y, value = value, value + part.width
            part.emit(self, x, y)
            x = y
        self.sizes[VALUES] = max(self.sizes[VALUES], value - (VALUES << SHIFT))

    def memory(self) -> np.ndarray:
        """The memory before the first row, from the start of a cache line."""
        room = np.zeros(self.bases[-1] + LINE, np.float32)
        start = -room.ctypes.data % (4 * LINE) // 4
        memory = room[start : start + self.bases[-1]]
        np.concatenate(self.constants, out=memory[self.bases[CONSTANTS] :])
        return memory

    def instructions(self) -> np.ndarray:
        """(lines, 9) unsigned: addresses of machine code, and operands with every address resolved."""
        operands = np.array([line[1:] for line in self.lines], np.uint64)
        regions, places = operands >> np.uint64(SHIFT), operands & np.uint64((1 << SHIFT) - 1)
        code = np.array([[_instruction(line[0]).address] for line in self.lines], np.uint64)
        return np.concatenate([code, np.array(self.bases, np.uint64)[regions] + places], 1)

    def work(self, size: int) -> int:
        """Scratch that one part uses while its instructions run; the next part gets the same."""
        self.sizes[WORK] = max(self.sizes[WORK], size)
        return WORK << SHIFT

    def state(self, size: int) -> int:
        """Memory that lasts from step to step, zero at the start of a sequence."""
        self.sizes[STATES] += size
        return (STATES << SHIFT) + self.sizes[STATES] - size

    def constant(self, array: np.ndarray) -> int:
        """The address of a copy; matrices get zero rows up to a multiple of `BLOCK`."""
        if array.ndim == 2:
            array = np.concatenate([array, np.zeros((_padded(len(array)) - len(array), array.shape[1]), np.float32)])
        place = self.sizes[CONSTANTS]
        self.constants.append(np.concatenate([array.ravel(), np.zeros(-array.size % LINE, np.float32)]))
        self.sizes[CONSTANTS] += len(self.constants[-1])
        return (CONSTANTS << SHIFT) + place

    def emit(
        self, function: Any, w: int, x: int, y: int, m: int, a: int = 0, b: int = 0, n: int = 0, stride: int = 0
    ) -> None:
        """One instruction. `w`, `x`, `y` are addresses of weights, source and target, `m` is the target's width."""
        self.lines.append((function, w, x, y, m, a, b, n, stride))

    def linear(self, weight: np.ndarray, bias: np.ndarray | None, x: int, y: int) -> None:
        """y = bias + x @ weight; without a bias y += x @ weight."""
        a, b = (self.constant(bias), len(bias)) if bias is not None else (0, 0)
        n, m = weight.shape
        self.emit(_product, self.constant(weight), x, y, m, a, b, _padded(n), m)

    def norm(self, gamma: np.ndarray, beta: np.ndarray, x: int, y: int) -> None:
        """y = LayerNorm(y + x); x = y adds nothing."""
        self.emit(_norm, self.constant(np.concatenate([gamma, beta])), x, y, len(gamma))


def _pad_heads(array: np.ndarray, heads: int) -> np.ndarray:
    """(..., heads * d) with each head's columns padded with zeros to a multiple of `BLOCK`."""
    split = array.reshape(*array.shape[:-1], heads, -1)
    size = split.shape[-1]
    padding = np.zeros((*split.shape[:-1], _padded(size) - size), np.float32)
    return np.ascontiguousarray(np.concatenate([split, padding], -1).reshape(*array.shape[:-1], -1))


def _padded(n: int) -> int:
    return -(-n // BLOCK) * BLOCK


class NumbaStep:
    """The step as one compiled function, without parallelism and without a cache on disk."""

    name = "numba"

    def __init__(
        self, inputs: Inputs, features: Any, members: list[list[Part]], pipelines: list[int], blend: np.ndarray
    ) -> None:
        program, targets = Program(inputs, members, pipelines, blend.shape[1]), blend.shape[1]
        memory, bases = program.memory(), program.bases
        self.x, self.members = memory[: len(inputs.columns)], memory[bases[OUTPUTS] :][: targets * len(members)]
        self.members = self.members.reshape(len(members), targets)
        self.state = memory[bases[STATES] : bases[CONSTANTS]]
        self.rows = np.zeros((features.history_of(inputs.starts), inputs.raw))
        self.out = np.zeros(targets)
        groups = [(_group(features, name, inputs.raw).address, 8 * start) for name, start in inputs.starts.items()]
        self.arguments = (
            self.rows, np.zeros(inputs.width), np.array(groups, np.uint64).reshape(-1, 2),
            inputs.columns, inputs.mean, inputs.std, program.instructions(), np.array(program.bounds), blend,
            self.out, bases[OUTPUTS], memory,
        )  # fmt: skip
        self.advance = _compiled_advance()
        self.step(np.zeros(inputs.raw), 0)  # compiles
        self.reset()

    def reset(self) -> None:
        """Forget the sequence."""
        self.rows[:] = 0.0
        self.state[:] = 0.0

    def step(self, row: np.ndarray, t: int) -> np.ndarray:
        """Prediction (targets,) after raw row (slots,) float64, the t-th of its sequence. The result is overwritten."""
        self.advance(row, t, *self.arguments)
        return self.out


def _options() -> dict[str, Any]:
    """numpy's error model drops a division check that blocks vectorisation. Sums may be reordered and fused, which is
    as deterministic as not to."""
    return {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}


def _inner() -> Any:
    """The compiler of functions that only compiled ones call."""
    import numba

    bare: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(**_options(), **bare)


def _with_names(function: Any, names: dict[str, Any]) -> Any:
    """`function` with `names` beside the globals of this file."""
    return types.FunctionType(function.__code__, {**globals(), **names}, function.__name__)


def _instruction_type() -> Any:
    import numba

    return numba.void(numba.types.CPointer(numba.float32), *[numba.uint64] * 9)


def _group_type() -> Any:
    import numba

    doubles = numba.types.CPointer(numba.float64)
    return numba.void(doubles, numba.int64, doubles)


@functools.cache
def _instruction(function: Any) -> Any:
    """One instruction as machine code with an `address`. Code called by address is compiled once a process; inlined
    code is compiled again with each caller."""
    import numba

    names = {"carray": numba.carray, "SIZE": 1 << SHIFT, "_tanh": _inner()(_tanh)}
    return numba.cfunc(_instruction_type(), **_options())(_with_names(function, names))


@functools.cache
def _group(features: Any, name: str, slots: int) -> Any:
    """One feature group as machine code with an `address`."""
    import numba

    names = {
        "definition": features.compiled(_inner(), (name,))[0], "carray": numba.carray,
        "ROWS": (features.ROWS[name], slots), "COUNT": len(features.NAMES[name]),
    }  # fmt: skip
    return numba.cfunc(_group_type(), **_options())(_with_names(_feature_group, names))


def _caller(signature: Any) -> Any:
    """A function for compiled code: `call(address, arguments)` calls machine code of `signature` at an address that is
    known only when the step runs. All arguments are unsigned integers, pointers included."""
    from numba.core import cgutils
    from numba.core import types as kinds
    from numba.extending import intrinsic

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        expected = [context.get_value_type(kind) for kind in signature.args]
        function_type = cgutils.ir.FunctionType(cgutils.ir.VoidType(), expected)
        function = builder.inttoptr(values[0], function_type.as_pointer())
        arguments = cgutils.unpack_tuple(builder, values[1])
        for i, kind in enumerate(expected):
            if isinstance(kind, cgutils.ir.PointerType):
                arguments[i] = builder.inttoptr(arguments[i], kind)
        builder.call(function, arguments)
        return context.get_dummy_value()

    def call(typing_context: Any, address: Any, arguments: Any) -> Any:
        return kinds.void(address, arguments), generate

    return intrinsic(call)


@functools.cache
def _compiled_advance() -> Any:
    """`_advance` as machine code."""
    import numba

    names: dict[str, Any] = {
        "HUGE": np.finfo(np.float64).max,
        "call_group": _caller(_group_type()), "call_instruction": _caller(_instruction_type()),
    }  # fmt: skip
    return numba.njit(**_options())(_with_names(_advance, names))


# --------------------------------------------------------------------------- members and features that are graphs


class GraphStep:
    """A network that this file does not know, as an ONNX graph: `x` (1, F) and `state.I` to `prediction` and `next.I`.
    Or a feature group, whose `result` is `features`.

    onnxruntime is needed where a submission has such a part, and nowhere else.
    """

    def __init__(self, data: np.ndarray, result: str = "prediction") -> None:
        try:
            import onnxruntime
        except ImportError as error:
            part = "a member" if result == "prediction" else "a feature group"
            raise RuntimeFormatError(f"{part} is an ONNX graph, and onnxruntime is not installed here") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(data.tobytes(), options, providers=["CPUExecutionProvider"])
        self.names = [entry.name for entry in self.session.get_inputs() if entry.name != "x"]
        self.outputs = [result, *(name.replace("state.", "next.", 1) for name in self.names)]
        types_ = {"float": np.float32, "double": np.float64, "int64": np.int64, "bool": np.bool_}
        self.zeros = {
            entry.name: np.zeros(entry.shape, types_[entry.type.removeprefix("tensor(").removesuffix(")")])
            for entry in self.session.get_inputs()
            if entry.name != "x"
        }
        self.state = dict(self.zeros)

    def reset(self) -> None:
        """Forget the sequence."""
        self.state = dict(self.zeros)

    def step(self, x: np.ndarray) -> np.ndarray:
        """The result (targets,) after the input (F,)."""
        prediction, *following = self.session.run(self.outputs, {"x": x[None], **self.state})
        self.state = dict(zip(self.names, following, strict=True))
        return prediction[0]


class MixedStep:
    """The fused step of the members that this file knows, beside the graphs of the others, by number of the member."""

    def __init__(
        self,
        inner: Any,
        fused: list[int],
        graphs: dict[int, np.ndarray],
        inputs: Inputs,
        pipelines: list[int],
        weights: np.ndarray,
    ) -> None:
        self.inner, self.fused, self.weights = inner, fused, weights
        self.graphs = {k: GraphStep(data) for k, data in graphs.items()}
        starts = {k: inputs.offsets[pipelines[k]] for k in graphs}
        self.places = {k: slice(start, start + inputs.sizes[pipelines[k]]) for k, start in starts.items()}
        self.members = np.zeros(weights.shape, np.float32)

    @property
    def name(self) -> str:
        """What computes the steps."""
        return f"{self.inner.name}+onnx"

    @property
    def x(self) -> np.ndarray:
        """Every distinct network input after the last row."""
        return self.inner.x

    def reset(self) -> None:
        """Forget the sequence."""
        self.inner.reset()
        for graph in self.graphs.values():
            graph.reset()

    def step(self, row: np.ndarray, t: int) -> np.ndarray:
        """Prediction after a raw row, the t-th of its sequence."""
        self.inner.step(row, t)
        self.members[self.fused] = self.inner.members
        for k, graph in self.graphs.items():
            self.members[k] = graph.step(self.inner.x[self.places[k]])
        return np.add.reduce(self.weights * self.members)


class ExtendedStep:
    """A step whose rows are extended by features of groups that are graphs; they read the row as features in this file
    do, with values repaired that are not finite or too large."""

    def __init__(self, inner: Any, inputs: Inputs, own: list[dict[str, Any]], arrays: dict[str, np.ndarray]) -> None:
        self.inner, self.columns = inner, np.array(inputs.slots)
        self.graphs: list[tuple[GraphStep, np.ndarray, slice]] = []  # with the slots that each reads and fills
        for i, (entry, place) in enumerate(zip(own, inputs.own, strict=True)):
            graph = GraphStep(_need(arrays, f"{OWN}.{i}.{GRAPH}"), "features")
            self.graphs.append((graph, self.columns[entry["reads"]], slice(place.start, place.stop)))
        self.last = np.zeros(inputs.count)

    @property
    def name(self) -> str:
        """What computes the steps."""
        return f"{self.inner.name.removesuffix('+onnx')}+onnx"

    @property
    def x(self) -> np.ndarray:
        """Every distinct network input after the last row."""
        return self.inner.x

    @property
    def members(self) -> np.ndarray:
        """Predictions of the members after the last row."""
        return self.inner.members

    def reset(self) -> None:
        """Forget the sequence."""
        self.inner.reset()
        self.last[:] = 0.0
        for graph, _, _ in self.graphs:
            graph.reset()

    def step(self, row: np.ndarray, t: int) -> np.ndarray:
        """Prediction after a raw row, the t-th of its sequence. The row's further slots are filled."""
        now = row[self.columns]
        self.last = row[self.columns] = np.clip(np.where(np.isfinite(now), now, self.last), -LIMIT, LIMIT)
        for graph, reads, place in self.graphs:
            row[place] = graph.step(row[reads])
        return self.inner.step(row, t)


# ------------------------------------------------------------------------------------------------ the ensemble


class Ensemble:
    """Members and their weights, ready to read rows. `backend`: `auto` (numba if it is there and right), `numpy` or
    `numba` (whose failure is then an error). `strict`: whether rows that do not continue a sequence are refused."""

    def __init__(
        self,
        manifest: dict[str, Any],
        arrays: dict[str, np.ndarray],
        features: Any,
        backend: str = "auto",
        strict: bool = True,
    ) -> None:
        if manifest.get("format") != FORMAT:
            raise RuntimeFormatError(f"manifest format {manifest.get('format')!r}: this runtime reads format {FORMAT}")
        members = manifest["members"]
        own = manifest.get(OWN, [])
        inputs = Inputs(manifest["pipelines"], arrays, features, manifest.get("slots"), own)
        pipelines = [member["pipeline"] for member in members]
        fused = [k for k, member in enumerate(members) if not member.get(GRAPH)]
        networks = [Weights(members[k], arrays, f"member.{k}").parts() for k in fused]
        self.weights = np.array([member["weight"] for member in members], np.float64)  # (K, targets)
        parts = (inputs, features, networks, [pipelines[k] for k in fused], self.weights[fused])
        self._step: Any = NumpyStep(*parts)
        if backend != "numpy" and fused:
            self._step = _fastest(backend, self._step, parts)
        if len(fused) < len(members):
            graphs = {k: _need(arrays, f"member.{k}.{GRAPH}") for k in range(len(members)) if k not in fused}
            self._step = MixedStep(self._step, fused, graphs, inputs, pipelines, self.weights)
        if own:
            self._step = ExtendedStep(self._step, inputs, own, arrays)
        self._row = np.zeros(inputs.raw)
        self._sequence: Any = None
        self._inputs, self._pipelines = inputs, pipelines
        self._t = -1  # the step of the last row
        self._position = -1  # its place in the sequence as the networks see it, from 0
        self.strict = strict
        self._told = False

    @property
    def backend(self) -> str:
        """`numba` or `numpy`: what computes the steps."""
        return str(self._step.name)

    def predict(self, seq_ix: Any, step_in_seq: Any, need_prediction: Any, state: Any) -> np.ndarray | None:
        """Read one row; the prediction (targets,) float64, or None when none is asked.

        Ids may arrive as any number, `state` as any array of the data's columns. Raises `SequenceError` when the row
        does not continue the sequence, ValueError when it has another number of columns.
        """
        t = int(step_in_seq)
        if t != 0 and (t != self._t + 1 or seq_ix != self._sequence):
            self._start_afresh(self._fault(int(seq_ix), t))
        elif t == 0:
            self._reset()
        count, slots = self._inputs.count, self._inputs.slots
        if getattr(state, "shape", None) != (count,):
            raise ValueError(f"sequence {seq_ix}, step {t}: state has shape {np.shape(state)}, not ({count},)")
        self._row[slice(None) if slots is None else slots] = state
        self._sequence, self._t, self._position = seq_ix, t, self._position + 1
        prediction = self._step.step(self._row, self._position)
        return prediction.copy() if need_prediction else None

    def _reset(self) -> None:
        self._step.reset()
        self._position = -1

    def _start_afresh(self, fault: str) -> None:
        """Forget the sequence so far, or refuse the row."""
        if self.strict:
            raise SequenceError(fault)
        if not self._told:
            logger.warning("%s; the state starts afresh there, and at every such row", fault)
        self._told = True
        self._reset()

    def _fault(self, sequence: int, t: int) -> str:
        if sequence != self._sequence:
            return f"sequence {sequence} starts at step {t}; a sequence must start at step 0"
        fault = "is repeated or goes back" if t <= self._t else "skips steps"
        return f"sequence {sequence}: step {t} after step {self._t} {fault}; steps must advance by one"

    @property
    def members(self) -> np.ndarray:
        """Predictions (members, targets) of the members after the last row, float32."""
        return np.array(self._step.members)

    @property
    def inputs(self) -> list[np.ndarray]:
        """What each member's network read of the last row, (F,) float32."""
        x, parts = self._step.x, self._inputs
        return [x[parts.offsets[i] : parts.offsets[i] + parts.sizes[i]].copy() for i in self._pipelines]


def _fastest(backend: str, reference: NumpyStep, parts: tuple[Any, ...]) -> Any:
    """The compiled step if it compiles and agrees with `reference`; otherwise warns and returns `reference`.

    With `backend` "numba", failing to compile raises its own error, and disagreeing `RuntimeFormatError`.
    """
    try:
        compiled = NumbaStep(*parts)
        difference = _difference(compiled, reference)
    except Exception as error:  # any failure of the compiler on an unknown host must not fail the submission
        if backend == "numba":
            raise
        logger.warning("numba cannot be used (%s: %s); numpy computes the steps", type(error).__name__, error)
        return reference
    if difference <= TOLERANCE:
        return compiled
    message = f"the compiled step differs from numpy's by {difference:.1e}, more than {TOLERANCE:.0e}"
    if backend == "numba":
        raise RuntimeFormatError(message)
    logger.warning("%s; numpy computes the steps", message)
    return reference


def _difference(compiled: Any, reference: Any) -> float:
    """Largest difference over a few rows of noise and a reset; both are left reset."""
    rows = np.random.RandomState(0).standard_normal((24, reference.inputs.raw))
    largest = 0.0
    for start in (0, 4):
        compiled.reset(), reference.reset()
        for t, row in enumerate(rows[start:]):
            compiled.step(row, t), reference.step(row, t)
            gap = np.abs(compiled.members - reference.members).max()
            largest = max(largest, float(gap)) if gap == gap else math.inf
    compiled.reset(), reference.reset()
    return largest


def load(folder: Path | str, features: Any, backend: str = "auto", strict: bool = True) -> Ensemble:
    """The ensemble of a folder with manifest.json and weights.safetensors. Raises `RuntimeFormatError`."""
    folder = Path(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return Ensemble(manifest, read_tensors(folder / "weights.safetensors"), features, backend, strict)
