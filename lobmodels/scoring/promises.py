"""Reads from a submission's manifest which validation sequences chose its members, and what it scored on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.data import Sequences, validation_split
from lobmodels.ensemble.bundle import MANIFEST


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a submission made by lobtuna."""
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # somebody else's submission
    return document if isinstance(document, dict) and "members" in document else None


def promised_scores(manifest: dict[str, Any] | None, data: Sequences) -> dict[str, float]:
    """The mean score by part that the manifest holds for `data`; empty where it holds none for these."""
    expected = (manifest or {}).get("expected")
    if not expected or expected["valid_fingerprint"] != data.fingerprint:
        return {}
    return {name: float(values[-1]) for name, values in expected["scores"].items()}


def known_split(manifest: dict[str, Any] | None, data: Sequences) -> dict[str, NDArray[np.int64]]:
    """Which of `data`'s sequences chose the members (`select`) and which they never saw (`report`), where known. With
    folds and refits each member has seen other ones, and only `report` is the same for all."""
    if manifest is None:
        return {}
    origins = [member.get("origin", {}) for member in manifest["members"]]
    known = {(origin.get("valid_fingerprint"), origin.get("report_fraction")) for origin in origins}
    if len(known) != 1:
        return {}
    fingerprint, fraction = known.pop()
    if fingerprint != data.fingerprint or not fraction:
        return {}
    select, report = validation_split(len(data), fraction)
    if any(origin.get("split") for origin in origins):
        return {"report": report}
    return {"select": select, "report": report}
