"""A trial's record: the attributes that lobtuna stores with a trial or a study, and how they are read.

No other module of `search` names an attribute. `read_trial` is the only parser: it reads whatever an older lobtuna, a
crash or a user's own script has left. `search.study.writers` builds what a worker sends; a test reads it back.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from lobmodels.config import RunConfig
from lobmodels.errors import ConfigError
from lobmodels.metric import METRICS
from search.study.orders import RefitOrder
from storage.claims import REASON

# Study user attributes. The artifact store's URL is one more: `storage.store.ARTIFACTS`.
SPEC = "spec"  # the study file as JSON; written last, so a study that has it is complete
QUESTION = "question"
VERSION = "lobtuna_version"  # of the lobtuna that created the study
FINGERPRINT = "data_fingerprint"  # of the data set that every worker must have
SCHEMA = "data_schema"  # `Schema.document()` of that data; not there for the challenge's
REVISION_OF = "revision_of"  # name of the revision before this one
PARENT_STUDY = "parent_study"  # of a study of replicates: whose
PLAN = "replication_plan"  # of a study of replicates: what `replicate --auto` asked for, or null
ENSEMBLE_PLAN = "ensemble_plan"  # of a study that follows a plan: `search.study.plan.EnsemblePlan`
STOP = "stop"  # the last request to stop all workers: `search.study.halt.StopRequest`
PLUGINS = "plugins"  # the plugins that the study uses: file, SHA-256, source, and what each declares
RIDGE, ENSEMBLE = "ridge_score", "ensemble_score"  # of a study: `search.study.reference.Reference`
NOTE_WRITER = "note_turn"  # token of the worker that wrote the dashboard's note last

# Trial user attributes. Why a trial ended is one more: `storage.claims.REASON`.
SEED = "seed"
CONFIGURATION = "configuration"  # active values of all parameters, searched or fixed
KEY = "key"  # `RunConfig.key()`
BASELINE = "baseline"  # position in the study file's list, from 1
PARENT = "parent"  # of a replicate: number of the trial whose configuration it repeats
FOLD = "fold"  # that the run selects on; missing with the fixed split
REFIT = "refit"  # of a run on all sequences: `RefitOrder` as JSON
IMPORTED = "imported_from"  # "STUDY#NUMBER" of the trial that this one is a copy of
KEPT_STATE = "kept_state"  # of a pruned trial: `search.study.second_look.KeptState`
CONTINUES = "continues"  # number of the pruned trial that this one takes up again
DRAW = "draw"  # of a replicate: number of the withdrawn trial in whose place it runs
REPEATS = "repeats"  # of a withdrawn trial: number of the trial that has its configuration
ORIGIN = "warm_start"  # "STUDY#NUMBER" of the run from which a queued configuration was taken
WORKER, DEVICE, ATTEMPT = "worker", "device", "attempt"
SECONDS, SECONDS_PER_EPOCH = "seconds", "seconds_per_epoch"  # of training, measured by the worker
GPU_USE = "gpu_use"  # percent, at the last epoch; where it can be read
HISTORY, EPOCHS, BEST_EPOCH = "history", "epochs", "best_epoch"
CHECKPOINT = "checkpoint"  # artifact id of the best weights
PARAMETERS = "parameters"  # number of weights of the network
SELECT, REPORT = "select_", "report_"  # before the name of a target, or `mean`: the scores of a complete run

# Trial user attribute: the kind of failure that ended the trial. Such a trial is "failed" here, whatever its state in
# Optuna: one that diverged or ran out of memory is pruned there, because samplers do not learn from failed trials.
FAILURE = "failure"
FAILURES = DIVERGED, MEMORY, INVALID, ERROR = ("diverged", "out of memory", "invalid configuration", "error")
WORST = -1.0  # reported to the sampler as the score of such a trial; no correlation is lower
WORSTS = {metric.lowest for metric in METRICS.values()}  # the same for every metric

# Trial system attribute: {"artifact": id, "epoch": next epoch} of the stored state that a worker can resume from.
RESUME = "lobtuna:resume"

# REASON of a trial that was withdrawn before it ran.
DUPLICATE = "queued twice"  # an equal one was queued before it
REPEATED = "its configuration ran before: it is repeated under another seed"
REDRAWN = "its configuration ran before: another is drawn"
WITHDRAWN = (DUPLICATE, REPEATED, REDRAWN)

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class StoredState:
    """Where a running trial can be resumed: the artifact of its state, and the epoch that comes next."""

    artifact: str
    epoch: int


@dataclass(frozen=True)
class TrialRecord:
    """One trial. Scores are mean weighted Pearson; a value that the trial lacks, or that is damaged, is None or empty.

    `value` is the best epoch's mean on the selection sequences so far, for finished and unfinished trials alike.
    """

    study: str
    number: int
    state: str  # complete, pruned, failed, running, waiting, withdrawn
    value: float | None
    configuration: dict[str, Any]  # active values of all parameters; Optuna's parameters where `configured` is False
    configured: bool  # whether a worker has recorded the configuration
    key: str | None  # identifies the configuration
    seed: int | None
    worker: str
    device: str
    attempt: int | None
    start: datetime | None
    end: datetime | None
    seconds: float  # of training, as the worker measured it
    seconds_per_epoch: float | None
    gpu_use: int | None  # percent, at the last epoch
    best_epoch: int | None
    history: tuple[dict[str, Any], ...]
    select: dict[str, float]  # of each target (t0, t1), and their mean
    report: dict[str, float]  # the same on sequences that no decision has seen
    parameters: int | None  # weights of the network
    reason: str
    failure: str | None  # kind of a failure, one of `FAILURES`
    imported: str | None  # "STUDY#NUMBER" of the trial it is a copy of
    parent: int | None  # of a replicate: the trial whose configuration it repeats
    fold: int | None  # that it selects on; None with the fixed split
    refit: RefitOrder | None  # of a run that is trained on all sequences
    baseline: int | None
    checkpoint: str | None  # artifact id
    stored_state: StoredState | None
    frozen: FrozenTrial = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """How the trial is called in tables and files: STUDY#NUMBER."""
        return f"{self.study}#{self.number}"

    @property
    def epochs(self) -> int:
        """Epochs it was trained for."""
        return len(self.history)

    @cached_property
    def means(self) -> list[float]:
        """Score of each epoch on the selection sequences; NaN where an epoch has none."""
        return [number_of(epoch.get("mean"), math.nan) for epoch in self.history]

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rate at the start of each epoch; empty where an epoch has none."""
        rates = tuple(number_of(epoch.get("lr"), 0.0) for epoch in self.history)
        return rates if all(rates) else ()

    @cached_property
    def best_so_far(self) -> list[float]:
        """Highest score up to and including each epoch."""
        best, found = -math.inf, []
        for mean in self.means:
            best = max(best, mean) if math.isfinite(mean) else best
            found.append(best)
        return found


def read_trial(study: str, trial: FrozenTrial) -> TrialRecord:
    """View one trial; what is missing or of another type than it should be counts as missing."""
    attrs = trial.user_attrs
    history = _history(trial)
    recorded = attrs.get(CONFIGURATION)
    return TrialRecord(
        study=study,
        number=trial.number,
        state=state_of(trial),
        value=_value(trial, history),
        configuration=dict(recorded) if isinstance(recorded, dict) else dict(trial.params),
        configured=isinstance(recorded, dict),
        key=_key(attrs),
        seed=_whole(attrs.get(SEED)),
        worker=str(attrs.get(WORKER, "")),
        device=str(attrs.get(DEVICE, "")),
        attempt=_whole(attrs.get(ATTEMPT)),
        start=trial.datetime_start,
        end=trial.datetime_complete,
        seconds=seconds_of(trial),
        seconds_per_epoch=max(number_of(attrs.get(SECONDS_PER_EPOCH), 0.0), 0.0) or None,
        gpu_use=_whole(attrs.get(GPU_USE)),
        best_epoch=_best_epoch(attrs, history),
        history=history,
        select=_scores(attrs, SELECT),
        report=_scores(attrs, REPORT),
        parameters=_whole(attrs.get(PARAMETERS)),
        reason=str(attrs.get(REASON, "")),
        failure=_text(attrs.get(FAILURE)),
        imported=_text(attrs.get(IMPORTED)),
        parent=_whole(attrs.get(PARENT)),
        fold=_whole(attrs.get(FOLD)),
        refit=RefitOrder.from_json(attrs.get(REFIT)),
        baseline=_whole(attrs.get(BASELINE)),
        checkpoint=_text(attrs.get(CHECKPOINT)),
        stored_state=stored_state_of(trial),
        frozen=trial,
    )


def state_of(trial: FrozenTrial) -> str:
    """The trial's state in lobtuna's words: one of the values of `STATES`, or `withdrawn` for one that never ran."""
    if trial.state == TrialState.FAIL and trial.user_attrs.get(REASON) in WITHDRAWN:
        return "withdrawn"
    failed = trial.state == TrialState.PRUNED and trial.user_attrs.get(FAILURE) in FAILURES
    return "failed" if failed else STATES[trial.state]


def reports_of(trial: FrozenTrial) -> dict[int, float]:
    """Score by epoch as it was reported, without the value that a failed trial reports in place of a score."""
    if trial.user_attrs.get(FAILURE) not in FAILURES:
        return trial.intermediate_values
    return {step: value for step, value in trial.intermediate_values.items() if value not in WORSTS}


def epochs_of(trial: FrozenTrial) -> int:
    """Epochs that the trial has been trained for, from its last report: a worker does not read all of another's."""
    if trial.last_step is None:
        return 0
    scored = trial.intermediate_values[trial.last_step] not in WORSTS or trial.user_attrs.get(FAILURE) not in FAILURES
    return trial.last_step + scored


def seconds_of(trial: FrozenTrial) -> float:
    """Seconds of training that the trial's worker has measured so far."""
    return max(number_of(trial.user_attrs.get(SECONDS), 0.0), 0.0)


def stored_state_of(trial: FrozenTrial) -> StoredState | None:
    """The state that the trial can be resumed from, if one was stored."""
    stored = trial.system_attrs.get(RESUME)
    if not isinstance(stored, dict) or not isinstance(stored.get("artifact"), str):
        return None
    return StoredState(stored["artifact"], _whole(stored.get("epoch")) or 0)


def is_duplicate(trial: FrozenTrial) -> bool:
    """Whether the trial was withdrawn because an equal one was queued before it: it never ran."""
    return trial.user_attrs.get(REASON) == DUPLICATE


def _value(trial: FrozenTrial, history: Sequence[Mapping[str, Any]]) -> float | None:
    # Optuna gives a pruned trial its last epoch's value; a complete run is given its best one.
    values = trial.values if trial.state == TrialState.COMPLETE else reports_of(trial).values()
    candidates = [*(values or ()), *(() if values else (number_of(epoch.get("mean"), math.nan) for epoch in history))]
    return max((float(value) for value in candidates if math.isfinite(value)), default=None)


def _key(attrs: Mapping[str, Any]) -> str | None:
    if isinstance(attrs.get(KEY), str):
        return str(attrs[KEY])
    configuration = attrs.get(CONFIGURATION)
    try:  # the first versions did not store the key
        return RunConfig.parse(configuration).key() if isinstance(configuration, dict) else None
    except ConfigError:
        return None


def _history(trial: FrozenTrial) -> tuple[dict[str, Any], ...]:
    """The stored history, or what was reported of it: a trial that runs, or whose worker died, has no other."""
    stored = trial.user_attrs.get(HISTORY)
    if isinstance(stored, list) and stored and all(isinstance(epoch, dict) for epoch in stored):
        return tuple({"epoch": i, **epoch} for i, epoch in enumerate(stored))
    return tuple({"epoch": step, "mean": value} for step, value in sorted(reports_of(trial).items()))


def _best_epoch(attrs: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> int | None:
    recorded = _whole(attrs.get(BEST_EPOCH))
    if recorded is not None:
        return recorded
    means = [(number_of(epoch.get("mean"), math.nan), -i) for i, epoch in enumerate(history)]
    best = max((pair for pair in means if math.isfinite(pair[0])), default=None)
    return None if best is None else -best[1]


def _scores(attrs: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """The scores by target, in the order of their names, whatever order a database gives, then their mean."""
    names = [name for name in attrs if name.startswith(prefix)]
    names.sort(key=lambda name: (name == f"{prefix}mean", name))
    found = {name.removeprefix(prefix): number_of(attrs[name], math.nan) for name in names}
    return {part: value for part, value in found.items() if math.isfinite(value)}


def number_of(value: Any, otherwise: float) -> float:
    """`value` where it is a finite number."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and abs(value) <= sys.float_info.max else otherwise


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
