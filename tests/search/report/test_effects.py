"""Effects are found where they are, and none where scores are dealt out at random."""

import numpy as np

from search.report.effects import Effects, effects
from search.report.numbers import interval
from search.report.record import Study
from tests.search.report.known_study import shuffled


def test_effects_find_the_best_learning_rate(found: Effects) -> None:
    """The level around the true optimum of lr is the best, surely; the ends are surely worse."""
    i = found.of("lr")
    assert i is not None
    factor, effect, samples = found.factors[i], found.model.effects[i], found.model.samples[i]
    best = int(np.argmax(effect))
    assert 5e-4 < (factor.centers[best] or 0) < 1.4e-3
    low, _ = interval(samples[:, best] - samples[:, 0], 0.9)
    assert low > 0.005
    assert 0.3 < found.model.explained < 0.95


def test_effects_of_nothing(known: Study) -> None:
    """Where scores are dealt out at random, the model predicts nothing of runs left out."""
    result = effects(shuffled())
    assert result is not None
    assert result.model.explained < 0.05
