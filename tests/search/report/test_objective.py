"""What the dashboard calls the score of a study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from lobmodels.metric import METRICS
from lobmodels.schema import LOB
from search.report.objective import objective_name
from search.study.record import SCHEMA
from search.study.replication import open_replicates
from storage.backends.registry import open_storage
from storage.store import StoreStorage
from tests.made_study import make_study


@pytest.fixture
def storage(tmp_path: Path) -> StoreStorage:
    return open_storage(f"sqlite:///{tmp_path}/studies.db")


def names(storage: StoreStorage) -> dict[str, str | None]:
    return {study.study_name: objective_name(study) for study in storage.get_all_studies()}


def test_the_metric_of_the_data(storage: StoreStorage) -> None:
    """The challenge's where the study is bound to no other data; a study of replicates has its parent's from the
    beginning; a study of plain Optuna has none."""
    optuna.create_study(storage=storage, study_name="foreign")
    study = make_study(storage, 1)
    assert names(storage) == {"foreign": None, "joint": "weighted Pearson, selection"}
    study.set_user_attr(SCHEMA, replace(LOB, metric="mse").document())
    open_replicates(study)
    assert names(storage) == {"foreign": None, **dict.fromkeys(("joint", "joint.seeds"), "minus MSE, selection")}


def test_a_metric_of_a_plugin_goes_by_its_name(storage: StoreStorage) -> None:
    """The dashboard does not run a plugin's source to show its studies."""
    make_study(storage, 1).set_user_attr(SCHEMA, replace(LOB, metric="profit").document())
    assert names(storage) == {"joint": "profit, selection"}


@pytest.mark.parametrize("damaged", [{"features": []}, 3])
def test_a_damaged_schema_hides_no_other_study(storage: StoreStorage, damaged: object) -> None:
    """It costs the name of this study's score, not the page on all studies."""
    make_study(storage, 1).set_user_attr(SCHEMA, damaged)
    assert names(storage) == {"joint": None}


def test_every_metric_has_a_name_that_fits_an_axis() -> None:
    """Longer ones push optuna-dashboard's figures out of their cards."""
    assert all(0 < len(metric.short) <= 20 for metric in METRICS.values())
