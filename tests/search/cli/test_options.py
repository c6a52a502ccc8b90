"""The command line's own options, and where `work` runs."""

import sys
from importlib.metadata import version

import pytest

from tests.search.cli.calls import Run


def test_the_version_is_what_a_report_of_a_fault_needs(run: Run) -> None:
    """lobtuna's version, Optuna's and Python's, in one line."""
    status, out, err = run("--version")
    assert (status, err) == (0, "")
    assert out.startswith(f"lobtuna {version('lobtuna')}, optuna {version('optuna')}, python ") and out.count("\n") == 1


def test_a_shell_can_complete_commands(run: Run) -> None:
    """The options that install completion are there."""
    assert "--install-completion" in run("--help")[1]


@pytest.mark.parametrize("command", [("work", "joint", "--data", "x"), ("run", "x.yaml", "--data", "x")])
def test_windows_is_told_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    """Workers need signals and pipes that Windows lacks: said before anything is read."""
    monkeypatch.setattr(sys, "platform", "win32")
    status, _, err = run(*command)
    assert status == 1 and "does not run on Windows itself" in err and err.count("\n") == 1
