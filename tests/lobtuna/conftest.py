"""What tests of the Python face start from: a study whose runs have weights, and one of forty trials."""

from __future__ import annotations

import pytest

import lobtuna
from tests.search.cli.conftest import searched  # noqa: F401
from tests.search.conftest import exportable  # noqa: F401


@pytest.fixture
def study(exportable: str) -> lobtuna.Study:  # noqa: F811
    """`joint`: five runs with weights and one replicate."""
    return lobtuna.open(exportable)["joint"]
