"""What a worker writes about a trial, from its place in the queue to its end; `search.study.record` reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from lobmodels.config import RunConfig
from search.study.orders import RefitOrder
from search.study.record import (
    ATTEMPT,
    BASELINE,
    BEST_EPOCH,
    CONFIGURATION,
    CONTINUES,
    DEVICE,
    DIVERGED,
    EPOCHS,
    FAILURE,
    FOLD,
    GPU_USE,
    HISTORY,
    KEPT_STATE,
    KEY,
    MEMORY,
    PARAMETERS,
    PARENT,
    REDRAWN,
    REFIT,
    REPEATED,
    REPEATS,
    RESUME,
    SECONDS,
    SECONDS_PER_EPOCH,
    SEED,
    WORKER,
    WORST,
)
from storage.claims import REASON, Batch

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from lobmodels.training.epochs import EpochRecord


def queued_baseline(config: RunConfig, position: int) -> dict[str, Any]:
    """User attributes of a baseline in the queue; `position` counts from 1."""
    return {KEY: config.key(), BASELINE: position}


def queued_replicate(key: str, parent: int | None, seed: int, fold: int | None = None) -> dict[str, Any]:
    """User attributes of a replicate in the queue."""
    return {KEY: key, PARENT: parent, SEED: seed, **_fold(fold)}


def queued_second_look(pruned: FrozenTrial) -> dict[str, Any]:
    """User attributes of a trial in the queue that takes a pruned one up again."""
    return {CONTINUES: pruned.number, KEY: pruned.user_attrs[KEY], SEED: pruned.user_attrs[SEED]}


def write_kept_state(artifact: str, epoch: int, size: int) -> Batch:
    """Where a pruned trial could be taken up again."""
    return Batch(user_attrs={KEPT_STATE: {"artifact": artifact, "epoch": epoch, "size": size}})


def queued_refit(key: str, parent: int | None, seed: int, order: RefitOrder) -> dict[str, Any]:
    """User attributes of a refit in the queue, which is that of the replicates."""
    return {KEY: key, PARENT: parent, SEED: seed, REFIT: order.to_json()}


def write_start(config: RunConfig, seed: int, worker: str, device: str, attempt: int, fold: int | None = None) -> Batch:
    """What a worker records before the first epoch."""
    what = {SEED: seed, CONFIGURATION: config.active(), KEY: config.key(), **_fold(fold)}
    return Batch(user_attrs={**what, WORKER: worker, DEVICE: device, ATTEMPT: attempt})


def write_epoch(epoch: EpochRecord, seconds: float, gpu_use: int | None = None) -> Batch:
    """The report of one epoch; `seconds` is the total over all epochs so far, `gpu_use` percent or unknown. An epoch of
    a refit has no score."""
    scored = {} if math.isnan(epoch.mean) else {epoch.epoch: epoch.mean}
    use = {} if gpu_use is None else {GPU_USE: gpu_use}
    return Batch(intermediate=scored, user_attrs={SECONDS: seconds, **use})


def write_stored_state(artifact: str, epoch: int) -> Batch:
    """Where the trial can be resumed: the artifact of its state, and the epoch that comes next."""
    return Batch(system_attrs={RESUME: {"artifact": artifact, "epoch": epoch}})


def write_training(history: Sequence[EpochRecord], best_epoch: int, reason: str) -> Batch:
    """The whole training, at its end, however it ended."""
    seconds = sum(epoch.seconds for epoch in history)
    batch = Batch(user_attrs={REASON: reason, EPOCHS: len(history), SECONDS: seconds})
    batch.user_attrs[HISTORY] = [_rounded(epoch.document()) for epoch in history]
    if history:
        batch.user_attrs |= {BEST_EPOCH: best_epoch, SECONDS_PER_EPOCH: seconds / len(history)}
    return batch


def write_scores(scores: Mapping[str, Mapping[str, float] | None], parameters: int) -> Batch:
    """Scores of a complete run by split (`select`, `report`) and part, and the number of its weights."""
    found = {f"{split}_{part}": score for split, parts in scores.items() for part, score in (parts or {}).items()}
    return Batch(user_attrs={**found, PARAMETERS: parameters})


def write_failure(kind: str, reason: str, epochs: int, worst: float = WORST) -> Batch:
    """The end of a trial that failed after so many epochs.

    A run that diverged or found no memory is pruned at `worst`, the lowest score of the metric, so that the sampler
    avoids its configuration: TPE sorts pruned trials after all complete ones. Such a trial is in no ranking, and no
    pruner compares with it.
    """
    batch = Batch(user_attrs={REASON: reason, FAILURE: kind}, state=TrialState.FAIL)
    if kind in (DIVERGED, MEMORY):
        batch.state, batch.values, batch.intermediate = TrialState.PRUNED, [worst], {epochs: worst}
    return batch


def write_withdrawal(earlier: int, *, repeated: bool) -> Batch:
    """The end of a trial that never ran, because trial `earlier` has its configuration. `repeated`: whether that one
    has got a replicate instead."""
    reason = REPEATED if repeated else REDRAWN
    return Batch(user_attrs={REASON: reason, REPEATS: earlier}, state=TrialState.FAIL)


def _rounded(epoch: dict[str, Any]) -> dict[str, Any]:
    """Floats to six significant digits: a history is plotted and read, not computed with. Scores that a refit does not
    have are left out."""
    known = {key: value for key, value in epoch.items() if not (isinstance(value, float) and math.isnan(value))}
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in known.items()}


def _fold(fold: int | None) -> dict[str, Any]:
    return {} if fold is None else {FOLD: fold}
