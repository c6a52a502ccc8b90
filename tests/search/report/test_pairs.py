"""Parameters that act together are found, and none where there are none."""

import numpy as np
from optuna.storages import InMemoryStorage

from search.report.additive import fit
from search.report.effects import Effects
from search.report.factors import factors
from search.report.numbers import credited
from search.report.pairs import pairs
from search.report.record import read_study
from tests.made_study import make_study


def test_pairs_find_what_acts_together() -> None:
    """An interaction is found among all pairs, and none where there is none."""
    study = read_study(make_study(InMemoryStorage(), 300, failures=0))
    trials, values = credited(study)
    found_factors = factors(study.searched, trials)
    by_name = {f.name: f for f in found_factors}
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.004, len(trials))
    crossed = (by_name["loss"].index == 0) ^ (by_name["derived"].index == 0)
    for strength, expected in ((0.012, True), (0.0, False)):
        scores = 0.25 + strength * crossed + noise
        object.__setattr__(study, "trials", study.trials)
        looked = pairs(Effects(tuple(trials), scores, tuple(found_factors), fit(scores, found_factors)), None)
        first = looked[0]
        assert (first.strength > first.by_chance) is expected
        if expected:
            assert {first.first.name, first.second.name} == {"loss", "derived"}
    assert len(values) == len(trials)
