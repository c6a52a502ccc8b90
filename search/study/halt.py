"""Asks all workers of a study to hand their trials back: a token in the study that differs from the one they know.

`lobtuna work` remembers the token it finds first thing, before it loads anything; another token later is a request to
stop. So a stop applies to the workers that run or start at that moment, without comparing the clocks of two machines,
and `lobtuna work` goes on afterwards.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import optuna

from search.study.open import SEEDS, existing_storage, require_study, study_names
from search.study.record import SPEC, STOP
from storage.optuna_internals import storage_of
from storage.store import store_of

COMMAND = "lobtuna stop"


@dataclass(frozen=True)
class StopRequest:
    """A request to stop. With `now`, workers leave the epoch they are in; otherwise they end it first."""

    by: str  # who asked, as HOST
    now: bool = False
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def words(self) -> str:
        """The reason that a stopped worker gives."""
        return f"{COMMAND}{' --now' if self.now else ''} on {self.by}"


def is_request(reason: str) -> bool:
    """Whether a worker that stopped for this reason was stopped by a request."""
    return reason.startswith(COMMAND)


def request_stop(study: optuna.Study, request: StopRequest) -> str:
    """Store the request where workers read it, which they do within about half a minute.

    Returns the name of the study whose workers these are: those of a study train its replicates, too, and look at
    nothing but the study itself. A worker that was given the study of replicates looks at that alone.
    """
    storage, asked = storage_of(study), study.study_name
    names, whose = study_names(storage), asked.removesuffix(SEEDS)
    ids = {name: storage.get_study_id_from_name(name) for name in (whose, whose + SEEDS) if name in names}
    ours = [name for name, study_id in ids.items() if SPEC in storage.get_study_user_attrs(study_id)]
    for name in ours:
        storage.set_study_user_attr(ids[name], STOP, asdict(request))
    return whose if whose in ours else asked


def stop_of(attributes: Mapping[str, Any]) -> StopRequest | None:
    """The last request among a study's user attributes; None where there is none, or none that can be read."""
    stored = attributes.get(STOP)
    if not isinstance(stored, dict) or not isinstance(stored.get("token"), str):
        return None
    return StopRequest(str(stored.get("by", "?")), stored.get("now") is True, stored["token"])


def token_of(attributes: Mapping[str, Any]) -> str:
    """The token of the last request among a study's user attributes; empty where there is none."""
    request = stop_of(attributes)
    return "" if request is None else request.token


def token_in(url: str, name: str, *, patience: float) -> str:
    """`token_of` the study `name`, over a connection that is not kept: workers have their own.

    Raises `StudyNotFoundError` where there is no such study, `StorageError` for a database that cannot be reached.
    """
    storage = existing_storage(url, name, patience=patience)
    try:
        require_study(storage, name)
        return token_of(storage.get_study_user_attrs(storage.get_study_id_from_name(name)))
    finally:
        storage.remove_session()
        if (engine := store_of(storage).engine) is not None:
            engine.dispose()
