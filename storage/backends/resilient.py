"""Optuna's database storage, made to outlive outages: every call is retried, and repeating one changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from storage.claims import CLAIM, Claim
from storage.retry import with_retry
from storage.tables import claims, now

T = TypeVar("T")

# Each of these is one transaction that may be repeated: reads, upserts and deletes.
REPEATABLE = (
    "delete_study",
    "set_study_user_attr",
    "set_study_system_attr",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "get_study_directions",
    "get_all_studies",
    "_set_trial_param",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "get_trial_param",
    "get_trial_id_from_study_id_trial_number",
    "get_trial",
    "get_trial_user_attrs",
    "get_trial_system_attrs",
    "_get_trials",
    "_get_best_trial_id",
    "record_heartbeat",
)


class ResilientStorage(RDBStorage):
    """`RDBStorage` whose calls are tried again for `patience` seconds while the database is away."""

    def __init__(self, url: str, *, patience: float, **options: Any) -> None:
        self.patience = patience
        super().__init__(url, **options)

    def retry(self, call: Callable[[], T], what: str = "") -> T:
        """Run one transaction, again after an outage. Raises `DatabaseUnavailable` when the patience is spent."""
        return with_retry(call, self.patience, what=what)

    def create_new_study(self, directions: Sequence[Any], study_name: str | None = None) -> int:
        # An ambiguous commit makes the repeat say "duplicate"; whoever made the study, it is there to be loaded.
        return self.retry(lambda: RDBStorage.create_new_study(self, directions, study_name))

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        claim, template_trial = _take_claim(template_trial)
        attempts = int(claim is not None and claim.again)

        def attempt() -> FrozenTrial:
            nonlocal attempts
            attempts += 1
            with _create_scoped_session(self.scoped_session) as session:
                # Locks the study: numbers are counted, and a repeat must see what the first try committed.
                models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
                trial = _already_created(session, claim) if attempts > 1 and claim else None
                if trial is None:
                    trial = self._get_prepared_new_trial(study_id, template_trial, session)
                    if claim is not None:  # in the same transaction: no moment without an owner
                        session.execute(insert_claim(self.engine, int(trial.trial_id), claim))
                return _frozen(trial, template_trial)

        return self.retry(attempt, "ask")

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        attempts = 0

        def attempt() -> bool:
            nonlocal attempts
            attempts += 1
            try:
                return RDBStorage.set_trial_state_values(self, trial_id, state, values)
            except UpdateFinishedTrialError:
                if attempts > 1 and self._has_outcome(trial_id, state, values):
                    return True  # the first try was committed though its answer was lost
                raise

        return self.retry(attempt, "tell")

    def _has_outcome(self, trial_id: int, state: TrialState, values: Sequence[float] | None) -> bool:
        trial = RDBStorage.get_trial(self, trial_id)
        return trial.state == state and trial.values == (None if values is None else list(values))


def _repeatable(name: str) -> Callable[..., Any]:
    original = getattr(RDBStorage, name)

    def method(self: ResilientStorage, *args: Any, **kwargs: Any) -> Any:
        return self.retry(lambda: original(self, *args, **kwargs), name)

    method.__name__, method.__doc__ = name, original.__doc__
    return method


for _name in REPEATABLE:
    setattr(ResilientStorage, _name, _repeatable(_name))


def _take_claim(template: FrozenTrial | None) -> tuple[Claim | None, FrozenTrial | None]:
    """The claim that came with a new trial, as an attribute since Optuna's interface has no other room for it."""
    if template is None or CLAIM not in template.system_attrs:
        return None, template
    rest = copy.deepcopy(template)
    claim = Claim.from_json(rest.system_attrs.pop(CLAIM))
    empty = not (rest.params or rest.user_attrs or rest.system_attrs or rest.intermediate_values)
    return claim, None if empty and rest.state == TrialState.RUNNING else rest


def insert_claim(engine: sqlalchemy.Engine, trial_id: int, claim: Claim) -> sqlalchemy.Insert:
    """The statement that records `claim`, its first beat included."""
    return claims.insert().values(
        trial_id=trial_id, token=claim.token, worker=claim.worker, grace=claim.grace, beat=now(engine)
    )


def _already_created(session: Session, claim: Claim) -> Any:
    """The trial that an earlier try with this claim committed, if it did."""
    return session.scalars(
        sqlalchemy.select(models.TrialModel)
        .join(claims, claims.c.trial_id == models.TrialModel.trial_id)
        .where(claims.c.token == claim.token)
    ).one_or_none()


def _frozen(trial: Any, template: FrozenTrial | None) -> FrozenTrial:
    """The trial as Optuna's cache wants it back: the template with the number it was given."""
    if template is not None:
        frozen = copy.deepcopy(template)
        frozen.number, frozen._trial_id = trial.number, trial.trial_id
        frozen.datetime_start = trial.datetime_start
        return frozen
    return FrozenTrial(
        number=trial.number,
        state=trial.state,
        value=None,
        datetime_start=trial.datetime_start,
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
        trial_id=trial.trial_id,
    )
