"""A worker is refused, or ends in one line, where the study is not one that it can work on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search.study.create import create_study, is_duplicate_of_earlier
from search.study.orders import FIRST_SEED
from search.study.record import state_of
from search.study.replication import choose, enqueue_replicate, open_replicates
from search.studyfile.spec import StudySpec
from search.work.options import WorkOptions
from search.work.session import StudySession
from search.work.worker import work
from storage.backends.registry import open_storage
from storage.claims import Batch, Claim
from storage.errors import DatabaseUnavailable
from tests.machines import Worker, create, outcome_of, small_study, trials
from tests.search.study.made_replicates import SPEC, search
from tests.storage.bench import made_by_plain_optuna


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


def test_a_study_that_took_the_place_of_a_deleted_one(small_data: Path, tmp_path: Path) -> None:
    """In a file whose tables plain Optuna made, ids are given out again: the worker ends, and leaves the new study to
    workers that have read its definition."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    made_by_plain_optuna(url)
    create(url, small_study(trials=1, epochs=1))
    worker = Worker(url, "small", small_data, tmp_path, wait=True)
    worker.wait_for(lambda event: event.kind == "wait")
    first = open_storage(url).get_study_id_from_name("small")
    optuna.delete_study(study_name="small", storage=open_storage(url))
    create(url, small_study(trials=3, epochs=5000))
    assert open_storage(url).get_study_id_from_name("small") == first, "the id is used again, or nothing is shown"
    assert worker.join() == 0
    assert "was deleted, and another one has its place" in worker.events[-1].text
    assert all(trial.state == TrialState.WAITING for trial in trials(url))


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


@pytest.mark.parametrize("kind", ["replicate", "trial"])
def test_an_outage_after_a_trial_was_taken(sqlite_url: str, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """What was taken is held, so it is what the next try returns: a worker that looked for another read no trial again,
    waited for the one that it held itself, and never ended."""
    study = create_study(SPEC, sqlite_url, "f00d")
    search(study, 1)
    (run,) = choose(study)
    enqueue_replicate(open_replicates(study), SPEC, run, (SPEC.seed + FIRST_SEED, None))
    name = f"{SPEC.name}.seeds" if kind == "replicate" else SPEC.name
    session = StudySession.open(open_storage(sqlite_url), name, Claim("host:1"), patience=1.0)
    outages = [DatabaseUnavailable("the line was cut")]

    def cut(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            found = function(*arguments)
            if outages:
                raise outages.pop()
            return found

        return call

    monkeypatch.setattr("search.work.session.is_duplicate_of_earlier", cut(is_duplicate_of_earlier))
    monkeypatch.setattr(session.study, "ask", cut(session.study.ask))
    take = session.take if kind == "replicate" else session.ask
    with pytest.raises(DatabaseUnavailable):
        take()
    again = take()
    assert again is not None and again.number == session.storage.own().number == (0 if kind == "replicate" else 1)
    running = [
        t.number for t in open_storage(sqlite_url).get_all_trials(again.study._study_id) if not t.state.is_finished()
    ]
    assert running == [again.number]
    session.storage.end(Batch(state=TrialState.COMPLETE, values=[0.1]))
    assert session.take() is None and session.storage.running is None


@pytest.mark.timeout(120)
def test_a_worker_ends_after_such_an_outage(
    sqlite_url: str, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trains the replicate that it had taken, and leaves when nothing is left."""
    create(sqlite_url, small_study(trials=1, epochs=1))
    options = WorkOptions(device="cpu", keep_folder=tmp_path)
    work(sqlite_url, "small", small_data, options=options)
    study = optuna.load_study(study_name="small", storage=open_storage(sqlite_url))
    (run,) = choose(study)
    enqueue_replicate(open_replicates(study), small_study(trials=1, epochs=1), run, (FIRST_SEED, None))
    outages = [DatabaseUnavailable("the line was cut")]

    def duplicate(*arguments: Any) -> bool:
        if outages:
            raise outages.pop()
        return is_duplicate_of_earlier(*arguments)

    monkeypatch.setattr("search.work.session.is_duplicate_of_earlier", duplicate)
    assert work(sqlite_url, "small", small_data, options=options).outcomes == {"complete": 1}


@pytest.mark.timeout(120)
def test_the_last_trial_of_the_budget_is_gone_on_with(
    sqlite_url: str, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an outage comes right after it was begun: it counts as running, and is this worker's to train."""
    create(sqlite_url, small_study(trials=1, epochs=1))
    outages, ask = [DatabaseUnavailable("the line was cut")], optuna.Study.ask

    def asked(study: optuna.Study) -> optuna.Trial:
        trial = ask(study)
        if outages:
            raise outages.pop()
        return trial

    monkeypatch.setattr(optuna.Study, "ask", asked)
    options = WorkOptions(device="cpu", keep_folder=tmp_path)
    assert work(sqlite_url, "small", small_data, options=options).outcomes == {"complete": 1}
