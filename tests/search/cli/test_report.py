"""`report`: the page on stdout, what lies beside it on stderr, and what it refuses."""

from __future__ import annotations

from pathlib import Path

from tests.search.cli.calls import Run


def test_it_says_where_the_page_is(run: Run, searched: str, tmp_path: Path) -> None:
    """For the study or its replicates' name; the count of tables is true."""
    for name in ("joint", "joint.seeds"):
        status, out, err = run("report", name, "--storage", searched, "-o", "page")
        assert status == 0 and out == "page/report.html\n"
        count = len(list((tmp_path / "page").glob("*.csv")))
        assert f"{count} tables beside it, and next.yaml: the study to run next" in err


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
