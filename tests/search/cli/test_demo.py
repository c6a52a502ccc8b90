"""`demo`: the whole path in a folder of its own, and nobody else's folder touched."""

from __future__ import annotations

from pathlib import Path

from tests.search.cli.calls import Run
from tests.test_end_to_end import lobtuna


def test_demo(tmp_path: Path) -> None:
    """`lobtuna demo` goes the whole path in a folder it names and ends with three commands that exist."""
    from search.cli.demo import NEXT

    folder = tmp_path / "demo"
    done = lobtuna("demo", "--output", folder, cwd=tmp_path)
    assert str(folder) in done.stdout.splitlines()[0]
    assert (folder / "submission.zip").stat().st_size < 20e6
    assert "$ lobtuna rank demo" in done.stdout
    for command, _ in NEXT:
        assert f"lobtuna {command}" in done.stdout
        assert lobtuna(command.split()[0], "--help", cwd=tmp_path).returncode == 0


def test_a_folder_of_others_is_left_alone(run: Run, tmp_path: Path) -> None:
    """A folder that holds anything but an earlier demo, or that is a file, is refused; nothing in it is changed."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    status, _, err = run("demo", "--output", "other")
    assert status == 1 and "not empty and holds no earlier demo" in err
    assert (tmp_path / "other" / "mine.txt").read_text() == "mine"
    status, _, err = run("demo", "--output", "other/mine.txt")
    assert status == 1 and "name another with --output" in err
