"""An Optuna storage for one worker: its running trial is kept in memory and written by a background thread.

Optuna asks a database several times for every suggested parameter, reported epoch and prune decision. With a distant
database that costs minutes a trial. Here the samplers and pruners read a copy; the copy of this worker's own trial is
exact, its copies of other workers' trials are as old as the last read.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Container, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from storage.claims import CLAIM, Batch, Claim
from storage.errors import ClaimLost
from storage.fleet import Fleet
from storage.forwarding import ForwardingStorage
from storage.new_trial import new_trial
from storage.optuna_internals import trial_id_of
from storage.store import Store, StoreStorage
from storage.wanted import ENDED_ALONE, WantedReports
from storage.worker.channel import Channel, Job
from storage.worker.heartbeat import Heartbeat
from storage.worker.others import Others

GATHER = 15.0  # seconds between two commits of reports while a trial runs
LOOK_EVERY = 30.0  # least seconds between two reads of the others' finished trials while a trial runs
FRESH = 0.5  # seconds for which one fetch of all trials serves both the budget and the next ask


class Running:
    """The trial that this worker holds: the exact copy of its record, its claim, beat and channel."""

    def __init__(self, trial: FrozenTrial, claim: Claim, fleet: Fleet) -> None:
        self.trial, self.claim = trial, claim
        self.fleet = fleet
        self.then: list[Callable[[], None]] = []  # to be called after the next read of the others
        self.looking = threading.Lock()
        self.ending = False  # whether the write that ends the trial has been sent
        trial_id = trial_id_of(trial)
        self.channel = Channel(self._write, gather=GATHER)
        self.heartbeat = Heartbeat(lambda: fleet.beat(trial_id, claim), claim.grace, self._lost)

    def _write(self, batch: Batch) -> None:
        if batch.state is not None:
            self.ending = True
        self.fleet.write(trial_id_of(self.trial), self.claim, batch)

    def _lost(self) -> None:
        """End the channel: a beat found no claim. Not once the end of the trial was sent, which may itself have removed
        the claim: if another worker has the trial, `fleet.write` raises `ClaimLost` for that write."""
        if not self.ending:
            self.channel.fail(ClaimLost(f"trial {self.trial.number} was taken over while this worker was silent"))

    def release(self) -> None:
        """Stop beating and writing."""
        self.heartbeat.stop()
        self.channel.close()


class BackgroundStorage(ForwardingStorage, StoreStorage):
    """The storage of `store` for one worker of one study.

    `claim` is the worker's name and grace; each trial gets a fresh token. `patience` is how long the end of a trial
    waits for the database, in seconds. Without `background`, every call waits for its write; only benchmarks need that.
    `attributes` names the user attributes that are read of other workers' trials, `wanted` their reports.
    """

    def __init__(
        self,
        store: Store,
        study_id: int,
        claim: Claim,
        *,
        patience: float = 60.0,
        background: bool = True,
        attributes: Sequence[str] = (),
        wanted: WantedReports = ENDED_ALONE,
    ) -> None:
        super().__init__(store.storage)
        self.store = store
        self.fleet = store.fleet
        self.study_id = study_id
        self.claim = claim
        self.patience = patience
        self.background = background
        self.running: Running | None = None
        self.others = Others(store, study_id, attributes, patience, wanted)
        self._fetched = float("-inf")  # time.monotonic() of the last read, while no trial runs
        self._looked = float("-inf")  # time.monotonic() of the last read

    def sibling(self) -> BackgroundStorage:
        """The same storage for another trial of this process. Both read the others' trials through one copy."""
        twin = copy.copy(self)
        twin.running, twin._fetched = None, float("-inf")
        return twin

    # The running trial ------------------------------------------------------------------------------------------

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if template_trial is not None or study_id != self.study_id:
            return self.inner.create_new_trial(study_id, template_trial)
        claim = self.claim.renewed()
        template = new_trial(-1, -1, datetime.now(), {CLAIM: claim.to_json()})
        trial_id = self.inner.create_new_trial(study_id, template)
        number = self.inner.get_trial_number_from_id(trial_id)
        self._hold(new_trial(number, trial_id, datetime.now()), claim)
        return trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        if state == TrialState.RUNNING:
            claim = self.claim.renewed()
            if not self.fleet.claim(trial_id, claim):
                return False
            self._hold(self.inner.get_trial(trial_id), claim)
            return True
        self._own(trial_id)
        self.end(Batch(state=state, values=None if values is None else list(values)))
        return True

    def put(self, job: Job) -> None:
        """Queue a write, or a function that does more and returns one, for the running trial.

        Raises `ClaimLost` once it is known that the trial is another's.
        """
        running = self._held()
        if isinstance(job, Batch):
            _apply(running.trial, job)
        running.channel.put(job)
        if not self.background:
            running.channel.flush(self.patience)

    def refresh(self, then: Callable[[], None] = lambda: None) -> None:
        """Fetch what the other workers have finished, in the background, and call `then` from there.

        While one such fetch is still queued, a further one joins it.
        """
        running = self._held()
        self._looked = time.monotonic()
        with running.looking:
            running.then.append(then)
            if len(running.then) > 1:
                return

        def fetch() -> None:
            with running.looking:
                calls, running.then = running.then, []
            self.others.read(running=False)
            for call in calls:
                call()

        self.put(fetch)

    def refresh_due(self) -> bool:
        """Whether the last read of the others is at least `LOOK_EVERY` seconds ago."""
        return time.monotonic() - self._looked >= LOOK_EVERY

    def end(self, batch: Batch, patience: float | None = None) -> None:
        """Commit all that is queued, then `batch`, which ends the trial; wait for it.

        Raises `DatabaseUnavailable` after `patience` seconds, the storage's own where none is given. The trial is then
        still held, and `end(Batch())` continues to wait.
        """
        running = self._held()
        if batch:
            running.channel.put(batch)
        running.channel.flush(self.patience if patience is None else patience)
        self.drop()

    def hurry(self) -> None:
        """From now on, repeat a write of the running trial that an outage delays after short pauses alone."""
        self._held().channel.hurry()

    def drop(self) -> None:
        """Let go of the running trial without writing anything more to the database."""
        if self.running is not None:
            self.running.release()
            self.running = None
        self._fetched = float("-inf")

    def own(self) -> FrozenTrial:
        """The record of the trial that runs here, as it will be in the database. Raises `RuntimeError` without one."""
        return self._held().trial

    def forget_reports(self, epoch: int) -> None:
        """Before a resumed run repeats them: pruning must not see reports from `epoch` on. They are overwritten."""
        reports = self._held().trial.intermediate_values
        for step in [step for step in reports if step >= epoch]:
            del reports[step]

    def want(self, wanted: WantedReports) -> None:
        """Read these reports of the others' trials from now on; the next trial is asked for after such a read."""
        self.others.want(wanted)
        self.forget()

    def forget(self) -> None:
        """Fetch all trials again before the next one is asked for."""
        self._fetched = float("-inf")

    def _hold(self, trial: FrozenTrial, claim: Claim) -> None:
        self.drop()
        self.running = Running(copy.deepcopy(trial), claim, self.fleet)

    def _held(self) -> Running:
        if self.running is None:
            raise RuntimeError("no trial is running here")
        return self.running

    def _own(self, trial_id: int) -> FrozenTrial:
        trial = self._held().trial
        if trial_id_of(trial) != trial_id:
            raise RuntimeError(f"trial {trial_id} is not the one that runs here")
        return trial

    # What Optuna writes about it --------------------------------------------------------------------------------

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._own(trial_id)
        self.put(Batch(params={param_name: (param_value_internal, distribution)}))

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._own(trial_id)
        self.put(Batch(intermediate={step: intermediate_value}))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._own(trial_id)
        self.put(Batch(user_attrs={key: value}))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._own(trial_id)
        self.put(Batch(system_attrs={key: value}))

    # Reads ------------------------------------------------------------------------------------------------------

    def get_trial(self, trial_id: int) -> FrozenTrial:
        if self.running is not None and trial_id_of(self.running.trial) == trial_id:
            return copy.deepcopy(self.running.trial)
        return self.inner.get_trial(trial_id)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if study_id != self.study_id:
            return self.inner.get_all_trials(study_id, deepcopy, states)
        if self.running is None and time.monotonic() - self._fetched > FRESH:
            self.others.read()
            self._fetched = self._looked = time.monotonic()
        trials = self._with_own(self.others.trials)
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def known(self) -> list[FrozenTrial]:
        """All trials by number as they were last read, with this worker's own; reads nothing."""
        return self._with_own(self.others.trials)

    def _with_own(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        if self.running is None:
            return trials
        own = self.running.trial
        others = [trial for trial in trials if trial.number != own.number]
        return sorted([*others, own], key=lambda trial: trial.number)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        if self.running is not None and study_id == self.study_id and self.running.trial.number == trial_number:
            return trial_id_of(self.running.trial)
        return self.inner.get_trial_id_from_study_id_trial_number(study_id, trial_number)


def _apply(trial: FrozenTrial, batch: Batch) -> None:
    """The same writes to the copy in memory."""
    for name, (value, distribution) in batch.params.items():
        trial.params[name] = distribution.to_external_repr(value)
        trial.distributions[name] = distribution
    trial.intermediate_values.update(batch.intermediate)
    trial.user_attrs.update(batch.user_attrs)
    trial.system_attrs.update(batch.system_attrs)
