"""Recorded curves in any order under a real pruner on a real study: what is saved, and what is lost. No sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.pruners import BasePruner
from optuna.trial import TrialState

from tests.benchmarks.search.recorded import NUMBERS, WORDS, Floats, Recorded

MEMBERS = 10


def distributions() -> dict[str, BaseDistribution]:
    """Of the recorded parameters; an inactive one is left out of a trial."""
    ranges: dict[str, BaseDistribution] = {
        name: FloatDistribution(min(low, 0.0) if not log else low, high, log=log)
        for name, (low, high, log) in NUMBERS.items()
    }
    return ranges | {name: CategoricalDistribution(values) for name, values in WORDS.items()}


def replay(recorded: Recorded, pruner: BasePruner, order: Floats, *, epochs: int, early: int) -> Floats:
    """Feed the runs in `order` until `epochs` are spent.

    Returns (epochs a run, share pruned, best final score, mean of the ten best), over complete runs.
    """
    study = optuna.create_study(direction="maximize", pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    used, lengths, finals = 0, [], []
    for index in order:
        length, final = _run(study, recorded, int(index), early)
        used += length
        if used > epochs:
            break
        lengths.append(length)
        if final is not None:
            finals.append(final)
    best = np.sort(finals)[::-1]
    return np.array([np.mean(lengths), 1 - len(finals) / len(lengths), best[0], best[:MEMBERS].mean()])


def compare(
    recorded: Recorded, pruners: dict[str, tuple[Callable[[], BasePruner], int]], *, orders: int, epochs: int
) -> dict[str, Floats]:
    """`replay` of each pruner (with its early stopping) over the same orders: arrays (orders, 4)."""
    shuffled = [np.random.default_rng([i, 3]).permutation(len(recorded.seconds)) for i in range(orders)]
    return {
        name: np.stack([replay(recorded, build(), order, epochs=epochs, early=early) for order in shuffled])
        for name, (build, early) in pruners.items()
    }


def _run(study: optuna.Study, recorded: Recorded, index: int, early: int) -> tuple[int, float | None]:
    known = distributions()
    active: dict[str, Any] = {n: v for n, v in recorded.configurations[index].items() if n in known}
    study.enqueue_trial(active)
    trial = study.ask({name: known[name] for name in active})
    curve = recorded.curves[index]
    curve = curve[np.isfinite(curve)]
    best = 0
    for epoch, value in enumerate(curve):
        trial.set_user_attr("seconds", float(recorded.seconds[index] * (epoch + 1)))
        trial.report(float(value), epoch)
        best = epoch if value > curve[best] else best
        if epoch - best >= early or epoch + 1 == len(curve):
            break
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return epoch + 1, None
    study.tell(trial, float(curve[best]))
    return epoch + 1, float(curve[best])
