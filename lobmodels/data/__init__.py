"""Order-book sequences: read from parquet once, cached, split, or simulated."""

from lobmodels.data.cache import cache_folder
from lobmodels.data.partition import Partition, SplitRule
from lobmodels.data.sequences import Dataset, Sequences, load_dataset, load_sequences, member_paths
from lobmodels.data.splits import validation_split

__all__ = [
    "Dataset",
    "Partition",
    "Sequences",
    "SplitRule",
    "cache_folder",
    "load_dataset",
    "load_sequences",
    "member_paths",
    "validation_split",
]
