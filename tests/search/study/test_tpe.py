"""TPE begins with balanced draws and learns from then on."""

from collections import Counter

import optuna
from optuna.samplers import TPESampler

from search.study.quiet import without_experimental_warning
from search.study.tpe import LearningSampler

STARTUP = 12


def sampled(count: int) -> list[tuple[float, str]]:
    """Values of x in `count` trials whose score is highest at .8, and a choice beside it."""
    study = optuna.create_study(direction="maximize")
    found = []
    for number in range(count):
        with without_experimental_warning():
            tpe = TPESampler(seed=number, n_startup_trials=STARTUP, multivariate=True)
        study.sampler = LearningSampler(tpe, seed=0, startup=STARTUP)
        trial = study.ask()
        x, way = trial.suggest_float("x", 0.0, 1.0), trial.suggest_categorical("way", ["a", "b"])
        found.append((x, way))
        study.tell(trial, -abs(x - 0.8))
    return found


def test_the_first_draws_are_balanced_and_the_later_ones_learn() -> None:
    """Both ways of a choice come equally often at first; afterwards x lies near its best value."""
    found = sampled(STARTUP + 30)
    assert Counter(way for _, way in found[:STARTUP]) == {"a": STARTUP // 2, "b": STARTUP // 2}
    late = [x for x, _ in found[STARTUP + 10 :]]
    assert sum(abs(x - 0.8) < 0.2 for x in late) > 0.6 * len(late)
