"""A zip predicts in this process what its members predict together."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import lobtuna
from lobmodels.data import Dataset


def test_it_is_the_average_of_its_members(study: lobtuna.Study, small_dataset: Dataset, tmp_path: Path) -> None:
    """Row by row, to 1e-5 of torch on whole sequences; the state is reset between sequences."""
    exported = lobtuna.export(study, tmp_path / "s.zip", top=2)
    submission = lobtuna.Submission(exported.path, backend="numpy")
    x = np.asarray(small_dataset.valid.features[:2])
    found = submission.predict(x)
    assert np.abs(found - exported.shipments[0].bundle.predict(x)).max() < 1e-5
    assert np.array_equal(submission.predict(x[1]), found[1])
    assert len(submission.members) == 2 and "2 members" in repr(submission)
    assert submission.table().column("weight_t0") == [0.5, 0.5]
