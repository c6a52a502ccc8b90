"""`report`: the page on stdout, what lies beside it on stderr, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.search.cli.calls import Run


def test_it_says_where_the_page_is(run: Run, searched: str, tmp_path: Path) -> None:
    """For the study or its replicates' name; the count of tables is true."""
    for name in ("joint", "joint.seeds"):
        status, out, err = run("report", name, "--storage", searched, "-o", "page")
        assert status == 0 and out == "page/report.html\n"
        count = len(list((tmp_path / "page").glob("*.csv")))
        assert f"{count} tables beside it, and next.yaml: the study to run next" in err


def test_data_of_the_environment_are_tried(
    run: Run, searched: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other data than the study's in LOBTUNA_DATA cost a note, with --data a refusal."""
    from lobmodels.data.synthetic import write_dataset

    write_dataset(tmp_path / "other", train=2, valid=4)
    monkeypatch.setenv("LOBTUNA_DATA", "other")
    status, out, err = run("report", "joint", "--storage", searched, "-o", "page")
    assert status == 0 and out == "page/report.html\n" and "note: study 'joint' belongs to data" in err
    monkeypatch.delenv("LOBTUNA_DATA")
    status, _, err = run("report", "joint", "--storage", searched, "-o", "page", "--data", "other")
    assert status == 1 and "belongs to data" in err


def test_refusals(run: Run, searched: str, tmp_path: Path) -> None:
    """An unknown study, a folder that cannot be, an analysis that is none."""
    (tmp_path / "file").write_text("")
    for arguments, piece in (
        (("jont",), "did you mean joint?"),
        (("joint", "--output", "file/below"), "choose another --output"),
        (("joint", "--ensemble", "nowhere"), "holds no analysis that can be read"),
    ):
        status, out, err = run("report", *arguments, "--storage", searched)
        assert (status, out) == (1, "") and piece in err and err.count("\n") == 1
