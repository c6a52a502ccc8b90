"""What the tests of faults do to a worker's surroundings."""

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from search.cli import main
from search.work.rescue import SavedRun
from storage.backends.registry import open_store
from storage.claims import Batch, Claim
from storage.store import store_of
from storage.tables import artifacts, chunks
from storage.worker.background import BackgroundStorage


def main_done(arguments: list[str]) -> None:
    """Run a command that ends well."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def corrupt(url: str) -> None:
    """Change one byte of every stored artifact."""
    engine = open_store(url).engine
    assert engine is not None
    with engine.begin() as connection:
        for row in connection.execute(sa.select(chunks)).all():
            body = bytes(row.body[:-1]) + bytes([row.body[-1] ^ 1])
            own = (chunks.c.artifact_id == row.artifact_id) & (chunks.c.number == row.number)
            connection.execute(chunks.update().where(own).values(body=body))
        assert connection.scalar(sa.select(sa.func.count()).select_from(artifacts))


def saved_run(study: optuna.Study, state: TrialState | None) -> SavedRun:
    """A saved run whose trial has meanwhile become `state` (None: still running)."""
    own = BackgroundStorage(store_of(study), study._study_id, Claim("host:1"))
    trial = optuna.Study(study.study_name, own).ask()
    trial.suggest_float("lr", 1e-3, 1e-2, log=True)
    record = own.own()
    whole = Batch(
        params={name: (d.to_internal_repr(record.params[name]), d) for name, d in record.distributions.items()},
        intermediate={0: 0.1, 1: 0.2},
        user_attrs={"key": "k", "seed": 0},
        state=TrialState.COMPLETE,
        values=[0.2],
    )
    if state is not None:
        own.end(Batch(state=state))
    else:
        assert own.running is not None
        own.running.channel.flush(300)
        own.drop()
    files = [("w.safetensors", "application/octet-stream", b"weights")]
    return SavedRun(study.study_name, record.number, record._trial_id, whole, files)
