"""Resamples the sequences to estimate how much the scores of configurations may differ on new data.

More seeds show how good a configuration is on the selection sequences, not whether these happen to suit it. To estimate
that, sequences are drawn with replacement, the same ones for all runs, and each run is scored on them from its six sums
per sequence (`lobmodels.bootstrap`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from lobmodels.bootstrap import SUMS, correlations
from lobmodels.data.cache import cache_folder
from lobmodels.errors import OutputError
from lobmodels.files import appearing
from search.study.runs import Run
from storage.errors import ArtifactError

if TYPE_CHECKING:
    import optuna

Floats = NDArray[np.float64]
REPETITIONS = 400


def resampled_scores(
    sums: Sequence[Floats], repetitions: int = REPETITIONS, folds: Sequence[int | None] | None = None
) -> Floats:
    """Mean correlation (repetitions, R) of R runs, from their sums (N, 6, targets), on sequences drawn again.

    Runs on one of the `folds` are scored on the same draws of its sequences. Folds have no sequence in common, so each
    is drawn for itself. Without `folds` all runs are scored on the same sequences.
    """
    random = np.random.default_rng(0)
    drawn: dict[int | None, Floats] = {}
    scores = []
    for part, fold in zip(sums, folds or [None] * len(sums), strict=True):
        if fold not in drawn:
            counts = random.multinomial(len(part), np.full(len(part), 1 / len(part)), size=repetitions)
            drawn[fold] = counts.astype(np.float64)
        scores.append(correlations(np.tensordot(drawn[fold], part, axes=1)).mean(-1))
    return np.stack(scores, axis=1)


def sampling_covariance(scores: Floats, configuration: NDArray[np.int64]) -> Floats:
    """Covariance (K, K) between configurations from resampled scores (B, R) of their runs.

    A configuration's mean over n runs also varies by a share 1/n of what is each run's own: its seed and, with runs on
    several folds, how the fold's sequences suit the configuration. That is part of the spread between its runs, which
    the model of `search.study.random_effects` knows already, and is taken out.
    """
    members = [np.flatnonzero(configuration == i) for i in range(int(configuration.max()) + 1)]
    centred = scores - scores.mean(0)
    means = np.stack([centred[:, runs].mean(1) for runs in members], axis=1)  # (B, K)
    covariance = means.T @ means / (len(scores) - 1)
    own = [centred[:, runs] - means[:, [i]] for i, runs in enumerate(members)]
    freedom = sum(len(runs) - 1 for runs in members)
    within = sum(float(np.square(part).sum()) for part in own) / (len(scores) - 1) / freedom if freedom else 0.0
    return covariance - np.diag([within / len(runs) for runs in members])


def stored_sums(studies: Mapping[str, optuna.Study], runs: Sequence[Run], part: str = "select") -> dict[str, Floats]:
    """Sums (N, 6, 2) on the `select` or `report` sequences by name of the run, from the runs' checkpoints or the local
    cache.

    Runs of older versions, and those whose checkpoint is gone, have none.
    """
    found = {run.name: _sums_of(studies[run.study], run, part) for run in runs if run.checkpoint is not None}
    return {name: sums.astype(np.float64) for name, sums in found.items() if sums is not None}


def _sums_of(study: optuna.Study, run: Run, part: str) -> NDArray[np.float32] | None:
    from storage.artifacts import download
    from storage.store import artifacts_of

    assert run.checkpoint is not None
    path = cache_folder() / "sums" / f"{run.checkpoint}{'' if part == 'select' else f'.{part}'}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there yet, or cut off by a full disk
        cached: NDArray[np.float32] = np.load(path)
        return cached
    try:
        tensors = safetensors.numpy.load(download(artifacts_of(study), run.checkpoint))
    except (ArtifactError, SafetensorError):
        return None
    sums: NDArray[np.float32] | None = tensors.get(f"{SUMS}{part}")
    if sums is not None:
        with contextlib.suppress(OutputError), appearing(path) as partial:  # a checkpoint never changes
            np.save(partial, sums)
    return sums


def covariance_of(groups: Sequence[Sequence[Run]], sums: Mapping[str, Floats]) -> Floats | None:
    """`sampling_covariance` of configurations from their runs; None where one of them has no run with sums, or runs on
    one fold were scored on different sequences."""
    known = [(i, run.fold, sums[run.name]) for i, runs in enumerate(groups) for run in runs if run.name in sums]
    complete = {i for i, _, _ in known} == set(range(len(groups)))
    shapes = {(fold, part.shape) for _, fold, part in known}
    if not complete or len(shapes) != len({fold for fold, _ in shapes}):
        return None
    scores = resampled_scores([part for *_, part in known], folds=[fold for _, fold, _ in known])
    return sampling_covariance(scores, np.array([i for i, _, _ in known]))
