"""`lobtuna data`: what a user sees of a good set, of a broken one, and of a synthesised one."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from search.cli import main


def run(*arguments: str) -> int:
    """Exit status of the command line."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


def test_check_of_a_folder(small_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Sizes, scale and shift in tables that fit 80 columns; the verdict is a line of its own; exit 0."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run("data", "check", str(small_data)) == 0
    output = capsys.readouterr().out
    for part in ("sequences", "24", "12", "21,624", "NaN", "ask volumes", "KS distance", "the format is kept"):
        assert part in output
    assert max(len(line) for line in output.splitlines()) <= 80


def test_check_narrow(small_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A 60-column terminal still shows every figure of the size table."""
    monkeypatch.setenv("COLUMNS", "60")
    assert run("data", "check", str(small_data / "valid.parquet")) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert max(len(line) for line in output.out.splitlines()) <= 60
    assert "10,812" in output.out


def test_check_json(small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts get every column's scale and shift as one JSON document."""
    assert run("data", "check", str(small_data), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [file["sequences"] for file in document["files"]] == [24, 12]
    assert len(document["files"][0]["scale"]) == len(document["shift"]) == 34
    assert document["files"][1]["problems"] == document["warnings"] == []


def test_check_of_a_broken_file(small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every problem is a line on stdout, the failure one line on stderr, exit 1; markup in a name does no harm."""
    folder = tmp_path / "[bold]odd name"
    folder.mkdir()
    table = pq.read_table(small_data / "valid.parquet").drop(["p3"])
    table = table.append_column("[red]mid", table["p0"]).slice(0, 2500)
    pq.write_table(table, folder / "valid.parquet")
    path = folder / "valid.parquet"
    assert run("data", "check", str(path)) == 1
    output = capsys.readouterr()
    problems = [line for line in output.out.splitlines() if line.startswith("problem")]
    assert len(problems) == 3
    assert "missing column p3" in problems[0] and "[red]mid" in problems[1] and "has 500 steps" in problems[2]
    assert len(output.err.splitlines()) == 1
    assert f"{path} (3)" in output.err
    assert run("data", "check", str(path), "--json") == 1
    assert len(json.loads(capsys.readouterr().out)["files"][0]["problems"]) == 3


@pytest.mark.parametrize("what", ["nowhere", "nowhere/train.parquet", "text.parquet", "."])
def test_check_of_nothing(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path that holds no data fails in one line."""
    (tmp_path / "text.parquet").write_text("no parquet")
    assert run("data", "check", str(tmp_path / what)) == 1
    error = capsys.readouterr().err
    assert error.startswith("lobtuna: ") and error.count("\n") == 1


def test_synth_then_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`data synth` writes what `data check` accepts, the same for the same seed, and never over data that is there."""
    arguments = ["--train", "5", "--valid", "3", "--seed", "4"]
    assert run("data", "synth", "--output", str(tmp_path / "a"), *arguments) == 0
    assert "5 sequences" in capsys.readouterr().out
    assert run("data", "synth", "--output", str(tmp_path / "b"), *arguments) == 0
    for name in ("train.parquet", "valid.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert run("data", "check", str(tmp_path / "a")) == 0
    capsys.readouterr()
    assert run("data", "synth", "--output", str(tmp_path / "a"), *arguments) == 1
    assert "set --overwrite" in capsys.readouterr().err
    assert run("data", "synth", "--output", str(tmp_path / "a"), *arguments, "--overwrite") == 0
    assert run("data", "synth", "--output", str(tmp_path / "c"), "--train", "0") == 1
    assert run("data", "synth") == 2


STUDY = """
name: tiny
parameters: {hidden_size: 8, num_layers: 1, epochs: 2, batch_size: 8, lr: {float: [1e-3, 1e-2], log: true}}
sampler: {name: random}
pruner: {name: none}
budget: {trials: 2}
"""


@pytest.fixture(scope="module")
def storage(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with one study of two finished trials."""
    from search.study.create import create_study
    from search.studyfile.spec import load_spec
    from search.work.worker import work

    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.yaml").write_text(STUDY)
    url = f"sqlite:///{folder / 'lobtuna.db'}"
    create_study(load_spec(folder / "tiny.yaml"), url)
    work(url, "tiny", small_data)
    return url


def test_profile(small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The findings on stdout, what is being done on stderr, page and tables in the folder."""
    assert run("data", "profile", str(small_data), "--output", str(tmp_path / "new")) == 0
    output = capsys.readouterr()
    assert "A ridge on the raw columns" in output.out.replace("\n", " ")
    assert str(tmp_path / "new" / "profile.html") in output.out
    assert "ridge models" in output.err
    assert len(list((tmp_path / "new").glob("*.csv"))) == 7


def test_profile_of_a_run(small_data: Path, storage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a study, its best run, or the one that is named, is asked too."""
    arguments = ["data", "profile", str(small_data), "--output", str(tmp_path), "--storage", storage]
    assert run(*arguments, "--study", "tiny", "--trial", "1", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert all(Path(name).is_file() for name in [document["page"], *document["tables"]])
    assert len(document["findings"]) == 8
    page = (tmp_path / "profile.html").read_text()
    assert "What the run tiny#1 depends on" in page
    assert "#1,3,bid volumes,6," in (tmp_path / "importance.csv").read_text()
    assert run(*arguments, "--study", "tiny", "--trial", "7") == 1
    assert "no complete trial 7; complete trials: 0, 1" in capsys.readouterr().err
    assert run(*arguments, "--study", "tine") == 1
    assert "did you mean tiny?" in capsys.readouterr().err
    assert run(*arguments, "--trial", "1") == 2


def test_profile_of_bad_data(small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without a member, a broken member and a folder that cannot be written fail in one line each."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "train.parquet").symlink_to(small_data / "train.parquet")
    for message in ("holds no valid.parquet", "missing column p3"):
        assert run("data", "profile", str(broken), "--output", str(tmp_path / "page")) == 1
        error = capsys.readouterr().err.splitlines()
        assert message in error[-1] and error[-1].startswith("lobtuna: ")
        pq.write_table(pq.read_table(small_data / "valid.parquet").drop(["p3"]), broken / "valid.parquet")
    assert not (tmp_path / "page").exists()
    (tmp_path / "file").write_text("")
    assert run("data", "profile", str(small_data), "--output", str(tmp_path / "file")) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not a table of nothing: what is missing, and how to get some."""
    assert run("data", "check", str(tmp_path / "lob")) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "lob: no such folder" in err and "lobtuna data synth" in err
