"""`lobtuna create --dry-run`, and `create` where the study is there: what they print, and that nothing else happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from search.cli import main

FILE = """\
name: tiny
parameters: {hidden_size: 4, batch_size: 12, epochs: 2, lr: {float: [2e-4, 3e-3], log: true}}
pruner: {name: none}
budget: {trials: 3}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a study file, at 80 columns."""
    (tmp_path / "tiny.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def create(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout, stderr of `lobtuna create ...`."""
    with pytest.raises(SystemExit) as stop:
        main(["create", "tiny.yaml", *arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def test_a_dry_run_creates_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three configurations with their searched values, within 80 columns; no database afterwards."""
    status, out, _ = create(capsys, "--dry-run")
    assert status == 0
    assert out.startswith("tiny would search 1 parameters; budget 3 trials\n  1. lr=0.00")
    assert [line[:5] for line in out.splitlines()[1:4]] == ["  1. ", "  2. ", "  3. "]
    assert "with --data DIR this also estimates the time" in out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert [path.name for path in folder.iterdir()] == ["tiny.yaml"]


def test_with_data_it_estimates_the_time(folder: Path, small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Seconds of an epoch beside each, and the whole for one slot; as JSON the same figures."""
    out = create(capsys, "--dry-run", "--data", str(small_data))[1]
    assert out.count("s an epoch, 2 epochs") == 3
    assert "one slot of this machine would take 1 min for 3 full runs" in " ".join(out.split())
    document = json.loads(create(capsys, "--dry-run", "--data", str(small_data), "--json")[1])
    assert [set(row) for row in document["configurations"]] == [{"lr"}] * 3
    mean = sum(document["epoch_seconds"]) / 3
    assert document["hours"] == pytest.approx(mean * 2 * 3 / 3600)
    (folder / "tiny.yaml").write_text(FILE.replace("trials: 3", "trials: 30000, hours: 0.001"))
    out = create(capsys, "--dry-run", "--data", str(small_data))[1]
    assert "the 0.001 hours of the budget are enough for about" in " ".join(out.split())


def test_a_dry_run_ignores_no_option(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it could not show is refused."""
    for option in (("--revise",), ("--artifacts", "file:///x")):
        status, _, err = create(capsys, "--dry-run", *option)
        assert status == 1 and "leave --revise and --artifacts out" in err


def test_create_tells_that_the_study_was_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first time it is created, the second time found, with its trials."""
    assert create(capsys)[1].startswith("tiny is in sqlite:///lobtuna.db\n")
    again = " ".join(create(capsys)[1].split())
    assert again.startswith(
        "tiny is in sqlite:///lobtuna.db; it was there already, as the file describes it, with 0 trials"
    )
