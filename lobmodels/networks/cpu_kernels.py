"""A GRU or LSTM layer over whole sequences in machine code, forwards and backwards, for the rows of one tile.

Rows of a batch do not depend on each other, so a tile of them goes through all steps while its states and weights stay
in the core's cache. `STEPS` steps at a time, the input side is one product and so is each weight gradient; within a
step there is the recurrent product and one pass over the gates. `cpu_recurrent` calls `forward` and `backward`.

A row of `gates` holds, in this order, what the activations read and later what they give (H numbers each):
    GRU   n_x, r, z, n_h    inputs feed the first three, the state the last three
    LSTM  i, f, g, o        inputs and state feed all four
The backward pass puts the derivatives by the same numbers in the same columns. Equations are those of `nn.GRU` and
`nn.LSTM` (Cho et al. 2014, with the reset gate applied after the product; Hochreiter and Schmidhuber 1997).

Importing this module compiles it, or loads the machine code that an earlier process left in numba's cache.
"""

from __future__ import annotations

import numba
import numpy as np

from lobmodels.networks.cpu_products import FAST, LANES, Array, add_product, pack, padded

GRU, LSTM = 0, 1
TILE = 32  # rows that go through the steps together
STEPS = 4  # steps whose products with no time order are done as one
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
# tanh(x) = x P(x²) / Q(x²), the rational form of Eigen's `ptanh`
TANH_LIMIT = np.float32(7.90531110763549805)  # beyond it the rational form has rounded to ±1
P1, P3, P5, P7, P9, P11, P13 = (
    np.float32(p) for p in (4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05, 5.12229709037114e-08,
                            -8.60467152213735e-11, 2.00018790482477e-13, -2.76076847742355e-16)
)  # fmt: skip
Q0, Q2, Q4, Q6 = (
    np.float32(q) for q in (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)
)


@numba.njit(**FAST)
def tanh(x: float) -> float:
    """Within 3e-7 everywhere; NaN stays NaN."""
    x = TANH_LIMIT if x > TANH_LIMIT else x
    x = -TANH_LIMIT if x < -TANH_LIMIT else x
    s = x * x
    p = x * (P1 + s * (P3 + s * (P5 + s * (P7 + s * (P9 + s * (P11 + s * P13))))))
    return p / (Q0 + s * (Q2 + s * (Q4 + s * Q6)))


@numba.njit(**FAST)
def _sigmoid(x: Array) -> None:
    """In place."""
    for j in range(len(x)):
        x[j] = HALF + HALF * tanh(HALF * x[j])


@numba.njit(**FAST)
def _gru_step(gates: Array, before: Array, after: Array) -> None:
    """One row: `gates` (4H,) in place, the state `before` (H,) to `after`."""
    size = len(after)
    n, r, z, product = gates[:size], gates[size : 2 * size], gates[2 * size : 3 * size], gates[3 * size :]
    _sigmoid(gates[size : 3 * size])
    for j in range(size):
        n[j] = tanh(n[j] + r[j] * product[j])
    for j in range(size):
        after[j] = n[j] + z[j] * (before[j] - n[j])


@numba.njit(**FAST)
def _lstm_step(gates: Array, cell: Array, after: Array) -> None:
    """One row: `gates` (4H,) and `cell` (H,) in place, the new state to `after` (H,)."""
    size = len(after)
    i, f, g, o = gates[:size], gates[size : 2 * size], gates[2 * size : 3 * size], gates[3 * size :]
    _sigmoid(gates[: 2 * size])
    _sigmoid(o)
    for j in range(size):
        g[j] = tanh(g[j])
    for j in range(size):
        cell[j] = f[j] * cell[j] + i[j] * g[j]
    for j in range(size):
        after[j] = o[j] * tanh(cell[j])


@numba.njit(**FAST)
def _gru_slopes(gates: Array, before: Array, grad: Array, carry: Array, slopes: Array) -> None:
    """One row: derivatives by the gates' inputs to `slopes` (4H,), the part by the state before that skips them to
    `carry` (H,), which held the gradient from the steps behind; `grad` (H,) is this step's own."""
    size = len(carry)
    for j in range(size):
        n, r, z, product = gates[j], gates[size + j], gates[2 * size + j], gates[3 * size + j]
        total = grad[j] + carry[j]
        inner = total * (ONE - z) * (ONE - n * n)
        slopes[j] = inner
        slopes[size + j] = inner * product * r * (ONE - r)
        slopes[2 * size + j] = total * (before[j] - n) * z * (ONE - z)
        slopes[3 * size + j] = inner * r
        carry[j] = total * z


@numba.njit(**FAST)
def _lstm_slopes(gates: Array, cell: Array, before: Array, grad: Array, carry: Array, by_cell: Array, slopes: Array) -> None:
    """One row, as `_gru_slopes`: `cell` after and `before` the step, `by_cell` the gradient by the cell, in place.
    Nothing skips the gates on the way to the state before, so `carry` becomes zero."""
    size = len(carry)
    for j in range(size):
        i, f, g, o = gates[j], gates[size + j], gates[2 * size + j], gates[3 * size + j]
        total, bent = grad[j] + carry[j], tanh(cell[j])
        inner = by_cell[j] + total * o * (ONE - bent * bent)
        slopes[j] = inner * g * i * (ONE - i)
        slopes[size + j] = inner * before[j] * f * (ONE - f)
        slopes[2 * size + j] = inner * i * (ONE - g * g)
        slopes[3 * size + j] = total * bent * o * (ONE - o)
        by_cell[j] = inner * f
        carry[j] = ZERO


@numba.njit(**FAST)
def _copy(source: Array, target: Array) -> None:
    """One row. Assignment to a slice would be a loop that is not vectorised."""
    for j in range(len(source)):
        target[j] = source[j]


@numba.njit(**FAST)
def _packed(matrix: Array) -> Array:
    rows, columns = matrix.shape
    packed = np.empty(rows * padded(columns), np.float32)
    pack(matrix, packed, 0, rows)
    return packed


@numba.njit(**FAST)
def _row_length(size: int) -> int:
    """Of gates in scratch memory: room for what products write behind the last column, and no power of two, whose
    rows would fall on the same cache lines."""
    return padded(size + padded(4 * size)) + LANES


FORWARD = "void(i8, f4[:,:,::1], f4[:,::1], f4[:,::1], f4[::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], i8, i8)"
BACKWARD = (
    "void(i8, f4[:,:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1],"
    " f4[:,:,::1], f4[:,::1], f4[:,::1], f4[::1], i8, i8)"
)


@numba.njit(FORWARD, nogil=True, cache=True, **FAST)
def forward(
    cell: int, x: Array, w_in: Array, w_state: Array, bias: Array, outputs: Array, gates: Array, cells: Array,
    start: int, stop: int,
) -> None:  # fmt: skip
    """States of rows `start`...`stop` of x (T, B, F) to `outputs` (T, B, H), from a zero state.

    Columns of `w_in` (F, 3H or 4H), `w_state` (H, 3H or 4H) and `bias` (4H,) are in the order above. For the backward
    pass `gates` (T, B, 4H) and an LSTM's `cells` (T, B, H) are filled, unless they have no steps.
    """
    steps, size, rows = len(x), outputs.shape[2], stop - start
    width, inputs = _row_length(size), w_in.shape[1]
    first = 4 * size - w_state.shape[1]  # column of the first gate that the state feeds
    packed_in, packed_state = _packed(w_in), _packed(w_state)
    flat_x, flat_outputs = x.reshape(-1), outputs.reshape(-1)
    block = np.zeros((STEPS * rows, width), np.float32)
    flat_block, state = block.reshape(-1), np.zeros((rows, size), np.float32)
    for t0 in range(0, steps, STEPS):
        count = min(STEPS, steps - t0)
        for row in range(count * rows):
            for j in range(4 * size):
                block[row, j] = bias[j]
        for s in range(count):
            x0 = ((t0 + s) * x.shape[1] + start) * x.shape[2]
            add_product(flat_block, s * rows * width, width, flat_x, x0, x.shape[2], 1, rows, packed_in, x.shape[2], inputs)
        for t in range(t0, t0 + count):
            y0 = (t - t0) * rows
            if t:
                h0 = ((t - 1) * x.shape[1] + start) * size
                add_product(
                    flat_block, y0 * width + first, width, flat_outputs, h0, size, 1, rows, packed_state, size, 4 * size - first
                )
            for i in range(rows):
                row, b = block[y0 + i, : 4 * size], start + i
                if cell == GRU:
                    _gru_step(row, outputs[t - 1, b] if t else state[i], outputs[t, b])
                elif cell == LSTM:
                    _lstm_step(row, state[i], outputs[t, b])
                    if len(cells):
                        _copy(state[i], cells[t, b])
                if len(gates):
                    _copy(row, gates[t, b])


@numba.njit(BACKWARD, nogil=True, cache=True, **FAST)
def backward(
    cell: int, grad: Array, x: Array, w_in: Array, w_state: Array, outputs: Array, gates: Array, cells: Array,
    grad_x: Array, grad_w_in: Array, grad_w_state: Array, grad_bias: Array, start: int, stop: int,
) -> None:  # fmt: skip
    """Gradients of rows `start`...`stop`, given `grad` (T, B, H) by the outputs.

    `w_in` (3H or 4H, F) and `w_state` (3H or 4H, H) are the transposes of `forward`'s. Filled: `grad_x` (T, B, F),
    unless it has no steps. Added to, and therefore of this tile alone: `grad_w_in` (C, padded(F)), `grad_w_state`
    (C, padded(H)), both with C rounded up to `BLOCK` rows, and `grad_bias` (4H,).
    """
    steps, size, rows = len(x), outputs.shape[2], stop - start
    width, inputs, states = _row_length(size), w_in.shape[0], w_state.shape[0]
    features = x.shape[2]
    packed_in, packed_state = _packed(w_in), _packed(w_state)
    block = np.zeros((STEPS * rows, width), np.float32)
    carry, by_cell = np.zeros((rows, padded(size)), np.float32), np.zeros((rows, size), np.float32)
    nothing = np.zeros((rows, size), np.float32)
    packed_x, packed_h = np.zeros(STEPS * rows * padded(features), np.float32), np.zeros(STEPS * rows * padded(size), np.float32)
    by_x = np.zeros((STEPS * rows, padded(features)), np.float32)
    flat_block, flat_carry, flat_by_x = block.reshape(-1), carry.reshape(-1), by_x.reshape(-1)
    flat_w_in, flat_w_state = grad_w_in.reshape(-1), grad_w_state.reshape(-1)
    first = 4 * size - states
    sums = np.zeros(4 * size, np.float32)
    for t1 in range(steps, 0, -STEPS):
        t0 = max(0, t1 - STEPS)
        total = (t1 - t0) * rows
        sums[:] = ZERO
        for t in range(t1 - 1, t0 - 1, -1):
            y0 = (t - t0) * rows
            for i in range(rows):
                b = start + i
                before = outputs[t - 1, b] if t else nothing[i]
                if cell == GRU:
                    _gru_slopes(gates[t, b], before, grad[t, b], carry[i, :size], block[y0 + i, : 4 * size])
                elif cell == LSTM:
                    earlier = cells[t - 1, b] if t else nothing[i]
                    _lstm_slopes(gates[t, b], cells[t, b], earlier, grad[t, b], carry[i, :size], by_cell[i], block[y0 + i, : 4 * size])
                for j in range(4 * size):
                    sums[j] += block[y0 + i, j]
            pack(x[t, start:stop], packed_x, y0, total)
            pack(outputs[t - 1, start:stop] if t else nothing, packed_h, y0, total)
            if t:
                add_product(flat_carry, 0, padded(size), flat_block, y0 * width + first, width, 1, rows, packed_state, states, size)
        for j in range(4 * size):
            grad_bias[j] += sums[j]
        add_product(flat_w_in, 0, padded(features), flat_block, 0, 1, width, len(grad_w_in), packed_x, total, features)
        add_product(flat_w_state, 0, padded(size), flat_block, first, 1, width, len(grad_w_state), packed_h, total, size)
        if len(grad_x):
            by_x[:] = ZERO
            add_product(flat_by_x, 0, padded(features), flat_block, 0, width, 1, total, packed_in, inputs, features)
            for t in range(t0, t1):
                for i in range(rows):
                    _copy(by_x[(t - t0) * rows + i, :features], grad_x[t, start + i])
