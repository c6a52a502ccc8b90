"""The commands of the pages on many machines and on Kaggle are run as they stand."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from search.cli import main; main()"]


def commands(page: str) -> list[str]:
    """Lines of the page's bash blocks, comments taken off."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / page).read_text(), re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.mark.parametrize("page", ["many-machines.md", "kaggle.md"])
def test_every_command_of_the_page_runs(page: str, tmp_path: Path) -> None:
    """One after another in an empty folder, each ends well; a server runs until it is told to stop."""
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = commands(page)
    assert len(found) >= 2
    for line in found:
        name, *arguments = shlex.split(line)
        assert name == "lobtuna"
        with subprocess.Popen(
            [*COMMAND, *arguments], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            if arguments[0] == "proxy":
                assert process.stderr is not None
                assert b"serving sqlite:///fleet.db at grpc://" in process.stderr.readline()
                process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=200)
        assert process.returncode == 0, f"{line}\n{told.decode()}"
        if arguments[0] == "work":
            assert re.search(r"smoke #\d  (complete|pruned)", told.decode()), told.decode()


def test_the_pages_name_no_option_that_does_not_exist() -> None:
    """Every `--option` in the prose is one of the commands'."""
    from typer.main import get_command

    from search.cli import app

    def options(command: object) -> set[str]:
        own = {name for parameter in getattr(command, "params", []) for name in parameter.opts}
        return own.union(*(options(sub) for sub in getattr(command, "commands", {}).values()))

    known = options(get_command(app))
    for page in ("many-machines.md", "kaggle.md"):
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (ROOT / "docs" / page).read_text()))
        assert named <= known, named - known
