"""`run`: `create` and `work` in one command, which may be given again."""

import json
from pathlib import Path

from tests.search.cli.calls import Run

FILE = """\
# Does one command do it all?
name: both
parameters:
  hidden_size: 4
  num_layers: 1
  batch_size: 12
  epochs: 2
  lr: {float: [1e-3, 1e-2], log: true}
pruner: {name: none}
budget: {trials: 2}
"""


def test_run_creates_works_and_goes_on(run: Run, tmp_path: Path, small_data: Path) -> None:
    """The first call creates the study and runs its budget; the same call again has nothing left to do."""
    (tmp_path / "both.yaml").write_text(FILE)
    code, out, _ = run("run", "both.yaml", "--data", small_data, "--json")
    assert code == 0 and json.loads(out)["outcomes"] == {"complete": 2}
    code, out, _ = run("run", "both.yaml", "--data", small_data, "--json")
    assert code == 0 and json.loads(out) == {"outcomes": {}, "trials": 0, "stopped": json.loads(out)["stopped"]}
    assert "2 of 2 trials" in json.loads(out)["stopped"]


def test_a_changed_file_is_not_run_in_silence(run: Run, tmp_path: Path, small_data: Path) -> None:
    """A file that says something else than the study is refused with the way on."""
    (tmp_path / "both.yaml").write_text(FILE)
    assert run("run", "both.yaml", "--data", small_data, "--trials", "1")[0] == 0
    (tmp_path / "both.yaml").write_text(FILE.replace("hidden_size: 4", "hidden_size: 6"))
    code, _, err = run("run", "both.yaml", "--data", small_data)
    assert code == 1 and "hidden_size: 4 -> 6" in err and "--revise" in err


def test_run_takes_the_options_of_work(run: Run) -> None:
    """Every option of `work` is an option of `run`; only the first argument differs."""
    help_of_run, help_of_work = run("run", "--help")[1], run("work", "--help")[1]
    options = {word for word in help_of_work.split() if word.startswith("--")}
    assert options and options <= set(help_of_run.split())
    assert "STUDY.yaml" in help_of_run


def test_a_budget_that_is_over_is_refused(run: Run, tmp_path: Path, small_data: Path) -> None:
    """A study whose `until` has passed is not created."""
    (tmp_path / "late.yaml").write_text(FILE.replace("{trials: 2}", "{until: 2020-01-01T00:00:00Z}"))
    code, _, err = run("run", "late.yaml", "--data", small_data)
    assert code == 1 and "2020-01-01" in err and not (tmp_path / "lobtuna.db").exists()


def test_a_plan_ends_with_a_submission(run: Run, tmp_path: Path, small_data: Path) -> None:
    """Sixty per cent are searched, the rest repeated, and the zip is there; the same command again only says so."""
    (tmp_path / "both.yaml").write_text(FILE.replace("{trials: 2}", "{trials: 5}"))
    command = ("run", "both.yaml", "--data", small_data, "--plan", "ensemble", "--json")
    (tmp_path / "submission.zip").write_text("mine")
    code, _, err = run(*command)
    assert code == 1 and "submission.zip exists" in err
    code, out, err = run(*command, "--output", "new.zip", "--trials", "3")
    assert code == 0 and json.loads(out)["submission"] is None
    code, out, err = run(*command, "--output", "new.zip")
    assert code == 0 and json.loads(out)["submission"]["members"] and (tmp_path / "new.zip").is_file(), err
    code, out, _ = run("status", "both", "--json")
    document = json.loads(out)
    assert document["trials"]["complete"] == 3 and document["replicates"]["complete"] == 2
    assert document["plan"].startswith("exported to")
    code, out, _ = run(*command, "--output", "new.zip")
    assert code == 0 and json.loads(out)["plan"].startswith("exported to")


def test_a_plan_needs_a_budget(run: Run, tmp_path: Path, small_data: Path) -> None:
    """Refused before anything runs."""
    (tmp_path / "both.yaml").write_text(FILE.replace("budget: {trials: 2}", ""))
    code, _, err = run("run", "both.yaml", "--data", small_data, "--plan", "ensemble")
    assert code == 1 and "--plan ensemble divides a budget" in err
