"""`work`: what a person types to lend a machine, and what is refused before any trial begins."""

import json
from pathlib import Path

import pytest

from search.errors import RunNotSavedError, RunSavedError, SearchError
from search.study.create import create_in
from storage.backends.registry import open_storage
from tests.machines import small_study
from tests.search.cli.calls import Run


@pytest.fixture
def study(tmp_path: Path) -> str:
    """URL of a database with a study of two short trials."""
    url = f"sqlite:///{tmp_path / 'small.db'}"
    create_in(open_storage(url), small_study(trials=2, epochs=2))
    return url


def test_a_worker_does_the_study_and_counts_what_it_did(run: Run, study: str, small_data: Path) -> None:
    """The JSON holds the outcomes and the reason of the end; progress goes to stderr, plain in a pipe."""
    code, out, err = run("work", "small", "--storage", study, "--data", small_data, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["outcomes"] == {"complete": 2} and document["trials"] == 2
    assert "2 of 2 trials" in document["stopped"]
    assert "small #0" in err and "complete" in err and "\x1b" not in err


@pytest.mark.parametrize(
    ("error", "wanted"),
    [(RunSavedError("kept/small-3.run"), 69), (RunNotSavedError("nowhere"), 69), (SearchError("no"), 1)],
)
def test_a_finished_run_that_is_not_in_the_database_has_its_exit_code(
    run: Run, error: SearchError, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """69, as the process of a slot has it; every other expected failure has 1."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("search.work.start.start", fail)
    code, _, err = run("work", "small", "--storage", "sqlite:///x.db", "--data", "x")
    assert (code, err) == (wanted, f"lobtuna: {error}\n")


def test_the_number_of_trials_of_a_worker(run: Run, study: str, small_data: Path) -> None:
    """`--trials 1` leaves the other one to others."""
    code, out, _ = run("work", "small", "--storage", study, "--data", small_data, "--trials", "1", "--json")
    assert code == 0 and json.loads(out)["trials"] == 1
    assert json.loads(run("status", "small", "--storage", study, "--json")[1])["trials"]["complete"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--time-limit", "soon"), "'soon' is no duration"),
        (("--gpus", "all", "--slots", "2"), "--slots"),
        (("--slots", "0"), "--slots"),
        (("--threads", "0"), "--threads"),
        (("--patience", "-1"), "--patience"),
    ],
)
def test_options_that_cannot_work(run: Run, study: str, small_data: Path, options: tuple[str, ...], words: str) -> None:
    """One clear message that names the option or the value, exit 1 or 2, and no trial has begun."""
    code, out, err = run("work", "small", "--storage", study, "--data", small_data, *options)
    assert code in (1, 2) and words in err and out == ""
    assert sum(json.loads(run("status", "small", "--storage", study, "--json")[1])["trials"].values()) == 0


def test_what_is_not_there(run: Run, study: str, small_data: Path, tmp_path: Path) -> None:
    """A study, a database or data that do not exist end in one line with exit 1."""
    for arguments in (
        ("work", "smal", "--storage", study, "--data", small_data),
        ("work", "small", "--storage", f"sqlite:///{tmp_path / 'absent.db'}", "--data", small_data),
        ("work", "small", "--storage", study, "--data", tmp_path / "absent"),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (1, "") and len(err.strip().splitlines()) == 1
