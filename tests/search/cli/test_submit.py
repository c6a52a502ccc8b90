"""`submit`: a run that outlived its database is stored later, once."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from search.study.open import open_study
from search.study.runs import finished_runs, load_checkpoint
from tests.search.cli.calls import Run

SAVED = Path(__file__).parents[2] / "compatibility" / "v0.1.0"  # holds a saved run and the database of its study


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with the study of the saved run, which lies beside it."""
    shutil.copy(SAVED / "before.db", tmp_path)
    shutil.copy(SAVED / "before-99.run", tmp_path)
    return f"sqlite:///{tmp_path / 'before.db'}"


def test_a_saved_run_becomes_a_trial_with_its_weights(run: Run, url: str, tmp_path: Path) -> None:
    """The JSON names file, study, number and outcome; the file is removed once its run is stored."""
    before = {found.number for found in finished_runs(open_study(url, "before"))}
    code, out, _ = run("submit", "before-99.run", "--storage", url, "--json")
    (document,) = json.loads(out)
    assert code == 0 and set(document) == {"file", "study", "number", "outcome"}
    assert not (tmp_path / "before-99.run").exists()
    study = open_study(url, "before")
    (added,) = [found for found in finished_runs(study) if found.number not in before]
    assert added.number == document["number"]
    assert load_checkpoint(study, added).score == pytest.approx(added.value)


@pytest.mark.parametrize("content", [None, b"", b"not a zip"])
def test_a_file_that_is_no_saved_run(run: Run, url: str, tmp_path: Path, content: bytes | None) -> None:
    """A missing or damaged file is named in one line, and stays where it is."""
    file = tmp_path / "broken.run"
    if content is not None:
        file.write_bytes(content)
    code, out, err = run("submit", file, "--storage", url)
    assert (code, out) == (1, "") and "broken.run" in err and len(err.strip().splitlines()) == 1
    assert file.exists() == (content is not None)


def test_another_database_keeps_the_file(run: Run, url: str, tmp_path: Path) -> None:
    """Where the study is not, nothing is stored and nothing removed."""
    code, _, err = run("submit", "before-99.run", "--storage", f"sqlite:///{tmp_path / 'other.db'}")
    assert code == 1 and "before" in err
    assert (tmp_path / "before-99.run").exists()


def test_two_at_the_same_moment_make_one_trial(run: Run, url: str, tmp_path: Path) -> None:
    """Two processes submit one file: one stores it, the other says that it is being stored, or is gone."""
    before = len(open_study(url, "before").get_trials())
    code = "from search.cli import main; main()"
    command = [sys.executable, "-c", code, "submit", str(tmp_path / "before-99.run"), "--storage", url]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = sorted((process.communicate()[1] for process in both), key=len)
    assert sorted(process.returncode for process in both) == [0, 1]
    assert told[0] == "" and ("another process" in told[1] or "no such file" in told[1])
    assert len(open_study(url, "before").get_trials()) == before + 1
