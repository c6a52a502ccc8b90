"""Shift is separated from chance, by column and for a classifier."""

from __future__ import annotations

import numpy as np
import pytest

from lobmodels.distributions import ks_distance
from lobmodels.profile.shift import adversarial_auc, ks_by_chance


def test_chance_is_ks_of_whole_sequences() -> None:
    """What chance would show is the mean KS distance between drawn sequences and the others, ties and all."""
    rng = np.random.default_rng(1)
    owners = np.repeat(np.arange(10), 30)
    column = rng.integers(0, 9, len(owners)).astype(np.float32)
    expected = []
    draw = np.random.default_rng(4)
    for _ in range(3):
        chosen = np.isin(owners, draw.choice(10, 3, replace=False))
        expected.append(ks_distance(column[chosen], column[~chosen]))
    found = ks_by_chance(np.stack([column, -column], axis=1), owners, 3, seed=4)
    np.testing.assert_allclose(found, np.mean(expected), atol=1e-12)
    assert ks_by_chance(column[:30, None], owners[:30], 3).tolist() == [0.0]  # one sequence: nothing to hold out


def test_shift_by_chance_and_adversarial() -> None:
    """No shift: KS like chance's and an area of .5. A shift of one column by one deviation: both see it."""
    rng = np.random.default_rng(0)
    owners = {"train": np.repeat(np.arange(200), 20), "valid": np.repeat(np.arange(60), 20)}
    train, same = (rng.standard_normal((len(owner), 3)).astype(np.float32) for owner in owners.values())
    chance = ks_by_chance(train, owners["train"], 60)
    assert all(abs(ks_distance(train[:, j], same[:, j]) - chance[j]) < 0.04 for j in range(3))
    nothing = adversarial_auc(train, owners["train"], same, owners["valid"])
    assert nothing.rows == pytest.approx(0.5, abs=0.05) and nothing.sequences == pytest.approx(0.5, abs=0.15)
    moved = same + np.array([1, 0, 0], np.float32)
    seen = adversarial_auc(train, owners["train"], moved, owners["valid"])
    assert seen.rows == pytest.approx(0.76, abs=0.03)  # Φ(1/√2)
    assert seen.sequences > 0.95
    assert ks_distance(train[:, 0], moved[:, 0]) == pytest.approx(0.38, abs=0.04)  # 2Φ(1/2) - 1
