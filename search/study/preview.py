"""Shows what a study would try before it exists: configurations drawn from its space as its first trials would be."""

from __future__ import annotations

import optuna
from optuna.samplers import RandomSampler

from lobmodels.config import RunConfig
from lobmodels.errors import ConfigError
from search.errors import SearchError
from search.studyfile.space import suggest
from search.studyfile.spec import StudySpec


def sample_configurations(spec: StudySpec, count: int = 3) -> list[RunConfig]:
    """`count` configurations drawn at random from the space of `spec`; the same ones each time.

    Raises `SearchError` where a drawn configuration contradicts itself: in the study its trial would fail.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=RandomSampler(seed=spec.seed), direction="maximize")
    drawn = []
    for _ in range(count):
        trial = study.ask()
        try:
            drawn.append(suggest(spec, trial))
        except ConfigError as error:
            raise SearchError(f"study {spec.name!r} would draw {trial.params}, which cannot be run: {error}") from None
    return drawn
