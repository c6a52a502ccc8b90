"""The profile of the small data set, and all its rows to compute the same figures from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lobmodels.data import Dataset
from lobmodels.features import GROUPS
from lobmodels.inputs import append_features
from lobmodels.profile import Profile, profile_dataset
from lobmodels.schema import LOB


@pytest.fixture(scope="session")
def profile(small_dataset: Dataset) -> Profile:
    """Profile of the small set."""
    return profile_dataset(small_dataset)


@pytest.fixture(scope="session")
def rows(small_dataset: Dataset) -> dict[str, np.ndarray]:
    """Everything of both files in one array each: features with all groups, and targets."""
    found = {}
    for name in ("train", "valid"):
        part = getattr(small_dataset, name)
        found[f"{name} x"] = append_features(torch.from_numpy(np.array(part.features)), tuple(GROUPS), LOB).numpy()
        found[f"{name} y"] = np.array(part.targets, dtype=np.float64)
    return found
