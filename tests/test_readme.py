"""Every command the README shows runs, in the order shown, as a reader would type it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, commands
from tests.forked import lobtuna_in

BLOCKS = blocks("README.md")
# The README's study takes a GPU day; a reader's path is the same with a study that takes seconds.
SMALL_JOINT = """
name: joint
parameters:
  hidden_size: {choices: [4, 8]}
  lr: {float: [1e-3, 2e-2], log: true}
  num_layers: 1
  batch_size: 8
  epochs: 2
pruner: {name: none}
budget: {trials: 5}
"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A home folder with data in ~/lob, and an environment in which `lobtuna` is this checkout's."""
    home = tmp_path_factory.mktemp("home")
    (home / "lob").symlink_to(small_data)
    (home / "studies").mkdir()
    (home / "studies" / "joint.yaml").write_text(SMALL_JOINT)
    (home / "bin").mkdir()
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    with lobtuna_in(home / "bin"):
        yield home, {**os.environ, "HOME": str(home), "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}


def test_make_targets_exist() -> None:
    """The two commands of a fresh machine are targets of the Makefile."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [line.split()[1] for line in commands(BLOCKS[0])] == ["demo", "test"]
    assert {"demo", "test", "lint", "bench", "soak"} <= set(targets)


def test_a_day(reader: tuple[Path, dict[str, str]]) -> None:
    """The day's commands, one shell, each must succeed."""
    home, environment = reader
    script = "set -eux\n" + "\n".join(commands(BLOCKS[1]))
    done = subprocess.run(["bash", "-c", script], cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert (home / "submission.zip").is_file()
    assert list((home / "report").glob("*.html"))


def test_dashboard(reader: tuple[Path, dict[str, str]]) -> None:
    """The dashboard's command serves a page until it is told to stop."""
    home, environment = reader
    (command,) = commands(BLOCKS[2])
    subprocess.run(["lobtuna", "create", "studies/joint.yaml"], cwd=home, env=environment, check=True)
    process = subprocess.Popen(
        [*shlex.split(command), "--port", "0"], cwd=home, env=environment, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        deadline, said = time.monotonic() + 300, ""
        while "http://" not in said and time.monotonic() < deadline:
            said += process.stdout.readline().decode()
        found = re.search(r"http://[\w.]+:\d+", said)
        assert found, said
        with urllib.request.urlopen(f"{found[0]}/dashboard/") as answer:
            assert answer.status == 200
    finally:
        process.terminate()
        assert process.wait(300) == 0


def test_linked_pages_exist() -> None:
    """Every page that the README links is there."""
    links = re.findall(r"\]\(([\w/.-]+)\)", PAGES["README.md"])
    assert links and [link for link in links if not (ROOT / link).exists()] == []
