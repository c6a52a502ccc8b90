"""The statistics that sections share, against their definitions."""

import numpy as np
import pytest

from search.report.numbers import credited, ranks, spearman
from search.report.record import Study


def test_pruned_runs_are_credited(known: Study) -> None:
    """A pruned run counts with what finished runs still gained after its last epoch, and never with less than its "
    "own."""
    trials, values = credited(known)
    for trial, value in zip(trials, values, strict=True):
        assert trial.value is not None
        assert value == trial.value if trial.state == "complete" else value >= trial.value
    gains = [v - (t.value or 0) for t, v in zip(trials, values, strict=True) if t.state == "pruned" and t.epochs == 11]
    later = [t.best_so_far[-1] - t.best_so_far[10] for t in known.finished if t.epochs > 11]
    assert gains[0] == pytest.approx(float(np.median(later)))


def test_ranks_and_rank_correlation() -> None:
    """Ties share their mean rank; order alone decides the correlation."""
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [2.5, 0.0, 2.5, 1.0]
    a = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(a, np.exp(a)) == pytest.approx(1)
    assert spearman(a, -a) == pytest.approx(-1)
    assert np.isnan(spearman(a, np.ones(4)))
