"""How alike runs are: what a seed, a fold and a configuration change, on sequences that no run has seen.

python -m tests.benchmarks.selection.likeness --data ~/lob --output likeness/

Prints, for pairs of runs that differ in one thing, how their predictions correlate, and the standard deviation of the
difference of their scores: when the report sequences are drawn again, as seen, and what remains of it on new data.
`tests.benchmarks.selection.simulate` needs these. Predictions are kept in OUTPUT: it may be stopped and resumed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lobmodels.bootstrap import correlations, sequence_statistics
from lobmodels.config import RunConfig
from lobmodels.data import Dataset, SplitRule, load_dataset, validation_split
from lobmodels.data.partition import FOLDS
from lobmodels.errors import TrainingError
from lobmodels.training.batches import RunData
from lobmodels.training.host import tune_host
from lobmodels.training.run import TrainingRun
from search.study.preview import sample_configurations
from search.studyfile.spec import load_spec
from tests.benchmarks.selection.arms import COUNT, JUDGING, SPACE

Floats = NDArray[np.float64]
Key = tuple[int, int, int]  # configuration, seed, fold; fold -1 is the fixed split
SEEDS = 3
DRAWS = 1000

PAIRS: dict[str, Callable[[Key, Key], bool]] = {
    "another seed, fixed split": lambda a, b: a[0] == b[0] and a[2] == b[2] == -1,
    "another fold, same seed": lambda a, b: a[0] == b[0] and a[1] == b[1] and a[2] != b[2] and min(a[2], b[2]) >= 0,
    "another fold, another seed": lambda a, b: a[0] == b[0] and a[1] != b[1] and a[2] != b[2] and min(a[2], b[2]) >= 0,
    "another configuration, fixed split, same seed": lambda a, b: a[0] != b[0] and a[1:] == b[1:] and a[2] == -1,
    "another configuration, another fold": lambda a, b: a[0] != b[0] and a[2] != b[2] and min(a[2], b[2]) >= 0,
}


def keys(configurations: int) -> list[Key]:
    """Each configuration under three seeds on the fixed split, under one on every fold, and under a further one on each
    further fold."""
    cells = [(seed, -1) for seed in range(SEEDS)] + [(0, fold) for fold in range(COUNT)]
    cells += [(fold, fold) for fold in range(1, COUNT)]
    return [(i, *cell) for i in range(configurations) for cell in cells]


def predictions(dataset: Dataset, config: RunConfig, key: Key) -> NDArray[np.float32]:
    """Predictions (N, S, 2) of the trained run on the validation sequences; empty if it diverged. On the fixed split
    the first half of them selected the epoch."""
    rule = SplitRule(JUDGING) if key[2] < 0 else SplitRule(JUDGING, FOLDS, COUNT, key[2])
    run = TrainingRun(config, key[1], RunData.prepare(dataset, config, "cpu", rule=rule))
    try:
        while not run.finished:
            run.train_epoch()
    except TrainingError:
        return np.zeros(0, np.float32)
    return run.result("likeness").predict(dataset.valid.features)[:, dataset.schema.warmup_steps :]


@dataclass(frozen=True)
class Judged:
    """A run on sequences that no run has seen: predictions, score, and scores on these sequences drawn again."""

    predictions: Floats  # (N, S, 2), clipped
    score: float
    resampled: Floats  # (DRAWS,)

    @staticmethod
    def of(predictions: NDArray[np.float32], targets: NDArray[np.float32]) -> Judged:
        """Scored by the metric."""
        clipped = np.clip(predictions.astype(np.float64), -6, 6)
        sums = sequence_statistics(clipped, targets)
        n = len(targets)
        counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(np.float64)
        drawn = correlations(np.tensordot(counts, sums, axes=1)).mean(-1)
        return Judged(clipped, float(correlations(sums.sum(0)).mean()), drawn)


def table(found: Mapping[Key, Judged]) -> str:
    """One line a kind of pair; what a seed is worth; what a fold costs."""
    lines = ["| pairs that differ by | pairs | predictions correlate | sd of the difference: resampled | seen | true |"]
    lines.append("|---|---|---|---|---|---|")
    for name, belongs in PAIRS.items():
        pairs = [(found[a], found[b]) for a, b in combinations(found, 2) if belongs(a, b)]
        alike = np.median([_alike(a.predictions, b.predictions) for a, b in pairs])
        chance = np.mean([np.var(a.resampled - b.resampled) for a, b in pairs])
        seen = np.mean([(a.score - b.score) ** 2 for a, b in pairs])
        true = np.sqrt(max(0.0, float(seen - chance)))
        lines.append(
            f"| {name} | {len(pairs)} | {alike:.3f} | {np.sqrt(chance):.4f} | {np.sqrt(seen):.4f} | {true:.4f} |"
        )
    lines += ["", *averages(found), ""]
    names = sorted({key[0] for key in found})
    folds = [np.mean([run.score for key, run in found.items() if key[0] == i and key[2] >= 0]) for i in names]
    fixed = [np.mean([run.score for key, run in found.items() if key[0] == i and key[2] < 0]) for i in names]
    gaps = np.array(folds) - np.array(fixed)
    error = gaps.std(ddof=1) / np.sqrt(len(gaps))
    return "\n".join(
        [*lines, "", f"runs on folds minus runs on the fixed split: {gaps.mean():+.4f} (error {error:.4f})"]
    )


def averages(found: Mapping[Key, Judged]) -> list[str]:
    """What the uniform average of a configuration's runs on the folds correlates with each other average: the mean over
    the pairs of its members, under one seed and under a seed for each fold."""
    lines = []
    for name, cells in (("one seed", [(0, k) for k in range(COUNT)]), ("a seed each", [(k, k) for k in range(COUNT)])):
        alike = [
            np.mean([_alike(found[i, *a].predictions, found[i, *b].predictions) for a in cells for b in cells])
            for i in sorted({key[0] for key in found})
        ]
        lines.append(f"mean correlation within a configuration's {COUNT} runs on folds, {name}: {np.mean(alike):.4f}")
    return lines


def _alike(a: Floats, b: Floats) -> float:
    """Mean over the targets of the plain correlation of two runs' predictions."""
    return float(np.mean([np.corrcoef(a[..., t].ravel(), b[..., t].ravel())[0, 1] for t in range(a.shape[-1])]))


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("likeness"))
    parser.add_argument("--configurations", type=int, default=10)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    tune_host(1)
    dataset = load_dataset(given.data)
    configs = sample_configurations(load_spec(SPACE).model_copy(update={"seed": 78}), given.configurations)
    found = {}
    for key in keys(given.configurations):
        path = given.output / "-".join(map(str, (key[0], key[1], key[2] + 1)))
        if not path.with_suffix(".npy").exists():
            np.save(path.with_suffix(".npy"), predictions(dataset, configs[key[0]], key))
        found[key] = np.load(path.with_suffix(".npy"))
    diverged = {key[0] for key, part in found.items() if not len(part)}
    _, report = validation_split(len(dataset.valid), JUDGING)
    targets = dataset.valid.targets[report][:, dataset.schema.warmup_steps :]
    print(table({key: Judged.of(part[report], targets) for key, part in found.items() if key[0] not in diverged}))


if __name__ == "__main__":
    main()
