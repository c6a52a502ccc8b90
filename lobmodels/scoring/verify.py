"""Verifies a submission before it is sent: its own files, fed row by row, against torch on whole sequences.

Every check runs with the compiled step and again as on a host without numba, because that step must be right too:
- `reset`: several sequences one after the other; every member at every step, warm-up included.
- `no reset`: the same rows as one long sequence: the state must not be reset within a sequence.
- `features`: what the networks read, against the training pipeline.
- `repeat`: the first sequence once more at the end gives the same bits.

Before that the zip's arrays are compared with what was exported (`lobmodels.ensemble.integrity`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.checkpoint import Checkpoint
from lobmodels.data import Sequences
from lobmodels.ensemble.bundle import MEGABYTE, SIZE_LIMIT_MB, Bundle, read_submission
from lobmodels.ensemble.integrity import check_digests, check_stored
from lobmodels.ensemble.onnx_export import is_fused
from lobmodels.errors import ScoringError
from lobmodels.inputs import as_tensor
from lobmodels.scoring.submission import TIME_LIMIT, host_job, run_host, unpack

TOLERANCE = 1e-5
BACKENDS: dict[str, tuple[str, ...]] = {"numba": (), "numpy": ("numba",)}  # modules hidden from it


@dataclass(frozen=True)
class Check:
    """One comparison: the largest difference, and the most that is allowed."""

    name: str
    backend: str
    difference: float
    limit: float

    @property
    def ok(self) -> bool:
        """Whether the difference is a number within the limit."""
        return self.difference <= self.limit


def verify(
    path: Path,
    data: Sequences,
    sequences: int = 2,
    progress: Callable[[int, int], None] | None = None,
    stored: Mapping[str, Checkpoint] | None = None,
) -> list[Check]:
    """Run all checks over the first `sequences` of `data`; the weights are compared with the `stored` checkpoints of
    the members, by name, where these are given, and with the digests in the zip where it holds some.

    `progress(done, in all)`. Raises `BundleError` where lobtuna did not export the zip, or where parts of it, which are
    named, are not as exported; `ScoringError` where the submission breaks a rule of the challenge.
    """
    if not 2 <= sequences <= len(data):
        message = f"sequences={sequences} is not between 2 and the {len(data)} of {data.source}"
        raise ScoringError(message, arguments=["sequences"])
    submission = read_submission(path)
    bundle = submission.bundle()
    fused = any(map(is_fused, bundle.members))  # without such a member, numba has nothing to do
    checks = [Check("size, MB", "zip", submission.size / MEGABYTE, SIZE_LIMIT_MB)]
    if check_digests(submission):
        checks.append(Check("weights", "digests", 0.0, 0.0))
    if stored is not None:
        check_stored(submission, stored)
        checks.append(Check("weights", "stored", 0.0, 0.0))
    raw = [np.array(data.features[i, : data.lengths[i]]) for i in range(sequences)]
    order = np.array([*range(sequences), 0])
    with tempfile.TemporaryDirectory(prefix="lobtuna-verify-") as temporary:
        folder = Path(temporary, "submission")
        unpack(path, folder)
        runs = [(backend, joined) for backend in BACKENDS for joined in (False, True)]
        for i, (backend, joined) in enumerate(runs):
            output = Path(temporary, f"{backend}-{joined}")
            output.mkdir()
            job = host_job(data, order[:-1] if joined else order, folder, output)
            job |= {"probe": True, "joined": joined, "absent": BACKENDS[backend]}
            used = run_host(job, path, lambda _: None, TIME_LIMIT)["backend"]
            if fused and used.partition("+")[0] != backend:
                raise ScoringError(
                    f"{path}: the {backend} step is not used here but the {used} one; is numba installed?"
                )
            found = {name: np.load(output / f"{name}.npy") for name in ("members", "inputs", "predictions")}
            if joined:
                whole = np.concatenate(raw)
                checks.append(Check("no reset", backend, _gap(found["members"], _members(bundle, whole)), TOLERANCE))
            else:
                checks += _separate(bundle, raw, found, backend, data.schema.warmup_steps)
            if progress is not None:
                progress(i + 1, len(runs))
    return checks


def _separate(
    bundle: Bundle, raw: list[NDArray[np.float32]], found: dict[str, NDArray[Any]], backend: str, warmup: int
) -> list[Check]:
    """`found` of the sequences `raw` and of the first one once more; rows of all of them lie behind each other."""
    expected = [_members(bundle, rows) for rows in raw]  # (T, M, K) each
    weights = np.stack([place.weight for place in bundle.networks])  # (M, K)
    together = np.concatenate(expected)
    averages = [
        _gap(found["predictions"][i, : len(members) - warmup], (members * weights).sum(1)[warmup:])
        for i, members in enumerate(expected)
    ]
    inputs = np.concatenate([_inputs(bundle, rows) for rows in raw])
    count, first = len(together), len(raw[0])
    return [
        Check("reset", backend, _gap(found["members"][:count], together), TOLERANCE),
        Check("average", backend, max(averages), TOLERANCE),
        Check("features", backend, _gap(found["inputs"][:count], inputs), TOLERANCE),
        Check("repeat", backend, _gap(found["members"][:first], found["members"][count:]), 0.0),
    ]


def _members(bundle: Bundle, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Predictions (T, M, K) of the M networks for the rows (T, F) of one sequence."""
    return np.stack([place.network.predict(rows[None])[0] for place in bundle.networks], 1).astype(np.float64)


def _inputs(bundle: Bundle, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    pipelines = [place.network.pipeline for place in bundle.networks]
    return np.concatenate([pipeline(as_tensor(rows[None])).numpy()[0] for pipeline in pipelines], -1)


def _gap(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Largest absolute difference; infinite where one is not a number."""
    gap = np.abs(a.astype(np.float64) - b).max()
    return float(gap) if np.isfinite(gap) else np.inf
