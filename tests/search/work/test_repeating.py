"""Promises of a small space: what ran before is repeated under another seed, by any worker, on any storage."""

from collections import Counter
from pathlib import Path

import pytest

from search.study.open import open_study, spec_of
from search.study.record import is_duplicate, read_trial
from search.study.replication import choose, enqueue_replicate, open_replicates, rank_study
from search.work.options import WorkOptions
from search.work.worker import work
from tests.machines import Worker, create, small_study, trials

TWO = {"hidden_size": {"choices": [4, 6]}, "num_layers": 1, "batch_size": 12, "epochs": 1, "lr": 3e-3}


def _audit(url: str, budget: int) -> None:
    """Every draw is a run or a replicate in its place; no configuration has two runs in the search."""
    records = [read_trial("small", trial) for trial in trials(url)]
    complete = [record.key for record in records if record.state == "complete"]
    seeds = [read_trial("small.seeds", trial) for trial in trials(url, "small.seeds")]
    done = [record for record in seeds if record.state == "complete"]
    assert Counter(complete).most_common(1)[0][1] == 1
    assert len(complete) + len(done) == budget
    assert len({(record.key, record.seed) for record in done}) == len(done)
    assert {record.key for record in done} <= set(complete)
    assert not [record for record in (*records, *seeds) if record.state == "failed"]


def test_a_repeated_draw_becomes_a_replicate(small_data: Path, sqlite_url: str) -> None:
    """Two configurations and six trials: two runs and four replicates, which the ranking reads as such."""
    create(sqlite_url, small_study(trials=6, parameters=TWO))
    summary = work(sqlite_url, "small", small_data, options=WorkOptions(device="cpu"))
    assert summary.outcomes["complete"] == 6
    _audit(sqlite_url, 6)
    assert sum(row.n for row in rank_study(open_study(sqlite_url, "small")).repeated) == 6


@pytest.mark.parametrize("pruner", ["none", "halving"])
def test_what_the_sampler_has_learned_repeats_nothing_as_new(pruner: str, small_data: Path, sqlite_url: str) -> None:
    """The default sampler draws the same again and again once it has learned, and pruned configurations as well as
    complete ones: of eight configurations none is searched twice."""
    eight = {**TWO, "epochs": 2, "head": {"choices": ["linear", "mlp"]}, "num_layers": {"choices": [1, 2]}}
    terms = {"parameters": eight, "sampler": {"startup_trials": 3}, "pruner": {"name": pruner}}
    create(sqlite_url, small_study(trials=14, **terms))
    work(sqlite_url, "small", small_data, options=WorkOptions(device="cpu"))
    records = [read_trial("small", trial) for trial in trials(sqlite_url)]
    searched = [record.key for record in records if record.state in ("complete", "pruned")]
    assert len(searched) == len(set(searched)) <= 8
    assert any(record.state == "withdrawn" for record in records)  # drawn again, and not run as new
    seeds = [read_trial("small.seeds", trial) for trial in trials(sqlite_url, "small.seeds")]
    assert len({(record.key, record.seed) for record in seeds}) == len(seeds)


def test_a_study_of_one_configuration_repeats_it_as_trials(small_data: Path, sqlite_url: str) -> None:
    """Nothing is searched there: further seeds are what was asked for."""
    create(sqlite_url, small_study(trials=3, parameters={**TWO, "hidden_size": 4}))
    assert work(sqlite_url, "small", small_data, options=WorkOptions(device="cpu")).outcomes == {"complete": 3}


@pytest.mark.parametrize("backend", ["postgresql", pytest.param("journal", marks=pytest.mark.soak)])
def test_several_workers_repeat_nothing_as_new(
    backend: str, small_data: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Two workers on one database, with SQL and without."""
    journal = f"journal://{tmp_path / 'study.log'}"
    url = request.getfixturevalue("postgres_url") if backend == "postgresql" else journal
    four = {**TWO, "num_layers": {"choices": [1, 2]}}
    create(url, small_study(trials=10, parameters=four))
    workers = [Worker(url, "small", small_data, tmp_path) for _ in range(2)]
    assert [worker.join() for worker in workers] == [0, 0], [worker.error for worker in workers]
    records = [read_trial("small", trial) for trial in trials(url)]
    complete = Counter(record.key for record in records if record.state == "complete")
    replicates = [t for t in trials(url, "small.seeds") if t.state.name == "COMPLETE"]
    assert len(complete) == 4 and max(complete.values()) <= len(workers)  # each may draw the same at the same moment
    used_up = any("space holds hardly any other" in worker.events[-1].text for worker in workers)
    assert sum(complete.values()) + len(replicates) >= 10 or used_up


def test_a_replicate_that_was_queued_twice_runs_once(small_data: Path, sqlite_url: str) -> None:
    """Two processes queued the same replicates and were killed before they could withdraw one of each pair: the worker
    that takes the later one withdraws it."""
    study = create(sqlite_url, small_study(trials=1, epochs=1))
    assert work(sqlite_url, "small", small_data, options=WorkOptions(device="cpu")).outcomes == {"complete": 1}
    target, (run,) = open_replicates(study), choose(study)
    for _ in range(3):
        for seed in (1_000_000, 1_000_001):
            enqueue_replicate(target, spec_of(study), run, (seed, None))
    assert work(sqlite_url, "small", small_data, options=WorkOptions(device="cpu")).outcomes == {"complete": 2}
    repeated = trials(sqlite_url, "small.seeds")
    assert [trial.user_attrs["seed"] for trial in repeated if trial.state.name == "COMPLETE"] == [1_000_000, 1_000_001]
    assert [is_duplicate(trial) for trial in repeated] == [False, False, True, True, True, True]
