"""Fleet operations as single transactions in SQL: a claim, a beat, a batch of writes, a recovery."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import TrialState
from sqlalchemy import Connection

from storage.backends.resilient import ResilientStorage, insert_claim
from storage.claims import LOSSES, REASON, Batch, Claim, lost_reason
from storage.errors import ClaimLost
from storage.fleet import Fleet, Recovered
from storage.optuna_internals import (
    outcomes,
    params,
    reports,
    stored_outcome,
    stored_report,
    system_attrs,
    trials,
    user_attrs,
)
from storage.retry import with_retry
from storage.tables import claims

BEAT_PATIENCE = 1.0  # seconds: a beat that does not get through is given up soon, since the next one is due

RUNNING, WAITING, FAIL = TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL


class SqlFleet(Fleet):
    """`Fleet` over Optuna's tables and `lobtuna_claims`. Each method is one transaction and may be repeated."""

    shares_clock = True  # the database's

    def __init__(self, storage: ResilientStorage) -> None:
        self.storage = storage
        self.engine = storage.engine
        self.dialect = storage.dialect

    def claim(self, trial_id: int, claim: Claim) -> bool:
        def attempt() -> bool:
            with self.engine.begin() as connection:
                state, _, token = self._lock(connection, trial_id)
                if state != WAITING:
                    return state == RUNNING and token == claim.token
                connection.execute(claims.delete().where(claims.c.trial_id == trial_id))
                connection.execute(insert_claim(self.dialect, trial_id, claim))
                _set_trial(connection, trial_id, state=RUNNING, datetime_start=_utc())
                return True

        return self.storage.retry(attempt, "claim")

    def beat(self, trial_id: int, claim: Claim) -> bool:
        def attempt() -> bool:
            with self.engine.begin() as connection:
                own = (claims.c.trial_id == trial_id) & (claims.c.token == claim.token)
                return connection.execute(claims.update().where(own).values(beat=self.dialect.now)).rowcount == 1

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
                connection.execute(insert_claim(self.dialect, trial_id, claim))
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
                return float(connection.execute(sa.select(self.dialect.now)).scalar_one())

        return self.storage.retry(read, "clock")

    def _silent(self) -> sa.Select[Any]:
        """Running trials whose claim has had no beat for its grace, by the database's clock.

        While a server is down no worker can send a beat, so its start counts as a beat of every worker.
        """
        last: sa.ColumnElement[float] = claims.c.beat
        started = self.dialect.server_start
        if started is not None:
            last = sa.case((last < started, started), else_=last)
        return (
            sa.select(trials.c.number, claims.c.worker)
            .join(claims, claims.c.trial_id == trials.c.trial_id)
            .where(trials.c.state == RUNNING)
            .where(self.dialect.now - last > claims.c.grace)
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
        self._upsert(connection, params, trial_id, ("param_name",), _param_rows(batch.params))
        self._upsert(connection, user_attrs, trial_id, ("key",), _attribute_rows(batch.user_attrs))
        self._upsert(connection, system_attrs, trial_id, ("key",), _attribute_rows(batch.system_attrs))
        self._upsert(connection, reports, trial_id, ("step",), _report_rows(batch.intermediate))
        if batch.state is not None:
            self._end_claim(connection, trial_id, batch.state, batch.values)

    def _end_claim(self, connection: Connection, trial_id: int, state: TrialState, values: list[float] | None) -> None:
        self._upsert(connection, outcomes, trial_id, ("objective",), _outcome_rows(values or []))
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
        statement = self.dialect.insert(table).values([{"trial_id": trial_id, **row} for row in rows])
        changed = {name: statement.excluded[name] for name in rows[0] if name not in key}
        connection.execute(statement.on_conflict_do_update(index_elements=["trial_id", *key], set_=changed))


def _param_rows(chosen: Mapping[str, tuple[float, BaseDistribution]]) -> list[dict[str, Any]]:
    return [
        {"param_name": name, "param_value": value, "distribution_json": distribution_to_json(distribution)}
        for name, (value, distribution) in chosen.items()
    ]


def _report_rows(reported: Mapping[int, float]) -> list[dict[str, Any]]:
    stored = {step: stored_report(value) for step, value in reported.items()}
    return [
        {"step": step, "intermediate_value": value, "intermediate_value_type": kind}
        for step, (value, kind) in stored.items()
    ]


def _outcome_rows(values: list[float]) -> list[dict[str, Any]]:
    stored = [stored_outcome(value) for value in values]
    return [{"objective": i, "value": value, "value_type": kind} for i, (value, kind) in enumerate(stored)]


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
