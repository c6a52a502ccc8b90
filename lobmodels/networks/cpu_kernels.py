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

from lobmodels.networks.cpu_products import BLOCK, FAST, INNER, LANES, PANEL, Array, add_product, pack, padded

__all__ = ["BLOCK", "GRU", "LANES", "LSTM", "PANEL", "TILE", "backward", "forward"]

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


@numba.njit(**INNER)
def tanh(x: float) -> float:
    """Within 3e-7 everywhere; NaN stays NaN."""
    x = TANH_LIMIT if x > TANH_LIMIT else x
    x = -TANH_LIMIT if x < -TANH_LIMIT else x
    s = x * x
    p = x * (P1 + s * (P3 + s * (P5 + s * (P7 + s * (P9 + s * (P11 + s * P13))))))
    return p / (Q0 + s * (Q2 + s * (Q4 + s * Q6)))


@numba.njit(**INNER)
def _sigmoid(x: Array) -> None:
    """In place."""
    for j in range(len(x)):
        x[j] = HALF + HALF * tanh(HALF * x[j])


@numba.njit(**INNER)
def _gru_step(gates: Array, before: Array, after: Array) -> None:
    """One row: `gates` (4H,) in place, the state `before` (H,) to `after`."""
    size = len(after)
    n, r, z, product = gates[:size], gates[size : 2 * size], gates[2 * size : 3 * size], gates[3 * size :]
    _sigmoid(gates[size : 3 * size])
    for j in range(size):
        n[j] = tanh(n[j] + r[j] * product[j])
    for j in range(size):
        after[j] = n[j] + z[j] * (before[j] - n[j])


@numba.njit(**INNER)
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


@numba.njit(**INNER)
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


@numba.njit(**INNER)
def _lstm_slopes(
    gates: Array, cell: Array, before: Array, grad: Array, carry: Array, by_cell: Array, slopes: Array
) -> None:
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


@numba.njit(**INNER)
def _copy(source: Array, target: Array) -> None:
    """One row. Assignment to a slice would be a loop that is not vectorised."""
    for j in range(len(source)):
        target[j] = source[j]


@numba.njit(**INNER)
def _add_rows(rows: Array, sums: Array, total: Array) -> None:
    """Add the rows to `total`, summed in `sums` first: thousands of small numbers on a large one would lose digits."""
    sums[:] = ZERO
    for row in rows:
        for j in range(len(sums)):
            sums[j] += row[j]
    for j in range(len(sums)):
        total[j] += sums[j]


@numba.njit(**INNER)
def _row_length(size: int) -> int:
    """Of gates in scratch memory: room for what products write behind the last column, and no power of two, whose
    rows would fall on the same cache lines."""
    return padded(size + padded(4 * size)) + LANES


FORWARD = "void(i8, i8, f4[:,:,::1], f4[::1], f4[::1], f4[::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], i8, i8)"
BACKWARD = (
    "void(i8, i8, f4[:,:,::1], f4[:,:,::1], f4[::1], f4[::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1],"
    " f4[:,:,::1], f4[:,::1], f4[:,::1], f4[::1], i8, i8)"
)


@numba.njit(FORWARD, nogil=True, cache=True, **FAST)
def forward(
    cell: int, fed: int, x: Array, w_in: Array, w_state: Array, bias: Array, outputs: Array, gates: Array, cells: Array,
    start: int, stop: int,
) -> None:  # fmt: skip
    """States of rows `start`...`stop` of x (T, B, F) to `outputs` (T, B, H), from a zero state.

    `fed` numbers of a row of gates are fed by the inputs, and as many by the state: 3H or 4H. `w_in` (F, fed) and
    `w_state` (H, fed) are packed as `add_product` reads them; `bias` (4H,). For the backward pass `gates` (T, B, 4H)
    and an LSTM's `cells` (T, B, H) are filled, unless they have no steps.
    """
    (steps, batch, features), size, rows = x.shape, outputs.shape[2], stop - start
    width, first = _row_length(size), 4 * size - fed
    flat_x, flat_outputs, state = x.reshape(-1), outputs.reshape(-1), np.zeros((rows, size), np.float32)
    block = np.zeros((STEPS * rows, width), np.float32)
    flat = block.reshape(-1)
    for t0 in range(0, steps, STEPS):
        t1 = min(t0 + STEPS, steps)
        for t in range(t0, t1):
            y0 = (t - t0) * rows
            for row in range(y0, y0 + rows):
                _copy(bias, block[row])
            x0 = (t * batch + start) * features
            add_product(flat, y0 * width, width, flat_x, x0, features, 1, rows, w_in, features, fed)
        for t in range(t0, t1):
            y0 = (t - t0) * rows
            if t:
                h0 = ((t - 1) * batch + start) * size
                add_product(flat, y0 * width + first, width, flat_outputs, h0, size, 1, rows, w_state, size, fed)
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
    cell: int, fed: int, grad: Array, x: Array, w_in: Array, w_state: Array, outputs: Array, gates: Array, cells: Array,
    grad_x: Array, grad_w_in: Array, grad_w_state: Array, grad_bias: Array, start: int, stop: int,
) -> None:  # fmt: skip
    """Gradients of rows `start`...`stop`, given `grad` (T, B, H) by the outputs.

    `w_in` (fed, F) and `w_state` (fed, H), packed, are the transposes of `forward`'s. Filled: `grad_x` (T, B, F),
    unless it has no steps. Added to: `grad_w_in` (C, F'), `grad_w_state` (C, H') and `grad_bias` (4H,), where C is `fed`
    rounded up to `BLOCK`, F' and H' are `padded`.
    """
    (steps, batch, features), size, rows = x.shape, outputs.shape[2], stop - start
    width, first, f_wide, h_wide = _row_length(size), 4 * size - fed, padded(features), padded(size)
    block, by_x = np.zeros((STEPS * rows, width), np.float32), np.zeros((STEPS * rows, f_wide), np.float32)
    flat, flat_by_x, sums = block.reshape(-1), by_x.reshape(-1), np.zeros(4 * size, np.float32)
    carry, by_cell = np.zeros((rows, h_wide), np.float32), np.zeros((rows, size), np.float32)
    packed_x, packed_h = np.zeros(STEPS * rows * f_wide, np.float32), np.zeros(STEPS * rows * h_wide, np.float32)
    zero_state = np.zeros((rows, size), np.float32)
    for t1 in range(steps, 0, -STEPS):
        t0 = max(0, t1 - STEPS)
        count = (t1 - t0) * rows
        for t in range(t1 - 1, t0 - 1, -1):
            y0 = (t - t0) * rows
            before = outputs[t - 1, start:stop] if t else zero_state
            for i in range(rows):
                b, slopes = start + i, block[y0 + i, : 4 * size]
                if cell == GRU:
                    _gru_slopes(gates[t, b], before[i], grad[t, b], carry[i, :size], slopes)
                elif cell == LSTM:
                    cell_before = cells[t - 1, b] if t else zero_state[i]
                    _lstm_slopes(gates[t, b], cells[t, b], cell_before, grad[t, b], carry[i, :size], by_cell[i], slopes)
            pack(x[t, start:stop], packed_x, y0, count)
            pack(before, packed_h, y0, count)
            if t:
                add_product(carry.reshape(-1), 0, h_wide, flat, y0 * width + first, width, 1, rows, w_state, fed, size)
        _add_rows(block[:count], sums, grad_bias)
        add_product(grad_w_in.reshape(-1), 0, f_wide, flat, 0, 1, width, len(grad_w_in), packed_x, count, features)
        add_product(
            grad_w_state.reshape(-1), 0, h_wide, flat, first, 1, width, len(grad_w_state), packed_h, count, size
        )
        if len(grad_x):
            by_x[:] = ZERO
            add_product(flat_by_x, 0, f_wide, flat, 0, width, 1, count, w_in, fed, features)
            for row in range(count):
                _copy(by_x[row, :features], grad_x[t0 + row // rows, start + row % rows])
