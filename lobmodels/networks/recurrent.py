"""The GRU and LSTM networks: input block, recurrent stack, head. Tensors are time-major, as the kernels like them."""

from __future__ import annotations

from torch import Tensor, nn

from lobmodels.config import RunConfig
from lobmodels.networks.cpu_recurrent import recurrent_on_cpu

TARGETS = 2
State = tuple[Tensor, ...]  # what a network carries from one step to the next; every tensor has the batch in dim 1


class ProjectionBlock(nn.Module):
    """Linear -> LayerNorm -> Dropout in front of the recurrent stack."""

    def __init__(self, input_size: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # (..., F) -> (..., H)
        return self.dropout(self.norm(self.linear(x)))


class RecurrentNetwork(nn.Module):
    """Input block, GRU or LSTM stack, head.

    `forward` maps whole sequences (T, B, F) to predictions (T, B, 2), starting from a zero state; `forward_step` maps
    one step (B, F) and a state to predictions (B, 2) and the next state. Both compute the same function.
    """

    def __init__(self, config: RunConfig, input_size: int) -> None:
        super().__init__()
        hidden = config.hidden_size
        projected = config.input_block == "projection"
        self.block = ProjectionBlock(input_size, hidden, config.dropout) if projected else nn.Identity()
        cell = nn.LSTM if config.architecture == "lstm" else nn.GRU
        between = config.dropout if config.num_layers > 1 else 0.0
        self.recurrent = cell(hidden if projected else input_size, hidden, config.num_layers, dropout=between)
        self.head = _head(config)

    def initial_state(self, batch: int) -> State:
        """Zeros: (L, B, H) of the hidden state, and of the cell state for an LSTM."""
        zeros = next(self.parameters()).new_zeros(self.recurrent.num_layers, batch, self.recurrent.hidden_size)
        return (zeros, zeros) if isinstance(self.recurrent, nn.LSTM) else (zeros,)

    def encode(self, x: Tensor) -> Tensor:
        """Recurrent outputs of whole sequences: (T, B, F) -> (T, B, H)."""
        inputs = self.block(x)
        if inputs.device.type == "cpu":
            return recurrent_on_cpu(self.recurrent, inputs)
        return self.recurrent(inputs)[0]

    def encode_step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Recurrent output of one step: (B, F) -> (B, H), and the next state."""
        inputs = self.block(x).unsqueeze(0)  # (1, B, H or F)
        if isinstance(self.recurrent, nn.LSTM):
            outputs, following = self.recurrent(inputs, (state[0], state[1]))
            return outputs[0], following
        outputs, hidden = self.recurrent(inputs, state[0])
        return outputs[0], (hidden,)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encode(x))

    def forward_step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, state = self.encode_step(x, state)
        return self.head(outputs), state


Network = RecurrentNetwork  # every architecture derives from it


def _head(config: RunConfig) -> nn.Module:
    hidden = config.hidden_size
    if config.head == "linear":
        return nn.Linear(hidden, TARGETS)
    middle = max(1, hidden // 2)
    return nn.Sequential(nn.Linear(hidden, middle), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(middle, TARGETS))


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
