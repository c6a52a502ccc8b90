"""The learning rate moves as its word says, from any point at which a run is taken up again."""

import math

import pytest
import torch
from torch import nn

from lobmodels.config import RunConfig
from lobmodels.training.optimization import SCHEDULERS, Schedule, build_optimizer

STEPS, EPOCHS, LR = 5, 6, 1e-2
SCORES = (0.1, 0.2, 0.15, 0.15, 0.3, -0.1)  # one an epoch


def config(word: str, **values: float) -> RunConfig:
    """Six epochs under the schedule `word`."""
    return RunConfig.parse({"scheduler": word, "epochs": EPOCHS, "lr": LR, **values})


def make(config: RunConfig) -> Schedule:
    """A schedule over a network of one weight."""
    return Schedule(build_optimizer(nn.Linear(1, 1), config), config, STEPS)


def rates(schedule: Schedule, first: int = 0) -> list[float]:
    """The rate of every step from epoch `first` on."""
    found = []
    for score in SCORES[first:]:
        for _ in range(STEPS):
            found.append(schedule.lr)
            schedule.optimizer.step()
            schedule.after_step()
        schedule.after_epoch(score)
    return found


def test_none_is_constant() -> None:
    """Every step has the configured rate."""
    assert rates(make(config("none"))) == [LR] * STEPS * EPOCHS


def test_plateau_falls_after_epochs_without_a_better_score() -> None:
    """With patience 1 the second epoch in a row without a new best halves the rate; scores may be negative."""
    found = rates(make(config("plateau", plateau_patience=1, plateau_factor=0.5)))[::STEPS]
    assert found == pytest.approx([LR, LR, LR, LR, LR / 2, LR / 2])


def test_onecycle_peaks_and_ends_near_zero() -> None:
    """The highest rate is the configured multiple; the last is far below the first."""
    found = rates(make(config("onecycle", onecycle_peak=4.0)))
    assert max(found) == pytest.approx(4 * LR, rel=0.02) and found[-1] < 0.01 * found[0]


def test_cosine_warms_up_and_falls_to_zero() -> None:
    """Linear over the warm-up, then half a cosine, step by step."""
    found = rates(make(config("cosine", warmup_epochs=1)))
    assert found[:STEPS] == pytest.approx([LR * (i + 1) / STEPS for i in range(STEPS)])
    rest = STEPS * (EPOCHS - 1)
    assert found[STEPS:] == pytest.approx([LR * 0.5 * (1 + math.cos(math.pi * i / rest)) for i in range(rest)])


def test_cosine_without_warm_up_starts_at_the_rate() -> None:
    """Zero epochs of warm-up divide by nothing."""
    assert rates(make(config("cosine", warmup_epochs=0)))[0] == pytest.approx(LR)


@pytest.mark.parametrize("word", SCHEDULERS.names)
@pytest.mark.parametrize("epoch", [1, 3])
def test_taken_up_again(word: str, epoch: int) -> None:
    """A schedule restored from plain values goes on as the undisturbed one."""
    whole = rates(make(config(word)))
    first = make(config(word))
    for score in SCORES[:epoch]:
        for _ in range(STEPS):
            first.optimizer.step()
            first.after_step()
        first.after_epoch(score)
    again = make(config(word))
    again.optimizer.load_state_dict(first.optimizer.state_dict())
    state = first.state_dict()
    assert all(isinstance(value, int | float | str | list | None) for value in state.values())
    again.load_state_dict(state)
    assert rates(again, epoch) == pytest.approx(whole[epoch * STEPS :])


def test_every_parameter_is_optimised() -> None:
    """AdamW with the configured rate and decay over all parameters."""
    network = nn.Linear(3, 2)
    optimizer = build_optimizer(network, config("none", weight_decay=0.1))
    (group,) = optimizer.param_groups
    assert isinstance(optimizer, torch.optim.AdamW) and (group["lr"], group["weight_decay"]) == (LR, 0.1)
    assert {id(p) for p in group["params"]} == {id(p) for p in network.parameters()}
