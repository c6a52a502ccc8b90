"""Each recipe that is off by default, switched on alone: does a small network predict unseen sequences better with it?

Written down before the first run (which was then stopped after its first row, for want of time: three blocks became
two, a width of 32 became 16, 20 epochs 15; nothing else was changed):

- Data: all 520 sequences of real_lob, in two blocks in the order of the files. Each block is held out once by a network
  trained on the other, so every score below is over all 520 sequences.
- Network: one GRU layer of 16, z-scores, mse, lr 5e-3, batches of 16, 15 epochs, default schedule. Three seeds, the
  same for every recipe. A recipe is compared with the row named beside it, which differs in that recipe alone.
- Epoch: chosen on the even sequences of the held-out block for the odd ones, and the other way round, so that no
  sequence helps to choose the epoch it is scored at: a recipe that smooths the epochs is not punished for having a less
  lucky best one. (The learning rate's schedule does see all of the block's scores, in every row.)
- Figure: weighted Pearson of t0 and t1, their mean, of the mean over the seeds. Two errors: of the seeds, from the
  standard deviation over seeds pooled over all rows; of the sequences, from resampling the 520, both rows alike.
- Chance: a difference of less than 2.5 times both errors together, sqrt(seeds^2 + sequences^2). With a dozen
  comparisons one table in eight shows a difference beyond that where there is none. Neighbouring sequences may be
  alike, which the resampling does not know: the errors are rather too small. One data set, one small network: a recipe
  that does nothing here may do something elsewhere.
- `snapshots` and `epoch per target` need no training of their own: `lobmodels.training.kept_epochs` chooses among the
  epochs of the runs of the first row, as it does in a run with `snapshots: 3` or `epoch_per_target: true`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from lobmodels.bootstrap import correlations, sequence_statistics
from lobmodels.config import RunConfig
from lobmodels.data import Dataset, Sequences, load_dataset
from lobmodels.training.batches import RunData
from lobmodels.training.epochs import EpochRecord
from lobmodels.training.host import tune_host
from lobmodels.training.kept_epochs import KeptEpochs
from lobmodels.training.run import TrainingRun

pytestmark = [pytest.mark.bench, pytest.mark.timeout(4 * 3600)]
SEEDS, BLOCKS, DRAWS = (0, 1, 2), 2, 1000
# What is made of the epochs of one run.
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "snapshots": {"snapshots": 3},
    "epoch per target": {"epoch_per_target": True},
}
CHANCE = 2.5  # combined standard errors
BASE = {"hidden_size": 16, "num_layers": 1, "normalizer": "zscore", "lr": 5e-3, "batch_size": 16, "epochs": 15}
# Each row with what is changed, and the row that it is compared with.
ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "base": ({}, ""),
    "moving average .99": ({"ema_decay": 0.99}, "base"),
    "moving average .99, ramp": ({"ema_decay": 0.99, "ema_ramp": True}, "moving average .99"),
    "last 5 epochs": ({"swa_epochs": 5}, "base"),
    "targets cut at 4": ({"target_clip": 4.0}, "base"),
    "weighted mse": ({"loss": "weighted_mse"}, "base"),
    "weighted huber": ({"loss": "weighted_huber"}, "weighted mse"),
    "mlp": ({"head": "mlp"}, "base"),
    "mlp per target": ({"head": "mlp_per_target"}, "mlp"),
    "projection": ({"input_block": "projection"}, "base"),
    "convolution over 5": ({"input_block": "convolution"}, "projection"),
    "rolling means": ({"rolling_mean": True}, "base"),
    "rolling deltas": ({"rolling_delta": True}, "base"),
}
TARGETS = ("t0", "t1")
Floats = NDArray[np.float64]


def test_each_recipe(real_lob: Path) -> None:
    """Prints each row when it is measured, beside the row it is compared with."""
    tune_host(1)
    blocks = list(held_out(load_dataset(real_lob)))
    console = Console(width=110, soft_wrap=True)
    console.print(f"{'':26} {'mean of 3 seeds':>15} {'difference':>10} {'seeds':>7} {'sequences':>9}  beyond chance")
    measured: dict[str, Floats] = {}  # (seeds, N, 6, 2) by row
    for name, (values, against) in ROWS.items():
        found = [measure(RunConfig.parse(BASE | values | {"early_stopping": 15}), blocks, seed) for seed in SEEDS]
        for variant in found[0] if name == "base" else ("",):
            measured[variant or name] = np.stack([each[variant] for each in found])
            console.print(row(variant or name, against or "base", measured))
    console.print("errors of all rows, with the deviation over seeds pooled:")
    for name in measured:
        console.print(row(name, ROWS.get(name, ({}, "base"))[1] or "base", measured))


def held_out(dataset: Dataset) -> Iterator[Dataset]:
    """All sequences, in the order of the files, as `BLOCKS` data sets that each hold out another block."""
    both = (dataset.train, dataset.valid)
    features, targets = (np.concatenate([getattr(part, name) for part in both]) for name in ("features", "targets"))
    for block in np.array_split(np.arange(len(features)), BLOCKS):
        rest = np.setdiff1d(np.arange(len(features)), block)
        parts = [part(dataset.train, features[index], targets[index]) for index in (rest, block)]
        yield Dataset(*parts, fingerprint=f"{parts[0].fingerprint}{parts[1].fingerprint}")


def part(source: Sequences, features: NDArray[np.float32], targets: NDArray[np.float32]) -> Sequences:
    """Sequences with a fingerprint of their own."""
    name = hashlib.blake2b(features.tobytes(), digest_size=8).hexdigest()
    index = np.arange(len(features))
    return dataclasses.replace(source, features=features, targets=targets, seq_ix=index, fingerprint=name)


def measure(config: RunConfig, blocks: list[Dataset], seed: int) -> dict[str, Floats]:
    """Statistics (N, 6, 2) of every sequence, predicted by the run that did not see it, at an epoch chosen on others;
    by variant, "" being the plain one."""
    found: dict[str, list[Floats]] = {variant: [] for variant in VARIANTS}
    for dataset in blocks:
        run = TrainingRun(config, seed, prepared(dataset, config.feature_groups()))
        parts: list[NDArray[np.float32]] = []  # (B, S, 2), of validation after each epoch
        run.averages.evaluated.register_forward_hook(functools.partial(keep, parts))
        epochs = []
        while not run.finished:
            parts.clear()
            run.train_epoch()
            epochs.append(np.concatenate(parts)[:, dataset.schema.warmup_steps :])
        target = dataset.valid.targets[:, dataset.schema.warmup_steps :]
        halves(np.stack(epochs), target, found)
    return {variant: np.concatenate(parts) for variant, parts in found.items()}


LAID: dict[tuple[str, tuple[str, ...]], RunData] = {}  # of the row that is being measured


def prepared(dataset: Dataset, groups: tuple[str, ...]) -> RunData:
    """The data laid out once for all runs with these feature groups."""
    key = (dataset.fingerprint, groups)
    if key not in LAID:
        for old in [old for old in LAID if old[1] != groups]:
            del LAID[old]
        LAID[key] = RunData.prepare(dataset, RunConfig.parse(BASE | dict.fromkeys(groups, True)), "cpu", 0.0)
    return LAID[key]


def keep(parts: list[NDArray[np.float32]], network: nn.Module, _: Any, output: torch.Tensor) -> None:
    """Add what a network predicts in validation to `parts`."""
    if not network.training:
        parts.append(output.transpose(0, 1).numpy())


def halves(epochs: NDArray[np.float32], target: NDArray[np.float32], found: dict[str, list[Floats]]) -> None:
    """Add the statistics of one block to `found`, from the predictions (E, N, S, 2) after each epoch."""
    sums = np.stack([sequence_statistics(prediction, target) for prediction in epochs])  # (E, N, 6, 2)
    block = {variant: np.empty(sums.shape[1:]) for variant in found}
    for half, other in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        history = [record(epoch, score) for epoch, score in enumerate(correlations(sums[:, other].sum(1)))]
        for variant, values in VARIANTS.items():
            chosen = KeptEpochs(RunConfig.parse(values), TARGETS).chosen(history)
            prediction = np.stack([epochs[own, half, :, k].mean(0) for k, own in enumerate(chosen)], -1)  # (n, S, 2)
            block[variant][half] = sequence_statistics(prediction, target[half])
    for variant, values in block.items():
        found[variant].append(values)


def record(epoch: int, scores: Floats) -> EpochRecord:
    """An epoch with its scores (2,) on the sequences that choose."""
    by_target = dict(zip(TARGETS, scores.tolist(), strict=True))
    return EpochRecord(epoch, 0.0, by_target, float(scores.mean()), 0.0, 0.0, 0.0, 0.0)


def scores(measured: Floats) -> Floats:
    """Mean correlation (seeds,) over all sequences."""
    return correlations(measured.sum(1)).mean(-1)


def row(name: str, against: str, measured: dict[str, Floats]) -> str:
    """One line: the score, the difference, and both of its errors."""
    mine, theirs = measured[name], measured[against]
    line = f"{name:26} {scores(mine).mean():15.4f}"
    if name == against:
        return line
    difference = float(scores(mine).mean() - scores(theirs).mean())
    pooled = np.sqrt(np.mean([scores(each).var(ddof=1) for each in measured.values()]))
    by_seeds = float(pooled * np.sqrt(2 / len(SEEDS)))
    n = mine.shape[1]
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(np.float64)
    gaps = sum(resampled(a, drawn) - resampled(b, drawn) for a, b in zip(mine, theirs, strict=True)) / len(SEEDS)
    by_sequences = float(np.std(gaps))
    size = abs(difference) / np.hypot(by_seeds, by_sequences)
    verdict = "no" if size < CHANCE else "better" if difference > 0 else "worse"
    return f"{line} {difference:+10.4f} {by_seeds:7.4f} {by_sequences:9.4f}  {verdict} ({size:.1f}) against {against}"


def resampled(statistics: Floats, drawn: Floats) -> Floats:
    """Mean correlation (R,) of the sequences drawn; `drawn` (R, N) says how often."""
    return correlations(np.tensordot(drawn, statistics, axes=1)).mean(-1)
