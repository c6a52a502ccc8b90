"""Finished runs, which every command after the search starts from."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lobmodels.config import RunConfig
from search.errors import SearchError
from search.study.orders import RefitOrder
from search.study.record import CONFIGURATION, DEVICE, TrialRecord, number_of, read_trial, state_of
from storage.claims import REASON
from storage.optuna_internals import trial_id_of

if TYPE_CHECKING:
    from lobmodels.checkpoint import Checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A finished trial as one run: configuration, seed, scores. scores."""

    study: str
    number: int
    trial_id: int
    state: str  # "complete" or "pruned"
    value: float  # best epoch's mean on the selection sequences
    seed: int
    configuration: dict[str, Any]  # active values
    key: str
    select: dict[str, float]  # of each target (t0, t1), and their mean; empty for a pruned run
    report: dict[str, float]  # the same on sequences that selection never sees; empty if there are none
    best_epoch: int | None
    epochs: int
    seconds: float
    checkpoint: str | None  # artifact id
    parent: int | None  # of a replicate: number of the trial in the parent study
    fold: int | None = None  # that it selects on; None with the fixed split
    rates: tuple[float, ...] = ()  # learning rate at the start of each epoch
    target_epochs: dict[str, int] = field(default_factory=dict)  # epoch of the highest score of each target
    refit: RefitOrder | None = None  # of a run on all sequences: its value is what its configuration promises

    @property
    def name(self) -> str:
        """How the run is called in tables and files: STUDY#NUMBER."""
        return f"{self.study}#{self.number}"

    @property
    def config(self) -> RunConfig:
        """The configuration, typed."""
        return RunConfig.parse(self.configuration)


def is_ours(trial: FrozenTrial) -> bool:
    """Whether a worker has begun the trial. One that a user's own script added, or took from the queue, has a score of
    something else, which is not compared with ours. Workers read the device of other trials, not the configuration."""
    return DEVICE in trial.user_attrs or isinstance(trial.user_attrs.get(CONFIGURATION), dict)


def run_of(record: TrialRecord) -> Run | None:
    """A finished trial as a run; None where it has no value, or lobtuna did not record what was trained."""
    if record.state not in ("complete", "pruned") or record.value is None or not record.configured:
        return None
    if record.key is None or record.seed is None:
        log.warning("trial %s is left out: its key or its seed cannot be read", record.name)
        return None
    return Run(
        study=record.study,
        number=record.number,
        trial_id=trial_id_of(record.frozen),
        state=record.state,
        value=record.value,
        seed=record.seed,
        configuration=record.configuration,
        key=record.key,
        select=record.select,
        report=record.report,
        best_epoch=record.best_epoch,
        epochs=record.epochs,
        seconds=record.seconds,
        checkpoint=record.checkpoint,
        parent=record.parent,
        fold=record.fold,
        rates=record.rates,
        target_epochs=_target_epochs(record),
        refit=record.refit,
    )


def _target_epochs(record: TrialRecord) -> dict[str, int]:
    """Epoch of the highest score of each target, the first of equal ones; empty where no scores are recorded."""
    targets = [target for target in record.select if target != "mean"]
    scores = {t: [number_of(epoch.get(t), -math.inf) for epoch in record.history] for t in targets}
    return {t: values.index(max(values)) for t, values in scores.items() if values and max(values) > -math.inf}


def finished_runs(study: optuna.Study, *, pruned: bool = False) -> list[Run]:
    """Complete validated runs by trial number; with `pruned`, those that were pruned as well."""
    return [run for run in _finished(study, pruned) if run.refit is None]


def refit_runs(study: optuna.Study) -> list[Run]:
    """Complete refits in a study of replicates, by trial number."""
    return [run for run in _finished(study, pruned=False) if run.refit is not None]


def _finished(study: optuna.Study, pruned: bool) -> list[Run]:
    states = (TrialState.COMPLETE, TrialState.PRUNED) if pruned else (TrialState.COMPLETE,)
    trials = study.get_trials(deepcopy=False, states=states)
    return [run for trial in trials if (run := run_of(read_trial(study.study_name, trial))) is not None]


def best_run(runs: Iterable[Run]) -> Run | None:
    """The complete run with the highest value; the earliest of equals."""
    complete = [run for run in runs if run.state == "complete"]
    return max(complete, key=lambda run: (run.value, -run.number), default=None)


def load_checkpoint(study: optuna.Study, run: Run | TrialRecord, store: Any = None) -> Checkpoint:
    """The stored best weights of a run of `study`, from `store` or else from the study's own.

    Raises `SearchError` where the run has none, `ArtifactError` where the bytes are missing or corrupt.
    """
    from lobmodels.checkpoint import Checkpoint
    from storage.artifacts import download
    from storage.store import artifacts_of

    if run.checkpoint is None:
        raise SearchError(
            f"run {run.name} ({run.state}) has no stored weights: only complete runs keep theirs; choose another run"
        )
    blob = download(store if store is not None else artifacts_of(study), run.checkpoint)
    return Checkpoint.from_bytes(blob, f"the checkpoint of {run.name}")


def nothing_complete(study: optuna.Study) -> str:
    """Why there is nothing to rank, repeat or export, and what to do about it."""
    trials = study.get_trials(deepcopy=False)
    failed = [trial for trial in trials if state_of(trial) == "failed"]
    words = f"study {study.study_name!r} has no complete run"
    if failed and not any(trial.state in (TrialState.RUNNING, TrialState.WAITING) for trial in trials):
        reason = failed[-1].user_attrs.get(REASON, "no reason was recorded")
        return (
            f"{words}, {len(failed)} failed, the last because: {reason}; fix that, or change the space with lobtuna "
            "create FILE --revise"
        )
    return f"{words} yet: lobtuna work {study.study_name}"
