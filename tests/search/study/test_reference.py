"""References are scored as every run is, read back as stored, and damaged ones count as missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lobmodels.bootstrap import correlations
from lobmodels.data import Dataset, validation_split
from lobmodels.profile.row_ridge import row_ridge_sums
from search.study.create import create_study
from search.study.record import ENSEMBLE, RIDGE
from search.study.reference import Reference, Score, ensure_ridge, read_reference, store_reference
from tests.search.study.made_trials import spec


def test_the_ridge_is_scored_once(tmp_path: Path, small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its scores are those of the ridge on the study's own parts; a second call computes nothing."""
    study = create_study(spec(), f"sqlite:///{tmp_path / 'study.db'}")
    ensure_ridge(study, small_dataset, spec().validation)
    found = read_reference(study.user_attrs, RIDGE)
    sums = row_ridge_sums(small_dataset.train, small_dataset.valid)
    select, report = validation_split(len(small_dataset.valid), 0.25)
    assert found is not None and found.report is not None and found.select is not None
    assert found.select.value == pytest.approx(correlations(sums[select].sum(0)).mean())
    assert found.report.value == pytest.approx(correlations(sums[report].sum(0)).mean())
    monkeypatch.setattr("lobmodels.profile.row_ridge.row_ridge_sums", None)
    ensure_ridge(study, small_dataset, spec().validation)


def test_without_report_sequences() -> None:
    """There is no report score, and the document says so."""
    sums = np.random.default_rng(0).random((10, 6, 2)) + 1
    assert Reference.of(sums, np.arange(10), np.arange(0)).report is None
    assert Reference.of(sums, np.arange(0), np.arange(10)).select is None


def test_it_reads_back(tmp_path: Path) -> None:
    """With members and intervals; a damaged document is none."""
    study = create_study(spec(), f"sqlite:///{tmp_path / 'study.db'}")
    stored = Reference(Score(0.3, 0.2, 0.4), None, ("joint#1", "joint#2"), 12)
    store_reference(study, ENSEMBLE, stored)
    assert read_reference(study.user_attrs, ENSEMBLE) == stored
    for damaged in (None, 3, {"select": {}}, {"select": {"x": 1}, "report": None, "members": []}):
        assert read_reference({ENSEMBLE: damaged}, ENSEMBLE) is None


def test_scores_as_text() -> None:
    """Four digits, the interval in brackets where there is one."""
    assert str(Score(0.26741, 0.2649, 0.26988)) == "0.2674 (0.2649..0.2699)" and str(Score(0.3)) == "0.3000"
