"""What workers depend on, each part of it breakable: a server on a small disk, a pooler, a proxy, a working folder."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.search.work.s3_server import Bucket
from tests.servers import PgBouncer, Postgres, TcpProxy
from tests.wallclock import COMPILER, Clock, compile_library

POOL = 6  # connections of the pooler, fewer than there are workers
# The pooler asks a server that was away again after a second. Its default of 15 s would keep most of the hour dark.
POOLER = "server_login_retry = 1\nquery_wait_timeout = 20\n"
SERVER_DISK, WORKER_DISK = 512, 4  # megabytes
SMALL_LOG = "-c max_wal_size=64MB -c min_wal_size=32MB"


class SmallDisk:
    """A file system of some megabytes, which a test fills and frees. `real` is False where only root can make one."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=777", "tmpfs", str(folder)]
        self.real = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave no free byte."""
        free = shutil.disk_usage(self.folder).free
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as filler:
            os.posix_fallocate(filler.fileno(), 0, max(free, 1))
            while True:
                filler.seek(0, os.SEEK_END)
                filler.write(b"x" * 4096)

    def free(self) -> None:
        """Give the room back."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it."""
        if self.real:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)


class Surroundings:
    """Workers use `url`: through a proxy that can be cut, a pooler in transaction mode where there is one, a server.

    `direct` is the database without proxy and pooler. Finished runs are kept in `kept`. Artifacts are in the database,
    or, `with_bucket`, in `bucket`. `lacking` names what this machine does not have, so that the reader of a result
    knows what was not tried.
    """

    def __init__(self, with_bucket: bool) -> None:
        self.lacking: list[str] = []
        # Not under pytest's own folder: that is closed to the user the server runs as when tests are run by root.
        self._base = Path(tempfile.mkdtemp(prefix="lobtuna-server-"))
        self._base.chmod(0o755)
        self.disk = SmallDisk(self._base / "disk", SERVER_DISK)
        self.kept = SmallDisk(self._base / "kept", WORKER_DISK)
        self.clock = Clock(self._base / "clock") if COMPILER is not None else None  # the server's
        environment = {}
        if self.clock is not None:
            environment = {"LD_PRELOAD": str(compile_library(self._base)), "TEST_CLOCK": str(self.clock.path)}
        folder = self.disk.folder if self.disk.real else None
        self.server = Postgres(folder, SMALL_LOG if self.disk.real else "", environment)
        self.direct = self.server.create_database()
        self.database = self.direct.rpartition("/")[2]
        self.pooler = PgBouncer(self.server, self.direct, POOL, POOLER) if PgBouncer.PROGRAM else None
        behind = self.pooler.port if self.pooler else self.server.port
        self.proxy = TcpProxy(behind)
        self.url = self.direct.replace(f":{self.server.port}/", f":{self.proxy.port}/")
        self.bucket = Bucket() if with_bucket else None
        self.lacking += [] if self.pooler else ["pgbouncer"]
        self.lacking += [] if self.clock else ["clocks (a C compiler)"]
        self.lacking += [] if self.kept.real and self.disk.real else ["small disks (root)"]

    def close(self) -> None:
        """Stop the servers and remove their files."""
        self.proxy.close()
        if self.bucket is not None:
            self.bucket.close()
        if self.pooler is not None:
            self.pooler.close()
        self.server.close()
        self.disk.close()
        self.kept.close()
        shutil.rmtree(self._base)


@contextlib.contextmanager
def surroundings(with_bucket: bool) -> Iterator[Surroundings]:
    """`Surroundings` that are taken down at the end, whatever happened."""
    made = Surroundings(with_bucket)
    try:
        yield made
    finally:
        made.close()
