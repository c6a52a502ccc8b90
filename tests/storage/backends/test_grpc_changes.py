"""Through the proxy a worker sees of the other trials what one with SQL sees, and what it knows is not sent again."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from storage.backends.grpc_changes import known_as_json
from storage.backends.grpc_server import make_server
from storage.backends.registry import open_store
from storage.optuna_internals import study_id_of
from storage.store import Store
from storage.wanted import ENDED_ALONE, EVERY_STEP, WantedReports
from storage.worker.others import Others

LR = optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)
HEAD = optuna.distributions.CategoricalDistribution(["linear", "mlp"])


def served(url: str) -> Iterator[tuple[Store, Store]]:
    """A database, and the same through a proxy."""
    behind = open_store(url)
    server, port = make_server(behind, "127.0.0.1", 0)
    server.start()
    yield behind, open_store(f"grpc://127.0.0.1:{port}")
    server.stop(None)


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Both ways to one database."""
    sqlite = request.param == "sqlite"
    yield from served(f"sqlite:///{tmp_path / 'study.db'}" if sqlite else request.getfixturevalue("postgres_url"))


def seen(others: Others, **terms: bool) -> list[tuple[Any, ...]]:
    """What a look shows; NaN by its name."""
    return [
        (t.number, t.state, t.params, t.distributions, repr(t.intermediate_values), t.values, t.user_attrs)
        for t in others.read(**terms)
    ]


@pytest.mark.parametrize("wanted", [ENDED_ALONE, WantedReports(2, 1), WantedReports(3), WantedReports(EVERY_STEP)])
def test_both_ways_show_the_same(wanted: WantedReports, stores: tuple[Store, Store]) -> None:
    """Step by step: trials that begin, report, wait, end in each way; numbers that are none; a trial that is queued
    again and resumed; looks with and without the running ones."""
    behind, proxy = stores
    study = optuna.create_study(storage=behind.storage, study_name="s", direction="maximize")
    names = ("seconds", "key")
    ways = [Others(store, study_id_of(study), names, 5.0, wanted) for store in (behind, proxy)]

    def agree(*, running: bool = True) -> None:
        direct, proxied = (seen(way, running=running) for way in ways)
        assert direct == proxied
        assert ways[0].version == ways[1].version

    agree()
    study.enqueue_trial({"lr": 1e-3})
    first, second = study.ask({"lr": LR, "head": HEAD}), study.ask()
    agree()
    first.set_user_attr("seconds", 1.5)
    second.suggest_float("lr", 1e-5, 1e-1, log=True)
    agree()
    for step, value in enumerate((0.1, math.nan, math.inf, 0.3)):
        first.report(value, step)
        first.set_user_attr("seconds", 1.5 * step)
        agree(running=bool(step % 2))
    study.add_trial(create_trial(value=0.5, params={"lr": 1e-2}, distributions={"lr": LR}, user_attrs={"key": "k"}))
    agree(running=False)
    study.tell(first, 0.3)
    study.tell(second, state=TrialState.FAIL)
    agree(running=False)
    agree()
    study.tell(study.ask({"lr": LR, "head": HEAD}), state=TrialState.PRUNED)
    agree()
    assert {trial.state for trial in ways[1].trials} == {TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED}


def test_what_is_known_is_not_sent_again(stores: tuple[Store, Store]) -> None:
    """Of a finished trial nothing, of a running one the id, its last report and whether its parameters are there."""
    behind, proxy = stores
    study = optuna.create_study(storage=behind.storage, study_name="s")
    study.tell(study.ask({"lr": LR}), 0.1)
    running = study.ask({"lr": LR})
    running.set_user_attr("seconds", 1.0)
    running.report(0.5, 3)
    others = Others(proxy, study_id_of(study), ("seconds",), 5.0, WantedReports(EVERY_STEP))
    known = {trial._trial_id: trial for trial in others.read()}
    assert known_as_json(known, max(known)) == {"unfinished": [[running._trial_id, 3, True]], "finished": []}
    running.report(0.6, 4)
    sent = proxy.storage.ask(  # type: ignore[attr-defined]
        "Changes",
        study_id=study_id_of(study),
        known=known_as_json(known, max(known)),
        attributes=["seconds"],
        newest=max(known),
        running=True,
        live=True,
    )
    (record,) = sent["trials"]
    assert record[3:] == [None, [[4, 0.6]], None, {"seconds": 1.0}] and sent["distributions"] == []
    assert others.read()[1].intermediate_values == {3: 0.5, 4: 0.6}


def test_a_deleted_study_is_missed(stores: tuple[Store, Store]) -> None:
    """As with SQL: `KeyError`, which a worker takes for the end of its work."""
    behind, proxy = stores
    study = optuna.create_study(storage=behind.storage, study_name="s")
    others = Others(proxy, study_id_of(study), (), 5.0)
    optuna.delete_study(study_name="s", storage=behind.storage)
    with pytest.raises(KeyError):
        others.read()


def test_a_journal_behind_a_proxy_is_read_whole(tmp_path: Path) -> None:
    """There is no SQL to read changes with."""
    for behind, proxy in served(f"journal://{tmp_path / 'study.log'}"):
        study = optuna.create_study(storage=behind.storage, study_name="s")
        study.tell(study.ask({"lr": LR}), 0.1)
        (trial,) = Others(proxy, study_id_of(study), (), 5.0).read()
        assert (trial.value, trial.params.keys()) == (0.1, {"lr"})
