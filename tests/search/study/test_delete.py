"""Promises of deletion: the study, its replicates and their artifacts go, and nothing that anybody else names."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import create_trial

from search.study.delete import delete, delete_by_id, plan_deletion
from search.study.open import study_names
from search.study.replication import open_replicates
from storage.artifacts import upload_bytes
from storage.errors import StorageError
from storage.store import artifacts_of
from tests.machines import create, small_study


def with_run(study: optuna.Study, artifact_id: str | None = None) -> str:
    """Add a complete trial; returns its artifact."""
    artifact_id = artifact_id or upload_bytes(artifacts_of(study), study.study_name.encode())
    study.add_trial(create_trial(value=0.5, user_attrs={"checkpoint": artifact_id}))
    return artifact_id


def test_what_others_name_stays(tmp_path: Path) -> None:
    """A revision keeps the checkpoint that it shares; a user's file in the same folder is not looked at."""
    url, folder = f"sqlite:///{tmp_path / 'study.db'}", tmp_path / "shared"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    study, revision = create(url, small_study()), create(url, small_study("small@2"))
    for one in (study, revision):
        one.set_user_attr("artifacts", str(folder))
    replicates = open_replicates(study)
    common = with_run(study)
    with_run(revision, common)
    lonely = {with_run(study), with_run(replicates)}
    artifacts_of(study).remove(with_run(study))  # by a worker, to make room: its trial still names it
    study.ask()
    plan = plan_deletion(study._storage, study)
    assert (plan.studies, plan.trials, plan.running) == (("small.seeds", "small"), 5, 1)
    assert plan.revisions == ("small@2",)
    assert delete(study._storage, study) == len(lonely)
    assert study_names(study._storage) == ["small@2"]
    assert {path.name for path in folder.iterdir()} == {"thesis.tex", common}


def test_a_store_that_cannot_be_opened_stops_it(tmp_path: Path) -> None:
    """Nothing is deleted where the artifacts could not be removed as well."""
    study = create(f"sqlite:///{tmp_path / 'study.db'}", small_study())
    study.set_user_attr("artifacts", "ftp://somewhere")
    with pytest.raises(StorageError):
        delete(study._storage, study)
    assert study_names(study._storage) == ["small"]


def test_what_others_do_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else deletes the same study, or a worker that does not know it yet makes a new study of replicates."""
    study = create(f"sqlite:///{tmp_path / 'study.db'}", small_study())
    storage = study._storage
    delete_study, done = storage.delete_study, list[int]()

    def and_others(study_id: int) -> None:
        delete_study(study_id)
        if not done:
            open_replicates(create(f"sqlite:///{tmp_path / 'study.db'}", small_study()))
            delete_study(storage.get_study_id_from_name("small"))
        done.append(study_id)

    monkeypatch.setattr(storage, "delete_study", and_others)
    delete(storage, study)
    assert study_names(storage) == []
    delete(storage, study)


def test_a_foreign_study_is_deleted_alone(tmp_path: Path) -> None:
    """By its id, as the dashboard asks: plain Optuna's study has nothing else; lobtuna's goes with its replicates."""
    study = create(f"sqlite:///{tmp_path / 'study.db'}", small_study())
    open_replicates(study)
    foreign = optuna.create_study(study_name="foreign", storage=study._storage)
    delete_by_id(study._storage, foreign._study_id)
    assert study_names(study._storage) == ["small", "small.seeds"]
    delete_by_id(study._storage, study._study_id)
    assert study_names(study._storage) == []
    with pytest.raises(KeyError):
        delete_by_id(study._storage, study._study_id)
