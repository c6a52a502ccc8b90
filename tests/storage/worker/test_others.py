"""Promises of a worker's view of the others: each look reads what has changed, and an epoch costs few statements."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from storage.backends.registry import open_store
from storage.claims import Batch
from storage.optuna_internals import study_id_of
from storage.wanted import WantedReports
from storage.worker.others import Others
from tests.storage.bench import Bench


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_the_version_tells_whether_there_is_news(scheme: str, tmp_path: Path) -> None:
    """A trial that is new or has ended is news on SQL; a database that is read whole always may have some."""
    store = open_store(f"{scheme}:///{tmp_path / 'study.db'}")
    study = optuna.create_study(storage=store.storage)
    others = Others(store, study_id_of(study), (), 5.0)
    first = study.ask()
    assert [t.number for t in others.read()] == [0]
    seen = others.version
    first.report(0.5, 0)
    others.read()
    assert (others.version != seen) == (scheme == "journal")
    seen = others.version
    study.tell(first, 1.0)
    others.read()
    assert others.version != seen and others.trials[0].state == TrialState.COMPLETE


def test_ten_short_epochs_cost_two_commits(tmp_path: Path) -> None:
    """Reports within the gathering time share a transaction; the others are not looked at again so soon."""
    bench = Bench(f"sqlite:///{tmp_path / 'study.db'}")
    trial = bench.mine.ask()
    trial.suggest_float("x", 0, 1)
    assert bench.storage.running is not None
    bench.storage.running.channel.flush(300)
    statements: list[str] = []
    assert bench.store.engine is not None
    sa.event.listen(bench.store.engine, "before_cursor_execute", lambda *event: statements.append(_kind(event)))
    for epoch in range(10):
        bench.storage.put(Batch(intermediate={epoch: 0.1 * epoch}, user_attrs={"seconds": epoch}))
        assert not bench.storage.refresh_due()
    bench.storage.running.channel.flush(300)
    assert len(statements) <= 2 * 3, statements  # a lock, the reports, the attributes
    stored = bench.fresh()
    assert len(stored.intermediate_values) == 10 and stored.user_attrs == {"seconds": 9}
    bench.mine.tell(trial, 1.0)


def _kind(event: tuple[Any, ...]) -> str:
    return str(event[2]).split(maxsplit=1)[0]


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_trials_are_read_again_where_more_is_wanted(scheme: str, tmp_path: Path) -> None:
    """A study that is changed in place may need more reports of trials that are known than were read of them."""
    store = open_store(f"{scheme}:///{tmp_path / 'study.db'}")
    study = optuna.create_study(storage=store.storage)
    trial = study.ask()
    for epoch in range(6):
        trial.report(0.1 * epoch, epoch)
    study.tell(trial, 1.0)
    others = Others(store, study_id_of(study), (), 5.0, WantedReports(running=2, ended=2))
    assert list(others.read()[0].intermediate_values) == ([0, 1, 5] if scheme == "sqlite" else [0, 1, 2, 3, 4, 5])
    others.want(WantedReports(running=2))
    assert list(others.read()[0].intermediate_values) == [0, 1, 2, 3, 4, 5]
