"""Members and weights as a submission: a zip that holds all it needs, equal bytes for equal content."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import ArrayLike, NDArray

from lobmodels import features
from lobmodels.checkpoint import Checkpoint
from lobmodels.config import NetworkConfig, RunConfig
from lobmodels.ensemble import runtime, scale
from lobmodels.ensemble.digests import array_digests, sealed
from lobmodels.ensemble.onnx_export import is_fused, member_graph, require_features, require_network
from lobmodels.ensemble.pipelines import Pipelines, groups_of, slots
from lobmodels.ensemble.placed import RUN, Placed, by_run, joined, placed, weights_of
from lobmodels.ensemble.solution import SOLUTION_SOURCE
from lobmodels.ensemble.weights import valid_weights
from lobmodels.errors import BundleError, ConfigError, Remedy
from lobmodels.files import write_atomically, zip_bytes
from lobmodels.inputs import InputPipeline, Normalizer
from lobmodels.schema import Schema

MEGABYTE = 1_000_000
SIZE_LIMIT_MB = 20.0  # of the challenge
MANIFEST, WEIGHTS, SOLUTION = "manifest.json", "weights.safetensors", "solution.py"
FILES = (SOLUTION, "runtime.py", "features.py", MANIFEST, WEIGHTS)  # in the order of the zip
ORIGIN_FIELDS = (
    "seed",
    "best_epoch",
    "scores",
    "report_fraction",
    "data_fingerprint",
    "valid_fingerprint",
    "versions",
    "git_revision",
)


@dataclass(frozen=True)
class Expected:
    """What an ensemble scored on validation when it was exported: per part (`all`, `select`, `report`) the weighted
    correlation with each target, then their mean."""

    valid_fingerprint: str
    scores: dict[str, list[float]]


@dataclass(frozen=True)
class Bundle:
    """Members on one scale and what each of them weighs per target, (K, targets) float64 with columns that sum to 1.

    A member is a run. `factors` (K, targets) is what its last layer was multiplied by to bring it there
    (`lobmodels.ensemble.scale`).
    """

    members: tuple[Checkpoint, ...]
    weights: NDArray[np.float64]
    factors: NDArray[np.float64]
    expected: Expected | None = None  # None where it was exported without data

    @staticmethod
    def of(members: Sequence[Checkpoint], weights: ArrayLike | None = None) -> Bundle:
        """Trained `members` brought to one scale, with `weights` (K,) or (K, targets); uniform if there are none.

        Members stay as they are where one of them does not hold the spread of its predictions. Raises `BundleError`
        for weights that are no average.
        """
        values = valid_weights(members, weights)
        factors = scale.factors(scale.spreads(members), values)
        scaled = tuple(scale.rescaled(member, factor) for member, factor in zip(members, factors, strict=True))
        return Bundle(scaled, values, factors)

    @staticmethod
    def shipped(members: Sequence[Checkpoint], weights: ArrayLike, factors: NDArray[np.float64]) -> Bundle:
        """A bundle of a submission's members, which `factors` have already brought to one scale."""
        return Bundle(tuple(members), valid_weights(members, weights), factors)

    @property
    def schema(self) -> Schema:
        """The schema of the data that all members were trained on."""
        return self.members[0].schema

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Every array by its name in the weights file."""
        arrays = self.inputs.tensors()
        for k, network in enumerate(place.network for place in self.networks):
            arrays.update({f"member.{k}.{name}": tensor.numpy() for name, tensor in network.weights.items()})
            if not is_fused(network):
                arrays[f"member.{k}.{runtime.GRAPH}"] = member_graph(network)
        return arrays

    @property
    def networks(self) -> tuple[Placed, ...]:
        """What the runtime computes and averages: the members' networks, of some members several."""
        return placed(self.members, self.weights, self.factors)

    @property
    def inputs(self) -> Pipelines:
        """The distinct input pipelines of the networks."""
        return Pipelines([place.network.pipeline for place in self.networks])

    def manifest(self) -> dict[str, Any]:
        """What the runtime reads besides the arrays, and the origin of each member."""
        inputs = self.inputs
        manifest: dict[str, Any] = {
            "format": runtime.FORMAT,
            "expected": None if self.expected is None else _rounded(self.expected),
            "digests": array_digests(self.tensors()),
            **inputs.entries(),
            "members": [_entry(place, pipeline) for place, pipeline in zip(self.networks, inputs.indices, strict=True)],
        }
        if not self.schema.is_challenge:
            manifest["schema"] = self.schema.document()
            manifest["slots"] = slots(self.schema)
        return sealed(manifest)

    def predictor(self, backend: str = "auto") -> runtime.Ensemble:
        """The online predictor in this process. `backend` as in `runtime.Ensemble`."""
        return runtime.Ensemble(self.manifest(), self.tensors(), features, backend)

    def predict(self, raw: NDArray[np.float32], device: str = "cpu") -> NDArray[np.float64]:
        """Predictions (N, T, K) of the ensemble for raw sequences (N, T, columns), by torch in whole sequences."""
        total = np.zeros((*raw.shape[:2], len(self.schema.targets)))
        for member, weight in zip(self.members, self.weights, strict=True):
            total += weight * member.predict(raw, device)
        return total


def submission_bytes(bundle: Bundle) -> bytes:
    """The zip. It holds no time, no path and no compression, so equal bundles give equal bytes."""
    sources = {
        SOLUTION: SOLUTION_SOURCE.encode(),
        "runtime.py": Path(runtime.__file__).read_bytes(),
        "features.py": Path(features.__file__).read_bytes(),
        MANIFEST: (json.dumps(bundle.manifest(), indent=1, sort_keys=True, allow_nan=False) + "\n").encode(),
        WEIGHTS: safetensors.numpy.save({name: np.ascontiguousarray(a) for name, a in bundle.tensors().items()}),
    }
    return zip_bytes({name: sources[name] for name in FILES})


def write_submission(path: Path | str, bundle: Bundle, max_mb: float = SIZE_LIMIT_MB) -> int:
    """Write the zip; returns its size in bytes. The file appears whole or not at all.

    Raises `BundleError` where it would be larger than `max_mb` (10^6 bytes), `OutputError` where it cannot be written.
    """
    path = Path(path)
    data = submission_bytes(bundle)
    if len(data) > max_mb * MEGABYTE:
        fits = max(1, int(len(bundle.members) * max_mb * MEGABYTE / len(data)))
        raise BundleError(
            f"{path}: {len(data) / MEGABYTE:.1f} MB with {len(bundle.members)} members, more than {max_mb:g} MB; "
            f"about {fits} would fit: lower `top`, or let `max_mb` choose",
            arguments=["top", "max_mb"],
        )
    write_atomically(path, data)
    return len(data)


@dataclass(frozen=True)
class Submission:
    """A submission made by lobtuna, read back: what its runtime would read."""

    path: Path
    manifest: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    size: int  # bytes of the zip

    @property
    def names(self) -> list[str]:
        """Names of the networks: of members, or of epochs of one."""
        return [member["name"] for member in self.manifest["members"]]

    @property
    def runs(self) -> list[str]:
        """Names of the members, as their study has them."""
        return list(by_run(self.manifest["members"]))

    def bundle(self) -> Bundle:
        """The members as torch networks again. Raises `BundleError` where a part is missing."""
        members = self.manifest["members"]
        require_features(self.path, self.manifest.get(runtime.OWN, []))
        networks = [self._network(k, member) for k, member in enumerate(members)]
        return Bundle.shipped(joined(networks, members), *weights_of(members))

    @property
    def schema(self) -> Schema:
        """The schema of the data that the members were trained on."""
        return Schema.of(self.manifest.get("schema"))

    @property
    def expected(self) -> Expected | None:
        """The scores that the manifest holds; None where it holds none."""
        promised = self.manifest.get("expected")
        return None if promised is None else Expected(promised["valid_fingerprint"], promised["scores"])

    def _network(self, k: int, member: dict[str, Any]) -> Checkpoint:
        origin, i = member["origin"], member["pipeline"]
        pipeline, prefix = self.manifest["pipelines"][i], f"member.{k}."
        arrays = {name: torch.from_numpy(array.copy()) for name, array in self.arrays.items()}
        try:
            normalizer = None
            if pipeline["normalizer"]:
                normalizer = Normalizer(arrays[f"pipeline.{i}.mean"].numpy(), arrays[f"pipeline.{i}.std"].numpy())
            require_network(self.path, member)
            config = RunConfig.parse(origin["configuration"])
            groups = groups_of(self.manifest, pipeline)
            checkpoint = Checkpoint(
                name=member["name"],
                config=config,
                pipeline=InputPipeline(groups, normalizer, self.schema, config.feature_settings()),
                weights={
                    name.removeprefix(prefix): a
                    for name, a in arrays.items()
                    if name.startswith(prefix) and name != prefix + runtime.GRAPH
                },
                history=[],
                split=origin.get("split"),
                **{name: origin[name] for name in ORIGIN_FIELDS},
            )
            checkpoint.network()
        except (KeyError, TypeError, RuntimeError, ConfigError) as error:
            raise BundleError(f"{self.path}: {member['name']} is incomplete ({error}); export it again") from None
        return checkpoint


def read_submission(path: Path | str) -> Submission:
    """Read a submission's manifest and arrays. Raises `BundleError` for a zip that lobtuna did not write."""
    path = Path(path)
    with open_zip(path) as archive:
        missing = sorted(set(FILES) - set(archive.namelist()))
        if missing:
            raise BundleError(f"{path} was not exported by lobtuna: it holds no {', '.join(missing)}")
        try:
            manifest = json.loads(archive.read(MANIFEST))
            arrays = safetensors.numpy.load(archive.read(WEIGHTS))
        except (ValueError, safetensors.SafetensorError, zipfile.BadZipFile) as error:
            raise BundleError(f"{path} is damaged ({error}); export it again") from None
    if manifest.get("format") != runtime.FORMAT:
        raise BundleError(f"{path} has format {manifest.get('format')!r}, not {runtime.FORMAT}; export it again")
    return Submission(path, manifest, arrays, path.stat().st_size)


def open_zip(path: Path) -> zipfile.ZipFile:
    """The zip at `path`; `BundleError` where there is none."""
    if not path.is_file():
        raise BundleError(f"{path}: no such file", remedy=Remedy.EXPORT_SUBMISSION, subject=path.name)
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise BundleError(f"{path} is not a zip ({error}); a submission is a zip with {SOLUTION} at its root") from None


def _rounded(expected: Expected) -> dict[str, Any]:
    """Plain values rounded to digits that are the same on every machine, so that equal exports give equal bytes."""
    scores = {part: [round(value, 5) for value in values] for part, values in expected.scores.items()}
    return {"valid_fingerprint": expected.valid_fingerprint, "scores": scores}


def _entry(place: Placed, pipeline: int) -> dict[str, Any]:
    """One network in the manifest; `pipeline` is the number of its inputs."""
    network = place.network
    return {
        "name": network.name,
        **{name: getattr(network.config, name) for name in NetworkConfig.model_fields},
        "pipeline": pipeline,
        "weight": place.weight.tolist(),
        "scale": place.factor.tolist(),
        "origin": _origin(network),
        **({} if place.run is None else {RUN: place.run}),
        **({} if is_fused(network) else {runtime.GRAPH: True}),
    }


def _origin(member: Checkpoint) -> dict[str, Any]:
    """Where a member comes from, without anything that differs between two equal runs on one machine."""
    fields = {name: getattr(member, name) for name in ORIGIN_FIELDS}
    split = {} if member.split is None else {"split": member.split, "validated": member.rule.validated}
    return {"key": member.config.key(), "configuration": member.config.identity(), **fields, **split}
