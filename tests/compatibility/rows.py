"""Some rows as a data set of one sequence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lobmodels.data import Sequences
from lobmodels.schema import LOB


def one_sequence(rows: np.ndarray) -> Sequences:
    """One sequence of `rows` (T, 32), all of them scored, targets zero."""
    schema = replace(LOB, sequence_length=len(rows), warmup_steps=0)
    return Sequences(
        features=rows[None].astype(np.float32),
        targets=np.zeros((1, len(rows), len(LOB.targets)), np.float32),
        seq_ix=np.array([0]),
        fingerprint="rows",
        source=Path("rows"),
        schema=schema,
    )
