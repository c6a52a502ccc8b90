"""`proxy`: a process that serves a database over gRPC until a signal, and what it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from search.study.create import create_in
from storage.backends.registry import open_storage
from tests.machines import small_study
from tests.search.cli.calls import Run

COMMAND = [sys.executable, "-c", "from search.cli import main; main()"]
ROOT = Path(__file__).parents[3]


def test_a_study_through_the_proxy(run: Run, tmp_path: Path) -> None:
    """The proxy prints where it listens; commands reach the study there; SIGTERM ends it with exit 0."""
    url = f"sqlite:///{tmp_path / 'small.db'}"
    create_in(open_storage(url), small_study())
    process = subprocess.Popen(
        [*COMMAND, "proxy", "--storage", url, "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stderr is not None
        address = re.search(r"grpc://[\w.]+:\d+", process.stderr.readline())
        assert address is not None
        code, out, _ = run("status", "small", "--storage", address[0], "--json")
        assert code == 0 and json.loads(out)["study"] == "small"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=300) == 0


def test_what_a_proxy_cannot_serve(run: Run, tmp_path: Path) -> None:
    """A journal or another proxy is no database, and that is one line."""
    for url in (f"journal://{tmp_path / 'j.log'}", "grpc://localhost:13000"):
        code, out, err = run("proxy", "--storage", url)
        assert (code, out) == (1, "") and "sqlite:///" in err and len(err.strip().splitlines()) == 1
