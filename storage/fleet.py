"""What workers need beyond Optuna's interface: claims with a beat, writes that commit together, recovery, a clock."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol, cast

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from storage.backends.database import database_backend
from storage.claims import BEAT, CLAIM, LOSSES, REASON, Batch, Claim, lost_reason
from storage.errors import ClaimLost

RUNNING, WAITING, FAIL = TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL


@dataclass(frozen=True)
class Recovered:
    """A trial whose worker fell silent: queued again, or given up after `losses` lost workers."""

    number: int
    worker: str
    losses: int
    given_up: bool


class Fleet(Protocol):
    """Work on the trials of one database, by any number of workers."""

    def claim(self, trial_id: int, claim: Claim) -> bool:
        """Take a queued trial. False where another was quicker. Repeating a claim that succeeded is True."""
        ...

    def beat(self, trial_id: int, claim: Claim) -> bool:
        """Say that the worker lives. False where the trial is no longer its own."""
        ...

    def write(self, trial_id: int, claim: Claim, batch: Batch) -> None:
        """Commit `batch`, all of it or nothing; repeating it changes nothing. Raises `ClaimLost`."""
        ...

    def seize(self, trial_id: int, claim: Claim) -> None:
        """Take an unfinished trial, whoever holds it: its result is at hand. Raises `ClaimLost` if it is finished."""
        ...

    def recover(self, study_id: int, max_retries: int) -> list[Recovered]:
        """Put trials of silent workers back into the queue, or fail them after `max_retries` lost attempts more."""
        ...

    def unheard(self, study_id: int, since: float) -> list[int]:
        """Numbers of running trials without a beat since the moment `since` of `now()`: alive or not, nobody knows."""
        ...

    def now(self) -> float:
        """Seconds by the clock that all workers share; only differences mean something."""
        ...


def fleet_of(storage: BaseStorage) -> Fleet:
    """The fleet operations of an opened storage."""
    backend = database_backend(storage)
    if backend is not None:
        from storage.backends.sql_fleet import SqlFleet

        return SqlFleet(backend)
    if _is_proxy(storage):
        from storage.backends.grpc import ProxyFleet, ProxyStorage

        return ProxyFleet(cast(ProxyStorage, storage))
    return PlainFleet(storage)


def _is_proxy(storage: BaseStorage) -> bool:
    if type(storage).__name__ != "ProxyStorage":  # asked by name first: importing the proxy needs grpcio
        return False
    from storage.backends.grpc import ProxyStorage

    return isinstance(storage, ProxyStorage)


@dataclass(frozen=True)
class _Sight:
    """A beat as an observer saw it: since when, and when a change was last seen, both by time.monotonic()."""

    beat: object
    since: float
    heard: float


class PlainFleet:
    """Fleet operations through Optuna's interface alone, for journals.

    There is no clock all workers share, so a beat is a counter: a worker is silent when an observer has seen the same
    count for the claim's whole grace by its own stopwatch. Claim and write are several appends, not one transaction;
    that is enough for processes that share a file.
    """

    def __init__(self, storage: BaseStorage) -> None:
        self.storage = storage
        self._counts: dict[int, int] = {}  # trial id -> own beats so far
        self._seen: dict[int, _Sight] = {}  # by trial id

    def claim(self, trial_id: int, claim: Claim) -> bool:
        try:
            if not self.storage.set_trial_state_values(trial_id, RUNNING):
                return self._holds(trial_id, claim)
        except UpdateFinishedTrialError:
            return False
        self.storage.set_trial_system_attr(trial_id, CLAIM, claim.to_json())
        return True

    def beat(self, trial_id: int, claim: Claim) -> bool:
        if not self._holds(trial_id, claim):
            return False
        count = self._counts[trial_id] = self._counts.get(trial_id, 0) + 1
        try:
            self.storage.set_trial_system_attr(trial_id, BEAT, [claim.token, count])
        except UpdateFinishedTrialError:
            return False
        return True

    def write(self, trial_id: int, claim: Claim, batch: Batch) -> None:
        trial = self._get(trial_id)
        if trial.state != RUNNING and (trial.state, trial.values) == (batch.state, batch.values):
            return  # an earlier try was committed
        if not self._holds(trial_id, claim):
            raise ClaimLost(f"trial {trial.number} is not {claim.worker}'s any more")
        storage = self.storage
        for name, (value, distribution) in batch.params.items():
            if name not in trial.params:
                storage.set_trial_param(trial_id, name, value, distribution)
        for step, value in batch.intermediate.items():
            storage.set_trial_intermediate_value(trial_id, step, value)
        for key, value in batch.user_attrs.items():
            storage.set_trial_user_attr(trial_id, key, value)
        for key, value in batch.system_attrs.items():
            storage.set_trial_system_attr(trial_id, key, value)
        if batch.state is not None:
            if batch.state == WAITING:
                storage.set_trial_system_attr(trial_id, CLAIM, None)
            storage.set_trial_state_values(trial_id, batch.state, batch.values)

    def seize(self, trial_id: int, claim: Claim) -> None:
        trial = self._get(trial_id)
        if trial.state == WAITING:
            self.storage.set_trial_state_values(trial_id, RUNNING)
        elif trial.state != RUNNING:
            raise ClaimLost(f"trial {trial.number} is {trial.state.name} already")
        self.storage.set_trial_system_attr(trial_id, CLAIM, claim.to_json())

    def recover(self, study_id: int, max_retries: int) -> list[Recovered]:
        found = []
        for trial in self.storage.get_all_trials(study_id, deepcopy=False, states=(RUNNING,)):
            claim = Claim.from_json(trial.system_attrs.get(CLAIM)) or Claim("a worker without a name")
            if time.monotonic() - self._look(trial).since > claim.grace:
                found.append(self._take_back(trial, claim, max_retries))
        return found

    def unheard(self, study_id: int, since: float) -> list[int]:
        running = self.storage.get_all_trials(study_id, deepcopy=False, states=(RUNNING,))
        return [trial.number for trial in running if self._look(trial).heard <= since]

    def now(self) -> float:
        return time.monotonic()  # of this process: there is no other

    def _look(self, trial: FrozenTrial) -> _Sight:
        """Compare the trial's beat with the one seen before."""
        beat = (trial.system_attrs.get(CLAIM), trial.system_attrs.get(BEAT))
        known = self._seen.get(trial._trial_id)
        if known is None or known.beat != beat:
            now = time.monotonic()
            # The first sight starts the stopwatch; only a change is a sign of life.
            self._seen[trial._trial_id] = _Sight(beat, now, float("-inf") if known is None else now)
        return self._seen[trial._trial_id]

    def _take_back(self, trial: FrozenTrial, claim: Claim, max_retries: int) -> Recovered:
        losses = int(trial.system_attrs.get(LOSSES, 0)) + 1
        given_up = losses > max_retries
        storage, trial_id = self.storage, trial._trial_id
        storage.set_trial_system_attr(trial_id, LOSSES, losses)
        storage.set_trial_system_attr(trial_id, CLAIM, None)
        if given_up:
            storage.set_trial_user_attr(trial_id, REASON, lost_reason(claim.worker, losses))
        storage.set_trial_state_values(trial_id, FAIL if given_up else WAITING)
        return Recovered(trial.number, claim.worker, losses, given_up)

    def _holds(self, trial_id: int, claim: Claim) -> bool:
        trial = self._get(trial_id)
        held = Claim.from_json(trial.system_attrs.get(CLAIM))
        return trial.state == RUNNING and held is not None and held.token == claim.token

    def _get(self, trial_id: int) -> FrozenTrial:
        try:
            return self.storage.get_trial(trial_id)
        except KeyError:
            raise ClaimLost("the study was deleted while it was being worked on") from None
