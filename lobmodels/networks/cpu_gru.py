"""One GRU layer over whole sequences on a CPU, with a hand-written backward pass.

`nn.GRU` on a CPU builds an autograd graph of a dozen nodes a step and multiplies weight gradients step by step. Here
the forward pass is six operations a step on buffers made once, the backward pass three, and every weight gradient is
one product over all steps. Same function, same parameters; `tests/benchmarks/test_training.py` measures the gain.

Equations (those of `nn.GRU`, Cho et al. 2014, with the reset gate applied after the product):
    r, z = σ(W_i x + b_i + W_h h + b_h)        n = tanh(W_in x + b_in + r (W_hn h + b_hn))        h' = n + z (h - n)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

BLOCK = 8  # steps whose elementwise factors are computed at once in the backward pass: few calls, still in cache


class GRULayer(torch.autograd.Function):
    """`GRULayer.apply(x, w_ih, w_hh, b_ih, b_hh)`: inputs (T, B, F) to hidden states (T, B, H), from a zero state."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        steps, batch, _ = x.shape
        size = w_hh.shape[1]
        flat = x.reshape(steps * batch, -1)
        gates = torch.addmm((b_ih + b_hh)[: 2 * size], flat, w_ih[: 2 * size].T).view(steps, batch, 2 * size)
        candidate = torch.addmm(b_ih[2 * size :], flat, w_ih[2 * size :].T).view(steps, batch, size)
        recurrent = torch.empty_like(candidate).copy_(b_hh[2 * size :])  # becomes W_hn h + b_hn
        outputs = torch.empty_like(candidate)
        w_gates, w_candidate = w_hh[: 2 * size].T.contiguous(), w_hh[2 * size :].T.contiguous()
        h = x.new_zeros(batch, size)
        for t in range(steps):
            rz, n, hn, following = gates[t], candidate[t], recurrent[t], outputs[t]
            rz.addmm_(h, w_gates).sigmoid_()
            n.addcmul_(rz[:, :size], hn.addmm_(h, w_candidate)).tanh_()
            torch.lerp(n, h, rz[:, size:], out=following)
            h = following
        ctx.save_for_backward(x, w_ih, w_hh, gates, candidate, recurrent, outputs)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, w_ih, w_hh, gates, candidate, recurrent, outputs = ctx.saved_tensors
        steps, batch, size = outputs.shape
        inner = grad.new_empty(steps, batch, 3, size)  # by W_h h + b_h of r, z, n
        outer = torch.empty_like(outputs)  # by W_in x + b_in
        back = grad.clone(memory_format=torch.contiguous_format)  # by h, accumulated from the last step backwards
        for end in range(steps, 0, -BLOCK):
            block = slice(max(0, end - BLOCK), end)
            factor, slope = _local_factors(block, gates, candidate, recurrent, outputs)
            for t in range(block.stop - 1, block.start - 1, -1):
                torch.mul(back[t].unsqueeze(1), factor[t - block.start], out=inner[t])
                if t:
                    back[t - 1].addcmul_(back[t], gates[t, :, size:]).addmm_(inner[t].view(batch, -1), w_hh)
            torch.mul(back[block], slope, out=outer[block])
        return _weight_gradients(ctx, x, w_ih, inner.view(-1, 3 * size), outer.view(-1, size), outputs)


def gru_on_cpu(gru: nn.GRU, x: Tensor) -> Tensor:
    """Outputs (T, B, H) of the stack `gru` over (T, B, F), its dropout between layers included."""
    for layer, weights in enumerate(gru.all_weights):
        x = GRULayer.apply(x, *weights)
        if layer < gru.num_layers - 1:
            x = nn.functional.dropout(x, gru.dropout, gru.training)
    return x


def _local_factors(block: slice, gates: Tensor, candidate: Tensor, recurrent: Tensor, outputs: Tensor) -> Any:
    """Derivatives of h' by the pre-activations of r, z and W_hn h, (S, B, 3, H), and by that of n, (S, B, H)."""
    size = outputs.shape[-1]
    r, z, n = gates[block, :, :size], gates[block, :, size:], candidate[block]
    keep = 1 - z
    slope = torch.addcmul(keep, keep * n, n, value=-1)  # (1 - z)(1 - n²)
    factor = slope.new_empty(*r.shape[:2], 3, size)
    through = torch.mul(slope, r, out=factor[:, :, 2])
    torch.mul(torch.addcmul(through, through, r, value=-1), recurrent[block], out=factor[:, :, 0])
    before = outputs[block.start - 1 : block.stop - 1] if block.start else _shifted(outputs[block])
    torch.mul((before - n).mul_(z), keep, out=factor[:, :, 1])
    return factor, slope


def _shifted(outputs: Tensor) -> Tensor:
    """States before each step of the first block: zeros, then the outputs but the last."""
    return torch.cat([torch.zeros_like(outputs[:1]), outputs[:-1]])


def _weight_gradients(
    ctx: Any, x: Tensor, w_ih: Tensor, inner: Tensor, outer: Tensor, outputs: Tensor
) -> tuple[Tensor | None, ...]:
    """One product over all steps for each gradient; `inner` (T*B, 3H), `outer` (T*B, H)."""
    steps, batch, size = outputs.shape
    flat, gates = x.reshape(steps * batch, -1), inner[:, : 2 * size]
    grad_w_ih = torch.empty_like(w_ih)
    torch.mm(gates.T, flat, out=grad_w_ih[: 2 * size])
    torch.mm(outer.T, flat, out=grad_w_ih[2 * size :])
    # The state before the first step is zero: it adds nothing.
    grad_w_hh = inner[batch:].T @ outputs[:-1].reshape(-1, size)
    grad_b_hh = inner.sum(0)
    grad_b_ih = torch.cat([grad_b_hh[: 2 * size], outer.sum(0)])
    grad_x = None
    if ctx.needs_input_grad[0]:
        grad_x = torch.addmm(gates @ w_ih[: 2 * size], outer, w_ih[2 * size :]).view_as(x)
    return grad_x, grad_w_ih, grad_w_hh, grad_b_ih, grad_b_hh
