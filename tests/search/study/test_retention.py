"""The best checkpoints stay, and `gc` removes what nothing refers to."""

from pathlib import Path

import optuna
from optuna.trial import TrialState, create_trial

from search.study.retention import collect, make_room
from search.study.writers import write_stored_state
from storage.artifacts import attribute_of, upload_bytes
from storage.claims import Batch, Claim
from storage.store import artifacts_of, store_of
from storage.worker.background import BackgroundStorage
from tests.machines import create, small_study


class Small:
    """A study with complete trials, made without training."""

    def __init__(self, folder: Path, **terms: object) -> None:
        self.url = f"sqlite:///{folder / 'study.db'}"
        self.study = create(self.url, small_study(**terms))  # type: ignore[arg-type]
        self.storage = self.study._storage
        self.store = artifacts_of(self.study)

    def complete(self, value: float) -> str:
        """A complete trial with a checkpoint; returns its artifact."""
        artifact_id = upload_bytes(self.store, b"weights %f" % value)
        key, record = attribute_of(artifact_id, "w.safetensors", "application/octet-stream")
        attributes = {"checkpoint": artifact_id}
        self.study.add_trial(create_trial(value=value, user_attrs=attributes, system_attrs={key: record}))
        return artifact_id

    @property
    def stored(self) -> set[str]:
        """Ids in the store."""
        return {entry.artifact_id for entry in self.store.entries()}


def test_the_best_checkpoints_stay(tmp_path: Path) -> None:
    """After each end at most `keep` checkpoints are left, and they are the best."""
    small = Small(tmp_path)
    ids = {}
    for number, value in enumerate([0.3, 0.1, 0.5, 0.2, 0.4]):
        ids[value] = small.complete(value)
        make_room(small.store, small.study.trials, keep=2, newest=number)
    assert small.stored == {ids[0.5], ids[0.4]}


def test_gc_removes_what_nothing_needs_and_nothing_else(tmp_path: Path) -> None:
    """Orphans, states of finished trials and checkpoints past the limit go; the best, a running trial's state, files
    attached to the study and young artifacts stay; a dry run only counts."""
    small = Small(tmp_path, checkpoints={"keep": 2})
    ids = {value: small.complete(value) for value in (0.1, 0.3, 0.2)}
    orphan = upload_bytes(small.store, b"orphan")
    attached = upload_bytes(small.store, b"attached")
    small.storage.set_study_system_attr(small.study._study_id, *attribute_of(attached, "note.csv", "text/csv"))
    own = BackgroundStorage(store_of(small.storage), small.study._study_id, Claim("host:1"))
    state = upload_bytes(small.store, b"state")
    optuna.Study(small.study.study_name, own).ask()
    own.put(write_stored_state(state, 1))
    assert own.running is not None
    own.running.channel.flush(5)
    assert collect(small.storage, small.store).removed == 0, "everything is young"
    dry = collect(small.storage, small.store, age=-1.0, dry=True)
    assert (dry.removed, len(small.stored)) == (2, 6)
    collect(small.storage, small.store, age=-1.0)
    assert small.stored == {ids[0.3], ids[0.2], attached, state}
    assert orphan not in small.stored
    own.end(Batch(state=TrialState.FAIL))
    collect(small.storage, small.store, age=-1.0)
    assert small.stored == {ids[0.3], ids[0.2], attached}


def test_gc_cleans_up_after_deleted_studies(tmp_path: Path) -> None:
    """Deleting a study leaves its artifacts to `gc`."""
    small = Small(tmp_path)
    small.complete(0.1)
    optuna.delete_study(study_name="small", storage=small.storage)
    collect(small.storage, small.store, age=-1.0)
    assert small.stored == set()
