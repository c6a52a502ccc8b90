"""The page on reports explains every section of a real one, and its command writes it."""

import re
import shlex
from pathlib import Path

import pytest

from search.cli import main
from search.studyfile.spec import StudySpec
from storage.backends.registry import open_storage
from tests.docs.pages import PAGES, blocks, commands
from tests.made_study import SPEC, make_study

PAGE = "reading-a-report.md"


def test_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report's every section is explained under its own title, and every file that the page names is written."""
    monkeypatch.chdir(tmp_path)
    storage = open_storage("sqlite:///lobtuna.db")
    make_study(storage, 60, replicates=(4, 3))
    make_study(storage, 30, seed=3, spec=StudySpec.from_json(SPEC.to_json() | {"name": "wide"}))
    for line in (line for block in blocks("reading-a-report.md") for line in commands(block)):
        with pytest.raises(SystemExit) as stop:
            main(shlex.split(line)[1:])
        assert not stop.value.code, line
    html = (tmp_path / "report" / "report.html").read_text()
    titles = re.findall(r'<section id="\w+"><h2>(.*?)</h2>', html)
    assert len(titles) > 10
    assert [title for title in titles if f"**{title}" not in PAGES[PAGE]] == []
    named = set(re.findall(r"`(\w+\.(?:csv|yaml|html))`", PAGES[PAGE]))
    assert len(named) > 3 and [name for name in named if not (tmp_path / "report" / name).is_file()] == []
