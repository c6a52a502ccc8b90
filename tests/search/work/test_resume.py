"""A trial is resumed from its last stored state, or started over where that cannot be read."""

from functools import partial
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.work.resume import ResumeState
from storage.artifacts.filesystem import FolderArtifacts
from storage.backends.registry import open_storage
from storage.claims import Batch, Claim
from storage.errors import ArtifactNotStored
from storage.optuna_internals import trial_id_of
from storage.worker.background import BackgroundStorage
from tests.machines import Worker, assert_sound, create, outcome_of, small_study
from tests.pace import stand_still_until_stopped
from tests.search.work.faults import corrupt


def test_a_corrupted_state_is_not_resumed_from(
    undisturbed,
    small_data: Path,
    sqlite_url: str,
    tmp_path: Path,  # type: ignore[no-untyped-def]
) -> None:
    """A stored state with one changed byte is noticed; the run starts over and ends as it would have."""
    create(sqlite_url, small_study(trials=2, epochs=4))
    leaving = Worker(sqlite_url, "small", small_data, tmp_path, hook=partial(stand_still_until_stopped, 2))
    leaving.wait_epoch(1, trial=0)
    leaving.terminate()
    assert leaving.join() == 0
    corrupt(sqlite_url)
    peer = Worker(sqlite_url, "small", small_data, tmp_path)
    assert "corrupt" in peer.wait_for(lambda event: event.kind == "note").text
    assert peer.join() == 0
    assert outcome_of(sqlite_url) == undisturbed[0]


def test_a_corrupted_checkpoint_is_not_read(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """Weights with one changed byte are refused with the artifact's name."""
    create(sqlite_url, small_study(trials=1, epochs=1))
    assert Worker(sqlite_url, "small", small_data, tmp_path).join() == 0
    corrupt(sqlite_url)
    with pytest.raises(Exception, match="is corrupt"):
        assert_sound(sqlite_url)


class Keeping(FolderArtifacts):
    """A store that takes everything and, while it `refuses`, removes nothing."""

    refuses = True

    def remove(self, artifact_id: str) -> None:
        """Remove the file, or refuse to."""
        if self.refuses:
            raise ArtifactNotStored("the bucket does not answer")
        super().remove(artifact_id)


def test_reports_do_not_wait_for_states_that_cannot_be_removed(sqlite_url: str, tmp_path: Path) -> None:
    """A bucket that refuses to remove replaced states holds up no report; they go with the next, or at the end."""
    storage = open_storage(sqlite_url)
    study = optuna.create_study(study_name="s", storage=storage)
    own = BackgroundStorage(storage.store, study._study_id, Claim("host:1"))
    optuna.Study("s", own).ask()
    store, notes = Keeping(tmp_path / "artifacts"), list[str]()
    store.identify = storage.store.identify
    state = ResumeState(own, trial_id_of(own.own()), store, None, notes.append)
    assert own.running is not None

    def save(epoch: int) -> int:
        state.latest, state.epoch = b"state %d" % epoch, epoch
        own.put(Batch(intermediate={epoch: 0.5}))
        state.save()
        own.running.channel.flush(60)  # type: ignore[union-attr]
        return len(list(store.entries()))

    assert [save(epoch) for epoch in (1, 2, 3)] == [1, 2, 3]
    assert set(study.trials[0].intermediate_values) == {1, 2, 3}
    store.refuses = False
    assert save(4) == 1
    store.refuses = True
    assert save(5) == 2
    own.end(Batch(state=TrialState.FAIL))
    store.refuses = False
    state.remove()
    assert (list(store.entries()), notes) == ([], [])
