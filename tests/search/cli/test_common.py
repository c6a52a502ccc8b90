"""What commands share: refusals in one line, help that ends in an example."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.search.cli.calls import FILE, Run


@pytest.mark.parametrize(
    ("arguments", "piece"),
    [
        (("create", "tinny.yaml"), "no such study file; did you mean tiny.yaml?"),
        (("create", "."), "cannot be read: Is a directory"),
        (("create", "tiny.yaml", "--data", "nowhere"), "nowhere"),
        (("create", "tiny.yaml", "--storage", "mysql://x/y"), "use sqlite:///FILE"),
        (("create", "tiny.yaml", "--artifacts", "ftp://x"), "names no store"),
        (("status", "tiny"), "there is no database lobtuna.db"),
        (("rank", "tiny"), "there is no database lobtuna.db"),
        (("replicate", "tiny"), "there is no database lobtuna.db"),
    ],
)
def test_expected_failures_are_one_line(run: Run, tmp_path: Path, arguments: tuple[str, ...], piece: str) -> None:
    """Exit 1, nothing on stdout, one line that names the value and the rule."""
    (tmp_path / "tiny.yaml").write_text(FILE)
    status, out, err = run(*arguments)
    assert (status, out) == (1, "") and piece in err and err.count("\n") == 1 and err.startswith("lobtuna: ")


def test_a_notebook_is_no_terminal() -> None:
    """What a notebook's `!command` writes to looks like a terminal and cannot be redrawn: there is no live table."""
    code = "from search.cli.common import stderr; print(stderr.is_terminal)"
    for extra, expected in (({}, "True"), ({"JPY_PARENT_PID": "1"}, "False")):
        leader, follower = os.openpty()
        environment = {**{k: v for k, v in os.environ.items() if k != "JPY_PARENT_PID"}, "TERM": "xterm", **extra}
        done = subprocess.run([sys.executable, "-c", code], env=environment, stderr=follower, stdout=subprocess.PIPE)
        os.close(leader)
        os.close(follower)
        assert done.stdout.decode().strip() == expected
