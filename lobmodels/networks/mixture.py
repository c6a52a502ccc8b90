"""Several sets of weights of one network, which together predict as one: the epochs that a run has kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]  # by parameter name


@dataclass(frozen=True)
class KeptEpoch:
    """One epoch of a run: its weights, and its share of the run's prediction of each target.

    Over the epochs of a run the shares of each target sum to 1.
    """

    epoch: int  # from 0
    weights: Weights
    shares: tuple[float, ...]  # by target


class Mixture(nn.Module):
    """Maps sequences (T, B, F) to the sum (T, B, K) of what `network` predicts with the weights of each
    epoch, times its share. Each call leaves the weights of the last one in `network`."""

    shares: Tensor

    def __init__(self, network: nn.Module, epochs: Sequence[KeptEpoch]) -> None:
        super().__init__()
        self.network = network
        self.weights = [epoch.weights for epoch in epochs]
        where = next(network.parameters()).device
        self.register_buffer("shares", torch.tensor([epoch.shares for epoch in epochs]).to(where))  # (E, K)

    def forward(self, x: Tensor) -> Tensor:
        predictions = []
        for weights, share in zip(self.weights, self.shares, strict=True):
            self.network.load_state_dict(weights)
            predictions.append(self.network(x) * share)
        return torch.stack(predictions).sum(0)
