"""A run keeps the epochs that its configuration asks for, and is scored by what these predict together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lobmodels.bootstrap import correlations
from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.data import Dataset, SplitRule
from lobmodels.data.partition import REFIT
from lobmodels.metric import score
from lobmodels.training.batches import RunData
from lobmodels.training.epochs import EpochRecord
from lobmodels.training.kept_epochs import KeptEpochs
from lobmodels.training.refit import RefitPlan
from lobmodels.training.run import TrainingRun
from tests.lobmodels.training.test_run import BASE, start

T0 = (0.1, 0.5, 0.3, 0.5, 0.2, 0.4)
T1 = (0.6, 0.2, 0.3, 0.1, 0.2, 0.5)  # means .35 .35 .30 .30 .20 .45


def record(epoch: int) -> EpochRecord:
    mean = (T0[epoch] + T1[epoch]) / 2
    return EpochRecord(epoch, 1.0, {"t0": T0[epoch], "t1": T1[epoch]}, mean, 1e-3, 1.0, 1.0, 1.0)


def kept_after_six(plan: RefitPlan | None = None, **values: object) -> KeptEpochs:
    """Six epochs of a network whose one weight is the epoch's number."""
    kept, network = KeptEpochs(RunConfig.parse(values), ("t0", "t1"), plan), nn.Linear(1, 1, bias=False)
    for epoch in range(6):
        nn.init.constant_(network.weight, epoch)
        kept.update([record(i) for i in range(epoch + 1)], network)
    return kept


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {5: (1, 1)}),
        ({"snapshots": 2}, {0: (1 / 2, 1 / 2), 5: (1 / 2, 1 / 2)}),  # of the equal means the first
        ({"epoch_per_target": True}, {0: (0, 1), 1: (1, 0)}),
        (
            {"epoch_per_target": True, "snapshots": 3},
            {0: (0, 1 / 3), 1: (1 / 3, 0), 2: (0, 1 / 3), 3: (1 / 3, 0), 5: (1 / 3, 1 / 3)},
        ),
        ({"snapshots": 8}, dict.fromkeys(range(6), (1 / 6, 1 / 6))),  # all, while there are not as many
    ],
    ids=str,
)
def test_the_best_epochs_are_kept(values: dict[str, object], expected: dict[int, tuple[float, float]]) -> None:
    """By the mean or by each target's own score, each with its weights and equal shares, and no others in memory."""
    kept = kept_after_six(**values)
    found = kept.result([record(i) for i in range(6)])
    assert {one.epoch: one.shares for one in found} == {k: pytest.approx(v) for k, v in expected.items()}
    assert all(one.weights["weight"].item() == one.epoch for one in found)
    assert set(kept.weights) == set(expected)


@pytest.mark.parametrize(
    ("plan", "values", "expected"),
    [
        (RefitPlan(6, 4), {}, {5: (1, 1)}),
        (RefitPlan(6, 4), {"snapshots": 2}, {4: (1 / 2, 1 / 2), 5: (1 / 2, 1 / 2)}),
        (RefitPlan(6, 4, by_target=(2, 6)), {"epoch_per_target": True}, {1: (1, 0), 5: (0, 1)}),
        (
            RefitPlan(6, 4, by_target=(1, 6)),
            {"epoch_per_target": True, "snapshots": 2},
            {0: (1, 0), 4: (0, 1 / 2), 5: (0, 1 / 2)},
        ),
    ],
    ids=str,
)
def test_a_refit_keeps_the_last_epochs(
    plan: RefitPlan, values: dict[str, object], expected: dict[int, tuple[float, float]]
) -> None:
    """Up to the end of its plan, or up to the epoch that the plan names for each target."""
    kept = kept_after_six(plan, **values)
    found = kept.result([record(i) for i in range(6)])
    assert {one.epoch: one.shares for one in found} == {k: pytest.approx(v) for k, v in expected.items()}
    assert set(kept.weights) == set(expected)


@pytest.mark.parametrize("values", [{}, {"snapshots": 3}, {"epoch_per_target": True}], ids=str)
def test_stored_and_read_back(values: dict[str, object]) -> None:
    """The tensors give the same epochs again; one epoch alone has the names of earlier versions."""
    kept, history = kept_after_six(**values), [record(i) for i in range(6)]
    again = KeptEpochs(kept.config, kept.targets)
    again.load(kept.tensors(), 5, torch.device("cpu"))
    for mine, theirs in zip(again.result(history), kept.result(history), strict=True):
        assert (mine.epoch, mine.shares) == (theirs.epoch, theirs.shares)
        assert torch.equal(mine.weights["weight"], theirs.weights["weight"])
    if not values:
        assert list(kept.tensors()) == ["best.weight"]


@pytest.mark.parametrize(
    "values", [{"snapshots": 3}, {"epoch_per_target": True, "snapshots": 2, "normalizer": "zscore"}], ids=str
)
def test_scores_are_those_of_what_the_epochs_predict_together(
    small_dataset: Dataset, values: dict[str, object]
) -> None:
    """Selection and report score, sums by sequence and spread are of the mixture that the checkpoint predicts, computed
    here from the checkpoint alone; its best epoch and its history are the epochs' own."""
    run = start(small_dataset, lr=1e-2, **values)
    while not run.finished:
        run.train_epoch()
    found = Checkpoint.from_bytes(run.result("joint#1").to_bytes())
    assert len(found.epochs) >= 2 and found.best_epoch == run.best_epoch
    parts = np.stack([single.predict(small_dataset.valid.features) for single in found.singles])
    mixed = np.einsum("pk,pntk->ntk", found.shares, parts)
    predicted = found.predict(small_dataset.valid.features)
    assert np.abs(predicted - mixed).max() < 1e-6 and np.abs(parts - mixed).max() > 1e-3
    warmup, targets = small_dataset.schema.warmup_steps, small_dataset.valid.targets
    for name, index in (("select", run.data.partition.select), ("report", run.data.partition.report)):
        index = index - len(small_dataset.train)  # counted through both files
        expected = score(mixed[index, warmup:], targets[index, warmup:], small_dataset.schema)
        scores = found.scores[name]
        assert scores is not None and scores == pytest.approx(
            {"t0": expected[0], "t1": expected[1], "mean": expected.mean()}, abs=1e-5
        )
        assert correlations(found.sequence_sums[name].sum(0)) == pytest.approx(expected, abs=1e-4)
    train = found.predict(small_dataset.train.features)[:, warmup:]
    assert found.prediction_std == pytest.approx(train.std((0, 1)), rel=1e-3)
    assert found.score != run.history[run.best_epoch].mean


def test_a_result_on_the_way_changes_nothing(small_dataset: Dataset) -> None:
    """The present weights are put back after the kept ones were scored."""
    asked, undisturbed = (start(small_dataset, snapshots=3) for _ in range(2))
    for run in (asked, undisturbed):
        run.train_epoch()
        run.train_epoch()
        if run is asked:
            assert len(run.result().epochs) == 2
        run.train_epoch()
    mine, theirs = asked.kept.tensors(), undisturbed.kept.tensors()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_one_epoch_is_no_mixture(small_dataset: Dataset) -> None:
    """After one epoch there is one network, scored as any run is."""
    run = start(small_dataset, snapshots=3)
    record = run.train_epoch()
    found = run.result()
    assert not found.epochs and found.score == record.mean and found.network() is not None


def test_a_refit_is_a_mixture_too(small_dataset: Dataset) -> None:
    """It has no selection score, and its state goes on exactly."""
    config = RunConfig.parse(BASE | {"snapshots": 2, "epoch_per_target": True})
    data = RunData.prepare(small_dataset, config, rule=SplitRule(0.25, REFIT))
    whole, begun, resumed = (TrainingRun(config, 0, data, RefitPlan(4, 4, by_target=(2, 4))) for _ in range(3))
    begun.train_epoch()
    begun.train_epoch()
    resumed.restore(begun.state())
    for run in (whole, resumed):
        while not run.finished:
            run.train_epoch()
    a, b = whole.result(), resumed.result()
    assert [kept.epoch for kept in a.epochs] == [0, 1, 2, 3] and a.score is None and a.scores["report"] is not None
    assert a.scores == b.scores
    for mine, theirs in zip(a.singles, b.singles, strict=True):
        assert all(torch.equal(mine.weights[name], theirs.weights[name]) for name in mine.weights)
