"""`dashboard`: unsafe settings are refused before the database is asked, and its log is one line."""

from __future__ import annotations

import logging

import pytest

from search.cli.dashboard import _log_in_one_line
from tests.search.cli.calls import Run


@pytest.mark.parametrize(
    ("arguments", "piece"),
    [
        (("--host", "0.0.0.0"), "add --auth USER:PASSWORD-FILE"),
        (("--auth", "quant"), "must be USER:PASSWORD-FILE"),
        (("--auth", "quant:none.txt"), "cannot be read"),
        ((), "there is no database lobtuna.db"),
    ],
)
def test_refusals(run: Run, arguments: tuple[str, ...], piece: str) -> None:
    """One line with what to do; nothing listens."""
    status, out, err = run("dashboard", "--port", "0", *arguments)
    assert (status, out) == (1, "") and piece in err and err.count("\n") == 1


def test_a_failing_page_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Stack traces of the application become their first line, and the same line is not repeated."""
    logger = logging.getLogger("optuna_dashboard")
    handlers, propagate = list(logger.handlers), logger.propagate
    logger.handlers = []
    try:
        _log_in_one_line()
        for message in ("gone\nTraceback: ...", "gone\nTraceback: ...", "back"):
            logger.warning(message)
    finally:
        logger.handlers, logger.propagate = handlers, propagate
    assert capsys.readouterr().err.splitlines() == ["dashboard: gone", "dashboard: back"]
