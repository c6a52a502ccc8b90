"""A GRU or LSTM layer over whole sequences in machine code, forwards and backwards, for the rows of one tile.

Rows of a batch do not depend on each other, so a tile of them goes through all steps while its states and weights stay
in the core's cache. Within a step there is the recurrent product and one pass over the gates (`cpu_cells`); what needs
no order in time, the input side and the weight gradients, is done for `STEPS` steps at once, before they leave the
cache. `cpu_recurrent` calls `forward` and `backward`.

Importing this module compiles both, or loads the machine code that an earlier process left in numba's cache.
"""

from __future__ import annotations

import numba
import numpy as np

from lobmodels.networks.cpu_cells import ZERO, gru_slopes, gru_step, lstm_slopes, lstm_step
from lobmodels.networks.cpu_products import BLOCK, FAST, INNER, LANES, PANEL, Array, add_product, pack, padded

__all__ = ["BLOCK", "GRU", "LANES", "LSTM", "PANEL", "TILE", "backward", "forward"]

GRU, LSTM = 0, 1
TILE = 32  # rows that go through the steps together
STEPS = 4  # steps whose products with no time order are done as one


@numba.njit(**INNER)
def _copy(source: Array, target: Array) -> None:
    """Rows of `target`'s width. Assignment to a slice would be a loop without vectors."""
    for i in range(len(target)):
        here, there = source[i], target[i]
        for j in range(len(there)):
            there[j] = here[j]


@numba.njit(**INNER)
def _fill(rows: Array, values: Array) -> None:
    for i in range(len(rows)):
        row = rows[i]
        for j in range(len(values)):
            row[j] = values[j]


@numba.njit(**INNER)
def _add_rows(rows: Array, sums: Array, total: Array) -> None:
    """Add the rows to `total`, summed in `sums` first: thousands of small numbers on a large one would lose digits."""
    sums[:] = ZERO
    for i in range(len(rows)):
        row = rows[i]
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
    block, state = np.zeros((STEPS * rows, width), np.float32), np.zeros((rows, size), np.float32)
    flat, flat_x, flat_outputs, zero_state = block.reshape(-1), x.reshape(-1), outputs.reshape(-1), np.zeros_like(state)
    for t0 in range(0, steps, STEPS):
        t1 = min(t0 + STEPS, steps)
        _fill(block, bias)
        for t in range(t0, t1):
            y0, x0 = (t - t0) * rows * width, (t * batch + start) * features
            add_product(flat, y0, width, flat_x, x0, features, 1, rows, w_in, features, fed)
        for t in range(t0, t1):
            y0, before = (t - t0) * rows, outputs[t - 1, start:stop] if t else zero_state
            if t:
                h0 = ((t - 1) * batch + start) * size
                add_product(flat, y0 * width + first, width, flat_outputs, h0, size, 1, rows, w_state, size, fed)
            if cell == GRU:
                gru_step(block[y0:], before, outputs[t, start:stop])
            elif cell == LSTM:
                lstm_step(block[y0:], state, outputs[t, start:stop])
            if len(gates):
                _copy(block[y0:], gates[t, start:stop])
            if len(cells):
                _copy(state, cells[t, start:stop])


@numba.njit(BACKWARD, nogil=True, cache=True, **FAST)
def backward(
    cell: int, fed: int, grad: Array, x: Array, w_in: Array, w_state: Array, outputs: Array, gates: Array, cells: Array,
    grad_x: Array, grad_w_in: Array, grad_w_state: Array, grad_bias: Array, start: int, stop: int,
) -> None:  # fmt: skip
    """Gradients of rows `start`...`stop`, given `grad` (T, B, H) by the outputs.

    `w_in` (fed, F) and `w_state` (fed, H), packed, are the transposes of `forward`'s. Filled: `grad_x` (T, B, F),
    unless it has no steps. Added to: `grad_w_in` (C, F'), `grad_w_state` (C, H') and `grad_bias` (4H,), where C is
    `fed` rounded up to `BLOCK`, F' and H' are `padded`.
    """
    steps, features, size, rows = len(x), x.shape[2], outputs.shape[2], stop - start
    width, first, f_wide, h_wide = _row_length(size), 4 * size - fed, padded(features), padded(size)
    block, by_x = np.zeros((STEPS * rows, width), np.float32), np.zeros((STEPS * rows, f_wide), np.float32)
    packed_x, packed_h = np.zeros(by_x.size, np.float32), np.zeros(STEPS * rows * h_wide, np.float32)
    carry, by_cell = np.zeros((rows, h_wide), np.float32), np.zeros((rows, size), np.float32)
    flat, flat_carry = block.reshape(-1), carry.reshape(-1)
    sums, zero_state = np.zeros_like(grad_bias), np.zeros_like(by_cell)
    for t1 in range(steps, 0, -STEPS):
        t0 = max(0, t1 - STEPS)
        count = (t1 - t0) * rows
        for t in range(t1 - 1, t0 - 1, -1):
            y0, before = (t - t0) * rows, outputs[t - 1, start:stop] if t else zero_state
            of_gates, of_step = gates[t, start:stop], grad[t, start:stop]
            if cell == GRU:
                gru_slopes(of_gates, before, of_step, carry, block[y0:])
            elif cell == LSTM:
                cell_before = cells[t - 1, start:stop] if t else zero_state
                lstm_slopes(of_gates, cells[t, start:stop], cell_before, of_step, carry, by_cell, block[y0:])
            pack(x[t, start:stop], packed_x, y0, count)
            pack(before, packed_h, y0, count)
            if t:
                add_product(flat_carry, 0, h_wide, flat, y0 * width + first, width, 1, rows, w_state, fed, size)
        _add_rows(block[:count], sums, grad_bias)
        add_product(grad_w_in.reshape(-1), 0, f_wide, flat, 0, 1, width, len(grad_w_in), packed_x, count, features)
        add_product(
            grad_w_state.reshape(-1), 0, h_wide, flat, first, 1, width, len(grad_w_state), packed_h, count, size
        )
        if len(grad_x):
            by_x[:] = ZERO
            add_product(by_x.reshape(-1), 0, f_wide, flat, 0, width, 1, count, w_in, fed, features)
            for t in range(t0, t1):
                _copy(by_x[(t - t0) * rows :], grad_x[t, start:stop])
