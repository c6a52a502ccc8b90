"""A study in the database: created once, opened by name, revised without losing a trial."""

import multiprocessing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from lobmodels.config import RunConfig
from search.errors import SearchError, StudyExistsError, StudyNotFoundError
from search.study.budget import begun
from search.study.create import create_study, refuse_past_end
from search.study.open import open_study, spec_of
from search.study.revise import revise
from search.study.runs import best_run, finished_runs
from search.studyfile.space import suggest
from search.studyfile.spec import StudySpec

optuna.logging.set_verbosity(optuna.logging.WARNING)

DOCUMENT: dict[str, Any] = {
    "name": "joint",
    "question": "Which?",
    "parameters": {
        "lr": {"float": [2e-4, 3e-3], "log": True},
        "weight_decay": {"float": [1e-6, 3e-4], "log": True, "or": 0.0},
        "num_layers": {"choices": [1, 2, 3]},
        "epochs": 20,
    },
    "baselines": [
        {"lr": 1e-3, "weight_decay": 0.0, "num_layers": 3},
        {"lr": 5e-4, "weight_decay": 1e-5, "num_layers": 2},
    ],
}


def spec(**changes: Any) -> StudySpec:
    return StudySpec.from_json({**DOCUMENT, **changes})


def with_layers(choices: list[int]) -> dict[str, Any]:
    return {**DOCUMENT["parameters"], "num_layers": {"choices": choices}}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


def finish(study: optuna.Study, count: int, fail: bool = False) -> None:
    """Run trials the way a worker leaves them, with made-up scores; every third is pruned."""
    terms = spec_of(study)
    for _ in range(count):
        trial = study.ask()
        config = suggest(terms, trial)
        value = 0.3 - abs(config.lr - 1e-3) * 20
        for name, attr in {
            "configuration": config.active(), "key": config.key(), "seed": terms.trial_seed(trial.number),
            "select_t0": value + 0.1, "select_t1": value - 0.1, "select_mean": value, "epochs": 2, "seconds": 3.0,
            "checkpoint": f"artifact-{trial.number}",
        }.items():  # fmt: skip
            trial.set_user_attr(name, attr)
        study._storage.set_trial_system_attr(trial._trial_id, f"artifacts:artifact-{trial.number}", "{}")
        trial.report(value - 0.01, 0)
        trial.report(value, 1)
        if fail:
            study.tell(trial, state=TrialState.FAIL)
        elif trial.number % 3 == 2:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)


def test_a_study_holds_its_definition_and_its_baselines_come_first(url: str) -> None:
    """A worker that knows URL and name gets spec, sampler, pruner and the queued baselines."""
    create_study(spec(), url, "f00d")
    study = open_study(url, "joint")
    assert spec_of(study) == spec()
    assert study.user_attrs["data_fingerprint"] == "f00d" and study.user_attrs["lobtuna_version"]
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    asked = [suggest(spec(), study.ask()) for _ in range(2)]
    assert asked == [RunConfig.parse({**baseline, "epochs": 20}) for baseline in DOCUMENT["baselines"]]


def test_creating_twice_changes_nothing(url: str) -> None:
    """`create` may be repeated, also after a crash that left the baselines half queued."""
    create_study(spec(), url)
    finish(open_study(url, "joint"), 3)
    again = create_study(spec(question="Other words?"), url)
    assert len(again.trials) == 3


def test_a_crash_between_definition_and_baselines_is_mended(url: str) -> None:
    """The second call queues what the first did not come to."""
    create_study(spec(baselines=DOCUMENT["baselines"][:1]), url)
    study = open_study(url, "joint")
    study.set_user_attr("spec", spec().to_json())
    assert [trial.user_attrs["baseline"] for trial in create_study(spec(), url).trials] == [1, 2]


def test_another_definition_is_refused_and_revise_offered(url: str) -> None:
    """The refusal says what differs and what --revise would do."""
    create_study(spec(), url)
    with pytest.raises(StudyExistsError, match=r"num_layers: .*add --revise, which opens the next revision"):
        create_study(spec(parameters=with_layers([2, 3, 4])), url)
    with pytest.raises(StudyExistsError, match=r"budget.trials: nothing -> 9.*which changes it in place"):
        create_study(spec(budget={"trials": 9}), url)
    with pytest.raises(StudyExistsError, match="other artifacts"):
        create_study(spec(), url, artifacts="elsewhere")


def test_other_data_is_refused(url: str) -> None:
    """The data's fingerprint belongs to the study."""
    create_study(spec(), url, "f00d")
    with pytest.raises(SearchError, match="belongs to data f00d, this is data beef"):
        create_study(spec(), url, "beef")


def test_a_foreign_study_is_left_alone(url: str) -> None:
    """A study that Optuna users made by hand is neither opened nor overwritten."""
    create_study(spec(name="other"), url)
    optuna.create_study(study_name="joint", storage=open_study(url, "other")._storage).ask()
    with pytest.raises(SearchError, match="lobtuna did not create it"):
        create_study(spec(), url)
    with pytest.raises(SearchError, match="was not created by lobtuna"):
        open_study(url, "joint")


def test_a_study_that_does_not_exist_names_its_neighbours(url: str, tmp_path: Path) -> None:
    """A typing error is answered with close names; a missing database is not created."""
    with pytest.raises(StudyNotFoundError, match=r"there is no database .*study\.db"):
        open_study(url, "joint")
    assert not (tmp_path / "study.db").exists()
    create_study(spec(), url)
    with pytest.raises(StudyNotFoundError, match="did you mean joint"):
        open_study(url, "jiont")
    with pytest.raises(StudyNotFoundError, match="there are: joint"):
        open_study(url, "quite-different")


def test_a_study_that_is_over_before_it_begins_is_refused() -> None:
    """A date of the past in `until` is a mistake, not an empty study."""
    with pytest.raises(SearchError, match="which is past"):
        refuse_past_end(spec(budget={"until": "2020-01-01T00:00:00Z"}))


def test_runs_show_scores_and_the_best(url: str) -> None:
    """Complete runs by number; pruned ones on request, with their best epoch's value; failed ones never."""
    study = create_study(spec(), url)
    finish(study, 8)
    finish(study, 1, fail=True)
    runs = finished_runs(study)
    assert [run.number for run in runs] == [0, 1, 3, 4, 6, 7]
    assert runs[0].value == pytest.approx(0.3) and runs[0].select["t0"] == pytest.approx(0.4) and runs[0].report == {}
    assert runs[0].config == RunConfig.parse({**DOCUMENT["baselines"][0], "epochs": 20})
    assert best_run(runs) == runs[0] and best_run([]) is None
    pruned = next(run for run in finished_runs(study, pruned=True) if run.state == "pruned")
    assert pruned.value == pytest.approx(max(study.trials[2].intermediate_values.values()))


def test_a_revision_imports_the_trials_that_fit(url: str) -> None:
    """`joint@2` starts with what `joint` found out, and says how much of it and why not the rest."""
    study = create_study(spec(), url, "f00d")
    finish(study, 15)
    fits = [t for t in study.trials if t.user_attrs["configuration"]["num_layers"] in (2, 3)]
    changed = spec(parameters=with_layers([2, 3, 4]), baselines=DOCUMENT["baselines"])
    revision = revise(changed, url)
    copied = open_study(url, "joint@2")
    assert not revision.in_place and (revision.imported, revision.offered) == (len(fits), 15)
    assert any("num_layers=1 is not one of 2, 3, 4" in reason for reason in revision.reasons)
    assert [t.user_attrs["imported_from"] for t in copied.trials] == [f"joint#{t.number}" for t in fits]
    for old, new in zip(fits, copied.trials, strict=True):
        assert (old.state, old.value, old.params, old.intermediate_values) == (
            new.state, new.value, new.params, new.intermediate_values)  # fmt: skip
        assert f"artifacts:artifact-{old.number}" in new.system_attrs and new.datetime_start == old.datetime_start
    assert copied.user_attrs["data_fingerprint"] == "f00d" and copied.user_attrs["revision_of"] == "joint"
    assert suggest(spec_of(copied), copied.ask()).num_layers in (2, 3, 4)


def test_a_revision_cut_short_is_finished_by_the_next_call(url: str) -> None:
    """Importing again adds what is missing and nothing twice."""
    finish(create_study(spec(), url), 12)
    changed = spec(parameters=with_layers([1, 2, 3, 4]), baselines=())
    revise(changed, url)
    whole = len(open_study(url, "joint@2").trials)
    storage = open_study(url, "joint")._storage
    optuna.delete_study(study_name="joint@2", storage=storage)
    from search.study.create import create_in

    renamed = changed.model_copy(update={"name": "joint@2"})
    half = create_in(storage, renamed, attributes={"revision_of": "joint"}, baselines=False)
    from search.study.revise import adapt

    for trial in open_study(url, "joint").trials[:5]:
        half.add_trial(adapt(trial, renamed, {"imported_from": f"joint#{trial.number}"}))
    assert revise(changed, url).imported == whole == len(open_study(url, "joint@2").trials) == 12


def test_a_second_revision_follows_the_first(url: str) -> None:
    """Revisions are counted up, and the file's name stays what it is."""
    create_study(spec(baselines=()), url)
    revise(spec(parameters=with_layers([2, 3]), baselines=()), url)
    third = revise(spec(parameters=with_layers([3]), baselines=()), url)
    assert third.study.study_name == "joint@3" and third.previous == "joint@2"
    with pytest.raises(StudyExistsError, match="its revision 'joint@3' says what the file says"):
        create_study(spec(parameters=with_layers([3]), baselines=()), url)


def test_terms_change_in_place(url: str) -> None:
    """More budget does not need another study."""
    finish(create_study(spec(), url), 3)
    revision = revise(spec(budget={"trials": 50}), url)
    assert revision.in_place and list(revision.changes) == ["budget.trials"]
    study = open_study(url, "joint")
    assert spec_of(study).budget.trials == 50 and len(study.trials) == 3
    assert revise(spec(budget={"trials": 50}), url).changes == {}


def test_scores_on_other_sequences_are_not_mixed(url: str) -> None:
    """A changed split cannot take over old scores."""
    create_study(spec(), url)
    with pytest.raises(SearchError, match="different selection sequences cannot be compared"):
        revise(spec(validation={"report_fraction": 0.5}), url)


def test_revising_what_is_not_there_says_so(url: str) -> None:
    with pytest.raises(StudyNotFoundError, match="no database"):
        revise(spec(), url)


def _create_at(barrier: Any, url: str) -> None:
    barrier.wait()
    create_study(spec(), url)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_machines_may_create_at_once(kind: str, url: str, request: pytest.FixtureRequest) -> None:
    """`run` started everywhere at the same moment makes one study, each baseline queued once."""
    if kind == "postgresql":
        url = request.getfixturevalue("postgres_url")
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    machines = [context.Process(target=_create_at, args=(barrier, url)) for _ in range(4)]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join(60)
    assert [machine.exitcode for machine in machines] == [0] * 4
    study = open_study(url, "joint")
    assert spec_of(study) == spec()
    waiting = study.get_trials(states=(TrialState.WAITING,))
    assert sorted(trial.user_attrs["baseline"] for trial in waiting) == [1, 2]
    assert begun(study.trials) == []  # what was withdrawn is not paid for


def test_the_whole_way_on_postgresql(postgres_url: str) -> None:
    """Creating, finishing, repeating, ranking and revising are the same on the database of many machines."""
    from search.study.ranking import rank_runs
    from search.study.replication import choose, pool, replicate
    from search.study.status import status_of

    named = {"name": "whole", "baselines": DOCUMENT["baselines"]}
    study = create_study(spec(**named), postgres_url, "f00d")
    finish(study, 9)
    assert replicate(study, choose(study, top=2), seeds=3).queued == 4
    now = status_of(study)
    assert now.trials["complete"] == 6 and now.replicates is not None and now.replicates["waiting"] == 4
    assert len(rank_runs(pool(study)).rows) == 6
    changed = spec(**named, parameters={**DOCUMENT["parameters"], "num_layers": {"choices": [1, 2, 3, 4]}})
    assert revise(changed, postgres_url).imported == 9
