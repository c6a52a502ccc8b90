"""The GRU and LSTM networks: input block, recurrent layers, head."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from lobmodels.config import RunConfig
from lobmodels.networks.cpu_recurrent import recurrent_on_cpu
from lobmodels.networks.cudnn_recurrent import by_layer, draws_in_cudnn, lstm_on_gpu
from lobmodels.networks.gpu_recurrent import gru_on_gpu, usable_kernels
from lobmodels.networks.network import ARCHITECTURES, HEADS, INPUT_BLOCKS, Network, State


class RecurrentNetwork(Network):
    """Input block, layers of `cell`, head. A subclass names its cell, one of torch's with a single state tensor."""

    cell: ClassVar[type[nn.GRU] | type[nn.LSTM] | type[nn.RNN]]

    def __init__(self, config: RunConfig, input_size: int, targets: int) -> None:
        super().__init__()
        self.block, width = INPUT_BLOCKS[config.input_block](config, input_size)
        between = config.dropout if config.num_layers > 1 else 0.0
        self.recurrent: nn.RNNBase = self.cell(width, config.hidden_size, config.num_layers, dropout=between)
        self.head = HEADS[config.head](config, targets)

    def initial_state(self, batch: int) -> State:
        """The state of the input block, then the zero hidden states (L, B, H), before a sequence."""
        size = (self.recurrent.num_layers, batch, self.recurrent.hidden_size)
        return (*self.block.initial_state(batch), next(self.parameters()).new_zeros(size))

    def encode(self, x: Tensor) -> Tensor:
        """Recurrent outputs of whole sequences: (T, B, F) -> (T, B, H)."""
        return self.recur(self.block(x))

    def recur(self, inputs: Tensor) -> Tensor:
        """Outputs (T, B, H) of the recurrent layers over (T, B, W)."""
        return self.recurrent(inputs)[0]

    def encode_step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Recurrent output of one step: (B, F) -> (B, H), and the next state."""
        inputs, past = self.block.step(x, state[: self.block.states])
        outputs, hidden = self.recur_step(inputs.unsqueeze(0), state[self.block.states :])  # (1, B, H)
        return outputs[0], (*past, *hidden)

    def recur_step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Outputs (1, B, H) of the recurrent layers over one step (1, B, W), and their next state."""
        outputs, hidden = self.recurrent(inputs, state[0])
        return outputs, (hidden,)

    def recordable(self) -> bool:
        device = self.recurrent.weight_hh_l0.device
        return device.type == "cuda" and (not draws_in_cudnn(self.recurrent) or self.draws_itself(device))

    def draws_itself(self, device: torch.device) -> bool:
        """Whether dropout between the layers is ours on this GPU in half precision."""
        return False

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encode(x))

    def forward_step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, state = self.encode_step(x, state)
        return self.head(outputs), state


def in_half_precision() -> bool:
    """Whether the GPU computes in float16 here."""
    return torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda") == torch.float16


@ARCHITECTURES.register("gru")
class GruNetwork(RecurrentNetwork):
    """Input block, GRU layers, head."""

    cell = nn.GRU
    recurrent: nn.GRU

    def recur(self, inputs: Tensor) -> Tensor:
        if inputs.device.type == "cpu":
            return recurrent_on_cpu(self.recurrent, inputs)
        return gru_on_gpu(self.recurrent, inputs) if in_half_precision() else super().recur(inputs)

    def draws_itself(self, device: torch.device) -> bool:
        return usable_kernels(self.recurrent.hidden_size, device) is not None


@ARCHITECTURES.register("lstm")
class LstmNetwork(RecurrentNetwork):
    """Input block, LSTM layers, head. The hidden states are followed by the cell states, (L, B, H) each."""

    cell = nn.LSTM
    recurrent: nn.LSTM

    def recur(self, inputs: Tensor) -> Tensor:
        if inputs.device.type == "cpu":
            return recurrent_on_cpu(self.recurrent, inputs)
        return lstm_on_gpu(self.recurrent, inputs) if in_half_precision() else super().recur(inputs)

    def draws_itself(self, device: torch.device) -> bool:
        return by_layer(self.recurrent, device)

    def initial_state(self, batch: int) -> State:
        *past, zeros = super().initial_state(batch)
        return (*past, zeros, zeros)

    def recur_step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, following = self.recurrent(inputs, (state[0], state[1]))
        return outputs, following
