"""`create`, `status`, `replicate` and `rank` as a user meets them: what they print, and what they refuse."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna_dashboard._note import get_note_from_system_attrs

from search.cli import main
from search.study.open import open_study
from storage.backends.database import open_storage
from tests.made_study import make_study

FILE = """\
# Which?
name: tiny
parameters:
  lr: {float: [2e-4, 3e-3], log: true}
  num_layers: {choices: [1, 2]}
baselines:
  - {lr: 1e-3, num_layers: 1}
budget: {trials: 4}
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command line in an empty folder: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a database with a study of 40 trials, four of them repeated under three further seeds."""
    url = f"sqlite:///{tmp_path_factory.mktemp('searched') / 'study.db'}"
    make_study(open_storage(url), 40, replicates=(4, 3))
    return url


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


def test_a_password_is_not_repeated(run: Run, tmp_path: Path, postgres_url: str) -> None:
    """Neither on success nor in a refusal."""
    (tmp_path / "tiny.yaml").write_text(FILE)
    user, _, rest = postgres_url.partition("://")[2].partition("@")
    secret = f"postgresql://{user.partition(':')[0]}:hunter2@{rest}"
    status, out, err = run("create", "tiny.yaml", "--storage", secret)
    assert status == 0 and "hunter2" not in out + err and "$LOBTUNA_STORAGE" in out
    status, out, err = run("status", "tinny", "--storage", secret)
    assert status == 1 and "hunter2" not in out + err and "did you mean tiny?" in err


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


@pytest.mark.parametrize(
    ("arguments", "piece"),
    [
        (("create", "tinny.yaml"), "no such study file; did you mean tiny.yaml?"),
        (("create", "."), "cannot be read: Is a directory"),
        (("create", "tiny.yaml", "--data", "nowhere"), "nowhere"),
        (("create", "tiny.yaml", "--storage", "mysql://x/y"), "use sqlite:///FILE"),
        (("create", "tiny.yaml", "--artifacts", "ftp://x"), "names no store"),
        (("status", "tiny"), "there is no database lobtuna.db"),
        (("rank", "tiny"), "there is no database lobtuna.db"),
        (("replicate", "tiny"), "there is no database lobtuna.db"),
    ],
)
def test_expected_failures_are_one_line(run: Run, tmp_path: Path, arguments: tuple[str, ...], piece: str) -> None:
    """Exit 1, nothing on stdout, one line that names the value and the rule."""
    (tmp_path / "tiny.yaml").write_text(FILE)
    status, out, err = run(*arguments)
    assert (status, out) == (1, "") and piece in err and err.count("\n") == 1 and err.startswith("lobtuna: ")


def test_a_wrong_file_lists_every_problem(run: Run, tmp_path: Path) -> None:
    """All errors at once, a line each, in the order of the file."""
    (tmp_path / "bad.yaml").write_text(FILE.replace("float", "flaot").replace("budget", "bugdet"))
    status, _, err = run("create", "bad.yaml")
    lines = err.splitlines()
    assert status == 1 and lines[0] == "lobtuna: bad.yaml has 2 problems:"
    assert [line.split(":")[0] for line in lines[1:]] == ["  line 4", "  line 8"]


def test_status_for_people_and_for_scripts(run: Run, searched: str) -> None:
    """States, best run, replicates and budget; the JSON has the promised names."""
    status, out, err = run("status", "joint", "--storage", searched)
    assert status == 0 and err == "" and max(len(line) for line in out.splitlines()) <= 80
    document = json.loads(run("status", "joint", "--storage", searched, "--json")[1])
    assert set(document["trials"]) == {"complete", "pruned", "failed", "running", "waiting"}
    assert sum(document["trials"].values()) == 40
    assert set(document["best"]) == {"number", "value", "seed", "configuration"}
    best = max(t.value for t in open_study(searched, "joint").trials if t.state.name == "COMPLETE")
    assert document["best"]["value"] == best and f"{best:.4f} on the selection sequences" in out
    assert document["replicates"]["complete"] == 12 and "replicates 12 complete" in out
    assert document["budget"]["trials"] == {"used": 40, "limit": 200, "left": 160}
    assert document["workers"] == [] and "workers    none" in out


def test_status_of_an_empty_study(run: Run, tmp_path: Path) -> None:
    """Before the first trial there is no best, and that is said."""
    (tmp_path / "tiny.yaml").write_text(FILE)
    run("create", "tiny.yaml")
    assert json.loads(run("status", "tiny", "--json")[1])["best"] is None
    assert "none: no trial is complete yet" in run("status", "tiny")[1]
    assert run("status", "tiny", "--watch", "--json")[0] == 2
    assert "has no complete run yet: lobtuna work tiny" in run("rank", "tiny")[2]
    assert "no complete run yet" in run("replicate", "tiny")[2]


def test_watching_ends_with_the_study(run: Run, tmp_path: Path) -> None:
    """In a pipe each change is a line; when nothing is left to wait for the command returns."""
    url = f"sqlite:///{tmp_path / 'over.db'}"
    from tests.made_study import SPEC

    over = SPEC.model_copy(update={"budget": SPEC.budget.model_copy(update={"trials": 5})})
    make_study(open_storage(url), 5, spec=over)
    status, out, _ = run("status", "joint", "--storage", url, "--watch", "--every", "0.2")
    assert status == 0 and len(out.splitlines()) == 1 and "0 running, 0 waiting; best 0." in out


def test_rank_shows_luck_beside_the_estimate(run: Run, searched: str, tmp_path: Path) -> None:
    """Repeated configurations first; which sequences the scores are on is said; nothing is cut at 80 columns."""
    status, out, err = run("rank", "joint", "--storage", searched, "--limit", "6", "--csv", "ranking.csv")
    assert status == 0 and err == ""
    lines = out.splitlines()
    assert lines[0] == "joint: mean weighted Pearson on the selection sequences (75% of the validation sequences)"
    assert lines[1].split() == ["trial", "n", "estimate", "90", "%", "P(best)", "mean", "sd", "best", "run", "report"]
    assert max(map(len, lines[1:8])) <= 80 and "…" not in out
    assert lines[5].split()[2] == "4" and lines[6].split()[2:6] == ["1", "-", "-", "-"]
    assert "luckiest run: joint" in out and "report: mean on the 25% that no selection has seen" in out
    with (tmp_path / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    document = json.loads(run("rank", "joint.seeds", "--storage", searched, "--json")[1])
    assert document["scores_on"] == "select" and len(document["configurations"]) == len(rows) > 6
    assert float(rows[0]["select_estimate"]) == document["configurations"][0]["estimate"]
    status, _, err = run("rank", "joint", "--storage", searched, "--csv", "no/such/folder.csv")
    assert status == 1 and "cannot write no/such/folder.csv" in err


def test_replicate_queues_and_repeats_nothing(run: Run, tmp_path: Path) -> None:
    """Counts, seeds and the next commands; --auto stores the plan that the workers follow."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    make_study(open_storage(url), 30)
    status, out, err = run("rank", "joint", "--storage", url)
    assert status == 0 and "this order is mostly luck; next: lobtuna replicate joint" in err
    arguments = ("replicate", "joint", "--storage", url, "--top", "3", "--seeds", "3")
    status, out, err = run(*arguments)
    assert status == 0 and err == "" and "joint.seeds: 6 runs queued, 0 there already" in out
    assert "each under its own seed and 1000000 to 1000001" in out and f"lobtuna work joint --storage {url}" in out
    document = json.loads(run(*arguments, "--auto", "--runs", "9", "--json")[1])
    assert (document["queued"], document["present"], document["auto_runs"]) == (0, 6, 9)
    assert open_study(url, "joint.seeds").user_attrs["replication_plan"]["runs"] == 9
    for wrong, piece in (
        (("--runs", "9"), "--runs is the budget of --auto"),
        (("--auto", "--runs", "2"), "is less than the 6 replicates"),
        (("--top", "99"), "asks for more configurations than study 'joint' has complete"),
        (("--trial", "999"), "trial 999 of study 'joint' is not complete"),
    ):
        status, out, err = run(*arguments, *wrong)
        assert (status, out) == (1, "") and piece in err
    assert run(*arguments[:4], "--seeds", "1")[0] == 2


@pytest.mark.parametrize("command", ["create", "status", "replicate", "rank"])
def test_help_ends_in_an_example(run: Run, command: str) -> None:
    """Whoever asks how gets a line to copy."""
    status, out, _ = run(command, "--help")
    assert status == 0 and f"Example:  lobtuna {command} " in out.rstrip().splitlines()[-1]


def test_narrow_terminals_lose_columns_not_digits(run: Run, searched: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is left out whole; in a pipe nothing is."""
    for width in (40, 60, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        out = run("rank", "joint", "--storage", searched)[1]
        table = out.splitlines()[1:6]
        assert all(len(line) <= width for line in table) and "…" not in out
        assert "estimate" in table[0]
    monkeypatch.delenv("COLUMNS")
    table = run("rank", "joint", "--storage", searched)[1].splitlines()
    assert "best run" in table[1] and "…" not in "".join(table)


def test_nothing_but_failures_says_why(run: Run, tmp_path: Path) -> None:
    """Where every trial failed, the reason is told instead of the advice to go on."""
    study = make_study(open_storage("sqlite:///lobtuna.db"), 3, failures=1.0)
    status, _, err = run("rank", study.study_name)
    assert status == 1 and "has no complete run, 3 failed, the last because:" in err and "--revise" in err
    for command in ("replicate", "export"):
        assert "3 failed, the last because:" in run(command, study.study_name)[2]


def test_replicate_takes_what_there_is(run: Run) -> None:
    """Without --top, a study with fewer than five configurations repeats all of them."""
    study = make_study(open_storage("sqlite:///lobtuna.db"), 3, failures=0.0)
    status, out, err = run("replicate", study.study_name)
    assert (status, err) == (0, "") and "runs queued" in out
    assert run("replicate", study.study_name, "--top", "5")[0] == 1
