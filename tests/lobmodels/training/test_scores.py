"""The streamed score is the score of all rows together."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lobmodels.metric import score, weighted_pearson
from lobmodels.schema import LOB
from lobmodels.training.scores import GatheredScore, StreamingScore, score_for
from tests.plugin_files import blocks_of_files, forgotten


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300), st.floats(0.1, 20), st.integers(0, 2**32 - 1))
def test_equals_the_whole(rows: int, scale: float, seed: int) -> None:
    """Batches of any size give the whole's score to 1e-12, clipping and heavy tails included."""
    rng = np.random.default_rng(seed)
    y = (rng.standard_t(2, (rows, 2)) * scale).astype(np.float32)
    p = (0.3 * y + rng.normal(0, scale, (rows, 2))).astype(np.float32)
    stream = StreamingScore(LOB)
    for part in np.array_split(np.arange(rows), min(3, rows)):
        stream.update(torch.from_numpy(p[part]), torch.from_numpy(y[part]))
    assert stream.compute().numpy() == pytest.approx(weighted_pearson(p, y), abs=1e-12)


def test_constant_scores_zero() -> None:
    """A prediction or a target that never varies scores 0, never NaN."""
    y = np.random.default_rng(0).normal(size=(500, 2))
    for p, t in ((np.full_like(y, 0.3), y), (y, np.full_like(y, -2.0)), (np.zeros_like(y), np.zeros_like(y))):
        stream = StreamingScore(LOB)
        stream.update(torch.from_numpy(p), torch.from_numpy(t))
        assert (stream.compute() == 0).all()


def test_streaming_shows_nan() -> None:
    """A prediction that is not a number must not look like a score."""
    p = torch.zeros(10, 2)
    p[3, 1] = torch.nan
    stream = StreamingScore(LOB)
    stream.update(p, torch.randn(10, 2))
    assert torch.isnan(stream.compute()[1])


def test_a_plugins_metric_gathers_its_rows() -> None:
    """Batches of any size give what the function says of all rows, to the bit; a built-in metric is streamed."""
    rng = np.random.default_rng(0)
    p, y = rng.standard_normal((2, 7, 30, 2)).astype(np.float32) * 4
    with forgotten():
        exec(blocks_of_files()["gain.py"], {})
        schema = replace(LOB, metric="gain")
        gathered = score_for(schema)
        assert isinstance(gathered, GatheredScore) and isinstance(score_for(LOB), StreamingScore)
        for part in np.array_split(np.arange(7), 3):
            gathered.update(torch.from_numpy(p[part]), torch.from_numpy(y[part]))
        found = gathered.compute()
        assert found.dtype == torch.float64 and np.array_equal(found.numpy(), score(p, y, schema))
