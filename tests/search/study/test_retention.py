"""Promises of retention, `gc`, and of runs that were kept on disk."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from search.errors import SearchError
from search.study.retention import RESUME, collect, make_room
from search.work.rescue import KeptRun, submit
from storage.artifacts import attribute_of, download, upload_bytes
from storage.backends.registry import open_storage
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
    own.put(Batch(system_attrs={RESUME: {"artifact": state, "epoch": 1}}))
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


def _kept(small: Small, state: TrialState | None) -> KeptRun:
    """A kept run whose trial has meanwhile become `state` (None: still running)."""
    own = BackgroundStorage(store_of(small.storage), small.study._study_id, Claim("host:1"))
    trial = optuna.Study(small.study.study_name, own).ask()
    trial.suggest_float("lr", 1e-3, 1e-2, log=True)
    record = own.own()
    whole = Batch(
        params={name: (d.to_internal_repr(record.params[name]), d) for name, d in record.distributions.items()},
        intermediate={0: 0.1, 1: 0.2},
        user_attrs={"key": "k", "seed": 0},
        state=TrialState.COMPLETE,
        values=[0.2],
    )
    if state is not None:
        own.end(Batch(state=state))
    else:
        assert own.running is not None
        own.running.channel.flush(5)
        own.drop()
    files = [("w.safetensors", "application/octet-stream", b"weights")]
    return KeptRun("small", record.number, record._trial_id, whole, files)


@pytest.mark.parametrize("state", [None, TrialState.WAITING, TrialState.FAIL])
def test_a_kept_run_is_handed_in_whatever_became_of_its_trial(state: TrialState | None, tmp_path: Path) -> None:
    """Still claimed, queued again, or failed: the run is stored once, with weights, reports and parameters."""
    small = Small(tmp_path)
    path = _kept(small, state).save(tmp_path)
    number, _ = submit(KeptRun.load(path), open_storage(small.url), "host:2")
    assert number == (1 if state == TrialState.FAIL else 0)
    trial = optuna.load_study(study_name="small", storage=open_storage(small.url)).trials[number]
    assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.COMPLETE, 0.2, {0: 0.1, 1: 0.2})
    assert trial.params.keys() == {"lr"}
    assert download(small.store, trial.user_attrs["checkpoint"]) == b"weights"
    again, text = submit(KeptRun.load(path), open_storage(small.url), "host:2")
    if state != TrialState.FAIL:
        assert (again, text) == (0, "was handed in before; nothing to do")


def test_what_is_no_kept_run_is_refused(tmp_path: Path) -> None:
    """A missing file, another file, a truncated one."""
    small = Small(tmp_path)
    path = _kept(small, None).save(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    (tmp_path / "notes.run").write_text("notes")
    for bad in (path, tmp_path / "notes.run", tmp_path / "absent.run"):
        with pytest.raises(SearchError):
            KeptRun.load(bad)
