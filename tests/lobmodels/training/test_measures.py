"""A finished run knows how large its predictions are, which is what it is scaled by as a member."""

from __future__ import annotations

import numpy as np
import pytest

from lobmodels.bootstrap import correlations
from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.data import Dataset
from lobmodels.training.batches import RunData
from lobmodels.training.measures import SEQUENCES, spread_index
from lobmodels.training.run import TrainingRun


def test_the_spread_is_in_the_checkpoint(small_dataset: Dataset) -> None:
    """The standard deviation of the best weights' predictions over the scored train rows, and the sums of each
    validation sequence, written and read back."""
    config = RunConfig.parse({"hidden_size": 4, "num_layers": 1, "batch_size": 4, "epochs": 1})
    training = TrainingRun(config, 0, RunData.prepare(small_dataset, config))
    training.train_epoch()
    found = Checkpoint.from_bytes(training.result("joint#0").to_bytes())
    for part, scores in found.scores.items():  # the sums give the run's scores
        sums = correlations(found.sequence_sums[part].astype(np.float64).sum(0))
        assert scores is not None and sums == pytest.approx([scores["t0"], scores["t1"]], abs=1e-5)
    train = small_dataset.train
    predicted = found.predict(np.asarray(train.features))[:, train.schema.warmup_steps :]
    assert found.prediction_std == pytest.approx(predicted.std((0, 1), dtype=np.float64).tolist(), rel=1e-5)


def test_large_data_are_sampled_evenly() -> None:
    """First and last sequence included, none twice, never more than needed."""
    index = spread_index(10_721)
    assert len(index) == SEQUENCES and index[0] == 0 and index[-1] == 10_720
    assert spread_index(5).tolist() == [0, 1, 2, 3, 4] and spread_index(1).tolist() == [0]
