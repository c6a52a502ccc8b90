"""A data set of short sequences with a signal, made in memory: what the device path needs to be walked often."""

import dataclasses
from pathlib import Path

import numpy as np

from lobmodels.data import Dataset, Sequences
from lobmodels.schema import LOB

STEPS = 112  # of which the first 99 are never scored


def short_sequences(count: int, seed: int, steps: int = STEPS) -> Sequences:
    """`count` sequences of `steps` rows whose targets follow the first trade price."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 1, (count, steps, len(LOB.features))).astype(np.float32)
    noise = rng.standard_t(4, (count, steps, len(LOB.targets)))
    targets = (0.5 * features[:, :, 24:26] + 0.5 * noise).astype(np.float32)
    schema = dataclasses.replace(LOB, sequence_length=steps)
    return Sequences(features, targets, np.arange(count), f"short {count} {seed} {steps}", Path("memory"), schema)


def short_dataset(train: int = 11, valid: int = 8, steps: int = STEPS) -> Dataset:
    """Train and validation sequences; 11 in batches of 3 leave a last batch of two."""
    return Dataset(short_sequences(train, 0, steps), short_sequences(valid, 1, steps), f"short {train} {valid} {steps}")
