"""Optimiser and learning-rate schedule of a run, from torch's own parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from lobmodels.config import RunConfig
from lobmodels.registry import Registry
from lobmodels.training.adamw import AdamW
from lobmodels.training.refit import RefitPlan


def build_optimizer(network: nn.Module, config: RunConfig) -> Optimizer:
    """AdamW on all parameters, fused into one kernel: the step is launched once instead of once a tensor."""
    return AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)


@dataclass(frozen=True)
class Plan:
    """How the learning rate moves: torch's scheduler, and when it is advanced. No scheduler: the rate is constant."""

    scheduler: LRScheduler | None
    # `epoch`: with the epoch's selection score as the argument; `unscored epoch`: without one
    every: Literal["step", "epoch", "unscored epoch"] = "step"


SCHEDULERS: Registry[Callable[[Optimizer, RunConfig, int], Plan]] = Registry("scheduler")
"""Each entry makes a plan from the optimiser, the configuration and the optimiser steps of an epoch."""


@SCHEDULERS.register("none")
def _constant(optimizer: Optimizer, config: RunConfig, steps: int) -> Plan:
    return Plan(None)


@SCHEDULERS.register("plateau")
def _plateau(optimizer: Optimizer, config: RunConfig, steps: int) -> Plan:
    # Any better score counts, as for the best epoch: torch's relative threshold misjudges negative scores.
    scheduler = ReduceLROnPlateau(
        optimizer,
        mode="max",
        factor=config.plateau_factor,
        patience=config.plateau_patience,
        threshold=0.0,
        eps=0.0,
    )
    return Plan(scheduler, "epoch")


@SCHEDULERS.register("onecycle")
def _onecycle(optimizer: Optimizer, config: RunConfig, steps: int) -> Plan:
    peak = config.lr * config.onecycle_peak
    return Plan(OneCycleLR(optimizer, max_lr=peak, total_steps=config.epochs * steps))


@SCHEDULERS.register("cosine")
def _cosine(optimizer: Optimizer, config: RunConfig, steps: int) -> Plan:
    """Linear from 1/warmup to 1, then half a cosine to 0."""
    warmup, total = config.warmup_epochs * steps, config.epochs * steps

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    return Plan(LambdaLR(optimizer, factor))


class Schedule:
    """The learning rate over a run, advanced by the training loop. Raises `UnknownNameError`."""

    def __init__(
        self, optimizer: Optimizer, config: RunConfig, steps_per_epoch: int, refit: RefitPlan | None = None
    ) -> None:
        self.optimizer = optimizer
        if refit is None:
            self.plan = SCHEDULERS[config.scheduler](optimizer, config, steps_per_epoch)
        elif refit.rates:  # a schedule that follows scores: a refit has none, and repeats the rates of earlier runs
            self.plan = Plan(LambdaLR(optimizer, _Rates(refit.rates, config.lr)), "unscored epoch")
        else:
            self.plan = SCHEDULERS[config.scheduler](optimizer, config, refit.schedule_steps)

    @property
    def lr(self) -> float:
        """The rate that the next step uses."""
        return float(self.optimizer.param_groups[0]["lr"])

    def after_step(self) -> None:
        """Call once after each optimiser step."""
        if self.plan.scheduler is not None and self.plan.every == "step":
            self.plan.scheduler.step()

    def after_epoch(self, score: float) -> None:
        """Call once after each epoch with the selection score."""
        if self.plan.scheduler is not None and self.plan.every == "epoch":
            self.plan.scheduler.step(score)  # type: ignore[arg-type]
        elif self.plan.scheduler is not None and self.plan.every == "unscored epoch":
            self.plan.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        return {} if self.plan.scheduler is None else _plain(self.plan.scheduler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        if self.plan.scheduler is not None:
            self.plan.scheduler.load_state_dict({**self.plan.scheduler.state_dict(), **state})


@dataclass(frozen=True)
class _Rates:
    """Each epoch's learning rate as a multiple of the first one configured."""

    rates: tuple[float, ...]
    lr: float

    def __call__(self, epoch: int) -> float:
        return self.rates[min(epoch, len(self.rates) - 1)] / self.lr


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """The part of a scheduler's state that changes; functions and the optimiser are rebuilt from the configuration."""
    return {key: value for key, value in state.items() if isinstance(value, int | float | str | list | type(None))}
