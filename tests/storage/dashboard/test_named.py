"""Promises of the dashboard's storage on names: one objective without a name gets one, and nothing is written."""

from pathlib import Path

import optuna

from storage.backends.registry import open_storage
from storage.dashboard.named import NamedStorage


def test_who_gets_a_name(tmp_path: Path) -> None:
    """A study of one objective does; one that has a name, one of two objectives and one we know nothing of do not."""
    storage = open_storage(f"sqlite:///{tmp_path}/studies.db")
    optuna.create_study(storage=storage, study_name="ours", direction="maximize")
    optuna.create_study(storage=storage, study_name="named").set_metric_names(["loss"])
    optuna.create_study(storage=storage, study_name="two", directions=["minimize", "maximize"])
    optuna.create_study(storage=storage, study_name="foreign")
    named = NamedStorage(storage, lambda study: None if study.study_name == "foreign" else "score")
    seen = {
        study.study_name: optuna.load_study(study_name=study.study_name, storage=storage)
        for study in storage.get_all_studies()
    }
    names = {study.study_name: study.system_attrs.get("study:metric_names") for study in named.get_all_studies()}
    assert names == {"ours": ["score"], "named": ["loss"], "two": None, "foreign": None}
    assert seen["ours"].metric_names is None
