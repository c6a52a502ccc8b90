"""`create`: what it made, what comes next, and what it refuses."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from optuna_dashboard._note import get_note_from_system_attrs

from search.study.open import open_study
from tests.search.cli.calls import FILE, Run


def test_create_says_what_it_made_and_what_comes_next(run: Run, tmp_path: Path) -> None:
    """Space, queue, budget and the command for the workers; once more changes nothing."""
    (tmp_path / "tiny.yaml").write_text(FILE)
    status, out, err = run("create", "tiny.yaml")
    assert status == 0 and err == ""
    assert "2 parameters searched, 0 fixed; 1 queued; budget 4 trials" in out
    assert "next: lobtuna work tiny --data DIR" in out and "Which?" in out
    study = open_study("sqlite:///lobtuna.db", "tiny")
    note = get_note_from_system_attrs(study._storage.get_study_system_attrs(study._study_id), None)["body"]
    assert "Which?" in note and "lobtuna work tiny" in note
    assert run("create", "tiny.yaml", "--json")[1:] == (
        json.dumps({"study": "tiny", "searched": 2, "fixed": 0, "waiting": 1}, indent=2) + "\n",
        "",
    )
    assert max(len(line) for line in out.splitlines()) <= 80


@pytest.mark.parametrize(
    "form",
    [
        "postgresql://{user}:hunter2@{host}",
        "postgresql://{user}:a hunter2 b@{host}",
        "postgresql://{user}@azure:hunter2@{host}",
        "postgresql://{user}@azure:a@hunter2;b@{host}",
        "postgresql://{host}?user={user}&password=a;hunter2",
        "postgresql://{host}?password=a',\"hunter2 b&user={user}",
    ],
)
def test_a_password_is_not_repeated(run: Run, tmp_path: Path, postgres_url: str, form: str) -> None:
    """Neither on success nor in a refusal, whatever signs are in it or in the user's name."""
    (tmp_path / "tiny.yaml").write_text(FILE)
    user, host = urlsplit(postgres_url).username, postgres_url.rpartition("@")[2]
    if "@azure" in form:
        with psycopg.connect(postgres_url.replace(postgres_url[13 : -len(host) - 1], "postgres")) as connection:
            connection.execute(f'CREATE ROLE "{user}@azure" LOGIN SUPERUSER')
    named = ("--storage", form.format(user=user, host=host))
    for command, expected in (
        (("create", "tiny.yaml"), "next: lobtuna work tiny --storage $LOBTUNA_STORAGE --data DIR"),
        (("status", "tiny"), "tiny"),
        (("stop", "tiny"), "--storage $LOBTUNA_STORAGE"),
        (("status", "tinny"), "did you mean tiny?"),
        (("create", "missing.yaml"), "no such study file"),
    ):
        _, out, err = run(*command, *named)
        assert "hunter2" not in out + err and expected in out + err


def test_create_refuses_in_a_line_and_offers_the_revision(run: Run, tmp_path: Path) -> None:
    """A changed file is applied by --revise: terms in place, a changed space as the next revision."""
    (tmp_path / "tiny.yaml").write_text(FILE)
    run("create", "tiny.yaml")
    (tmp_path / "tiny.yaml").write_text(FILE.replace("trials: 4", "trials: 9"))
    status, out, err = run("create", "tiny.yaml")
    assert (status, out) == (1, "") and "budget.trials: 4 -> 9" in err and err.count("\n") == 1
    assert "tiny changed in place: budget.trials: 4 -> 9" in run("create", "tiny.yaml", "--revise")[1]
    assert "nothing to revise" in run("create", "tiny.yaml", "--revise")[1]
    (tmp_path / "tiny.yaml").write_text(FILE.replace("[1, 2]", "[1, 2, 3]"))
    out = run("create", "tiny.yaml", "--revise")[1]
    assert "tiny@2 follows tiny" in out and "next: lobtuna work tiny@2" in out
    document = json.loads(run("create", "tiny.yaml", "--revise", "--json")[1])
    assert document["study"] == "tiny@2" and document["changes"] == {}
    assert run("create", "tiny.yaml", "--revise", "--artifacts", "x")[0] == 1


def test_a_wrong_file_lists_every_problem(run: Run, tmp_path: Path) -> None:
    """All errors at once, a line each, in the order of the file."""
    (tmp_path / "bad.yaml").write_text(FILE.replace("float", "flaot").replace("budget", "bugdet"))
    status, _, err = run("create", "bad.yaml")
    lines = err.splitlines()
    assert status == 1 and lines[0] == "lobtuna: bad.yaml has 2 problems:"
    assert [line.split(":")[0] for line in lines[1:]] == ["  line 4", "  line 8"]
