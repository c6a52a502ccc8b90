"""How long a configuration is trained on all sequences, where none is left to say when to stop.

Earlier runs of the configuration, which held sequences out, say it: a refit takes as many optimiser steps as they had
taken at their best epoch, in the median. Its epochs are larger than theirs, so there are fewer of them. Where each
target has epochs of its own, the same is asked for each, and the refit lasts as long as the longest.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lobmodels.config import RunConfig


@dataclass(frozen=True)
class PastRun:
    """What a validated run of the configuration says about its refit."""

    best: int  # epochs up to its best one, that one included
    steps: int  # optimiser steps of one of its epochs
    rates: tuple[float, ...] = ()  # learning rate at the start of each epoch, where the schedule follows scores
    by_target: tuple[int, ...] = ()  # epochs up to the best one of each target, where each has its own


@dataclass(frozen=True)
class RefitPlan:
    """Epochs of a refit, and its learning rates.

    `schedule_steps` are the steps of an epoch by which schedules of a known length count: the earlier runs', so that a
    step has the learning rate that it had there. `rates` by epoch replace a schedule that follows scores. `by_target`
    are the epochs after which each target is predicted; empty: the last one for all.
    """

    epochs: int
    schedule_steps: int
    rates: tuple[float, ...] = ()
    by_target: tuple[int, ...] = ()

    def document(self) -> dict[str, Any]:
        """Plain values; equal documents are equal plans, and those of earlier versions are what they were."""
        found = {**dataclasses.asdict(self), "rates": list(self.rates), "by_target": list(self.by_target)}
        return found if self.by_target else {name: found[name] for name in found if name != "by_target"}


def plan_refit(config: RunConfig, runs: Sequence[PastRun], steps: int) -> RefitPlan:
    """The plan of a refit whose epochs have `steps` optimiser steps, from at least one run of `config`; with
    `epoch_per_target` from runs that say the best epoch of each target."""
    own = zip(*(run.by_target for run in runs), strict=True) if config.epoch_per_target else ()
    by_target = tuple(_epochs(bests, runs, steps) for bests in own)
    epochs = max(by_target, default=_epochs([run.best for run in runs], runs, steps))
    usual = round(statistics.median(run.steps for run in runs))
    # No schedule may end before the refit does: with few steps an epoch, rounding can add some
    schedule_steps = max(usual, math.ceil(epochs * steps / config.epochs))
    rates = tuple(_rate([run for run in runs if run.rates], epoch * steps) for epoch in range(epochs) if _rated(runs))
    return RefitPlan(epochs, schedule_steps, rates, by_target)


def _epochs(bests: Sequence[int], runs: Sequence[PastRun], steps: int) -> int:
    """Epochs of `steps` steps that last as long as each run's best ones, in the median."""
    return max(1, round(statistics.median(best * run.steps for best, run in zip(bests, runs, strict=True)) / steps))


def _rated(runs: Sequence[PastRun]) -> bool:
    return any(run.rates for run in runs)


def _rate(runs: Sequence[PastRun], step: int) -> float:
    """The median learning rate of `runs` after `step` steps; a run that ended before counts with its last one."""
    return statistics.median_low(run.rates[min(step // run.steps, len(run.rates) - 1)] for run in runs)
