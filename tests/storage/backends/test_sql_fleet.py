"""Promises of the fleet in SQL: who is silent, what a start of the server forgives, values as Optuna reads them."""

import dataclasses
import math
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from storage.backends.registry import open_store
from storage.backends.sql_fleet import SqlFleet
from storage.claims import Batch, Claim
from storage.errors import DatabaseUnavailable
from tests.servers import TcpProxy
from tests.storage.bench import Bench, connected, silence


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A study in an SQLite file."""
    return Bench(f"sqlite:///{tmp_path / 'study.db'}")


def claimed(bench: Bench, claim: Claim) -> int:
    """A trial that runs under `claim`, without a thread that beats."""
    trial_id: int = bench.study.ask()._trial_id
    bench.store.fleet.seize(trial_id, claim)
    return trial_id


def test_a_beat_within_its_grace_keeps_the_trial(bench: Bench) -> None:
    """Silence is measured by each claim's own grace."""
    claimed(bench, Claim("patient:1", grace=60.0))
    claimed(bench, Claim("hasty:1", grace=10.0))
    silence(bench, 30.0)
    connected(bench.store)
    found = bench.store.fleet.recover(bench.study._study_id, max_retries=3)
    assert [trial.worker for trial in found] == ["hasty:1"]


def test_the_start_of_the_server_counts_as_a_beat(bench: Bench) -> None:
    """While the server was down no worker could send a beat: each has its whole grace from the start on."""
    fleet = bench.store.fleet
    assert isinstance(fleet, SqlFleet)
    claimed(bench, Claim("host:1", grace=10.0))
    silence(bench, 30.0)
    connected(bench.store)
    dialect = fleet.dialect
    fleet.storage.dialect = dataclasses.replace(dialect, server_start=dialect.now - 5.0)
    assert fleet.recover(bench.study._study_id, max_retries=3) == []
    fleet.storage.dialect = dataclasses.replace(dialect, server_start=dialect.now - 20.0)
    assert len(fleet.recover(bench.study._study_id, max_retries=3)) == 1


def test_the_start_of_a_real_server_is_known(postgres_url: str) -> None:
    """A trial whose last beat lies before PostgreSQL's start is silent only after its grace."""
    bench = Bench(postgres_url)
    claimed(bench, Claim("host:1", grace=3600.0))
    silence(bench, 7200.0)
    connected(bench.store)
    assert bench.store.fleet.recover(bench.study._study_id, max_retries=3) == []


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 0.25])
def test_reports_are_as_optuna_stores_them(bench: Bench, value: float) -> None:
    """Values that no column holds as numbers come back from Optuna's own read."""
    claim = Claim("host:1")
    trial_id = claimed(bench, claim)
    bench.store.fleet.write(trial_id, claim, Batch(intermediate={0: value}, state=TrialState.PRUNED))
    (read,) = bench.study.get_trials()[0].intermediate_values.values()
    assert read == value or (math.isnan(read) and math.isnan(value))


@pytest.mark.parametrize("value", [math.inf, -math.inf, 0.25])
def test_outcomes_are_as_optuna_stores_them(bench: Bench, value: float) -> None:
    """An infinite outcome is a value too."""
    claim = Claim("host:1")
    trial_id = claimed(bench, claim)
    bench.store.fleet.write(trial_id, claim, Batch(state=TrialState.COMPLETE, values=[value]))
    assert bench.study.get_trials()[0].value == value


def test_a_write_is_all_or_nothing(bench: Bench) -> None:
    """When a part of a batch cannot be stored, none of it is."""
    claim = Claim("host:1")
    trial_id = claimed(bench, claim)
    with pytest.raises(TypeError):
        bench.store.fleet.write(trial_id, claim, Batch(user_attrs={"a": 1}, system_attrs={"b": object()}))
    assert bench.study.get_trials()[0].user_attrs == {}


def test_a_beat_that_does_not_get_through_ends_soon(postgres_server, postgres_url: str) -> None:  # type: ignore[no-untyped-def]
    """A beat gives up long before the patience of other calls, since the next one is due."""
    line = TcpProxy(postgres_server.port)
    url = postgres_url.replace(f":{postgres_server.port}/", f":{line.port}/")
    bench, patient = Bench(url), open_store(url, patience=3600.0)
    claim = Claim("host:1")
    trial_id = claimed(bench, claim)
    assert patient.fleet.beat(trial_id, claim)
    line.accepting = False
    line.cut()
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        patient.fleet.beat(trial_id, claim)
    assert time.monotonic() - started < 400.0
    line.close()


def test_a_trial_that_lost_too_many_workers_is_given_up(bench: Bench) -> None:
    """With no retries left the trial fails with a reason that names its last worker."""
    claimed(bench, Claim("host:9", grace=1.0))
    silence(bench, 30.0)
    connected(bench.store)
    (found,) = bench.store.fleet.recover(bench.study._study_id, max_retries=0)
    assert (found.given_up, found.losses) == (True, 1)
    trial = bench.study.get_trials()[0]
    assert trial.state == optuna.trial.TrialState.FAIL
    assert "host:9" in trial.user_attrs["reason"]
