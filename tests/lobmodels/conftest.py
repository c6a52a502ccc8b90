"""What several test modules of the learning core read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture(scope="session")
def good(small_data: Path) -> pa.Table:
    """Three whole sequences in the challenge's format."""
    return pq.read_table(small_data / "valid.parquet").slice(0, 3000)
