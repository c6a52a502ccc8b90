"""GRU and LSTM stacks over whole sequences on a CPU: the compiled kernels behind torch's autograd, or torch itself.

`nn.GRU` on a CPU builds an autograd graph of a dozen nodes a step and multiplies weight gradients step by step. The
kernels of `cpu_kernels` compute the same function from the same parameters in two calls a layer and tile of rows.
They keep what the backward pass reads (4H numbers a row and step, 5H for an LSTM) only where a gradient is wanted.

`tests/benchmarks/test_training.py` measures the gain.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lobmodels.networks.cpu_gru import gru_on_cpu

logger = logging.getLogger(__name__)

Recurrent = nn.GRU | nn.LSTM


def recurrent_on_cpu(recurrent: Recurrent, x: Tensor) -> Tensor:
    """Outputs (T, B, H) of the stack `recurrent` over x (T, B, F) from a zero state, dropout between layers included.

    The stack is time-major, one-directional and has biases, as `RecurrentNetwork` builds it. Anything but float32, and
    a host where the kernels do not compile, is left to torch.
    """
    kernels = compiled_kernels() if x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu") else None
    if kernels is None:
        return gru_on_cpu(recurrent, x) if isinstance(recurrent, nn.GRU) else recurrent(x)[0]
    cell = {nn.GRU: kernels.GRU, nn.LSTM: kernels.LSTM}[type(recurrent)]
    for layer, weights in enumerate(recurrent.all_weights):
        if torch.is_grad_enabled():
            x = CompiledLayer.apply(kernels, cell, x, *weights)
        else:
            x = _forward(kernels, cell, x, weights, keep=False)[0][:, : x.shape[1]]
        if layer < recurrent.num_layers - 1:
            x = nn.functional.dropout(x, recurrent.dropout, recurrent.training)
    return x


@functools.cache
def compiled_kernels() -> Any:
    """The module `cpu_kernels`, or None, with one warning, where numba is missing or fails. The first call of a process
    imports numba and takes the machine code from the cache; the first call on a machine compiles it."""
    try:
        from lobmodels.networks.cpu_cache import compiled_once

        with compiled_once():
            from lobmodels.networks import cpu_kernels
    except Exception as error:  # any failure of the compiler on an unknown host must not fail the run
        logger.warning("the CPU kernels cannot be used (%s: %s); torch computes, slower", type(error).__name__, error)
        return None
    return cpu_kernels


class CompiledLayer(torch.autograd.Function):
    """`CompiledLayer.apply(kernels, cell, x, w_ih, w_hh, b_ih, b_hh)`: x (T, B, F) to hidden states (T, B, H)."""

    @staticmethod
    def forward(ctx: Any, kernels: Any, cell: int, x: Tensor, *weights: Tensor) -> Tensor:
        outputs, *kept = _forward(kernels, cell, x, weights, keep=True)
        ctx.save_for_backward(x, *weights[:2], outputs, *kept)
        ctx.kernels, ctx.cell = kernels, cell
        return outputs[:, : x.shape[1]]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, w_ih, w_hh, outputs, gates, cells = ctx.saved_tensors
        kernels, (batch, size) = ctx.kernels, outputs.shape[1:]
        tiles, rows, skipped = _tiles(batch, kernels.TILE), _up(len(w_hh), kernels.BLOCK), 4 * size - len(w_hh)
        grad_x = x.new_empty(len(x) if ctx.needs_input_grad[2] else 0, batch, x.shape[2])
        # Each tile sums into its own buffer, so that the order of additions does not depend on the threads.
        by_ih = x.new_zeros(len(tiles), rows, _up(x.shape[2], kernels.LANES))
        by_hh, by_bias = x.new_zeros(len(tiles), rows, _up(size, kernels.LANES)), x.new_zeros(len(tiles), 4 * size)
        packed = _packed(kernels, w_ih.roll(skipped, 0)), _packed(kernels, w_hh)
        shared = _arrays(_whole(grad, batch), _whole(x, batch), *packed, outputs, gates, cells, grad_x)

        def tile(k: int) -> None:
            kernels.backward(ctx.cell, len(w_hh), *shared, *_arrays(by_ih[k], by_hh[k], by_bias[k]), *tiles[k])

        _for_each(tile, len(tiles))
        grad_ih, grad_hh, bias = (
            by_ih.sum(0)[: len(w_ih), : x.shape[2]],
            by_hh.sum(0)[: len(w_hh), :size],
            by_bias.sum(0),
        )
        return (
            *(None, None, grad_x[:, : x.shape[1]] if len(grad_x) else None),
            *(grad_ih.roll(-skipped, 0), grad_hh, bias[: len(w_ih)].roll(-skipped), bias[skipped:]),
        )


def _forward(kernels: Any, cell: int, x: Tensor, weights: Sequence[Tensor], keep: bool) -> tuple[Tensor, ...]:
    """Outputs (T, B', H), and what the backward pass reads: gates (T, B', 4H) and cells (T, B', H), both without steps
    where nothing is kept; a GRU has no cells. B' is B rounded up to whole blocks of rows."""
    w_ih, w_hh, b_ih, b_hh = weights
    steps, size, batch = len(x), w_hh.shape[1], _up(x.shape[1], kernels.BLOCK)
    skipped = 4 * size - len(w_hh)  # of a row of gates: the state does not feed the first so many, the inputs the last
    outputs = x.new_empty(steps, batch, size)
    gates = x.new_empty(steps if keep else 0, batch, 4 * size)
    cells = x.new_empty(steps if keep and cell == kernels.LSTM else 0, batch, size)
    packed = _packed(kernels, w_ih.roll(skipped, 0).T), _packed(kernels, w_hh.T)
    bias = nn.functional.pad(b_ih.roll(skipped), (0, skipped)) + nn.functional.pad(b_hh, (skipped, 0))
    shared, tiles = _arrays(_whole(x, batch), *packed, bias, outputs, gates, cells), _tiles(batch, kernels.TILE)
    _for_each(lambda k: kernels.forward(cell, len(w_hh), *shared, *tiles[k]), len(tiles))
    return outputs, gates, cells


def _packed(kernels: Any, matrix: Tensor) -> Tensor:
    """`matrix` (K, M) as the kernels read it: panels of columns, the last ones narrower, then zeros."""
    rows, columns = matrix.shape
    whole = _up(columns, kernels.LANES)
    parts = nn.functional.pad(matrix, (0, whole - columns)).tensor_split((whole // kernels.PANEL * kernels.PANEL,), 1)
    widths = (kernels.PANEL, kernels.LANES)
    panels = [part.reshape(rows, -1, width).transpose(0, 1) for part, width in zip(parts, widths, strict=True)]
    return torch.cat([panel.flatten() for panel in panels])


def _whole(x: Tensor, batch: int) -> Tensor:
    """x (T, B, F), contiguous, with rows of zeros up to `batch`."""
    if batch == x.shape[1]:  # `pad` would copy
        return x.contiguous()
    return nn.functional.pad(x, (0, 0, 0, batch - x.shape[1])).contiguous()


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def _tiles(batch: int, rows: int) -> list[tuple[int, int]]:
    return [(start, min(start + rows, batch)) for start in range(0, batch, rows)]


def _for_each(work: Callable[[int], None], count: int) -> None:
    """`work` of 0...count-1, on as many threads as torch has: the kernels release the GIL."""
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        for k in range(count):
            work(k)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(count)))  # raises what a thread raised


def _arrays(*tensors: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.detach().numpy() for tensor in tensors)
