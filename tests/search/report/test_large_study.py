"""A report of a large study is written in reasonable time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from search.report import write_report
from storage.backends.registry import open_storage
from tests.made_study import make_study


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_report_of_a_large_study(postgres_url: str, tmp_path: Path) -> None:
    """2,000 trials make a report within 30 s."""
    study = make_study(open_storage(postgres_url), 2000, replicates=(5, 4))
    started = time.perf_counter()
    page = write_report(study, tmp_path)
    seconds = time.perf_counter() - started
    print(f"report of 2,000 trials: {seconds:.1f} s, {page.stat().st_size / 1e6:.1f} MB")
    assert seconds <= 30
