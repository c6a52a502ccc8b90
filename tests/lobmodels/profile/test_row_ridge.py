"""The ridge on one row is the profile's, from fewer reads."""

from __future__ import annotations

import numpy as np
import pytest

from lobmodels.bootstrap import correlations
from lobmodels.data import Dataset
from lobmodels.profile import profile_dataset
from lobmodels.profile.ridge import RAW
from lobmodels.profile.row_ridge import row_ridge_sums


def test_it_scores_as_in_the_profile(small_dataset: Dataset) -> None:
    """The same model on the same rows: the profile's score of its ridge on the raw columns."""
    sums = row_ridge_sums(small_dataset.train, small_dataset.valid)
    assert sums.shape == (len(small_dataset.valid), 6, 2) and np.isfinite(sums).all()
    (known,) = [item for item in profile_dataset(small_dataset).ridges.scores if item.ridge.name == RAW]
    assert float(correlations(sums.sum(0)).mean()) == pytest.approx(known.valid.mean, abs=0.01)
