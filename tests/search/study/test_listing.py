"""Promises of the list: one line for a search and its replicates, and studies of others are told apart."""

from pathlib import Path

import optuna

from search.study.listing import list_studies
from storage.backends.registry import open_storage
from tests.made_study import make_study


def test_a_search_and_its_replicates_are_one_line(tmp_path: Path) -> None:
    """The counts of both, the best score of the search, by name."""
    study = make_study(open_storage(f"sqlite:///{tmp_path / 'study.db'}"), 12, replicates=(2, 2))
    (line,) = list_studies(study._storage)
    assert line.name == study.study_name
    assert sum(line.trials.values()) == 12
    assert line.best == max(trial.value for trial in study.trials if trial.state.name == "COMPLETE")
    assert line.replicates is not None and sum(line.replicates.values()) == 4
    assert line.ours and line.revision_of is None


def test_studies_of_plain_optuna_are_listed(tmp_path: Path) -> None:
    """They share the database; what lobtuna records of a run they do not have."""
    storage = open_storage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.create_study(study_name="plain", storage=storage)
    study.tell(study.ask(), 0.5)
    optuna.create_study(study_name="alone.seeds", storage=storage)
    assert [(line.name, line.best, line.ours) for line in list_studies(storage)] == [
        ("alone.seeds", None, False),
        ("plain", None, False),
    ]
    make_study(storage, 5)
    assert len(list_studies(storage)) == 3
