"""Ends a run that is expected to add less to the final ensemble, for what it still costs, than a fresh run would.

What a run can add is the amount by which its best score will exceed the study's tenth best score, since ten runs are
averaged. Its expected value follows from the forecast of `curve_model`. A run goes on while

    expected excess / epochs it has left  >  mean excess of the runs so far / mean epochs of the runs so far,

the rule of renewal theory for choosing between going on and starting anew: it has no tuned constants. With a budget of
hours, seconds take the place of epochs, so that a slow architecture pays for its time. `docs/search-proof.md` says why
it is not the default.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from lobmodels.config import RunConfig
from search.study.curve_model import CurveModel, Floats, Forecast, Ledger, curve_of, planned_epochs
from search.study.record import BASELINE, DEVICE, seconds_of, state_of
from search.studyfile.parameters import Fixed
from search.studyfile.spec import StudySpec

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
SPACING = 4 / 3  # between the epochs at which a run is judged
MEMBERS = 10  # runs that an ensemble averages, as `export` does by default
BEST_SHARE = 0.15  # while there are few runs, the best of them stand for the tenth best
EXEMPT_SHARE = 0.1  # of the runs are never pruned, so that the forecasts stay unbiased
MOST_TRIALS = 600  # the latest that the model is fitted to; older ones are from regions the sampler has left
REFIT = 1.05  # the model is fitted anew when the ended trials have become 5 % more


def build_curve_pruner(spec: StudySpec) -> CurvePruner:
    """The pruner of a study whose file says `pruner: {name: curve}`."""
    epochs = spec.parameters.get("epochs") or Fixed(value=RunConfig.model_fields["epochs"].default)
    return CurvePruner(
        planned=max(epochs.values() or (1,)),
        warmup=spec.pruner.warmup_epochs,
        startup=spec.pruner.startup_trials,
        seed=spec.seed,
        by_seconds=spec.budget.hours is not None,
    )


@dataclass(frozen=True)
class _Fit:
    """A model and what it was fitted to."""

    numbers: tuple[int, ...]
    ledger: Ledger
    model: CurveModel
    costs: Floats  # (N,) of each trial, in epochs or in seconds
    pace: dict[str, float]  # seconds an epoch on each device; empty where costs are epochs


class CurvePruner(BasePruner):
    """Decides from finished trials alone, which every worker sees; the last fit is only cached.

    `planned` is the most epochs a trial can have, `warmup` the epochs that every run is given, `startup` how many
    complete runs that got further are needed to judge one. Baselines are exempt.
    """

    def __init__(self, *, planned: int, warmup: int, startup: int, seed: int, by_seconds: bool) -> None:
        self._planned, self._startup, self._seed, self._by_seconds = planned, startup, seed, by_seconds
        self.looks = looks(planned, warmup)
        self._fit: _Fit | None = None

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        look = len(trial.intermediate_values)
        if look not in self.looks or look >= planned_epochs(trial, self._planned) or self.exempt(trial):
            return False
        ended = [t for t in study.get_trials(deepcopy=False, states=ENDED) if _readable(t)]
        if sum(t.state == TrialState.COMPLETE for t in ended) < self._startup:
            return False
        fit = self._fitted(ended)
        forecast = fit.model.forecast(trial, look)
        return forecast is not None and self._starting_anew_is_better(fit, forecast, trial, look)

    def exempt(self, trial: FrozenTrial) -> bool:
        """Whether the trial is never pruned: a baseline, or one of a random tenth that the trial's number decides."""
        if BASELINE in trial.user_attrs:
            return True
        return float(np.random.default_rng([self._seed, trial.number, 0xE7E]).random()) < EXEMPT_SHARE

    def _fitted(self, ended: Sequence[FrozenTrial]) -> _Fit:
        used = sorted(ended, key=lambda trial: trial.number)[: _step_below(len(ended))][-MOST_TRIALS:]
        numbers = tuple(trial.number for trial in used)
        if self._fit is None or self._fit.numbers != numbers:
            ledger = Ledger(used, self._planned)
            costs, pace = _costs(used, ledger.lengths, self._by_seconds)
            self._fit = _Fit(numbers, ledger, CurveModel(ledger, self.looks, self._startup), costs, pace)
        return self._fit

    def _starting_anew_is_better(self, fit: _Fit, forecast: Forecast, trial: FrozenTrial, look: int) -> bool:
        ledger = fit.ledger
        rank = min(MEMBERS, math.ceil(BEST_SHARE * len(ledger.final)))
        threshold = float(np.sort(ledger.final)[-rank])
        fresh = float(np.maximum(ledger.final - threshold, 0.0).mean())
        further = ledger.lengths > look
        left = float((ledger.lengths[further] - look).mean()) * _price(fit.pace, trial, look)
        return forecast.excess(threshold) * float(fit.costs.mean()) <= fresh * left


def looks(planned: int, warmup: int) -> tuple[int, ...]:
    """Numbers of epochs after which runs are judged: the first after the warm-up, then at growing distances."""
    found, at = [], float(warmup + 1)
    while round(at) < planned:
        found.append(round(at))
        at = max(at * SPACING, at + 1)
    return tuple(found)


def _costs(trials: Sequence[FrozenTrial], lengths: Floats, by_seconds: bool) -> tuple[Floats, dict[str, float]]:
    """What each trial cost: epochs, or seconds in units of an epoch's usual seconds on its device.

    Devices differ in speed; a run is expensive where its epochs take longer than others' on the same device.
    """
    seconds = np.array([seconds_of(trial) for trial in trials])
    if not by_seconds or not (seconds > 0).all():
        return lengths.astype(float), {}
    devices = np.array([str(trial.user_attrs.get(DEVICE, "")) for trial in trials])
    each = seconds / lengths
    pace = {str(device): float(np.median(each[devices == device])) for device in np.unique(devices)}
    return seconds / np.array([pace[device] for device in devices]), pace


def _price(pace: dict[str, float], trial: FrozenTrial, look: int) -> float:
    """What an epoch of this trial costs, in the units of `_costs`; 1 where its device is new."""
    usual = pace.get(str(trial.user_attrs.get(DEVICE, "")))
    seconds = seconds_of(trial)
    return seconds / look / usual if usual and seconds else 1.0


def _readable(trial: FrozenTrial) -> bool:
    """Whether it has a curve to learn from; the value reported for a failed run is not one."""
    curve = bool(trial.intermediate_values) and bool(np.isfinite(curve_of(trial)).all())
    return curve and state_of(trial) != "failed"


_STEPS = sorted({math.floor(REFIT**i) for i in range(400)})


def _step_below(count: int) -> int:
    """The largest of a growing series of counts that is not above `count`."""
    return _STEPS[bisect.bisect_right(_STEPS, count) - 1]
