"""The additive model gives an effect to the parameter that has it, with intervals that hold what they say."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.storages import InMemoryStorage

from search.report.additive import fit
from search.report.factors import Factor, factors
from search.report.numbers import credited, interval
from search.report.record import read_study
from search.studyfile.parameters import Choices
from tests.made_study import make_study

LEVELS = (2, 3, 5, 4, 3)


def test_effects_are_free_of_the_company_they_kept() -> None:
    """Two parameters that move together: the additive model gives the effect to the one that has it."""
    rng = np.random.default_rng(0)
    study = read_study(make_study(InMemoryStorage(), 300, failures=0))
    trials, _ = credited(study)
    chosen = [f for f in factors(study.searched, trials) if f.name in ("loss", "input_block")]
    loss = next(f for f in chosen if f.name == "loss")
    block = next(f for f in chosen if f.name == "input_block")
    together = np.where(rng.random(len(trials)) < 0.85, loss.index == 0, rng.random(len(trials)) < 0.5)
    object.__setattr__(block, "index", together.astype(np.int64))
    values = 0.25 + 0.01 * (loss.index == 0) + rng.normal(0, 0.003, len(trials))
    model = fit(values, chosen)
    at = {factor.name: i for i, factor in enumerate(chosen)}
    own = model.effects[at["loss"]]
    other = model.effects[at["input_block"]]
    assert own[0] - own[1:].mean() == pytest.approx(0.01, abs=0.002)
    assert abs(other[1] - other[0]) < 0.0015
    plain = values[block.index == 1].mean() - values[block.index == 0].mean()
    assert plain > 0.004  # what a plain average would have said


def drawn(rng: np.random.Generator, runs: int) -> list[Factor]:
    """Factors whose levels were tried unevenly and, from one factor to the next, together."""
    made, before = [], rng.integers(2, size=runs)
    for number, levels in enumerate(LEVELS):
        odds = rng.dirichlet(np.full(levels, 2.0))
        index = np.where(rng.random(runs) < 0.4, before % levels, rng.choice(levels, size=runs, p=odds))
        names = tuple(f"{level}" for level in range(levels))
        parameter = Choices(choices=names)
        made.append(Factor(f"p{number}", parameter, names, index, tuple(names[i] for i in index), (None,) * levels))
        before = index
    return made


def centred(effects: np.ndarray, factor: Factor) -> np.ndarray:
    """Effects as deviations from their mean over the runs."""
    return np.asarray(effects - effects[factor.index].mean())


def simulate(sizes: tuple[float, ...], noise: float, studies: int, runs: int) -> tuple[float, int]:
    """Share of levels whose 80 % interval holds the truth, over studies whose effects have these sizes; and how many
    estimates lie outside their own interval."""
    held, outside = [], 0
    for seed in range(studies):
        rng = np.random.default_rng(seed)
        found = drawn(rng, runs)
        truth = [centred(rng.normal(0, size, len(f.labels)), f) for size, f in zip(sizes, found, strict=True)]
        values = 0.25 + sum(t[f.index] for t, f in zip(truth, found, strict=True)) + rng.normal(0, noise, runs)
        model = fit(values, found)
        for t, effect, samples, factor in zip(truth, model.effects, model.samples, found, strict=True):
            low, high = interval(samples)
            tried = factor.counts > 0
            held += ((low <= t) & (t <= high))[tried].tolist()
            outside += int(((effect < low) | (effect > high)).sum())
    return float(np.mean(held)), outside


@pytest.mark.parametrize(
    ("sizes", "noise"),
    [
        ((0.01, 0.01, 0.01, 0.01, 0.01), 0.004),  # all matter
        ((0.02, 0.0, 0.0, 0.002, 0.0), 0.004),  # one matters much, three not at all
        ((0.002, 0.002, 0.002, 0.002, 0.002), 0.008),  # hardly more than noise
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(sizes: tuple[float, ...], noise: float) -> None:
    """Over 150 simulated studies the 80 % intervals hold the true effect in 74 to 92 % of levels; none excludes its
    own estimate. Parameters that do nothing are drawn to zero, so theirs hold it more often than said."""
    share, outside = simulate(sizes, noise, studies=150, runs=90)
    assert outside == 0
    assert 0.74 <= share <= 0.92


def test_a_model_of_nothing_predicts_nothing() -> None:
    """Noise alone explains no variance of runs left out, and its effects are small against it."""
    rng = np.random.default_rng(4)
    model = fit(rng.normal(0.25, 0.01, 200), drawn(rng, 200))
    assert model.explained < 0.05
    assert max(np.abs(effect).max() for effect in model.effects) < 0.005
