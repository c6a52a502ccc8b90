"""A study is opened by its name, and an error says what is there instead."""

from pathlib import Path

import optuna
import pytest

from search.errors import SearchError, StudyNotFoundError
from search.study.create import create_study
from search.study.open import open_study
from tests.search.study.made_trials import spec


def test_a_foreign_study_is_left_alone(url: str) -> None:
    """A study that Optuna users made by hand is neither opened nor overwritten."""
    create_study(spec(name="other"), url)
    optuna.create_study(study_name="joint", storage=open_study(url, "other")._storage).ask()
    with pytest.raises(SearchError, match="lobtuna did not create it"):
        create_study(spec(), url)
    with pytest.raises(SearchError, match="was not created by lobtuna"):
        open_study(url, "joint")


def test_a_study_that_does_not_exist_names_its_neighbours(url: str, tmp_path: Path) -> None:
    """A typing error is answered with close names; a missing database is not created."""
    with pytest.raises(StudyNotFoundError, match=r"there is no database .*study\.db"):
        open_study(url, "joint")
    assert not (tmp_path / "study.db").exists()
    create_study(spec(), url)
    with pytest.raises(StudyNotFoundError, match="did you mean joint"):
        open_study(url, "jiont")
    with pytest.raises(StudyNotFoundError, match="there are: joint"):
        open_study(url, "quite-different")


def test_a_newer_lobtunas_study_says_so_before_anything_else(url: str) -> None:
    """Whatever a newer version has stored, its version is what the user reads, not a complaint about the definition."""
    study = create_study(spec(), url)
    study.set_user_attr("lobtuna_version", "9.9.0")
    study.set_user_attr("spec", {"a section": "of a later version"})
    with pytest.raises(SearchError, match=r"was created by lobtuna 9\.9\.0, this is .*lobtuna wheel"):
        open_study(url, "joint")
