"""What several test modules of the search side read."""

from __future__ import annotations

import pytest

from lobmodels.data import Dataset
from tests.search.trained_pool import SCORES, add_replicate, add_runs, make_study


@pytest.fixture(scope="session")
def exportable(tmp_path_factory: pytest.TempPathFactory, small_dataset: Dataset) -> str:
    """URL of a study `joint` of five runs with weights and one replicate of the first configuration."""
    url = f"sqlite:///{tmp_path_factory.mktemp('study') / 'study.db'}"
    study = make_study(url, small_dataset.valid)
    add_runs(study, small_dataset.valid, SCORES)
    add_replicate(study, small_dataset.valid, 0.27, 1_000_000)
    return url
