"""Optuna's database storage with retries: a call is repeated after an outage, and repeating it changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from storage.claims import CLAIM, Claim
from storage.contact import Contact
from storage.dialect import Dialect
from storage.new_trial import new_trial
from storage.optuna_internals import OptunaDatabase, delete_study_rows, identify, lock_study, trial_rows, trials
from storage.retry import with_retry
from storage.tables import claims

T = TypeVar("T")

# Each of these is one transaction that may be repeated: reads and upserts.
REPEATABLE = (
    "set_study_user_attr",
    "set_study_system_attr",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_user_attrs",
    "get_study_system_attrs",
    "get_study_directions",
    "get_all_studies",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "get_trial_param",
    "get_trial_id_from_study_id_trial_number",
    "get_trial",
    "get_trial_user_attrs",
    "get_trial_system_attrs",
    "record_heartbeat",
    *OptunaDatabase.PRIVATE_TRANSACTIONS,
)


class ResilientStorage(OptunaDatabase):
    """`RDBStorage` that repeats calls for up to `patience` seconds while the database cannot be reached."""

    def __init__(self, url: str, engine_kwargs: dict[str, Any], *, dialect: Dialect, patience: float) -> None:
        self.dialect = dialect
        self.patience = patience
        self.contact = Contact()
        super().__init__(url, engine_kwargs)

    def retry(self, call: Callable[[], T], what: str = "") -> T:
        """Run one transaction, again after an outage. Raises `DatabaseUnavailable` when the patience is spent."""
        return with_retry(call, self.patience, what=what, contact=self.contact)

    def create_new_study(self, directions: Sequence[Any], study_name: str | None = None) -> int:
        # A commit whose answer was lost makes the repeat raise "duplicate": the study is there and can be loaded.
        return self.retry(lambda: RDBStorage.create_new_study(self, directions, study_name))

    def delete_study(self, study_id: int) -> None:
        """Delete a study, also beside its workers, who learn it with their next write. Raises `KeyError` for none.

        Optuna's own lets them write meanwhile, takes the error that their rows then make for success, and has deleted
        nothing.
        """
        attempts = 0

        def attempt() -> None:
            nonlocal attempts
            attempts += 1
            with self.session() as session:
                try:
                    lock_study(session, study_id, self.dialect.wake_limit)
                except KeyError:
                    if attempts > 1:
                        return  # the first try was committed though its answer was lost
                    raise
                delete_study_rows(session, study_id)

        self.retry(attempt, "delete_study")

    def store_new_trial(self, study_id: int, template: FrozenTrial | None) -> FrozenTrial:
        """Create a trial together with the claim that its template may carry, once, however often it is tried."""
        claim, template = _take_claim(template)
        attempts = int(claim is not None and claim.again)

        def attempt() -> FrozenTrial:
            nonlocal attempts
            attempts += 1
            with self.session() as session:
                lock_study(session, study_id, self.dialect.wake_limit)  # a repeat must see what the first committed
                row = _already_created(session, claim) if attempts > 1 and claim else None
                if row is None:
                    row = self.insert_trial(session, study_id, template)
                    if claim is not None:  # in the same transaction: the trial never exists without an owner
                        session.execute(put_claim(self.dialect, int(row.trial_id), claim))
                return _frozen(row, template)

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


def put_claim(dialect: Dialect, trial_id: int, claim: Claim) -> Any:
    """The statement that records `claim` in place of any other, its first beat included.

    There may already be a row of a deleted trial: SQLite reuses the ids of deleted trials, and plain Optuna, which
    deletes without enforcing foreign keys, leaves our rows behind.
    """
    row = {"token": claim.token, "worker": claim.worker, "grace": claim.grace, "beat": dialect.now}
    statement = dialect.insert(claims).values(trial_id=trial_id, **row)
    return statement.on_conflict_do_update(index_elements=["trial_id"], set_=row)


def _take_claim(template: FrozenTrial | None) -> tuple[Claim | None, FrozenTrial | None]:
    """The claim carried by a new trial's template (Optuna's interface has no argument for it), and the rest of it."""
    if template is None or CLAIM not in template.system_attrs:
        return None, template
    rest = copy.deepcopy(template)
    claim = Claim.from_json(rest.system_attrs.pop(CLAIM))
    empty = not (rest.params or rest.user_attrs or rest.system_attrs or rest.intermediate_values)
    return claim, None if empty and rest.state == TrialState.RUNNING else rest


def _already_created(session: Session, claim: Claim) -> Any:
    """The trial that an earlier try with this claim committed, if it did."""
    query = trial_rows().join(claims, claims.c.trial_id == trials.c.trial_id).where(claims.c.token == claim.token)
    return session.scalars(query).one_or_none()


def _frozen(row: Any, template: FrozenTrial | None) -> FrozenTrial:
    """The trial as Optuna's cache expects it: the template with the number and the id it was given."""
    if template is None:
        return new_trial(row.number, row.trial_id, row.datetime_start)
    frozen = identify(copy.deepcopy(template), row.number, row.trial_id)
    frozen.datetime_start = row.datetime_start
    return frozen
