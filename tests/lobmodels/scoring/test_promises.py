"""A manifest's scores are expected of the data that they were measured on, and of no other."""

from __future__ import annotations

from lobmodels.data import Dataset
from lobmodels.scoring.promises import promised_scores


def test_scores_are_promised_for_their_own_data(small_dataset: Dataset) -> None:
    """The mean of each part; nothing for other data, an older manifest, or a submission of others."""
    valid = small_dataset.valid
    expected = {"valid_fingerprint": valid.fingerprint, "scores": {"all": [0.3, 0.1, 0.2], "report": [0.5, 0.3, 0.4]}}
    assert promised_scores({"expected": expected}, valid) == {"all": 0.2, "report": 0.4}
    assert promised_scores({"expected": {**expected, "valid_fingerprint": "other"}}, valid) == {}
    assert (
        promised_scores({"expected": None}, valid) == promised_scores({}, valid) == promised_scores(None, valid) == {}
    )
