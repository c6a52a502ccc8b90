"""The moving average of the weights is a moving average."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lobmodels.config import RunConfig
from lobmodels.training.optimization import build_average


def test_average_of_the_weights() -> None:
    """Each update moves the average by 1 - decay towards the weights; without decay there is none."""
    network = nn.Linear(1, 1, bias=False)
    assert build_average(network, RunConfig.parse({"ema_decay": 0.0})) is None
    nn.init.constant_(network.weight, 0.0)
    average = build_average(network, RunConfig.parse({"ema_decay": 0.9}))
    assert average is not None
    average.update(network)
    nn.init.constant_(network.weight, 1.0)
    for _ in range(2):
        average.update(network)
    assert average.module.weight.item() == pytest.approx(1 - 0.9**2)
    assert torch.equal(network.weight, torch.ones(1, 1))
