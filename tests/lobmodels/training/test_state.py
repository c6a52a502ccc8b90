"""A run resumes as if nothing had happened, and only from a state of its own."""

import numpy as np
import pytest
import torch

from lobmodels.data import Dataset
from lobmodels.errors import CheckpointError
from tests.lobmodels.training.test_run import RECIPES, start, without_time


@pytest.mark.parametrize("recipe", RECIPES)
def test_resumed_equals_undisturbed(small_dataset: Dataset, recipe: str) -> None:
    """A run restored after two epochs in another object ends with the same history and the same weights, exactly."""
    undisturbed, first = (start(small_dataset, **RECIPES[recipe]) for _ in range(2))
    for _ in range(4):
        undisturbed.train_epoch()
    first.train_epoch()
    first.train_epoch()
    resumed = start(small_dataset, **RECIPES[recipe])
    torch.randn(100)  # the process has used randomness of its own meanwhile
    resumed.restore(first.state())
    while resumed.epoch < 4:
        resumed.train_epoch()
    assert [without_time(r) for r in resumed.history] == [without_time(r) for r in undisturbed.history]
    a, b = undisturbed.result(), resumed.result()
    assert a.scores == b.scores and a.best_epoch == b.best_epoch
    assert bool(a.epochs) == recipe.startswith("snapshots")
    for mine, theirs in zip(a.singles, b.singles, strict=True):
        assert mine.name == theirs.name and np.array_equal(a.shares, b.shares)
        assert all(torch.equal(mine.weights[name], theirs.weights[name]) for name in mine.weights)


def test_state_of_another_run_is_refused(small_dataset: Dataset) -> None:
    """A stored state continues the run it belongs to, and no other."""
    run = start(small_dataset)
    run.train_epoch()
    blob = run.state()
    with pytest.raises(CheckpointError, match="seed 0, this run 1"):
        start(small_dataset, seed=1).restore(blob)
    with pytest.raises(CheckpointError, match="damaged"):
        start(small_dataset).restore(blob[:-100])
