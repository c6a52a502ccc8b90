"""The blocked products are numpy's, for any shape and stride, and write where they say."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lobmodels.networks import cpu_products
from lobmodels.networks.cpu_cells import tanh
from lobmodels.networks.cpu_products import BLOCK, FAST, add_product, pack


@numba.njit(**FAST)
def multiply(y, y0, ldy, x, xi, xk, rows, matrix, packed):  # type: ignore[no-untyped-def]
    """Packs the matrix in two pieces, then multiplies."""
    n, m = matrix.shape
    pack(matrix[: n // 2], packed, 0, n)
    pack(matrix[n // 2 :], packed, n // 2, n)
    add_product(y, y0, ldy, x, 0, xi, xk, rows, packed, n, m)


@numba.njit(**FAST)
def every_tanh(x):  # type: ignore[no-untyped-def]
    for j in range(len(x)):
        x[j] = tanh(x[j])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 70), st.integers(1, 100), st.booleans(), st.integers(0, 99))
def test_product(blocks: int, n: int, m: int, transposed: bool, seed: int) -> None:
    """y += x @ w, x read along rows or columns; only columns up to whole vectors are touched."""
    generator = np.random.default_rng(seed)
    rows, wide, shift = BLOCK * blocks, -(-m // cpu_products.LANES) * cpu_products.LANES, 3
    x, w = (generator.standard_normal(shape).astype(np.float32) for shape in ((rows, n), (n, m)))
    y = np.ones((rows, wide + 7), np.float32)
    stored, strides = (x.T.copy(), (1, rows)) if transposed else (x, (n, 1))
    packed = np.full(n * wide, np.nan, np.float32)
    multiply(y.reshape(-1), shift, wide + 7, stored.reshape(-1), *strides, rows, w, packed)
    np.testing.assert_allclose(y[:, shift : shift + m], 1 + x.astype(float) @ w, rtol=0, atol=1e-4)
    assert (y[:, :shift] == 1).all() and (y[:, shift + m :] == 1).all()


def test_tanh() -> None:
    """Within 3e-7 of the true value from end to end, ±1 beyond, and NaN stays NaN."""
    x = np.concatenate([np.linspace(-12, 12, 100_001), [-np.inf, np.inf, 1e30, 0.0]]).astype(np.float32)
    y = x.copy()
    every_tanh(y)
    assert np.abs(y - np.tanh(x.astype(float))).max() < 3e-7
    nothing = np.full(40, np.nan, np.float32)
    every_tanh(nothing)
    assert np.isnan(nothing).all()


@pytest.mark.parametrize(
    ("features", "registers"),
    [("+sse4.2,+avx,+avx2,+avx512f", (8, 16)), ("+avx2,-avx512f", (4, 8)), ("", (4, 4))],
)
def test_block_fits_the_processor(monkeypatch: pytest.MonkeyPatch, features: str, registers: tuple[int, int]) -> None:
    """Rows and lanes of a block follow from the features that numba compiles for, and divide a tile."""
    monkeypatch.setattr(numba.config, "CPU_FEATURES", features)
    assert cpu_products._registers() == registers
    assert BLOCK % registers[0] == 0
