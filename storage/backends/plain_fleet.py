"""Fleet operations through Optuna's interface alone, for storages without SQL: journals."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from storage.claims import BEAT, CLAIM, DEFAULT_GRACE, NOBODY, UNCLAIMED_GRACE, Batch, Claim, Losses
from storage.contact import Contact
from storage.errors import ClaimLost
from storage.fleet import Fleet, Recovered
from storage.optuna_internals import trial_id_of

RUNNING, WAITING, FAIL = TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL


@dataclass(frozen=True)
class _Sight:
    """What an observer saw of a trial's claim and beat, by time.monotonic()."""

    beat: object
    since: float  # when this beat was first seen
    heard: float  # when a beat was last seen to change; minus infinity where none was


class PlainFleet(Fleet):
    """Fleet operations through Optuna's interface alone, for journals.

    There is no clock all workers share, so a beat is a counter: a worker is silent when an observer has seen the same
    count for the claim's whole grace by its own stopwatch. Claim and write are several appends, not one transaction;
    that is enough for processes that share a file. `alone` is a lock that one process holds at a time; without it, two
    that define one study at the same moment are not kept apart.
    """

    shares_clock = False

    def __init__(self, storage: BaseStorage, alone: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self.storage = storage
        self.alone = alone
        self.contact = Contact()
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
        for name, (value, distribution) in batch.params.items():
            if name not in trial.params:
                self.storage.set_trial_param(trial_id, name, value, distribution)
        self._append(trial_id, batch)

    def _append(self, trial_id: int, batch: Batch) -> None:
        storage = self.storage
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

    def recover(self, study_id: int, max_retries: int, through: Contact | None = None) -> list[Recovered]:
        contacts = [self.contact] if through is None else [self.contact, through]
        found = []
        for trial in self._running(study_id):
            claim = _claim_of(trial)
            judged = DEFAULT_GRACE if claim.worker == NOBODY else claim.grace
            silence = time.monotonic() - self._look(trial).since
            if silence > claim.grace and all(contact.may_judge(judged, silence) for contact in contacts):
                found.append(self._take_back(trial, claim, max_retries))
        return found

    def unheard(self, study_id: int, since: float) -> list[int]:
        claimed = [trial for trial in self._running(study_id) if _claim_of(trial).worker != NOBODY]
        return [trial.number for trial in claimed if self._look(trial).heard <= since]

    def redefine(self, study_id: int, name: str, old: Any, attributes: Mapping[str, Any]) -> bool:
        new = json.loads(json.dumps(attributes[name]))
        with self.alone():
            found = self.storage.get_study_user_attrs(study_id).get(name)
            if found == old:
                for key in sorted(attributes, key=lambda key: key == name):  # `name` last: with it the rest is there
                    self.storage.set_study_user_attr(study_id, key, attributes[key])
            return found in (old, new)

    def now(self) -> float:
        return time.monotonic()  # this process's own clock: a journal has none

    def _running(self, study_id: int) -> list[FrozenTrial]:
        running = self.storage.get_all_trials(study_id, deepcopy=False, states=(RUNNING,))
        self.contact.answered()
        return running

    def _look(self, trial: FrozenTrial) -> _Sight:
        """Compare the trial's beat with the last one seen; without a claim, a new report counts as a beat."""
        trial_id = trial_id_of(trial)
        claim = trial.system_attrs.get(CLAIM)
        beat = (claim, trial.system_attrs.get(BEAT) if claim else trial.last_step)
        known = self._seen.get(trial_id)
        if known is None or known.beat != beat:
            now = time.monotonic()
            # The first observation only starts the stopwatch; a change shows that the worker is alive.
            self._seen[trial_id] = _Sight(beat, now, float("-inf") if known is None else now)
        return self._seen[trial_id]

    def _take_back(self, trial: FrozenTrial, claim: Claim, max_retries: int) -> Recovered:
        losses = Losses.of(trial.system_attrs).one_more(-1 if trial.last_step is None else trial.last_step)
        batch = losses.taken_back(claim.worker, max_retries)
        batch.system_attrs[CLAIM] = None
        self._append(trial_id_of(trial), batch)
        return Recovered(trial.number, claim.worker, losses.fruitless, batch.state == FAIL)

    def _holds(self, trial_id: int, claim: Claim) -> bool:
        trial = self._get(trial_id)
        held = Claim.from_json(trial.system_attrs.get(CLAIM))
        return trial.state == RUNNING and held is not None and held.token == claim.token

    def _get(self, trial_id: int) -> FrozenTrial:
        try:
            trial = self.storage.get_trial(trial_id)
            self.contact.answered()
            return trial
        except KeyError:
            raise ClaimLost("the study was deleted while it was being worked on") from None


def _claim_of(trial: FrozenTrial) -> Claim:
    """The trial's claim, or one of `NOBODY` where it has none."""
    return Claim.from_json(trial.system_attrs.get(CLAIM)) or Claim(NOBODY, UNCLAIMED_GRACE)
