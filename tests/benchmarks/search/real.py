"""Level c: paired studies of small networks on real order books, at equal epochs and at equal seconds.

python -m tests.benchmarks.search.real --data ~/lob --output real/ --arms random ours --pairs 5 --epochs 400
python -m tests.benchmarks.search.real --data ~/lob --output real/ --arms random ours --pairs 5 --seconds 1800

May be stopped and resumed: studies live in OUTPUT/studies.db, weights of complete runs beside it, and what is spent is
read from there. Every arm of a pair has the same seed. Half of the validation sequences select (epochs, pruning,
members); the other half judges and is seen by nothing else.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from storage.backends.database import open_storage

from lobmodels.checkpoint import Checkpoint
from lobmodels.config import RunConfig
from lobmodels.data import Dataset, load_dataset
from lobmodels.ensemble.bundle import Bundle
from lobmodels.errors import ConfigError, TrainingError
from lobmodels.metric import weighted_pearson
from lobmodels.training.batches import RunData
from lobmodels.training.host import tune_host
from lobmodels.training.run import TrainingRun
from search.study.quiet import without_experimental_warning
from search.study.record import CONFIGURATION, KEY, SECONDS
from search.studyfile.space import suggest
from search.studyfile.spec import BudgetSpec, StudySpec, load_spec
from tests.benchmarks.search.arms import ARMS

JUDGING = 0.5  # share of the validation sequences that judges
MEMBERS = 10
FRESH = range(10_000, 10_003)  # seeds that no search trial has
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Budget:
    """Epochs or seconds of training of one study."""

    epochs: float
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.epochs:g}e" if np.isfinite(self.epochs) else f"{self.seconds:g}s"

    def spent(self, trials: list[FrozenTrial]) -> bool:
        """Whether the ended trials have used it up."""
        epochs = sum(len(trial.intermediate_values) for trial in trials)
        return epochs >= self.epochs or sum(trial.user_attrs.get(SECONDS, 0.0) for trial in trials) >= self.seconds


def search(arm: str, pair: int, budget: Budget, dataset: Dataset, folder: Path) -> optuna.Study:
    """The study of one arm, gone on with until its budget is spent."""
    limit = BudgetSpec(hours=budget.seconds / 3600) if np.isfinite(budget.seconds) else BudgetSpec()
    spec = load_spec(Path(__file__).with_name("real.yaml")).model_copy(update={"seed": pair, "budget": limit})
    with without_experimental_warning():
        sampler, pruner = ARMS[arm].sampler(spec), ARMS[arm].pruner(spec)
    study = optuna.create_study(
        storage=open_storage(f"sqlite:///{folder / 'studies.db'}"),
        study_name=f"{arm}-{pair}-{budget.name}",
        sampler=sampler,
        pruner=pruner,
        direction="maximize",
        load_if_exists=True,
    )
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):  # the process was stopped in it
        study.tell(left.number, state=TrialState.FAIL)
    while not budget.spent(study.get_trials(deepcopy=False, states=ENDED)):
        _trial(study, spec, dataset, folder)
    return study


def _trial(study: optuna.Study, spec: StudySpec, dataset: Dataset, folder: Path) -> None:
    trial = study.ask()
    try:
        config = suggest(spec, trial)
        trial.set_user_attr(CONFIGURATION, config.active())
        trial.set_user_attr(KEY, config.key())
        run = TrainingRun(config, spec.trial_seed(trial.number), RunData.prepare(dataset, config, "cpu", JUDGING))
        pruned = _train(run, trial)
    except (ConfigError, TrainingError) as error:
        trial.set_user_attr("reason", str(error))
        study.tell(trial, state=TrialState.FAIL)
        return
    if pruned:
        study.tell(trial, state=TrialState.PRUNED)
        return
    checkpoint = run.result(f"{study.study_name}#{trial.number}")
    (folder / f"{study.study_name}-{trial.number}.safetensors").write_bytes(checkpoint.to_bytes())
    study.tell(trial, checkpoint.score)


def _train(run: TrainingRun, trial: optuna.Trial) -> bool:
    """Train until the run ends or is pruned; whether it was pruned."""
    while not run.finished:
        record = run.train_epoch()
        trial.set_user_attr(SECONDS, sum(epoch.seconds for epoch in run.history))
        trial.report(record.mean, record.epoch)
        if not run.finished and trial.should_prune():
            return True
    return False


def judge(study: optuna.Study, dataset: Dataset, folder: Path) -> tuple[float, float]:
    """Scores on the judging sequences: of the uniform top ten, and of the best configuration under fresh seeds."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best = sorted(complete, key=lambda trial: -(trial.value or 0.0))
    members = [
        Checkpoint.from_bytes((folder / f"{study.study_name}-{trial.number}.safetensors").read_bytes())
        for trial in best[:MEMBERS]
    ]
    config = RunConfig.parse(best[0].user_attrs[CONFIGURATION])
    fresh = [_fresh(config, seed, dataset) for seed in FRESH]
    return _score(Bundle.of(members), dataset), float(np.mean(fresh))


def _fresh(config: RunConfig, seed: int, dataset: Dataset) -> float:
    run = TrainingRun(config, seed, RunData.prepare(dataset, config, "cpu", JUDGING))
    while not run.finished:
        run.train_epoch()
    scores = run.result("fresh").scores["report"]
    assert scores is not None
    return scores["mean"]


def _score(bundle: Bundle, dataset: Dataset) -> float:
    """Mean weighted Pearson of an ensemble on the judging sequences."""
    select = RunData.prepare(dataset, bundle.members[0].config, "cpu", JUDGING).select_index
    judging = np.setdiff1d(np.arange(len(dataset.valid)), select)
    warmup = dataset.valid.schema.warmup_steps
    predictions = bundle.predict(dataset.valid.features[judging])[:, warmup:]
    return float(weighted_pearson(predictions, dataset.valid.targets[judging, warmup:]).mean())


def summary(scores: dict[str, list[tuple[float, float]]]) -> str:
    """Each arm's means, and its paired differences from the first arm with their standard errors."""
    first = np.array(next(iter(scores.values())))
    lines = ["| arm | ensemble | minus the first | best configuration | minus the first |", "|---|---|---|---|---|"]
    for arm, values in scores.items():
        found = np.array(values)
        difference = found - first[: len(found)]
        error = difference.std(0, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else np.full(2, np.nan)
        cells = [f"{found[:, i].mean():.4f} | {difference[:, i].mean():+.4f} ({error[i]:.4f})" for i in (0, 1)]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, pair by pair, and print the table so far after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("real"))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["random", "tpe+median", "tpe+halving1", "ours"])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=np.inf)
    parser.add_argument("--seconds", type=float, default=np.inf)
    arguments = parser.parse_args()
    if not np.isfinite(min(arguments.epochs, arguments.seconds)):
        parser.error("give --epochs or --seconds")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arguments.output.mkdir(parents=True, exist_ok=True)
    tune_host(1)
    dataset, budget = load_dataset(arguments.data), Budget(arguments.epochs, arguments.seconds)
    scores: dict[str, list[tuple[float, float]]] = {arm: [] for arm in arguments.arms}
    for pair in range(arguments.pairs):
        for arm in arguments.arms:
            study = search(arm, pair, budget, dataset, arguments.output)
            scores[arm].append(judge(study, dataset, arguments.output))
        print(f"\n{pair + 1} pairs, {budget.name}\n\n{summary(scores)}", flush=True)


if __name__ == "__main__":
    main()
