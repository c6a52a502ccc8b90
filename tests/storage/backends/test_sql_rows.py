"""Promises of rows: a locked trial is read as it is now, and what is read with it comes after the lock."""

from pathlib import Path

import sqlalchemy as sa
from optuna.trial import TrialState

from storage.backends import sql_rows
from storage.claims import Batch
from storage.tables import claims
from tests.storage.bench import Bench


def test_a_batch_is_read_back(tmp_path: Path) -> None:
    """Attributes, the last step and the values of a trial, as they were written; a state removes the claim."""
    bench = Bench(f"sqlite:///{tmp_path / 'study.db'}")
    trial = bench.mine.ask()
    trial_id, engine = trial._trial_id, bench.store.engine
    bench.storage.drop()
    assert engine is not None
    dialect = bench.store.fleet.dialect  # type: ignore[attr-defined]
    with engine.begin() as connection:
        assert sql_rows.lock_trial(connection, dialect, trial_id) == (TrialState.RUNNING, 0)
        assert sql_rows.lock_trial(connection, dialect, trial_id + 1) is None
        assert sql_rows.last_step(connection, trial_id) == -1
        batch = Batch(intermediate={0: 0.1, 7: 0.2}, system_attrs={"a": [1], "b": 2})
        sql_rows.apply(connection, dialect, trial_id, batch)
        assert sql_rows.last_step(connection, trial_id) == 7
        assert sql_rows.attributes_of(connection, trial_id, "a", "c") == {"a": [1]}
        assert len(connection.execute(sa.select(claims)).all()) == 1
        sql_rows.apply(connection, dialect, trial_id, Batch(state=TrialState.COMPLETE, values=[0.5]))
        assert sql_rows.values_of(connection, trial_id) == [0.5]
        assert connection.execute(sa.select(claims)).all() == []
    assert bench.fresh().value == 0.5
