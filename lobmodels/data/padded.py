"""Writes sequences of different lengths as arrays of one length: features 0 and targets NaN behind each one's end."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.schema import Schema


def padded_shapes(file: Any, schema: Schema) -> tuple[dict[str, list[int]], NDArray[np.int64]]:
    """Shapes of the arrays of the parquet `file`, and the first row of each of its N sequences with the number of rows
    behind them, (N + 1,). A sequence is a run of rows with one identifier."""
    ids = file.read(columns=[schema.sequence_column])[schema.sequence_column].to_numpy()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ids)) + 1, [len(ids)]]).astype(np.int64)
    n, longest = len(starts) - 1, int(np.diff(starts).max())
    shapes = {"features": [n, longest, len(schema.features)], "targets": [n, longest, len(schema.targets)]}
    return {**shapes, "seq_ix": [n]}, starts


def write_padded(file: Any, path: Path, folder: Path, schema: Schema, types: dict[str, str]) -> dict[str, Any]:
    """Stream the rows of `file`, which keep the format, into .npy files; returns their shapes and fingerprint."""
    from lobmodels.data.parquet import blocks

    shapes, starts = padded_shapes(file, schema)
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", types[name], tuple(shape))
        for name, shape in shapes.items()
    }
    arrays["targets"][:] = np.nan
    split = len(schema.features)
    for block in blocks(file, path, schema):
        rows = block.first_row + np.arange(len(block.step))
        owner = np.searchsorted(starts, rows, side="right") - 1
        place = rows - starts[owner]
        arrays["features"][owner, place] = block.values[:, :split]
        arrays["targets"][owner, place] = block.values[:, split:]
        arrays["seq_ix"][owner] = block.seq_ix
    digest = hashlib.blake2b(digest_size=16)
    for name, array in arrays.items():
        digest.update(str(shapes[name]).encode())
        for part in array:
            digest.update(np.ascontiguousarray(part).data)
        array.flush()
    return {"shapes": shapes, "fingerprint": digest.hexdigest()}
