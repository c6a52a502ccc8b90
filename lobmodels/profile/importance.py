"""How much a score drops when some columns are permuted, with the standard error over sequences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lobmodels.bootstrap import correlations, sequence_statistics
from lobmodels.checkpoint import Checkpoint
from lobmodels.data import Sequences, validation_split
from lobmodels.errors import DataError
from lobmodels.inputs import as_tensor
from lobmodels.profile.chunks import column_groups

Array = NDArray[np.float64]
BOOTSTRAPS = 200
RUN_SEQUENCES = 192  # a trained run is evaluated on at most this many; fewer are permuted several times
MOST_REPEATS = 8
BATCH = 64


@dataclass(frozen=True)
class Scores:
    """Weighted Pearson per target and their mean; errors are one standard deviation over resampled sequences."""

    values: Array  # (K,)
    mean: float
    errors: Array  # (K,)
    mean_error: float


@dataclass(frozen=True)
class Importance:
    """What permuting a group of columns costs: score before less score after."""

    group: str
    columns: int
    drop: Scores


@dataclass(frozen=True)
class RunProfile:
    """How much a trained run depends on each group of its inputs."""

    name: str
    which: str  # the sequences it was evaluated on, in words
    sequences: int
    scores: Scores
    importance: list[Importance]


def sequence_sums(prediction: NDArray[np.floating], target: NDArray[np.floating]) -> Array:
    """The six sums of the weighted correlation per sequence, (n, 6, K), from scored rows (n, S, K)."""
    parts = [
        sequence_statistics(prediction[i : i + BATCH], target[i : i + BATCH]) for i in range(0, len(target), BATCH)
    ]
    return np.concatenate(parts)


def scores_of(sums: Array, seed: int = 0) -> Scores:
    """Score of all sequences together, errors by resampling them."""
    value = correlations(sums.sum(0))
    draws = _resampled(sums, seed)
    return Scores(value, float(value.mean()), draws.std(0), float(draws.mean(1).std()))


def importance(group: str, columns: int, base: Array, permuted: list[Array], seed: int = 0) -> Importance:
    """Importance from the sums before and after, the mean over several permutations.

    Before and after are resampled together, so that what both have in common cancels.
    """
    value = correlations(base.sum(0)) - np.mean([correlations(sums.sum(0)) for sums in permuted], axis=0)
    draws = _resampled(base, seed) - np.mean([_resampled(sums, seed) for sums in permuted], axis=0)
    drop = Scores(value, float(value.mean()), draws.std(0), float(draws.mean(1).std()))
    return Importance(group, columns, drop)


def _resampled(sums: Array, seed: int) -> Array:
    """(BOOTSTRAPS, K) scores of sequences drawn with replacement."""
    counts = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), BOOTSTRAPS)
    return correlations(np.einsum("bn,nsk->bsk", counts.astype(np.float64), sums))


def profile_run(checkpoint: Checkpoint, valid: Sequences, device: str = "cpu", seed: int = 0) -> RunProfile:
    """Permutation importance of the input groups of a trained run, on sequences that no decision of it has seen.

    A group's columns are taken from another sequence as a whole, so that each column remains a realistic series. Raises
    `DataError` where the data has fewer than two such sequences.
    """
    indices, which = _sequences_for(checkpoint, valid)
    if len(indices) < 2:
        raise DataError(f"{valid.source}: {len(indices)} sequence to evaluate the run on; at least two are needed")
    if len(indices) > RUN_SEQUENCES:
        which += f", {RUN_SEQUENCES} of them evenly spaced"
        indices = indices[np.linspace(0, len(indices) - 1, RUN_SEQUENCES).astype(np.int64)]
    network = checkpoint.module().to(device)
    raw = as_tensor(np.array(valid.features[indices]))
    x = torch.cat([checkpoint.pipeline(raw[i : i + BATCH]) for i in range(0, len(raw), BATCH)])  # (n, T, F)
    warmup = valid.schema.warmup_steps
    target = valid.targets[indices, warmup:]
    base = sequence_sums(_forecast(network, x, device)[:, warmup:], target)
    order = np.random.default_rng(seed).permutation(len(indices))
    repeats = min(MOST_REPEATS, len(indices) - 1, max(1, RUN_SEQUENCES // len(indices)))
    found = []
    for group, columns in column_groups(valid.schema, checkpoint.pipeline.groups).items():
        after = []
        for step in range(1, repeats + 1):
            other = np.empty_like(order)
            other[order] = np.roll(order, step)  # no sequence keeps its own columns
            moved = x.clone()
            moved[:, :, columns] = x[other][:, :, columns]
            after.append(sequence_sums(_forecast(network, moved, device)[:, warmup:], target))
        found.append(importance(group, len(columns), base, after))
    found.sort(key=lambda item: -item.drop.mean)
    return RunProfile(checkpoint.name, which, len(indices), scores_of(base), found)


def _sequences_for(checkpoint: Checkpoint, valid: Sequences) -> tuple[NDArray[np.int64], str]:
    if checkpoint.valid_fingerprint != valid.fingerprint:
        return np.arange(len(valid)), "all validation sequences; the run was trained with other validation data"
    select, report = validation_split(len(valid), checkpoint.report_fraction)
    if checkpoint.split is not None and not len(report):
        return np.arange(
            len(valid)
        ), "all validation sequences, most of which the run was trained on: the score is high"
    if len(report):
        return report, "reporting sequences, which neither training nor selection saw"
    return select, "selection sequences, on which its best epoch was chosen, so the score is too high"


def _forecast(network: torch.nn.Module, x: torch.Tensor, device: str) -> NDArray[np.float32]:
    """(n, T, K) forecasts for inputs (n, T, F)."""
    parts = []
    with torch.inference_mode():
        for i in range(0, len(x), BATCH):
            inputs = x[i : i + BATCH].to(device).transpose(0, 1).contiguous()  # (T, B, F)
            parts.append(network(inputs).transpose(0, 1).float().cpu().numpy())
    return np.concatenate(parts)
