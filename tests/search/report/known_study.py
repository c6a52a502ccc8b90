"""Studies in which it is known what matters, and one in which nothing does."""

from __future__ import annotations

import numpy as np
from optuna.storages import InMemoryStorage

from search.report.record import Study, read_study
from tests.made_study import make_study


def shuffled() -> Study:
    """Trials whose scores are dealt out anew: nothing matters."""
    study = read_study(make_study(InMemoryStorage(), 300, failures=0))
    order = np.random.default_rng(5).permutation(len(study.scored))
    values = [study.scored[int(i)].value for i in order]
    for trial, value in zip(study.scored, values, strict=True):
        object.__setattr__(trial, "value", value)
    return study
