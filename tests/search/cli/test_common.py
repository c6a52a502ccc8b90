"""What commands share: refusals in one line, help that ends in an example."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.errors import SearchError
from search.ship.members import stored_members
from search.work.begin import create, read_definition
from tests.plugin_files import blocks_of_files, forgotten
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


OWN = """name: own
parameters: {architecture: {choices: [gru, causal_conv]}, taps: {int: [4, 8], when: {architecture: causal_conv}}}
"""


def test_a_forgotten_plugin_is_named_by_all_that_compute_with_it(run: Run, small_data: Path, tmp_path: Path) -> None:
    """The file, its part and its digest, and both options that help; what only reads the study needs neither."""
    (tmp_path / "own.yaml").write_text(OWN)
    (tmp_path / "causal.py").write_text(blocks_of_files()["causal.py"])
    url = f"sqlite:///{tmp_path / 'lobtuna.db'}"
    with forgotten():
        spec, plugins = read_definition(tmp_path / "own.yaml", [tmp_path / "causal.py"], None, url)
        create(spec, url, plugins=plugins)

    def assert_named(told: str) -> None:
        assert f"uses the plugin causal.py (network causal_conv), SHA-256 {plugins[0].digest}" in told
        assert "--trust-plugins" in told and "--plugin FILE" in told

    data = ("--data", small_data)
    commands: list[tuple[str | Path, ...]] = [("work", "own", *data), ("export", "own", *data)]
    commands += [("ensemble", "own", *data), ("report", "own", *data), ("compare", "own", "own", *data)]
    for command in commands:
        with forgotten():
            status, out, err = run(*command)
        assert (status, out) == (1, "") and err.count("\n") == 1, err
        assert_named(err)
    with forgotten(), pytest.raises(SearchError) as refused:
        stored_members(url, ["own#0"])
    assert_named(str(refused.value))
    for name in ("status", "rank"):
        with forgotten():
            assert "plugin" not in run(name, "own")[2]
