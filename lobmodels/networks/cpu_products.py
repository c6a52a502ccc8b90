"""Small matrix products in machine code for `cpu_kernels`: a block of the result stays in vector registers.

A BLAS call packs its operands, starts threads and is limited by both at the sizes of one recurrent step. Here the
right-hand matrix is packed once a sequence, and `ROWS` x `VECTORS` vectors of the result are summed in registers, the
usual inner loop of a BLAS (Goto and van de Geijn 2008, *Anatomy of high-performance matrix multiplication*).

The order of additions depends on the shapes alone, so equal inputs give equal bits on one machine.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

Array = Any  # a numpy array inside compiled code
FAST: dict[str, Any] = {
    "error_model": "numpy",  # without the division check, which blocks vectorisation
    "fastmath": {"contract", "reassoc", "nsz"},  # NaN and infinity keep their meaning: a diverged run must show
}
INNER = {**FAST, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # of functions that only compiled ones call
ZERO = np.float32(0)
BLOCK = 8  # batch rows are a multiple of it, and so of ROWS
VECTORS = 2  # of a row that one block holds


def _registers() -> tuple[int, int]:
    """Rows of a block and numbers in a vector, for the processor that numba compiles for."""
    settings: Any = numba.config
    chosen = settings.CPU_FEATURES
    host = llvmlite.binding.get_host_cpu_features().items()
    features = [name for name, present in host if present] if chosen is None else chosen.replace("+", "").split(",")
    if "avx512f" in features:
        return 8, 16
    return (4, 8) if "avx2" in features else (4, 4)


ROWS, LANES = _registers()
PANEL = VECTORS * LANES


VECTOR = ir.VectorType(ir.FloatType(), LANES)


def _block_product(vectors: int) -> Any:
    """An intrinsic that adds the sum of `n` products to each of `ROWS` x (`vectors` * `LANES`) numbers of y:
    y[y0 + i*ldy + j] += sum over k of x[x0 + i*xi + k*xk] * w[w0 + k*vectors*LANES + j], all as flat offsets.

    The sum starts from zero and meets y at the end: y may hold the sum of many calls without losing digits.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        y, y0, ldy, x, x0, xi, xk, w, w0, n = arguments
        y, x, w = (
            context.make_array(signature.args[place])(context, builder, array).data
            for place, array in ((0, y), (3, x), (7, w))
        )
        rows = [_at(builder, x, x0, builder.mul(xi, ir.Constant(n.type, i))) for i in range(ROWS)]
        sums = _sums(builder, vectors, rows, xk, _at(builder, w, w0), n)
        for (i, v), total in sums.items():
            cell = _at(builder, y, y0, builder.mul(ldy, ir.Constant(n.type, i)), ir.Constant(n.type, v * LANES))
            place = builder.bitcast(cell, VECTOR.as_pointer())
            builder.store(builder.fadd(builder.load(place, align=4), total), place, align=4)
        return context.get_dummy_value()

    def block(typing: Any, y, y0, ldy, x, x0, xi, xk, w, w0, n):  # type: ignore[no-untyped-def]
        return numba.void(y, y0, ldy, x, x0, xi, xk, w, w0, n), generate

    return intrinsic(block)


def _sums(
    builder: ir.IRBuilder, vectors: int, rows: list[Any], stride: Any, w: Any, n: Any
) -> dict[tuple[int, int], Any]:
    """The loop over k in 0...n-1, n at least 1: vector v of row i is the sum of rows[i][k * stride] * w[k, v]."""
    before, loop = builder.block, builder.append_basic_block("products")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(n.type)
    sums = {(i, v): builder.phi(VECTOR) for i in range(ROWS) for v in range(vectors)}
    panel = _at(builder, w, builder.mul(k, ir.Constant(n.type, vectors * LANES)))
    weights = [
        builder.load(builder.bitcast(_at(builder, panel, ir.Constant(n.type, v * LANES)), VECTOR.as_pointer()), align=4)
        for v in range(vectors)
    ]
    values = [_in_every_lane(builder, _at(builder, row, builder.mul(k, stride))) for row in rows]
    fused = ("contract",)  # product and sum in one instruction
    added = {
        (i, v): builder.fadd(builder.fmul(values[i], weights[v], fused), total, fused) for (i, v), total in sums.items()
    }
    following = builder.add(k, ir.Constant(n.type, 1))
    for phi, later in [(k, following), *((sums[place], added[place]) for place in sums)]:
        phi.add_incoming(ir.Constant(phi.type, None), before)  # zero
        phi.add_incoming(later, loop)
    end = builder.append_basic_block("stores")
    builder.cbranch(builder.icmp_signed("<", following, n), loop, end)
    builder.position_at_end(end)
    return added


def _at(builder: ir.IRBuilder, base: Any, *offsets: Any) -> Any:
    """Pointer to the number that lies the sum of `offsets` behind `base`."""
    for offset in offsets:
        base = builder.gep(base, [offset])
    return base


def _in_every_lane(builder: ir.IRBuilder, pointer: Any) -> Any:
    """A vector of one number."""
    word, undefined = ir.IntType(32), ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, builder.load(pointer), ir.Constant(word, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(word, LANES), [0] * LANES))


_wide, _narrow = _block_product(VECTORS), _block_product(1)


@numba.njit(**INNER)
def padded(n: int) -> int:
    """`n` rounded up to whole vectors."""
    return (n + LANES - 1) // LANES * LANES


@numba.njit(**INNER)
def pack(matrix: Array, packed: Array, first: int, n: int) -> None:
    """Copy `matrix` (K, M) to rows `first`... of the packed matrix (n, M) in `packed` (n * padded(M),): panels of
    `PANEL` columns, then of `LANES`, zeros behind the last column."""
    rows, m = matrix.shape
    column = 0
    while column < m:
        width = PANEL if column + PANEL <= padded(m) else LANES
        for k in range(rows):
            place = column * n + (first + k) * width
            filled = min(width, m - column)
            source, target = matrix[k, column : column + filled], packed[place : place + width]
            for j in range(filled):
                target[j] = source[j]
            for j in range(filled, width):
                target[j] = ZERO
        column += width


@numba.njit(**INNER)
def add_product(
    y: Array, y0: int, ldy: int, x: Array, x0: int, xi: int, xk: int, rows: int, packed: Array, n: int, m: int
) -> None:
    """y (rows, m) += x (rows, n) @ the packed matrix (n, m), where y starts at the flat offset `y0` with rows `ldy`
    apart, and x[i, k] lies at x0 + i*xi + k*xk. `rows` is a multiple of `ROWS`; columns up to padded(m) are written."""
    column = 0
    while column < m:
        if column + PANEL <= padded(m):
            for i in range(0, rows, ROWS):
                _wide(y, y0 + i * ldy + column, ldy, x, x0 + i * xi, xi, xk, packed, column * n, n)
            column += PANEL
        else:
            for i in range(0, rows, ROWS):
                _narrow(y, y0 + i * ldy + column, ldy, x, x0 + i * xi, xi, xk, packed, column * n, n)
            column += LANES
