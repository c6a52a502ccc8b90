"""Promises of a study's terms: defaults that depend on a name, and values that contradict one another."""

import pytest
from pydantic import ValidationError

from search.studyfile.terms import BudgetSpec, PrunerSpec, SecondLookSpec, StalledSpec


def test_a_pruner_has_the_defaults_of_its_name() -> None:
    """`halving` judges after one epoch; what the file says counts before them."""
    assert PrunerSpec.model_validate({"name": "halving"}).warmup_epochs == 0
    assert PrunerSpec.model_validate({"name": "halving", "warmup_epochs": 3}).warmup_epochs == 3
    assert PrunerSpec.model_validate({"name": "curve"}).warmup_epochs == 2
    assert PrunerSpec.model_validate({"name": "median"}).warmup_epochs == 10


@pytest.mark.parametrize(
    "document",
    [
        {"name": "median", "percentile": 20.0},
        {"name": "halving", "patience": 2},
    ],
)
def test_terms_of_another_pruner_are_refused(document: dict[str, object]) -> None:
    """Each term goes with its own name."""
    with pytest.raises(ValidationError, match="goes with name"):
        PrunerSpec.model_validate(document)


def test_a_standstill_needs_a_limit() -> None:
    """`stalled: {}` would never end a study; the message shows how to write one."""
    with pytest.raises(ValidationError, match="needs trials or hours"):
        BudgetSpec.model_validate({"stalled": {"gain": 0.01}})
    assert BudgetSpec.model_validate({"stalled": {"hours": 3.0}}).stalled == StalledSpec(hours=3.0, gain=0.002)


def test_a_second_look_has_at_most_half_of_the_budget() -> None:
    """None by default: it was not shown to gain anything."""
    assert SecondLookSpec().share == 0
    with pytest.raises(ValidationError):
        SecondLookSpec.model_validate({"share": 0.6})


def test_percentile_asks_for_its_number() -> None:
    """The message shows how it is written."""
    with pytest.raises(ValidationError, match="'percentile: 25' lets the best quarter"):
        PrunerSpec.model_validate({"name": "percentile"})
