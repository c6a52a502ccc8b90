"""The activations of one step of a GRU and an LSTM, and their derivatives, compiled for the rows of one tile.

A row of `gates` holds, in this order, what the activations read and later what they give (H numbers each):
    GRU   n_x, r, z, n_h    inputs feed the first three, the state the last three
    LSTM  i, f, g, o        inputs and state feed all four
The derivatives by the same numbers stand in the same columns. Equations are those of `nn.GRU` and `nn.LSTM` (Cho et al.
2014, with the reset gate applied after the product; Hochreiter and Schmidhuber 1997).

Loops run over slices from zero: an index that could be negative would keep the compiler from using vectors.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from lobmodels.networks.cpu_products import INNER, Array

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
def tanh(x: Any) -> Any:
    """Within 3e-7 everywhere; NaN stays NaN, so that a diverged run shows."""
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
def gru_step(gates: Array, before: Array, after: Array) -> None:
    """`gates` (R, 4H or more) in place, the states `before` (R, H) to `after`."""
    rows, size = after.shape
    for i in range(rows):
        n, r, z = gates[i, :size], gates[i, size : 2 * size], gates[i, 2 * size : 3 * size]
        product, h, following = gates[i, 3 * size : 4 * size], before[i], after[i]
        _sigmoid(gates[i, size : 3 * size])
        for j in range(size):
            n[j] = tanh(n[j] + r[j] * product[j])
        for j in range(size):
            following[j] = n[j] + z[j] * (h[j] - n[j])


@numba.njit(**INNER)
def lstm_step(gates: Array, cells: Array, after: Array) -> None:
    """`gates` (R, 4H or more) and `cells` (R, H) in place, the new states to `after`."""
    rows, size = after.shape
    for k in range(rows):
        i, f, g = gates[k, :size], gates[k, size : 2 * size], gates[k, 2 * size : 3 * size]
        o, cell, following = gates[k, 3 * size : 4 * size], cells[k], after[k]
        _sigmoid(gates[k, : 2 * size])
        _sigmoid(o)
        for j in range(size):
            g[j] = tanh(g[j])
        for j in range(size):
            cell[j] = f[j] * cell[j] + i[j] * g[j]
        for j in range(size):
            following[j] = o[j] * tanh(cell[j])


@numba.njit(**INNER)
def gru_slopes(gates: Array, before: Array, grad: Array, carry: Array, slopes: Array) -> None:
    """Derivatives by what the activations of one step read, to `slopes` (R, 4H or more).

    `gates` (R, 4H) as `gru_step` left them, `before` (R, H) the states it read, `grad` (R, H) the gradient by the
    step's output. `carry` (R, H or more) holds the gradient by the state after the step and gets the part by
    the state before that does not pass through a product.
    """
    rows, size = before.shape
    for i in range(rows):
        n, r, z, product = gates[i, :size], gates[i, size:], gates[i, 2 * size :], gates[i, 3 * size :]
        by_n, by_r, by_z, by_product = slopes[i, :size], slopes[i, size:], slopes[i, 2 * size :], slopes[i, 3 * size :]
        h, own, later = before[i], grad[i], carry[i]
        for j in range(size):
            total = own[j] + later[j]
            inner = total * (ONE - z[j]) * (ONE - n[j] * n[j])
            by_n[j] = inner
            by_r[j] = inner * product[j] * r[j] * (ONE - r[j])
            by_z[j] = total * (h[j] - n[j]) * z[j] * (ONE - z[j])
            by_product[j] = inner * r[j]
            later[j] = total * z[j]


@numba.njit(**INNER)
def lstm_slopes(
    gates: Array, cells: Array, before: Array, grad: Array, carry: Array, by_cells: Array, slopes: Array
) -> None:
    """As `gru_slopes`; `cells` (R, H) after the step and `before` it, `by_cells` (R, H) the gradient by the cells,
    after the step and then before it. All of `carry` passes through a product: it becomes zero."""
    rows, size = before.shape
    for k in range(rows):
        i, f, g, o = gates[k, :size], gates[k, size:], gates[k, 2 * size :], gates[k, 3 * size :]
        by_i, by_f, by_g, by_o = slopes[k, :size], slopes[k, size:], slopes[k, 2 * size :], slopes[k, 3 * size :]
        cell, earlier, own, later, by_cell = cells[k], before[k], grad[k], carry[k], by_cells[k]
        for j in range(size):
            total, bent = own[j] + later[j], tanh(cell[j])
            inner = by_cell[j] + total * o[j] * (ONE - bent * bent)
            by_i[j] = inner * g[j] * i[j] * (ONE - i[j])
            by_f[j] = inner * earlier[j] * f[j] * (ONE - f[j])
            by_g[j] = inner * i[j] * (ONE - g[j] * g[j])
            by_o[j] = total * bent * o[j] * (ONE - o[j])
            by_cell[j] = inner * f[j]
            later[j] = ZERO
