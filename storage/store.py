"""One opened database as one object: Optuna's storage, the fleet's operations and the artifacts, found together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from optuna import Study
from optuna.storages import BaseStorage

from storage.artifacts.entry import Artifacts
from storage.artifacts.stores import open_artifacts
from storage.errors import StorageError
from storage.fleet import Fleet
from storage.optuna_internals import storage_of
from storage.wanted import ENDED_ALONE, WantedReports

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from sqlalchemy import Engine

ARTIFACTS = "artifacts"  # study user attribute: the URL of its artifact store; absent means the database itself


class AskChanges(Protocol):
    """Reads what `storage.backends.sql_trials.read_changes` reads, through another process; None where only whole
    trials can be read."""

    def __call__(
        self,
        study_id: int,
        known: Mapping[int, FrozenTrial],
        attributes: Sequence[str],
        *,
        newest: int,
        running: bool,
        wanted: WantedReports = ENDED_ALONE,
    ) -> dict[int, FrozenTrial] | None: ...


class StoreStorage(BaseStorage):
    """An Optuna storage with a reference to the `Store` it belongs to. Every backend's storage is one."""

    store: Store


@dataclass(frozen=True)
class Store:
    """What `open_store` opened. `store_of` finds it again from a study, since an Optuna study keeps its storage alone.

    `engine` is SQLAlchemy's, None where this process does not use SQL itself (a proxy, a journal).
    """

    storage: StoreStorage
    fleet: Fleet
    artifacts: Artifacts  # the database's own
    identify: Callable[[], str]  # the database's id, see `storage.identity`
    engine: Engine | None = None
    ask_changes: AskChanges | None = None  # how changed trials are read without SQL, where they can be

    def __post_init__(self) -> None:
        self.storage.store = self

    def artifacts_for(self, url: str | None) -> Artifacts:
        """The artifact store behind `url`; None means the database's own. Raises `UrlError` or `ArtifactError`."""
        if url is None:
            return self.artifacts
        store = open_artifacts(url)
        store.identify = self.identify
        return store


def store_of(opened: Study | BaseStorage) -> Store:
    """The store that a study or storage belongs to. Raises `StorageError` where `open_store` did not open it."""
    storage = storage_of(opened) if isinstance(opened, Study) else opened
    if not isinstance(storage, StoreStorage):
        raise StorageError(
            f"this {type(storage).__name__} was opened without lobtuna: it has no claims and no artifacts; open its "
            "URL with storage.open_storage"
        )
    return storage.store


def artifacts_of(study: Study) -> Artifacts:
    """The store that holds the artifacts of `study`, as its creator chose it."""
    return store_of(study).artifacts_for(study.user_attrs.get(ARTIFACTS))
