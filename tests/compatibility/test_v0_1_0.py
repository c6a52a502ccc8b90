"""What was written before the packages were moved still opens: database, checkpoints, submission, score, kept run.

`v0.1.0/` holds files of that version, made with `lobtuna data synth --output data --train 12 --valid 6 --seed 3`:
- `before.db`: the study `before` of before.yaml with 5 complete trials, and its replicates, of which #2 is waiting with
  a stored state after its first epoch.
- `before.zip`: its five best runs, replicates included, as a submission; `before.score.npz`: its saved score.
- `before-99.run`: a kept run of a trial that is not in the database.
- `predictions.npz`: 40 rows and what the submission predicted for them; `rank.json`: what `rank --json` printed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lobmodels.data import load_sequences
from lobmodels.ensemble.bundle import read_submission
from search.cli import main
from search.study.open import open_study
from search.study.runs import finished_runs, load_checkpoint

FILES = Path(__file__).parent / "v0.1.0"
STORAGE = "sqlite:///before.db"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data that the files were made from."""
    from lobmodels.data.synthetic import write_dataset

    folder = tmp_path_factory.mktemp("before") / "data"
    write_dataset(folder, train=12, valid=6, seed=3)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command in a folder that holds a copy of the files: exit status, stdout, stderr."""
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOBTUNA_STORAGE", STORAGE)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


def same(found: Any, expected: Any) -> None:
    """Equal documents, numbers up to rounding."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-9)
    else:
        assert found == expected


def test_the_study_is_read(run: Run) -> None:
    """Status counts its trials and replicates, and the ranking has the same numbers as then."""
    status = json.loads(run("status", "before", "--json")[1])
    assert status["trials"]["complete"] == 5 and status["best"]["number"] == 4
    assert (status["replicates"]["complete"], status["replicates"]["waiting"]) == (2, 1)
    ranking = json.loads(run("rank", "before", "--json")[1])
    assert ranking.pop("about_new_sequences") is False  # its runs do not say how they did on each sequence
    assert {row.pop("failed") for row in ranking["configurations"]} == {0}
    behind = [row.pop("behind") for row in ranking["configurations"]]
    assert behind[0] is None
    same(ranking, json.loads((FILES / "rank.json").read_text()))


def test_the_study_file_is_the_study(run: Run, data: Path) -> None:
    """`create` with the same file changes nothing, and the data has the fingerprint that the study holds."""
    code, out, _ = run("create", "before.yaml", "--data", data)
    assert code == 0 and "before is in sqlite:///before.db" in out
    code, out, err = run("create", "before.yaml", "--revise", "--data", data)
    assert code == 0 and "nothing to revise" in out + err


def test_checkpoints_are_read(run: Run, data: Path) -> None:
    """Every finished run loads, and predicts on its validation sequences what its stored scores say."""
    from lobmodels.data import validation_split
    from lobmodels.metric import weighted_pearson

    valid = load_sequences(data / "valid.parquet")
    select, _ = validation_split(len(valid), 0.25)
    study = open_study(STORAGE, "before")
    runs = finished_runs(study)
    assert len(runs) == 5
    for each in runs:
        checkpoint = load_checkpoint(study, each)
        assert checkpoint.valid_fingerprint == valid.fingerprint
        predicted = checkpoint.predict(valid.features[select])[:, valid.schema.warmup_steps :]
        score = weighted_pearson(predicted, valid.targets[select, valid.schema.warmup_steps :]).mean()
        assert score == pytest.approx(checkpoint.score, abs=1e-5)


def test_a_submission_is_exported_verified_and_scored(run: Run, data: Path, tmp_path: Path) -> None:
    """The old submission passes today's checks, and an export of the same runs scores the same as the saved score."""
    assert run("verify", "before.zip", "--data", data)[0] == 0
    names = read_submission(tmp_path / "before.zip").names
    assert run("export", "before", "--members", ",".join(names), "--output", "new.zip")[0] == 0
    code, out, _ = run("score", "new.zip", "--data", data, "--champion", "before.score.npz", "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)["comparison"]["rows"]}
    assert set(rows) == {"new.zip", "before.zip"}
    assert rows["new.zip"]["mean"] == pytest.approx(rows["before.zip"]["mean"], abs=1e-6)


def test_the_old_submission_predicts_what_it_did(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own solution.py, row by row, gives the stored predictions; so do its members rebuilt as torch networks."""
    import zipfile

    from lobmodels.scoring.submission import host_job, run_host
    from tests.compatibility.rows import one_sequence

    stored = np.load(FILES / "predictions.npz")
    data = one_sequence(stored["rows"])
    with zipfile.ZipFile(tmp_path / "before.zip") as archive:
        archive.extractall(tmp_path / "zip")
    output = tmp_path / "output"
    output.mkdir()
    job = host_job(data, np.array([0]), tmp_path / "zip", output) | {"warmup": 0}
    run_host(job, tmp_path / "before.zip", lambda _: None, 120.0)
    np.testing.assert_allclose(np.load(output / "predictions.npy")[0], stored["predictions"], atol=1e-5)
    rebuilt = read_submission(tmp_path / "before.zip").bundle().predict(data.features)
    np.testing.assert_allclose(rebuilt[0], stored["predictions"], atol=1e-5)


def test_a_waiting_replicate_goes_on_from_its_stored_state(run: Run, data: Path) -> None:
    """A worker takes the interrupted run up after its first epoch and finishes it."""
    code, _, err = run("work", "before", "--data", data)
    assert code == 0
    assert "before.seeds #2  resumes at epoch 1" in err and "epoch 1/3" not in err
    replicate = open_study(STORAGE, "before.seeds").trials[2]
    assert replicate.state.name == "COMPLETE" and len(replicate.intermediate_values) == 3


def test_a_kept_run_is_taken(run: Run, tmp_path: Path) -> None:
    """`submit` stores it as a trial with its checkpoint and removes the file."""
    code, out, _ = run("submit", "before-99.run")
    assert code == 0 and "before #5" in out
    assert not (tmp_path / "before-99.run").exists()
    study = open_study(STORAGE, "before")
    added = next(each for each in finished_runs(study) if each.number == 5)
    assert load_checkpoint(study, added).score == pytest.approx(added.value, abs=1e-6)


def test_the_report_and_the_analysis_are_written(run: Run, data: Path, tmp_path: Path) -> None:
    """Old trials hold all that today's report and ensemble analysis read."""
    assert run("report", "before", "--output", "report")[0] == 0
    assert (tmp_path / "report" / "report.html").stat().st_size > 100_000
    assert run("ensemble", "before", "--data", data, "--output", "analysis")[0] == 0


def test_configurations_are_what_they_were(run: Run) -> None:
    """Recipes that came later change neither the key of an old configuration nor its checkpoint."""
    study = open_study(STORAGE, "before")
    for each in finished_runs(study):
        stored = study.trials[each.number].user_attrs
        assert each.config.key() == stored["key"]
        assert load_checkpoint(study, each).config.identity() == stored["configuration"]
