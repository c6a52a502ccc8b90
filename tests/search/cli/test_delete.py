"""`delete`: asks before, removes for good, and says what it removed."""

from __future__ import annotations

from pathlib import Path

import optuna

from storage.backends.registry import open_storage
from tests.made_study import make_study
from tests.search.cli.calls import Run


def test_it_does_not_delete_unasked(run: Run, tmp_path: Path) -> None:
    """Without a terminal nobody can answer: it names what it would delete, and the option."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    name = make_study(open_storage(url), 5, replicates=(2, 2)).study_name
    status, out, err = run("delete", name, "--storage", url)
    assert (status, out) == (1, "")
    assert f"{name} and {name}.seeds" in err and "--yes" in err and err.count("\n") == 1
    assert len(optuna.get_all_study_names(open_storage(url))) == 2
    status, out, _ = run("delete", name, "--storage", url, "--yes")
    assert status == 0 and out.startswith(f"deleted {name} and {name}.seeds (")
    assert optuna.get_all_study_names(open_storage(url)) == []


def test_a_study_of_plain_optuna_and_one_that_is_not_there(run: Run, tmp_path: Path) -> None:
    """Whoever created it; an unknown name shows similar ones."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(study_name="plain", storage=open_storage(url))
    assert "did you mean plain?" in run("delete", "plian", "--storage", url)[2]
    assert run("delete", "plain", "--storage", url, "-y")[0] == 0
