"""What a study file may say about splits, and which rule each run then has."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from lobmodels.data import SplitRule
from search.studyfile.spec import StudySpec
from search.studyfile.validation import ValidationSpec


def test_every_way_gives_its_rule() -> None:
    """The fixed split where nothing is said; folds; walk-forward folds with a gap of one unless it is given."""
    assert ValidationSpec().rule(3) == ValidationSpec().rule() == SplitRule(0.25)
    assert ValidationSpec(folds=5).rule(2) == SplitRule(0.25, "folds", 5, 2)
    assert ValidationSpec(walk_forward=3).rule() == SplitRule(0.25, "walk_forward", 3, 0, 1)
    assert ValidationSpec(walk_forward=3, gap=0, report_fraction=0.5).rule(1) == SplitRule(0.5, "walk_forward", 3, 1, 0)
    assert [ValidationSpec(folds=5).count, ValidationSpec(walk_forward=3).count, ValidationSpec().count] == [5, 3, None]


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"folds": 5, "walk_forward": 3}, "two ways to split"),
        ({"gap": 2}, "'gap' goes with walk_forward"),
        ({"folds": 1}, "greater than or equal to 2"),
    ],
)
def test_contradictions_are_refused(terms: dict[str, int], said: str) -> None:
    """Each with the rule that it breaks."""
    with pytest.raises(ValidationError, match=said):
        ValidationSpec.model_validate(terms)


def test_studies_without_folds_are_stored_as_before() -> None:
    """A study created by an older version has the same definition as its file has today."""
    spec = StudySpec.from_json({"name": "s", "parameters": {"lr": 1e-3}})
    assert spec.to_json()["validation"] == {"report_fraction": 0.25}
    folds = StudySpec.from_json({"name": "s", "parameters": {"lr": 1e-3}, "validation": {"folds": 4}})
    assert StudySpec.from_json(folds.to_json()) == folds


def test_words_say_what_selects() -> None:
    """As the ranking's first line shows them."""
    assert ValidationSpec().words == "75% of the validation sequences"
    assert ValidationSpec(report_fraction=0).words == "all validation sequences"
    assert ValidationSpec(folds=4).words == "4 folds of the train and validation sequences"
