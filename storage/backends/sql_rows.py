"""A batch of writes as rows of Optuna's tables, and the reads that belong to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import TrialState
from sqlalchemy import Connection

from storage.claims import Batch
from storage.dialect import Dialect
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
from storage.tables import claims


def apply(connection: Connection, dialect: Dialect, trial_id: int, batch: Batch) -> None:
    """Write `batch` to a trial that this transaction has locked; a state ends the claim."""
    for table, key, rows in (
        (params, "param_name", _param_rows(batch.params)),
        (user_attrs, "key", _attribute_rows(batch.user_attrs)),
        (system_attrs, "key", _attribute_rows(batch.system_attrs)),
        (reports, "step", _report_rows(batch.intermediate)),
        (outcomes, "objective", _outcome_rows(batch.values or [])),
    ):
        _upsert(connection, dialect, table, trial_id, key, rows)
    if batch.state is not None:
        connection.execute(claims.delete().where(claims.c.trial_id == trial_id))
        times = {"datetime_complete": utc()} if batch.state.is_finished() else {}
        set_trial(connection, trial_id, state=batch.state, **times)


def set_trial(connection: Connection, trial_id: int, **values: Any) -> None:
    """Change columns of the trial's own row."""
    connection.execute(trials.update().where(trials.c.trial_id == trial_id).values(**values))


def lock_trial(connection: Connection, dialect: Dialect, trial_id: int) -> tuple[TrialState, int] | None:
    """State and number of a trial, locked until the transaction ends; None where there is none.

    Read anything else that must not change after this call, in a separate statement: under READ COMMITTED, a statement
    that waited for the lock reads the locked row again, but any joined row as it was before it waited.
    """
    limit = [] if dialect.wake_limit is None else [dialect.wake_limit]
    query = sa.select(trials.c.state, trials.c.number, *limit).where(trials.c.trial_id == trial_id)
    row = connection.execute(query.with_for_update()).one_or_none()
    return None if row is None else (row.state, row.number)


def values_of(connection: Connection, trial_id: int) -> list[float]:
    """The trial's final values."""
    query = sa.select(outcomes.c.value).where(outcomes.c.trial_id == trial_id).order_by(outcomes.c.objective)
    return [float(value) for value in connection.scalars(query) if value is not None]


def attributes_of(connection: Connection, trial_id: int, *keys: str) -> dict[str, Any]:
    """Those of the trial's system attributes `keys` that it has."""
    own = (system_attrs.c.trial_id == trial_id) & system_attrs.c.key.in_(keys)
    rows = connection.execute(sa.select(system_attrs.c.key, system_attrs.c.value_json).where(own))
    return {row.key: json.loads(row.value_json) for row in rows}


def last_step(connection: Connection, trial_id: int) -> int:
    """The last step that was reported of the trial, -1 where none was."""
    step = connection.scalar(sa.select(sa.func.max(reports.c.step)).where(reports.c.trial_id == trial_id))
    return -1 if step is None else int(step)


def utc() -> datetime:
    """Now, as Optuna 5 stores times: naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


def _upsert(
    connection: Connection, dialect: Dialect, table: sa.Table, trial_id: int, key: str, rows: list[dict[str, Any]]
) -> None:
    if not rows:
        return
    statement = dialect.insert(table).values([{"trial_id": trial_id, **row} for row in rows])
    changed = {name: statement.excluded[name] for name in rows[0] if name != key}
    connection.execute(statement.on_conflict_do_update(index_elements=["trial_id", key], set_=changed))


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
