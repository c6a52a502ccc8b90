"""The page on data: its commands run, and print what it shows."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.cli import main
from tests.docs.pages import PAGES, ROOT, blocks, commands

PAGE = PAGES["data.md"]


def shape(line: str) -> str:
    """A line without its digits, signs and widths: figures may differ in the last place between machines."""
    return re.sub(r"[\s\d.,+-]+", " ", line).strip()


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Output of each command of the page, run one after another in an empty folder."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "studies").symlink_to(ROOT / "studies")
    found = {}
    with contextlib.chdir(folder):
        for block in blocks("data.md"):
            for line in commands(block):
                name, *arguments = shlex.split(line)
                assert name == "lobtuna"
                found[line] = run(arguments)
        assert Path("profile/profile.html").is_file()
        assert "What the run smoke#0 depends on" in Path("profile-smoke/profile.html").read_text()
        yield found


def run(arguments: list[str]) -> str:
    """Stdout of a command that ends well. In this process: loading torch for each of them would take longer."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit) as stop:
        main(arguments)
    assert not stop.value.code, f"{arguments}: exit {stop.value.code}"
    return output.getvalue()


@pytest.mark.parametrize("command", ["lobtuna data check lob", "lobtuna data profile lob --output profile"])
def test_page_shows_what_is_printed(command: str, printed: dict[str, str]) -> None:
    """Every line shown below a command is among the lines it prints."""
    after = PAGE.split(command, 1)[1]
    shown = re.search(r"```\n(.*?)```", after.split("```", 1)[1], re.DOTALL)
    assert shown is not None
    lines = {shape(line) for line in printed[command].splitlines()}
    expected = [line for line in shown[1].splitlines() if line != "[...]"]
    assert len(expected) > 8
    assert [line for line in expected if shape(line) not in lines] == []
