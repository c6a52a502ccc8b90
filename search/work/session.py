"""One worker's session with one study: its definition, its trials, its artifacts."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from importlib.metadata import version

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from lobmodels.config import RunConfig
from lobmodels.data import Dataset
from search.errors import SearchError, StudyDeletedError
from search.study.budget import spent, without_end
from search.study.create import CHANGEABLE, bind_data, is_duplicate_of_earlier
from search.study.feasible import require_trainable
from search.study.further import repeat
from search.study.open import SEEDS, load_study, spec_of
from search.study.plan import EnsemblePlan
from search.study.plugins import check_plugins, stored_plugins
from search.study.pruners import wanted_reports
from search.study.record import (
    BASELINE,
    CHECKPOINT,
    CONFIGURATION,
    CONTINUES,
    DEVICE,
    DUPLICATE,
    FAILURE,
    FINGERPRINT,
    FOLD,
    IMPORTED,
    KEPT_STATE,
    KEY,
    REFIT,
    SECONDS,
    SEED,
    VERSION,
)
from search.study.repeated import MOST, ran_before
from search.study.replication import identity
from search.study.second_look import queue_second_look, worth_keeping
from search.studyfile.spec import StudySpec
from search.studyfile.terms import BudgetSpec
from search.work.events import Emit, Event
from storage.artifacts import Artifacts
from storage.claims import REASON, Batch, Claim
from storage.fleet import Recovered
from storage.optuna_internals import study_id_of, trial_id_of
from storage.store import artifacts_of, store_of
from storage.worker.background import BackgroundStorage

# What is read of other trials: for the budget, the pruner, the room for checkpoints, and to know what ran before.
NEEDED = (SECONDS, REASON, FAILURE, IMPORTED, CHECKPOINT, DEVICE, BASELINE, KEY, KEPT_STATE, CONTINUES)
IDENTITY = (SEED, FOLD, REFIT)  # with the key: what makes two replicates the same run


@dataclass
class StudySession:
    """What a worker needs of one study. `study` asks through `storage`, which holds at most one running trial."""

    spec: StudySpec
    study: optuna.Study
    storage: BackgroundStorage
    artifacts: Artifacts
    plan: EnsemblePlan | None = None
    last_recovery: float = float("-inf")  # time.monotonic()
    siblings: list[StudySession] = field(default_factory=list)

    @staticmethod
    def open(inner: BaseStorage, name: str, claim: Claim, *, patience: float, background: bool = True) -> StudySession:
        """Open the study `name`. Raises `SearchError` where there is none, or another version created it."""
        stored = load_study(inner, name)
        spec = spec_of(stored)
        require_version(stored)
        study_id = study_id_of(stored)
        storage = BackgroundStorage(
            store_of(inner),
            study_id,
            claim,
            patience=patience,
            background=background,
            attributes=NEEDED + (IDENTITY if name.endswith(SEEDS) else ()),
            wanted=wanted_reports(spec),
        )
        study = optuna.Study(name, storage, sampler=stored.sampler, pruner=stored.pruner)
        return StudySession(spec, study, storage, artifacts_of(stored), EnsemblePlan.of(stored.user_attrs))

    def sibling(self) -> StudySession:
        """The same session for another trial at once: what it reads of other workers' trials is shared."""
        study = self.study
        storage = self.storage.sibling()
        twin = optuna.Study(study.study_name, storage, copy.deepcopy(study.sampler), copy.deepcopy(study.pruner))
        self.siblings.append(StudySession(self.spec, twin, storage, self.artifacts, self.plan))
        return self.siblings[-1]

    @property
    def name(self) -> str:
        """The study's name."""
        return self.study.study_name

    def bind(self, dataset: Dataset) -> None:
        """Bind the study to this worker's data. Raises `SearchError` where it is bound to other data, or where none of
        its configurations can be trained on it, `PluginError` where a network of a plugin cannot read it."""
        require_trainable(self.spec, dataset, created=True)
        if FINGERPRINT not in self.study.user_attrs and not dataset.schema.is_challenge:
            # `create` was not told of this data, and checked the plugins with the challenge's columns and targets
            check_plugins(self.spec, stored_plugins(self.study.user_attrs), dataset.schema)
        bind_data(self.study, dataset.fingerprint, dataset.schema)
        bind_data(self.study, dataset.fingerprint)  # again: of two first workers that write at once, the later counts

    def trials(self) -> list[FrozenTrial]:
        """All trials. Raises `StudyDeletedError` where the study was deleted."""
        try:
            return self.storage.get_all_trials(study_id_of(self.study), deepcopy=False)
        except KeyError:
            raise StudyDeletedError(f"study {self.name!r} was deleted while this worker worked on it") from None

    def adopt(self, terms: StudySpec) -> list[str]:
        """Follow what `create --revise` has changed in place: budget, retries, checkpoints. Returns what differs.

        Called from another thread than the one that trains: the spec is replaced as a whole, once the trials will be
        read as it needs them.
        """
        changed = [name for name in CHANGEABLE if getattr(terms, name) != getattr(self.spec, name)]
        if changed:
            spec = self.spec.model_copy(update={name: getattr(terms, name) for name in changed})
            wanted = wanted_reports(spec)
            for session in (self, *self.siblings):
                session.storage.want(wanted)
                session.spec = spec
        return [name for name in changed if name != "question"]

    def terms_in(self, document: object) -> StudySpec | None:
        """The stored `document` as this study's definition; None where it is none, or differs in what never changes.

        Then it is that of another study: in a SQLite file whose tables plain Optuna or an earlier lobtuna made, the
        study that is created after a deletion has the id of the deleted one.
        """
        if not isinstance(document, dict) or document.get("name") != self.spec.name:
            return None
        terms = StudySpec.from_stored(document, f"the stored definition of study {self.name!r}")
        own = {name: getattr(self.spec, name) for name in CHANGEABLE}
        return terms if terms.model_copy(update=own) == self.spec else None

    def follow(self, plan: EnsemblePlan | None) -> None:
        """The plan that says what share of the budget the search has."""
        for session in (self, *self.siblings):
            session.plan = plan

    def ran_before(self, config: RunConfig) -> FrozenTrial | None:
        """The earlier trial that makes the running one, if it has not begun yet, a repetition.

        None in a study of replicates, and in one whose trials all have one configuration: there runs are repeated on
        purpose.
        """
        own = self.storage.own()
        begun = CONFIGURATION in own.user_attrs or CONTINUES in own.user_attrs
        if begun or self.name.endswith(SEEDS) or not self.spec.searched():
            return None
        return ran_before(self.trials(), config.key(), own.number)

    def repeat(self, earlier: FrozenTrial) -> bool:
        """Queue a replicate of a trial; False where it is not complete, or has enough of them."""
        if earlier.state != TrialState.COMPLETE:
            return False
        return repeat(load_study(self.storage.inner, self.name), earlier.number, MOST, self.storage.own().number)

    def spent(self) -> str | None:
        """Why the study's budget, or the search's share of it where there is a plan, allows no further trial."""
        return spent(self._budget(), self.trials())

    def _budget(self) -> BudgetSpec:
        return self.spec.budget if self.plan is None else self.plan.search_budget(self.spec.budget)

    def look_again(self) -> bool:
        """In the last part of the budget: queue the most promising pruned run again; False where there is none."""
        share = self.spec.second_look.share
        if not share or spent(without_end(self._budget(), share), self.trials()) is None:
            return False
        if not worth_keeping(self.trials(), self.spec):
            return False
        plain = load_study(self.storage.inner, self.name)  # `study` would take what it only has to queue
        there = {entry.artifact_id for entry in self.artifacts.entries()}
        queued = queue_second_look(plain, self.spec, there) is not None
        self.storage.forget()
        return queued

    def recover(self, every: float) -> list[Recovered]:
        """Queue the trials of silent workers again; returns them. Empty within `every` seconds of the last time."""
        if time.monotonic() - self.last_recovery < every:
            return []
        self.last_recovery = time.monotonic()
        found = self.storage.fleet.recover(study_id_of(self.study), self.spec.max_retries)
        if found:
            self.storage.forget()
        return found

    def ask(self) -> optuna.Trial:
        """Take the first queued trial, or begin a new one. Raises `StudyDeletedError` where the study was deleted."""
        if self.storage.running is not None:
            return self._held()
        if not any(trial.state == TrialState.WAITING for trial in self.trials()):
            self.look_again()
        try:
            return self.study.ask()
        except KeyError:
            raise StudyDeletedError(f"study {self.name!r} was deleted while this worker worked on it") from None

    def take(self) -> optuna.Trial | None:
        """Take the first queued replicate, or None. Unlike `ask`, never begins a new one: replicates are only queued.

        Two processes may queue the same one at once, and be killed before one of the two is withdrawn: the worker that
        has taken the later one withdraws it.
        """
        while self._take_queued():
            trial = self._held()
            if not is_duplicate_of_earlier(load_study(self.storage.inner, self.name), trial.number, identity):
                return trial
            self.storage.end(Batch(user_attrs={REASON: DUPLICATE}, state=TrialState.FAIL))
        return None

    def _take_queued(self) -> bool:
        """Hold a queued trial; False where there is none."""
        if self.storage.running is not None:
            return True
        waiting = (trial for trial in self.trials() if trial.state == TrialState.WAITING)
        return any(self.storage.set_trial_state_values(trial_id_of(trial), TrialState.RUNNING) for trial in waiting)

    def _held(self) -> optuna.Trial:
        """The trial that this session holds. One that was taken a moment before an outage is held all the same, and is
        the one to go on with: nobody else may take it, and while it is held no trial is read again."""
        return optuna.Trial(self.study, trial_id_of(self.storage.own()))


def require_version(study: optuna.Study) -> None:
    """Raise `SearchError` where the study was created by a version of lobtuna whose runs may differ from this one's."""
    made, here = study.user_attrs.get(VERSION), version("lobtuna")
    if made is None or made.split(".")[:2] == here.split(".")[:2]:
        return
    raise SearchError(
        f"study {study.study_name!r} was created by lobtuna {made}, this is {here}: their runs may differ; "
        f"use a wheel of lobtuna {made} (lobtuna wheel writes one where it is installed), or create the study anew"
    )


def recover(session: StudySession, every: float, emit: Emit) -> int:
    """`session.recover`, with an event for each trial; returns how many were queued again."""
    found = session.recover(every)
    for trial in found:
        what = "given up" if trial.given_up else "queued again"
        emit(Event("recovered", session.name, trial.number, text=f"{trial.worker} fell silent: {what}"))
    return sum(not trial.given_up for trial in found)
