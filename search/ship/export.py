"""Exports a study: chooses members and weights, keeps to the limits, writes the zip, and comments on the weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.bootstrap import FEW, compare, sequence_statistics
from lobmodels.checkpoint import Checkpoint
from lobmodels.data import Sequences, load_sequences, member_paths, validation_split
from lobmodels.ensemble import blend
from lobmodels.ensemble.bundle import MEGABYTE, SIZE_LIMIT_MB, Bundle, write_submission
from lobmodels.ensemble.predictions import predict_all, scored_targets
from lobmodels.errors import BundleError
from lobmodels.files import write_atomically
from lobmodels.metric import weighted_pearson
from lobmodels.schema import Schema
from lobmodels.scoring.limits import members_within_size, members_within_time
from search.ship.members import Choice, choose, load_members, open_pool

CLEAR = 0.9  # an advantage counts if it holds in at least this share of resamples
CANDIDATES = {"conservative": "uniform", "optimised": "optimised", "shrunk": "shrunk"}


@dataclass(frozen=True)
class Request:
    """The options of `lobtuna export`."""

    top: int | None = None
    members: tuple[str, ...] = ()
    per_config: int | None = None
    weights: str = "uniform"
    max_mb: float | None = None
    max_seconds: float | None = None
    candidates: bool = False
    onnx: bool = False


@dataclass(frozen=True)
class Shipment:
    """One submission that was written."""

    path: Path
    bundle: Bundle
    weights: str
    bytes: int
    scores: dict[str, float] = field(default_factory=dict)  # mean by part of the validation sequences
    remarks: tuple[str, ...] = ()
    onnx: Path | None = None

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "path": str(self.path),
            "onnx": None if self.onnx is None else str(self.onnx),
            "megabytes": self.bytes / MEGABYTE,
            "weights": self.weights,
            "members": [
                {"name": member.name, "weight": weight.tolist(), "select": member.score}
                for member, weight in zip(self.bundle.members, self.bundle.weights, strict=True)
            ],
            "scores": self.scores,
            "remarks": list(self.remarks),
        }


@dataclass(frozen=True)
class Validation:
    """The members' predictions on validation, and which sequences selection has seen."""

    predictions: list[NDArray[np.float32]]
    targets: NDArray[np.float32]
    select: NDArray[np.int64]
    report: NDArray[np.int64]
    schema: Schema

    def part(self, index: NDArray[np.int64], count: int) -> tuple[list[NDArray[Any]], NDArray[np.float32]]:
        """Predictions of the first `count` members and targets on some of the sequences."""
        return [member[index] for member in self.predictions[:count]], self.targets[index]


def ship(
    url: str,
    name: str,
    request: Request,
    output: Path,
    data: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Shipment]:
    """Write the submission, or the candidates, of study `name`.

    Raises `SearchError` where runs are missing, `BundleError` where weights, limits or data do not fit, `DataError`
    for the data's own faults.
    """
    kinds = CANDIDATES if request.candidates else {"": request.weights}
    if data is None and (needy := [how for how in kinds.values() if how in blend.FITTED]):
        message = f"{' and '.join(needy)} weights are fitted on validation sequences; name them with `data`"
        raise BundleError(message, arguments=["data"])
    given = [how for how in kinds.values() if how != "uniform" and how not in blend.FITTED]
    if given and (request.max_mb is not None or request.max_seconds is not None):
        raise BundleError(
            f"`max_mb` and `max_seconds` may leave members out, and weights {given[0]!r} are for all of them: use "
            "uniform or fitted weights, or choose fewer members yourself",
            arguments=["max_mb", "max_seconds"],
        )
    if request.candidates and request.weights != "uniform":
        message = "`candidates` chooses the weights itself; leave out `weights`"
        raise BundleError(message, arguments=["candidates", "weights"])
    study = open_pool(url, name)
    runs = choose(study, Choice(request.top, request.per_config, request.members))
    members = load_members(study, runs)
    known = validate(members, data, progress) if data is not None else None
    shipments = [_ship_one(members, how, request, _named(output, kind), known) for kind, how in kinds.items()]
    if request.candidates:
        document = {"study": name, "candidates": {kind: s.document() for kind, s in zip(kinds, shipments, strict=True)}}
        text = json.dumps(document, indent=2, allow_nan=False) + "\n"
        write_atomically(_named(output, "candidates").with_suffix(".json"), text)
    return shipments


def validate(
    members: Sequence[Checkpoint], data: Path, progress: Callable[[int, int], None] | None = None
) -> Validation:
    """The members' predictions on the validation sequences in folder `data`, from the cache where they are known.

    Raises `BundleError` where a member was trained with other validation sequences, or another split of them.
    """
    valid = load_sequences(member_paths(data)[1])
    fraction = members[0].report_fraction
    for member in members:
        _same_data(member, valid, fraction)
    select, report = validation_split(len(valid), fraction)
    predictions = predict_all(members, valid, progress=progress)
    return Validation(predictions, scored_targets(valid), select, report, valid.schema)


def _same_data(member: Checkpoint, valid: Sequences, fraction: float) -> None:
    if member.valid_fingerprint != valid.fingerprint:
        raise BundleError(
            f"{member.name} was validated on other data ({member.valid_fingerprint[:12]}) than {valid.source} "
            f"({valid.fingerprint[:12]}); name the study's own data with `data`",
            arguments=["data"],
        )
    if member.report_fraction != fraction:
        raise BundleError(
            f"{member.name} set {member.report_fraction:.0%} of the validation sequences aside, others {fraction:.0%}; "
            "choose members of one study"
        )


def _ship_one(
    members: list[Checkpoint], how: str, request: Request, output: Path, known: Validation | None
) -> Shipment:
    """Weigh, fit into the limits, write."""

    def make(count: int) -> Bundle:
        return Bundle.of(members[:count], weigh(members[:count], how, known))

    count, remarks = len(members), []
    if request.max_mb is not None:
        count = members_within_size(make, count, request.max_mb)
    if request.max_seconds is not None:
        count = members_within_time(make, count, request.max_seconds)
    if count < len(members):
        left_out = ", ".join(member.name for member in members[count:])
        remarks.append(f"{count} of {len(members)} members fit the limits; left out: {left_out}")
    bundle = make(count)
    size = write_submission(output, bundle, request.max_mb or SIZE_LIMIT_MB)
    scores, more = judge(bundle, how, known)
    graph = None
    if request.onnx:
        from lobmodels.ensemble.graph import write_graph

        graph = write_graph(output.with_suffix(".onnx"), bundle)
    return Shipment(output, bundle, how, size, scores, (*remarks, *more), graph)


def weigh(members: Sequence[Checkpoint], how: str, known: Validation | None) -> NDArray[np.float64]:
    """Weights (K, 2) as the request's `weights` says it; fitted ones are fitted on the selection sequences.

    Raises `BundleError` for weights that are no average of these members.
    """
    names = [member.name for member in members]
    if how == "uniform":
        return blend.uniform(len(members))
    if how in blend.FITTED:
        assert known is not None, "the caller asks for data first"
        return blend.fit(how, *known.part(known.select, len(members)))
    path, _, variant = how.partition("#")
    if path.endswith(".json"):
        return blend.from_json(Path(path), names, variant or None)
    if "=" in how:
        return blend.by_family([member.config.architecture for member in members], _shares(how))
    return blend.listed(how, names)


def judge(bundle: Bundle, how: str, known: Validation | None) -> tuple[dict[str, float], list[str]]:
    """Mean scores of the bundle and of uniform weights on selection and report sequences, and remarks on them."""
    uniform = blend.uniform(len(bundle.members))
    plain = bool(np.allclose(bundle.weights, uniform))
    if known is None:
        return {}, [] if plain else [f"{how} weights were not compared with uniform ones: name the data with --data"]
    scores = {}
    for name, index in (("select", known.select), ("report", known.report)):
        if len(index):
            predictions, targets = known.part(index, len(bundle.members))
            for prefix, weights in (("", bundle.weights), ("uniform_", uniform)):
                scores[f"{prefix}{name}"] = float(weighted_pearson(blend.combine(predictions, weights), targets).mean())
    return scores, [] if plain else [_verdict(bundle, how, known, scores)]


def _verdict(bundle: Bundle, how: str, known: Validation, scores: dict[str, float]) -> str:
    """Whether these weights beat uniform ones on sequences that neither runs nor weights have seen, in words."""
    if "report" not in scores:
        return (
            f"{how} weights: {scores['select']:.4f} against {scores['uniform_select']:.4f} of uniform ones, both on "
            "sequences that selection has seen: the study set none aside, so it is not known which is better"
        )
    predictions, targets = known.part(known.report, len(bundle.members))
    uniform = blend.uniform(len(bundle.members))
    statistics = {
        name: sequence_statistics(blend.combine(predictions, weights), targets)
        for name, weights in (("uniform", uniform), (how, bundle.weights))
    }
    row = compare(statistics, "uniform").rows[1]
    gain, chance = scores["report"] - scores["uniform_report"], row.p_better or 0.0
    if gain <= 0:
        says = "they do not beat uniform ones: ship --weights uniform"
    elif len(known.report) < FEW:
        says = f"{len(known.report)} sequences are too few to tell: uniform is the safe choice"
    elif chance < CLEAR:
        says = "ahead, but it may be chance: uniform is the safe choice"
    else:
        says = "they beat uniform ones there"
    return (
        f"{how} weights on the {len(known.report)} report sequences: {scores['report']:.4f} against "
        f"{scores['uniform_report']:.4f} of uniform ones ({gain:+.4f}, better in {chance:.0%} of resamples); {says}"
    )


def _shares(how: str) -> dict[str, float]:
    shares = {}
    for part in how.split(","):
        family, _, value = part.partition("=")
        try:
            shares[family.strip()] = float(value)
        except ValueError:
            raise BundleError(
                f"weights {how!r}: {part!r} is not FAMILY=NUMBER, as in gru=0.7,gru_attention=0.3"
            ) from None
    return shares


def _named(output: Path, kind: str) -> Path:
    return output.with_name(f"{output.stem}-{kind}{output.suffix}") if kind else output
