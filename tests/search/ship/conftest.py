"""A study with runs that can be exported."""

from __future__ import annotations

import optuna
import pytest

from search.ship.members import open_pool


@pytest.fixture(scope="session")
def url(exportable: str) -> str:
    """URL of the database of the study `joint`."""
    return exportable


@pytest.fixture(scope="session")
def study(url: str) -> optuna.Study:
    """The study, opened."""
    return open_pool(url, "joint")
