"""Order-book sequences: read from parquet once, cached, split, or simulated."""

from lobmodels.data.sequences import (
    Dataset,
    Sequences,
    cache_folder,
    load_dataset,
    load_sequences,
    member_paths,
    validation_split,
)

__all__ = [
    "Dataset",
    "Sequences",
    "cache_folder",
    "load_dataset",
    "load_sequences",
    "member_paths",
    "validation_split",
]
