"""Replicates: which are queued, that nothing is queued twice, and where successive elimination puts its runs."""

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from lobmodels.config import RunConfig
from search.errors import SearchError
from search.study.create import create_study, withdraw_duplicates
from search.study.open import open_study, spec_of
from search.study.ranking import Ranking, rank_runs, to_csv, to_document, varying
from search.study.replication import (
    Plan,
    advance,
    choose,
    find_replicates,
    pool,
    replicate,
    seed_list,
    store_plan,
)
from search.study.runs import Run
from search.studyfile.space import suggest
from search.studyfile.spec import StudySpec

optuna.logging.set_verbosity(optuna.logging.WARNING)

SPEC = StudySpec.from_json(
    {
        "name": "s",
        "parameters": {
            "hidden_size": {"int": [16, 128], "step": 16},
            "lr": {"float": [1e-4, 1e-2], "log": True},
            "epochs": 20,
        },
        "seed": 7,
    }
)
NOISE = 0.004


def score(config: RunConfig, seed: int) -> float:
    """A made-up score: wider is better by .001 a step, and each run is noisy in its own repeatable way."""
    noise = np.random.default_rng(zlib.crc32(f"{config.key()}{seed}".encode())).normal(0, NOISE)
    return 0.25 + 0.001 * config.hidden_size / 16 + float(noise)


def finish(study: optuna.Study, trial: optuna.Trial) -> None:
    """End a trial as a worker would."""
    spec = spec_of(study)
    config = suggest(spec, trial)
    seed = trial.user_attrs.get("seed", spec.trial_seed(trial.number))
    value = score(config, seed)
    attributes: dict[str, Any] = {"configuration": config.active(), "key": config.key(), "seed": seed}
    attributes |= {"select_mean": value, "report_mean": value - 0.01, "report_t0": 0.3, "report_t1": 0.2}
    for name, attribute in attributes.items():
        trial.set_user_attr(name, attribute)
    trial.report(value, 0)
    study.tell(trial, value)


def search(study: optuna.Study, count: int) -> None:
    for _ in range(count):
        finish(study, study.ask())


def serve(study: optuna.Study, limit: int = 1000) -> int:
    """Work off the queued replicates, as a worker does, asking for the next round whenever none is left."""
    done = 0
    while done < limit:
        target = find_replicates(study)
        waiting = [] if target is None else target.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not waiting:
            if not advance(study._storage, study.study_name):
                return done
            continue
        assert target is not None
        assert target._storage.set_trial_state_values(waiting[0]._trial_id, TrialState.RUNNING)
        finish(target, optuna.Trial(target, waiting[0]._trial_id))
        done += 1
    return done


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a study of 24 complete search runs."""
    path = tmp_path_factory.mktemp("searched") / "study.db"
    create_study(SPEC, f"sqlite:///{path}", "f00d")
    search(open_study(f"sqlite:///{path}", "s"), 24)
    return path


@pytest.fixture
def study(searched: Path, tmp_path: Path) -> optuna.Study:
    """That study in a database of the test's own."""
    with closing(sqlite3.connect(searched)) as source, closing(sqlite3.connect(tmp_path / "study.db")) as copy:
        source.backup(copy)
    return open_study(f"sqlite:///{tmp_path / 'study.db'}", "s")


def test_every_configuration_gets_the_same_seeds(study: optuna.Study) -> None:
    """Common random numbers: one seed list for all, the search's own run counted as the first of `seeds`."""
    chosen = choose(study, top=3)
    result = replicate(study, chosen, seeds=4)
    assert (result.queued, result.present) == (9, 0)
    target = find_replicates(study)
    assert target is not None and target.study_name == "s.seeds"
    by_key: dict[str, list[int]] = {}
    for trial in target.trials:
        by_key.setdefault(trial.user_attrs["key"], []).append(trial.user_attrs["seed"])
    assert by_key == {run.key: [1_000_007, 1_000_008, 1_000_009] for run in chosen}
    best = {run.key: run.value for run in sorted(pool(study), key=lambda run: run.value)}
    assert [run.value for run in chosen] == sorted(best.values(), reverse=True)[:3]
    assert target.user_attrs["data_fingerprint"] == "f00d" and target.user_attrs["parent_study"] == "s"
    spec = spec_of(target)
    assert spec.pruner.name == "none" and spec.budget.trials is None and spec.baselines == ()


def test_a_replicate_trains_its_parents_configuration(study: optuna.Study) -> None:
    """What a worker is asked is the configuration of the search run, with the replicate's seed."""
    chosen = choose(study, top=2)
    replicate(study, chosen, seeds=3)
    assert serve(study) == 4
    runs = pool(study)
    for run in chosen:
        own = [other for other in runs if other.key == run.key]
        assert len(own) == 3 and all(other.configuration == run.configuration for other in own)
        assert [other.parent for other in own if other.study == "s.seeds"] == [run.number] * 2
        assert [other.seed for other in own] == [run.seed, *seed_list(SPEC, 2)]


def test_asking_again_queues_only_what_is_missing(study: optuna.Study) -> None:
    """More seeds or more configurations extend what is there."""
    replicate(study, choose(study, top=2), seeds=3)
    assert replicate(study, choose(study, top=2), seeds=3).queued == 0
    serve(study)
    again = replicate(study, choose(study, top=3), seeds=4)
    assert (again.queued, again.present) == (2 + 3, 4)
    target = find_replicates(study)
    assert target is not None
    failing = target.get_trials(states=(TrialState.WAITING,))[0]
    target._storage.set_trial_state_values(failing._trial_id, TrialState.RUNNING)
    target._storage.set_trial_state_values(failing._trial_id, TrialState.FAIL)
    assert replicate(study, choose(study, top=3), seeds=4).failed == 1


def test_bad_requests_are_refused(study: optuna.Study, tmp_path: Path) -> None:
    """Too many, too few, not complete, nothing there: each says what there is."""
    with pytest.raises(SearchError, match="--top 99 asks for more configurations than study 's' has complete: 24"):
        choose(study, top=99)
    with pytest.raises(SearchError, match="--seeds 1 adds no run"):
        replicate(study, choose(study, top=2), seeds=1)
    with pytest.raises(SearchError, match=r"trial 77 of study 's' is not complete: choose from 0, 1, .* and 12 more"):
        choose(study, numbers=[3, 77])
    empty = create_study(SPEC.model_copy(update={"name": "empty"}), f"sqlite:///{tmp_path / 'study.db'}")
    with pytest.raises(SearchError, match="has no complete run yet: lobtuna work empty"):
        choose(empty, top=1)


def test_chosen_trials_are_taken_as_they_are_named(study: optuna.Study) -> None:
    """By number, in that order, each configuration once."""
    assert [run.number for run in choose(study, numbers=[5, 2, 5])] == [5, 2]


def test_equal_replicates_of_two_workers_are_withdrawn(study: optuna.Study) -> None:
    """Two workers that queue the same round leave one replicate of each pair in the queue."""
    chosen = choose(study, top=2)
    replicate(study, chosen, seeds=3)
    target = find_replicates(study)
    assert target is not None

    def pair(trial: FrozenTrial) -> tuple[str, int]:
        return trial.user_attrs["key"], trial.user_attrs["seed"]

    for trial in target.get_trials():
        target.enqueue_trial(trial.system_attrs["fixed_params"], user_attrs=trial.user_attrs)
    assert withdraw_duplicates(target, pair) == 4 and withdraw_duplicates(target, pair) == 0
    assert len(target.get_trials(states=(TrialState.WAITING,))) == 4
    assert replicate(study, chosen, seeds=3).failed == 0
    assert serve(study) == 4


def test_elimination_spends_its_budget_on_those_that_could_be_best(study: optuna.Study) -> None:
    """The workers go on by themselves, stop at the budget, and leave the hopeless with few seeds."""
    worst = min(pool(study), key=lambda run: run.configuration["hidden_size"])
    chosen = [*choose(study, top=3), worst]
    replicate(study, chosen, seeds=3)
    store_plan(study, Plan(tuple(run.key for run in chosen), 18))
    done = serve(study)
    assert 8 < done <= 18
    ranking = rank_runs(pool(study))
    counts = {row.key: row.n for row in ranking.repeated}
    assert counts[worst.key] < max(counts.values()) and len(counts) == 4 and sum(counts.values()) >= done + 4
    target = find_replicates(study)
    assert target is not None and target.user_attrs["replication_plan"] is None
    assert advance(study._storage, "s") == 0


def test_a_round_waits_for_the_one_before(study: optuna.Study) -> None:
    """While a replicate is queued or running nobody decides on the next round."""
    chosen = choose(study, top=3)
    replicate(study, chosen, seeds=2)
    store_plan(study, Plan(tuple(run.key for run in chosen), 12))
    assert advance(study._storage, "s") == 0
    serve(study, limit=2)
    assert advance(study._storage, "s") == 0
    assert advance(study._storage, "nothing-of-this-name") == 0


def test_a_plan_does_not_try_for_ever(study: optuna.Study) -> None:
    """Where all replicates fail the plan ends, though none of its runs was ever a success."""
    chosen = choose(study, top=2)
    replicate(study, chosen, seeds=2)
    store_plan(study, Plan(tuple(run.key for run in chosen), 50))
    target = find_replicates(study)
    assert target is not None
    for _ in range(60):
        waiting = target.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        for trial in waiting:
            target._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
            target._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        if not advance(study._storage, "s"):
            break
    assert len(target.trials) <= 4


def test_elimination_finds_the_best_at_least_as_often_as_equal_shares() -> None:
    """With the same number of replicates, following what could be best is no worse than seeds for all alike."""
    from collections import Counter

    from search.study.replication import next_round

    def run(study: str, i: int, seed: int, value: float) -> Run:
        return Run(study, i, i, "complete", value, seed, {"c": i}, str(i), {}, {}, 0, 1, 1.0, None, None)

    found = {"auto": 0, "equal": 0}
    random = np.random.default_rng(3)
    worlds, keys, budget = 16, 5, 20
    for _ in range(worlds):
        truth = random.normal(0, 0.002, keys)
        searched = [run("s", i, i, truth[i] + random.normal(0, NOISE)) for i in range(keys)]
        table = truth[:, None] + random.normal(0, NOISE, (keys, budget))
        equal = [run("s.seeds", i, 1000 + j, table[i, j]) for i in range(keys) for j in range(budget // keys)]
        found["equal"] += int(rank_runs([*searched, *equal]).rows[0].key) == truth.argmax()
        auto = [run("s.seeds", i, 1000 + j, table[i, j]) for i in range(keys) for j in range(2)]
        plan = Plan(tuple(map(str, range(keys))), budget)
        while chosen := next_round(plan, searched, auto, Counter(r.key for r in auto)):
            for r in chosen:
                j = sum(a.key == r.key for a in auto)
                auto.append(run("s.seeds", r.number, 1000 + j, table[r.number, j]))
        assert len(auto) <= budget
        found["auto"] += int(rank_runs([*searched, *auto]).rows[0].key) == truth.argmax()
    assert found["auto"] >= found["equal"] - 2 and found["auto"] > worlds * 0.45


def rank(study: optuna.Study) -> Ranking:
    return rank_runs(pool(study))


def test_before_replication_the_order_is_by_single_runs_and_says_so(study: optuna.Study) -> None:
    """Nothing tells luck from worth: no estimates, no chances."""
    ranking = rank(study)
    assert ranking.repeated == () and ranking.noise is None and sum(row.n for row in ranking.rows) == 24
    assert [row.mean for row in ranking.rows] == sorted((row.mean for row in ranking.rows), reverse=True)
    assert all(row.estimate is None for row in ranking.rows)


def test_repeated_configurations_come_first_by_estimate(study: optuna.Study) -> None:
    """Rows carry n, mean, spread, estimate, interval, chance, the luckiest run and the score on report sequences."""
    replicate(study, choose(study, top=4), seeds=5)
    serve(study)
    ranking = rank(study)
    rows = ranking.repeated
    assert all(row.n >= 5 for row in rows) and len(rows) == 4 and ranking.rows[4].estimate is None
    assert [row.estimate for row in rows] == sorted((row.estimate or 0 for row in rows), reverse=True)
    assert sum(row.probability_best or 0 for row in rows) == pytest.approx(1)
    for row in rows:
        assert row.low is not None and row.high is not None and row.estimate is not None
        assert row.low < row.estimate < row.high < row.best_run.value + 0.01
        assert row.estimate < row.mean + 0.002  # the mean holds the lucky run as it is
        assert row.report is not None and row.report[0] == pytest.approx(row.mean - 0.01)
    assert ranking.luck is not None and 0 < ranking.luck < 0.02
    assert ranking.noise == pytest.approx(NOISE, rel=0.6)


def test_a_ranking_can_be_read_by_scripts(study: optuna.Study) -> None:
    """JSON without NaN, CSV with the varying parameters as columns; both name the sequences of each score."""
    import csv
    import io
    import json

    replicate(study, choose(study, top=2), seeds=3)
    serve(study)
    ranking = rank(study)
    document = json.loads(json.dumps(to_document(ranking, "s", 0.25), allow_nan=False))
    assert document["scores_on"] == "select" and document["configurations"][0]["rank"] == 1
    first = document["configurations"][0]
    assert first["best_run"]["run"].startswith("s") and len(first["seeds"]) == first["n"] == 3
    assert document["configurations"][-1]["estimate"] is None
    lines = list(csv.DictReader(io.StringIO(to_csv(ranking))))
    assert len(lines) == len(ranking.rows) and lines[0]["select_estimate"] and not lines[-1]["select_estimate"]
    assert set(varying(ranking.rows)) == {"hidden_size", "lr"} <= set(lines[0]) and "epochs" not in lines[0]


def test_what_failed_is_tried_again_only_if_asked(study: optuna.Study) -> None:
    """A replicate that failed for the machine's sake can be repeated; the new one is not taken for a double."""
    chosen = choose(study, top=2)
    replicate(study, chosen, seeds=2)
    target = find_replicates(study)
    assert target is not None
    first = target.get_trials()[0]._trial_id
    target._storage.set_trial_state_values(first, TrialState.RUNNING)
    target._storage.set_trial_state_values(first, TrialState.FAIL)
    again = replicate(study, chosen, seeds=2, retry=True)
    assert (again.queued, again.present, again.failed) == (1, 1, 0)
    assert serve(study) == 2


def test_a_revision_takes_replicates_over(study: optuna.Study, tmp_path: Path) -> None:
    """Runs already paid for are ranked in the next revision with the trials they repeat, and only with those."""
    from search.study.revise import revise

    chosen = choose(study, top=4)
    replicate(study, chosen, seeds=3)
    serve(study)
    narrowed = SPEC.to_json()
    widths = sorted(run.configuration["hidden_size"] for run in chosen)
    narrowed["parameters"]["hidden_size"] = {"int": [widths[1], 128 + 16], "step": 16}
    fitting = [run for run in chosen if run.configuration["hidden_size"] >= widths[1]]
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for _ in range(2):  # the second call finds everything there
        revision = revise(StudySpec.from_json(narrowed), url)
        assert revision.study.study_name == "s@2" and revision.replicates == 2 * len(fitting)
    ranking = rank(open_study(url, "s@2"))
    assert {row.key for row in ranking.repeated} == {run.key for run in fitting}
    old = {row.key: row.mean for row in rank(study).repeated}
    assert {row.key: row.mean for row in ranking.repeated} == {run.key: old[run.key] for run in fitting}


def test_a_worker_serves_replicates_and_follows_the_plan(tmp_path: Path, small_data: Path) -> None:
    """With the study's budget spent, a worker still makes what `replicate --auto` asked for, and then stops."""
    from search.work.options import WorkOptions
    from search.work.worker import work

    url = f"sqlite:///{tmp_path / 'study.db'}"
    document = {
        "name": "t",
        "parameters": {"hidden_size": {"choices": [4, 6]}, "num_layers": 1, "epochs": 1, "batch_size": 12},
        "baselines": [{"hidden_size": 4}, {"hidden_size": 6}],
        "pruner": {"name": "none"},
        "budget": {"trials": 2},
    }
    made = create_study(StudySpec.from_json(document), url)
    assert work(url, "t", small_data, options=WorkOptions(threads=1)).outcomes == {"complete": 2}
    chosen = choose(made, top=2)
    replicate(made, chosen, seeds=2)
    store_plan(made, Plan(tuple(run.key for run in chosen), 5))
    done = work(url, "t", small_data, options=WorkOptions(threads=1)).trials
    target = find_replicates(made)
    assert target is not None and 2 <= done <= 5 and len(target.trials) == done
    assert target.user_attrs["replication_plan"] is None
    assert all(run.checkpoint and run.seed >= 1_000_000 for run in pool(made) if run.study == "t.seeds")
