"""A trial is resumed from its last stored state, or started over where that cannot be read."""

from functools import partial
from pathlib import Path

import pytest

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
