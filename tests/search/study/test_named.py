"""Ranking and repeating a study by its name; the commands' tests ask what is printed."""

from __future__ import annotations

import pytest

from search.errors import SearchError
from search.study.named import rank, replicate


def test_the_replicates_name_means_the_study(exportable: str) -> None:
    """`joint.seeds` is ranked as `joint`."""
    assert rank(exportable, "joint.seeds").study == "joint" == rank(exportable, "joint").study


def test_options_that_contradict_each_other(exportable: str) -> None:
    """`runs` is the budget of `auto`, and cannot be less than what was asked for."""
    with pytest.raises(SearchError, match="add --auto"):
        replicate(exportable, "joint", runs=4)
    with pytest.raises(SearchError, match="--runs 1 is less than the 2 replicates"):
        replicate(exportable, "joint", top=2, seeds=2, auto=True, runs=1)
