"""A study may begin from another's best configurations, with the parameters that fit."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from lobmodels.config import RunConfig
from search.errors import SearchError, StudyNotFoundError
from search.study.create import create_study
from search.study.record import ORIGIN
from search.study.warm_start import fitting
from search.studyfile.space import suggest, to_params
from search.studyfile.spec import StudySpec

OLD = {"hidden_size": {"int": [32, 128], "step": 32}, "lr": {"float": [1e-4, 1e-1], "log": True}, "batch_size": 64}
NEW = {
    "hidden_size": {"int": [64, 160], "step": 32},
    "lr": {"float": [1e-4, 1e-2], "log": True},
    "dropout": {"float": [0.1, 0.3], "or": 0.0},
    "loss": {"choices": ["mse", "huber"]},
}


def spec(name: str, parameters: dict, **changes: object) -> StudySpec:
    return StudySpec.from_json({"name": name, "parameters": parameters, "pruner": {"name": "none"}, **changes})


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with a study of four finished trials, the last the best."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    old = spec("old", OLD)
    study = create_study(old, url)
    for i, lr in enumerate((1e-3, 5e-3, 5e-2, 2e-3)):
        config = RunConfig.parse({"hidden_size": 64, "lr": lr, "batch_size": 64})
        study.enqueue_trial(to_params(old, config))
        trial = study.ask()
        config = suggest(old, trial)
        for key, value in {"configuration": config.active(), "key": config.key(), "seed": i}.items():
            trial.set_user_attr(key, value)
        study.tell(trial, 0.1 * i)
    return url


def queued(study: optuna.Study) -> list[dict]:
    return [t.system_attrs["fixed_params"] for t in study.trials if ORIGIN in t.user_attrs]


def test_the_best_configurations_are_queued_with_what_fits(url: str) -> None:
    """From the same database: best first, a learning rate outside the new range left out, others kept."""
    study = create_study(spec("new", NEW, **{"from": {"study": "old", "top": 2}}), url)
    assert queued(study) == [
        {"hidden_size": 64, "lr": 2e-3, "dropout.or": 0.0, "loss": "mse"},
        {"hidden_size": 64, "dropout.or": 0.0, "loss": "mse"},
    ]
    first = study.ask()
    config = suggest(spec("new", NEW), first)
    assert (config.lr, config.dropout, first.user_attrs[ORIGIN]) == (2e-3, 0.0, "old#3")


def test_opening_the_study_again_queues_nothing_and_needs_no_source(url: str, tmp_path: Path) -> None:
    """Another database as the source: it may be gone when the study is opened again."""
    new = spec("new", NEW, **{"from": {"study": "old", "url": url}})
    here = f"sqlite:///{tmp_path / 'new.db'}"
    assert len(queued(create_study(new, here))) == 4
    (tmp_path / "old.db").unlink()
    assert len(queued(create_study(new, here))) == 4


def test_no_password_is_stored() -> None:
    """The definition in the database holds the URL without it."""
    new = spec("new", NEW, **{"from": {"study": "old", "url": "postgresql://me:secret@host/db"}})
    assert "secret" not in str(new.to_json()) and "me:***@host" in str(new.to_json())


def test_what_cannot_help_is_refused(url: str) -> None:
    """A study that does not exist, and one that shares no searched parameter."""
    with pytest.raises(StudyNotFoundError, match="did you mean old"):
        create_study(spec("new", NEW, **{"from": {"study": "olt"}}), url)
    other = {"lag": {"choices": [False, True]}}
    assert fitting(spec("x", {"num_layers": {"int": [3, 4]}}), {"num_layers": 2}) == {}
    with pytest.raises(SearchError, match="has a parameter that study 'layers' searches"):
        create_study(spec("layers", {"num_layers": {"int": [3, 4]}}, **{"from": {"study": "old"}}), url)
    assert len(queued(create_study(spec("lags", other, **{"from": {"study": "old"}}), url))) == 4
