"""`launch`: where the files are, and what is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

from tests.search.cli.calls import Run


def test_each_target_prints_what_it_wrote(run: Run, tmp_path: Path) -> None:
    """Paths on stdout, one a line; a second time they are the same, a changed file is not overwritten."""
    for _ in range(2):
        out = run("launch", "compose", "joint", "--output", "stack")[1]
        assert all((tmp_path / line).is_file() for line in out.splitlines()) and "compose.yaml" in out
    out = run("launch", "sky", "joint", "--data", "s3://mine/lob")[1]
    assert out == "lobtuna-joint.sky.yaml\n"
    (tmp_path / out.strip()).write_text("mine")
    status, _, err = run("launch", "sky", "joint", "--data", "s3://mine/lob")
    assert status == 1 and "is there already and differs" in err
    status, out, err = run("launch", "kaggle", "joint", "--user", "me", "--dataset", "me/lob")
    assert out == "kaggle/lobtuna-joint-1\n" and "next: kaggle kernels push -p kaggle/lobtuna-joint-1" in err


def test_refusals(run: Run, tmp_path: Path) -> None:
    """A duration that is none, data that is nowhere, a folder that cannot be: one line, no file."""
    (tmp_path / "file").write_text("")
    for arguments, piece in (
        (("sky", "joint", "--data", "s3://mine/lob", "--time-limit", "soon"), "soon"),
        (("sky", "joint", "--data", "nowhere"), "neither a folder nor a bucket"),
        (("compose", "joint", "--output", "file/below"), "choose another --output"),
    ):
        status, out, err = run("launch", *arguments)
        assert (status, out) == (1, "") and piece in err and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
