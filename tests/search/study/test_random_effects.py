"""The random-effects model: what it finds in simulated runs whose truth is known."""

import numpy as np
import pytest

from search.study.random_effects import Fit, fit

NOISE = 0.004  # standard deviation of a run under its seed, as published for this task
EFFECT = 0.002  # standard deviation of what configurations really differ by


def simulate(
    random: np.random.Generator, searched: int, top: int, seeds: int, effect: float, shared: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Fit]:
    """A search of single runs, the `top` luckiest repeated: truth (K,), search runs (K,), replicates (K, S), fit."""
    truth = random.normal(0.27, effect, searched)
    first = truth + random.normal(0, NOISE, searched)
    chosen = np.argsort(-first)[:top]
    repeats = truth[chosen, None] + random.normal(0, NOISE, (top, seeds)) + random.normal(0, shared, seeds)
    values = np.concatenate([first[chosen], repeats.ravel()])
    configuration = np.concatenate([np.arange(top), np.repeat(np.arange(top), seeds)])
    seed = np.concatenate([seeds + np.arange(top), np.tile(np.arange(seeds), top)])
    result = fit(values, configuration, seed, np.arange(len(values)) < top, draws=1000)
    return truth[chosen], first[chosen], repeats, result


@pytest.mark.parametrize(("effect", "seeds"), [(0.001, 4), (0.003, 3)])
def test_the_shrunk_ranking_beats_the_best_single_run(effect: float, seeds: int) -> None:
    """At the published noise the estimate finds the truly best configuration clearly more often than luck does."""
    random = np.random.default_rng(1)
    estimated = lucky = 0
    for _ in range(120):
        truth, first, repeats, result = simulate(random, 60, 5, seeds, effect)
        estimated += result.estimate.argmax() == truth.argmax()
        lucky += np.maximum(first, repeats.max(axis=1)).argmax() == truth.argmax()
    assert estimated > 1.15 * lucky and estimated > 120 * 0.3


def test_estimates_are_honest_although_the_best_were_chosen() -> None:
    """No winner's curse: the winner's estimate is not too high, its interval holds the truth, its chance is real."""
    random = np.random.default_rng(2)
    errors, covered, claimed, right, naive = [], [], [], [], []
    for _ in range(120):
        truth, first, repeats, result = simulate(random, 60, 5, 4, EFFECT)
        best = result.estimate.argmax()
        errors.append(result.estimate[best] - truth[best])
        covered.append(result.low[best] < truth[best] < result.high[best])
        claimed.append(result.best[best])
        right.append(best == truth.argmax())
        means = (first + repeats.sum(axis=1)) / 5
        naive.append(means.max() - truth[means.argmax()])
    assert abs(np.mean(errors)) < 0.0006 < 0.002 < np.mean(naive)
    assert 0.8 < np.mean(covered) < 0.97
    assert abs(np.mean(claimed) - np.mean(right)) < 0.08


def test_noise_and_luck_are_recovered() -> None:
    """The standard deviation of a run, and how much the chosen search runs are too high, come out as they are."""
    random = np.random.default_rng(3)
    noises, lucks = [], []
    for _ in range(100):
        truth, first, _, result = simulate(random, 60, 6, 4, EFFECT)
        noises.append(result.noise)
        assert result.luck is not None
        lucks.append(result.luck - (first - truth).mean())
    assert np.mean(noises) == pytest.approx(NOISE, rel=0.15)
    assert abs(np.mean(lucks)) < 0.0005


def test_shared_seeds_are_compared_on_common_random_numbers() -> None:
    """A lucky seed that only some configurations have had does not make these better."""
    base = np.array([0.270, 0.273, 0.275])
    lift = np.array([0.0, 0.001, -0.001, 0.014])  # the last seed is a lucky one
    ids = [(i, j) for i in range(3) for j in range(4) if (i, j) != (2, 3)]  # the best has not had it
    wiggle = np.array([0.0004, -0.0004] * 6)
    values = np.array([base[i] + lift[j] for i, j in ids]) + wiggle[: len(ids)]
    configuration, seed = (np.array(column) for column in zip(*ids, strict=True))
    result = fit(values, configuration, seed, np.zeros(len(ids), dtype=bool))
    plain = [values[configuration == i].mean() for i in range(3)]
    assert np.argmax(plain) == 1 and result.estimate.argmax() == 2 and result.best[2] > 0.7


def test_without_effects_or_seeds_it_is_the_textbook_shrunk_mean() -> None:
    """With the ratio known, the estimate is m + lambda^2/(lambda^2 + 1/n) (mean - m) for balanced runs."""
    import search.study.random_effects as mixed

    values = np.array([1.0, 1.2, 0.8, 1.1, 2.0, 2.2, 1.9, 2.1, 3.1, 2.9, 3.0, 2.8])
    configuration = np.repeat(np.arange(3), 4)
    model = mixed._Model(values - values.mean(), np.ones((12, 1)), configuration, np.arange(12))
    for lam, solution in zip(model.lambdas, model.solutions, strict=True):
        means = values.reshape(3, 4).mean(axis=1)
        shrunk = means.mean() + lam**2 / (lam**2 + 1 / 4) * (means - means.mean())
        assert solution[0] + solution[1:] + values.mean() == pytest.approx(shrunk)


def test_restricted_likelihood_is_the_textbooks() -> None:
    """The weights equal the restricted likelihood from the full covariance matrix, computed the long way."""
    import search.study.random_effects as mixed

    random = np.random.default_rng(4)
    configuration = np.array([0, 0, 1, 1, 1, 2, 2, 0])
    seed = np.array([0, 1, 0, 1, 2, 0, 2, 3])
    fixed = np.stack([np.ones(8), np.array([0, 0, 0, 0, 0, 0, 0, 1.0])], axis=1)
    y = random.normal(size=8)
    model = mixed._Model(y, fixed, configuration, seed)
    weights, _, _ = model.weigh()
    logs = []
    for lam, kappa in zip(model.lambdas, model.kappas, strict=True):
        z, w = np.eye(3)[configuration], np.eye(4)[seed]
        v = np.eye(8) + lam**2 * z @ z.T + kappa**2 * w @ w.T
        inverse = np.linalg.inv(v)
        xvx = fixed.T @ inverse @ fixed
        p = inverse - inverse @ fixed @ np.linalg.inv(xvx) @ fixed.T @ inverse
        log = -0.5 * (np.linalg.slogdet(v)[1] + np.linalg.slogdet(xvx)[1] + 6 * np.log(y @ p @ y))
        logs.append(log + np.log(lam) - np.log1p(lam**2) + np.log(kappa) - np.log1p(kappa**2))
    expected = np.exp(np.array(logs) - max(logs))
    assert weights == pytest.approx(expected / expected.sum(), rel=1e-6)


def test_equal_runs_and_one_configuration_do_not_break_it() -> None:
    """Degenerate pools give finite numbers: a CPU study may repeat a run exactly."""
    same = fit(np.full(6, 0.25), np.array([0, 0, 1, 1, 2, 2]), np.arange(6), np.zeros(6, dtype=bool))
    assert same.estimate == pytest.approx(0.25) and np.isfinite(same.high).all() and same.best.sum() == pytest.approx(1)
    one = fit(np.array([0.2, 0.3]), np.zeros(2, dtype=int), np.arange(2), np.array([True, False]))
    assert one.best.tolist() == [1.0] and np.isfinite(one.estimate).all()


def test_the_fit_repeats_itself() -> None:
    """Same runs, same numbers, also where they come from drawing."""
    random = np.random.default_rng(5)
    values = random.normal(0.27, 0.004, 12)
    arguments = (values, np.repeat(np.arange(3), 4), np.tile(np.arange(4), 3), np.zeros(12, dtype=bool))
    first, second = fit(*arguments), fit(*arguments)
    assert (first.low == second.low).all() and (first.best == second.best).all()


def crossed(seed: int, easy: float) -> tuple[np.ndarray, Fit, Fit]:
    """Five configurations, their search run on fold 0, replicates on folds 1 to 3 but for the best, which has had no
    run on the easy fold 3. Truth, the fit that knows the folds, the fit that does not."""
    random = np.random.default_rng(seed)
    truth = np.array([0.27, 0.272, 0.274, 0.276, 0.28])
    cells = [(i, f) for i in range(5) for f in range(4) if (i, f) != (4, 3)]
    difficulty = np.array([0.02, -0.01, 0.0, easy])
    configuration, fold = (np.array(column) for column in zip(*cells, strict=True))
    values = truth[configuration] + difficulty[fold] + random.normal(0, 0.002, len(cells))
    arguments = (values, configuration, np.arange(len(cells)), fold == 0)
    return truth, fit(*arguments, draws=500, fold=fold), fit(*arguments, draws=500)


def test_a_configuration_is_not_better_for_easy_folds() -> None:
    """What a fold is easier by is taken out; without it the best, which missed the easy fold, is not found."""
    found = [crossed(seed, 0.05) for seed in range(20)]
    assert np.mean([known.estimate.argmax() == truth.argmax() for truth, known, _ in found]) > 0.9
    assert np.mean([blind.estimate.argmax() == truth.argmax() for truth, _, blind in found]) < 0.5
    errors = [known.estimate - known.estimate.mean() - (truth - truth.mean()) for truth, known, _ in found]
    assert np.sqrt(np.mean(np.square(errors))) < 0.0025
    assert all(known.luck is None for _, known, _ in found)  # on fold 0 luck and difficulty are one number


def test_few_runs_leave_the_folds_alone() -> None:
    """One configuration on three folds: nothing could be told apart, and nothing fails."""
    result = fit(np.array([0.2, 0.3, 0.25]), np.zeros(3, dtype=int), np.arange(3), np.arange(3) < 1, fold=np.arange(3))
    assert np.isfinite([result.estimate[0], result.low[0], result.noise]).all()
