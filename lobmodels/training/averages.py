"""Averages of the weights of a run, which are validated and kept in place of the weights of its last step.

Two kinds, which may be used together: an exponential moving average over the steps, and the mean of the weights after
the last epochs, each of them already the moving average where there is one.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from lobmodels.config import RunConfig


class WeightAverage(nn.Module):
    """Exponential moving average of a network's weights, kept in `module`; the first update copies them.

    Arithmetic and state are those of `torch.optim.swa_utils.AveragedModel`, which makes the host wait for the device at
    every update: it copies its counter to it. With `ramp` the decay of update t, from 0, is the smaller of `decay` and
    (1 + t)/(10 + t), the rule of TensorFlow's `tf.train.ExponentialMovingAverage` (argument `num_updates`). Without it
    the first weights still weigh decay^t after t steps, which is most of the average in a run of few steps.
    """

    n_averaged: Tensor

    def __init__(self, network: nn.Module, decay: float, ramp: bool = False) -> None:
        super().__init__()
        self.module = _copy(network)
        self.decay, self.ramp = decay, ramp
        self.register_buffer("n_averaged", torch.tensor(0))  # on the CPU, whatever the network's device

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after an optimiser step."""
        ours: list[Tensor] = list(self.module.parameters())
        theirs: list[Tensor] = list(network.parameters())
        t = int(self.n_averaged)
        if t == 0:
            torch._foreach_copy_(ours, theirs)
        else:
            torch._foreach_lerp_(ours, theirs, 1 - (min(self.decay, (1 + t) / (10 + t)) if self.ramp else self.decay))
        _copy_buffers(network, self.module)
        self.n_averaged += 1


class EpochAverage:
    """Mean of the weights after the last `epochs` epochs, kept in `module`; of fewer while there are not as many.

    Stochastic weight averaging (Izmailov et al. 2018, arXiv 1803.05407) with a window that moves along (Kaddour 2022,
    arXiv 2209.14981), because early stopping and pruning decide which epochs are the last ones.
    """

    def __init__(self, network: nn.Module, epochs: int) -> None:
        self.module = _copy(network)
        self.epochs = epochs
        self.window: list[dict[str, Tensor]] = []  # parameters by name after each of the last epochs, oldest first

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after an epoch."""
        entered = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
        self.load([*self.window, entered][-self.epochs :])
        _copy_buffers(network, self.module)

    @torch.no_grad()
    def load(self, window: list[dict[str, Tensor]]) -> None:
        """Make `window` the last epochs. The mean is computed from it each time: a resumed run has it exactly."""
        self.window = window
        for name, parameter in self.module.named_parameters():
            if window:
                parameter.copy_(torch.stack([weights[name] for weights in window]).mean(0))


class Averages:
    """All averages that a configuration asks for."""

    def __init__(self, network: nn.Module, config: RunConfig) -> None:
        self.network = network
        self.steps = build_average(network, config)
        self.epochs = EpochAverage(network, config.swa_epochs) if config.swa_epochs else None

    @property
    def evaluated(self) -> nn.Module:
        """The network with the weights that are validated and kept: the trained one where nothing is averaged."""
        return self._after_steps if self.epochs is None else self.epochs.module

    @property
    def _after_steps(self) -> nn.Module:
        return self.network if self.steps is None else self.steps.module

    def after_step(self) -> None:
        """Call once after each optimiser step."""
        if self.steps is not None:
            self.steps.update(self.network)

    def after_epoch(self) -> None:
        """Call once after each epoch, before it is validated."""
        if self.epochs is not None:
            self.epochs.update(self._after_steps)

    def tensors(self) -> dict[str, Tensor]:
        """What `load` needs to go on exactly, by name."""
        found = {} if self.steps is None else {f"average.{k}": v for k, v in self.steps.state_dict().items()}
        for i, weights in enumerate([] if self.epochs is None else self.epochs.window):
            found |= {f"epochs.{i}.{name}": tensor for name, tensor in weights.items()}
        return found

    def load(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        """Inverse of `tensors`; names of other parts are ignored."""
        if self.steps is not None:
            self.steps.load_state_dict(_under("average.", tensors))
        if self.epochs is not None:
            self.epochs.load(list(_windows(tensors, device)))
            _copy_buffers(self._after_steps, self.epochs.module)


def build_average(network: nn.Module, config: RunConfig) -> WeightAverage | None:
    """The moving average of the weights, or None where `ema_decay` is 0."""
    return None if config.ema_decay == 0 else WeightAverage(network, config.ema_decay, config.ema_ramp)


def _copy(network: nn.Module) -> nn.Module:
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()  # else cuDNN would gather the copy's weights at every call
    return copied


@torch.no_grad()
def _copy_buffers(source: nn.Module, target: nn.Module) -> None:
    """Counters and such are not averaged."""
    for mine, new in zip(target.buffers(), source.buffers(), strict=True):
        mine.copy_(new)


def _windows(tensors: dict[str, Tensor], device: torch.device) -> Any:
    """The epochs' weights in their order, each by name on `device`."""
    i = 0
    while weights := _under(f"epochs.{i}.", tensors):
        yield {name: tensor.to(device) for name, tensor in weights.items()}
        i += 1


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
