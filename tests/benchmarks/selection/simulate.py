"""The whole path from a search to the shipped ensemble, simulated where the truth is known.

python -m tests.benchmarks.selection.simulate --worlds 400

A configuration is worth q on unseen data, a run of it q + its seed's luck. A run is selected by its score on the
selection sequences: its worth, plus how these sequences suit its configuration. docs/selection-proof.md says where the
numbers come from, what is compared and how large a difference is chance. The ranking is the product's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.study.random_effects import fit

Floats = NDArray[np.float64]
Runs = list[tuple[int, int, int]]  # configuration, seed, fold of each run

MEAN = 0.27  # worth of the average run
SAME, OTHER = 0.92, 0.88  # correlation of the predictions of two runs of one configuration, of two configurations
CONFIGURATIONS = 5  # that an export by configuration takes
SEARCH = 0.6  # share of the runs that search, where others repeat
DRAWS = 2000


@dataclass(frozen=True)
class Setting:
    """Noise of one task. Sequences that select: on the fixed split, and on each of the folds."""

    name: str
    between: float  # standard deviation of the configurations' worth
    seed: float  # of a run under its seed
    pair: float  # of the difference of two configurations when `pair_sequences` are drawn again
    pair_sequences: int
    fixed: int
    fold: int
    folds: int

    def suits(self, sequences: int) -> float:
        """Standard deviation of how so many sequences suit a configuration."""
        return float(self.pair / np.sqrt(2) * np.sqrt(self.pair_sequences / sequences))


SETTINGS = (
    Setting("challenge", 0.0045, 0.0055, 0.007, 1083, 1083, 2361, 5),
    Setting("challenge, more alike", 0.003, 0.004, 0.007, 1083, 1083, 2361, 5),
    Setting("real_lob", 0.015, 0.0055, 0.028, 70, 47, 119, 4),
    Setting("real_lob, less alike", 0.03, 0.0055, 0.028, 70, 47, 119, 4),
)


class World:
    """One draw of the truth, and what each run would score on the fixed split and on each fold."""

    def __init__(self, setting: Setting, number: int, most: int) -> None:
        random = np.random.default_rng([number, 5])
        self.setting = setting
        self.worth = random.normal(MEAN, setting.between, most)  # (C,)
        self.luck = random.normal(0, setting.seed, (most, most, 1 + setting.folds))  # configuration, seed, fold
        suits = [setting.suits(setting.fixed), *[setting.suits(setting.fold)] * setting.folds]
        self.suits = random.normal(0, suits, (most, 1 + setting.folds))  # of configurations on the splits; 0 is fixed

    def truth(self, runs: Runs) -> Floats:
        """What runs are worth on unseen data."""
        c, s, f = np.array(runs).T
        found: Floats = self.worth[c] + self.luck[c, s, f]
        return found

    def score(self, runs: Runs) -> Floats:
        """What runs score on the sequences that select."""
        c, _, f = np.array(runs).T
        found: Floats = self.truth(runs) + self.suits[c, f]
        return found

    def shipped(self, runs: Runs, loss: float = 0.0) -> float:
        """Score on unseen data of the uniform average of `runs`, each worth `loss` less."""
        configuration = np.array(runs)[:, 0]
        matrix = np.where(configuration[:, None] == configuration, SAME, OTHER)
        np.fill_diagonal(matrix, 1.0)
        return float((self.truth(runs).mean() - loss) / np.sqrt(matrix.mean()))


def single(world: World, count: int) -> Runs:
    """The run with the best score of a search on the fixed split."""
    return _top(world, count, 1)


def top_ten(world: World, count: int) -> Runs:
    """The ten runs with the best scores of a search on the fixed split: `export --top 10`."""
    return _top(world, count, 10)


def top_forty(world: World, count: int) -> Runs:
    """As many members as the paths with replicates have at a hundred runs."""
    return _top(world, count, 40)


def _top(world: World, count: int, members: int) -> Runs:
    runs = [(i, 0, 0) for i in range(count)]
    return [runs[i] for i in np.argsort(-world.score(runs))[:members]]


def by_configuration(world: World, count: int) -> Runs:
    """Replicates of the best under further seeds on the fixed split, the best five by the ranking."""
    return _repeated(world, count, [(seed, 0) for seed in range(1, count)])


def over_folds(world: World, count: int) -> Runs:
    """Search on the first fold, replicates of the best on all folds, then under further seeds; the best five."""
    folds = range(1, 1 + world.setting.folds)
    cells = [(seed, fold) for seed in range(count) for fold in folds]
    return _repeated(world, count, cells[1:], first=1)


def _repeated(world: World, count: int, cells: list[tuple[int, int]], first: int = 0) -> Runs:
    """Runs of the five configurations with the best estimates; `cells` are further seeds and folds in their order."""
    searched = [(i, 0, first) for i in range(round(SEARCH * count))]
    scores = world.score(searched)
    chosen = [int(i) for i in np.argsort(-scores)[: max(CONFIGURATIONS, min(8, round((1 - SEARCH) * count / 4)))]]
    further = [(i, *cell) for cell in cells for i in chosen][: count - len(searched)]
    runs = [searched[i] for i in chosen] + further
    position = {i: k for k, i in enumerate(chosen)}
    configuration = np.array([position[run[0]] for run in runs])
    sampling = None if first else np.eye(len(chosen)) * world.setting.suits(world.setting.fixed) ** 2
    found = fit(
        world.score(runs),
        configuration,
        np.array([run[1] for run in runs]),
        np.arange(len(runs)) < len(chosen),
        draws=DRAWS,
        sampling=sampling,
        population=scores,
        fold=np.array([run[2] for run in runs]),
    )
    best = set(np.argsort(-found.estimate)[:CONFIGURATIONS])
    return [run for run, i in zip(runs, configuration, strict=True) if i in best]


PATHS: dict[str, Callable[[World, int], Runs]] = {
    "best single run": single,
    "`--top 10`": top_ten,
    "`--top 40`": top_forty,
    "`--configurations 5`, fixed split": by_configuration,
    "`--configurations 5`, folds": over_folds,
}
TODAY = "`--top 10`"
FOLD_LOSSES = (0.0, 0.002, 0.005)  # what a run is worth less for the sequences that its fold holds out


def table(setting: Setting, count: int, worlds: int) -> str:
    """Mean quality of what each path ships after `count` runs, and its difference to `--top 10` with standard error."""
    rows = {name: np.zeros(worlds) for name in PATHS}
    rows |= {f"the same, fold runs worth {loss:g} less": np.zeros(worlds) for loss in FOLD_LOSSES[1:]}
    members = dict.fromkeys(rows, 0)
    for number in range(worlds):
        world = World(setting, number, count)
        for name, path in PATHS.items():
            runs = path(world, count)
            rows[name][number], members[name] = world.shipped(runs), len(runs)
            for loss in FOLD_LOSSES[1:] if path is over_folds else ():
                name = f"the same, fold runs worth {loss:g} less"
                rows[name][number], members[name] = world.shipped(runs, loss), len(runs)
    lines = [f"{setting.name}, {count} runs", "", "| path | members | quality | minus `--top 10` (error) |"]
    lines.append("|---|---|---|---|")
    for name, values in rows.items():
        gap = values - rows[TODAY]
        error = gap.std(ddof=1) / np.sqrt(worlds)
        said = "" if name == TODAY else f"{1e4 * gap.mean():+.1f} ({1e4 * error:.1f})"
        lines.append(f"| {name} | {members[name]} | {values.mean():.4f} | {said} |")
    return "\n".join(lines)


def main() -> None:
    """Print a table for each setting and number of runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--runs", type=int, nargs="+", default=[40, 100])
    given = parser.parse_args()
    for setting in SETTINGS:
        for count in given.runs:
            print(table(setting, count, given.worlds), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
