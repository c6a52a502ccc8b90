"""A worker is refused, or ends in one line, where the study is not one that it can work on."""

from pathlib import Path

import optuna
import pytest

from search.study.create import create_study
from search.study.orders import FIRST_SEED
from search.study.record import state_of
from search.study.replication import choose, enqueue_replicate, open_replicates
from search.studyfile.spec import StudySpec
from search.work.session import StudySession
from storage.backends.registry import open_storage
from storage.claims import Claim
from tests.machines import Worker, create, outcome_of, small_study
from tests.search.study.made_replicates import SPEC, search


def test_other_data_and_other_versions_are_refused(
    small_data: Path, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker with other data, or of another lobtuna, says so and touches nothing."""
    from lobmodels.data.synthetic import write_dataset

    study = create(sqlite_url, small_study(trials=1, epochs=1))
    assert Worker(sqlite_url, "small", small_data, tmp_path).join() == 0
    before = outcome_of(sqlite_url)
    other = tmp_path / "other"
    other.mkdir()
    write_dataset(other, train=24, valid=12, seed=8)
    stranger = Worker(sqlite_url, "small", other, tmp_path)
    assert stranger.join() == 1
    assert "belongs to data" in stranger.error
    study.set_user_attr("lobtuna_version", "9.9.0")
    newer = Worker(sqlite_url, "small", small_data, tmp_path)
    assert newer.join() == 1
    assert "created by lobtuna 9.9.0" in newer.error
    assert outcome_of(sqlite_url) == before


def test_a_study_deleted_under_a_worker(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """The worker ends with one line; nothing of the study comes back."""
    create(sqlite_url, small_study(trials=3, epochs=5000))
    worker = Worker(sqlite_url, "small", small_data, tmp_path)
    worker.wait_epoch(0)
    optuna.delete_study(study_name="small", storage=open_storage(sqlite_url))
    assert worker.join() == 1
    assert "was deleted" in worker.error
    assert optuna.get_all_study_names(open_storage(sqlite_url)) == []


def test_of_two_equal_replicates_only_the_first_is_taken(sqlite_url: str) -> None:
    """Two workers queued the same one at the same moment, and the one that would have withdrawn it is dead."""
    study = create_study(SPEC, sqlite_url, "f00d")
    search(study, 1)
    (run,) = choose(study)
    target = open_replicates(study)
    for _ in range(2):
        enqueue_replicate(target, SPEC, run, (SPEC.seed + FIRST_SEED, None))
    session = StudySession.open(open_storage(sqlite_url), "s.seeds", Claim("here:1"), patience=5.0)
    first = session.take()
    assert first is not None and first.number == 0
    assert session.sibling().take() is None
    session.storage.drop()
    states = [state_of(trial) for trial in target.get_trials(deepcopy=False)]
    assert states == ["running", "withdrawn"]


def test_a_second_look_that_is_added_in_place_finds_whole_curves(sqlite_url: str) -> None:
    """Beside halving a worker reads the reports until its last rung. Where a revision adds a second look, which
    forecasts from whole curves, the trials that it knows are read again, whichever of its lanes asks."""
    parameters = {"lr": {"float": [2e-4, 3e-3], "log": True}, "epochs": 60}
    terms = StudySpec.from_json({"name": "s", "parameters": parameters, "pruner": {"name": "halving"}})
    study = create_study(terms, sqlite_url, "f00d")
    for _ in range(2):
        trial = study.ask()
        for epoch in range(60):
            trial.report(0.1 + 0.001 * epoch, epoch)
        study.tell(trial, 0.2)
    session = StudySession.open(open_storage(sqlite_url), "s", Claim("here:1"), patience=5.0)
    lanes = [session, session.sibling()]
    read = lambda: [[len(t.intermediate_values) for t in lane.trials()] for lane in lanes]  # noqa: E731
    assert read() == [[17, 17]] * 2
    changed = session.adopt(StudySpec.from_json({**terms.to_json(), "second_look": {"share": 0.2}}))
    assert changed == ["second_look"] and read() == [[60, 60]] * 2
