"""What measures the second look: a branch goes on as the study would have, and a run that goes on pays its rest."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from tests.benchmarks.search.arms import ARMS
from tests.benchmarks.search.judge import fitted, study_spec
from tests.benchmarks.search.landscape import Landscape
from tests.benchmarks.search.looks import SEARCHES, with_share
from tests.benchmarks.search.simulate import Spent, begin, branch, go_on, simulate

EPOCHS, SHARE = 120, 0.2

optuna.logging.set_verbosity(optuna.logging.WARNING)


def _told(spent: list[Spent]) -> list[tuple[Any, ...]]:
    return [(t.epochs, t.complete, t.select, t.truth, t.key, t.continues) for t in spent]


@pytest.mark.parametrize("search", SEARCHES)
def test_a_branch_with_a_second_look_is_the_study_with_one(search: str) -> None:
    """Trial by trial, and the study that it left goes on as without one."""
    distribution = fitted("small odd")
    landscape, spec = Landscape(distribution, 7, trap=True), study_spec(distribution.epochs, 7, by_seconds=False)
    keeps, study = with_share(spec, SHARE), ARMS[search].study(spec)
    begin(study, keeps)
    first = go_on(study, keeps, landscape, [], epochs=(1 - SHARE) * EPOCHS, looks=False)
    looked = go_on(branch(study), keeps, landscape, first, epochs=EPOCHS)
    assert _told(looked) == _told(simulate(ARMS[search].study(spec), keeps, landscape, epochs=EPOCHS))
    plain = go_on(study, keeps, landscape, first, epochs=EPOCHS, looks=False)
    assert _told(plain) == _told(simulate(ARMS[search].study(spec), spec, landscape, epochs=EPOCHS))


def test_a_run_that_goes_on_costs_only_its_rest() -> None:
    """Its epochs and those of the pruned run that it takes up are one run's."""
    distribution = fitted("small odd")
    landscape, spec = Landscape(distribution, 7, trap=True), study_spec(distribution.epochs, 7, by_seconds=False)
    spent = simulate(ARMS["ours"].study(spec), with_share(spec, SHARE), landscape, epochs=EPOCHS)
    again = [trial for trial in spent if trial.continues]
    assert again
    for trial in again:
        parts = [other.epochs for other in spent if other.key == trial.key]
        assert len(parts) >= 2 and sum(parts) <= distribution.epochs
