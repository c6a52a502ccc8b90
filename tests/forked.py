"""`lobtuna` for tests of many commands: each is a fork of one process that has torch loaded, and still a process.

A fresh interpreter takes two seconds to import what a command needs. Where a test is about what the commands do, and
others show that they start, `install` writes a script named `lobtuna` that asks `serve`'s process for a fork with its
own arguments, environment, folder, input and output.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.machines import CONTEXT

# The script: it passes its descriptors on, forwards signals, and ends as the command does.
CLIENT = """#!{python} -SE
import json, os, signal, socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect({path!r})
job = json.dumps({{"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}}).encode()
socket.send_fds(line, [len(job).to_bytes(8, "big")], [0, 1, 2])
line.sendall(job)
answers = line.makefile("r")
command = int(answers.readline())
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, _: os.kill(command, number))
ended = int(answers.readline())
os.kill(os.getpid(), -ended) if ended < 0 else os._exit(ended)
"""


@contextmanager
def lobtuna_in(folder: Path) -> Iterator[Path]:
    """A script `folder`/lobtuna, which works inside the block."""
    with tempfile.TemporaryDirectory(prefix="lobtuna-") as short:  # a socket's name is a hundred characters at most
        path = f"{short}/socket"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        server = CONTEXT.Process(target=_serve, args=(listener,), daemon=True)
        server.start()
        listener.close()
        script = folder / "lobtuna"
        script.write_text(CLIENT.format(python=sys.executable, path=path))
        script.chmod(0o755)
        try:
            yield script
        finally:
            server.kill()
            server.join()


def _serve(listener: socket.socket) -> None:
    while True:
        line, _ = listener.accept()
        header, descriptors, _, _ = socket.recv_fds(line, 8, 3)
        with line.makefile("rb") as file:
            job = json.loads(file.read(int.from_bytes(header, "big")))
        command = os.fork()
        if command == 0:
            listener.close()
            line.close()
            _run(job, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        threading.Thread(target=_report, args=(line, command), daemon=True).start()


def _report(line: socket.socket, command: int) -> None:
    """Tell the script which process to signal, and how it ended."""
    with line:
        line.sendall(f"{command}\n".encode())
        _, status = os.waitpid(command, 0)
        line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _run(job: dict[str, Any], descriptors: list[int]) -> None:
    """In the fork: the command, as the script of an installation runs it."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    sys.argv = ["lobtuna", *job["arguments"]]
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    code = 1
    try:
        from search.cli import main

        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
