"""GRU stacks over whole sequences on an NVIDIA GPU in half precision: our kernels behind autograd, or cuDNN.

`make gpu` measures the gain. float32, LSTMs, sizes that do not fit and GPUs older than Ampere are left to cuDNN.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

logger = logging.getLogger(__name__)

CAPABILITY = (8, 0)  # Ampere: the first whose tensor cores Triton is tested on
LEAST = 16  # columns of a group: the narrowest product of a tensor core
TOLERANCE = 0.02  # of the norm of the outputs and gradients of the first use, against float32


def gru_on_gpu(recurrent: nn.GRU, x: Tensor) -> Tensor:
    """Outputs (T, B, H) of the stack over x (T, B, F) from a zero state, dropout between layers included.

    The stack is time-major, one-directional and has biases, as `RecurrentNetwork` builds it.
    """
    kernels = usable_kernels(recurrent.hidden_size, x.device)
    if kernels is None:
        return recurrent(x)[0]
    x = x.half()
    for layer, weights in enumerate(recurrent.all_weights):
        x = GpuLayer.apply(kernels, x, *weights)
        if layer < recurrent.num_layers - 1:
            x = nn.functional.dropout(x, recurrent.dropout, recurrent.training)
    return x


class GpuLayer(torch.autograd.Function):
    """`GpuLayer.apply(kernels, x, w_ih, w_hh, b_ih, b_hh)`: x (T, B, F) to hidden states (T, B, H) of its precision.
    Gradients of the weights are float32."""

    @staticmethod
    def forward(ctx: Any, kernels: Any, x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        steps, batch, width = x.shape
        size = w_hh.shape[1]
        w_ih, w_hh = w_ih.to(x.dtype), w_hh.to(x.dtype)
        keep = any(ctx.needs_input_grad)
        inputs = torch.mm(x.reshape(steps * batch, width), w_ih.t())  # (T*B, 3H)
        outputs = x.new_empty(steps, batch, size)
        kept = x.new_empty((steps, batch, 4 * size) if keep else (1,))
        kernels.forward[(programs(batch, kernels),)](
            inputs, w_hh, b_ih, b_hh, outputs, kept, steps, batch, size, *groups(size), kernels.ROWS, keep,
            num_warps=warps(size), num_stages=1,
        )  # fmt: skip
        if keep:
            ctx.save_for_backward(x, w_ih, w_hh, outputs, kept)
            ctx.kernels = kernels
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, w_ih, w_hh, outputs, kept = ctx.saved_tensors
        kernels, (steps, batch, width) = ctx.kernels, x.shape
        size = w_hh.shape[1]
        gates = torch.empty_like(kept)  # gradients by the sums of r, z, n and by q: (T, B, 4H)
        sums = torch.empty(programs(batch, kernels), 4, size, dtype=torch.float32, device=x.device)
        kernels.backward[(len(sums),)](
            grad.contiguous(), outputs, kept, w_hh, gates, sums, steps, batch, size, *groups(size), kernels.ROWS,
            num_warps=warps(size), num_stages=1,
        )  # fmt: skip
        flat = gates.view(steps * batch, 4 * size)
        by_inputs = flat[:, : 3 * size]
        grad_x = torch.mm(by_inputs, w_ih).view_as(x) if ctx.needs_input_grad[1] else None
        grad_w_ih = torch.mm(by_inputs.t(), x.reshape(steps * batch, width)).float()
        by_state = torch.mm(flat[batch:].t(), outputs.view(steps * batch, size)[: len(flat) - batch])  # (4H, H)
        r, z, n, q = sums.sum(0).unbind()
        return (
            None,
            grad_x,
            grad_w_ih,
            torch.cat([by_state[: 2 * size], by_state[3 * size :]]).float(),
            torch.cat([r, z, n]),
            torch.cat([r, z, q]),
        )


def programs(batch: int, kernels: Any) -> int:
    """Programs of a kernel for a batch."""
    return -(-batch // int(kernels.ROWS))


def groups(size: int) -> tuple[int, int]:
    """Widths of the groups of columns that hold `size` columns: powers of two, the second 0 where one is as good."""
    first = LEAST
    while first * 2 <= size:
        first *= 2
    if size <= first:
        return first, 0
    second = LEAST
    while second < size - first:
        second *= 2
    return (2 * first, 0) if second == first or first < 128 else (first, second)


def warps(size: int) -> int:
    """Warps of a program: four keep a step short, eight where the state would not fit the registers of four."""
    return 4 if sum(groups(size)) <= 64 else 8


def shared_memory(size: int) -> int:
    """Bytes of shared memory of a program: three weights in half precision, and four blocks of rows in transit."""
    columns = sum(groups(size))
    return 6 * columns * columns + 128 * columns


@functools.cache
def usable_kernels(size: int, device: torch.device) -> Any:
    """The module `gpu_kernels`, or None where cuDNN computes this hidden size here.

    The first call for a size compiles its kernels (seconds; Triton keeps them on disk) and compares them with float32:
    an unknown GPU or compiler costs speed, with one warning, and never a wrong result.
    """
    if torch.cuda.get_device_capability(device) < CAPABILITY:
        return None
    try:
        from triton.runtime import driver

        from lobmodels.networks import gpu_kernels

        if shared_memory(size) > driver.active.utils.get_device_properties(device.index)["max_shared_mem"]:
            return None
        error = largest_error(gpu_kernels, size, device)
    except torch.OutOfMemoryError:
        raise
    except Exception as failure:  # any failure of the compiler on an unknown host must not fail the run
        logger.warning("our GPU kernels cannot be used (%s: %s); cuDNN computes", type(failure).__name__, failure)
        return None
    if not error <= TOLERANCE:
        logger.warning("our GPU kernels are wrong by %.2g for hidden_size %d; cuDNN computes", error, size)
        return None
    return gpu_kernels


def largest_error(kernels: Any, size: int, device: torch.device, steps: int = 12, batch: int = 18) -> float:
    """Largest distance of outputs and gradients of one layer from those of `nn.GRU` in float32, relative to their norm.

    Draws no random numbers: a run may be drawing its own.
    """
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        x = _waves(device, steps, batch, 24)
        shapes = [(3 * size, 24), (3 * size, size), (3 * size,), (3 * size,)]
        weights = [_waves(device, *shape).mul_(size**-0.5).requires_grad_() for shape in shapes]
        ours = GpuLayer.apply(kernels, x.half(), *weights).float()
        reference = nn.GRU(24, size, device="meta").to_empty(device=device)
        for weight, value in zip(reference.parameters(), weights, strict=True):
            weight.data.copy_(value)
        theirs = reference(x)[0]
        direction = _waves(device, steps, batch, size)
        found = torch.autograd.grad((ours * direction).sum(), weights)
        expected = torch.autograd.grad((theirs * direction).sum(), list(reference.parameters()))
    pairs = zip((ours.detach(), *found), (theirs.detach(), *expected), strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs)


def _waves(device: torch.device, *shape: int) -> Tensor:
    """Deterministic values of the given shape, about as spread as a normal distribution's."""
    count = torch.arange(1, 1 + torch.Size(shape).numel(), dtype=torch.float64, device=device)
    return (1.4 * torch.sin(count * count * 0.37)).float().view(shape)
