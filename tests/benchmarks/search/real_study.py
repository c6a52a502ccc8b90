"""One arm's study of small networks on one pair's data, in memory: what level c of docs/search-proof.md runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import TrialState

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.data import Dataset, Sequences
from lobmodels.errors import TrainingError
from lobmodels.metric import weighted_pearson
from lobmodels.training.batches import RunData
from lobmodels.training.run import TrainingRun
from search.study.pruners import build_pruner
from search.study.record import DIVERGED, FAILURE, SECONDS, WORST
from search.study.samplers import build_sampler
from search.studyfile.space import suggest
from search.studyfile.spec import StudySpec, load_spec
from search.studyfile.terms import BudgetSpec, PrunerSpec, SamplerSpec
from tests.benchmarks.search.arms import ARMS, TEACHES, Arm, half_at_random

TRAIN, SELECT = 64, 46  # sequences that a pair trains on and selects on
JUDGE = 150  # sequences of the train file that judge, beside all of the validation file that do not select

MEDIAN = PrunerSpec(name="median", warmup_epochs=10, startup_trials=8, patience=2)  # lobtuna's default until now


def _ours_with_median(spec: StudySpec) -> StudySpec:
    return spec.model_copy(update={"sampler": SamplerSpec(), "pruner": MEDIAN})


COMPARED = {
    "random": ARMS["random"],
    "tpe+median": ARMS["tpe+median"],
    "ours+median": Arm(
        lambda spec: build_sampler(_ours_with_median(spec)),
        lambda spec: build_pruner(_ours_with_median(spec)),
        teaches=True,
    ),
    "ours": ARMS["ours"],
    "ours+half": Arm(half_at_random, ARMS["ours"].pruner, teaches=True),
}
USUAL = ("random", "tpe+median", "ours+median", "ours")  # what is compared where no arms are named


@dataclass(frozen=True)
class Pair:
    """The data of one pair of studies: what all its arms train and select on, and what judges them."""

    dataset: Dataset  # its validation sequences are those that select
    features: NDArray[np.float32]  # (N, T, F) of the judging sequences, the later ones first
    targets: NDArray[np.float32]  # (N, S, K)
    later: int  # how many of them are of the validation file, later in time than all that was trained on

    @staticmethod
    def draw(whole: Dataset, pair: int) -> Pair:
        """The split of this pair, from its number alone."""
        rng = np.random.default_rng([pair, 11])
        train, valid = rng.permutation(len(whole.train)), rng.permutation(len(whole.valid))
        used = replace(
            whole,
            train=_part(whole.train, train[:TRAIN]),
            valid=_part(whole.valid, valid[:SELECT]),
            fingerprint=f"{whole.fingerprint}-{pair}",
        )
        judging = [_part(whole.valid, valid[SELECT:]), _part(whole.train, train[TRAIN : TRAIN + JUDGE])]
        features = np.concatenate([part.features for part in judging])
        targets = np.concatenate([part.targets[:, part.schema.warmup_steps :] for part in judging])
        return Pair(used, features, targets, len(judging[0]))

    def predict(self, checkpoint: Checkpoint) -> NDArray[np.float32]:
        """Predictions (N, S, K) on the judging sequences."""
        return checkpoint.predict(self.features)[:, self.dataset.schema.warmup_steps :]

    def scores(self, predictions: NDArray[Any]) -> tuple[float, float]:
        """Mean weighted Pearson of predictions (N, S, K): on all judging sequences, and on the later ones alone."""
        whole = weighted_pearson(predictions, self.targets).mean()
        return float(whole), float(weighted_pearson(predictions[: self.later], self.targets[: self.later]).mean())


def _part(sequences: Sequences, index: NDArray[np.int64]) -> Sequences:
    index = np.sort(index)
    arrays = {"features": sequences.features[index], "targets": sequences.targets[index]}
    return replace(sequences, **arrays, seq_ix=sequences.seq_ix[index])


@dataclass
class Ended:
    """One ended trial of a study."""

    number: int
    state: str  # complete, pruned, failed
    epochs: int
    seconds: float  # of the processor, from the question to the sampler to the trial's end
    config: RunConfig
    curve: list[float]
    checkpoint: Checkpoint | None = None

    def document(self) -> dict[str, Any]:
        """What the output keeps: a recorded curve like those of level a."""
        kept = {name: getattr(self, name) for name in ("number", "state", "epochs")}
        curve = [round(value, 5) for value in self.curve]
        return {**kept, "seconds": round(self.seconds, 3), "curve": curve, "configuration": self.config.active()}


@dataclass
class RealStudy:
    """One arm on one pair, with its study in memory."""

    study: optuna.Study
    spec: StudySpec
    pair: Pair
    ended: list[Ended] = field(default_factory=list)
    prepared: dict[Any, RunData] = field(default_factory=dict)

    @staticmethod
    def of(arm: str, number: int, pair: Pair) -> RealStudy:
        """The study of an arm; the pair's number is its seed. Its budget is one of hours, as most are."""
        spec = load_spec(Path(__file__).with_name("real.yaml"))
        spec = spec.model_copy(update={"seed": number, "budget": BudgetSpec(hours=1.0)})
        return RealStudy(COMPARED[arm].study(spec), spec, pair)

    def search(self, epochs: float, seconds: float) -> None:
        """Go on until both are spent."""
        while sum(t.epochs for t in self.ended) < epochs or sum(t.seconds for t in self.ended) < seconds:
            self.ended.append(self._trial())

    def data_for(self, config: RunConfig) -> RunData:
        """The pair's data for the inputs of `config`; prepared once a study, as a worker does, and not counted."""
        key = (config.feature_groups(), config.normalizer)
        if key not in self.prepared:
            self.prepared[key] = RunData.prepare(self.pair.dataset, config, "cpu", 0.0)
        return self.prepared[key]

    def _trial(self) -> Ended:
        begun = time.process_time()
        trial = self.study.ask()
        config = suggest(self.spec, trial)
        asked = time.process_time() - begun
        data = self.data_for(config)
        begun = time.process_time() - asked
        run = TrainingRun(config, self.spec.trial_seed(trial.number), data)
        try:
            state = TrialState.PRUNED if self._train(run, trial, begun) else TrialState.COMPLETE
        except TrainingError:
            state = self._diverged(trial, run.epoch + 1)
        seconds = time.process_time() - begun
        curve = [record.mean for record in run.history]
        failed = state == TrialState.FAIL or FAILURE in trial.user_attrs
        name = "failed" if failed else state.name.lower()
        ended = Ended(trial.number, name, max(1, len(curve) + failed), seconds, config, curve)
        if state == TrialState.COMPLETE:
            ended.checkpoint = run.result(f"study#{trial.number}")
        value = max(curve) if state == TrialState.COMPLETE else None
        self.study.tell(trial, value, state=state)
        return ended

    def _train(self, run: TrainingRun, trial: optuna.Trial, begun: float) -> bool:
        """Train until the run ends or is pruned; whether it was pruned."""
        while not run.finished:
            record = run.train_epoch()
            trial.set_user_attr(SECONDS, time.process_time() - begun)
            trial.report(record.mean, record.epoch)
            if not run.finished and trial.should_prune():
                return True
        return False

    def _diverged(self, trial: optuna.Trial, epochs: int) -> TrialState:
        """How the arm tells a diverged run: as a lobtuna worker does, or as failed, as Optuna's own loop does."""
        if not self.study.user_attrs.get(TEACHES):
            return TrialState.FAIL
        trial.set_user_attr(FAILURE, DIVERGED)
        trial.report(WORST, epochs)
        return TrialState.PRUNED
