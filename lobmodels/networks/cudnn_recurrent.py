"""LSTM stacks that cuDNN computes in half precision on a GPU, layer by layer.

Dropout between layers is ours: cuDNN's own has one state a device, which no seed of a run resets, for which the runs of
a device wait, and which no recording of a step may contain. On an H100 a step of 3x64 takes 1.2 times as long so alone,
and .56 as long with eight runs at once; and a run is repeatable to the bit. docs/many-machines.md has the figures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CAPABILITY = (8, 0)  # Ampere: older GPUs compute few runs at once, and were not measured


def draws_in_cudnn(recurrent: nn.RNNBase) -> bool:
    """Whether a training pass of the whole stack by cuDNN draws from cuDNN's own dropout state."""
    return recurrent.num_layers > 1 and recurrent.dropout > 0


def by_layer(recurrent: nn.RNNBase, device: torch.device) -> bool:
    """Whether `lstm_on_gpu` computes the layers of this stack one after another."""
    return draws_in_cudnn(recurrent) and torch.cuda.get_device_capability(device) >= CAPABILITY


def lstm_on_gpu(recurrent: nn.LSTM, x: Tensor) -> Tensor:
    """Outputs (T, B, H) of the stack over x (T, B, F) from a zero state, dropout between layers included.

    The stack is time-major, one-directional and has biases, as `RecurrentNetwork` builds it. Meant for autocast, which
    gathers the weights for cuDNN at every call anyway.
    """
    if not recurrent.training or not by_layer(recurrent, x.device):
        return recurrent(x)[0]
    for layer, weights in enumerate(recurrent.all_weights):
        start = x.new_zeros(1, x.shape[1], recurrent.hidden_size)
        how = (True, 1, 0.0, True, False, False)  # biases, layers, dropout, training, both directions, batch first
        x = torch.lstm(x, (start, start), tuple(weights), *how)[0]
        if layer < recurrent.num_layers - 1:
            x = nn.functional.dropout(x, recurrent.dropout)
    return x
