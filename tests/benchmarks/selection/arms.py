"""The two paths of docs/selection-proof.md, driven through the product's own commands, and their judgement.

python -m tests.benchmarks.selection.arms --data ~/lob --output selection/ --seconds 3600 --configurations 40

May be stopped and resumed: the studies live in OUTPUT/studies.db, and what was spent in OUTPUT/spent.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray

from lobmodels.bootstrap import compare, sequence_statistics
from lobmodels.config import RunConfig
from lobmodels.data import Dataset, SplitRule, load_dataset, validation_split
from lobmodels.data.partition import FOLDS
from lobmodels.ensemble.bundle import read_submission
from lobmodels.errors import TrainingError
from lobmodels.training.batches import RunData
from lobmodels.training.host import tune_host
from lobmodels.training.run import TrainingRun
from search.ship.export import Request, ship
from search.ship.members import DEFAULT_BEST
from search.study.create import create_study
from search.study.open import open_study
from search.study.preview import sample_configurations
from search.study.refit import choose_ranked, refit
from search.study.replication import choose, find_replicates, pool, replicate
from search.study.runs import refit_runs
from search.studyfile.spec import StudySpec, load_spec
from search.studyfile.validation import ValidationSpec
from search.work.options import WorkOptions
from search.work.worker import work

SPACE = Path(__file__).with_name("space.yaml")
JUDGING, COUNT = 0.5, 4  # share of validation that judges; folds
SEARCH, REPEATS = 0.6, 0.85  # shares of the time after which the folds' arm repeats, and refits
CONFIGURATIONS, MOST_SEEDS = 5, 8
DRAWS = 2000


class Arm:
    """One study and the processor time that its workers took."""

    def __init__(self, name: str, folder: Path, data: Path, seconds: float) -> None:
        self.name, self.folder, self.data, self.limit = name, folder, data, seconds
        self.url = f"sqlite:///{folder / 'studies.db'}"
        self.spent_file = folder / f"{name}-spent.json"
        self.spent = json.loads(self.spent_file.read_text()) if self.spent_file.exists() else 0.0
        validation = ValidationSpec(report_fraction=JUDGING, folds=COUNT if name == "folds" else None)
        self.spec: StudySpec = load_spec(SPACE).model_copy(update={"name": name, "validation": validation})
        self.study = create_study(self.spec, self.url)

    @property
    def ended(self) -> bool:
        """Whether its time is spent."""
        return bool(self.spent >= self.limit)

    def step(self) -> None:
        """Queue what is due, and let a worker run one trial."""
        if self.name == "folds":
            self._queue()
        before = time.process_time()
        options = WorkOptions(device="cpu", trials=1, background=False)
        work(self.url, self.name, self.data, options=options)
        self.spent += time.process_time() - before
        self.spent_file.write_text(json.dumps(self.spent))

    def _queue(self) -> None:
        """Replicates after the search, a seed at a time on all folds; then refits, a seed at a time."""
        study = open_study(self.url, self.name)
        target = find_replicates(study)
        waiting = target is not None and any(t.state == optuna.trial.TrialState.WAITING for t in target.trials)
        if waiting or self.spent < SEARCH * self.limit:
            return
        kind = replicate if self.spent < REPEATS * self.limit else refit
        for seeds in range(1, MOST_SEEDS + 1):
            if kind is replicate:
                queued = replicate(study, choose(study, CONFIGURATIONS), seeds, COUNT).queued
            else:
                queued = refit(study, choose_ranked(study, CONFIGURATIONS), seeds).queued
            if queued:
                return


def submissions(arms: dict[str, Arm]) -> dict[str, Path]:
    """The zips that are judged."""
    requests = {
        "fixed": ("fixed", Request(top=10, force=True)),
        "folds": ("folds", Request(configurations=CONFIGURATIONS, seeds=MOST_SEEDS, force=True)),
        "refit": ("folds", Request(seeds=MOST_SEEDS, refit=True, force=True)),
        "fixed, best": ("fixed", Request(best=DEFAULT_BEST, force=True)),
        "folds, best": ("folds", Request(best=DEFAULT_BEST, force=True)),
    }
    found = {}
    for name, (arm, request) in requests.items():
        path = arms[arm].folder / f"{name}.zip"
        data = arms[arm].data if request.best else None  # measures how alike runs predict, without targets
        (shipment,) = ship(arms[arm].url, arm, request, path, data)
        found[name] = shipment.path
    return found


def judge(zips: dict[str, Path], dataset: Dataset) -> str:
    """The table of the submissions on the report sequences."""
    _, report = validation_split(len(dataset.valid), JUDGING)
    warmup = dataset.schema.warmup_steps
    raw, targets = dataset.valid.features[report], dataset.valid.targets[report][:, warmup:]
    bundles = {name: read_submission(path).bundle() for name, path in zips.items()}
    sums = {n: sequence_statistics(bundle.predict(raw)[:, warmup:], targets) for n, bundle in bundles.items()}
    lines = ["| arm | members | report | minus fixed | 90 % | better in |", "|---|---|---|---|---|---|"]
    for row in compare(sums, "fixed", DRAWS).rows:
        ends = "-" if row.low is None else f"{row.low:+.4f} .. {row.high:+.4f}"
        gap = "-" if row.difference is None else f"{row.difference:+.4f}"
        better = "-" if row.p_better is None else f"{row.p_better:.0%}"
        lines.append(f"| {row.name} | {len(bundles[row.name].members)} | {row.mean:.4f} | {gap} | {ends} | {better} |")
    return "\n".join(lines)


def counts(arms: dict[str, Arm]) -> str:
    """What each arm trained in its time."""
    lines = []
    for name, arm in arms.items():
        study = open_study(arm.url, name)
        target = find_replicates(study)
        refits = [] if target is None else refit_runs(target)
        runs = pool(study)
        searched = sum(run.study == name for run in runs)
        lines.append(f"{name}: {arm.spent:.0f} s, {searched} search runs, {len(runs) - searched} replicates, ")
        lines[-1] += f"{len(refits)} refits"
    return "\n".join(lines)


def correlation_rows(dataset: Dataset, count: int, output: Path, seconds: float) -> list[list[float]]:
    """Per configuration: selection and report of the fixed run, then of the run on each fold. Kept in `output`."""
    rows = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
    configs = sample_configurations(load_spec(SPACE).model_copy(update={"seed": 77}), count)
    rules = [SplitRule(JUDGING), *(SplitRule(JUDGING, FOLDS, COUNT, fold) for fold in range(COUNT))]
    end = time.monotonic() + seconds
    with output.open("a") as file:
        for config in configs[len(rows) :]:
            if time.monotonic() > end:
                break
            row = [value for rule in rules for value in _scores(dataset, config, rule)]
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
    return rows


def _scores(dataset: Dataset, config: RunConfig, rule: SplitRule) -> tuple[float, float]:
    run = TrainingRun(config, 0, RunData.prepare(dataset, config, "cpu", rule=rule))
    try:
        while not run.finished:
            run.train_epoch()
    except TrainingError:
        return float("nan"), float("nan")
    scores = run.result().scores
    assert scores["select"] is not None and scores["report"] is not None
    return scores["select"]["mean"], scores["report"]["mean"]


def correlation_table(rows: list[list[float]]) -> str:
    """Correlations (a) to (d) of the page over the configurations, and the interval of (d) - (a)."""
    found = np.array(rows)
    found = found[np.isfinite(found).all(1)]

    def four(part: NDArray[np.float64]) -> NDArray[np.float64]:
        select, report = part[:, 0::2], part[:, 1::2]
        mean = select[:, 1:].mean(1)
        pairs = ((select[:, 0], report[:, 0]), (select[:, 1], report[:, 1]))
        pairs += ((mean, report[:, 1:].mean(1)), (mean, report[:, 0]))
        return np.array([np.corrcoef(*pair)[0, 1] for pair in pairs])

    random = np.random.default_rng(0)
    drawn = np.array([four(found[random.integers(0, len(found), len(found))]) for _ in range(DRAWS)])
    low, high = np.nanquantile(drawn[:, 3] - drawn[:, 0], [0.05, 0.95])
    a, b, c, d = four(found)
    return (
        f"{len(found)} configurations: (a) {a:.2f}, (b) {b:.2f}, (c) {c:.2f}, (d) {d:.2f}; "
        f"(d) - (a) {d - a:+.2f}, 90 % {low:+.2f} .. {high:+.2f}"
    )


def main() -> None:
    """Run what is missing of both parts, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("selection"))
    parser.add_argument("--seconds", type=float, default=3600.0, help="processor time of each arm")
    parser.add_argument("--configurations", type=int, default=40, help="for the correlations")
    parser.add_argument("--wall", type=float, default=np.inf, help="seconds after which the correlations stop")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tune_host(1)
    dataset = load_dataset(given.data)
    arms = {name: Arm(name, given.output, given.data, given.seconds) for name in ("fixed", "folds")}
    while not all(arm.ended for arm in arms.values()):
        min(arms.values(), key=lambda arm: arm.spent).step()
    print(counts(arms), judge(submissions(arms), dataset), sep="\n\n", flush=True)
    rows = correlation_rows(dataset, given.configurations, given.output / "correlations.jsonl", given.wall)
    print("\n" + correlation_table(rows))


if __name__ == "__main__":
    main()
