"""What runs are expected to be worth: against the textbook formula, and against runs whose truth is known."""

import numpy as np
import optuna
import pytest

from search.study.replication import choose, replicate
from search.study.worth import SamplingNoise, expected_worth, sampling_noise, worth_of
from tests.search.study.made_replicates import serve

BETWEEN, SEED = 0.0045, 0.0055  # of configurations, and of a run under its seed, as published for this task


def drawn(number: int, noise: SamplingNoise, lasts: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, value and configuration of 60 search runs and four replicates of each of the best eight."""
    random = np.random.default_rng(number)
    worth, suits = random.normal(0.27, BETWEEN, 60), random.normal(0, noise.configuration**0.5, 60)

    def values(configuration: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        truth = worth[configuration] + random.normal(0, SEED * lasts**0.5, len(configuration))
        return truth, truth + suits[configuration] + random.normal(0, noise.run**0.5, len(configuration))

    truth, value = values(np.arange(60))
    repeated = np.tile(np.argsort(-value)[:8], 4)
    further = values(repeated)
    return np.r_[truth, further[0]], np.r_[value, further[1]], np.r_[np.arange(60), repeated]


@pytest.mark.parametrize("lasts", [1.0, 0.5, 0.0])
def test_the_best_by_worth_are_better_than_the_best_by_score(lasts: float) -> None:
    """Where all or nothing of a seed's luck lasts on new data, the ten runs of highest worth are truly better than the
    ten of highest score; in between they are as good. They are worth what is expected of them, on average."""
    noise = SamplingNoise(0.005**2, SEED**2 * (1 - lasts))
    by_worth, by_score, errors = [], [], []
    for number in range(40):
        truth, value, configuration = drawn(number, noise, lasts)
        worth = expected_worth(value, configuration, np.zeros(len(value), np.int64), noise)
        best = np.argsort(-worth)[:10]
        by_worth.append(truth[best].mean())
        by_score.append(truth[np.argsort(-value)[:10]].mean())
        errors.append((worth - truth)[best].mean())
    gain = np.array(by_worth) - np.array(by_score)
    error = gain.std(ddof=1) / len(gain) ** 0.5
    assert gain.mean() > (-2 if lasts == 0.5 else 2) * error
    assert abs(np.mean(errors)) < 0.0015


def test_a_run_alone_is_shrunk_to_the_mean() -> None:
    """Equal noise and equal spread of single runs: the textbook's half, within what averaging over a grid changes."""
    random = np.random.default_rng(3)
    value = random.normal(0.3, 0.01, 4000) + random.normal(0, 0.01, 4000)
    runs = np.arange(len(value))
    worth = expected_worth(value, runs, np.zeros(len(value), np.int64), SamplingNoise(0.01**2, 0.0))
    slope = np.polyfit(value, worth, 1)[0]
    assert slope == pytest.approx(0.5, abs=0.03)


def test_without_noise_known_a_run_counts_as_its_configuration() -> None:
    """Nothing tells luck from worth then: the runs of a configuration are worth the same, whatever each scored."""
    value = np.array([0.30, 0.20, 0.25, 0.24, 0.26, 0.25])
    configuration = np.array([0, 0, 0, 1, 1, 1])
    worth = expected_worth(value, configuration, np.zeros(6, np.int64), None)
    assert np.ptp(worth[:3]) < 1e-12 and np.ptp(worth[3:]) < 1e-12


def test_an_easy_fold_makes_no_run_better() -> None:
    """Runs on different folds are compared as if all folds were equally hard."""
    random = np.random.default_rng(4)
    configuration, fold = np.repeat(np.arange(20), 2), np.tile([0, 1], 20)
    value = 0.27 + np.repeat(random.normal(0, 0.01, 20), 2) + 0.1 * fold + random.normal(0, 0.001, 40)
    worth = expected_worth(value, configuration, fold, SamplingNoise(1e-7, 1e-6))
    assert abs(worth[fold == 0].mean() - worth[fold == 1].mean()) < 0.001
    assert worth.mean() == pytest.approx(value.mean(), abs=0.001)


def test_runs_that_failed_badly_do_not_shape_the_others() -> None:
    """A few runs near 0 leave the worth of the good ones as it was."""
    random = np.random.default_rng(5)
    value = random.normal(0.27, 0.005, 40)
    noise = SamplingNoise(0.003**2, 0.003**2)
    alone = expected_worth(value, np.arange(40), np.zeros(40, np.int64), noise)
    among = expected_worth(np.r_[value, [0.0, 0.01, -0.2]], np.arange(43), np.zeros(43, np.int64), noise)
    assert np.abs(among[:40] - alone).max() < 0.001
    assert among[40:].max() < among[:40].min()


def test_a_configuration_of_which_all_runs_failed_badly() -> None:
    """It has a worth too, the lowest."""
    random = np.random.default_rng(7)
    value = np.r_[random.normal(0.27, 0.005, 30), 0.0, 0.01]
    configuration = np.r_[np.arange(30), 30, 30]
    for noise in (None, SamplingNoise(0.003**2, 0.003**2)):
        worth = expected_worth(value, configuration, np.zeros(32, np.int64), noise)
        assert np.isfinite(worth).all() and worth[30:].max() < worth[:30].min()


def test_equal_runs_do_not_break_it() -> None:
    """Degenerate pools give the runs' own value."""
    same = expected_worth(np.full(4, 0.25), np.array([0, 0, 1, 2]), np.zeros(4, np.int64), None)
    assert same.tolist() == [0.25] * 4
    assert expected_worth(np.array([0.2]), np.zeros(1, np.int64), np.zeros(1, np.int64), None).tolist() == [0.2]


def test_noise_is_divided_between_configurations_and_runs() -> None:
    """From resampled scores with known variances; without repeated configurations it is one number."""
    random = np.random.default_rng(6)
    configuration = np.repeat(np.arange(30), 3)
    common, suits, own = random.normal(size=(4000, 1)), random.normal(size=(4000, 30)), random.normal(size=(4000, 90))
    scores = 5.0 * common + 2.0 * suits[:, configuration] + 1.0 * own
    found = sampling_noise(scores, configuration, np.zeros(90, np.int64))
    assert found is not None
    assert (found.configuration, found.run) == (pytest.approx(4.0, rel=0.1), pytest.approx(1.0, rel=0.1))
    single = sampling_noise(scores[:, ::3], np.arange(30), np.zeros(30, np.int64))
    assert single is not None and (single.configuration, single.run) == (0.0, pytest.approx(5.0, rel=0.1))
    assert sampling_noise(scores[:, :1], np.zeros(1, np.int64), np.zeros(1, np.int64)) is None


def test_every_run_of_a_study_has_a_worth(study: optuna.Study) -> None:
    """The search's and the replicates', by name; a study without any has none."""
    best = choose(study, 1)[0]
    replicate(study, [best], 3)
    assert serve(study) == 2
    worth = worth_of(study)
    assert sorted(worth) == sorted([*(f"s#{i}" for i in range(24)), "s.seeds#0", "s.seeds#1"])
    assert worth[best.name] == pytest.approx(worth["s.seeds#0"])  # these runs keep no sums: a run is its configuration
    assert worth_of(optuna.create_study(study_name="empty")) == {}
