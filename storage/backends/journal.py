"""Optuna's journal: one file that processes append to, for machines that share a disk and nothing else."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from storage.artifacts.filesystem import FolderArtifacts
from storage.backends.backend import Backend, Connections
from storage.backends.plain_fleet import PlainFleet
from storage.errors import UrlError
from storage.identity import of_file
from storage.store import Store, StoreStorage
from storage.url import StorageUrl, file_of


class OwnJournal(StoreStorage, JournalStorage):
    """The storage of a journal's store."""


def parse(rest: str, url: str) -> StorageUrl:
    """Read `journal://FILE`. Raises `UrlError`."""
    path = file_of("journal", rest, url)
    return StorageUrl(f"journal://{path}", path=path)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time; a lock that its process left behind is taken over after a while."""
    lock = JournalFileOpenLock(f"{path}.definition")
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def open_journal(url: StorageUrl, *, patience: float, opening: float, connections: Connections) -> Store:
    """Open or create the file; artifacts lie in a folder beside it. A file needs no patience.

    Raises `UrlError` for a file that cannot be written or is no journal.
    """
    assert url.path is not None
    try:
        # The open lock works on Linux, macOS, Windows and NFS 3 or newer; the default needs symbolic links.
        storage = OwnJournal(JournalFileBackend(str(url.path), lock_obj=JournalFileOpenLock(str(url.path))))
    except OSError as error:
        raise UrlError(f"storage {url.driver!r}: {error.strerror}; name a file that can be written") from error
    except ValueError as error:
        raise UrlError(f"storage {url.driver!r} is not an Optuna journal: {error}") from error
    artifacts = FolderArtifacts(url.path.with_name(f"{url.path.name}.artifacts"))
    identify = functools.partial(of_file, url.path)
    artifacts.identify = identify  # the folder lies where others may put files
    return Store(storage, PlainFleet(storage, functools.partial(_alone, url.path)), artifacts, identify)


BACKEND = Backend(parse, open_journal)
