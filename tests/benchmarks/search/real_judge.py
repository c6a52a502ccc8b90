"""What a real study would ship at a budget, scored on the pair's judging sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.config import RunConfig
from lobmodels.ensemble.bundle import Bundle
from lobmodels.errors import TrainingError
from lobmodels.training.run import TrainingRun
from search.ship.best import best_of
from search.ship.members import DEFAULT_BEST
from search.study.resampling import resampled_scores
from search.study.worth import expected_worth, sampling_noise
from tests.benchmarks.search.real_study import Ended, RealStudy

MEMBERS = 10
FRESH = range(10_000, 10_002)  # seeds that no search trial has


class Judge:
    """Scores what a study would ship at a budget, on the pair's judging sequences."""

    def __init__(self, real: RealStudy) -> None:
        self.real, self.pair = real, real.pair
        self._fresh: dict[str, tuple[float, float]] = {}
        self._predicted: dict[int, NDArray[np.float32]] = {}  # by trial
        self._selecting: dict[int, NDArray[np.float32]] = {}  # by trial, on the sequences that select

    def at(self, epochs: float = np.inf, seconds: float = np.inf, *, configuration: bool = True) -> dict[str, Any]:
        """Scores with the trials that had ended when so much was spent: of the uniform top ten and, if asked for, of
        the best configuration under fresh seeds. Raises `ValueError` where none was complete."""
        done = within(self.real.ended, epochs, seconds)
        best = sorted((t for t in done if t.checkpoint is not None), key=lambda t: -max(t.curve))
        if not best:
            raise ValueError(f"no trial was complete within {epochs:g} epochs and {seconds:g} s: raise the budget")
        found: dict[str, Any] = {
            "select": max(best[0].curve),
            "trials": len(done),
            "complete": len(best),
            "failed": sum(t.state == "failed" for t in done),
            "epochs": sum(t.epochs for t in done),
            "seconds": sum(t.seconds for t in done),
        }
        found["ensemble"], found["ensemble_later"] = self._ensemble(best[:MEMBERS])
        found["twenty"], found["twenty_later"] = self._ensemble(best[:DEFAULT_BEST])
        expected = self._expected_best(best)
        found["members"] = len(expected)
        found["expected"], found["expected_later"] = self._ensemble(expected)
        if configuration:
            found["configuration"], found["configuration_later"] = self._under_fresh_seeds(best[0].config)
        return found

    def _expected_best(self, complete: Sequence[Ended]) -> list[Ended]:
        """The members that `export --best --data` would choose of `complete`, best first on selection."""
        keys = list(dict.fromkeys(t.config.key() for t in complete))
        configuration = np.array([keys.index(t.config.key()) for t in complete])
        fold = np.zeros(len(complete), dtype=np.int64)
        sums = [t.checkpoint.sequence_sums["select"].astype(np.float64) for t in complete if t.checkpoint is not None]
        noise = sampling_noise(resampled_scores(sums), configuration, fold) if len(sums) > 1 else None
        worth = expected_worth(np.array([max(t.curve) for t in complete]), configuration, fold, noise)
        chosen = best_of(worth, DEFAULT_BEST, lambda places: self._correlations([complete[i] for i in places]))
        return [complete[i] for i in chosen]

    def _correlations(self, runs: Sequence[Ended]) -> NDArray[np.float64]:
        """How alike runs predict the sequences that select, (R, R), the mean over the targets."""
        selecting, warmup = self.pair.dataset.valid.features, self.pair.dataset.schema.warmup_steps
        for run in runs:
            if run.number not in self._selecting and run.checkpoint is not None:
                self._selecting[run.number] = run.checkpoint.predict(selecting)[:, warmup:]
        return correlations_of(np.stack([self._selecting[run.number] for run in runs]))

    def _ensemble(self, chosen: Sequence[Ended]) -> tuple[float, float]:
        """Scores of the uniform average, each member brought to one scale as an export does."""
        bundle = Bundle.of([t.checkpoint for t in chosen if t.checkpoint is not None])
        shares = bundle.weights * bundle.factors  # (K, 2): a member's predictions are linear in its scale
        parts = [share * self._predictions(t) for share, t in zip(shares, chosen, strict=True)]
        return self.pair.scores(np.sum(parts, axis=0))

    def _predictions(self, trial: Ended) -> NDArray[np.float32]:
        assert trial.checkpoint is not None
        if trial.number not in self._predicted:
            self._predicted[trial.number] = self.pair.predict(trial.checkpoint)
        return self._predicted[trial.number]

    def _under_fresh_seeds(self, config: RunConfig) -> tuple[float, float]:
        if config.key() not in self._fresh:
            found = np.array([self._retrained(config, seed) for seed in FRESH]).mean(0)
            self._fresh[config.key()] = (float(found[0]), float(found[1]))
        return self._fresh[config.key()]

    def _retrained(self, config: RunConfig, seed: int) -> tuple[float, float]:
        """A seed that diverges scores 0, as a constant does."""
        run = TrainingRun(config, seed, self.real.data_for(config))
        try:
            while not run.finished:
                run.train_epoch()
        except TrainingError:
            return 0.0, 0.0
        return self.pair.scores(self.pair.predict(run.result("fresh")))


def within(ended: Sequence[Ended], epochs: float, seconds: float) -> list[Ended]:
    """The trials that had ended when so much was spent."""
    used = np.cumsum([t.epochs for t in ended])
    spent = np.cumsum([t.seconds for t in ended])
    return [t for t, e, s in zip(ended, used, spent, strict=True) if e <= epochs and s <= seconds]


def correlations_of(predictions: NDArray[np.float32]) -> NDArray[np.float64]:
    """How predictions (R, N, S, K) of runs correlate, (R, R), the mean over the targets; 0 with a constant one, as
    `search.ship.gains.Predictions` measures it."""
    rows = predictions.reshape(len(predictions), -1, predictions.shape[-1]).astype(np.float64)
    rows -= rows.mean(1, keepdims=True)
    length = np.sqrt((rows**2).sum(1, keepdims=True))
    rows /= np.where(length > 0, length, 1.0)
    found = np.einsum("ink,jnk->ij", rows, rows, optimize=True) / rows.shape[-1]
    np.fill_diagonal(found, 1.0)
    return np.asarray(found)
