"""Fleet operations as single transactions in SQL: a claim, a beat, a batch of writes, a recovery."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from storage.backends.resilient import ResilientStorage, insert_claim
from storage.claims import LOSSES, REASON, Batch, Claim, lost_reason
from storage.errors import ClaimLost
from storage.fleet import Recovered
from storage.retry import with_retry
from storage.tables import claims, now

trials: sa.Table = models.TrialModel.__table__
params: sa.Table = models.TrialParamModel.__table__
outcomes: sa.Table = models.TrialValueModel.__table__
reports: sa.Table = models.TrialIntermediateValueModel.__table__
user_attrs: sa.Table = models.TrialUserAttributeModel.__table__
system_attrs: sa.Table = models.TrialSystemAttributeModel.__table__

BEAT_PATIENCE = 1.0  # seconds

RUNNING, WAITING, FAIL = TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL


class SqlFleet:
    """`Fleet` over Optuna's tables and `lobtuna_claims`. Each method is one transaction and may be repeated."""

    def __init__(self, storage: ResilientStorage) -> None:
        self.storage = storage
        self.engine = storage.engine

    def claim(self, trial_id: int, claim: Claim) -> bool:
        def attempt() -> bool:
            with self.engine.begin() as connection:
                state, _, token = self._lock(connection, trial_id)
                if state != WAITING:
                    return state == RUNNING and token == claim.token
                connection.execute(claims.delete().where(claims.c.trial_id == trial_id))
                connection.execute(insert_claim(self.engine, trial_id, claim))
                _set_trial(connection, trial_id, state=RUNNING, datetime_start=_utc())
                return True

        return self.storage.retry(attempt, "claim")

    def beat(self, trial_id: int, claim: Claim) -> bool:
        def attempt() -> bool:
            with self.engine.begin() as connection:
                own = (claims.c.trial_id == trial_id) & (claims.c.token == claim.token)
                return connection.execute(claims.update().where(own).values(beat=now(self.engine))).rowcount == 1

        # Late is as good as never: a short try, and the next beat is due soon.
        return with_retry(attempt, BEAT_PATIENCE, what="beat")

    def write(self, trial_id: int, claim: Claim, batch: Batch) -> None:
        def attempt() -> None:
            with self.engine.begin() as connection:
                state, number, token = self._lock(connection, trial_id)
                if token is None and state == batch.state and _values(connection, trial_id) == (batch.values or []):
                    return  # an earlier try was committed though its answer was lost
                if state != RUNNING or token != claim.token:
                    raise ClaimLost(f"trial {number} is not {claim.worker}'s any more: it is {state.name}")
                self._apply(connection, trial_id, batch)

        self.storage.retry(attempt, "write")

    def seize(self, trial_id: int, claim: Claim) -> None:
        def attempt() -> None:
            with self.engine.begin() as connection:
                state, number, _ = self._lock(connection, trial_id)
                if state.is_finished():
                    raise ClaimLost(f"trial {number} is {state.name} already")
                connection.execute(claims.delete().where(claims.c.trial_id == trial_id))
                connection.execute(insert_claim(self.engine, trial_id, claim))
                _set_trial(connection, trial_id, state=RUNNING)

        self.storage.retry(attempt, "seize")

    def recover(self, study_id: int, max_retries: int) -> list[Recovered]:
        silent = self._silent().where(trials.c.study_id == study_id)

        def look() -> list[int]:
            with self.engine.begin() as connection:
                return list(connection.scalars(silent.with_only_columns(trials.c.trial_id)))

        taken = [self._take_back(trial_id, max_retries) for trial_id in self.storage.retry(look, "recover")]
        return [trial for trial in taken if trial is not None]

    def unheard(self, study_id: int, since: float) -> list[int]:
        query = (
            sa.select(trials.c.number)
            .join(claims, claims.c.trial_id == trials.c.trial_id)
            .where(trials.c.study_id == study_id, trials.c.state == RUNNING, claims.c.beat <= since)
        )

        def look() -> list[int]:
            with self.engine.begin() as connection:
                return list(connection.scalars(query))

        return self.storage.retry(look, "beats")

    def now(self) -> float:
        def read() -> float:
            with self.engine.begin() as connection:
                return float(connection.execute(sa.select(now(self.engine))).scalar_one())

        return self.storage.retry(read, "clock")

    def _silent(self) -> sa.Select[Any]:
        """Running trials whose claim has had no beat for its grace, by the database's clock.

        Nobody could beat while a server was down: its start counts as a beat of everyone.
        """
        last: sa.ColumnElement[float] = claims.c.beat
        if self.engine.dialect.name == "postgresql":
            last = sa.func.greatest(last, sa.func.extract("epoch", sa.func.pg_postmaster_start_time()))
        return (
            sa.select(trials.c.number, claims.c.worker)
            .join(claims, claims.c.trial_id == trials.c.trial_id)
            .where(trials.c.state == RUNNING)
            .where(now(self.engine) - last > claims.c.grace)
        )

    def _take_back(self, trial_id: int, max_retries: int) -> Recovered | None:
        def attempt() -> Recovered | None:
            with self.engine.begin() as connection:
                query = self._silent().where(trials.c.trial_id == trial_id)
                row = connection.execute(query.with_for_update(of=trials)).one_or_none()
                if row is None:
                    return None  # it beat after all, or another worker was quicker
                losses = 1 + _attribute(connection, trial_id, LOSSES, 0)
                given_up = losses > max_retries
                batch = Batch(system_attrs={LOSSES: losses}, state=FAIL if given_up else WAITING)
                if given_up:
                    batch.user_attrs[REASON] = lost_reason(row.worker, losses)
                self._apply(connection, trial_id, batch)
                return Recovered(row.number, row.worker, losses, given_up)

        return self.storage.retry(attempt, "recover")

    def _lock(self, connection: Connection, trial_id: int) -> tuple[TrialState, int, str | None]:
        """State, number and claim token of a trial, which stays locked until the transaction ends."""
        query = (
            sa.select(trials.c.state, trials.c.number, claims.c.token)
            .outerjoin(claims, claims.c.trial_id == trials.c.trial_id)
            .where(trials.c.trial_id == trial_id)
        )
        row = connection.execute(query.with_for_update(of=trials)).one_or_none()
        if row is None:
            raise ClaimLost("the study was deleted while it was being worked on")
        return row.state, row.number, row.token

    def _apply(self, connection: Connection, trial_id: int, batch: Batch) -> None:
        json_of = {name: (value, distribution_to_json(d)) for name, (value, d) in batch.params.items()}
        rows = [{"param_name": n, "param_value": v, "distribution_json": d} for n, (v, d) in json_of.items()]
        self._upsert(connection, params, trial_id, ("param_name",), rows)
        self._upsert(connection, user_attrs, trial_id, ("key",), _attribute_rows(batch.user_attrs))
        self._upsert(connection, system_attrs, trial_id, ("key",), _attribute_rows(batch.system_attrs))
        represent = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
        stored = {step: represent(value) for step, value in batch.intermediate.items()}
        rows = [
            {"step": step, "intermediate_value": value, "intermediate_value_type": kind}
            for step, (value, kind) in stored.items()
        ]
        self._upsert(connection, reports, trial_id, ("step",), rows)
        if batch.state is not None:
            self._end_claim(connection, trial_id, batch.state, batch.values)

    def _end_claim(self, connection: Connection, trial_id: int, state: TrialState, values: list[float] | None) -> None:
        rows = []
        for objective, value in enumerate(values or ()):
            stored, kind = models.TrialValueModel.value_to_stored_repr(value)
            rows.append({"objective": objective, "value": stored, "value_type": kind})
        self._upsert(connection, outcomes, trial_id, ("objective",), rows)
        connection.execute(claims.delete().where(claims.c.trial_id == trial_id))
        times = {"datetime_complete": _utc()} if state.is_finished() else {}
        _set_trial(connection, trial_id, state=state, **times)

    def _upsert(
        self,
        connection: Connection,
        table: sa.Table,
        trial_id: int,
        key: tuple[str, ...],
        rows: list[dict[str, Any]],
    ) -> None:
        if not rows:
            return
        dialect: Any = postgresql if self.engine.dialect.name == "postgresql" else sqlite
        statement = dialect.insert(table).values([{"trial_id": trial_id, **row} for row in rows])
        changed = {name: statement.excluded[name] for name in rows[0] if name not in key}
        connection.execute(statement.on_conflict_do_update(index_elements=["trial_id", *key], set_=changed))


def _attribute_rows(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]


def _attribute(connection: Connection, trial_id: int, key: str, default: int) -> int:
    own = (system_attrs.c.trial_id == trial_id) & (system_attrs.c.key == key)
    stored = connection.scalar(sa.select(system_attrs.c.value_json).where(own))
    return default if stored is None else int(json.loads(stored))


def _values(connection: Connection, trial_id: int) -> list[float]:
    query = sa.select(outcomes.c.value).where(outcomes.c.trial_id == trial_id).order_by(outcomes.c.objective)
    return [float(value) for value in connection.scalars(query) if value is not None]


def _set_trial(connection: Connection, trial_id: int, **values: Any) -> None:
    connection.execute(trials.update().where(trials.c.trial_id == trial_id).values(**values))


def _utc() -> datetime:
    """Now, as Optuna 5 stores times: naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)
