"""Runs every measurement of a profile over a data set, once each, and keeps the results together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lobmodels.data import Dataset, Sequences
from lobmodels.distributions import ks_by_column
from lobmodels.errors import DataError, Remedy
from lobmodels.profile.chunks import all_feature_names, column_groups
from lobmodels.profile.dead import DeadData, dead_of
from lobmodels.profile.importance import RunProfile, profile_run
from lobmodels.profile.moments import Moments, measure
from lobmodels.profile.ridge import RidgeProfile, profile_ridges
from lobmodels.profile.shift import Adversarial, adversarial_auc, ks_by_chance
from lobmodels.profile.targets import TargetProfile, profile_targets
from lobmodels.schema import Schema

if TYPE_CHECKING:
    from lobmodels.checkpoint import Checkpoint


@dataclass(frozen=True)
class FileFacts:
    """Size and identity of one file. It was converted, so it keeps the format and holds no NaN or inf."""

    path: Path
    sequences: int
    rows: int
    scored_rows: int
    megabytes: float
    fingerprint: str
    repeated: int  # sequences whose features occur earlier in it


@dataclass(frozen=True)
class ColumnProfile:
    """One raw column or derived feature. Correlations are of scored rows, (K,) per target."""

    name: str
    group: str
    train: tuple[float, float, float, float]  # mean, std, min, max over all rows
    valid: tuple[float, float, float, float]
    ks: float
    ks_chance: float  # KS distance that as many sequences of train itself show
    mean_shift: float  # in standard deviations of train
    plain_train: tuple[float, ...]
    plain_valid: tuple[float, ...]
    weighted_train: tuple[float, ...]
    weighted_valid: tuple[float, ...]
    is_raw: bool  # a column of the file, not a derived feature


@dataclass(frozen=True)
class Profile:
    """Everything a profile holds; `tables` and the page are made of it."""

    fingerprint: str
    train: FileFacts
    valid: FileFacts
    shared: int  # sequences of valid that are in train too
    columns: list[ColumnProfile]
    target_names: tuple[str, ...]
    target_scale: dict[str, tuple[float, float, float, float]]  # "train t0" -> mean, std, min, max
    train_targets: TargetProfile
    valid_targets: TargetProfile
    adversarial: Adversarial
    ridges: RidgeProfile
    run: RunProfile | None
    dead: DeadData  # of train


def profile_dataset(
    dataset: Dataset,
    checkpoint: Checkpoint | None = None,
    device: str = "cpu",
    progress: Callable[[str], None] = lambda _: None,
) -> Profile:
    """Measure `dataset` in bounded memory; with `checkpoint`, also how much that run depends on each group of inputs.

    `progress` is called with the name of each part before it begins. Raises `DataError` for data whose sequences differ
    in length, or which is scored by another metric than the weighted Pearson correlation.
    """
    _require_supported(dataset)
    train, valid = dataset.train, dataset.valid
    progress("scale and correlations of train")
    moments = measure(train)
    progress("scale and correlations of valid")
    moments_valid = measure(valid)
    progress("shift between train and valid")
    columns = _columns(moments, moments_valid, len(valid), train.schema)
    adversarial = adversarial_auc(
        moments.sample, moments.sample_sequence, moments_valid.sample, moments_valid.sample_sequence
    )
    progress("targets")
    targets = profile_targets(train), profile_targets(valid)
    progress("ridge models")
    ridges = profile_ridges(train, valid, moments.gram)
    progress("columns that teach nothing")
    dead = dead_of(train, {c.name: (c.train[2], c.train[3]) for c in columns})
    progress("repeated sequences")
    facts, shared = _facts(train, valid)
    if checkpoint is not None:
        progress(f"importance of the inputs of {checkpoint.name}")
    return Profile(
        fingerprint=dataset.fingerprint,
        train=facts[0],
        valid=facts[1],
        shared=shared,
        columns=columns,
        target_names=train.schema.targets,
        target_scale=_target_scale(moments, moments_valid, train.schema.targets),
        train_targets=targets[0],
        valid_targets=targets[1],
        adversarial=adversarial,
        ridges=ridges,
        run=None if checkpoint is None else profile_run(checkpoint, valid, device),
        dead=dead,
    )


def _require_supported(dataset: Dataset) -> None:
    schema = dataset.schema
    if schema.variable_length or schema.metric != "weighted_pearson":
        reason = "sequences of different lengths" if schema.variable_length else f"the metric {schema.metric}"
        raise DataError(
            f"{dataset.train.source.parent}: the profile knows the metric weighted_pearson and sequences of one "
            f"length, not {reason}; the check reads this data too",
            remedy=Remedy.CHECK_DATA,
            subject=str(dataset.train.source.parent),
        )


def _columns(train: Moments, valid: Moments, valid_sequences: int, schema: Schema) -> list[ColumnProfile]:
    group_of = {j: group for group, members in column_groups(schema).items() for j in members}
    ks = ks_by_column(train.sample, valid.sample)
    chance = ks_by_chance(train.sample, train.sample_sequence, valid_sequences)
    found = []
    for j, name in enumerate(all_feature_names(schema)):
        std = train.scale[1, j]
        found.append(
            ColumnProfile(
                name=name,
                group=group_of[j],
                train=_four(train.scale[:, j]),
                valid=_four(valid.scale[:, j]),
                ks=float(ks[j]),
                ks_chance=float(chance[j]),
                mean_shift=float((valid.scale[0, j] - train.scale[0, j]) / (std if std > 0 else 1.0)),
                plain_train=_floats(train.plain[j]),
                plain_valid=_floats(valid.plain[j]),
                weighted_train=_floats(train.weighted[j]),
                weighted_valid=_floats(valid.weighted[j]),
                is_raw=j < len(schema.features),
            )
        )
    return found


def _target_scale(
    train: Moments, valid: Moments, targets: tuple[str, ...]
) -> dict[str, tuple[float, float, float, float]]:
    features = train.plain.shape[0]
    return {
        f"{part} {name}": _four(moments.scale[:, features + k])
        for part, moments in (("train", train), ("valid", valid))
        for k, name in enumerate(targets)
    }


def _facts(train: Sequences, valid: Sequences) -> tuple[list[FileFacts], int]:
    """Facts of both files, and how many sequences of valid are in train."""
    facts, digests = [], []
    for part in (train, valid):
        seen: set[bytes] = set()
        for i in range(len(part)):
            seen.add(hashlib.blake2b(part.features[i].data, digest_size=16).digest())
        digests.append(seen)
        facts.append(
            FileFacts(
                path=part.source,
                sequences=len(part),
                rows=len(part) * part.schema.sequence_length,
                scored_rows=len(part) * part.schema.scored_steps,
                megabytes=part.source.stat().st_size / 1e6,
                fingerprint=part.fingerprint,
                repeated=len(part) - len(seen),
            )
        )
    return facts, len(digests[0] & digests[1])


def _four(values: np.ndarray) -> tuple[float, float, float, float]:
    return float(values[0]), float(values[1]), float(values[2]), float(values[3])


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
