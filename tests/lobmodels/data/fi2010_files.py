"""Text files in the format of FI-2010, as its authors distribute them."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def events(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (144, events) and labels (5, events): 1 up, 2 stationary, 3 down, which the first rows foretell."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((144, count))
    moves = features[:2].sum(0) + 0.5 * rng.standard_normal((5, count))
    return features, np.where(moves > 0.8, 1, np.where(moves < -0.8, 3, 2))


def write_events(path: Path, count: int = 600, seed: int = 0) -> Path:
    """One file: 149 rows of numbers in scientific notation behind three spaces."""
    features, labels = events(count, seed)
    rows = np.concatenate([features, labels])
    path.write_text("".join("".join(f"   {value:.7e}" for value in row) + "\n" for row in rows), encoding="ascii")
    return path
