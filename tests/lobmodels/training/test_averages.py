"""Averages of the weights are the averages they are called, and go on exactly from a stored state."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lobmodels.config import RunConfig
from lobmodels.training.averages import Averages, WeightAverage, build_average


def walk(network: nn.Module) -> None:
    """Weights moved as by a step of an optimiser."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += torch.randn_like(parameter)


def scalar(value: float) -> nn.Linear:
    """A network of one weight."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return network


def test_average_of_the_weights() -> None:
    """Each update moves the average by 1 - decay towards the weights; without decay there is none."""
    network = scalar(0.0)
    assert build_average(network, RunConfig.parse({"ema_decay": 0.0})) is None
    average = build_average(network, RunConfig.parse({"ema_decay": 0.9}))
    assert average is not None
    average.update(network)
    nn.init.constant_(network.weight, 1.0)
    for _ in range(2):
        average.update(network)
    assert average.module.weight.item() == pytest.approx(1 - 0.9**2)
    assert torch.equal(network.weight, torch.ones(1, 1))


def test_the_moving_average_equals_torchs() -> None:
    """Bit for bit over several updates, buffers included, and under the same names in the state."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    ours = WeightAverage(network, 0.9)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(4):
        walk(network)
        network(torch.randn(5, 3))
        ours.update(network)
        theirs.update_parameters(network)
    mine, expected = ours.state_dict(), theirs.state_dict()
    assert mine.keys() == expected.keys()
    assert all(torch.equal(mine[name], expected[name]) for name in mine)
    again = WeightAverage(network, 0.9)
    again.load_state_dict(expected)
    assert again.n_averaged == 4


def test_the_ramp_forgets_the_first_weights() -> None:
    """The decay of update t is min(decay, (1 + t)/(10 + t)): after 100 steps a plain average is mostly the first
    weights, one with the ramp hardly; once the ramp has reached the decay both move alike."""
    shares = {}
    for ramp in (False, True):
        network = scalar(1.0)
        average = build_average(network, RunConfig.parse({"ema_decay": 0.99, "ema_ramp": ramp}))
        assert average is not None
        average.update(network)
        nn.init.constant_(network.weight, 0.0)
        expected = 1.0
        for t in range(1, 101):
            average.update(network)
            expected *= min(0.99, (1 + t) / (10 + t)) if ramp else 0.99
        shares[ramp] = average.module.weight.item()
        assert shares[ramp] == pytest.approx(expected, rel=1e-4)
        average.n_averaged.fill_(10_000)
        average.update(network)
        assert average.module.weight.item() == pytest.approx(0.99 * shares[ramp], rel=1e-5)
    assert shares[False] > 0.3 and shares[True] < 1e-6


@pytest.mark.parametrize("values", [{}, {"ema_decay": 0.5}], ids=["alone", "over the moving average"])
def test_the_mean_of_the_last_epochs(values: dict[str, float]) -> None:
    """What is validated is the mean of the last three epochs' weights, of fewer at first."""
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    averages, plain = (Averages(network, RunConfig.parse(values | extra)) for extra in ({"swa_epochs": 3}, {}))
    seen: list[torch.Tensor] = []
    for _ in range(5):
        for _ in range(2):
            walk(network)
            averages.after_step()
            plain.after_step()
        averages.after_epoch()
        seen.append(plain.evaluated.weight.detach().clone())
        assert torch.allclose(averages.evaluated.weight, torch.stack(seen[-3:]).mean(0), atol=1e-6)


@pytest.mark.parametrize("stored", [0, 1, 4])
def test_taken_up_again(stored: int) -> None:
    """Averages loaded from their tensors after any epoch are the undisturbed ones, bit for bit."""
    config = RunConfig.parse({"ema_decay": 0.9, "ema_ramp": True, "swa_epochs": 2})
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    whole = again = Averages(network, config)
    for epoch in range(6):
        if epoch == stored:
            again = Averages(network, config)
            again.load({name: tensor.clone() for name, tensor in whole.tensors().items()}, torch.device("cpu"))
        walk(network)
        network(torch.randn(5, 3))
        for averages in {whole, again}:
            averages.after_step()
            averages.after_epoch()
    mine, expected = again.evaluated.state_dict(), whole.evaluated.state_dict()
    assert whole is not again and all(torch.equal(mine[name], expected[name]) for name in expected)


def test_without_averages_the_network_itself_is_validated() -> None:
    """A configuration that asks for none costs nothing and stores nothing."""
    network = nn.Linear(3, 2)
    averages = Averages(network, RunConfig.parse({}))
    averages.after_step()
    averages.after_epoch()
    assert averages.evaluated is network and averages.tensors() == {}
