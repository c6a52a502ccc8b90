"""A finished run that was saved to disk is stored in the database later, exactly once."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search.errors import SearchError
from search.study.retention import collect
from search.work import rescue
from search.work.rescue import UPLOAD_GRACE, SavedRun, submit
from storage.artifacts import download
from storage.backends.grpc_server import make_server
from storage.backends.registry import open_storage, open_store
from storage.claims import Batch
from storage.store import artifacts_of, store_of
from storage.tables import claims
from tests.machines import create, small_study
from tests.search.work.faults import saved_run


@pytest.mark.parametrize("state", [None, TrialState.WAITING, TrialState.FAIL])
def test_a_saved_run_is_stored_whatever_became_of_its_trial(state: TrialState | None, tmp_path: Path) -> None:
    """Still claimed, queued again, or failed: the run is stored once, with weights, reports and parameters."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = create(url, small_study())
    path = saved_run(study, state).save(tmp_path)
    number, _ = submit(SavedRun.load(path), open_storage(url), "host:2")
    assert number == (1 if state == TrialState.FAIL else 0)
    trial = optuna.load_study(study_name="small", storage=open_storage(url)).trials[number]
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.COMPLETE, 0.2, {0: 0.1, 1: 0.2})
    assert trial.params.keys() == {"lr"}
    assert download(artifacts_of(study), trial.user_attrs["checkpoint"]) == b"weights"
    again, text = submit(SavedRun.load(path), open_storage(url), "host:2")
    assert (again, text) == (number, "was stored before; nothing to do")


class Killed(BaseException):
    """In place of a kill: nothing of this project catches it."""


def gc_after_a_jump(study: optuna.Study) -> None:
    """`lobtuna gc` while a clock has been set forward by so much that everything looks old."""
    collect(study._storage, artifacts_of(study), age=float("-inf"))


STEPS = ["_stand_in", "store_files", "seize", "write", "none"]


@pytest.mark.parametrize("scheme", ["sqlite", "postgresql", "grpc", "journal"])
@pytest.mark.parametrize("step", STEPS)
def test_a_new_trial_for_a_run_survives_a_kill_and_a_gc_at_any_step(
    step: str, scheme: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's own trial has failed. The process that stores the run as a new trial is killed after a step, and `gc`
    runs then, by a clock that was set; the next call completes the same trial, once, with its weights."""
    server = None
    url = request.getfixturevalue("postgres_url") if scheme == "postgresql" else f"sqlite:///{tmp_path / 's.db'}"
    if scheme == "journal":
        url = f"journal://{tmp_path / 's.log'}"
    study = create(url, small_study())
    if scheme == "grpc":
        server, port = make_server(open_store(url), "127.0.0.1", 0)
        server.start()
        url = f"grpc://127.0.0.1:{port}"
    storage = open_storage(url)
    saved = saved_run(study, TrialState.FAIL)
    study = optuna.load_study(study_name="small", storage=storage)
    fleet = store_of(storage).fleet
    owner, name = (type(fleet), step) if hasattr(fleet, step) else (rescue, step)

    def killed_after(*arguments: object, **terms: object) -> None:
        original(*arguments, **terms)
        gc_after_a_jump(study)
        raise Killed

    if step == "none":
        number, _ = submit(saved, storage, "host:2")
    else:
        original = getattr(owner, name)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(owner, name, killed_after)
            submit(saved, storage, "host:2")
        (number,) = {t.number for t in study.get_trials() if t.state != TrialState.FAIL}
        assert submit(saved, open_storage(url), "host:3")[0] == number
    gc_after_a_jump(study)
    assert submit(saved, open_storage(url), "host:3") == (number, "was stored before; nothing to do")
    trial = study.get_trials()[number]
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.COMPLETE, 0.2, {0: 0.1, 1: 0.2})
    assert trial.params.keys() == {"lr"} and len(study.get_trials(states=(TrialState.COMPLETE,))) == 1
    assert [entry.artifact_id for entry in artifacts_of(study).entries()] == [trial.user_attrs["checkpoint"]]
    assert download(artifacts_of(study), trial.user_attrs["checkpoint"]) == b"weights"
    if server is not None:
        server.stop(None)


def test_gc_beside_submit_takes_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just after they were stored, while no trial names them, and by a clock that was set: their ids show a trial that
    has not ended."""
    study = create(f"sqlite:///{tmp_path / 'study.db'}", small_study())
    saved = saved_run(study, TrialState.FAIL)
    stored = rescue.store_files

    def then_gc(*arguments: Any) -> Batch:
        batch = stored(*arguments)
        gc_after_a_jump(study)
        return batch

    monkeypatch.setattr(rescue, "store_files", then_gc)
    number, text = submit(saved, study._storage, "host:2")
    assert text.startswith("stored as a new trial")
    assert download(artifacts_of(study), study.trials[number].user_attrs["checkpoint"]) == b"weights"


def test_a_new_trial_whose_maker_vanished_is_trained_by_a_worker(tmp_path: Path) -> None:
    """It is queued again after a grace, with the run's parameters and seed, and nothing waits for it for ever; the run
    that was saved then has its place."""
    study = create(f"sqlite:///{tmp_path / 'study.db'}", small_study())
    saved = saved_run(study, TrialState.FAIL)
    rescue._stand_in(saved, study, "host:2")
    store = store_of(study)
    with store.engine.begin() as connection:  # type: ignore[union-attr]
        connection.execute(claims.update().values(beat=claims.c.beat - UPLOAD_GRACE - 1.0, grace=0.0))
    (found,) = store.fleet.recover(study._study_id, 1)
    assert (found.number, found.worker, found.given_up) == (1, "host:2", False)
    again = study.ask()
    assert again.number == 1 and again.suggest_float("lr", 1e-3, 1e-2, log=True) == pytest.approx(lr_of(saved))
    assert again.user_attrs["seed"] == saved.batch.user_attrs["seed"]
    study.tell(again, 0.2)
    assert submit(saved, study._storage, "host:3") == (1, "was stored before; nothing to do")


def lr_of(saved: SavedRun) -> float:
    """The learning rate of the saved run."""
    value, distribution = saved.batch.params["lr"]
    return float(distribution.to_external_repr(value))


def test_other_files_are_refused(tmp_path: Path) -> None:
    """A missing file, another file, a truncated one."""
    study = create(f"sqlite:///{tmp_path / 'study.db'}", small_study())
    path = saved_run(study, None).save(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    (tmp_path / "notes.run").write_text("notes")
    for bad in (path, tmp_path / "notes.run", tmp_path / "absent.run"):
        with pytest.raises(SearchError):
            SavedRun.load(bad)
