"""The shift between train and validation rows is measured truly, and once a data set."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from lobmodels.config import RunConfig
from lobmodels.distributions import ks_distance
from lobmodels.metric import score
from lobmodels.training import diagnostics
from lobmodels.training.batches import RunData
from lobmodels.training.diagnostics import most_shifted, shift_buckets
from lobmodels.training.outputs import Outputs
from tests.lobmodels.training.short_data import short_dataset


def test_equals_scipys_statistic() -> None:
    """The distance of two samples of unequal size, ties included."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 300).round(1), rng.normal(0.4, 1.3, 170).round(1)
    assert ks_distance(a, b) == pytest.approx(ks_2samp(a, b).statistic)


def test_a_moved_column_is_the_most_shifted() -> None:
    """A known effect is found: the column that was moved comes first, with its distance."""
    dataset = dataclasses.replace(short_dataset(), fingerprint="moved")
    dataset.valid.features[..., 7] += 3.0
    assert most_shifted(dataset)[0][0] == 7
    assert most_shifted(dataset)[0][1] > 0.7


def test_measured_once_a_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs on one data set share the measurement; another data set has its own."""
    asked = []
    monkeypatch.setattr(diagnostics, "_shifts", {})
    measure = diagnostics.ks_by_column
    monkeypatch.setattr(diagnostics, "ks_by_column", lambda a, b: asked.append(1) or measure(a, b))
    first, other = short_dataset(), short_dataset(train=9)
    assert most_shifted(first) == most_shifted(first)[:5] and len(most_shifted(first, 3)) == 3
    assert len(asked) == 1
    most_shifted(other)
    assert len(asked) == 2


@pytest.mark.parametrize("whole", [False, True], ids=["sums", "rows"])
def test_a_buckets_score_is_its_rows(monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    """Each bucket holds a fifth of the selection rows, and has the metric of its rows: by their sums, or by the rows
    themselves under a metric that has no sums."""
    dataset = short_dataset(12, 24)
    config = RunConfig.parse({"hidden_size": 4, "num_layers": 1, "batch_size": 4})
    data = RunData.prepare(dataset, config)
    rng, target = np.random.default_rng(0), data.select.targets
    prediction = 0.4 * target + torch.from_numpy(rng.normal(0, 0.5, tuple(target.shape)).astype(np.float32))
    if whole:
        real = diagnostics.metric_of
        monkeypatch.setattr(diagnostics, "metric_of", lambda schema: dataclasses.replace(real(schema), whole="mine"))
    entries = shift_buckets(Outputs(prediction, target), data)
    assert len(entries) == 25
    raw = dataset.valid.features[data.select_index][:, 99:].reshape(-1, 32)
    p, y = prediction.reshape(-1, 2).numpy(), target.reshape(-1, 2).numpy()
    for entry in entries:
        values = raw[:, dataset.schema.features.index(entry["feature"])]
        rows = (values >= entry["low"]) & (values < entry["high"] if entry["bucket"] < 4 else values <= entry["high"])
        assert entry["rows"] == rows.sum() == pytest.approx(len(raw) / 5, abs=1)
        assert [entry["t0"], entry["t1"]] == pytest.approx(score(p[rows], y[rows], dataset.schema).tolist(), abs=1e-9)
        assert entry["mean"] == pytest.approx((entry["t0"] + entry["t1"]) / 2)
