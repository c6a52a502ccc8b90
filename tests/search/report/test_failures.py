"""Failures are counted by kind, and what the failed trials share is named where it is so."""

from __future__ import annotations

import pytest
from optuna.storages import InMemoryStorage

from search.report.failures import failures, section
from search.report.record import Study, read_study
from tests.made_study import make_study


@pytest.fixture
def study() -> Study:
    """60 trials of which about a third failed."""
    return read_study(make_study(InMemoryStorage(), 60, failures=0.35))


def test_numbers_do_not_make_kinds(study: Study) -> None:
    """Equal reasons with other numbers and machines are one kind; no failed trial is left out, none counted twice."""
    failed = study.of("failed")
    assert len(failed) > 8
    for i, trial in enumerate(failed):
        reason = f"out of memory on host-{i}.net:{40 + i}: tried {i}.5 GB" if i % 3 else "training loss is nan"
        object.__setattr__(trial, "reason", reason)
    found = failures(study)
    assert [failure.reason for failure in found] == ["out of memory on …: tried … GB", "training loss is nan"]
    assert sorted(t.number for failure in found for t in failure.trials) == sorted(t.number for t in failed)


def test_what_they_share_is_named(study: Study) -> None:
    """Where all failed runs are large and the others small, size is what sets them apart; else nothing is."""
    for trial in study.of("failed"):
        object.__setattr__(trial, "reason", "out of memory")
        trial.configuration["hidden_size"] = 160
    for trial in study.scored:
        trial.configuration["hidden_size"] = 32
    (found,) = failures(study)
    assert found.shared.startswith("high hidden_size (median 1.6e+02, others 32)")
    for i, trial in enumerate([*study.of("failed"), *study.scored]):
        trial.configuration.clear()
        trial.configuration["hidden_size"] = (32, 64, 96)[i % 3]
    assert failures(study)[0].shared == ""


def test_the_section_counts(study: Study) -> None:
    """The text, the table and the finding hold the same numbers; without a failure it says so."""
    count = len(study.of("failed"))
    found = section(study)
    assert found.text.startswith(f"{count} of 60 trials failed; they took ")
    assert sum(row[1] for row in found.tables[0].rows) == count
    assert "of the trials failed, most often:" in found.finding
    none = section(read_study(make_study(InMemoryStorage(), 10, failures=0)))
    assert none.text == "None of 10 trials failed." and not none.finding and not none.tables
