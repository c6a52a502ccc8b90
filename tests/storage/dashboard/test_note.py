"""The study's note in the dashboard: ours until somebody saves their own, however the two meet."""

from typing import Any

import optuna
import optuna_dashboard
import pytest
import sqlalchemy as sa
from optuna.storages import InMemoryStorage
from optuna_dashboard._note import version_is_incremented

from storage.backends.registry import open_storage
from storage.dashboard.note import save_note
from storage.optuna_internals import study_system_attrs


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def study(request: pytest.FixtureRequest, tmp_path: Any) -> optuna.Study:
    """An empty study in a storage of each kind."""
    if request.param == "memory":
        storage: Any = InMemoryStorage()
    elif request.param == "sqlite":
        storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    else:
        storage = open_storage(str(request.getfixturevalue("postgres_url")))
    return optuna.create_study(study_name="s", storage=storage)


def attributes(study: optuna.Study) -> dict[str, Any]:
    return study._storage.get_study_system_attrs(study._study_id)


def test_an_edit_under_way_is_not_refused(study: optuna.Study) -> None:
    """Somebody opens the note, ours is written meanwhile, and they save: the dashboard takes it, and it stays."""
    assert save_note(study, "ours")
    opened = attributes(study)["dashboard:note_ver"]
    assert save_note(study, "ours, newer")
    assert optuna_dashboard.get_note(study) == "ours, newer"
    assert version_is_incremented(attributes(study), None, opened + 1)
    optuna_dashboard.save_note(study, "mine")
    assert not save_note(study, "ours, newest")
    assert optuna_dashboard.get_note(study) == "mine"


def test_a_note_whose_text_is_still_to_come_is_not_taken_for_an_empty_one(study: optuna.Study) -> None:
    """The dashboard stores the version before the text; only a note that stays empty is free."""
    study._storage.set_study_system_attr(study._study_id, "dashboard:note_ver", 1)
    assert not save_note(study, "ours")
    optuna_dashboard.save_note(study, "mine")
    assert not save_note(study, "ours")
    assert optuna_dashboard.get_note(study) == "mine"
    optuna_dashboard.save_note(study, "")
    assert [save_note(study, "ours") for _ in range(2)] == [False, True]
    assert optuna_dashboard.get_note(study) == "ours"


def test_a_save_between_our_look_and_our_write_wins(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is compared in the transaction that writes."""
    study = optuna.create_study(study_name="s", storage=open_storage(postgres_url))
    assert save_note(study, "ours")
    engine = study._storage.store.engine  # type: ignore[attr-defined]
    theirs = optuna.load_study(study_name="s", storage=open_storage(postgres_url))
    saved: list[None] = []

    def save_first(*event: Any) -> None:
        if study_system_attrs.name in event[2] and "FOR UPDATE" in event[2] and not saved:
            saved.append(optuna_dashboard.save_note(theirs, "mine"))

    sa.event.listen(engine, "before_cursor_execute", save_first)
    assert not save_note(study, "ours, newer")
    assert saved and optuna_dashboard.get_note(study) == "mine"
