"""A run's history as a CSV table, kept with its trial."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any


def history_csv(history: Sequence[Mapping[str, Any]]) -> bytes:
    """The history as CSV, one line an epoch, columns as the records name them."""
    columns = list(dict.fromkeys(name for record in history for name in record))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return out.getvalue().encode()
