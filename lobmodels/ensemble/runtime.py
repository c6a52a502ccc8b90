"""The online predictor: every member of an ensemble advanced by one row at a time, with numpy alone, faster with numba.

A submission carries this file as it stands, beside `features.py`, so it imports neither torch nor the project, and is
long because it is one file: layout, numpy step, compiled step, choice between them. The feature definitions are handed
in. Members whose shapes agree are stacked and stepped together, features and
normalised inputs that members share are computed once a step.

Order of arithmetic: raw columns and features in float64, normalised in float64, rounded once to float32; networks in
float32; the weighted mean of the members in float64. That is what training does, so predictions equal torch's to 1e-5.

What is defined for rows that break the contract:
- A value that is not finite keeps the column's last finite value of the sequence, 0 before there is one; finite values
  are cut to ±`LIMIT`. The state therefore stays finite whatever arrives.
- A row with step 0 starts a sequence, whatever its `seq_ix`. A sequence that starts later, and a step that is repeated
  or skipped, raise `SequenceError`: the state would not be the one the networks were trained with.
"""

# ruff: noqa: F821  (the names that compiled functions call are bound by `_compile`)
from __future__ import annotations

import functools
import json
import logging
import math
import types
from pathlib import Path
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

FORMAT = 1  # of manifest.json; another number is refused
COLUMNS = 32
LIMIT = 1e6  # raw columns are scaled to about ±5; beyond this a value is noise, and its powers must not overflow
EPSILON = np.float32(1e-5)  # of torch's LayerNorm
TOLERANCE = 1e-5  # largest difference allowed between the compiled step and the numpy step at start-up
GRU, LSTM, ATTENTION = 0, 1, 2
ARCHITECTURES = {"gru": GRU, "lstm": LSTM, "gru_attention": ATTENTION}


class RuntimeFormatError(ValueError):
    """The files beside the runtime are damaged, incomplete, or of another format."""


class SequenceError(ValueError):
    """Rows do not arrive as sequences that start at step 0 and advance by one."""


# ----------------------------------------------------------------------------------------------- files and layout


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file: eight bytes of header length, a JSON header, the data."""
    types_ = {"F32": np.float32, "F64": np.float64, "I64": np.int64}
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

    def __init__(self, pipelines: list[dict[str, Any]], arrays: dict[str, np.ndarray], features: Any) -> None:
        used = {group for pipeline in pipelines for group in pipeline["groups"]}
        self.groups = tuple(name for name in features.GROUPS if name in used)
        if used - set(self.groups):
            raise RuntimeFormatError(f"feature groups {sorted(used - set(self.groups))} are not in features.py")
        self.starts: dict[str, int] = {}
        self.width = COLUMNS
        for group in self.groups:
            self.starts[group] = self.width
            self.width += len(features.NAMES[group])
        columns: list[int] = []
        mean: list[float] = []
        std: list[float] = []
        self.offsets: list[int] = []
        self.sizes: list[int] = []
        for i, pipeline in enumerate(pipelines):
            index = list(range(COLUMNS))
            for group in pipeline["groups"]:
                start = self.starts[group]
                index += range(start, start + len(features.NAMES[group]))
            self.offsets.append(len(columns))
            self.sizes.append(len(index))
            columns += index
            for name, default, values in (("mean", 0.0, mean), ("std", 1.0, std)):
                array = (
                    _need(arrays, f"pipeline.{i}.{name}") if pipeline["normalizer"] else np.full(len(index), default)
                )
                if len(array) != len(index):
                    raise RuntimeFormatError(f"pipeline {i}: {len(array)} values of {name} for {len(index)} columns")
                values += array.tolist()
        self.columns = np.array(columns, np.int64)
        self.mean = np.array(mean, np.float64)
        self.std = np.array(std, np.float64)


def _need(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise RuntimeFormatError(f"the weights file lacks {name!r}")
    return arrays[name]


class Layers:
    """One member's weights, laid out for the step: inputs down, outputs across, in the order they are used.

    A sigmoid is computed as .5 + .5 tanh(x/2); its halving is folded into the weights, which is exact. So is the
    attention's 1/sqrt(d). Layouts: GRU inputs (n, r, z) and states (r, z, n), so that both meet in one buffer
    (n_x, r, z, n_h); LSTM gates (i, f, o, g).
    """

    def __init__(self, member: dict[str, Any], arrays: dict[str, np.ndarray], prefix: str) -> None:
        self.kind = ARCHITECTURES[member["architecture"]]
        self.hidden, self.depth = int(member["hidden_size"]), int(member["num_layers"])
        self.projection, self.middle = member["input_block"] == "projection", 0
        self.heads = self.window = 0
        self.prefix, self.arrays = prefix, arrays
        self.parts: list[np.ndarray] = []
        if self.projection:
            self._add(self._get("block.linear.weight").T, self._get("block.linear.bias"))
            self._add(self._get("block.norm.weight"), self._get("block.norm.bias"))
        for layer in range(self.depth):
            (self._lstm if self.kind == LSTM else self._gru)(layer)
        if self.kind == ATTENTION:
            self.heads, self.window = int(member["attention_heads"]), int(member["attention_window"])
            self._attention()
        if member["head"] == "mlp":
            self.middle = len(self._get("head.0.bias"))
            self._add(self._get("head.0.weight").T, self._get("head.0.bias"))
        last = "head.3" if self.middle else "head"
        self._add(self._get(f"{last}.weight"), self._get(f"{last}.bias"))

    def shape(self) -> tuple[int, ...]:
        """What members must share to be stepped together."""
        return (
            self.kind,
            len(self.parts[0]),
            self.hidden,
            self.depth,
            self.projection,
            self.middle,
            self.heads,
            self.window,
        )

    def _get(self, name: str) -> np.ndarray:
        return _need(self.arrays, f"{self.prefix}.{name}")

    def _add(self, *arrays: np.ndarray) -> None:
        self.parts += [np.ascontiguousarray(array, np.float32) for array in arrays]

    def _gru(self, layer: int) -> None:
        half = np.float32(0.5)
        rx, zx, nx = np.split(self._get(f"recurrent.weight_ih_l{layer}"), 3)
        rh, zh, nh = np.split(self._get(f"recurrent.weight_hh_l{layer}"), 3)
        brx, bzx, bnx = np.split(self._get(f"recurrent.bias_ih_l{layer}"), 3)
        brh, bzh, bnh = np.split(self._get(f"recurrent.bias_hh_l{layer}"), 3)
        self._add(np.concatenate([nx, half * rx, half * zx]).T)
        self._add(np.concatenate([half * rh, half * zh, nh]).T)
        self._add(np.concatenate([bnx, half * (brx + brh), half * (bzx + bzh), bnh]))

    def _lstm(self, layer: int) -> None:
        half = np.float32(0.5)
        for name in ("weight_ih", "weight_hh"):
            i, f, g, o = np.split(self._get(f"recurrent.{name}_l{layer}"), 4)
            self._add(np.concatenate([half * i, half * f, half * o, g]).T)
        bias = self._get(f"recurrent.bias_ih_l{layer}") + self._get(f"recurrent.bias_hh_l{layer}")
        i, f, g, o = np.split(bias, 4)
        self._add(np.concatenate([half * i, half * f, half * o, g]))

    def _attention(self) -> None:
        scale = np.ones(3 * self.hidden)
        scale[: self.hidden] = 1.0 / math.sqrt(self.hidden // self.heads)
        self._add((self._get("attention.in_proj_weight") * scale[:, None]).T)
        self._add(self._get("attention.in_proj_bias") * scale)
        self._add(self._get("attention.out_proj.weight").T, self._get("attention.out_proj.bias"))
        self._add(self._get("norm.weight"), self._get("norm.bias"))


# --------------------------------------------------------------------------------------------- the step, with numpy


class NumpyStep:
    """The step with numpy: members of one shape in one stacked product each."""

    name = "numpy"

    def __init__(
        self, inputs: Inputs, features: Any, members: list[Layers], pipelines: list[int], blend: np.ndarray
    ) -> None:
        self.inputs, self.features, self.blend = inputs, features, blend
        self.rows = [[0.0] * COLUMNS for _ in range(features.HISTORY)]  # plain floats: the definitions run fastest so
        self.raw = np.zeros(inputs.width)
        self.x = np.zeros(len(inputs.columns), np.float32)
        self.members = np.zeros((len(members), 2), np.float32)
        groups: dict[tuple[int, ...], list[int]] = {}
        for k, member in enumerate(members):
            groups.setdefault(member.shape(), []).append(k)
        self.stacks = [
            (indices, _Stack([members[k] for k in indices]), [pipelines[k] for k in indices])
            for indices in groups.values()
        ]

    def reset(self) -> None:
        """Forget the sequence."""
        for row in self.rows:
            row[:] = [0.0] * COLUMNS
        for _, stack, _ in self.stacks:
            stack.reset()

    def step(self, row: np.ndarray, t: int) -> np.ndarray:
        """Prediction (2,) after raw row (32,) float64, the t-th of its sequence."""
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
        raw[:COLUMNS] = row
        self.rows.insert(0, self.rows.pop())
        self.rows[0][:] = row.tolist()
        for group in inputs.groups:
            out = [0.0] * len(self.features.NAMES[group])
            self.features.GROUPS[group](self.rows, t, out)
            raw[inputs.starts[group] : inputs.starts[group] + len(out)] = out
        return ((raw[inputs.columns] - inputs.mean) / inputs.std).astype(np.float32)


class _Stack:
    """K members of one shape. Vectors carry a last element 1, so that biases are rows of the weights."""

    def __init__(self, members: list[Layers]) -> None:
        first = members[0]
        self.kind, self.heads, self.window = first.kind, first.heads, first.window
        parts = iter([np.stack(column) for column in zip(*(member.parts for member in members), strict=True)])
        k, h = len(members), first.hidden
        half = np.float32(0.5)
        self.x = _ones(k, first.parts[0].shape[0])
        self.block = None
        if first.projection:
            weight, bias, gamma, beta = (next(parts) for _ in range(4))
            self.block = (_with_bias(weight, bias), gamma, beta)
            self.projected = _ones(k, h)
        self.layers: list[Any] = []
        for _ in range(first.depth):
            wx, wh, bias = next(parts), next(parts), next(parts)
            if self.kind == LSTM:
                self.layers.append(_LstmLayer(_with_bias(wx, bias), _with_bias(wh, 0 * bias), h))
                continue
            wx = _with_bias(wx, bias[:, : 3 * h])
            wh = _with_bias(wh, np.concatenate([0 * bias[:, : 2 * h], bias[:, 3 * h :]], 1))
            wh[:, :, 2 * h :] *= half  # r is kept as 1 + tanh, twice its value
            self.layers.append(_GruLayer(wx, wh, h))
        if self.kind == ATTENTION:
            self.attention = [next(parts) for _ in range(6)]
            self.keys = np.zeros((k, self.heads, h // self.heads, self.window), np.float32)
            self.values = np.zeros((k, self.heads, self.window, h // self.heads), np.float32)
            self.attended = _ones(k, h)
        self.middle: Any = _with_bias(next(parts), next(parts)) if first.middle else None
        weight, bias = next(parts), next(parts)
        self.last = _with_bias(weight.transpose(0, 2, 1), bias)
        self.hidden = _ones(k, first.middle) if first.middle else None

    def reset(self) -> None:
        for layer in self.layers:
            layer.reset()

    def step(self, t: int) -> np.ndarray:  # (K, 2)
        x = self.x
        if self.block is not None:
            weight, gamma, beta = self.block
            self.projected[:, 0, :-1] = _layer_norm(np.matmul(x, weight)[:, 0], gamma, beta)
            x = self.projected
        for layer in self.layers:
            x = layer.step(x)
        if self.kind == ATTENTION:
            self.attended[:, 0, :-1] = self._attend(x[:, 0, :-1], t)
            x = self.attended
        if self.hidden is not None:
            np.maximum(np.matmul(x, self.middle)[:, 0], 0.0, out=self.hidden[:, 0, :-1])
            x = self.hidden
        return np.matmul(x, self.last)[:, 0]

    def _attend(self, h: np.ndarray, t: int) -> np.ndarray:
        """LayerNorm(h + attention over the last `window` outputs); keys and values in a ring, order is immaterial."""
        w_in, b_in, w_out, b_out, gamma, beta = self.attention
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
        return _layer_norm(h + np.matmul(mixed, w_out)[:, 0] + b_out, gamma, beta)


class _Layer:
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

    def step(self, x: np.ndarray) -> np.ndarray:
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


class _GruLayer(_Layer):
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


class _LstmLayer(_Layer):
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


ONE, HALF = np.float32(1.0), np.float32(0.5)


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
# `_Program` lowers the members to instructions over one float32 memory that holds inputs, weights and states alike;
# the functions below, compiled, interpret them. So every loop is compiled once, whatever the members are, and start-up
# stays short. Indices are unsigned and constants typed on purpose: a signed index brings a check for negative values
# that blocks vectorisation, and a bare literal would lift its expression to float64.

PRODUCT, GRU_GATES, LSTM_GATES, NORM, PUSH, SOFTMAX, RELU = range(7)
BLOCK = 8  # rows of a product that are added at once; row counts are padded to it with zero weights

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


def _relu(pointer, w, x, y, m, a, b, n, stride, t):  # type: ignore[no-untyped-def]
    """y (m,) loses its negative values."""
    memory = carray(pointer, SIZE)
    for j in range(m):
        memory[y + j] = memory[y + j] if memory[y + j] > ZERO else ZERO


def _advance(row, t, rows, raw, columns, mean, std, program, bounds, blend, out, memory):  # type: ignore[no-untyped-def]
    """Everything one row changes: the row history, features, network inputs, every member's state; out (2,) last.

    Instructions are rows of `program`; their fields are those of `_Program._emit`.
    """
    for k in range(rows.shape[0] - 1, 0, -1):
        for j in range(COLUMNS):
            rows[k, j] = rows[k - 1, j]
    for j in range(COLUMNS):
        value = row[j]
        value = value if -HUGE <= value <= HUGE else rows[0, j]  # not NaN, not infinite; or still the last row's
        value = value if value < LIMIT else LIMIT
        value = value if value > -LIMIT else -LIMIT
        rows[0, j] = value
        raw[j] = value
    if DERIVED:  # a constant while this compiles: the branch of a group that nobody reads is not compiled
        derived(rows, t, raw[DERIVED:])
    if TEMPORAL:
        temporal(rows, t, raw[TEMPORAL:])
    if INTERACTION:
        interaction(rows, t, raw[INTERACTION:])
    if MICROSTRUCTURE:
        microstructure(rows, t, raw[MICROSTRUCTURE:])
    if LAG:
        lag(rows, t, raw[LAG:])
    first = columns.shape[0]
    for j in range(first):
        memory[j] = (raw[columns[j]] - mean[j]) / std[j]
    # Every other step visits the members backwards: those used last are still in the cache.
    count, pointer, step = blend.shape[0], memory.ctypes, np.uint64(t)
    for i in range(count):
        member = i if t % 2 == 0 else count - 1 - i
        for k in range(bounds[member], bounds[member + 1]):
            code, w, x, y, m = program[k, 0], program[k, 1], program[k, 2], program[k, 3], program[k, 4]
            a, b, n, stride = program[k, 5], program[k, 6], program[k, 7], program[k, 8]
            if code == PRODUCT:
                product(pointer, w, x, y, m, a, b, n, stride, step)
            elif code == GRU_GATES:
                gru_gates(pointer, w, x, y, m, a, b, n, stride, step)
            elif code == LSTM_GATES:
                lstm_gates(pointer, w, x, y, m, a, b, n, stride, step)
            elif code == NORM:
                norm(pointer, w, x, y, m, a, b, n, stride, step)
            elif code == PUSH:
                push(pointer, w, x, y, m, a, b, n, stride, step)
            elif code == SOFTMAX:
                softmax(pointer, w, x, y, m, a, b, n, stride, step)
            elif code == RELU:
                relu(pointer, w, x, y, m, a, b, n, stride, step)
    for j in range(2):
        total = 0.0
        for i in range(count):
            total += blend[i, j] * memory[first + 2 * i + j]
        out[j] = total


class _Program:
    """Members lowered to instructions over one memory: inputs, predictions (K, 2), scratch, states, constants."""

    def __init__(self, inputs: Inputs, members: list[Layers], pipelines: list[int]) -> None:
        self.lines: list[tuple[int, ...]] = []
        self.bounds = [0]
        self.constants: list[np.ndarray] = []
        self.outputs = len(inputs.columns)
        self.scratch = self.outputs + 2 * len(members)
        self.states = self.scratch + max(self._scratch_size(member) for member in members)
        self.state = self.states
        self.size = self.first_constant = self.states + sum(self._state_size(member) for member in members) + BLOCK
        self.zeros = self._constant(np.zeros(max(self._scratch_size(member) for member in members), np.float32))
        for k, (member, pipeline) in enumerate(zip(members, pipelines, strict=True)):
            self._member(member, inputs.offsets[pipeline], self.outputs + 2 * k)
            self.bounds.append(len(self.lines))

    def memory(self) -> np.ndarray:
        """The memory before the first row."""
        return np.concatenate([np.zeros(self.first_constant, np.float32), *self.constants])

    @staticmethod
    def _wide(member: Layers) -> int:
        """Width of a query, key or value: heads are padded too, as a product runs over each."""
        return member.heads * _padded(member.hidden // member.heads) if member.heads else member.hidden

    def _scratch_size(self, member: Layers) -> int:
        return 5 * self._wide(member) + member.heads * _padded(member.window) + member.middle + BLOCK

    def _state_size(self, member: Layers) -> int:
        ring = 2 * self._wide(member) * _padded(member.window)
        return member.hidden * member.depth * (2 if member.kind == LSTM else 1) + ring

    def _constant(self, array: np.ndarray) -> int:
        """Address of an array's copy; matrices get zero rows up to a multiple of `BLOCK`."""
        if array.ndim == 2:
            array = np.concatenate([array, np.zeros((_padded(len(array)) - len(array), array.shape[1]), np.float32)])
        self.constants.append(array.ravel())
        self.size += array.size
        return self.size - array.size

    def _allocate(self, size: int) -> int:
        self.state += size
        return self.state - size

    def _emit(
        self, code: int, w: int, x: int, y: int, m: int, a: int = 0, b: int = 0, n: int = 0, stride: int = 0
    ) -> None:
        """One instruction. `w`, `x`, `y` are addresses of weights, source and target, `m` is the target's width."""
        self.lines.append((code, w, x, y, m, a, b, n, stride))

    def _linear(self, weight: np.ndarray, bias: np.ndarray | None, x: int, y: int) -> None:
        """y = bias + x @ weight; without a bias y += x @ weight."""
        a, b = (self._constant(bias), len(bias)) if bias is not None else (0, 0)
        n, m = weight.shape
        self._emit(PRODUCT, self._constant(weight), x, y, m, a, b, _padded(n), m)

    def _norm(self, gamma: np.ndarray, beta: np.ndarray, x: int, y: int) -> None:
        self._emit(NORM, self._constant(np.concatenate([gamma, beta])), x, y, len(gamma))

    def _member(self, member: Layers, x: int, out: int) -> None:
        parts, m = iter(member.parts), member.hidden
        block, work = self.scratch, self.scratch + m
        if member.projection:
            self._linear(next(parts), next(parts), x, block)
            self._norm(next(parts), next(parts), block, block)
            x = block
        for _ in range(member.depth):
            wx, wh, bias = next(parts), next(parts), next(parts)
            h = self._allocate(m)
            self._linear(wx, bias, x, work)
            self._linear(wh, None, h, work + 4 * m - wh.shape[1])
            if member.kind == LSTM:
                self._emit(LSTM_GATES, 0, work, h, m, self._allocate(m))
            else:
                self._emit(GRU_GATES, 0, work, h, m)
            x = h
        if member.kind == ATTENTION:
            x = self._attention(member, parts, x)
        if member.middle:
            inner = self.scratch + 5 * self._wide(member)
            self._linear(next(parts), next(parts), x, inner)
            self._emit(RELU, 0, inner, inner, member.middle)
            x = inner
        weight, bias = next(parts), next(parts)
        self._linear(np.ascontiguousarray(weight.T), bias, x, out)

    def _attention(self, member: Layers, parts: Any, x: int) -> int:
        """LayerNorm(x + attention), whose address is returned."""
        wide, window, heads = self._wide(member), member.window, member.heads
        size, stride = wide // heads, _padded(window)
        block, work = self.scratch, self.scratch + wide
        keys, values, scores = self._allocate(wide * stride), self._allocate(wide * stride), work + 3 * wide
        w_in, b_in, w_out, b_out = (next(parts) for _ in range(4))
        self._linear(_pad_heads(w_in, 3 * heads), _pad_heads(b_in, 3 * heads), x, work)  # query, key, value
        self._emit(PUSH, values, work + wide, keys, wide, stride, window)
        for head in range(heads):
            first, shares = head * size, scores + head * stride
            query, mixed = work + first, block + first
            self._emit(PRODUCT, keys + first * stride, query, shares, stride, self.zeros, stride, size, stride)
            self._emit(SOFTMAX, 0, shares, shares, stride, 0, window)
            self._emit(PRODUCT, values + first, shares, mixed, size, self.zeros, size, stride, wide)
        self._linear(np.ascontiguousarray(_pad_heads(w_out.T, heads).T), b_out, block, work)
        self._norm(next(parts), next(parts), x, work)
        return work


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
        self, inputs: Inputs, features: Any, members: list[Layers], pipelines: list[int], blend: np.ndarray
    ) -> None:
        program = _Program(inputs, members, pipelines)
        memory = program.memory()
        self.x = memory[: program.outputs]
        self.members = memory[program.outputs : program.scratch].reshape(len(members), 2)
        self.state, self.rows = memory[program.states : program.first_constant], np.zeros((features.HISTORY, COLUMNS))
        self.out = np.zeros(2)
        self.arguments = (
            self.rows, np.zeros(inputs.width), inputs.columns, inputs.mean, inputs.std,
            np.array(program.lines, np.uint64), np.array(program.bounds), blend, self.out, memory,
        )  # fmt: skip
        self.advance = _compile(inputs, features, {line[0] for line in program.lines})
        self.step(np.zeros(COLUMNS), 0)  # compiles
        self.reset()

    def reset(self) -> None:
        """Forget the sequence."""
        self.rows[:] = 0.0
        self.state[:] = 0.0

    def step(self, row: np.ndarray, t: int) -> np.ndarray:
        """Prediction (2,) after raw row (32,) float64, the t-th of its sequence. The result is overwritten."""
        self.advance(row, t, *self.arguments)
        return self.out


INSTRUCTIONS = {
    PRODUCT: _product,
    GRU_GATES: _gru_gates,
    LSTM_GATES: _lstm_gates,
    NORM: _norm,
    PUSH: _push,
    SOFTMAX: _softmax,
    RELU: _relu,
}


def _options() -> dict[str, Any]:
    """numpy's error model drops a division check that blocks vectorisation. Sums may be reordered and fused, which is
    as deterministic as not to."""
    return {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}


def _inner() -> Any:
    """The compiler of functions that only compiled ones call."""
    import numba

    bare: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(**_options(), **bare)


@functools.cache
def _instruction(code: int) -> Any:
    """One instruction as machine code. It is called through its pointer: what is inlined is compiled again with each
    caller."""
    import numba

    names = {**globals(), "carray": numba.carray, "SIZE": 1 << 40, "_tanh": _inner()(_tanh)}
    signature = numba.void(numba.types.CPointer(numba.float32), *[numba.uint64] * 9)
    function = INSTRUCTIONS[code]
    return numba.cfunc(signature, **_options())(types.FunctionType(function.__code__, names, function.__name__))


@functools.cache
def _group(features: Any, name: str) -> Any:
    return features.compiled(_inner(), (name,))[0]


def _compile(inputs: Inputs, features: Any, codes: set[int]) -> Any:
    """`_advance` as machine code, without the instructions and the feature groups that the members do not use."""
    import numba

    names: dict[str, Any] = {**globals(), "HUGE": np.finfo(np.float64).max}
    for code, function in INSTRUCTIONS.items():
        # What the program lacks is never called; any pointer of the same signature completes the code.
        names[function.__name__[1:]] = _instruction(code if code in codes else PRODUCT).ctypes
    for name in features.GROUPS:
        names[name] = _group(features, name) if name in inputs.groups else None
        names[name.upper()] = inputs.starts.get(name, 0)
    return numba.njit(**_options())(types.FunctionType(_advance.__code__, names, "advance"))


# ------------------------------------------------------------------------------------------------ the ensemble


class Ensemble:
    """Members and their weights, ready to read rows. `backend`: `auto` (numba if it is there and right), `numpy` or
    `numba` (whose failure is then an error)."""

    def __init__(
        self, manifest: dict[str, Any], arrays: dict[str, np.ndarray], features: Any, backend: str = "auto"
    ) -> None:
        if manifest.get("format") != FORMAT:
            raise RuntimeFormatError(f"manifest format {manifest.get('format')!r}: this runtime reads format {FORMAT}")
        members = manifest["members"]
        inputs = Inputs(manifest["pipelines"], arrays, features)
        layers = [Layers(member, arrays, f"member.{k}") for k, member in enumerate(members)]
        pipelines = [member["pipeline"] for member in members]
        self.weights = np.array([member["weight"] for member in members], np.float64)  # (K, 2)
        parts = (inputs, features, layers, pipelines, self.weights)
        self._step: Any = NumpyStep(*parts)
        if backend != "numpy":
            self._step = _fastest(backend, self._step, parts)
        self._row = np.zeros(COLUMNS)
        self._sequence: Any = None
        self._inputs, self._pipelines = inputs, pipelines
        self._t = -1

    @property
    def backend(self) -> str:
        """`numba` or `numpy`: what computes the steps."""
        return str(self._step.name)

    def predict(self, seq_ix: Any, step_in_seq: Any, need_prediction: Any, state: Any) -> np.ndarray | None:
        """Read one row; the prediction (2,) float64, or None when none is asked.

        Ids may arrive as any number, `state` as any array of 32 numbers. Raises `SequenceError` when the row does not
        continue the sequence, ValueError when it does not have 32 columns.
        """
        t = int(step_in_seq)
        if t == 0:
            self._step.reset()
        elif t != self._t + 1 or seq_ix != self._sequence:
            self._refuse(int(seq_ix), t)
        if getattr(state, "shape", None) != (COLUMNS,):
            raise ValueError(f"sequence {seq_ix}, step {t}: state has shape {np.shape(state)}, not ({COLUMNS},)")
        self._row[:] = state
        self._sequence, self._t = seq_ix, t
        prediction = self._step.step(self._row, t)
        return prediction.copy() if need_prediction else None

    def _refuse(self, sequence: int, t: int) -> None:
        if sequence != self._sequence:
            raise SequenceError(f"sequence {sequence} starts at step {t}; a sequence must start at step 0")
        fault = "is repeated or goes back" if t <= self._t else "skips steps"
        raise SequenceError(f"sequence {sequence}: step {t} after step {self._t} {fault}; steps must advance by one")

    @property
    def members(self) -> np.ndarray:
        """Predictions (K, 2) of the members after the last row, float32."""
        return np.array(self._step.members)

    @property
    def inputs(self) -> list[np.ndarray]:
        """What each member's network read of the last row, (F,) float32."""
        x, parts = self._step.x, self._inputs
        return [x[parts.offsets[i] : parts.offsets[i] + parts.sizes[i]].copy() for i in self._pipelines]


def _fastest(backend: str, reference: NumpyStep, parts: tuple[Any, ...]) -> Any:
    """The compiled step if it compiles and agrees with `reference`, else the latter and a warning."""
    try:
        compiled = NumbaStep(*parts)
        difference = _difference(compiled, reference)
    except Exception as error:  # whatever the compiler does on an unknown host must not cost the submission
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
    rows = np.random.RandomState(0).standard_normal((24, COLUMNS))
    largest = 0.0
    for start in (0, 4):
        compiled.reset(), reference.reset()
        for t, row in enumerate(rows[start:]):
            compiled.step(row, t), reference.step(row, t)
            gap = np.abs(compiled.members - reference.members).max()
            largest = max(largest, float(gap)) if gap == gap else math.inf
    compiled.reset(), reference.reset()
    return largest


def load(folder: Path | str, features: Any, backend: str = "auto") -> Ensemble:
    """The ensemble of a folder with manifest.json and weights.safetensors. Raises `RuntimeFormatError`."""
    folder = Path(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return Ensemble(manifest, read_tensors(folder / "weights.safetensors"), features, backend)
