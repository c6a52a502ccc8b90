"""What one trial trains: its configuration, its seed, its split, and for how long where nothing selects."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.data import Dataset, SplitRule
from lobmodels.training.refit import PastRun, RefitPlan, plan_refit
from lobmodels.training.run import TrainingRun
from search.study.orders import RefitOrder
from search.study.record import TrialRecord
from search.studyfile.spec import StudySpec
from search.studyfile.validation import ValidationSpec


@dataclass(frozen=True)
class Task:
    """A run is a configuration, a seed and a split. A refit has an order in place of selection sequences."""

    config: RunConfig
    seed: int
    fold: int | None
    rule: SplitRule
    order: RefitOrder | None
    validation: ValidationSpec  # says what a fold is

    @staticmethod
    def of(spec: StudySpec, trial: TrialRecord, config: RunConfig) -> Task:
        """What `trial` was queued for; a search trial has the seed of its number and selects on fold 0."""
        seed = spec.trial_seed(trial.number) if trial.seed is None else trial.seed
        if trial.refit is not None:
            rule = spec.validation.rule().refit(with_report=trial.refit.with_report)
            return Task(config, seed, None, rule, trial.refit, spec.validation)
        fold = None if spec.validation.count is None else trial.fold or 0
        return Task(config, seed, fold, spec.validation.rule(fold), None, spec.validation)

    def plan(self, dataset: Dataset) -> RefitPlan | None:
        """How long a refit trains on these data; None for a run that selection sequences end."""
        if self.order is None:
            return None

        def steps(rule: SplitRule) -> int:
            return math.ceil(len(dataset.partition(rule).train) / self.config.batch_size)

        past = [
            PastRun(run.best, steps(self.validation.rule(run.fold)), run.rates, run.by_target)
            for run in self.order.runs
        ]
        return plan_refit(self.config, past, steps(self.rule))

    def epochs(self, dataset: Dataset) -> int:
        """Most epochs that the run will have."""
        plan = self.plan(dataset)
        return self.config.epochs if plan is None else plan.epochs

    def value(self, checkpoint: Checkpoint) -> float:
        """The run's value in its study: its score on the selection sequences, or what the configuration promises."""
        value = checkpoint.score if self.order is None else self.order.promised
        assert value is not None, "a validated run has a score"
        return value

    def words(self, run: TrainingRun) -> str:
        """How a finished run of this task ended."""
        if self.order is not None:
            return f"refit on {len(run.data.train)} sequences, {run.epoch} epochs"
        ended = "stopped early" if run.stop_reason == "early_stopping" else "all epochs"
        return f"{ended}, best epoch {run.best_epoch + 1} of {run.epoch}"
