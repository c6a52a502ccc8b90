"""A second look: the most promising pruned runs go on at the end of the budget, from the state they were stopped in.

What a pruned run would have reached is forecast from its curve and parameters (`search.study.curve_model`). The states
of those with the best forecasts are kept, as many as the study file gives room for. Near the end of the budget they are
queued again, the best first: a new trial with the same parameters, seed, reports and state, which the pruner judges
from there on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.create import withdraw_duplicates
from search.study.curve_model import CurveModel, Ledger
from search.study.record import CONTINUES, KEPT_STATE, RESUME, reports_of, state_of
from search.study.writers import queued_second_look
from search.studyfile.spec import StudySpec
from storage.optuna_internals import FIXED_PARAMS

LEAST = 4  # complete runs that a forecast needs
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class KeptState:
    """The stored state of a pruned run."""

    artifact: str
    epoch: int  # that comes next
    size: int  # bytes

    @staticmethod
    def of(trial: FrozenTrial) -> KeptState | None:
        """The state that was kept when the trial was pruned; it may have been removed since."""
        stored = trial.user_attrs.get(KEPT_STATE)
        if not isinstance(stored, dict) or trial.state != TrialState.PRUNED:
            return None
        return KeptState(str(stored["artifact"]), int(stored["epoch"]), int(stored["size"]))

    def to_json(self) -> dict[str, object]:
        """As it is stored."""
        return {"artifact": self.artifact, "epoch": self.epoch, "size": self.size}


def promises(trials: Sequence[FrozenTrial], planned: int) -> dict[int, float]:
    """Forecast of each pruned run's best score at its end, by trial number; its best so far where too few runs are
    complete. `planned`: a trial's epochs where its parameters do not say."""
    told = [t for t in trials if state_of(t) in ("complete", "pruned") and reports_of(t)]
    pruned = [t for t in told if t.state == TrialState.PRUNED]
    if not pruned:
        return {}
    looks = sorted({len(t.intermediate_values) for t in pruned})
    model = CurveModel(Ledger(told, planned), looks, LEAST)
    found = {}
    for trial in pruned:
        forecast = model.forecast(trial, len(trial.intermediate_values))
        found[trial.number] = max(trial.intermediate_values.values()) if forecast is None else forecast.mean
    return found


def worth_keeping(trials: Sequence[FrozenTrial], spec: StudySpec) -> set[int]:
    """Numbers of the pruned trials whose states are kept: the most promising, as far as the room goes, and none that
    goes on already."""
    return set(_kept(trials, spec))


def _kept(trials: Sequence[FrozenTrial], spec: StudySpec) -> dict[int, KeptState]:
    """The states for which there is room, the most promising first."""
    if not spec.second_look.share:
        return {}
    gone = taken_up(trials)
    states = {t.number: state for t in trials if t.number not in gone and (state := KeptState.of(t)) is not None}
    promise = promises(trials, longest(spec))
    room, kept = spec.second_look.megabytes * MEGABYTE, dict[int, KeptState]()
    for number in sorted(states, key=lambda n: (-promise.get(n, -1.0), n)):
        room -= states[number].size
        if room < 0:
            break
        kept[number] = states[number]
    return kept


def taken_up(trials: Iterable[FrozenTrial]) -> set[int]:
    """Numbers of the pruned trials that go on, or went on, as another trial."""
    return {int(t.user_attrs[CONTINUES]) for t in trials if CONTINUES in t.user_attrs}


def queue_second_look(study: optuna.Study, spec: StudySpec, there: Collection[str]) -> int | None:
    """Queue the most promising pruned run whose state is in the store; returns its number, None where there is none.

    `there` are the ids of the store's artifacts. Of two workers that queue the same one, one's is withdrawn.
    """
    trials = study.get_trials(deepcopy=False)
    ready = ((number, state) for number, state in _kept(trials, spec).items() if state.artifact in there)
    best, state = next(ready, (None, None))
    if best is None or state is None:
        return None
    trial = next(t for t in trials if t.number == best)
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            intermediate_values={e: v for e, v in trial.intermediate_values.items() if e < state.epoch},
            user_attrs=queued_second_look(trial),
            system_attrs={
                FIXED_PARAMS: dict(trial.params),
                RESUME: {"artifact": state.artifact, "epoch": state.epoch},
            },
        )
    )
    withdraw_duplicates(study, lambda t: t.user_attrs.get(CONTINUES))
    return best


def longest(spec: StudySpec) -> int:
    """The most epochs that a trial of the study can have."""
    from lobmodels.config import RunConfig

    parameter = spec.parameters.get("epochs")
    values = None if parameter is None else parameter.values()
    return int(max(values)) if values else int(RunConfig.model_fields["epochs"].default)
