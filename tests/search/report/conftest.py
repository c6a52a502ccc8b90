"""A study whose truth is known, and a report of a whole study."""

from __future__ import annotations

import optuna
import pytest
from optuna.storages import InMemoryStorage

from search.report import Report, build_report
from search.report.effects import Effects, effects
from search.report.record import Study, read_study
from tests.made_study import make_study


@pytest.fixture(scope="session")
def known() -> Study:
    """300 trials whose truth is `made_study.true_score`: lr first, then loss; dropout nothing."""
    return read_study(make_study(InMemoryStorage(), 300))


@pytest.fixture(scope="session")
def found(known: Study) -> Effects:
    """The effects in it."""
    result = effects(known)
    assert result is not None
    return result


@pytest.fixture(scope="session")
def study() -> optuna.Study:
    """150 trials, four configurations repeated under three seeds."""
    return make_study(InMemoryStorage(), 150, replicates=(4, 3))


@pytest.fixture(scope="session")
def report(study: optuna.Study) -> Report:
    """The report of that study."""
    return build_report(study)
