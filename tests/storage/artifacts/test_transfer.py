"""Promises of moving artifacts: ids that carry a checksum, bytes before anything refers to them."""

from pathlib import Path
from typing import BinaryIO

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.artifacts import Artifacts, download, open_artifacts, upload, upload_bytes
from storage.backends.registry import open_storage
from storage.claims import Batch, Claim
from storage.errors import ArtifactNotStored
from storage.worker.background import BackgroundStorage


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=200))
def test_ids_are_what_every_store_and_the_dashboard_take(data: bytes, tmp_path: Path) -> None:
    """Ids consist of hexadecimal digits and dashes, whatever the bytes."""
    store = open_artifacts(str(tmp_path))
    artifact_id = upload_bytes(store, data)
    assert set(artifact_id) <= set("0123456789abcdef-")
    assert download(store, artifact_id) == data


def test_the_bytes_are_there_before_anything_refers_to_them(tmp_path: Path) -> None:
    """When the store takes no bytes, no trial names an artifact."""
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(storage=storage)
    own = BackgroundStorage(storage.store, study._study_id, Claim("host:1"))
    trial = optuna.Study(study.study_name, own).ask()

    class Refusing(Artifacts):
        def write(self, artifact_id: str, content_body: BinaryIO) -> None:
            raise ArtifactNotStored("the bucket is gone")

    with pytest.raises(ArtifactNotStored):
        upload(Refusing(), trial, own, b"data", "a.bin")
    own.end(Batch(state=optuna.trial.TrialState.FAIL))
    assert study.trials[0].system_attrs == {}


def test_an_artifact_belongs_to_a_study_or_a_trial(tmp_path: Path) -> None:
    """Optuna's own functions list what `upload` recorded, under the name and type it was given."""
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    for owner in (study, trial):
        artifact_id = upload(storage.store.artifacts, owner, storage, b"a,b", "table.csv", "text/csv")
        (meta,) = optuna.artifacts.get_all_artifact_meta(owner, storage=storage)
        assert (meta.artifact_id, meta.filename, meta.mimetype) == (artifact_id, "table.csv", "text/csv")
