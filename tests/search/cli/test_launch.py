"""`lobtuna launch`: where the files are, and what is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.cli import main
from tests.machines import create, small_study


@pytest.fixture
def url(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Database of the study joint, named by the environment; the working folder is empty."""
    create(postgres_url, small_study("joint"))
    monkeypatch.setenv("LOBTUNA_STORAGE", postgres_url)
    monkeypatch.chdir(tmp_path)
    return postgres_url


def launch(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout, stderr of `lobtuna launch ...`."""
    with pytest.raises(SystemExit) as stop:
        main(["launch", *arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def test_each_target_prints_what_it_wrote(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Paths on stdout, one a line; a second time they are the same, a changed file is not overwritten."""
    for _ in range(2):
        out = launch(capsys, "compose", "joint", "--output", "stack")[1]
        assert all((tmp_path / line).is_file() for line in out.splitlines()) and "compose.yaml" in out
    out = launch(capsys, "sky", "joint", "--data", "s3://mine/lob")[1]
    task = tmp_path / out.splitlines()[0]
    assert task.name == "lobtuna-joint.sky.yaml"
    task.write_text("mine")
    status, _, err = launch(capsys, "sky", "joint", "--data", "s3://mine/lob")
    assert status == 1 and "is there already and differs" in err
    status, out, err = launch(capsys, "kaggle", "joint", "--user", "me", "--dataset", "me/lob")
    assert out == "kaggle/lobtuna-joint-1\n" and "next: kaggle kernels push -p kaggle/lobtuna-joint-1" in err
    assert "by hand, once a notebook: tick LOBTUNA_STORAGE, choose GPU T4 x2" in err


def test_refusals(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown study, a bad duration, data or wheel that is nowhere, a folder that cannot be: one line, no file."""
    (tmp_path / "file").touch()
    create(f"sqlite:///{tmp_path / 'here.db'}", small_study("joint"))
    kaggle = ("kaggle", "joint", "--user", "me", "--dataset", "me/lob")
    for arguments, piece in (
        (("compose", "jont"), "no study 'jont'"),
        (("sky", "joint", "--data", "s3://mine/lob", "--time-limit", "soon"), "soon"),
        (("sky", "joint", "--data", "nowhere"), "neither a folder nor a bucket"),
        (("compose", "joint", "--output", "file/below"), "another --output"),
        (("compose", "joint", "--wheel", "none.whl"), "there is no wheel none.whl"),
        ((*kaggle, "--accelerator", "NvidiaTeslaP100"), "compute capability 6.0"),
        ((*kaggle, "--storage", "sqlite:///here.db"), "a file of this machine"),
    ):
        status, out, err = launch(capsys, *arguments)
        assert (status, out) == (1, "") and piece in err and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("here.db")) == ["file"]
