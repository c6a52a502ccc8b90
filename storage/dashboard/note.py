"""A study's note in the dashboard: lobtuna's own until somebody writes another one, which is never touched again.

optuna-dashboard counts a note's versions, and refuses to save one that was edited while the version grew. lobtuna
therefore never raises the version of a note, and a version that it has not recorded as its own is somebody's. An empty
note is free again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import optuna
import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy import Connection, Engine

from storage.optuna_internals import note_keys, note_of, storage_of, study_id_of, study_system_attrs
from storage.retry import with_retry
from storage.store import StoreStorage

OURS = "lobtuna:note_version"  # study system attribute: the version at which the note is lobtuna's
EMPTY = "lobtuna:note_empty"  # study system attribute: the version at which the note was last found empty
PATIENCE = 10.0  # seconds for an outage: the next note follows in a minute


def save_note(study: optuna.Study, text: str, earlier: Callable[[str], bool] = lambda _: False) -> bool:
    """Make `text` the study's note, unless it has one of somebody's own; returns whether it was stored.

    `earlier` recognises notes of lobtuna from before versions were recorded. The note is stored in one attribute, not
    in optuna-dashboard's pieces of 2000 characters, so that no reader sees a part of it.
    """
    storage, study_id = storage_of(study), study_id_of(study)
    attributes = storage.get_study_system_attrs(study_id)
    prefix, counter = note_keys()
    version, body = int(attributes.get(counter, 0)), note_of(attributes)
    if version and attributes.get(OURS) != version:
        if not body.strip() and attributes.get(EMPTY) != version:
            # The dashboard stores a new version first and its text afterwards: look once more, next time.
            storage.set_study_system_attr(study_id, EMPTY, version)
            return False
        if body.strip() and not earlier(body):
            return False
    if body == text:
        return True
    if attributes.get(OURS) != (version or 1):
        storage.set_study_system_attr(study_id, OURS, version or 1)
    pieces = {key: "" for key in attributes if key.startswith(prefix) and attributes[key]} | {f"{prefix}0": text}
    engine = storage.store.engine if isinstance(storage, StoreStorage) else None
    if engine is not None:
        return with_retry(lambda: _write(engine, study_id, counter, version, pieces), PATIENCE, what="note")
    for key, value in (({} if version else {counter: 1}) | pieces).items():
        storage.set_study_system_attr(study_id, key, value)
    return True


def _write(engine: Engine, study_id: int, counter: str, version: int, pieces: Mapping[str, str]) -> bool:
    """Write `pieces` if the note still has `version` (0: none yet). A save in the dashboard waits for this and wins."""
    try:
        with engine.begin() as connection:
            if not version:
                connection.execute(study_system_attrs.insert().values(_row(study_id, counter, 1)))
            query = sa.select(study_system_attrs.c.value_json).where(_at(study_id, counter)).with_for_update()
            found = connection.scalar(query)
            if found is None or json.loads(found) != (version or 1):
                return False
            for key, value in pieces.items():
                _set(connection, study_id, key, value)
            return True
    except sqlalchemy.exc.IntegrityError:  # somebody has written the first note at this moment
        return False


def _set(connection: Connection, study_id: int, key: str, value: Any) -> None:
    row = _row(study_id, key, value)
    if not connection.execute(study_system_attrs.update().where(_at(study_id, key)).values(row)).rowcount:
        connection.execute(study_system_attrs.insert().values(row))


def _row(study_id: int, key: str, value: Any) -> dict[str, Any]:
    return {"study_id": study_id, "key": key, "value_json": json.dumps(value)}


def _at(study_id: int, key: str) -> sa.ColumnElement[bool]:
    return (study_system_attrs.c.study_id == study_id) & (study_system_attrs.c.key == key)
