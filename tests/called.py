"""`lobtuna` commands as processes of their own that a test can slow down, stop and kill.

Each is a fork of the process that workers of tests are forked from, so it is up in a moment.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from tests.machines import CONTEXT, STARTED, Hook


class Command:
    """`lobtuna ARGUMENTS`, with `hook` called first. It runs in `folder`; what it prints goes to files there."""

    def __init__(self, folder: Path, *arguments: str | Path, hook: Hook | None = None) -> None:
        self.printed = folder / f"command-{time.monotonic_ns()}.txt"
        self.printed.touch()
        given = [str(argument) for argument in arguments]
        self.process = CONTEXT.Process(target=_main, args=(folder, self.printed, given, hook), daemon=True)
        self.process.start()
        STARTED.append(self)

    @property
    def said(self) -> str:
        """Stdout and stderr so far."""
        return self.printed.read_text()

    def kill(self) -> None:
        """kill -9, and wait until it is dead."""
        self.process.kill()
        self.process.join(60)

    def join(self, timeout: float = 400.0) -> int:
        """Wait for the end; returns the exit status."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.kill()
            raise AssertionError(f"the command did not end: {self.said[-1000:]}")
        return self.process.exitcode


def _main(folder: Path, printed: Path, arguments: list[str], hook: Hook | None) -> None:
    descriptor = os.open(printed, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ["COLUMNS"] = "80"
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hook is not None:
        hook()
    from search.cli import main

    code = 1
    try:
        main(arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
