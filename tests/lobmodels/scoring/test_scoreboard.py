"""Only what was scored on the same sequences of the same data is compared, and the sequences are named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from lobmodels.bootstrap import sequence_statistics
from lobmodels.errors import ScoringError
from lobmodels.scoring.scoreboard import Tally, compare_tallies, is_saved_score, to_document, to_table

SPLIT = {"select": np.arange(15), "report": np.arange(15, 20)}


def tally(name: str, seed: int = 0, split: dict[str, np.ndarray] | None = None, n: int = 20) -> Tally:
    """A submission's tally over `n` sequences."""
    y = np.random.default_rng(1).standard_t(3, (20, 50, 2))[:n]
    p = 0.3 * y + np.random.default_rng(seed).standard_normal(y.shape)
    return Tally(name, sequence_statistics(p, y), "data", SPLIT if split is None else split)


def test_report_sequences_by_default() -> None:
    """Where all submissions know the same split, only what selection never saw counts, unless asked."""
    pair = [tally("a.zip"), tally("b.zip", 1)]
    comparison, on = compare_tallies(pair, "a.zip")
    assert (on, comparison.sequences) == ("report", 5)
    comparison, on = compare_tallies(pair, "a.zip", on="all")
    assert (on, comparison.sequences) == ("all", 20)
    with pytest.raises(ScoringError, match="on=some: choose from report, all, select"):
        compare_tallies(pair, "a.zip", on="some")


def test_splits_that_differ() -> None:
    """Submissions of studies with different splits are compared on all sequences; one without a split joins any."""
    other = tally("b.zip", 1, {"select": np.arange(5), "report": np.arange(5, 20)})
    assert compare_tallies([tally("a.zip"), other], "a.zip")[1] == "all"
    with pytest.raises(ScoringError, match="do not share a known validation split; use on=all"):
        compare_tallies([tally("a.zip"), other], "a.zip", on="report")
    assert compare_tallies([tally("a.zip"), tally("foreign.zip", 2, {})], "a.zip")[1] == "report"
    assert compare_tallies([tally("x.zip", 1, {}), tally("y.zip", 2, {})], "x.zip")[1] == "all"


def test_other_data_is_refused() -> None:
    """A champion that was scored on other data, or on fewer sequences, is no yardstick."""
    champion = dataclasses.replace(tally("champion.zip"), fingerprint="other data")
    with pytest.raises(ScoringError, match=r"new.zip was scored on other data \(data\) than champion.zip"):
        compare_tallies([champion, tally("new.zip")], "champion.zip")
    with pytest.raises(ScoringError, match=r"on 10 sequences, champion.zip on 20"):
        compare_tallies([tally("champion.zip"), tally("new.zip", n=10)], "champion.zip")


def test_saved_scores(tmp_path: Path) -> None:
    """A saved champion compares like a fresh one; anything else is refused without being run."""
    path = tmp_path / "champion.score"
    tally("old.zip").save(path)
    assert is_saved_score(path) and not is_saved_score(Path("old.zip"))
    kept = Tally.load(path)
    fresh = compare_tallies([tally("new.zip", 1), tally("old.zip")], "old.zip")
    assert compare_tallies([tally("new.zip", 1), kept], "old.zip") == fresh
    for content in (b"", b"text", b"\x80\x04K\x01."):
        path.write_bytes(content)
        with pytest.raises(ScoringError, match="is no saved score of this version"):
            Tally.load(path)
    np.savez(path.open("wb"), format=np.array(99))
    with pytest.raises(ScoringError, match="is no saved score"):
        Tally.load(path)


def test_documents() -> None:
    """CSV and JSON name the champion, the sequences and the choices; a handful of sequences makes none."""
    comparison, on = compare_tallies([tally("a.zip"), tally("b.zip", 1)], "a.zip")
    header, first, second = to_table(comparison, on).to_csv().splitlines()
    assert header.startswith("submission,t0,t1,mean,p10,p90,spread,difference,low,high,p_better,champion")
    assert first.endswith("true,5,report,200") and second.endswith("false,5,report,200")
    document = json.loads(json.dumps(to_document(comparison, on), allow_nan=False))
    assert document["champion"] == "a.zip" and document["safe"] is document["bold"] is None
    whole = to_document(*compare_tallies([tally("a.zip"), tally("b.zip", 1)], "a.zip", "all"))
    assert whole["sequences"] == 20 and {whole["safe"], whole["bold"]} <= {"a.zip", "b.zip"}
