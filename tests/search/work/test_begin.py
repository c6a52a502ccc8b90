"""Creating and revising a study from its definition; the commands' tests ask what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from lobmodels.data import load_dataset
from search.errors import SearchError
from search.study.record import FINGERPRINT
from search.studyfile.spec import StudySpec
from search.work.begin import create, revise

DOCUMENT = {
    "name": "begun",
    "parameters": {"lr": {"float": [1e-4, 1e-2], "log": True}, "num_layers": 1, "batch_size": 12, "epochs": 12},
    "baselines": [{"lr": 1e-3}],
}


def test_created_counts_its_space(tmp_path: Path, small_data: Path) -> None:
    """Searched, fixed and queued; bound to the data; the second time it was there."""
    spec, url = StudySpec.from_json(DOCUMENT), f"sqlite:///{tmp_path}/s.db"
    created = create(spec, url, small_data)
    assert (created.searched, created.fixed, created.waiting, created.existed) == (1, 3, 1, False)
    assert created.study.user_attrs[FINGERPRINT] == load_dataset(small_data).fingerprint
    assert create(spec, url).existed


def test_a_revision_keeps_its_artifacts(tmp_path: Path) -> None:
    """They stay where they are; the budget changes in place."""
    spec, url = StudySpec.from_json(DOCUMENT), f"sqlite:///{tmp_path}/s.db"
    create(spec, url)
    with pytest.raises(SearchError, match="--artifacts cannot change"):
        revise(spec, url, artifacts=str(tmp_path))
    assert revise(StudySpec.from_json({**DOCUMENT, "budget": {"trials": 9}}), url).in_place
