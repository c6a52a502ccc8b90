"""Level c: paired studies of small networks on real order books, judged at equal seconds and at equal epochs.

python -m tests.benchmarks.search.real --data ~/lob --output real.jsonl
python -m tests.benchmarks.search.real --output real.jsonl --tables

Each study goes on until both budgets are spent, and is judged at each with the trials that had ended by then: one study
tells both. Seconds are those of the processor (`time.process_time`, one thread), so that other work on the machine does
not count. A study's line is appended when it has been judged; studies that the output holds are not run again, so the
script may be stopped at any time. docs/search-proof.md says what is compared and how it is judged.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import TrialState

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.data import Dataset, Sequences, load_dataset
from lobmodels.ensemble.bundle import Bundle
from lobmodels.errors import TrainingError
from lobmodels.metric import weighted_pearson
from lobmodels.training.batches import RunData
from lobmodels.training.host import tune_host
from lobmodels.training.run import TrainingRun
from search.ship.best import CONSIDERED, WORTHLESS, best_average
from search.ship.members import DEFAULT_BEST
from search.study.pruners import build_pruner
from search.study.record import DIVERGED, FAILURE, SECONDS, WORST
from search.study.resampling import resampled_scores
from search.study.samplers import build_sampler
from search.study.worth import expected_worth, sampling_noise
from search.studyfile.space import suggest
from search.studyfile.spec import StudySpec, load_spec
from search.studyfile.terms import BudgetSpec, PrunerSpec, SamplerSpec
from tests.benchmarks.search.arms import ARMS, TEACHES, Arm
from tests.benchmarks.search.paired import tables

TRAIN, SELECT = 64, 46  # sequences that a pair trains on and selects on
JUDGE = 150  # sequences of the train file that judge, beside all of the validation file that do not select
MEMBERS = 10
FRESH = range(10_000, 10_002)  # seeds that no search trial has

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
}


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
        order = np.argsort(-worth, kind="stable")[: CONSIDERED * DEFAULT_BEST]
        alike = self._correlations([complete[i] for i in order])
        chosen = best_average(np.maximum(worth[order], WORTHLESS), alike, DEFAULT_BEST)
        return [complete[order[i]] for i in chosen]

    def _correlations(self, runs: Sequence[Ended]) -> NDArray[np.float64]:
        """How alike runs predict the sequences that select, (R, R), the mean over the targets."""
        selecting, warmup = self.pair.dataset.valid.features, self.pair.dataset.schema.warmup_steps
        for run in runs:
            if run.number not in self._selecting and run.checkpoint is not None:
                self._selecting[run.number] = run.checkpoint.predict(selecting)[:, warmup:]
        rows = np.stack([self._selecting[run.number] for run in runs])
        found = [np.atleast_2d(np.corrcoef(rows[..., k].reshape(len(rows), -1))) for k in range(rows.shape[-1])]
        return np.nan_to_num(np.mean(found, axis=0))

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


def run_study(arm: str, number: int, pair: Pair, epochs: float, seconds: float) -> dict[str, Any]:
    """One study and its judgement at each budget and at half of it, as one line of the output."""
    real = RealStudy.of(arm, number, pair)
    real.search(epochs, seconds)
    judge = Judge(real)
    at = {
        "epochs": judge.at(epochs=epochs),
        "seconds": judge.at(seconds=seconds),
        "half the epochs": judge.at(epochs=epochs / 2, configuration=False),
        "half the seconds": judge.at(seconds=seconds / 2, configuration=False),
    }
    trials = [t.document() for t in real.ended]
    return {"arm": arm, "pair": number, "budget": [epochs, seconds], "at": at, "trials": trials}


def main() -> None:
    """Run what is missing, pair by pair, and print the tables so far after each study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train.parquet and valid.parquet of real_lob")
    parser.add_argument("--output", type=Path, default=Path("real.jsonl"))
    parser.add_argument("--arms", nargs="+", choices=COMPARED, default=list(COMPARED))
    parser.add_argument("--first", type=int, default=1000, help="number of the first pair; below 1,000: for trying")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=300)
    parser.add_argument("--seconds", type=float, default=36, help="of the processor, a study")
    parser.add_argument("--tables", action="store_true", help="print the tables of the output and run nothing")
    chosen = parser.parse_args()
    if not chosen.tables:
        if chosen.data is None:
            parser.error("give --data, or --tables to print what the output holds")
        run_pairs(chosen)
    print(tables(_lines(chosen.output)))


def run_pairs(chosen: argparse.Namespace) -> None:
    """Append the lines that `chosen.output` lacks."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tune_host(1)
    whole = load_dataset(chosen.data)
    compile_kernels(Pair.draw(whole, 0))
    for number in range(chosen.first, chosen.first + chosen.pairs):
        pair = Pair.draw(whole, number)
        for arm in chosen.arms:
            done = {(line["arm"], line["pair"]) for line in _lines(chosen.output)}
            if (arm, number) in done:
                continue
            line = run_study(arm, number, pair, chosen.epochs, chosen.seconds)
            with chosen.output.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(tables(_lines(chosen.output)), flush=True)


def compile_kernels(pair: Pair) -> None:
    """Train one epoch of each architecture, so that no study's clock pays for what is compiled once a process."""
    for architecture in ("gru", "lstm"):
        config = RunConfig.parse({"architecture": architecture, "hidden_size": 8, "batch_size": 16})
        TrainingRun(config, 0, RunData.prepare(pair.dataset, config, "cpu", 0.0)).train_epoch()


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
