"""What every network offers, the table of architectures, and the input blocks and heads that they share."""

from __future__ import annotations

from collections.abc import Callable

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

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward_step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        raise NotImplementedError


ARCHITECTURES: Registry[Callable[[RunConfig, int, int], Network]] = Registry("architecture")
"""Each entry builds a network from a configuration and the numbers of input columns and of targets."""

INPUT_BLOCKS: Registry[Callable[[RunConfig, int], tuple[nn.Module, int]]] = Registry("input block")
"""Each entry builds a module (..., F) -> (..., W) from a configuration and F; the second value is W."""

HEADS: Registry[Callable[[RunConfig, int], nn.Module]] = Registry("head")
"""Each entry builds a module (..., H) -> (..., K) for K targets, H being the configuration's `hidden_size`."""


def build_network(config: RunConfig, input_size: int, targets: int = TARGETS) -> Network:
    """The network of `config` for `input_size` input columns, freshly initialised from torch's global generator.

    Raises `UnknownNameError` where the architecture, input block or head is not registered.
    """
    return ARCHITECTURES[config.architecture](config, input_size, targets)


class ProjectionBlock(nn.Module):
    """Linear -> LayerNorm -> Dropout in front of the recurrent layers."""

    def __init__(self, input_size: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # (..., F) -> (..., H)
        return self.dropout(self.norm(self.linear(x)))


@INPUT_BLOCKS.register("none")
def _no_block(config: RunConfig, input_size: int) -> tuple[nn.Module, int]:
    return nn.Identity(), input_size


@INPUT_BLOCKS.register("projection")
def _projection(config: RunConfig, input_size: int) -> tuple[nn.Module, int]:
    return ProjectionBlock(input_size, config.hidden_size, config.dropout), config.hidden_size


@HEADS.register("linear")
def _linear_head(config: RunConfig, targets: int) -> nn.Module:
    return nn.Linear(config.hidden_size, targets)


@HEADS.register("mlp")
def _mlp_head(config: RunConfig, targets: int) -> nn.Module:
    hidden, middle = config.hidden_size, max(1, config.hidden_size // 2)
    return nn.Sequential(nn.Linear(hidden, middle), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(middle, targets))


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
