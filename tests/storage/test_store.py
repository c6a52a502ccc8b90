"""Promises of the store: found from a study, refused where lobtuna did not open it, artifacts as the study says."""

from pathlib import Path

import optuna
import pytest

from storage import open_storage, open_store, store_of
from storage.artifacts.database import DatabaseArtifacts
from storage.artifacts.filesystem import FolderArtifacts
from storage.errors import StorageError
from storage.store import artifacts_of


def test_a_study_leads_to_its_store(tmp_path: Path) -> None:
    """Optuna keeps a study's storage alone; the store is found from it."""
    store = open_store(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(storage=store.storage)
    assert store_of(study) is store_of(store.storage) is store


def test_a_storage_of_plain_optuna_is_refused(tmp_path: Path) -> None:
    """It has no claims and no artifacts; the error says how to open it."""
    for study in (optuna.create_study(), optuna.create_study(storage=f"sqlite:///{tmp_path / 'a.db'}")):
        with pytest.raises(StorageError, match=r"storage\.open_storage"):
            store_of(study)


def test_a_study_names_its_store(tmp_path: Path) -> None:
    """`artifacts_of` opens what the study's creator chose, and the database where nothing was."""
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(storage=storage)
    assert isinstance(artifacts_of(study), DatabaseArtifacts)
    study.set_user_attr("artifacts", str(tmp_path / "elsewhere"))
    assert isinstance(artifacts_of(study), FolderArtifacts)
