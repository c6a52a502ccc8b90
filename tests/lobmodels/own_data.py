"""Data sets with columns, lengths and targets of their own, small enough for a test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lobmodels.schema import Schema
from lobmodels.schema_file import schema_yaml

COLUMNS = tuple(f"c{i}" for i in range(10))
VARIABLE = Schema(
    features=COLUMNS,
    targets=("move",),
    sequence_length=60,
    warmup_steps=5,
    scored_column=None,
    variable_length=True,
    metric="pearson",
    clip=None,
)
FIXED = replace(VARIABLE, variable_length=False, targets=("near", "middle", "far"), metric="weighted_pearson", clip=6.0)


def table(schema: Schema, sequences: int, seed: int, first: int = 0) -> pa.Table:
    """Rows whose targets are a function of the last two rows, and noise."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(sequences):
        least = 7 if schema.variable_length else schema.sequence_length
        steps = int(rng.integers(least, schema.sequence_length + 1))
        x = rng.standard_normal((steps, len(schema.features)))
        signal = x[:, 0] + 0.5 * np.concatenate([[0.0], x[:-1, 1]])
        y = np.stack([signal + 0.5 * rng.standard_normal(steps) for _ in schema.targets], 1)
        columns = {schema.sequence_column: np.full(steps, first + i), schema.step_column: np.arange(steps)}
        columns |= dict(
            zip(schema.features + schema.targets, np.concatenate([x, y], 1).T.astype(np.float32), strict=True)
        )
        parts.append(pa.table(columns))
    return pa.concat_tables(parts)


def write_data(folder: Path, schema: Schema = VARIABLE, train: int = 12, valid: int = 8) -> Path:
    """A data folder with its schema beside the files."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table(schema, train, 1), folder / "train.parquet")
    pq.write_table(table(schema, valid, 2, first=train), folder / "valid.parquet")
    (folder / "schema.yaml").write_text(schema_yaml(schema))
    return folder
