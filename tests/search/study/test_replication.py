"""Replicates: which are queued, that nothing is queued twice, and where successive elimination puts its runs."""

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.errors import SearchError
from search.study.create import create_study, withdraw_duplicates
from search.study.open import open_study, spec_of
from search.study.orders import seed_list
from search.study.ranking import rank_runs
from search.study.replication import (
    Plan,
    advance,
    choose,
    enqueue_replicate,
    find_replicates,
    identity,
    open_replicates,
    pool,
    rank_study,
    replicate,
    replicate_states,
    store_plan,
)
from search.study.runs import Run, finished_runs
from search.study.smoothing import smoothed_scores
from search.studyfile.spec import StudySpec
from search.studyfile.validation import ValidationSpec
from storage.claims import Batch, Claim
from storage.errors import DatabaseUnavailable
from storage.optuna_internals import study_id_of, trial_id_of
from storage.store import store_of
from tests.search.study.made_replicates import NOISE, SPEC, search, serve

optuna.logging.set_verbosity(optuna.logging.WARNING)


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
    worth = smoothed_scores(study.get_trials())  # not the raw scores, which are mostly luck
    best = {run.key: worth[run.number] for run in sorted(pool(study), key=lambda run: worth[run.number])}
    assert [worth[run.number] for run in chosen] == sorted(best.values(), reverse=True)[:3]
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


def test_a_half_created_study_of_replicates(study: optuna.Study) -> None:
    """Its creator was killed before it stored the definition: nobody reads it, the next to replicate completes it."""
    optuna.create_study(study_name="s.seeds", storage=study._storage, direction="maximize")
    assert find_replicates(study) is None and advance(study._storage, "s") == 0
    assert len(pool(study)) == len(study.trials)
    assert replicate(study, choose(study, top=2), seeds=2).queued == 2
    target = find_replicates(study)
    assert target is not None and spec_of(target).name == "s.seeds"


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


def test_a_score_that_a_user_added_does_not_decide_what_is_repeated(study: optuna.Study) -> None:
    """However high it is, it says nothing about the configurations near it."""
    before = choose(study, top=5)
    worst = min(finished_runs(study), key=lambda run: run.value)
    near = study.trials[worst.number]
    for score in (99.0, -99.0):
        study.add_trial(create_trial(value=score, params=near.params, distributions=near.distributions))
    assert choose(study, top=5) == before


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


def test_a_withdrawal_that_is_cut_off(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process vanishes while it withdraws a replicate that was queued twice. It held the trial under a claim, so that
    workers notice its silence and queue the trial again; then it is withdrawn, and never runs."""
    replicate(study, choose(study, top=1), seeds=2)
    target = find_replicates(study)
    assert target is not None
    target.enqueue_trial(target.trials[0].system_attrs["fixed_params"], user_attrs=target.trials[0].user_attrs)
    fleet = store_of(target).fleet

    def vanish(*_: object) -> None:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as cut, pytest.raises(DatabaseUnavailable):
        cut.setattr(fleet, "write", vanish)
        withdraw_duplicates(target, identity)
    assert [trial.state for trial in target.trials] == [TrialState.WAITING, TrialState.RUNNING]
    assert fleet.unheard(study_id_of(target), fleet.now()) == [1]
    worker = Claim("host:2")
    fleet.seize(trial_id_of(target.trials[1]), worker)
    fleet.write(trial_id_of(target.trials[1]), worker, Batch(state=TrialState.WAITING))
    assert withdraw_duplicates(target, identity) == 1
    assert serve(study) == 1


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
        while chosen := next_round(
            plan,
            searched,
            lambda keys, known=(searched, auto): rank_runs([r for part in known for r in part if r.key in keys]),
            Counter(r.key for r in auto),
        ):
            for r in chosen:
                j = sum(a.key == r.key for a in auto)
                auto.append(run("s.seeds", r.number, 1000 + j, table[r.number, j]))
        assert len(auto) <= budget
        found["auto"] += int(rank_runs([*searched, *auto]).rows[0].key) == truth.argmax()
    assert found["auto"] >= found["equal"] - 2 and found["auto"] > worlds * 0.45


def test_a_failed_replicate_counts_against_its_configuration(study: optuna.Study) -> None:
    """It is a run with the worst value of all: the estimate falls, until it succeeds under `--retry`."""
    chosen = choose(study, top=3)
    replicate(study, chosen, seeds=4)
    serve(study)
    best = rank_study(study).rows[0]
    replicate(study, [run for run in chosen if run.key == best.key], seeds=6)
    target = find_replicates(study)
    assert target is not None
    for _ in range(2):
        target.tell(target.ask(), state=TrialState.FAIL)
    row = next(row for row in rank_study(study).repeated if row.key == best.key)
    assert (row.failed, row.n) == (2, 4)
    assert row.estimate is not None and best.estimate is not None and row.estimate < best.estimate - 0.0005
    assert row.probability_best is not None and best.probability_best is not None
    assert row.probability_best < best.probability_best
    replicate(study, [run for run in chosen if run.key == best.key], seeds=6, retry=True)
    serve(study)
    again = next(row for row in rank_study(study).repeated if row.key == best.key)
    assert (again.failed, again.n) == (0, 6)


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
    ranking = rank_runs(pool(open_study(url, "s@2")))
    assert {row.key for row in ranking.repeated} == {run.key for run in fitting}
    old = {row.key: row.mean for row in rank_runs(pool(study)).repeated}
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


def test_replicates_under_other_seeds_count(tmp_path: Path) -> None:
    """Older versions ran a configuration under one seed on all folds: those runs are not made again under others."""
    spec = SPEC.model_copy(update={"validation": ValidationSpec(folds=3)})
    create_study(spec, f"sqlite:///{tmp_path / 'study.db'}", "f00d")
    study = open_study(f"sqlite:///{tmp_path / 'study.db'}", "s")
    search(study, 3)
    (best,) = choose(study, 1)
    target = open_replicates(study)
    for fold in (1, 2):
        enqueue_replicate(target, spec, best, (seed_list(spec, 1)[0], fold))
    assert replicate(study, [best], 1, 3).queued == 0
    again = replicate(study, [best], 2, 3)
    assert (again.queued, again.present) == (3, 2)
    states = replicate_states(target)
    assert sorted(fold for _, _, fold in states if fold is not None) == [0, 1, 1, 2, 2]
    assert replicate(study, [best], 2, 3).queued == 0
