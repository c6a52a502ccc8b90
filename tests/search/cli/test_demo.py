"""`demo`: the whole path in a folder of its own, and nobody else's folder touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.cli import demo
from tests.search.cli.calls import Run


def test_demo(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`lobtuna demo` goes the whole path in a folder it names and ends with three commands that exist. With a quarter
    of its sequences; all of them have their turn in the test of the published wheel."""
    full = "--train {train} --valid {valid}".format(**demo.SEQUENCES)
    assert sum(full in step for step in demo.STEPS) == 1
    monkeypatch.setattr(demo, "STEPS", [step.replace(full, "--train 40 --valid 16") for step in demo.STEPS])
    folder = tmp_path / "demo"
    status, out, err = run("demo", "--output", folder)
    assert status == 0, out + err
    assert str(folder) in out.splitlines()[0]
    assert (folder / "submission.zip").stat().st_size < 20e6
    assert "$ lobtuna rank demo" in out
    for command, _ in demo.NEXT:
        assert f"lobtuna {command}" in out
        assert run(command.split()[0], "--help")[0] == 0


def test_a_folder_of_others_is_left_alone(run: Run, tmp_path: Path) -> None:
    """A folder that holds anything but an earlier demo, or that is a file, is refused; nothing in it is changed."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    status, _, err = run("demo", "--output", "other")
    assert status == 1 and "not empty and holds no earlier demo" in err
    assert (tmp_path / "other" / "mine.txt").read_text() == "mine"
    status, _, err = run("demo", "--output", "other/mine.txt")
    assert status == 1 and "name another with --output" in err
