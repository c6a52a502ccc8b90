"""What pruning saved and how early scores tell, against sums done by hand."""

import numpy as np
import pytest

from search.report.pruning import foresight, savings
from search.report.record import Study


def test_savings_by_hand(known: Study) -> None:
    """Epochs saved are the median further epochs of finished runs that got as far, summed over the pruned ones."""
    result = savings(known)
    assert result is not None
    lengths = np.array([t.epochs for t in known.of("complete")])
    pruned = known.of("pruned")
    expected = sum(
        float(np.median(lengths[lengths > t.epochs])) - t.epochs for t in pruned if (lengths > t.epochs).any()
    )
    assert result.epochs_saved == pytest.approx(expected)
    assert result.epochs_run == sum(t.epochs for t in pruned)
    assert 0 < result.hours_saved < 10


def test_foresight_grows(known: Study) -> None:
    """The order of runs is known better later: at the last epoch completely."""
    result = foresight(known)
    assert result is not None
    assert result.order[-1] > 0.95 > result.order[0]
    assert result.best_below_median[-1] == 0
