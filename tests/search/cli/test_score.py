"""`score`: one submission, several beside a champion, and what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lobmodels.files import zip_bytes
from lobmodels.scoring import submission as scoring
from tests.search.cli.calls import Run

SOURCE = """
class PredictionModel:
    def predict(self, p):
        return p.state[{0}:{0} + 2].astype(float) if p.need_prediction else None
"""


@pytest.fixture
def zips(run: Run) -> None:
    """Two submissions that predict the values of columns, a.zip and b.zip."""
    for name, column in (("a", 0), ("b", 12)):
        Path(f"{name}.zip").write_bytes(zip_bytes({"solution.py": SOURCE.format(column).encode()}))


def test_one_submission(run: Run, exportable: str, small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Selection and report sequences apart, time and size against the limits; a warning where selection is seen.
    Scored without numba, to save its start-up."""
    job = scoring.host_job
    monkeypatch.setattr(scoring, "host_job", lambda *a: job(*a) | {"absent": ["numba"]})
    assert run("export", "joint", "--top", "2", "--storage", exportable)[0] == 0
    data = ("--data", small_data, "--sequences", "6")
    out = run("score", "submission.zip", *data)[1]
    assert "selection (seen by the search)" in out and "1,500 sequences:" in out
    for on, warned in (("all", True), ("report", False)):
        out = run("score", "submission.zip", *data, "--bootstrap", "9", "--on", on)[1]
        assert ("look better on them than they are" in out) == warned
    valid = small_data / "valid.parquet"
    document = json.loads(run("score", "submission.zip", "--data", valid, "--sequences", "1", "--json")[1])
    promised = {"t0", "t1", "weighted_pearson", "us_per_step", "seconds_for_1500", "megabytes", "sequences"}
    assert promised <= set(document) and document["sequences"] == 1


def test_several(run: Run, zips: None, small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table over resamples against a champion; CSV; a safe and a bold choice only where sequences are enough."""
    compared = ("score", "a.zip", "b.zip", "--data", small_data, "--champion", "b.zip", "--csv", "t.csv")
    status, out, _ = run(*compared)
    assert status == 0 and "12 sequences are too few to tell" in out and "safe: " not in out
    monkeypatch.setattr("lobmodels.bootstrap.FEW", 12)
    status, out, _ = run(*compared)
    assert status == 0 and "200 resamples of 12 sequences: all" in out and "champion" in out and "safe: " in out
    assert Path("t.csv").read_text().count("\n") == 3


def test_a_saved_champion(run: Run, zips: None, small_data: Path) -> None:
    """A saved score stands for its submission; under a name that is taken it goes by that of its file."""
    data = ("--data", small_data)
    assert run("score", "b.zip", *data, "--save", "b.score")[0] == 0
    out = run("score", "a.zip", *data, "--champion", "b.score", "--bootstrap", "50", "--json")[1]
    comparison = json.loads(out)["comparison"]
    assert comparison["champion"] == "b.zip" and comparison["repetitions"] == 50
    assert comparison["rows"][0]["p_better"] is not None and comparison["rows"][1]["p_better"] is None
    out = run("score", "b.zip", *data, "--champion", "b.score", "--bootstrap", "50", "--json")[1]
    rows = json.loads(out)["comparison"]["rows"]
    assert [row["name"] for row in rows] == ["b.zip", "b.score"] and rows[0]["difference"] == 0
    status, _, err = run("score", "a.zip", *data, "--champion", "b.score", "--sequences", "3")
    assert status == 1 and "score both on all of the file" in err


def test_what_cannot_be_compared(run: Run, zips: None, small_data: Path) -> None:
    """Unknown parts, a table of nothing, a champion that is not there, several to save: refused with what to do."""
    data = ("--data", small_data)
    for arguments, status, piece in (
        (("a.zip", *data, "--on", "report", "--bootstrap", "9"), 1, "use --on all"),
        (("a.zip", *data, "--bootstrap", "1"), 1, "--bootstrap 1: a spread needs at least 2 repetitions"),
        (("a.zip", *data, "--csv", "lost.csv"), 1, "--csv is the table of a comparison"),
        (("a.zip", *data, "--champion", "none.score"), 1, "none.score: no such file; make one with: lobtuna score"),
        (("a.zip", "b.zip", *data, "--on", "bogus"), 2, "choose from report, all, select"),
        (("a.zip", "b.zip", *data, "--save", "x"), 1, "one submission, not of 2"),
        (("a.zip", *data, "--save", "a.zip/x"), 1, "choose another --save"),
    ):
        code, _, err = run("score", *arguments)
        assert code == status and piece in " ".join(err.split())
