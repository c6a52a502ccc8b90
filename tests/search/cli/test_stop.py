"""`stop`: the request is stored, and the user reads what happens next."""

import json
from pathlib import Path

from search.study.halt import stop_of
from search.study.open import open_study
from tests.machines import create, small_study
from tests.search.cli.calls import Run


def test_stop_asks_and_says_how_to_go_on(run: Run, tmp_path: Path) -> None:
    """Without workers it says so; the way back is a command with the same database."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, small_study())
    status, out, err = run("stop", "small", "--storage", url, "--now")
    assert (status, err) == (0, "")
    assert "no trial is running" in out and f"lobtuna work small --storage {url}" in out
    request = stop_of(open_study(url, "small").user_attrs)
    assert request is not None and request.now
    document = json.loads(run("stop", "small", "--storage", url, "--json")[1])
    assert document == {"study": "small", "now": False, "running": 0}
    assert stop_of(open_study(url, "small").user_attrs) != request


def test_an_unknown_study_is_named(run: Run, tmp_path: Path) -> None:
    """A misspelt name stops nothing."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, small_study())
    status, _, err = run("stop", "smal", "--storage", url)
    assert status == 1 and "did you mean small?" in err
