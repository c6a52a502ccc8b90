"""What every network offers, the table of architectures, and the input blocks and heads that they share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lobmodels.config import RunConfig
from lobmodels.registry import Registry
from lobmodels.schema import LOB

TARGETS = len(LOB.targets)  # where data states no schema of its own
State = tuple[Tensor, ...]  # what a network carries from one step to the next; every tensor has the batch in dim 1


class Network(nn.Module):
    """A causal network over sequences, in two forms that compute the same function. Tensors are time-major.

    `forward` maps whole sequences (T, B, F) to predictions (T, B, K), from a zero state. `forward_step` maps one step
    (B, F) and a state to predictions (B, K) and the next state.
    """

    def initial_state(self, batch: int) -> State:
        """The state before a sequence, all zeros."""
        raise NotImplementedError

    def recordable(self) -> bool:
        """Whether a GPU may record a training pass in half precision and repeat it: every call of `forward` launches
        the same kernels and waits for none. A network that does not say so is computed anew each time."""
        return False

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward_step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        raise NotImplementedError


ARCHITECTURES: Registry[Callable[[RunConfig, int, int], Network]] = Registry("architecture")
"""Each entry builds a network from a configuration and the numbers of input columns and of targets."""

INPUT_BLOCKS: Registry[Callable[[RunConfig, int], tuple[InputBlock, int]]] = Registry("input block")
"""Each entry builds a block (T, B, F) -> (T, B, W) from a configuration and F; the second value is W."""

HEADS: Registry[Callable[[RunConfig, int], nn.Module]] = Registry("head")
"""Each entry builds a module (..., H) -> (..., K) for K targets, H being the configuration's `hidden_size`."""


def build_network(config: RunConfig, input_size: int, targets: int = TARGETS) -> Network:
    """The network of `config` for `input_size` input columns, freshly initialised from torch's global generator.

    Raises `UnknownNameError` where the architecture, input block or head is not registered.
    """
    return ARCHITECTURES[config.architecture](config, input_size, targets)


class InputBlock(nn.Module):
    """What stands in front of the recurrent layers, in the two forms of a network. This one changes nothing.

    A block that looks at each step alone defines `forward` only.
    """

    states = 0  # tensors of its state

    def initial_state(self, batch: int) -> State:
        """The state before a sequence, all zeros."""
        return ()

    def forward(self, x: Tensor) -> Tensor:  # (..., F) -> (..., W)
        return x

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: (B, F) -> (B, W), and the next state."""
        return self(x), state


class ProjectionBlock(InputBlock):
    """Linear -> LayerNorm -> Dropout in front of the recurrent layers."""

    def __init__(self, input_size: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # (..., F) -> (..., H)
        return self.dropout(self.norm(self.linear(x)))


class ConvolutionBlock(InputBlock):
    """Causal convolution over time -> LayerNorm -> Dropout; with a kernel of 1 it is the projection.

    A step sees itself and the `kernel` - 1 steps before it, zeros before the sequence. `linear` holds the kernel as
    (H, kernel * F), the oldest step first.
    """

    states = 1

    def __init__(self, input_size: int, hidden_size: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.kernel, self.input_size = kernel, input_size
        self.linear = nn.Linear(kernel * input_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.dropout = nn.Dropout(dropout)

    def initial_state(self, batch: int) -> State:
        """The inputs (kernel - 1, B, F) before a sequence, all zeros."""
        return (self.linear.weight.new_zeros(self.kernel - 1, batch, self.input_size),)

    def forward(self, x: Tensor) -> Tensor:  # (T, B, F) -> (T, B, H)
        steps = x.shape[0]
        padded = nn.functional.pad(x, (0, 0, 0, 0, self.kernel - 1, 0))
        weights = self.linear.weight.split(self.input_size, dim=1)  # (H, F) each; a product a step back, no copies
        y = nn.functional.linear(padded[:steps], weights[0], self.linear.bias)
        for j in range(1, self.kernel):
            y = y + nn.functional.linear(padded[j : j + steps], weights[j])
        return self.dropout(self.norm(y))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        seen = torch.cat([state[0], x.unsqueeze(0)])  # (kernel, B, F)
        y = self.linear(seen.transpose(0, 1).flatten(1))
        return self.dropout(self.norm(y)), (seen[1:],)


class LinearPerTarget(nn.Linear):
    """A linear output of each target over inputs of its own: (..., targets * M) -> (..., targets)."""

    def __init__(self, size: int, targets: int) -> None:
        super().__init__(size, targets)

    def forward(self, x: Tensor) -> Tensor:
        return (x.unflatten(-1, (self.out_features, -1)) * self.weight).sum(-1) + self.bias


@INPUT_BLOCKS.register("none")
def _no_block(config: RunConfig, input_size: int) -> tuple[InputBlock, int]:
    return InputBlock(), input_size


@INPUT_BLOCKS.register("projection")
def _projection(config: RunConfig, input_size: int) -> tuple[InputBlock, int]:
    return ProjectionBlock(input_size, config.hidden_size, config.dropout), config.hidden_size


@INPUT_BLOCKS.register("convolution")
def _convolution(config: RunConfig, input_size: int) -> tuple[InputBlock, int]:
    return ConvolutionBlock(input_size, config.hidden_size, config.conv_kernel, config.dropout), config.hidden_size


@HEADS.register("linear")
def _linear_head(config: RunConfig, targets: int) -> nn.Module:
    return nn.Linear(config.hidden_size, targets)


@HEADS.register("mlp")
def _mlp_head(config: RunConfig, targets: int) -> nn.Module:
    hidden, middle = config.hidden_size, max(1, config.hidden_size // 2)
    return nn.Sequential(nn.Linear(hidden, middle), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(middle, targets))


@HEADS.register("mlp_per_target")
def _mlp_per_target(config: RunConfig, targets: int) -> nn.Module:
    """The mlp once for each target; their first layers are computed as one."""
    hidden, middle = config.hidden_size, max(1, config.hidden_size // 2)
    return nn.Sequential(
        nn.Linear(hidden, targets * middle),
        nn.ReLU(),
        nn.Dropout(config.dropout),
        LinearPerTarget(middle, targets),
    )


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
