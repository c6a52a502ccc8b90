"""A run is repeatable bit for bit on a CPU, and says when it diverges."""

import json
import math

import pytest
import torch

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.data import Dataset
from lobmodels.errors import ConfigError, TrainingError
from lobmodels.metric import weighted_pearson
from lobmodels.training.batches import RunData
from lobmodels.training.epochs import EpochRecord
from lobmodels.training.run import TrainingRun

BASE = {"hidden_size": 8, "num_layers": 2, "batch_size": 8, "epochs": 4, "lr": 3e-3, "dropout": 0.1}
RECIPES = {
    "plateau": {"plateau_patience": 0},
    "onecycle, average": {"scheduler": "onecycle", "ema_decay": 0.9},
    "cosine, augmentation": {"scheduler": "cosine", "input_noise": 0.1, "feature_dropout": 0.1},
    "none, features": {"scheduler": "none", "derived": True, "normalizer": "zscore", "input_block": "projection"},
    "attention": {"architecture": "gru_attention", "attention_window": 16, "loss": "pearson_combined"},
    "ramp, last epochs": {"ema_decay": 0.9, "ema_ramp": True, "swa_epochs": 2, "target_clip": 1.0},
    "convolution": {"input_block": "convolution", "conv_kernel": 3, "rolling_mean": True, "rolling_delta": True},
    "heads": {"head": "mlp_per_target", "loss": "weighted_huber"},
    "snapshots": {"snapshots": 2},
    "snapshots per target, average": {"snapshots": 2, "epoch_per_target": True, "ema_decay": 0.5},
    "lstm": {"architecture": "lstm", "head": "mlp", "temporal_consistency": 0.1},
}


def start(dataset: Dataset, seed: int = 0, **values: object) -> TrainingRun:
    config = RunConfig.parse(BASE | values)
    return TrainingRun(config, seed, RunData.prepare(dataset, config))


def without_time(record: EpochRecord) -> dict[str, float]:
    return {k: v for k, v in record.document().items() if not k.endswith("seconds")}


def test_seed_decides(small_dataset: Dataset) -> None:
    """The same seed repeats a run bit for bit, even beside another run; another seed is another run."""
    a, b, c = (start(small_dataset, seed=seed) for seed in (1, 1, 2))
    records = [run.train_epoch() for run in (a, c, b)]
    assert without_time(records[0]) == without_time(records[2])
    assert records[0].loss != records[1].loss


def test_learns(small_dataset: Dataset) -> None:
    """On data with a known signal the score rises well above zero and the loss falls."""
    run = start(small_dataset, epochs=12, hidden_size=16, lr=1e-2, early_stopping=12)
    while not run.finished:
        run.train_epoch()
    assert run.stop_reason == "epochs"
    assert run.history[-1].loss < 0.95 * run.history[0].loss
    assert run.history[run.best_epoch].mean > 0.15


def test_early_stopping_and_plateau(small_dataset: Dataset) -> None:
    """A run that cannot improve stops after its patience, its learning rate lowered on the way."""
    run = start(
        small_dataset, lr=1e-12, epochs=50, early_stopping=4, plateau_patience=0, plateau_factor=0.1, dropout=0.0
    )
    while not run.finished:
        run.train_epoch()
    assert run.stop_reason == "early_stopping"
    assert run.epoch - 1 - run.best_epoch == 4
    assert run.history[-1].lr < run.history[0].lr


def test_checkpoint_predicts_what_was_scored(small_dataset: Dataset) -> None:
    """The stored weights reproduce the stored scores on selection and on report sequences, through bytes and back."""
    run = start(small_dataset, derived=True, normalizer="zscore", ema_decay=0.5)
    while not run.finished:
        run.train_epoch()
    checkpoint = Checkpoint.from_bytes(run.result("joint/3").to_bytes())
    predictions = checkpoint.predict(small_dataset.valid.features)
    report = sorted(set(range(len(small_dataset.valid))) - set(run.data.select_index.tolist()))
    for name, index in (("select", run.data.select_index), ("report", report)):
        score = weighted_pearson(predictions[index][:, 99:], small_dataset.valid.targets[index][:, 99:])
        stored = checkpoint.scores[name]
        assert stored is not None
        assert [stored["t0"], stored["t1"]] == pytest.approx(list(score), abs=1e-6)
    assert checkpoint.score == max(r.mean for r in run.history)
    assert len(checkpoint.history) == run.epoch
    assert {"feature", "ks", "bucket", "t0", "t1", "rows"} <= set(checkpoint.diagnostics["shift_buckets"][0])


def test_clipping_bounds_the_step(small_dataset: Dataset) -> None:
    """The recorded gradient norm is the one before clipping; clipping changes what is learned, 0 switches it off."""
    free, clipped = start(small_dataset, grad_clip=0.0), start(small_dataset, grad_clip=1e-3)
    a, b = free.train_epoch(), clipped.train_epoch()
    assert a.grad_norm > 1e-3 and b.grad_norm > 1e-3
    assert a.mean != b.mean


def test_divergence_is_an_error(small_dataset: Dataset) -> None:
    """A loss that is not finite ends the run with its reason instead of becoming a score."""
    run = start(small_dataset)
    with torch.no_grad():
        next(run.network.parameters()).fill_(math.nan)
    with pytest.raises(TrainingError, match="training loss is nan in epoch 1"):
        run.train_epoch()


def test_batch_larger_than_data(small_dataset: Dataset) -> None:
    """A batch that cannot be filled is refused before anything is trained."""
    with pytest.raises(ConfigError, match="batch_size=25 is larger than the data: there are 24"):
        start(small_dataset, batch_size=25)


def test_skipped_steps_leave_the_history_finite(small_dataset: Dataset) -> None:
    """Steps whose scaled gradient overflows, as the first ones in mixed precision do, are skipped and not averaged."""
    run = start(small_dataset)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, enabled=True)
    loss = run.loss
    run.loss = lambda prediction, target: 3 * loss(prediction, target)  # beyond float32 at that scale
    record = run.train_epoch()
    assert run.scaler.get_scale() < 2.0**127
    assert math.isfinite(record.grad_norm) and record.grad_norm > 0
    json.dumps(record.document(), allow_nan=False)


def test_scores_are_computed_in_float32(small_dataset: Dataset) -> None:
    """TF32, which rounds a GPU's recurrent kernels, is off wherever a score is computed, and left alone in training."""
    run, before = start(small_dataset, ema_decay=0.5), torch.backends.cudnn.allow_tf32
    seen = set()
    for network in (run.network, run.averages.evaluated):
        network.register_forward_pre_hook(lambda n, _: seen.add((n.training, torch.backends.cudnn.allow_tf32)))
    run.train_epoch()
    run.result()
    assert seen == {(True, before), (False, False)}


def test_runs_take_turns(small_dataset: Dataset) -> None:
    """Several runs of one process, a step each in turn, are bit for bit the runs alone."""
    recipes = [
        RECIPES["attention"] | {"dropout": 0.3},
        RECIPES["cosine, augmentation"],
        {"loss": "huber"},
        RECIPES["snapshots"],
    ]
    alone = [start(small_dataset, seed=i, **recipe) for i, recipe in enumerate(recipes)]
    for run in alone:
        run.train_epoch()
        run.train_epoch()
    together = [start(small_dataset, seed=i, **recipe) for i, recipe in enumerate(recipes)]
    for _ in range(2):
        turns = [run.steps() for run in together]
        while turns:
            turns = [turn for turn in turns if next(turn, "over") != "over"]
            torch.randn(3)  # whatever else the process draws
    for one, other in zip(alone, together, strict=True):
        assert [without_time(r) for r in one.history] == [without_time(r) for r in other.history]
        mine, theirs = one.kept.tensors(), other.kept.tensors()
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
