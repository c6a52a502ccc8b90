"""Scores an ensemble on the validation sequences, and tests whether its weights beat uniform ones there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lobmodels.bootstrap import FEW, compare, sequence_statistics
from lobmodels.checkpoint import Checkpoint
from lobmodels.data import Dataset, Sequences, load_dataset, load_sequences, member_paths, validation_split
from lobmodels.data.partition import FIXED
from lobmodels.ensemble import blend, scale
from lobmodels.ensemble.bundle import Bundle
from lobmodels.ensemble.out_of_fold import out_of_fold
from lobmodels.ensemble.predictions import predict_all, scored_targets
from lobmodels.errors import BundleError
from lobmodels.metric import score
from lobmodels.schema import Schema

CLEAR = 0.9  # an advantage counts if it holds in at least this share of resamples
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Validation:
    """Runs with their predictions on validation, and which sequences selection has seen.

    With folds each run has selected on other sequences: `select` is then empty, and weights are fitted to predictions
    of sequences that a run held out, of either file (`held_out`).
    """

    members: tuple[Checkpoint, ...]  # each with the spread of its predictions
    predictions: list[NDArray[np.float32]]  # as trained, one (N, S, K) each
    targets: NDArray[np.float32]
    select: Index
    report: Index
    fingerprint: str
    schema: Schema
    dataset: Callable[[], Dataset]  # both files, for what was held out of them

    @property
    def folds(self) -> bool:
        """Whether some run was trained on validation sequences."""
        return any(member.rule.kind != FIXED for member in self.members)

    @property
    def parts(self) -> dict[str, Index]:
        """The sequences of `all`, and of `select` and `report` where there are any."""
        split = {"select": self.select, "report": self.report}
        return {"all": np.arange(len(self.targets)), **{name: index for name, index in split.items() if len(index)}}

    def fitted(self, how: str, members: Sequence[Checkpoint]) -> NDArray[np.float64]:
        """Weights (M, targets), one of `blend.FITTED`, of some of the members on one scale, from sequences that these
        were not trained on."""
        if self.folds:
            return out_of_fold(members, self.dataset()).fitted(how)
        stds = scale.spreads(members)
        factors = scale.factors(stds, blend.uniform(len(members), len(self.schema.targets)))
        places = self._places(members)
        chosen = [self.predictions[k][self.select] * f.astype(np.float32) for k, f in zip(places, factors, strict=True)]
        return blend.fit(how, chosen, self.targets[self.select])

    def blended(self, members: Sequence[Checkpoint], weights: NDArray[np.float64], index: Index) -> NDArray[np.float64]:
        """Predictions (n, S, K) of the ensemble that `weights` make of some of the members, on one scale."""
        factors = scale.factors(scale.spreads(members), weights)
        chosen = [self.predictions[k][index] for k in self._places(members)]
        return blend.combine(chosen, weights * factors)

    def _places(self, members: Sequence[Checkpoint]) -> list[int]:
        names = [member.name for member in self.members]
        return [names.index(member.name) for member in members]


def validate(
    members: Sequence[Checkpoint], data: Path, progress: Callable[[int, int], None] | None = None
) -> Validation:
    """The members' predictions on the validation sequences in folder `data`, from the cache where they are known.

    Raises `BundleError` where a member was trained with other validation sequences, or another split of them.
    """
    train, path = member_paths(data)
    valid = load_sequences(path)
    fraction = members[0].report_fraction
    for member in members:
        require_same_data(member, valid)
        _require_same_fraction(member, fraction)
    select, report = validation_split(len(valid), fraction)
    if any(member.rule.kind != FIXED for member in members):
        select = select[:0]
    members = scale.with_spreads(members, lambda: load_sequences(train))
    predictions = predict_all(members, valid, progress=progress)
    targets = scored_targets(valid)
    return Validation(
        tuple(members),
        predictions,
        targets,
        select,
        report,
        valid.fingerprint,
        valid.schema,
        partial(load_dataset, data),
    )


def require_same_data(member: Checkpoint, valid: Sequences) -> None:
    """Raise `BundleError` where a run was validated on other sequences."""
    if member.valid_fingerprint != valid.fingerprint:
        raise BundleError(
            f"{member.name} was validated on other data ({member.valid_fingerprint[:12]}) than {valid.source} "
            f"({valid.fingerprint[:12]}); name the study's own data with `data`",
            arguments=["data"],
        )


def _require_same_fraction(member: Checkpoint, fraction: float) -> None:
    if member.report_fraction != fraction:
        raise BundleError(
            f"{member.name} set {member.report_fraction:.0%} of the validation sequences aside, others {fraction:.0%}; "
            "choose members of one study"
        )


@dataclass(frozen=True)
class Judgement:
    """Scores of an ensemble by part of the validation sequences: per target, then their mean; and remarks on them."""

    expected: dict[str, list[float]]
    scores: dict[str, float]  # the mean on `select` and `report`, and of uniform weights under `uniform_...`
    remarks: tuple[str, ...]


def judge(chosen: Sequence[Checkpoint], bundle: Bundle, how: str, known: Validation | None) -> Judgement:
    """Score the `bundle` that was made of some of the `chosen` runs, and compare it with the uniform average of all."""
    trained = {member.name: member for member in chosen}
    members = [trained[member.name] for member in bundle.members]
    uniform = blend.uniform(len(chosen), len(bundle.schema.targets))
    plain = len(members) == len(chosen) and bool(np.allclose(bundle.weights, uniform))
    if known is None:
        unknown = f"{how} weights were not compared with uniform ones: name the data with --data"
        return Judgement({}, {}, () if plain else (unknown,))
    expected, scores = {}, {}
    for name, index in known.parts.items():
        targets = known.targets[index]
        found = score(known.blended(members, bundle.weights, index), targets, known.schema)
        expected[name] = [*found.tolist(), float(found.mean())]
        if name != "all":
            scores[name] = expected[name][-1]
            even = score(known.blended(chosen, uniform, index), targets, known.schema)
            scores[f"uniform_{name}"] = float(even.mean())
    if plain:
        return Judgement(expected, scores, ())
    statistics = {
        name: sequence_statistics(known.blended(of, weights, known.report), known.targets[known.report], known.schema)
        for name, of, weights in (("uniform", chosen, uniform), (how, members, bundle.weights))
    }
    return Judgement(expected, scores, (_verdict(how, statistics, scores, known.schema),))


def _verdict(how: str, statistics: dict[str, NDArray[np.float64]], scores: dict[str, float], schema: Schema) -> str:
    """Whether these weights beat uniform ones on sequences that neither runs nor weights have seen, in words.

    `statistics` are the sums of both on the report sequences (`lobmodels.bootstrap.sequence_statistics`).
    """
    if "report" not in scores and "select" not in scores:
        return f"{how} weights were not compared with uniform ones: the study set no report sequences aside"
    if "report" not in scores:
        return (
            f"{how} weights: {scores['select']:.4f} against {scores['uniform_select']:.4f} of uniform ones, both on "
            "sequences that selection has seen: the study set none aside, so it is not known which is better"
        )
    comparison = compare(statistics, "uniform", schema=schema)
    gain, chance = scores["report"] - scores["uniform_report"], comparison.rows[1].p_better or 0.0
    if gain <= 0:
        says = "they do not beat uniform ones: ship --weights uniform"
    elif comparison.sequences < FEW:
        says = f"{comparison.sequences} sequences are too few to tell: uniform is the safe choice"
    elif chance < CLEAR:
        says = "ahead, but it may be chance: uniform is the safe choice"
    else:
        says = "they beat uniform ones there"
    return (
        f"{how} weights on the {comparison.sequences} report sequences: {scores['report']:.4f} against "
        f"{scores['uniform_report']:.4f} of uniform ones ({gain:+.4f}, better in {chance:.0%} of resamples); {says}"
    )
