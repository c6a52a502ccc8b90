"""A finished run as one self-describing blob: weights, configuration, inputs, history, scores, origin."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lobmodels.bootstrap import SUMS
from lobmodels.config import RunConfig
from lobmodels.data.partition import SplitRule
from lobmodels.device import float32_arithmetic, resolve_device
from lobmodels.errors import CheckpointError, ConfigError, UnknownNameError
from lobmodels.inputs import InputPipeline, Normalizer, as_tensor
from lobmodels.networks import Network, build_network
from lobmodels.networks.mixture import KeptEpoch, Mixture
from lobmodels.schema import Schema
from lobmodels.serialization import pack, unpack

FORMAT = 1
PREFIX = "network."  # before the names of the weights
EPOCH = "epoch."  # before those of a run that keeps several epochs, and the number of each


@cache
def library_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a run depends on, by name."""
    found = {"python": platform.python_version()}
    for name in ("lobtuna", "torch", "numpy", "optuna"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # lobmodels works without optuna, and from a folder that is not installed
            continue
    return found


@cache
def git_revision() -> str | None:
    """Commit of the checkout this code runs from, or None where it was installed from a wheel."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@dataclass(frozen=True)
class Checkpoint:
    """The kept weights of a run with all that is needed to predict with them and to know where they come from.

    `scores` holds the score of each target and their mean on the `select` sequences and, where some were set aside, on
    the `report` sequences, which no decision of the run has seen. A refit has no `select` scores: it is trained on
    these sequences. `weights` are CPU float32 tensors by parameter name. A run that keeps several has `epochs`
    instead, two or more, and no `weights`; its scores and measurements are those of what these predict together.
    """

    name: str
    config: RunConfig
    seed: int
    pipeline: InputPipeline
    weights: dict[str, Tensor]
    history: list[dict[str, Any]]
    best_epoch: int
    scores: dict[str, dict[str, float] | None]
    data_fingerprint: str
    report_fraction: float
    epochs: tuple[KeptEpoch, ...] = ()
    split: dict[str, Any] | None = None  # `SplitRule.document` of the rule by which the sequences were divided
    valid_fingerprint: str = ""  # of the validation sequences alone: tells whether data has the same split
    prediction_std: tuple[float, ...] | None = None  # per target, over scored train rows; None: an older lobtuna
    sequence_sums: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # (N, 6, K) of `select` and `report`
    diagnostics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=library_versions)
    git_revision: str | None = field(default_factory=git_revision)

    @property
    def schema(self) -> Schema:
        """The schema of the data it was trained on."""
        return self.pipeline.schema

    @property
    def singles(self) -> tuple[Checkpoint, ...]:
        """The kept epochs, each a run of one network named NAME@eEPOCH, from 1; the run itself where it keeps one.

        How large the predictions of one epoch are is not known: `prediction_std` is that of all together.
        """
        if not self.epochs:
            return (self,)
        return tuple(
            replace(self, name=f"{self.name}@e{kept.epoch + 1}", weights=kept.weights, epochs=(), prediction_std=None)
            for kept in self.epochs
        )

    @property
    def shares(self) -> NDArray[np.float64]:
        """(E, K): what each of `singles` weighs in the run's prediction of each target."""
        if not self.epochs:
            return np.ones((1, len(self.schema.targets)))
        return np.array([kept.shares for kept in self.epochs], np.float64)

    @property
    def parameters(self) -> int:
        """Numbers in the weights of all its networks."""
        return sum(tensor.numel() for single in self.singles for tensor in single.weights.values())

    def network(self) -> Network:
        """The network in evaluation mode on the CPU. Raises `CheckpointError` for a run that keeps several epochs."""
        if self.epochs:
            raise CheckpointError(f"{self.name} keeps {len(self.epochs)} epochs, each a network: take one of `singles`")
        network = self._built()
        network.load_state_dict(self.weights)
        return network.eval()

    def module(self) -> nn.Module:
        """What maps inputs (T, B, F) to the run's predictions (T, B, K), in evaluation mode on the CPU."""
        return Mixture(self._built(), self.epochs).eval() if self.epochs else self.network()

    def _built(self) -> Network:
        return build_network(self.config, len(self.pipeline.names), len(self.schema.targets))

    def predict(
        self, features: NDArray[np.float32], device: torch.device | str = "cpu", batch: int = 128
    ) -> NDArray[np.float32]:
        """Predictions (N, T, K), unclipped, for raw sequences (N, T, columns), in float32 on every device.

        Raises `DeviceError` for a device that is not there.
        """
        device = resolve_device(device)
        network, prepare = self.module().to(device), self.pipeline.on(device)
        parts = []
        with torch.inference_mode(), float32_arithmetic():
            for i in range(0, len(features), batch):
                raw = as_tensor(features[i : i + batch]).to(device)
                x = prepare(raw).transpose(0, 1).contiguous()  # (T, B, F)
                parts.append(network(x).transpose(0, 1).float().cpu().numpy())
        return np.concatenate(parts)

    def to_bytes(self) -> bytes:
        """One safetensors blob; the JSON document is its metadata."""
        document = {
            "format": FORMAT,
            "kind": "run",
            "name": self.name,
            "configuration": self.config.identity(),
            "seed": self.seed,
            "features": list(self.pipeline.names),
            "groups": list(self.pipeline.groups),
            "normalizer": self.config.normalizer,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "scores": self.scores,
            "data_fingerprint": self.data_fingerprint,
            "report_fraction": self.report_fraction,
            "split": self.split,
            "valid_fingerprint": self.valid_fingerprint,
            "prediction_std": None if self.prediction_std is None else list(self.prediction_std),
            "diagnostics": self.diagnostics,
            "versions": self.versions,
            "git_revision": self.git_revision,
        }
        if not self.schema.is_challenge:
            document["schema"] = self.schema.document()
        if self.epochs:
            document["epochs"] = [{"epoch": kept.epoch, "shares": list(kept.shares)} for kept in self.epochs]
        tensors = {PREFIX + name: tensor for name, tensor in self.weights.items()}
        tensors |= {f"{EPOCH}{kept.epoch}.{name}": t for kept in self.epochs for name, t in kept.weights.items()}
        tensors |= {SUMS + part: torch.from_numpy(sums) for part, sums in self.sequence_sums.items()}
        if self.pipeline.normalizer is not None:
            tensors["normalizer.mean"] = torch.from_numpy(self.pipeline.normalizer.mean)
            tensors["normalizer.std"] = torch.from_numpy(self.pipeline.normalizer.std)
        return pack(tensors, document)

    @staticmethod
    def from_bytes(blob: bytes, what: str = "the checkpoint") -> Checkpoint:
        """Read a blob of `to_bytes`. Raises `CheckpointError` for damage, another format, missing tensors."""
        tensors, document = unpack(blob, what)
        if document.get("kind") != "run" or document.get("format") != FORMAT:
            raise CheckpointError(
                f"{what} has kind {document.get('kind')!r}, format {document.get('format')!r}; this lobtuna reads kind "
                f"'run', format {FORMAT}: use the version that wrote it ({document.get('versions', {}).get('lobtuna')})"
            )
        try:
            return _read(tensors, document, what)
        except UnknownNameError as error:
            raise CheckpointError(f"{what} is of a network that is not here: {error}") from None
        except (KeyError, TypeError, ConfigError) as error:
            raise CheckpointError(f"{what} lacks or contradicts {error}; fetch it again from its study") from None

    @property
    def rule(self) -> SplitRule:
        """How the run's sequences were divided."""
        return SplitRule.of(self.report_fraction, self.split)

    @property
    def score(self) -> float | None:
        """Mean score on the selection sequences; None for a refit, which was not validated itself."""
        select = self.scores["select"]
        return None if select is None else select["mean"]


def _read(tensors: dict[str, Tensor], document: dict[str, Any], what: str) -> Checkpoint:
    config = RunConfig.parse(document["configuration"])
    normalizer = None
    if document["normalizer"] != "none":
        normalizer = Normalizer(tensors["normalizer.mean"].numpy(), tensors["normalizer.std"].numpy())
    schema = Schema.of(document.get("schema"))
    pipeline = InputPipeline(tuple(document["groups"]), normalizer, schema, config.feature_settings())
    if list(pipeline.names) != document["features"]:
        raise CheckpointError(f"{what} was trained on other feature columns than this version of lobtuna computes")
    std = document.get("prediction_std")  # checkpoints of the first versions do not hold it
    with torch.device("meta"):
        expected = build_network(config, len(pipeline.names), len(schema.targets)).state_dict()
    listed = {entry["epoch"]: tuple(entry["shares"]) for entry in document.get("epochs", ())}
    sums = [sum(shares) for shares in zip(*listed.values(), strict=False)]
    if any(len(shares) != len(schema.targets) for shares in listed.values()) or not np.allclose(sums, 1):
        raise CheckpointError(f"{what} has epochs whose shares sum to {sums}, not to 1 for each target")
    weights, epochs = _networks(tensors, listed, expected, what)
    return Checkpoint(
        name=document["name"],
        config=config,
        seed=document["seed"],
        pipeline=pipeline,
        weights=weights,
        epochs=epochs,
        history=document["history"],
        best_epoch=document["best_epoch"],
        scores=document["scores"],
        data_fingerprint=document["data_fingerprint"],
        report_fraction=document["report_fraction"],
        split=document.get("split"),  # the first versions had the fixed split alone
        valid_fingerprint=document["valid_fingerprint"],
        sequence_sums={name.removeprefix(SUMS): t.numpy() for name, t in tensors.items() if name.startswith(SUMS)},
        prediction_std=None if std is None else tuple(std),
        diagnostics=document["diagnostics"],
        versions=document["versions"],
        git_revision=document["git_revision"],
    )


def _networks(
    tensors: dict[str, Tensor], listed: dict[int, tuple[float, ...]], expected: dict[str, Tensor], what: str
) -> tuple[dict[str, Tensor], tuple[KeptEpoch, ...]]:
    """The weights, or the kept epochs whose shares are `listed` by epoch. Raises `CheckpointError` where a network does
    not have the `expected` tensors, or there are tensors of no network."""
    prefixes = [f"{EPOCH}{epoch}." for epoch in listed] or [PREFIX]
    found = [_below(prefix, tensors) for prefix in prefixes]
    stray = [name for name in tensors if name.startswith((PREFIX, EPOCH)) and not name.startswith(tuple(prefixes))]
    wrong = set(stray).union(*(_wrong_tensors(weights, expected) for weights in found))
    if wrong:
        raise CheckpointError(f"{what} has missing, unknown or misshapen tensors: {', '.join(sorted(wrong))}")
    if not listed:
        return found[0], ()
    return {}, tuple(KeptEpoch(epoch, weights, listed[epoch]) for epoch, weights in zip(listed, found, strict=True))


def _wrong_tensors(found: dict[str, Tensor], expected: dict[str, Tensor]) -> set[str]:
    both = set(expected) & set(found)
    return set(expected) ^ set(found) | {name for name in both if expected[name].shape != found[name].shape}


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
