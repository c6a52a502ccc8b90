"""The whole path from a search to the shipped ensemble, simulated where the truth is known.

python -m tests.benchmarks.selection.simulate --worlds 400

A configuration is worth q on unseen data, a run of it q + its seed's luck. A run is selected by its score on the
selection sequences: its worth, plus how these sequences suit its configuration and itself. docs/selection-proof.md says
where the numbers come from, what is compared and how large a difference is chance. Ranking and choice are the product's
own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from search.ship.best import best_of
from search.study.random_effects import fit
from search.study.worth import SamplingNoise, expected_worth

Floats = NDArray[np.float64]
Runs = list[tuple[int, int, int]]  # configuration, seed, fold of each run

CONFIGURATIONS, MEMBERS = 5, 20  # that an export takes
SEARCH = 0.6  # share of the runs that search, where others repeat
DRAWS = 2000
FIRST = 3000  # number of the first world; those below were used while the choice of members was made


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
    lasts: float = 1.0  # share of a seed's variance that remains on new data
    mean: float = 0.27  # worth of the average run
    same: float = 0.92  # correlation of the predictions of two runs of one configuration
    other: float = 0.88  # of two configurations

    def noise(self, sequences: int) -> SamplingNoise:
        """How so many sequences suit a configuration, and a run alone."""
        configuration = self.pair**2 / 2 * self.pair_sequences / sequences
        return SamplingNoise(configuration, self.seed**2 * (1 - self.lasts) * self.fixed / sequences)


CHALLENGE = Setting("challenge", 0.0045, 0.0055, 0.007, 1083, 1083, 2361, 5)
REAL = Setting("real_lob", 0.015, 0.0055, 0.028, 70, 47, 119, 4)
MEASURED = Setting("real_lob as measured", 0.0226, 0.0182, 0.0379, 46, 47, 119, 4, 0.0, 0.35, 0.85, 0.76)
SETTINGS = (
    CHALLENGE,
    replace(CHALLENGE, name="challenge, half of a seed's luck lasts", lasts=0.5),
    replace(CHALLENGE, name="challenge, a fifth of it lasts", lasts=0.2),
    Setting("challenge, more alike", 0.003, 0.004, 0.007, 1083, 1083, 2361, 5),
    REAL,
    MEASURED,
    Setting("real_lob, less alike", 0.03, 0.0055, 0.028, 70, 47, 119, 4),
)


class World:
    """One draw of the truth, and what each run would score on the fixed split and on each fold."""

    def __init__(self, setting: Setting, number: int, most: int) -> None:
        random = np.random.default_rng([number, 5])
        self.setting = setting
        self.worth = random.normal(setting.mean, setting.between, most)  # (C,)
        shape = (most, most, 1 + setting.folds)  # configuration, seed, split; split 0 is the fixed one
        self.luck = random.normal(0, setting.seed * np.sqrt(setting.lasts), shape)
        noise = [setting.noise(setting.fixed), *[setting.noise(setting.fold)] * setting.folds]
        self.suits = random.normal(0, np.sqrt([part.configuration for part in noise]), (most, 1 + setting.folds))
        self.chance = random.normal(0, np.sqrt([part.run for part in noise]), shape)

    def truth(self, runs: Runs) -> Floats:
        """What runs are worth on unseen data."""
        c, s, f = np.array(runs).T
        found: Floats = self.worth[c] + self.luck[c, s, f]
        return found

    def score(self, runs: Runs) -> Floats:
        """What runs score on the sequences that select."""
        c, s, f = np.array(runs).T
        found: Floats = self.truth(runs) + self.suits[c, f] + self.chance[c, s, f]
        return found

    def shipped(self, runs: Runs, loss: float = 0.0) -> float:
        """Score on unseen data of the uniform average of `runs`, each worth `loss` less."""
        matrix = _alike(self.setting, np.array(runs)[:, 0])
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
    return _best_configurations(world, *_repeated(world, count))


def by_configuration_over_folds(world: World, count: int) -> Runs:
    """Search on the first fold, replicates of the best on all folds, then under further seeds; the best five."""
    return _best_configurations(world, *_repeated(world, count, folds=True))


def expected_best(world: World, count: int) -> Runs:
    """As `by_configuration`, but of all runs those whose average is expected to be worth most."""
    return _expected_best(world, *_repeated(world, count))


def expected_best_over_folds(world: World, count: int) -> Runs:
    """As `by_configuration_over_folds`, but of all runs those whose average is expected to be worth most."""
    return _expected_best(world, *_repeated(world, count, folds=True))


def expected_best_of_singles(world: World, count: int) -> Runs:
    """The same without any replicate."""
    return _expected_best(world, [(i, 0, 0) for i in range(count)], [])


def _repeated(world: World, count: int, *, folds: bool = False) -> tuple[Runs, Runs]:
    """The search's runs, and replicates of the five to eight best: further folds come before further seeds."""
    splits = range(1, 1 + world.setting.folds) if folds else range(1)
    searched = [(i, 0, splits[0]) for i in range(round(SEARCH * count))]
    top = max(CONFIGURATIONS, min(8, round((1 - SEARCH) * count / 4)))
    chosen = np.argsort(-world.score(searched))[:top].tolist()
    cells = [(seed, fold) for seed in range(count) for fold in splits][1:]
    return searched, [(i, *cell) for cell in cells for i in chosen][: count - len(searched)]


def _best_configurations(world: World, searched: Runs, replicates: Runs) -> Runs:
    """All runs of the five repeated configurations with the best estimates."""
    chosen = list(dict.fromkeys(run[0] for run in replicates))
    runs = [searched[i] for i in chosen] + replicates
    configuration = np.array([chosen.index(run[0]) for run in runs])
    fold = np.array([run[2] for run in runs])
    noise = world.setting.noise(world.setting.fixed)
    found = fit(
        world.score(runs),
        configuration,
        np.array([run[1] for run in runs]),
        np.arange(len(runs)) < len(chosen),
        draws=DRAWS,
        sampling=np.eye(len(chosen)) * noise.configuration if fold.max() == 0 else None,
        population=world.score(searched),
        fold=fold,
    )
    best = set(np.argsort(-found.estimate)[:CONFIGURATIONS].tolist())
    return [run for run, i in zip(runs, configuration, strict=True) if i in best]


def _expected_best(world: World, searched: Runs, replicates: Runs) -> Runs:
    """At most twenty of all runs."""
    runs = searched + replicates
    configuration, _, fold = np.array(runs).T
    on_folds = fold.max() > 0
    noise = world.setting.noise(world.setting.fold if on_folds else world.setting.fixed)
    worth = expected_worth(world.score(runs), configuration, fold, noise)
    chosen = best_of(worth, MEMBERS, lambda places: _alike(world.setting, configuration[list(places)]))
    return [runs[i] for i in chosen]


def _alike(setting: Setting, configuration: NDArray[np.int64]) -> Floats:
    matrix = np.where(configuration[:, None] == configuration, setting.same, setting.other)
    np.fill_diagonal(matrix, 1.0)
    return matrix


PATHS: dict[str, Callable[[World, int], Runs]] = {
    "best single run": single,
    "`--top 10`": top_ten,
    "`--top 40`": top_forty,
    "`--configurations 5`, fixed split": by_configuration,
    "`--configurations 5`, folds": by_configuration_over_folds,
    "`--best 20`, nothing repeated": expected_best_of_singles,
    "`--best 20`, fixed split": expected_best,
    "`--best 20`, folds": expected_best_over_folds,
}
TODAY = "`--top 10`"
PAIRED = {name: name.replace("--best 20", "--configurations 5") for name in PATHS if "--best 20`, f" in name}
LOSSES = (0.002, 0.005)  # what a run on a fold may be worth less for the sequences that the fold holds out


def table(setting: Setting, count: int, worlds: int) -> str:
    """Mean quality of what each path ships after `count` runs, and its difference to `--top 10` with standard error."""
    rows: dict[str, Floats] = {}
    members: dict[str, list[int]] = {}
    for number in range(FIRST, FIRST + worlds):
        world = World(setting, number, count)
        for path, choose in PATHS.items():
            runs = choose(world, count)
            for loss in (0.0, *LOSSES) if "folds" in path else (0.0,):
                name = f"{path}, each worth {loss:g} less" if loss else path
                rows.setdefault(name, np.zeros(worlds))[number - FIRST] = world.shipped(runs, loss)
                members.setdefault(name, []).append(len(runs))
    lines = [f"{setting.name}, {count} runs", "", "| path | members | quality | minus `--top 10` (error) | minus"]
    lines[-1] += " `--configurations 5` of the same runs |"
    lines.append("|---|---|---|---|---|")
    for name, values in rows.items():
        said = "" if name == TODAY else _difference(values, rows[TODAY])
        said += f" | {_difference(values, rows[PAIRED[name]])}" if name in PAIRED else " | "
        lines.append(f"| {name} | {np.mean(members[name]):.0f} | {values.mean():.4f} | {said} |")
    return "\n".join(lines)


def _difference(values: Floats, others: Floats) -> str:
    gap = 1e4 * (values - others)
    return f"{gap.mean():+.1f} ({gap.std(ddof=1) / np.sqrt(len(gap)):.1f})"


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
