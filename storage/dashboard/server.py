"""optuna-dashboard on our storage and artifacts, behind a guard and a real server, so that showing a study is safe."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from optuna.artifacts.exceptions import ArtifactNotFound

from storage.artifacts.entry import ArtifactStore
from storage.dashboard.adapted import AdaptedDashboard
from storage.dashboard.compact import CompactStorage
from storage.dashboard.guard import Application, Credentials, Guard, Rules, is_local
from storage.dashboard.named import NamedStorage, Naming
from storage.dashboard.start import Listing, StartPage
from storage.dashboard.whole import WholeStudies
from storage.errors import DashboardError, StorageError
from storage.store import ARTIFACTS, Store

T = TypeVar("T")

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
SHORTEST_PASSWORD = 12  # characters: nothing limits the number of guesses
THREADS = 8  # a page asks for about six things at once


@dataclass(frozen=True)
class Settings:
    """Where to listen and what to allow. `auth` is `user:password-file`."""

    host: str = "localhost"
    port: int = 8080
    writable: bool = False
    auth: str | None = None

    def rules(self) -> Rules:
        """What the guard enforces. Raises `DashboardError` where listening this way would not be safe."""
        credentials = read_credentials(self.auth) if self.auth else None
        if is_local(self.host):
            return Rules(self.writable, credentials, LOCAL_NAMES | {self.host.lower().strip("[]")})
        if credentials is None:
            raise DashboardError(
                f"host {self.host!r} can be reached from other machines, and the dashboard would answer to all of "
                "them: add --auth USER:PASSWORD-FILE, or leave --host out and use "
                f"`ssh -L {self.port}:localhost:{self.port}`"
            )
        return Rules(self.writable, credentials)


def read_credentials(auth: str) -> Credentials:
    """User and password from `user:password-file`. Raises `DashboardError` for a file that others can read."""
    user, colon, name = auth.partition(":")
    if not user or not colon or not name:
        raise DashboardError(f"--auth {auth!r} must be USER:PASSWORD-FILE, such as quant:~/.lobtuna-password")
    path = Path(name).expanduser()
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DashboardError(
            f"password file {name} cannot be read: {reason}; make one: `(umask 077; openssl rand -base64 24 > {name})`"
        ) from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise DashboardError(
            f"password file {name} can be read by others (mode {stat.S_IMODE(mode):o}): run `chmod 600 {name}`"
        )
    password = text.rstrip("\r\n")
    if len(password) < SHORTEST_PASSWORD or "\n" in password:
        raise DashboardError(
            f"password file {name} must hold one line of at least {SHORTEST_PASSWORD} characters: run "
            f"`(umask 077; openssl rand -base64 24 > {name})`"
        )
    return Credentials.of(user, password)


class EveryStudysArtifacts:
    """One artifact store over the stores of all studies: the application asks by artifact id, and names no study."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The bytes from whichever study's store has them. Raises `ArtifactNotFound`, or why a store is closed."""
        return self._first(artifact_id, lambda store: store.open_reader(artifact_id))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store beside the database: what is added by hand belongs to no study's bucket."""
        self._store.artifacts.write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        """Delete from whichever store has it. Raises `ArtifactNotFound`, or why a store is closed."""
        self._first(artifact_id, lambda store: store.remove(artifact_id))

    def _first(self, artifact_id: str, call: Callable[[ArtifactStore], T]) -> T:
        urls = [study.user_attrs.get(ARTIFACTS) for study in self._store.storage.get_all_studies()]
        closed: StorageError | None = None
        for url in dict.fromkeys([None, *urls]):
            try:
                return call(self._store.artifacts_for(url))
            except ArtifactNotFound:
                continue
            except StorageError as error:  # a bucket whose package is missing must not hide other studies' files
                closed = error
        raise closed or ArtifactNotFound(f"artifact {artifact_id} is in no study's store")


@dataclass(frozen=True)
class Ours:
    """What the caller knows of the studies: what is on the start page, what a study's objective is called, and how one
    is deleted with all that belongs to it."""

    start: Callable[[], Listing]
    naming: Naming
    delete: Callable[[int], object]  # by id; raises `KeyError` for none


def build(store: Store, rules: Rules, ours: Ours | None = None) -> Application:
    """The guarded WSGI application; with `ours`, a start page, links to it, and names of the objectives."""
    import optuna_dashboard

    # What the application writes it may have read before: where it may write, it has to see everything.
    storage = store.storage if ours is None else NamedStorage(store.storage, ours.naming)
    seen = storage if rules.writable else CompactStorage(storage)
    application: Application = optuna_dashboard.wsgi(seen, EveryStudysArtifacts(store))
    if ours is not None:
        adapted = AdaptedDashboard(WholeStudies(application, ours.delete), rules.writable)
        application = StartPage(adapted, ours.start, rules.writable)
    return Guard(application, rules)


@dataclass(frozen=True)
class Server:
    """A server that listens; `run` answers until `close` or Ctrl-C. `url` is where a browser finds it."""

    url: str
    local: bool
    _server: Any

    def run(self) -> None:
        """Answer requests until `close` or Ctrl-C."""
        self._server.run()

    def close(self) -> None:
        """Stop listening."""
        self._server.close()


@contextmanager
def listening(store: Store, settings: Settings, ours: Ours | None = None) -> Iterator[Server]:
    """A server bound to its port; with `ours`, a start page, links to it, and names of the objectives.

    Raises `DashboardError` for unsafe settings or a port that cannot be had.
    """
    import waitress

    application = build(store, settings.rules(), ours)
    host = settings.host.strip("[]")
    # One address: `localhost` may resolve to two, and a random port would then differ between them.
    address = "127.0.0.1" if host.lower() == "localhost" else host
    try:
        server = waitress.create_server(
            application, host=address, port=settings.port, threads=THREADS, ident=None, channel_timeout=60
        )
    except (OSError, ValueError) as error:
        raise DashboardError(
            f"cannot listen on {host}:{settings.port}: {getattr(error, 'strerror', None) or error}; "
            f"try --port {settings.port + 1}"
        ) from None
    try:
        shown = f"[{host}]" if ":" in host else host
        yield Server(f"http://{shown}:{server.effective_port}", is_local(settings.host), server)
    finally:
        server.close()
