"""Resampling the sequences says how configurations may stand on new data, and says it of the configurations alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import optuna
import pytest

from lobmodels.bootstrap import compare, correlations, sequence_statistics
from lobmodels.data import Dataset, load_dataset
from search.study.random_effects import fit
from search.study.replication import find_replicates, pool, rank_study
from search.study.resampling import covariance_of, resampled_scores, sampling_covariance, stored_sums
from tests.search.trained_pool import add_replicate, add_runs, make_study

N = 70  # selection sequences, as on a small data set


def made_sums(count: int, seed: int = 0) -> list[np.ndarray]:
    """Sums of runs whose predictions share some noise."""
    random = np.random.default_rng(seed)
    y = random.standard_t(4, (N, 60, 2))
    common = random.standard_normal(y.shape)
    return [sequence_statistics(0.3 * y + common + random.standard_normal(y.shape), y) for _ in range(count)]


def test_scores_are_those_of_the_bootstrap() -> None:
    """The spread over resamples is that of `lobmodels.bootstrap`, and the mean is the score itself."""
    sums = made_sums(2)
    scores = resampled_scores(sums, 4000)
    expected = compare({"a": sums[0], "b": sums[1]}, "a", 4000, seed=5)
    for j, row in enumerate(expected.rows):
        assert scores[:, j].std() == pytest.approx(row.spread, rel=0.08)
        assert scores[:, j].mean() == pytest.approx(correlations(sums[j].sum(0)).mean(), abs=0.01)
    gap = np.quantile(scores[:, 1] - scores[:, 0], [0.05, 0.95])
    assert gap == pytest.approx([expected.rows[1].low or 0, expected.rows[1].high or 0], abs=0.004)


def test_what_is_a_runs_own_is_taken_out() -> None:
    """Runs of one configuration that differ by chance alone leave a variance near zero; what they share stays."""
    random = np.random.default_rng(0)
    shared = random.normal(0, 0.02, (20_000, 3))  # of three configurations
    own = random.normal(0, 0.01, (20_000, 12))
    configuration = np.repeat([0, 1, 2], 4)
    found = sampling_covariance(shared[:, configuration] + own, configuration)
    assert found == pytest.approx(np.diag([0.0004] * 3), abs=2e-5)
    assert sampling_covariance(own, configuration) == pytest.approx(np.zeros((3, 3)), abs=2e-6)


def simulated_search(seed: int, between: float, noise: float, pair: float, aware: bool) -> tuple[float, float, bool]:
    """60 configurations searched, the best five repeated under four seeds, all on the same 70 sequences.

    Standard deviations: `between` configurations on new data, `noise` of a run under its seed, `pair` of the difference
    of two runs under resampling. Returns how many of the ten 90 % intervals of differences hold the truth, the
    highest P(best), and whether that configuration is the best.
    """
    random = np.random.default_rng(seed)
    truth = random.normal(0, between, 60)
    at_one = pair * np.sqrt(N / 2)  # of a run's own part, at one sequence
    common = random.normal(0, 3 * at_one, N)
    taste = random.normal(0, at_one * np.sqrt(0.7), (60, N))  # of a configuration for a sequence
    seeds = np.sqrt(max(noise**2 - 0.3 * at_one**2 / N, (0.3 * noise) ** 2))

    def runs(i: int, count: int) -> np.ndarray:
        own = random.normal(0, at_one * np.sqrt(0.3), (count, N))
        return truth[i] + random.normal(0, seeds, (count, 1)) + common + taste[i] + own

    first = np.concatenate([runs(i, 1) for i in range(60)])
    chosen = np.argsort(-first.mean(1))[:5]
    scored = np.concatenate([first[chosen], *(runs(i, 4) for i in chosen)])  # (25, N)
    configuration = np.concatenate([np.arange(5), np.repeat(np.arange(5), 4)])
    seed_index = np.concatenate([4 + np.arange(5), np.tile(np.arange(4), 5)])
    searched = np.arange(25) < 5
    drawn = random.multinomial(N, np.full(N, 1 / N), size=400) / N
    sampling = sampling_covariance(drawn @ scored.T, configuration) if aware else None
    result = fit(scored.mean(1), configuration, seed_index, searched, 2000, sampling, first.mean(1))
    held = []
    for i in range(5):
        for k in range(i):
            low, high = result.difference(i, k)
            held.append(low <= truth[chosen[i]] - truth[chosen[k]] <= high)
    return float(np.mean(held)), float(result.best.max()), bool(truth[chosen].argmax() == result.best.argmax())


@pytest.mark.parametrize(
    ("between", "noise", "pair"), [(0.0045, 0.0055, 0.007), (0.003, 0.004, 0.007), (0.015, 0.0055, 0.028)]
)
def test_intervals_of_differences_hold(between: float, noise: float, pair: float) -> None:
    """On new data the 90 % intervals hold the truth about that often, and P(best) is as often right as it says."""
    found = np.array([simulated_search(seed, between, noise, pair, True) for seed in range(40)])
    held, claimed, right = found.mean(0)
    assert 0.80 < held < 0.97 and abs(claimed - right) < 0.2


def test_seeds_alone_are_too_sure() -> None:
    """The same without resampling: intervals hold the truth half of the time, P(best) is far too high."""
    held, claimed, right = np.mean([simulated_search(seed, 0.0045, 0.0055, 0.028, False) for seed in range(30)], axis=0)
    assert held < 0.65 and claimed > right + 0.3


def test_sums_come_from_the_checkpoints(tmp_path: Path, small_dataset: Dataset) -> None:
    """Read once, then from the cache; a configuration whose runs have none leaves the ranking to the seeds."""
    study = make_study(f"sqlite:///{tmp_path / 'study.db'}", small_dataset.valid)
    sums = [part.astype(np.float32) for part in made_sums(7)]
    for i, value in enumerate((0.20, 0.26)):
        add_runs(study, small_dataset.valid, [value], i, sequence_sums={"select": sums[i]})
    add_replicate(study, small_dataset.valid, 0.21, 1_000_000, sequence_sums={"select": sums[2]})
    ranking = rank_study(study)
    assert ranking.resampled and ranking.rows[0].n == 3
    seeds = find_replicates(study)
    assert seeds is not None
    studies: dict[str, optuna.Study] = {study.study_name: study, seeds.study_name: seeds}
    runs = pool(study)
    found = stored_sums(studies, runs)
    assert [np.array_equal(found[run.name], part) for run, part in zip(runs, sums, strict=False)] == [True] * 3
    gone = [dataclasses.replace(run, checkpoint="0" * 36) for run in runs]
    assert stored_sums(studies, gone) == {}
    assert covariance_of([runs[:2], runs[2:]], found) is not None
    assert covariance_of([runs[:2], runs[2:]], {runs[0].name: found[runs[0].name]}) is None
    add_replicate(study, small_dataset.valid, 0.22, 1_000_001)  # of a version that stores none: the others suffice
    assert rank_study(study).resampled


def test_folds_are_drawn_each_for_itself() -> None:
    """Runs on one fold share the draws, runs on two do not: what only the folds have in common is no covariance."""
    sums = made_sums(4)
    together = resampled_scores(sums, 2000)
    apart = resampled_scores(sums, 2000, folds=[0, 0, 1, 1])
    correlation = np.corrcoef(together.T)[0]
    assert np.corrcoef(apart.T)[0, 1] == pytest.approx(correlation[1], abs=0.05) and correlation[2] > 0.3
    assert abs(np.corrcoef(apart.T)[0, 2]) < 0.1


def test_intervals_hold_on_later_sequences(real_lob: Path) -> None:
    """On real data and without any selection: resampling 40 sequences says how differences between twelve ridge models
    may change on the next 40. Measured .81 over eight steps in time (standard error .05): a little less than 90 %, as
    the data drift as well."""
    dataset = load_dataset(real_lob)
    warmup, index = dataset.schema.warmup_steps, np.arange(160, 520)

    def columns(part: np.ndarray) -> np.ndarray:
        x = dataset.features(part)[:]
        return np.concatenate([x[:, warmup:], x[:, warmup:] - x[:, warmup - 8 : -8]], axis=-1)

    def targets(part: np.ndarray) -> np.ndarray:
        return dataset.targets(part)[:][:, warmup:]

    x = columns(np.arange(160)).reshape(-1, 64).astype(np.float64)
    centre, scale = x.mean(0), x.std(0) + 1e-9
    x = (x - centre) / scale
    gram, cross = x.T @ x, x.T @ targets(np.arange(160)).reshape(-1, 2)
    random = np.random.default_rng(0)
    models = []
    for _ in range(12):
        keep = np.sort(random.choice(64, random.integers(8, 64), replace=False))
        penalty = 10 ** random.uniform(2, 6) * np.eye(len(keep))
        models.append(np.zeros((64, 2)))
        models[-1][keep] = np.linalg.solve(gram[np.ix_(keep, keep)] + penalty, cross[keep])
    scores, drawn = [], []
    for part in np.split(index, 9):
        inputs = (columns(part) - centre) / scale
        sums = [sequence_statistics(inputs @ model, targets(part)) for model in models]
        scores.append(np.array([correlations(each.sum(0)).mean() for each in sums]))
        drawn.append(resampled_scores(sums))
    first, second = np.triu_indices(12, 1)
    gaps = [score[first] - score[second] for score in scores]
    spreads = [(draw[:, first] - draw[:, second]).std(0) for draw in drawn]
    held = [
        np.abs(later - now) < 1.645 * np.hypot(spread, after)
        for now, later, spread, after in zip(gaps, gaps[1:], spreads, spreads[1:], strict=False)
    ]
    assert 0.7 < np.mean(held) < 0.97
