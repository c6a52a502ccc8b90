"""The main job as a user does it: real commands in real processes, from parquet to a scored submission."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.forked import lobtuna_in

Lobtuna = Callable[..., subprocess.CompletedProcess[str]]

STUDY = """
# Does the path hold?
name: path
parameters:
  architecture: {choices: [gru, lstm]}
  hidden_size: {int: [4, 8], step: 4}
  num_layers: 1
  derived: {choices: [false, true]}
  lr: {float: [1e-3, 2e-2], log: true}
  weight_decay: {float: [0.0, 0.2]}
  batch_size: 8
  epochs: 3
baselines:
  - {architecture: gru, hidden_size: 8, derived: false, lr: 1e-2, weight_decay: 0.0}
sampler: {name: tpe, startup_trials: 3}
pruner: {name: median, warmup_epochs: 1, startup_trials: 2, patience: 0}
budget: {trials: 6}
"""


@pytest.fixture(scope="module")
def lobtuna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lobtuna]:
    """Runs the command line in a process of its own; it must end with `code`."""
    with lobtuna_in(tmp_path_factory.mktemp("bin")) as script:

        def run(*arguments: str | Path, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
            command, environment = [script, *map(str, arguments)], {**os.environ, "COLUMNS": "80"}
            done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)
            assert done.returncode == code, done.stdout + done.stderr
            return done

        yield run


@pytest.fixture(scope="module")
def twice(lobtuna: Lobtuna, tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> tuple[Path, Path]:
    """The same study run by one CPU worker in two folders, each exported."""
    folders = []
    for name in ("first", "second"):
        folder = tmp_path_factory.mktemp(name)
        (folder / "path.yaml").write_text(STUDY)
        lobtuna("run", "path.yaml", "--data", small_data, cwd=folder)
        lobtuna("export", "path", "--top", "2", "--output", "submission.zip", cwd=folder)
        folders.append(folder)
    return folders[0], folders[1]


def test_repeatable(twice: tuple[Path, Path]) -> None:
    """Two runs of one study with one worker on a CPU give the same trials, the same values, the same zip."""
    from search.study.open import open_study

    records = []
    for folder in twice:
        trials = open_study(f"sqlite:///{folder}/lobtuna.db", "path").get_trials()
        records.append([(t.number, t.state, t.params, t.value, t.intermediate_values) for t in trials])
    assert records[0] == records[1]
    assert len(records[0]) == 6
    assert (twice[0] / "submission.zip").read_bytes() == (twice[1] / "submission.zip").read_bytes()


def test_status_and_score_as_json(lobtuna: Lobtuna, twice: tuple[Path, Path], small_data: Path) -> None:
    """`--json` of status and score carries what a script reads."""
    status = json.loads(lobtuna("status", "path", "--json", cwd=twice[0]).stdout)
    assert set(status["trials"]) >= {"complete", "pruned", "failed", "running", "waiting"}
    assert sum(status["trials"][state] for state in ("complete", "pruned", "failed")) == 6
    assert set(status["best"]) >= {"number", "value", "seed", "configuration"}
    score = json.loads(lobtuna("score", "submission.zip", "--data", small_data, "--json", cwd=twice[0]).stdout)
    assert score["sequences"] == 12
    assert score["weighted_pearson"] == pytest.approx((score["t0"] + score["t1"]) / 2)
    assert {"us_per_step", "seconds_for_1500", "megabytes"} <= set(score)


def test_running_again_does_nothing_more(lobtuna: Lobtuna, twice: tuple[Path, Path], small_data: Path) -> None:
    """A study whose budget is spent takes no further trial, however often it is run."""
    lobtuna("run", "path.yaml", "--data", small_data, cwd=twice[1])
    status = json.loads(lobtuna("status", "path", "--json", cwd=twice[1]).stdout)
    assert sum(status["trials"].values()) == 6


def test_failures_are_one_line(lobtuna: Lobtuna, twice: tuple[Path, Path], small_data: Path, tmp_path: Path) -> None:
    """What goes wrong as expected ends with exit code 1 and one line that says what to do."""
    folder = twice[0]
    for arguments, said in (
        (("export", "pathh", "--output", "other.zip"), "path"),
        (("work", "path", "--data", tmp_path / "nowhere"), "nowhere"),
        (("run", "missing.yaml", "--data", small_data), "missing.yaml"),
        (("score", "path.yaml", "--data", small_data), "path.yaml"),
        (("export", "path", "--top", "99", "--output", "other.zip"), "99"),
        (("export", "path"), "--force"),
    ):
        done = lobtuna(*arguments, cwd=folder, code=1)
        lines = [line for line in done.stderr.splitlines() if line.startswith("lobtuna: ")]
        assert len(lines) == 1 and said in lines[0], done.stderr
        assert "Traceback" not in done.stderr
