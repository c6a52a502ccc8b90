"""Which runs of a small study an ensemble should take: rules of choice, replayed on kept predictions of real studies.

python -m tests.benchmarks.selection.choices --data ~/lob --output choices/ --first 101 --pairs 8
python -m tests.benchmarks.selection.choices --output choices/ --first 101 --pairs 8 --tables

Each study is one of `tests.benchmarks.search.real_study`. What a rule may see (scores, sums, correlations on the
sequences that select) and what judges it (predictions of other sequences) is kept in one file a study, so that rules
are compared in seconds. docs/selection-proof.md says what is compared and how it is judged.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray

from lobmodels.bootstrap import correlations, sequence_statistics
from lobmodels.data import Dataset, load_dataset
from lobmodels.training.host import tune_host
from search.ship.best import CONSIDERED, WORTHLESS, best_average, best_of
from search.ship.members import DEFAULT_BEST, DEFAULT_TOP
from search.study.resampling import resampled_scores
from search.study.worth import expected_worth, sampling_noise
from tests.benchmarks.search.paired import cell
from tests.benchmarks.search.real import compile_kernels
from tests.benchmarks.search.real_judge import correlations_of
from tests.benchmarks.search.real_study import Pair, RealStudy

Floats = NDArray[np.float64]
ARMS = ("random", "ours+median")
EPOCHS, SECONDS = 300, 36.0


@dataclass(frozen=True)
class Kept:
    """The complete runs of one study, best on selection first."""

    value: Floats  # (R,)
    configuration: NDArray[np.int64]  # (R,)
    sums: Floats  # (R, N, 6, K) on the sequences that select
    correlation: Floats  # (R, R) of predictions there
    judging: NDArray[np.float32]  # (R, N, S, K), each of spread 1
    targets: NDArray[np.float32]  # (N, S, K)
    later: int  # of the judging sequences

    @property
    def worth(self) -> Floats:
        """What each run is expected to score on new data (`search.study.worth`)."""
        fold = np.zeros(len(self.value), dtype=np.int64)
        noise = None
        if len(self.value) > 1:
            noise = sampling_noise(resampled_scores(list(self.sums)), self.configuration, fold)
        return expected_worth(self.value, self.configuration, fold, noise)

    def score(self, chosen: Sequence[int]) -> tuple[float, float]:
        """Of the uniform average: on all judging sequences, and on the later ones."""
        sums = sequence_statistics(self.judging[list(chosen)].mean(0), self.targets)
        return float(correlations(sums.sum(0)).mean()), float(correlations(sums[: self.later].sum(0)).mean())


def kept(arm: str, number: int, pair: Pair) -> dict[str, NDArray[np.generic]]:
    """Run the study of an arm on a pair, and return the arrays of `Kept`."""
    study = RealStudy.of(arm, number, pair)
    study.search(EPOCHS, SECONDS)
    done = sorted((t for t in study.ended if t.checkpoint is not None), key=lambda t: -max(t.curve))
    points = [t.checkpoint for t in done if t.checkpoint is not None]
    keys = [t.config.key() for t in done]
    warmup = pair.dataset.schema.warmup_steps
    rows = np.stack([point.predict(pair.dataset.valid.features)[:, warmup:] for point in points])
    judging = np.stack([pair.predict(point) for point in points])
    spread = judging.reshape(len(judging), -1, judging.shape[-1]).std(1)[:, None, None]
    return {
        "value": np.array([max(t.curve) for t in done]),
        "configuration": np.array([keys.index(key) for key in keys]),
        "sums": np.stack([point.sequence_sums["select"] for point in points]).astype(np.float64),
        "correlation": correlations_of(rows),
        "judging": (judging / np.where(spread > 1e-6, spread, np.inf)).astype(np.float16),
        "targets": pair.targets,
        "later": np.array(pair.later),
    }


def read(path: Path) -> Kept:
    """A study's file."""
    with np.load(path) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    found["judging"] = found["judging"].astype(np.float32)
    return Kept(**{**found, "later": int(found["later"])})


def expected_best(study: Kept) -> list[int]:
    """What `export --best 20` takes."""
    return best_of(study.worth, DEFAULT_BEST, lambda places: study.correlation[np.ix_(places, places)])


def formerly(study: Kept) -> list[int]:
    """What it took at first: of all runs, and none beyond what was expected to gain."""
    order = np.argsort(-study.worth, kind="stable")[: CONSIDERED * DEFAULT_BEST]
    worth, correlation = np.maximum(study.worth[order], WORTHLESS), study.correlation[np.ix_(order, order)]
    return [int(order[i]) for i in best_average(worth, correlation, DEFAULT_BEST, fewest=1)]


RULES: dict[str, Callable[[Kept], Sequence[int]]] = {
    "`--top 10`": lambda study: range(min(DEFAULT_TOP, len(study.value))),
    "`--top 20`": lambda study: range(min(DEFAULT_BEST, len(study.value))),
    "`--best 20`, formerly": formerly,
    "`--best 20`": expected_best,
}


def tables(studies: Sequence[tuple[int, Kept]]) -> str:
    """What each rule scores more than the first, the mean over a pair's studies, and its worst study; 1e-4."""
    names = list(RULES)
    chosen = [{name: list(RULES[name](study)) for name in names} for _, study in studies]
    scores = {name: np.array([s.score(c[name]) for (_, s), c in zip(studies, chosen, strict=True)]) for name in names}
    pairs = np.array([pair for pair, _ in studies])
    lines = ["| members | number | minus `--top 10` | the worst study | later sequences |", "|---|---|---|---|---|"]
    for name in names:
        gain = 1e4 * (scores[name] - scores[names[0]])
        by_pair = np.stack([gain[pairs == pair].mean(0) for pair in np.unique(pairs)])
        count = np.mean([len(c[name]) for c in chosen])
        row = [f"{name} ({scores[name][:, 0].mean():.4f})", f"{count:.1f}", cell(by_pair[:, 0])]
        lines.append(f"| {' | '.join([*row, f'{gain[:, 0].min():+.0f}', cell(by_pair[:, 1])])} |")
    return "\n".join(lines)


def run(whole: Dataset, output: Path, numbers: Sequence[int]) -> None:
    """Write the files that are missing."""
    compile_kernels(Pair.draw(whole, 0))
    for number in numbers:
        pair = Pair.draw(whole, number)
        for arm in ARMS:
            path = output / f"{number}-{arm}.npz"
            if not path.exists():
                np.savez(path.with_suffix(".part.npz"), **kept(arm, number, pair))
                path.with_suffix(".part.npz").rename(path)
                print(path.name, flush=True)


def main() -> None:
    """Run the studies that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train.parquet and valid.parquet of real_lob")
    parser.add_argument("--output", type=Path, default=Path("choices"))
    parser.add_argument("--first", type=int, default=1020, help="number of the first pair; below 1,000: for trying")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--tables", action="store_true", help="print the table of the output and run nothing")
    given = parser.parse_args()
    numbers = range(given.first, given.first + given.pairs)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if not given.tables:
        if given.data is None:
            parser.error("give --data, or --tables to print what the output holds")
        tune_host(1)
        given.output.mkdir(parents=True, exist_ok=True)
        run(load_dataset(given.data), given.output, numbers)
    paths = [(n, given.output / f"{n}-{arm}.npz") for n in numbers for arm in ARMS]
    print(tables([(n, read(path)) for n, path in paths if path.exists()]))


if __name__ == "__main__":
    main()
