"""The commands and options on the page about ranking are those that exist."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from search.cli import app, main
from storage.backends.registry import open_storage
from tests.docs.pages import PAGES, blocks
from tests.docs.pages import commands as lines_of
from tests.made_study import make_study

TEXT = PAGES["ranking.md"]


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a searched study `replicate` queues what the page says and `rank` writes the table it explains."""
    monkeypatch.chdir(tmp_path)
    make_study(open_storage("sqlite:///lobtuna.db"), 30)
    (block,) = blocks("ranking.md")
    commands = [shlex.split(line) for line in lines_of(block)]
    assert [words[:2] for words in commands] == [["lobtuna", name] for name in ("replicate", "work", "rank")]
    for words in (commands[0], commands[2]):
        with pytest.raises(SystemExit) as stop:
            main(words[1:])
        assert stop.value.code in (None, 0)
    output = capsys.readouterr().out
    assert "20 runs queued" in output and (tmp_path / "ranking.csv").exists()
    for column in ("estimate", "P(best)", "best run", "report"):
        assert column in output and f"| {column}" in TEXT


def test_options_and_thresholds_are_the_codes() -> None:
    """Every option named is one of the two commands'; the numbers of elimination are those that decide."""
    from search.study.replication import COULD_BE_BEST, SETTLED

    commands = get_command(app).commands  # type: ignore[attr-defined]
    known = {
        name for command in ("replicate", "rank", "work", "run") for p in commands[command].params for name in p.opts
    }
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) <= known
    assert f"at least {COULD_BE_BEST:.2f}".replace("0.", ".") in TEXT and f"{SETTLED:.2f}"[1:] in TEXT
