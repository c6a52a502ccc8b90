"""Permutation importance: errors over sequences, the right sequences, nothing for what is ignored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lobmodels.config import RunConfig
from lobmodels.data import Dataset, validation_split
from lobmodels.errors import DataError
from lobmodels.metric import weighted_pearson
from lobmodels.networks.mixture import KeptEpoch
from lobmodels.profile.chunks import column_groups
from lobmodels.profile.importance import profile_run, scores_of, sequence_sums
from lobmodels.schema import LOB
from lobmodels.training.run import RunData, TrainingRun

WARMUP = 99


def test_errors_are_over_sequences() -> None:
    """The error of a score shrinks as one over the root of the number of sequences."""
    rng = np.random.default_rng(0)
    y = rng.standard_normal((400, 50, 2))
    p = y + 2 * rng.standard_normal(y.shape)
    few, many = (scores_of(sequence_sums(p[:n], y[:n])) for n in (100, 400))
    np.testing.assert_allclose(many.values, weighted_pearson(p, y), atol=1e-12)
    assert few.mean_error / many.mean_error == pytest.approx(2, rel=0.3)


@pytest.fixture(scope="module")
def run(small_dataset: Dataset):  # type: ignore[no-untyped-def]
    """A checkpoint of one short run with a group of derived features."""
    config = RunConfig.parse(
        {
            "architecture": "gru",
            "hidden_size": 8,
            "num_layers": 1,
            "epochs": 1,
            "batch_size": 8,
            "lr": 0.01,
            "derived": True,
        }
    )
    training = TrainingRun(config, 0, RunData.prepare(small_dataset, config, report_fraction=0.25))
    training.train_epoch()
    return training.result("study#0")


def test_run_importance(small_dataset: Dataset, run) -> None:  # type: ignore[no-untyped-def]
    """A trained run is asked about its input groups, on the sequences that selection never saw, and says which."""
    found = profile_run(run, small_dataset.valid)
    _, report = validation_split(12, 0.25)
    assert found.sequences == len(report) == 3
    assert "reporting sequences" in found.which
    expected = weighted_pearson(
        run.predict(small_dataset.valid.features[report])[:, WARMUP:], small_dataset.valid.targets[report, WARMUP:]
    )
    np.testing.assert_allclose(found.scores.values, expected, atol=1e-5)
    assert {item.group for item in found.importance} == {*column_groups(LOB, ("derived",))}
    other = profile_run(run, small_dataset.train)
    assert other.sequences == 24 and "other validation data" in other.which
    with pytest.raises(DataError, match="at least two"):
        profile_run(run, replace(small_dataset.train, seq_ix=small_dataset.train.seq_ix[:1]))


def test_a_run_of_several_epochs_is_profiled_as_it_predicts(small_dataset: Dataset, run) -> None:  # type: ignore[no-untyped-def]
    """The scores are those of what its epochs predict together."""
    other = {name: tensor.flip(0) for name, tensor in run.weights.items()}
    epochs = (KeptEpoch(0, run.weights, (0.5, 0.0)), KeptEpoch(1, other, (0.5, 1.0)))
    several = replace(run, weights={}, epochs=epochs)
    _, report = validation_split(12, 0.25)
    predicted = several.predict(small_dataset.valid.features[report])[:, WARMUP:]
    expected = weighted_pearson(predicted, small_dataset.valid.targets[report, WARMUP:])
    np.testing.assert_allclose(profile_run(several, small_dataset.valid).scores.values, expected, atol=1e-5)


def test_run_that_ignores_its_inputs_depends_on_nothing(small_dataset: Dataset, run) -> None:  # type: ignore[no-untyped-def]
    """With the weights of one group cut, permuting that group costs exactly nothing."""
    weights = {name: tensor.clone() for name, tensor in run.weights.items()}
    first = next(name for name in weights if name.endswith("weight_ih_l0"))
    columns = column_groups(LOB, ("derived",))["ask volumes"]
    weights[first][:, columns] = 0
    found = {item.group: item for item in profile_run(replace(run, weights=weights), small_dataset.valid).importance}
    assert (found["ask volumes"].drop.values == 0).all() and found["ask volumes"].drop.mean_error == 0
    assert found["bid volumes"].drop.mean != 0
