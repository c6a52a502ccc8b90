"""The best checkpoints stay, and `gc` removes what nothing refers to."""

from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState, create_trial

from search.study import retention
from search.study.open import spec_of
from search.study.retention import collect, drop_states, make_room
from search.study.second_look import queue_second_look
from search.study.writers import write_kept_state, write_stored_state
from search.studyfile.terms import SecondLookSpec
from search.work.rescue import store_files
from storage.artifacts import attribute_of, download, new_artifact_id, upload_bytes
from storage.backends.registry import open_store
from storage.claims import Batch, Claim
from storage.optuna_internals import trials
from storage.store import artifacts_of, store_of
from storage.tables import artifacts
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
    own.running.channel.flush(300)
    assert collect(small.storage, small.store).removed == 0, "everything is young"
    dry = collect(small.storage, small.store, age=-1.0, dry=True)
    assert (dry.removed, len(small.stored)) == (2, 6)
    collect(small.storage, small.store, age=-1.0)
    assert small.stored == {ids[0.3], ids[0.2], attached, state}
    assert orphan not in small.stored
    own.end(Batch(state=TrialState.FAIL))
    collect(small.storage, small.store, age=-1.0)
    assert small.stored == {ids[0.3], ids[0.2], attached}


def hours_later(url: str, hours: float) -> None:
    """Let everything in the database be so much older."""
    engine = open_store(url).engine
    assert engine is not None
    with engine.begin() as connection:
        connection.execute(artifacts.update().values(created=artifacts.c.created - 3600 * hours))
        begun = sa.func.datetime(trials.c.datetime_start, f"-{hours} hours")
        connection.execute(trials.update().values(datetime_start=begun + sa.literal(".000000")))


def test_gc_after_a_long_outage(tmp_path: Path) -> None:
    """A worker stored its weights, and the database was away for hours before it could record them. What was stored
    since its trial began stays, however old; what is older than every running trial goes. Once recorded, it is named,
    and what another worker left in the same hours goes as soon as nothing runs any more."""
    small = Small(tmp_path)
    orphan = upload_bytes(small.store, b"orphan")
    hours_later(small.url, 2)
    own = BackgroundStorage(store_of(small.storage), small.study._study_id, Claim("host:1"))
    optuna.Study(small.study.study_name, own).ask()
    left = upload_bytes(small.store, b"of a worker that was killed")
    batch = store_files(small.store, [("w.safetensors", "application/octet-stream", b"weights")], None)
    weights = batch.user_attrs["checkpoint"]
    hours_later(small.url, 5)
    assert collect(small.storage, small.store).removed == 1
    assert small.stored == {left, weights} and orphan not in small.stored
    batch.merge(Batch(state=TrialState.COMPLETE, values=[0.1]))
    own.end(batch)
    assert collect(small.storage, small.store).removed == 1
    assert small.stored == {weights}


@pytest.mark.parametrize("hours", [-48.0, 48.0], ids=["back", "forward"])
@pytest.mark.parametrize("clock", ["of the database", "of the machine"])
def test_gc_where_a_clock_was_set(clock: str, hours: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the database or of the machine was set after a worker had stored a state and its weights, which no
    trial names yet: they stay, whatever their age seems to be. Once the trial has ended, gc keeps what it names."""
    small = Small(tmp_path)
    own = BackgroundStorage(store_of(small.storage), small.study._study_id, Claim("host:1"))
    optuna.Study(small.study.study_name, own).ask()
    trial_id = own.own()._trial_id
    state = upload_bytes(small.store, b"a state that its worker never recorded", trial_id)
    batch = store_files(small.store, [("w.safetensors", "application/octet-stream", b"weights")], trial_id)
    weights = batch.user_attrs["checkpoint"]
    set_clock(clock, hours, small, monkeypatch)
    assert collect(small.storage, small.store).removed == 0
    batch.merge(Batch(state=TrialState.COMPLETE, values=[0.1]))
    own.end(batch)
    collect(small.storage, small.store)
    assert weights in small.stored
    collect(small.storage, small.store, age=float("-inf"))
    assert small.stored == {weights} and state not in small.stored


def set_clock(which: str, hours: float, small: Small, patch: pytest.MonkeyPatch) -> None:
    """From now on this clock is off by so much: ages are what `collect` makes of it."""
    if which == "of the database":
        assert store_of(small.storage).engine is not None
        with store_of(small.storage).engine.begin() as connection:  # type: ignore[union-attr]
            connection.execute(artifacts.update().values(created=artifacts.c.created - 3600 * hours))
        return

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(hours=hours)

    patch.setattr(retention, "datetime", Clock)


def test_gc_beside_a_run_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial records its weights and ends just after gc has looked at what is stored, or at trials: they stay."""
    for moment in ("longest_run", "needs_of", "ids_in"):
        (folder := tmp_path / moment).mkdir()
        small = Small(folder)
        own = BackgroundStorage(store_of(small.storage), small.study._study_id, Claim("host:1"))
        optuna.Study(small.study.study_name, own).ask()
        files = [("w.safetensors", "application/octet-stream", b"weights")]
        batch = store_files(small.store, files, own.own()._trial_id)
        batch.merge(Batch(state=TrialState.COMPLETE, values=[0.1]))
        with monkeypatch.context() as patch:
            look = getattr(retention, moment)

            def late(*given, own=own, batch=batch, look=look):  # type: ignore[no-untyped-def]
                if own.running is not None:
                    own.end(batch)
                return look(*given)

            patch.setattr(retention, moment, late)
            collect(small.storage, small.store, age=float("-inf"))
        assert small.stored == {batch.user_attrs["checkpoint"]}


def test_gc_is_not_held_up_by_trials_of_other_programs(tmp_path: Path) -> None:
    """A plain Optuna study in the same database has a trial that nobody ever ended."""
    small = Small(tmp_path)
    optuna.create_study(study_name="somebody-elses", storage=small.storage).ask()
    upload_bytes(small.store, b"orphan")
    hours_later(small.url, 5)
    assert collect(small.storage, small.store).removed == 1


def test_gc_cleans_up_after_deleted_studies(tmp_path: Path) -> None:
    """Deleting a study leaves its artifacts to `gc`."""
    small = Small(tmp_path)
    small.complete(0.1)
    optuna.delete_study(study_name="small", storage=small.storage)
    collect(small.storage, small.store, age=-1.0)
    assert small.stored == set()


class Shared:
    """A folder that two databases and a user share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "shared"
        self.folder.mkdir()
        (self.folder / "thesis.tex").write_text("years of work")
        (self.folder / "models").mkdir()
        self.older = new_artifact_id(b"of an earlier version")
        (self.folder / self.older).write_bytes(b"of an earlier version")
        (self.folder / f"{'f' * 16}-{self.older}.{'0' * 32}.partial").write_bytes(b"another database writes")
        self.foreign = {path.name for path in self.folder.iterdir()}
        self.studies = [self._study(folder / f"{name}.db") for name in ("one", "two")]

    def _study(self, path: Path) -> optuna.Study:
        study = create(f"sqlite:///{path}", small_study(checkpoints={"keep": 1}))
        study.set_user_attr("artifacts", str(self.folder))
        return study

    def complete(self, study: optuna.Study, value: float) -> str:
        artifact_id = upload_bytes(artifacts_of(study), b"weights %f" % value)
        study.add_trial(create_trial(value=value, user_attrs={"checkpoint": artifact_id}))
        return artifact_id

    @property
    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


def test_gc_touches_nothing_foreign(tmp_path: Path) -> None:
    """In a folder that is shared, files of the user, of another database and of nobody known are counted and left;
    this database's orphans, unfinished files and checkpoints past the limit go, those of deleted studies too."""
    shared = Shared(tmp_path)
    one, two = shared.studies
    kept = {shared.complete(two, 0.9), upload_bytes(artifacts_of(two), b"an orphan of the other")}
    best, spare = shared.complete(one, 0.2), shared.complete(one, 0.1)
    orphan = upload_bytes(artifacts_of(one), b"orphan")
    unfinished = f"{upload_bytes(artifacts_of(one), b'gone')}.{'a' * 32}.partial"
    (shared.folder / unfinished.split(".")[0]).rename(shared.folder / unfinished)
    before = shared.names
    storage, store = one._storage, artifacts_of(one)
    dry = collect(storage, store, age=-1.0, dry=True)
    assert (dry.removed, dry.kept, dry.foreign, shared.names) == (3, 1, len(shared.foreign) + len(kept), before)
    assert collect(storage, store, age=-1.0).removed == 3
    assert shared.names == before - {spare, orphan, unfinished}
    optuna.delete_study(study_name="small", storage=storage)
    assert collect(storage, store, age=-1.0).removed == 1
    assert shared.names == shared.foreign | kept
    assert best not in shared.names


def test_artifacts_of_an_earlier_version_are_this_databases_where_a_trial_names_them(tmp_path: Path) -> None:
    """Ids without a database's id are read, kept while they are needed, and removed past the limit."""
    shared = Shared(tmp_path)
    one, _ = shared.studies
    one.add_trial(create_trial(value=0.1, user_attrs={"checkpoint": shared.older}))
    store = artifacts_of(one)
    assert download(store, shared.older) == b"of an earlier version"
    assert collect(one._storage, store, age=-1.0).removed == 0
    shared.complete(one, 0.9)
    assert collect(one._storage, store, age=-1.0).removed == 1
    assert shared.older not in shared.names


def test_states_of_pruned_runs_have_bounded_room(tmp_path: Path) -> None:
    """After each pruned run the least promising state beyond the room goes; `gc` keeps the others, and one that is
    taken up again."""
    small = Small(tmp_path, second_look={"share": 0.1, "megabytes": 0.0025})
    spec, ids = spec_of(small.study), {}
    for number, value in enumerate([0.3, 0.1, 0.5, 0.2]):
        ids[value] = upload_bytes(small.store, bytes([number]) * 1000)
        attrs = write_kept_state(ids[value], 1, 1000).user_attrs | {"key": str(number), "seed": number}
        state = TrialState.PRUNED
        small.study.add_trial(create_trial(state=state, value=value, user_attrs=attrs, intermediate_values={0: value}))
        drop_states(small.store, small.study.trials, spec, number)
    assert small.stored == {ids[0.5], ids[0.3]}
    assert queue_second_look(small.study, spec, small.stored) == 2
    collect(small.storage, small.store, age=0.0)
    assert small.stored == {ids[0.5], ids[0.3]}
    small.study.set_user_attr("spec", spec.model_copy(update={"second_look": SecondLookSpec()}).to_json())
    collect(small.storage, small.store, age=0.0)
    assert small.stored == {ids[0.5]}  # its run waits in the queue
