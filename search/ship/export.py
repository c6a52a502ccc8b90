"""Exports a study: chooses members and weights, keeps to the limits, writes the zip, and comments on the weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.checkpoint import Checkpoint
from lobmodels.data import load_sequences, member_paths
from lobmodels.ensemble import blend
from lobmodels.ensemble.bundle import MEGABYTE, SIZE_LIMIT_MB, Bundle, Expected, write_submission
from lobmodels.errors import BundleError
from lobmodels.files import write_atomically
from lobmodels.scoring.limits import members_within_size, members_within_time
from search.ship.gains import Predictions
from search.ship.members import Choice, choose, load_members, open_pool, weights_by_target
from search.ship.remarks import remarks_on
from search.ship.validation import Validation, judge, validate
from search.study.open import schema_of
from search.study.plugins import require_code
from search.study.runs import Run

if TYPE_CHECKING:
    import optuna

CANDIDATES = {"conservative": "uniform", "optimised": "optimised", "shrunk": "shrunk"}


@dataclass(frozen=True)
class Request:
    """The options of `lobtuna export`; the first ones are those of `Choice`."""

    best: int | None = None
    top: int | None = None
    members: tuple[str, ...] = ()
    per_config: int | None = None
    configurations: int | None = None
    seeds: int | None = None
    by_target: tuple[int, ...] = ()
    refit: bool = False
    with_report: bool = False
    weights: str = "uniform"
    max_mb: float | None = None
    max_seconds: float | None = None
    candidates: bool = False
    onnx: bool = False
    force: bool = False
    plugins: tuple[Path, ...] = ()  # files of plugins that the user names
    trust_plugins: bool = False  # run the source of plugins that came with the study

    @property
    def choice(self) -> Choice:
        """How members are chosen."""
        return Choice(
            self.top,
            self.per_config,
            self.members,
            self.best,
            self.configurations,
            self.seeds,
            self.by_target,
            self.refit,
            self.with_report,
        )

    @property
    def kinds(self) -> dict[str, str]:
        """How each submission that is written weighs its members, by what its name ends in."""
        return CANDIDATES if self.candidates else {"": self.weights}


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
                {
                    "name": member.name,
                    "weight": weight.tolist(),
                    "select": member.score,
                    "validated": member.rule.validated,
                }
                for member, weight in zip(self.bundle.members, self.bundle.weights, strict=True)
            ],
            "scores": self.scores,
            "remarks": list(self.remarks),
        }


def ship(
    url: str,
    name: str,
    request: Request,
    output: Path,
    data: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Shipment]:
    """Write the submission, or the candidates, of study `name`.

    Raises `SearchError` where runs are missing, `BundleError` where weights, limits or data do not fit or a file is
    there already, `DataError` for the data's own faults.
    """
    _check(request, data)
    outputs = {kind: _named(output, kind) for kind in request.kinds}
    _refuse_to_overwrite(list(outputs.values()), request.force)
    study = open_pool(url, name)
    require_code(study, request.plugins, request.trust_plugins)
    alike = None if data is None else Predictions(load_sequences(member_paths(data)[1])).correlations
    runs = choose(study, _choice(study, request), alike)
    members = load_members(study, runs)
    known = validate(members, data, progress) if data is not None else None
    pool = _Pool(runs, list(known.members) if known is not None else members, known)
    shipments = [_ship_one(pool, how, request, outputs[kind]) for kind, how in request.kinds.items()]
    if request.candidates:
        documents = {kind: s.document() for kind, s in zip(request.kinds, shipments, strict=True)}
        text = json.dumps({"study": name, "candidates": documents}, indent=2, allow_nan=False) + "\n"
        write_atomically(_named(output, "candidates").with_suffix(".json"), text)
    return shipments


def _choice(study: optuna.Study, request: Request) -> Choice:
    """How members are chosen: a file of weights names them, unless they are chosen otherwise."""
    path, _, variant = request.weights.partition("#")
    if request.choice.ways() or not path.endswith(".json"):
        return request.choice
    return Choice(members=blend.named_in(Path(path), schema_of(study).targets, variant or None))


def _check(request: Request, data: Path | None) -> None:
    """Raise `BundleError` for options that contradict each other."""
    kinds = request.kinds
    if request.with_report and not request.refit:
        raise BundleError("`with_report` says which refits to take: add `refit`", arguments=["with_report", "refit"])
    if request.refit and (fitted := [how for how in kinds.values() if how in blend.FITTED]):
        message = f"{fitted[0]} weights are fitted on sequences held out, and a refit holds none out: use uniform ones"
        raise BundleError(message, arguments=["weights", "refit"])
    if data is None and (needy := [how for how in kinds.values() if how in blend.FITTED]):
        message = f"{' and '.join(needy)} weights are fitted on validation sequences; name them with `data`"
        raise BundleError(message, arguments=["data"])
    limited = request.max_mb is not None or request.max_seconds is not None
    given = [how for how in kinds.values() if how != "uniform" and how not in blend.FITTED]
    if given and limited:
        raise BundleError(
            f"`max_mb` and `max_seconds` may leave members out, and weights {given[0]!r} are for all of them: use "
            "uniform or fitted weights, or choose fewer members yourself",
            arguments=["max_mb", "max_seconds"],
        )
    if request.candidates and request.weights != "uniform":
        message = "`candidates` chooses the weights itself; leave out `weights`"
        raise BundleError(message, arguments=["candidates", "weights"])
    if request.by_target and (limited or request.candidates or request.weights != "uniform"):
        raise BundleError(
            "members chosen for each target are averaged uniformly: leave out `weights`, `candidates`, `max_mb` and "
            "`max_seconds`",
            arguments=["weights", "candidates", "max_mb", "max_seconds"],
        )


def _refuse_to_overwrite(paths: Sequence[Path], force: bool) -> None:
    there = [path for path in paths if path.is_file()]
    if there and not force:
        raise BundleError(
            f"{there[0]} exists and would be overwritten: name another `output`, or replace it with `force`",
            arguments=["output", "force"],
        )


@dataclass(frozen=True)
class _Pool:
    """What was chosen: runs, their checkpoints in the same order, and their predictions where data were named."""

    runs: list[Run]
    members: list[Checkpoint]
    known: Validation | None


def _ship_one(pool: _Pool, how: str, request: Request, output: Path) -> Shipment:
    """Weigh, fit into the limits, leave out what weighs nothing, write."""

    def make(count: int) -> Bundle:
        members = pool.members[:count]
        return Bundle.of(*_weighing(members, _weights(pool, members, how, request)))

    count, remarks = len(pool.members), []
    if request.max_mb is not None:
        count = members_within_size(make, count, request.max_mb)
    if request.max_seconds is not None:
        count = members_within_time(make, count, request.max_seconds)
    if count < len(pool.members):
        left_out = ", ".join(member.name for member in pool.members[count:])
        remarks.append(f"{count} of {len(pool.members)} members fit the limits; left out: {left_out}")
    chosen, bundle = pool.members[:count], make(count)
    shipped = {member.name for member in bundle.members}
    idle = [member.name for member in chosen if member.name not in shipped]
    if idle:
        remarks.append(f"not shipped, because they weigh nothing: {', '.join(idle)}")
    how = "each target's" if request.by_target else how
    judgement = judge(chosen, bundle, how, pool.known)
    remarks += (*judgement.remarks, *remarks_on(chosen, bundle))
    if pool.known is not None:
        bundle = replace(bundle, expected=Expected(pool.known.fingerprint, judgement.expected))
    size = write_submission(output, bundle, request.max_mb or SIZE_LIMIT_MB)
    graph = None
    if request.onnx:
        from lobmodels.ensemble.graph import write_graph

        graph = write_graph(output.with_suffix(".onnx"), bundle)
    return Shipment(output, bundle, how, size, judgement.scores, tuple(remarks), graph)


def _weighing(
    members: Sequence[Checkpoint], weights: NDArray[np.float64]
) -> tuple[list[Checkpoint], NDArray[np.float64]]:
    """The members that weigh something for a target, and their weights."""
    used = np.flatnonzero(weights.sum(1) > 0).tolist()
    return [members[k] for k in used], weights[used]


def _weights(pool: _Pool, members: Sequence[Checkpoint], how: str, request: Request) -> NDArray[np.float64]:
    """Weights (K, targets) as requested; fitted ones are fitted on the selection sequences.

    Raises `BundleError` for weights that are no average of these members.
    """
    if request.by_target:
        return weights_by_target(pool.runs, request.by_target, members[0].schema.targets)
    names, targets = [member.name for member in members], members[0].schema.targets
    if how == "uniform":
        return blend.uniform(len(members), len(targets))
    if how in blend.FITTED:
        assert pool.known is not None, "the caller asks for data first"
        blend.require_fittable(f"weights={how}", pool.known.schema)
        return pool.known.fitted(how, members)
    path, _, variant = how.partition("#")
    if path.endswith(".json"):
        return blend.from_json(Path(path), names, targets, variant or None)
    if "=" in how:
        return blend.by_family([member.config.architecture for member in members], _shares(how), targets)
    return blend.listed(how, names, targets)


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
