"""Which epochs of a run are kept: the best one; several of them, or those of each target, where that is asked for.

One rule: the epochs of a target are the `snapshots` ones with the highest score, the mean over the targets or with
`epoch_per_target` that target's own; of equal scores the earlier. What the run predicts for the target is the mean of
what these epochs predict. A refit has no scores: it keeps the last epochs up to the one that its plan names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lobmodels.config import RunConfig
from lobmodels.networks.mixture import KeptEpoch, Mixture, Weights
from lobmodels.training.epochs import EpochRecord
from lobmodels.training.refit import RefitPlan

ONE, SEVERAL = "best.", "kept."  # before the names of stored tensors


class KeptEpochs:
    """The weights of the epochs that are chosen so far: at most `snapshots`, or as many for each target."""

    def __init__(self, config: RunConfig, targets: Sequence[str], plan: RefitPlan | None = None) -> None:
        self.config, self.targets, self.plan = config, tuple(targets), plan
        self.weights: dict[int, Weights] = {}  # by epoch, from 0

    def update(self, history: Sequence[EpochRecord], network: nn.Module) -> None:
        """Take in the weights after the last epoch of `history` if they are chosen, and drop those that no longer are.

        An epoch that is dropped is never chosen again: later epochs only push others out.
        """
        last, chosen = history[-1].epoch, {epoch for epochs in self.chosen(history) for epoch in epochs}
        if last in chosen:
            self.weights[last] = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.weights = {epoch: weights for epoch, weights in self.weights.items() if epoch in chosen}

    def chosen(self, history: Sequence[EpochRecord]) -> list[list[int]]:
        """The epochs of each target."""
        if self.plan is not None:
            return [self._last(len(history), k) for k in range(len(self.targets))]
        by_mean = _best([record.mean for record in history], self.config.snapshots)
        if not self.config.epoch_per_target:
            return [by_mean] * len(self.targets)
        own = ([record.scores[target] for record in history] for target in self.targets)
        return [_best(scores, self.config.snapshots) for scores in own]

    def _last(self, trained: int, target: int) -> list[int]:
        """The epochs of a target in a refit, of which so many are trained."""
        assert self.plan is not None
        end = min(trained, self.plan.by_target[target] if self.plan.by_target else self.plan.epochs)
        return list(range(max(0, end - self.config.snapshots), end))

    def result(self, history: Sequence[EpochRecord]) -> list[KeptEpoch]:
        """The kept epochs in their order, each with its share per target."""
        chosen = self.chosen(history)
        return [
            KeptEpoch(epoch, self.weights[epoch], tuple((epoch in epochs) / len(epochs) for epochs in chosen))
            for epoch in sorted(set().union(*chosen))
        ]

    def on(self, network: nn.Module, history: Sequence[EpochRecord]) -> nn.Module:
        """What the run predicts with, computed by `network`, whose weights are replaced."""
        kept = self.result(history)
        if len(kept) > 1:
            return Mixture(network, kept)
        network.load_state_dict(kept[0].weights)
        return network

    def tensors(self) -> dict[str, Tensor]:
        """What `load` needs to go on exactly, by name; where there can be one epoch alone, without its number."""
        prefixes = {epoch: f"{SEVERAL}{epoch}." if self._several else ONE for epoch in self.weights}
        found = ((epoch, name, tensor) for epoch, weights in self.weights.items() for name, tensor in weights.items())
        return {prefixes[epoch] + name: tensor for epoch, name, tensor in found}

    def load(self, tensors: dict[str, Tensor], best_epoch: int, device: torch.device) -> None:
        """Inverse of `tensors`; names of other parts are ignored. `best_epoch` is the one that has no number."""
        self.weights = {}
        for key, tensor in tensors.items():
            if self._several and key.startswith(SEVERAL):
                epoch, name = key.removeprefix(SEVERAL).split(".", 1)
                self.weights.setdefault(int(epoch), {})[name] = tensor.to(device)
            elif not self._several and key.startswith(ONE):
                self.weights.setdefault(best_epoch, {})[key.removeprefix(ONE)] = tensor.to(device)

    @property
    def _several(self) -> bool:
        return self.config.snapshots > 1 or self.config.epoch_per_target


def _best(scores: Sequence[float], count: int) -> list[int]:
    """The places of the `count` highest scores, in their order; of equal ones the first."""
    return sorted(sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:count])
