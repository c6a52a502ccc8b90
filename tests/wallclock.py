"""A wall clock that a test sets for one process at a time, as a wrong NTP server does: a library loaded before libc.

`CLOCK_REALTIME`, `gettimeofday` and `time` are moved; the monotonic clock and sleeps are not, as with a real step of
the clock. libfaketime is not used: it also changes `clock_nanosleep`, and Python's `time.sleep` then fails.
"""

import ctypes
import multiprocessing.forkserver
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *offset;  /* seconds, in a mapped file: the test writes them while the process runs */

void follow_clock(const char *path) {
    int file = open(path, O_RDONLY);
    void *page = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (file >= 0) close(file);
    if (page != MAP_FAILED) offset = page;
}

__attribute__((constructor)) static void from_environment(void) {
    const char *path = getenv("TEST_CLOCK");
    if (path != NULL) follow_clock(path);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    int wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
    if (!failed && wall && offset != NULL) now->tv_sec += *offset;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    static int (*real)(struct timeval *, void *);
    if (real == NULL) real = dlsym(RTLD_NEXT, "gettimeofday");
    int failed = real(now, zone);
    if (!failed && offset != NULL) now->tv_sec += *offset;
    return failed;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where != NULL) *where = now.tv_sec;
    return now.tv_sec;
}
"""

COMPILER = shutil.which("cc")


class Clock:
    """How far a process's wall clock is off, in a file that the process has mapped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """From now on the clock is off by `seconds`."""
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))


def compile_library(folder: Path) -> Path:
    """The library as a file in `folder`."""
    assert COMPILER is not None
    library = folder / "wallclock.so"
    (folder / "wallclock.c").write_text(SOURCE)
    command = [COMPILER, "-shared", "-fPIC", "-O1", "-o", str(library), str(folder / "wallclock.c"), "-ldl"]
    subprocess.run(command, check=True)
    return library


@contextmanager
def preloaded(library: Path) -> Iterator[None]:
    """Workers that are started inside the block have the library; each may then `follow` a clock of its own."""
    server = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]
    server._stop()  # workers are forks of this process: one that started earlier does not have the library
    os.environ["LD_PRELOAD"] = str(library)
    try:
        server.ensure_running()
    finally:
        del os.environ["LD_PRELOAD"]
    try:
        yield
    finally:
        server._stop()


def follow(clock: Path) -> None:
    """Called in a worker's process: its wall clock is set by `clock` from now on."""
    ctypes.CDLL(None).follow_clock(str(clock).encode())
