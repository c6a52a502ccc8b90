"""Configurations as models: what is predicted of a sequence comes from runs that were not trained on it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lobmodels.checkpoint import Checkpoint
from lobmodels.data import Dataset
from lobmodels.data.partition import FOLDS
from lobmodels.ensemble.out_of_fold import out_of_fold
from lobmodels.errors import BundleError
from tests.lobmodels.ensemble.made_runs import run


def on_fold(name: str, fold: int, seed: int, hidden: int = 4) -> Checkpoint:
    """A run of a configuration of so many units on one of three folds."""
    made = run(name, seed, 1.0, hidden_size=hidden)
    document = {"kind": FOLDS, "folds": 3, "fold": fold, "gap": 0}
    return dataclasses.replace(made, split=document, prediction_std=(1.0, 1.0))


def test_each_sequence_is_predicted_by_the_run_that_held_it_out(small_dataset: Dataset) -> None:
    """All sequences but report; two seeds on one fold are averaged; weights are shared within a configuration."""
    members = [on_fold(f"a#{k}", k, k) for k in range(3)] + [on_fold("a#3", 1, 7)]
    members += [on_fold(f"b#{k}", k, 10 + k, hidden=8) for k in range(3)]
    found = out_of_fold(members, small_dataset)
    assert found.groups == ((0, 1, 2, 3), (4, 5, 6)) and len(found.index) == 33
    warmup = small_dataset.schema.warmup_steps
    held = small_dataset.partition(members[1].rule).select
    places = np.searchsorted(found.index, held)
    raw = small_dataset.features(held)[:]
    expected = (members[1].predict(raw) + members[3].predict(raw))[:, warmup:] / 2
    np.testing.assert_allclose(found.predictions[0][places], expected, atol=1e-6)
    np.testing.assert_array_equal(found.targets, small_dataset.targets(found.index)[:][:, warmup:])
    weights = found.fitted("optimised")
    assert weights.sum(0) == pytest.approx([1, 1]) and (weights[:4] == weights[0]).all()


def test_where_no_run_held_a_sequence_out_it_does_not_count(small_dataset: Dataset) -> None:
    """Only sequences that every configuration can predict honestly are fitted on; without one, uniform is named."""
    first, second = on_fold("a#0", 0, 0), on_fold("b#0", 0, 1, hidden=8)
    found = out_of_fold([first, second], small_dataset)
    np.testing.assert_array_equal(found.index, small_dataset.partition(first.rule).select)
    with pytest.raises(BundleError, match="no sequence is held out by a run of every configuration"):
        out_of_fold([first, on_fold("b#1", 1, 1, hidden=8)], small_dataset)
