"""Which seeds and folds the replicates of a configuration get."""

from __future__ import annotations

import pytest

from search.errors import SearchError
from search.study.orders import EarlierRun, RefitOrder, cells, require_folds
from search.studyfile.validation import ValidationSpec
from tests.search.study.made_replicates import SPEC

FOLDS = SPEC.model_copy(update={"validation": ValidationSpec(folds=3)})


@pytest.mark.parametrize(("seeds", "folds"), [(1, 3), (2, 3), (3, 1), (4, 2)])
def test_with_the_searchs_own_run_the_grid_is_complete(seeds: int, folds: int) -> None:
    """Each fold gets as many runs; the search's own is the first on fold 0. More seeds or folds only add cells."""
    listed = cells(FOLDS, seeds, folds)
    assert len(listed) == len(set(listed)) == seeds * folds - 1
    assert [sum(fold == k for _, fold in listed) for k in range(folds)] == [seeds - 1, *[seeds] * (folds - 1)]
    assert set(listed) <= set(cells(FOLDS, seeds + 1, folds)) & set(cells(FOLDS, seeds, 3))


def test_new_folds_come_before_new_seeds() -> None:
    """A run on another fold says more about new data than another seed. Without folds there are seeds alone."""
    assert cells(FOLDS, 2, 3)[:2] == [(1_000_007, 1), (1_000_008, 2)]
    assert cells(SPEC, 3) == [(1_000_007, None), (1_000_008, None)]


@pytest.mark.parametrize("folds", [1, 2, 3])
def test_every_run_has_a_seed_of_its_own(folds: int) -> None:
    """Runs under one seed start from the same weights and predict alike, on whatever fold."""
    seeds = [seed for seed, _ in cells(FOLDS, 4, folds)]
    assert len(set(seeds)) == len(seeds)


def test_what_adds_nothing_or_is_not_there_is_refused() -> None:
    """Each says what there is."""
    for spec, seeds, folds, said in (
        (SPEC, 2, 3, "has the fixed split"),
        (FOLDS, 1, 4, "--folds 4 is more than the 3 folds"),
        (FOLDS, 1, 1, "--seeds 1 adds no run"),
    ):
        with pytest.raises(SearchError, match=said):
            require_folds(spec, seeds, folds)


def test_an_order_survives_the_database() -> None:
    """Read back it is the same; what somebody else wrote there is no order."""
    order = RefitOrder((EarlierRun(0, 7, (1e-3, 5e-4)), EarlierRun(None, 9)), 0.31, with_report=True)
    assert RefitOrder.from_json(order.to_json()) == order
    assert order.to_json()["runs"] == [[0, 7, [1e-3, 5e-4]], [None, 9, []]]  # as earlier versions read it
    own = RefitOrder((EarlierRun(0, 7, (), (3, 7)),), 0.31)
    assert RefitOrder.from_json(own.to_json()) == own


def test_how_long_a_refit_lasts() -> None:
    """The median of its runs' best epochs; where each target has its own, the longer of the two medians."""
    assert RefitOrder(tuple(EarlierRun(None, best) for best in (3, 9, 4)), 0.31).epochs == 4
    own = ((5, 20), (10, 15), (15, 10))
    assert RefitOrder(tuple(EarlierRun(None, 9, (), each) for each in own), 0.31).epochs == 15
    assert [RefitOrder.from_json(other) for other in (None, 3, {}, {"runs": [1]})] == [None] * 4
