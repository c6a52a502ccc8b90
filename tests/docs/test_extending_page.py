"""The page on extending works as written: its blocks, applied to a copy of the source, pass its own commands there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, commands

PAGE = PAGES["extending.md"]
COMMANDS = [line for block in blocks("extending.md") for line in commands(block)]
SECTIONS = dict(re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
# The most files and places that an addition may touch, and what the commands' tests call it.
PARTS = {
    "An architecture": (3, 5, "architecture=elman"),
    "A loss": (2, 3, "loss=log_cosh"),
    "A feature group": (2, 3, "queue=True"),
    "A head": (3, 3, "head=deep"),
    "A scheduler": (2, 2, "scheduler=linear"),
    "A pruner": (2, 4, "threshold"),
    "A sampler": (2, 4, "sobol"),
    "A kind of database": (0, 0, ""),  # tests/storage/backends/test_registry.py adds one
}
COPIED = ("lobmodels", "lobtuna", "search", "storage", "tests", "docs", "studies", "README.md", "pyproject.toml")


@dataclass(frozen=True)
class Change:
    """One block of the page: `old` is replaced by `new`; an `old` of nothing is a new file."""

    path: str
    old: str
    new: str

    def apply(self, root: Path) -> None:
        """Make the change below `root`; what is to be replaced must be there exactly once."""
        target = root / self.path
        if not self.old:
            assert not target.exists(), f"{self.path} is there already"
            target.write_text(self.new)
            return
        text = target.read_text()
        assert text.count(self.old) == 1, f"{self.path} holds this {text.count(self.old)} times:\n{self.old}"
        target.write_text(text.replace(self.old, self.new))


def changes(section: str) -> list[Change]:
    """The blocks of a section, in order."""
    found = []
    for kind, body in re.findall(r"^```(diff|python)\n(.*?)^```", section, re.DOTALL | re.MULTILINE):
        head, _, rest = body.partition("\n")
        if kind == "diff":
            lines = rest.splitlines(keepends=True)
            old, new = ("".join(line[1:] for line in lines if line[0] in signs) for signs in (" -", " +"))
            found.append(Change(head.removeprefix("--- "), old, new))
        else:
            path, _, before = head.removeprefix("# ").partition(", before: ")
            found.append(Change(path, f"{before}\n" if before else "", rest + (f"{before}\n" if before else "")))
    return found


def test_sections_are_known() -> None:
    """Every section adds something, and is followed below."""
    assert set(SECTIONS) == set(PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_files_and_places(part: str) -> None:
    """An addition touches no more files and places than it may."""
    files, places, _ = PARTS[part]
    made = changes(SECTIONS[part])
    assert len({change.path for change in made}) <= files and len(made) <= places


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A copy of the source in which the page was followed."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    for section in SECTIONS.values():
        for change in changes(section):
            change.apply(tmp_path)
    return tmp_path


def follow(folder: Path, command: str) -> str:
    """Run a command of the page there, and return what it printed."""
    python, *arguments = shlex.split(command)
    assert python == "python"
    extra = ["-rp", "-p", "no:cacheprovider", "-p", "no:xdist"] if "pytest" in arguments else []
    done = subprocess.run(
        [sys.executable, *arguments, *extra],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


def assert_offered(folder: Path) -> None:
    """Every addition is a word of the study file now."""
    page = (folder / "docs" / "study-file.md").read_text()
    for choice in (choice for _, _, choice in PARTS.values() if choice):
        assert choice.split("=")[-1].replace("True", "queue") in page


def test_the_blocks_apply(changed: Path) -> None:
    """Every block fits the source as it stands, and the study file offers what they add."""
    assert len(COMMANDS) == 3 and "search.studyfile.docs" in COMMANDS[0]
    follow(changed, COMMANDS[0])
    assert_offered(changed)


@pytest.mark.soak
def test_the_page_is_followed(changed: Path) -> None:
    """All of its additions together train, are exported, predict online and in the graph what torch predicts."""
    told = "".join(follow(changed, command) for command in COMMANDS)
    assert_offered(changed)
    for choice in (choice for _, _, choice in PARTS.values() if choice):
        assert re.search(rf"^PASSED .*\[{re.escape(choice)}(-\d+)?\]$", told, re.MULTILINE), choice
