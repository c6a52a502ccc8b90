"""The recorded learning curves: configurations, selection scores by epoch, and the vector that a configuration is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FOLDER = Path(__file__).parent / "curves"

# Numbers go to about [-1, 1]; a number that means nothing in a configuration is 0, the middle.
NUMBERS: dict[str, tuple[float, float, bool]] = {
    "hidden_size": (16, 80, False),
    "num_layers": (1, 2, False),
    "dropout": (0.0, 0.35, False),
    "huber_delta": (0.3, 3.0, True),
    "weighted_ratio": (0.3, 0.8, False),
    "pearson_alpha": (0.4, 0.95, False),
    "lr": (4e-4, 1e-2, True),
    "plateau_patience": (2, 5, False),
    "batch_size": (8, 64, True),
}
WORDS: dict[str, tuple[Any, ...]] = {
    "architecture": ("gru", "lstm", "gru_attention"),
    "input_block": ("none", "projection"),
    "head": ("linear", "mlp"),
    "derived": (False, True),
    "temporal": (False, True),
    "interaction": (False, True),
    "microstructure": (False, True),
    "lag": (False, True),
    "normalizer": ("none", "zscore"),
    "loss": ("mse", "huber", "weighted_mse", "combined", "weighted_pearson", "pearson_combined"),
    "scheduler": ("plateau", "onecycle", "cosine"),
}
COLUMNS = (*NUMBERS, "log_decay", *(f"{name}={value}" for name, values in WORDS.items() for value in values))


@dataclass(frozen=True)
class Recorded:
    """Runs that trained: `curves` is (N, E), NaN after the last epoch of a run; `seconds` is for one epoch."""

    vectors: Floats  # (N, D)
    curves: Floats  # (N, E)
    seconds: Floats  # (N,)
    configurations: tuple[dict[str, Any], ...]

    def part(self, rows: slice | NDArray[np.bool_]) -> Recorded:
        """Some of the runs."""
        index = np.arange(len(self.seconds))[rows]
        chosen = tuple(self.configurations[i] for i in index)
        return Recorded(self.vectors[index], self.curves[index], self.seconds[index], chosen)


def vector(configuration: Mapping[str, Any]) -> Floats:
    """A configuration as a vector (D,) with the columns `COLUMNS`."""
    row = [_scaled(configuration.get(name), *bounds) for name, bounds in NUMBERS.items()]
    decay = configuration.get("weight_decay", 0.0)
    row.append(-1.5 if decay == 0 else _scaled(decay, 1e-6, 3e-2, True))
    for name, values in WORDS.items():
        row += [float(configuration.get(name, False) == value) for value in values]
    return np.array(row)


def small_set() -> Recorded:
    """120 random configurations of 24 full epochs each on 96 + 48 sequences."""
    return _read("small_set_runs.jsonl", 24)


def real_lob() -> Recorded:
    """The 64 complete searched runs of at most 18 epochs on all of real_lob."""
    return _read("real_lob_runs.jsonl", 18)


def real_studies(half: int) -> Recorded:
    """The complete runs that random search drew in the small real studies of the pairs with this remainder by 2.

    A pair's split moves all its scores, so that each pair's mean is brought to the mean over all.
    """
    studies = map(json.loads, (FOLDER / "real_studies.jsonl").read_text().splitlines())
    chosen = [study for study in studies if study["arm"] == "random" and study["pair"] % 2 == half]
    runs = [(study["pair"], run) for study in chosen for run in study["trials"] if run["state"] == "complete"]
    curves = np.full((len(runs), max(len(run["curve"]) for _, run in runs)), np.nan)
    for row, (_, run) in zip(curves, runs, strict=True):
        row[: len(run["curve"])] = run["curve"]
    pairs, middle = np.array([pair for pair, _ in runs]), float(np.nanmean(curves))
    for pair in set(pairs.tolist()):
        curves[pairs == pair] += middle - float(np.nanmean(curves[pairs == pair]))
    configurations = tuple(run["configuration"] for _, run in runs)
    seconds = np.array([run["seconds"] / run["epochs"] for _, run in runs])
    return Recorded(np.stack([vector(c) for c in configurations]), curves, seconds, configurations)


def _read(name: str, epochs: int) -> Recorded:
    runs = [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]
    runs = [run for run in runs if run["state"] == "complete" and run.get("arm") != "hand"]
    curves = np.full((len(runs), epochs), np.nan)
    for row, run in zip(curves, runs, strict=True):
        row[: len(run["select_by_epoch"])] = run["select_by_epoch"]
    configurations = tuple(run["configuration"] for run in runs)
    seconds = np.array([run["seconds_per_epoch"] for run in runs])
    return Recorded(np.stack([vector(c) for c in configurations]), curves, seconds, configurations)


def _scaled(value: float | None, low: float, high: float, log: bool) -> float:
    if value is None:
        return 0.0
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return 2.0 * (value - low) / (high - low) - 1.0
