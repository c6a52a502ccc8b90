"""Trained weights predict as the checkpoint does, whether loaded or trained by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lobtuna
from lobmodels.data import Dataset
from lobtuna.model import as_sequences


def test_a_loaded_run_predicts(study: lobtuna.Study, small_dataset: Dataset) -> None:
    """By run or by name, one sequence or several; scores are those of the study."""
    run = study.best()
    model = lobtuna.load(run)
    x = np.asarray(small_dataset.valid.features[:2])
    assert model.predict(x).shape == (2, 1000, 2)
    assert np.array_equal(model.predict(x[0]), model.predict(x)[0])
    named = lobtuna.load(run.name, study.url)
    assert np.array_equal(named.predict(x), model.predict(x)) and model.configuration == run.configuration


def test_another_shape_is_refused() -> None:
    """The message has the shape and what it must be."""
    with pytest.raises(ValueError, match=r"x has shape \(3,\); it must be \(sequences, steps, columns\)"):
        as_sequences(np.zeros(3))


def test_one_run_by_hand(small_data: Path) -> None:
    """It trains to its end, reports each epoch, and has a history and curves."""
    epochs: list[int] = []
    configuration = {"hidden_size": 4, "num_layers": 1, "batch_size": 12, "epochs": 2}
    model = lobtuna.train(configuration, small_data, 3, on_epoch=lambda record: epochs.append(record.epoch))
    assert epochs == [0, 1] == model.history.column("epoch") and model.checkpoint.seed == 3
    assert [trace.name for trace in model.plot_curves().data] == ["t0", "t1", "mean"]
    assert model.scores["select"]["mean"] == max(model.history.column("mean"))  # type: ignore[index]
    several = lobtuna.train({**configuration, "snapshots": 2}, small_data, 3)
    assert model.summary.endswith(f"best epoch {model.checkpoint.best_epoch + 1}")
    assert several.summary.endswith("mean of epochs 1, 2") and several.scores["select"] != model.scores["select"]
    with pytest.raises(lobtuna.EXPECTED, match="hidden_sise"):
        lobtuna.train({"hidden_sise": 4}, small_data)
