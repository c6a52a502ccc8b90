"""The additive model gives an effect to the parameter that has it."""

import numpy as np
import pytest
from optuna.storages import InMemoryStorage

from search.report.factors import factors, fit
from search.report.numbers import credited
from search.report.record import read_study
from tests.made_study import make_study


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
