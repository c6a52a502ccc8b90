"""A revised study keeps every trial that fits."""

from typing import Any

import optuna
import pytest

from search.errors import SearchError, StudyExistsError, StudyNotFoundError
from search.study.create import create_study
from search.study.open import open_study, spec_of
from search.study.replication import open_replicates
from search.study.revise import revise
from search.studyfile.space import suggest
from tests.machines import CONTEXT
from tests.search.study.made_trials import DOCUMENT, finish, spec, with_layers


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


def test_a_revision_that_has_only_a_name_yet_is_defined_by_the_next_call(url: str) -> None:
    """Its process was killed, or is about to define it: whoever is first does."""
    study = create_study(spec(baselines=()), url)
    optuna.create_study(study_name="joint@2", storage=study._storage, direction="maximize")
    assert revise(spec(parameters=with_layers([2, 3]), baselines=()), url).study.study_name == "joint@2"


def test_replicates_of_a_revision_that_is_gone_are_told(url: str) -> None:
    """Plain Optuna has deleted the revision alone: the remedy is named, and no other person is blamed."""
    study = create_study(spec(baselines=()), url)
    changed = spec(parameters=with_layers([2, 3]), baselines=())
    open_replicates(revise(changed, url).study)
    optuna.delete_study(study_name="joint@2", storage=study._storage)
    with pytest.raises(StudyExistsError, match=r"lobtuna delete joint@2\.seeds"):
        revise(changed, url)


def test_a_second_revision_follows_the_first(url: str) -> None:
    """Revisions are counted up, and the file's name stays what it is."""
    create_study(spec(baselines=()), url)
    revise(spec(parameters=with_layers([2, 3]), baselines=()), url)
    third = revise(spec(parameters=with_layers([3]), baselines=()), url)
    assert third.study.study_name == "joint@3" and third.previous == "joint@2"
    with pytest.raises(StudyExistsError, match="its revision 'joint@3' has the definition of the file"):
        create_study(spec(parameters=with_layers([3]), baselines=()), url)


def test_terms_change_in_place(url: str) -> None:
    """More budget does not need another study."""
    finish(create_study(spec(), url), 3)
    revision = revise(spec(budget={"trials": 50}), url)
    assert revision.in_place and list(revision.changes) == ["budget.trials"]
    study = open_study(url, "joint")
    assert spec_of(study).budget.trials == 50 and len(study.trials) == 3
    assert revise(spec(budget={"trials": 50}), url).changes == {}


def _change(barrier: Any, url: str, trials: int, told: Any) -> None:
    """Give thirty studies another budget, at the same moments as another process, and pass on from which one."""
    for number in range(30):
        named = spec(name=f"s{number}", budget={"trials": trials}, baselines=())
        barrier.wait(300)
        try:
            told.put((number, revise(named, url).changes["budget.trials"]))
        except StudyExistsError as error:
            told.put((number, str(error)))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_of_two_changes_in_place_at_once_none_is_lost_unseen(
    kind: str, url: str, request: pytest.FixtureRequest
) -> None:
    """Whoever is told success has changed what was there: nothing, or what the other had just made of it."""
    if kind == "postgresql":
        url = request.getfixturevalue("postgres_url")
    for number in range(30):
        create_study(spec(name=f"s{number}", baselines=()), url)
    barrier, told = CONTEXT.Barrier(2), CONTEXT.Queue()
    machines = [CONTEXT.Process(target=_change, args=(barrier, url, trials, told)) for trials in (50, 60)]
    for machine in machines:
        machine.start()
    answers = [told.get(timeout=300) for _ in range(60)]
    for number in range(30):
        pair = [answer for found, answer in answers if found == number]
        made = [answer for answer in pair if isinstance(answer, tuple)]
        assert [old for old, _ in made].count(None) == 1
        assert all("give the same command again" in answer for answer in pair if isinstance(answer, str))
        (last,) = {new for _, new in made} - {old for old, _ in made}
        assert spec_of(open_study(url, f"s{number}")).budget.trials == last


def test_scores_on_other_sequences_are_not_mixed(url: str) -> None:
    """A changed split cannot take over old scores."""
    create_study(spec(), url)
    with pytest.raises(SearchError, match="different selection sequences cannot be compared"):
        revise(spec(validation={"report_fraction": 0.5}), url)


def test_revising_what_is_not_there_says_so(url: str) -> None:
    with pytest.raises(StudyNotFoundError, match="no database"):
        revise(spec(), url)
