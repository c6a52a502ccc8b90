"""Optimiser and learning-rate schedule of a run, from torch's own parts."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau

from lobmodels.config import RunConfig


def build_optimizer(network: nn.Module, config: RunConfig) -> Optimizer:
    """AdamW on all parameters, fused into one kernel: the step is launched once instead of once a tensor."""
    return AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)


class Schedule:
    """The learning rate over a run: per step (onecycle, cosine), per epoch on the score (plateau), or constant."""

    def __init__(self, optimizer: Optimizer, config: RunConfig, steps_per_epoch: int) -> None:
        self.optimizer = optimizer
        self.plateau: ReduceLROnPlateau | None = None
        self.stepwise: OneCycleLR | LambdaLR | None = None
        total = config.epochs * steps_per_epoch
        if config.scheduler == "plateau":
            # Any better score counts, as for the best epoch: torch's relative threshold misjudges negative scores.
            self.plateau = ReduceLROnPlateau(
                optimizer,
                mode="max",
                factor=config.plateau_factor,
                patience=config.plateau_patience,
                threshold=0.0,
                eps=0.0,
            )
        elif config.scheduler == "onecycle":
            self.stepwise = OneCycleLR(optimizer, max_lr=config.lr * config.onecycle_peak, total_steps=total)
        elif config.scheduler == "cosine":
            warmup = config.warmup_epochs * steps_per_epoch
            self.stepwise = LambdaLR(optimizer, _CosineWithWarmup(warmup, total))

    @property
    def lr(self) -> float:
        """The rate that the next step uses."""
        return float(self.optimizer.param_groups[0]["lr"])

    def after_step(self) -> None:
        """Call once after each optimiser step."""
        if self.stepwise is not None:
            self.stepwise.step()

    def after_epoch(self, score: float) -> None:
        """Call once after each epoch with the selection score."""
        if self.plateau is not None:
            self.plateau.step(score)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        scheduler = self.plateau or self.stepwise
        return {} if scheduler is None else _plain(scheduler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        scheduler = self.plateau or self.stepwise
        if scheduler is not None:
            scheduler.load_state_dict({**scheduler.state_dict(), **state})


class _CosineWithWarmup:
    """Linear from 1/warmup to 1, then half a cosine to 0."""

    def __init__(self, warmup: int, total: int) -> None:
        self.warmup, self.total = warmup, total

    def __call__(self, step: int) -> float:
        from math import cos, pi

        if step < self.warmup:
            return (step + 1) / self.warmup
        return 0.5 * (1 + cos(pi * (step - self.warmup) / max(1, self.total - self.warmup)))


class WeightAverage(nn.Module):
    """Exponential moving average of a network's weights, kept in `module`; the first update copies them.

    Arithmetic and state are those of `torch.optim.swa_utils.AveragedModel`, which makes the host wait for the device at
    every update: it sends its counter there.
    """

    n_averaged: Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network)
        self.decay = decay
        self.register_buffer("n_averaged", torch.tensor(0))  # on the CPU, whatever the network's device
        for module in self.module.modules():
            if isinstance(module, nn.RNNBase):
                module.flatten_parameters()  # a copy's weights lie apart: cuDNN would gather them at every call

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after an optimiser step."""
        ours: list[Tensor] = list(self.module.parameters())
        theirs: list[Tensor] = list(network.parameters())
        if self.n_averaged == 0:
            torch._foreach_copy_(ours, theirs)
        else:
            torch._foreach_lerp_(ours, theirs, 1 - self.decay)
        for mine, new in zip(self.module.buffers(), network.buffers(), strict=True):  # counters and such: not averaged
            mine.copy_(new)
        self.n_averaged += 1


def build_average(network: nn.Module, config: RunConfig) -> WeightAverage | None:
    """The moving average of the weights, or None where `ema_decay` is 0."""
    return None if config.ema_decay == 0 else WeightAverage(network, config.ema_decay)


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """The part of a scheduler's state that changes; functions and the optimiser are rebuilt from the configuration."""
    return {key: value for key, value in state.items() if isinstance(value, int | float | str | list | type(None))}
