"""A study is created once, with its whole definition, its baselines and its data."""

from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from lobmodels.config import RunConfig
from search.errors import SearchError, StudyExistsError
from search.study.budget import begun
from search.study.create import create_study, refuse_past_end
from search.study.open import open_study, spec_of
from search.study.replication import find_replicates, open_replicates
from search.study.revise import revise
from search.studyfile.space import suggest
from storage.backends.registry import open_storage
from tests.machines import CONTEXT
from tests.search.study.made_trials import DOCUMENT, finish, spec, with_layers

optuna.logging.set_verbosity(optuna.logging.WARNING)


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


def test_a_study_that_is_over_before_it_begins_is_refused() -> None:
    """A date of the past in `until` is a mistake, not an empty study."""
    with pytest.raises(SearchError, match="which is past"):
        refuse_past_end(spec(budget={"until": "2020-01-01T00:00:00Z"}))


def _create_at(barrier: Any, url: str) -> None:
    barrier.wait()
    create_study(spec(), url)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_machines_may_create_at_once(kind: str, url: str, request: pytest.FixtureRequest) -> None:
    """`run` started everywhere at the same moment makes one study, each baseline queued once."""
    if kind == "postgresql":
        url = request.getfixturevalue("postgres_url")
    barrier = CONTEXT.Barrier(4)
    machines = [CONTEXT.Process(target=_create_at, args=(barrier, url)) for _ in range(4)]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join(300)
    assert [machine.exitcode for machine in machines] == [0] * 4
    study = open_study(url, "joint")
    assert spec_of(study) == spec()
    waiting = study.get_trials(states=(TrialState.WAITING,))
    assert sorted(trial.user_attrs["baseline"] for trial in waiting) == [1, 2]
    assert begun(study.trials) == []  # what was withdrawn is not paid for


def _tell(barrier: Any, url: str, layers: list[int], revises: bool, told: Any) -> None:
    """Create or revise ten studies at the same moments as another process does, and pass on what was said."""
    for number in range(10):
        named = spec(name=f"s{number}", parameters=with_layers(layers), baselines=())
        barrier.wait(300)
        try:
            told.put(
                (number, layers, revise(named, url).study.study_name if revises else create_study(named, url) and "")
            )
        except StudyExistsError as error:
            told.put((number, layers, error))


@pytest.mark.parametrize("revises", [False, True])
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_of_two_definitions_at_once_one_is_stored_and_its_author_alone_told_so(
    kind: str, revises: bool, url: str, request: pytest.FixtureRequest
) -> None:
    """Whoever comes second learns that there is another definition; with --revise, that it is a moment old."""
    if kind == "postgresql":
        url = request.getfixturevalue("postgres_url")
    for number in range(10 * revises):
        create_study(spec(name=f"s{number}", baselines=()), url)
    barrier, told = CONTEXT.Barrier(2), CONTEXT.Queue()
    choices = ([2, 3], [3, 4])
    machines = [CONTEXT.Process(target=_tell, args=(barrier, url, layers, revises, told)) for layers in choices]
    for machine in machines:
        machine.start()
    answers = [told.get(timeout=300) for _ in range(20)]
    for number in range(10):
        pair = [(layers, answer) for found, layers, answer in answers if found == number]
        succeeded = [layers for layers, answer in pair if isinstance(answer, str)]
        if revises and len(succeeded) == 2:  # one came after the other: it revised the other's revision
            assert sorted(answer for _, answer in pair) == [f"s{number}@2", f"s{number}@3"]
            continue
        (layers,), (error,) = succeeded, [answer for _, answer in pair if not isinstance(answer, str)]
        stored = spec_of(open_study(url, f"s{number}{'@2' * revises}"))
        assert stored.to_json()["parameters"]["num_layers"] == {"choices": layers}
        assert ("give the same command again" if revises else "add --revise") in str(error)


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


def test_replicates_of_a_study_that_is_gone_are_not_adopted(url: str) -> None:
    """Plain Optuna has deleted the study alone: its replicates would be ranked as runs of the new one."""
    open_replicates(create_study(spec(), url))
    optuna.delete_study(study_name="joint", storage=open_storage(url))
    with pytest.raises(StudyExistsError, match=r"^study 'joint\.seeds' has the replicates of an earlier study 'joint'"):
        create_study(spec(), url)
    optuna.delete_study(study_name="joint.seeds", storage=open_storage(url))
    assert find_replicates(create_study(spec(), url)) is None
