"""Banded attention over whole sequences on a CPU, in pieces that fit a core's cache, with its own backward pass.

The scores of a batch over a window are many times its activations. Written with torch's operations they are all kept
for the backward pass and travel through memory a dozen times; here they are computed piece by piece, used, dropped,
and computed again when the gradient asks (Rabe and Staats 2021, *Self-attention does not need O(n²) memory*). Only
dropout's mask is kept, a byte an element. `tests/benchmarks/test_training.py` measures the gain.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

QUERIES = 32  # steps of a piece: it reads window - 1 + QUERIES keys, so few queries waste little
PIECE = 1 << 18  # scores of a piece: a megabyte in float32


class BandedAttention(torch.autograd.Function):
    """`BandedAttention.apply(q, k, v, window, dropout)` of (G, T, d) each: softmax(q k' / sqrt(d)) v per group, where a
    step sees the last `window` steps, itself included; each weight is dropped with probability `dropout`."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, window: int, dropout: float) -> Tensor:
        y, masks = torch.empty_like(q), []
        for groups, rows, seen in _pieces(q, window):
            weights = _weights(q[groups, rows], k[groups, seen], rows, seen, window)
            if dropout > 0:
                masks.append(keep_by_bits(weights.shape, dropout))
                weights *= masks[-1].to(weights.dtype)
            torch.bmm(weights, v[groups, seen], out=y[groups, rows])
        y /= 1 - dropout
        ctx.save_for_backward(q, k, v, *masks)
        ctx.window, ctx.dropout = window, dropout
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *masks = ctx.saved_tensors
        dy = dy / (1 - ctx.dropout)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for i, (groups, rows, seen) in enumerate(_pieces(q, ctx.window)):
            weights = _weights(q[groups, rows], k[groups, seen], rows, seen, ctx.window)
            slopes = torch.bmm(dy[groups, rows], v[groups, seen].transpose(1, 2))
            kept = weights
            if masks:
                mask = masks[i].to(weights.dtype)
                slopes *= mask
                kept = weights * mask
            dv[groups, seen] += torch.bmm(kept.transpose(1, 2), dy[groups, rows])
            # of the softmax: w (s - sum of w s), in place
            weights *= slopes.sub_((weights * slopes).sum(-1, keepdim=True))
            weights *= q.shape[-1] ** -0.5
            torch.bmm(weights, k[groups, seen], out=dq[groups, rows])
            dk[groups, seen] += torch.bmm(weights.transpose(1, 2), q[groups, rows])
        return dq, dk, dv, None, None


def _pieces(q: Tensor, window: int) -> Iterator[tuple[slice, slice, slice]]:
    """Groups, query steps and the key steps that these may see."""
    count, steps, _ = q.shape
    size = max(1, PIECE // (QUERIES * (QUERIES + window - 1)))
    for group in range(0, count, size):
        for row in range(0, steps, QUERIES):
            end = min(row + QUERIES, steps)
            yield slice(group, group + size), slice(row, end), slice(max(0, row - window + 1), end)


def _weights(q: Tensor, k: Tensor, rows: slice, seen: slice, window: int) -> Tensor:
    """Softmax over the keys that each query may see, (g, b, keys)."""
    query, key = torch.arange(rows.start, rows.stop)[:, None], torch.arange(seen.start, seen.stop)[None, :]
    distance = query - key
    hidden = torch.zeros(distance.shape, dtype=q.dtype).masked_fill_((distance < 0) | (distance >= window), -torch.inf)
    return torch.softmax(torch.baddbmm(hidden, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5), dim=-1)


def keep_by_bits(shape: torch.Size, p: float) -> Tensor:
    """A boolean mask that is false with probability `p`, met to 2^-16. Torch's own dropout on a CPU draws a double an
    element, which would cost as much as the attention."""
    count = shape.numel()
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    return (words.view(torch.int16)[:count] >= round(p * 2**16) - 2**15).view(shape)
