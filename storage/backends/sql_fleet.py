"""Fleet operations as single transactions in SQL: a claim, a beat, a batch of writes, a recovery."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState
from sqlalchemy import Connection

from storage.backends.resilient import ResilientStorage, put_claim
from storage.backends.sql_recovery import SqlRecovery
from storage.backends.sql_rows import apply, lock_trial, set_trial, utc, values_of
from storage.claims import NOBODY, Batch, Claim
from storage.contact import Contact
from storage.errors import ClaimLost
from storage.fleet import Fleet, Recovered
from storage.optuna_internals import lock_study, study_user_attrs, trials
from storage.retry import with_retry
from storage.tables import claims

BEAT_PATIENCE = 1.0  # seconds: a beat that does not get through is given up soon, since the next one is due

RUNNING, WAITING = TrialState.RUNNING, TrialState.WAITING


class SqlFleet(Fleet):
    """`Fleet` over Optuna's tables and `lobtuna_claims`. Each method is one transaction and may be repeated."""

    shares_clock = True  # the database's

    def __init__(self, storage: ResilientStorage) -> None:
        self.storage = storage
        self.engine = storage.engine
        self.dialect = storage.dialect
        self.recovery = SqlRecovery(storage)

    def claim(self, trial_id: int, claim: Claim) -> bool:
        def attempt() -> bool:
            with self.engine.begin() as connection:
                state, _, token = self._lock(connection, trial_id)
                if state != WAITING:
                    return state == RUNNING and token == claim.token
                connection.execute(put_claim(self.dialect, trial_id, claim))
                set_trial(connection, trial_id, state=RUNNING, datetime_start=utc())
                return True

        return self.storage.retry(attempt, "claim")

    def beat(self, trial_id: int, claim: Claim) -> bool:
        def attempt() -> bool:
            with self.engine.begin() as connection:
                own = (claims.c.trial_id == trial_id) & (claims.c.token == claim.token)
                update = claims.update().where(own).values(beat=self.dialect.now)
                if self.dialect.wake_limit is None:
                    return connection.execute(update).rowcount == 1
                return len(connection.execute(update.returning(self.dialect.wake_limit)).all()) == 1

        return with_retry(attempt, BEAT_PATIENCE, what="beat", contact=self.storage.contact)

    def write(self, trial_id: int, claim: Claim, batch: Batch) -> None:
        def attempt() -> None:
            with self.engine.begin() as connection:
                state, number, token = self._lock(connection, trial_id)
                if token is None and state == batch.state and values_of(connection, trial_id) == (batch.values or []):
                    return  # an earlier try was committed though its answer was lost
                if state != RUNNING or token != claim.token:
                    raise ClaimLost(f"trial {number} is not {claim.worker}'s any more: it is {state.name}")
                apply(connection, self.dialect, trial_id, batch)

        self.storage.retry(attempt, "write")

    def seize(self, trial_id: int, claim: Claim) -> None:
        def attempt() -> None:
            with self.engine.begin() as connection:
                state, number, _ = self._lock(connection, trial_id)
                if state.is_finished():
                    raise ClaimLost(f"trial {number} is {state.name} already")
                connection.execute(put_claim(self.dialect, trial_id, claim))
                set_trial(connection, trial_id, state=RUNNING)

        self.storage.retry(attempt, "seize")

    def recover(self, study_id: int, max_retries: int, through: Contact | None = None) -> list[Recovered]:
        contacts = [self.storage.contact] if through is None else [self.storage.contact, through]
        return self.recovery.recover(
            study_id, max_retries, lambda grace, silence: all(c.may_judge(grace, silence) for c in contacts)
        )

    def unheard(self, study_id: int, since: float) -> list[int]:
        query = (
            sa.select(trials.c.number)
            .join(claims, claims.c.trial_id == trials.c.trial_id)
            .where(trials.c.study_id == study_id, trials.c.state == RUNNING)
            # After a clock was set back, a worker's last beat before that lies in the future, and shows nothing.
            .where((claims.c.beat <= since) | (claims.c.beat > self.dialect.now))
            .where(claims.c.worker != NOBODY)  # these get no beats: waiting for them would take an hour
        )

        def look() -> list[int]:
            with self.engine.begin() as connection:
                return list(connection.scalars(query))

        return self.storage.retry(look, "beats")

    def redefine(self, study_id: int, name: str, old: Any, attributes: Mapping[str, Any]) -> bool:
        columns = study_user_attrs.c
        rows = [{"study_id": study_id, "key": key, "value_json": json.dumps(v)} for key, v in attributes.items()]
        put = self.dialect.insert(study_user_attrs).values(rows)
        put = put.on_conflict_do_update(
            index_elements=["study_id", "key"], set_={"value_json": put.excluded["value_json"]}
        )
        query = sa.select(columns.value_json).where(columns.study_id == study_id, columns.key == name)

        def attempt() -> bool:
            with self.storage.session() as session:
                lock_study(session, study_id, self.dialect.wake_limit)
                stored = session.scalar(query)
                found = None if stored is None else json.loads(stored)
                if found == old:
                    session.execute(put)
                return bool(found in (old, json.loads(json.dumps(attributes[name]))))

        return self.storage.retry(attempt, "definition")

    def now(self) -> float:
        def read() -> float:
            with self.engine.begin() as connection:
                return float(connection.execute(sa.select(self.dialect.now)).scalar_one())

        return self.storage.retry(read, "clock")

    def _lock(self, connection: Connection, trial_id: int) -> tuple[TrialState, int, str | None]:
        """State, number and claim token of a trial, which stays locked until the transaction ends."""
        locked = lock_trial(connection, self.dialect, trial_id)
        if locked is None:
            raise ClaimLost("the study was deleted while it was being worked on")
        token: str | None = connection.scalar(sa.select(claims.c.token).where(claims.c.trial_id == trial_id))
        return *locked, token
