"""A refit takes as many steps as its configuration's runs took to their best epoch, on their learning rates."""

from __future__ import annotations

import math

import pytest

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.data import Dataset, SplitRule
from lobmodels.data.partition import FOLDS, REFIT
from lobmodels.training.batches import RunData
from lobmodels.training.refit import PastRun, RefitPlan, plan_refit
from lobmodels.training.run import TrainingRun


def config(**values: object) -> RunConfig:
    return RunConfig.parse({"hidden_size": 4, "num_layers": 1, "batch_size": 8, "epochs": 10, **values})


def test_the_epochs_are_the_median_best_scaled_to_the_steps() -> None:
    """Twelve epochs of four steps are as many steps as ten of five: the median counts, whatever a lucky run says."""
    runs = [PastRun(best, 4) for best in (3, 12, 11, 30, 12)]
    plan = plan_refit(config(epochs=30), runs, steps=5)
    assert (plan.epochs, plan.schedule_steps, plan.rates) == (round(12 * 4 / 5), 4, ())
    assert plan_refit(config(), [PastRun(1, 1)], steps=50).epochs == 1  # at least one
    mixed = plan_refit(config(epochs=30), [PastRun(10, 4), PastRun(10, 6)], steps=5)  # folds of different sizes
    assert mixed.epochs == 10


def test_each_target_has_its_epochs() -> None:
    """The median over the runs for each target, scaled to the steps; the refit lasts as long as the longest, and a plan
    without such epochs is stored as it was before there were any."""
    runs = [PastRun(9, 4, by_target=own) for own in ((5, 20), (10, 15), (15, 10))]
    plan = plan_refit(config(epochs=30, epoch_per_target=True), runs, steps=5)
    assert (plan.epochs, plan.by_target) == (12, (8, 12)) and plan.document()["by_target"] == [8, 12]
    plain = plan_refit(config(epochs=30), runs, steps=5)
    assert (plain.epochs, plain.by_target) == (7, ()) and "by_target" not in plain.document()


def test_rates_that_followed_scores_are_repeated() -> None:
    """The rate after so many steps is the runs' median at that step; a run that had ended keeps its last."""
    runs = [
        PastRun(4, 4, (1e-2, 1e-2, 5e-3, 5e-3)),
        PastRun(4, 4, (1e-2, 1e-2, 1e-2, 1e-2)),
        PastRun(4, 4, (1e-2, 5e-3)),
    ]
    assert plan_refit(config(scheduler="plateau"), runs, steps=8).rates == (1e-2, 5e-3)


@pytest.mark.parametrize("scheduler", ["none", "plateau", "onecycle", "cosine"])
def test_a_step_has_the_learning_rate_that_it_had(small_dataset: Dataset, scheduler: str) -> None:
    """A schedule of a known length counts the earlier runs' steps, so that a refit ends where they were best."""
    settings = (
        config(scheduler=scheduler, epochs=6, plateau_patience=0)
        if scheduler == "plateau"
        else config(scheduler=scheduler, epochs=6)
    )
    fold = TrainingRun(settings, 0, RunData.prepare(small_dataset, settings, rule=SplitRule(0.25, FOLDS, 3)))
    rates = []
    for _ in range(4):
        fold.train_epoch()
        rates.append(fold.history[-1].lr)
    steps = math.ceil(len(fold.data.train) / 8)
    past = PastRun(4, steps, tuple(rates) if scheduler == "plateau" else ())
    data = RunData.prepare(small_dataset, settings, rule=SplitRule(0.25, REFIT))
    plan = plan_refit(settings, [past], math.ceil(len(data.train) / 8))
    run = TrainingRun(settings, 0, data, plan)
    while not run.finished:
        run.train_epoch()
    assert run.epoch == plan.epochs == round(4 * steps / math.ceil(len(data.train) / 8))
    ours = [record.lr for record in run.history]
    assert ours[0] == pytest.approx(rates[0]) and all(min(rates) * 0.4 <= rate <= max(rates) * 2.5 for rate in ours)


def test_a_refit_trains_on_all_but_report_and_is_not_validated(small_dataset: Dataset) -> None:
    """Its weights are the last epoch's, it has a report score and no selection score, and it says so when read back."""
    settings = config()
    data = RunData.prepare(small_dataset, settings, rule=SplitRule(0.25, REFIT))
    assert len(data.train) == len(small_dataset.train) + len(small_dataset.valid) - len(data.report)
    run = TrainingRun(settings, 0, data, RefitPlan(2, 4))
    run.train_epoch()
    first = run.result("first").weights
    run.train_epoch()
    assert run.finished and run.best_epoch == 1
    result = Checkpoint.from_bytes(run.result("refit").to_bytes())
    assert result.score is None and result.scores["report"] is not None and not result.rule.validated
    assert set(result.sequence_sums) == {"report"}
    assert any((result.weights[name] != weight).any() for name, weight in first.items())
    everything = RunData.prepare(small_dataset, settings, rule=SplitRule(0.25, FOLDS, 3).refit(with_report=True))
    assert len(everything.train) == len(small_dataset.train) + len(small_dataset.valid) and not len(everything.report)


@pytest.mark.parametrize("rule", [SplitRule(0.25, FOLDS, 3, 2), SplitRule(0.25, "walk_forward", 3, 1, 1), None])
def test_runs_resume_bit_for_bit(small_dataset: Dataset, rule: SplitRule | None) -> None:
    """On a fold and as a refit, a run that was stopped and taken up elsewhere is the undisturbed run."""
    settings = config(dropout=0.1, derived=True, normalizer="zscore", epochs=4)
    plan = None if rule else RefitPlan(3, 4)

    def start() -> TrainingRun:
        data = RunData.prepare(small_dataset, settings, rule=rule or SplitRule(0.25, REFIT))
        return TrainingRun(settings, 5, data, plan)

    whole, begun, resumed = start(), start(), start()
    begun.train_epoch()
    resumed.restore(begun.state())
    for run in (whole, resumed):
        while not run.finished:
            run.train_epoch()
    assert resumed.epoch == whole.epoch
    ours, theirs = resumed.result().weights, whole.result().weights
    assert all((ours[name] == weight).all() for name, weight in theirs.items())


def test_a_state_belongs_to_its_fold(small_dataset: Dataset) -> None:
    """The state of another fold is refused: it was trained on these selection sequences."""
    from lobmodels.errors import CheckpointError

    settings = config()
    runs = [
        TrainingRun(settings, 0, RunData.prepare(small_dataset, settings, rule=SplitRule(0.25, FOLDS, 3, k)))
        for k in (0, 1)
    ]
    runs[0].train_epoch()
    with pytest.raises(CheckpointError, match="has split"):
        runs[1].restore(runs[0].state())
