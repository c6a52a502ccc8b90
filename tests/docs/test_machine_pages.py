"""The commands of the pages on many machines and on Kaggle are run as they stand."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, commands
from tests.forked import lobtuna_in

PAGES = {"many-machines.md": blocks("many-machines.md"), "kaggle.md": blocks("kaggle.md")}


@pytest.fixture(scope="module")
def lobtuna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The command."""
    with lobtuna_in(tmp_path_factory.mktemp("bin")) as script:
        yield script


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_runs(page: str, lobtuna: Path, tmp_path: Path, postgres_url: str) -> None:
    """One after another in an empty folder, each ends well; a server runs until it is told to stop."""
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LOBTUNA_STORAGE": postgres_url}
    found = [line for block in PAGES[page] for line in commands(block)]
    assert len(found) >= 2
    for line in found:
        name, *arguments = shlex.split(line)
        assert name == "lobtuna"
        with subprocess.Popen(
            [lobtuna, *arguments], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            if arguments[0] == "proxy":
                assert process.stderr is not None
                assert b"serving sqlite:///fleet.db at grpc://" in process.stderr.readline()
                process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=800)
        assert process.returncode == 0, f"{line}\n{told.decode()}"
        if arguments[0] == "work":
            assert re.search(r"smoke #\d  (complete|pruned)", told.decode()), told.decode()
