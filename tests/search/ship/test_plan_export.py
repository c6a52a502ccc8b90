"""Promises of a plan's export that need no trained run; `tests/search/work/test_planned.py` holds the others."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from search.errors import SearchError
from search.ship.plan_export import export_plan
from search.study.plan import EnsemblePlan, begin_plan, finish
from tests.machines import create, small_study


@pytest.fixture
def planned(tmp_path: Path) -> tuple[str, optuna.Study]:
    """A database with a study that has just begun."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    return url, create(url, small_study(trials=5))


def test_only_a_plan_has_an_export(planned: tuple[str, Any], tmp_path: Path) -> None:
    """Without one the message names the command that starts one."""
    with pytest.raises(SearchError, match="--plan ensemble"):
        export_plan(planned[0], "small", None, tmp_path / "s.zip")  # type: ignore[arg-type]


def test_nothing_is_exported_early(planned: tuple[str, Any], tmp_path: Path) -> None:
    """While the plan searches its phase is returned; without a complete run the reason is raised."""
    plan = begin_plan(planned[1])
    found = export_plan(planned[0], "small", None, tmp_path / "s.zip")  # type: ignore[arg-type]
    assert found == "search, with 60% of the budget"
    finish(planned[1], EnsemblePlan(plan.began), "the search has no complete run")
    with pytest.raises(SearchError, match="no complete run"):
        export_plan(planned[0], "small", None, tmp_path / "s.zip")  # type: ignore[arg-type]
    assert not (tmp_path / "s.zip").exists()


def test_what_was_exported_on_another_machine_is_not_written_over(planned: tuple[str, Any], tmp_path: Path) -> None:
    """A second command there finds its own zip and says that the plan is done; `force` exports again."""
    output = tmp_path / "s.zip"
    output.write_text("as exported here")
    EnsemblePlan("2026-03-01T00:00:00+00:00", ended="the budget is spent", exported="/elsewhere/s.zip").store(
        planned[1]
    )
    found = export_plan(planned[0], "small", None, output)  # type: ignore[arg-type]
    assert found == "exported to /elsewhere/s.zip" and output.read_text() == "as exported here"
    with pytest.raises(SearchError, match="no complete run"):
        export_plan(planned[0], "small", None, output, force=True)  # type: ignore[arg-type]
