"""A network of the user's as the rest of lobtuna sees it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lobmodels.networks.network import Network, State

OUTPUT_SCALE = "output_scale"  # its tensor, which an ensemble changes where it would scale a linear layer


class PluggedNetwork(Network):
    """The user's `inner` network, its predictions times a constant (targets,), 1 while it is trained.

    An ensemble brings its members to one scale by their last layer; of a network that it does not know, by this.
    """

    output_scale: Tensor

    def __init__(self, inner: nn.Module, targets: int) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer(OUTPUT_SCALE, torch.ones(targets))

    def initial_state(self, batch: int) -> State:
        return tuple(self.inner.initial_state(batch))  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * self.output_scale

    def forward_step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        prediction, following = self.inner.forward_step(x, state)  # type: ignore[operator]
        return prediction * self.output_scale, tuple(following)
