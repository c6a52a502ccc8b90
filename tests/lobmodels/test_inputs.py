"""Raw rows become network inputs: groups in order, only looking back, normalised exactly."""

import numpy as np
import pytest
import torch

from lobmodels.errors import UnknownNameError
from lobmodels.features import GROUPS
from lobmodels.inputs import NORMALIZERS, InputPipeline, Normalizer, _Rows, append_features
from lobmodels.schema import LOB

ALL = tuple(GROUPS)


def raw(seed: int, sequences: int = 2, steps: int = 40) -> np.ndarray:
    """Rows (B, T, 32) like the challenge's: signed, with ties between steps (a quiet level does not move)."""
    rng = np.random.default_rng(seed)
    return (rng.integers(-6, 7, (sequences, steps, 32)) / 2).astype(np.float32)


def test_normalizer_is_exact_on_many_rows() -> None:
    """Fitted in float64: mean and deviation are right to 1e-10 where float32 sums drift; flat columns divide by 1."""
    rng = np.random.default_rng(0)
    x = (rng.normal(0, 1e-2, (40, 1000, 32)) + 1000).astype(np.float32)
    x[..., 5] = 3.0
    normalizer = InputPipeline.fit(x, (), "zscore", LOB).normalizer
    assert normalizer is not None
    rows = x.reshape(-1, 32).astype(np.float64)
    np.testing.assert_allclose(normalizer.mean, rows.mean(0), rtol=1e-12)
    expected = rows.std(0)
    expected[5] = 1.0
    np.testing.assert_allclose(normalizer.std, expected, rtol=1e-7)


def test_pipeline_normalises_features_too() -> None:
    """With z-scores every column of the train rows, features included, has mean 0 and deviation 1."""
    x = raw(6, sequences=40, steps=100)
    inputs = InputPipeline.fit(x, ALL, "zscore", LOB)(torch.from_numpy(x)).double().flatten(0, 1)
    assert inputs.mean(0).abs().max() < 1e-5
    assert (inputs.std(0, correction=0) - 1).abs().max() < 1e-5


def test_a_definition_cannot_look_past_the_kept_rows() -> None:
    """A feature that looks further back than the online history fails at once, not in the submission."""
    with pytest.raises(IndexError, match="17 rows"):
        _Rows(torch.zeros(32, 1, 5), 17, LOB.places)[17]


def test_normalizer_needs_nothing_but_columns() -> None:
    """Chunks of different lengths weigh by their rows."""
    a, b = torch.randn(3, 2, 10, dtype=torch.float64), torch.randn(3, 5, 10, dtype=torch.float64)
    fitted = Normalizer.zscore(iter([a, b]))
    rows = torch.cat([a.reshape(3, -1), b.reshape(3, -1)], 1)
    np.testing.assert_allclose(fitted.mean, rows.mean(1).numpy(), atol=1e-14)
    np.testing.assert_allclose(fitted.std, rows.std(1, correction=0).numpy(), atol=1e-14)


def test_groups_are_appended_in_order() -> None:
    """The raw columns come first, unchanged; then the groups in the order of the findings."""
    x = torch.from_numpy(raw(5))
    both = append_features(x, ("derived", "lag"), LOB)
    assert both.shape[-1] == 32 + 10 + 12
    assert torch.equal(both[..., :32].float(), x)
    assert torch.equal(both[..., 32:42], append_features(x, ("derived",), LOB)[..., 32:])
    assert torch.equal(both[..., 42:], append_features(x, ("lag",), LOB)[..., 32:])


def test_causal() -> None:
    """Changing a row changes no feature of an earlier step."""
    x = raw(4)
    before = append_features(torch.from_numpy(x), ALL, LOB)
    x[:, 25:] += 1.0
    after = append_features(torch.from_numpy(x), ALL, LOB)
    assert torch.equal(before[:, :25], after[:, :25])


def test_names_that_are_not_defined_are_refused() -> None:
    """A group or normaliser that nothing is registered under: by name, with the known ones."""
    with pytest.raises(UnknownNameError, match="no feature group is registered as 'moonphase'; registered: derived, "):
        InputPipeline(("moonphase",), None, LOB)
    with pytest.raises(UnknownNameError, match="no normalizer is registered as 'rank'; registered: none, zscore"):
        InputPipeline.fit(raw(0), (), "rank", LOB)


def test_none_changes_nothing() -> None:
    """Without groups and normaliser the network reads the raw columns."""
    x = raw(1)
    assert NORMALIZERS["none"](iter([])) is None
    assert torch.equal(InputPipeline.fit(x, (), "none", LOB)(torch.from_numpy(x)), torch.from_numpy(x))
