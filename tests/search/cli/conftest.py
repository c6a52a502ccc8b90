"""Commands as a user meets them: exit status, stdout and stderr."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.cli import main
from storage.backends.registry import open_storage
from tests.made_study import make_study
from tests.search.cli.calls import Run


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command line in an empty folder, 80 columns wide: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a database with a study of 40 trials, four of them repeated under three further seeds."""
    url = f"sqlite:///{tmp_path_factory.mktemp('searched') / 'study.db'}"
    make_study(open_storage(url), 40, replicates=(4, 3))
    return url
