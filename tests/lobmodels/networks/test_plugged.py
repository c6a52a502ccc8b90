"""The wrapper of a user's network changes nothing but the scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lobmodels.networks.plugged import OUTPUT_SCALE, PluggedNetwork


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        return (torch.zeros(1, batch),)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def forward_step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.layer(x), state


def test_both_forms_carry_the_scale() -> None:
    """It is 1 at first, is part of the weights, and is not trained."""
    inner = Last()
    network, x = PluggedNetwork(inner, 2), torch.randn(4, 5, 3)
    assert torch.equal(network(x), inner(x)) and network.state_dict()[OUTPUT_SCALE].tolist() == [1, 1]
    network.output_scale.copy_(torch.tensor([2.0, 0.5]))
    assert torch.equal(network(x), inner(x) * torch.tensor([2.0, 0.5]))
    assert torch.allclose(network.forward_step(x[0], network.initial_state(5))[0], network(x)[0])
    assert OUTPUT_SCALE not in dict(network.named_parameters())
