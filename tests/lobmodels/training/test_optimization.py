"""The learning rate follows its schedule exactly, goes on from a stored state, and the average is the average."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lobmodels.config import RunConfig
from lobmodels.training.optimization import Schedule, build_average, build_optimizer

STEPS = 5  # of an epoch


def schedule(**values: object) -> Schedule:
    """A schedule of 4 epochs of 5 steps at a rate of .01."""
    config = RunConfig.parse({"lr": 0.01, "epochs": 4, **values})
    return Schedule(build_optimizer(nn.Linear(2, 1), config), config, STEPS)


def rates(made: Schedule, scores: list[float]) -> list[float]:
    """Rate at the start of each step, over as many epochs as there are scores."""
    found = []
    for score in scores:
        for _ in range(STEPS):
            found.append(made.lr)
            made.optimizer.step()
            made.after_step()
        made.after_epoch(score)
    return found


def test_none_is_constant() -> None:
    """Every step has the configured rate."""
    assert rates(schedule(scheduler="none"), [0.1, 0.2]) == [0.01] * 10


def test_plateau_waits_and_falls() -> None:
    """The rate falls after more than `patience` epochs without a better score; any gain counts, below zero too."""
    made = schedule(scheduler="plateau", plateau_patience=1, plateau_factor=0.5)
    by_epoch = rates(made, [-0.3, -0.299999, -0.5, -0.4, 0.1])[::STEPS]
    assert by_epoch == [0.01, 0.01, 0.01, 0.01, 0.005]


def test_cosine_warms_up_and_ends_at_nothing() -> None:
    """Linear over the warm-up, then half a cosine to zero at the end of the run."""
    found = rates(schedule(scheduler="cosine", warmup_epochs=1), [0.0] * 4)
    assert found[:STEPS] == pytest.approx([0.01 * (i + 1) / STEPS for i in range(STEPS)])
    expected = [0.01 * 0.5 * (1 + math.cos(math.pi * i / 15)) for i in range(15)]
    assert found[STEPS:] == pytest.approx(expected)


def test_onecycle_peaks_where_it_should() -> None:
    """The highest rate is the configured multiple; the run ends far below its start."""
    found = rates(schedule(scheduler="onecycle", onecycle_peak=7.0), [0.0] * 4)
    assert max(found) == pytest.approx(0.07, rel=0.05)
    assert found[-1] < 0.01 < found[3]


@pytest.mark.parametrize("name", ["none", "plateau", "cosine", "onecycle"])
def test_a_stored_schedule_goes_on(name: str) -> None:
    """Restored after two epochs, it gives the rates that it would have given; its state is plain values."""
    scores = [0.1, 0.05, 0.04, 0.03]
    values = {"scheduler": name} | ({"plateau_patience": 0} if name == "plateau" else {})
    whole = rates(schedule(**values), scores)
    first = schedule(**values)
    rates(first, scores[:2])
    again = schedule(**values)
    again.optimizer.load_state_dict(first.optimizer.state_dict())
    again.load_state_dict(first.state_dict())
    assert all(isinstance(value, int | float | str | list | None) for value in first.state_dict().values())
    assert rates(again, scores[2:]) == pytest.approx(whole[2 * STEPS :])


def test_average_of_the_weights() -> None:
    """Each update moves the average by 1 - decay towards the weights; without decay there is none."""
    network = nn.Linear(1, 1, bias=False)
    assert build_average(network, RunConfig.parse({"ema_decay": 0.0})) is None
    nn.init.constant_(network.weight, 0.0)
    average = build_average(network, RunConfig.parse({"ema_decay": 0.9}))
    assert average is not None
    average.update_parameters(network)
    nn.init.constant_(network.weight, 1.0)
    for _ in range(2):
        average.update_parameters(network)
    assert average.module.weight.item() == pytest.approx(1 - 0.9**2)
    assert torch.equal(network.weight, torch.ones(1, 1))
