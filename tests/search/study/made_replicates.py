"""Search runs and replicates with made-up scores, ended as workers end them."""

import zlib
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from lobmodels.config import RunConfig
from search.study.open import spec_of
from search.study.replication import (
    advance,
    find_replicates,
)
from search.studyfile.space import suggest
from search.studyfile.spec import StudySpec

SPEC = StudySpec.from_json(
    {
        "name": "s",
        "parameters": {
            "hidden_size": {"int": [16, 128], "step": 16},
            "lr": {"float": [1e-4, 1e-2], "log": True},
            "epochs": 20,
        },
        "seed": 7,
    }
)


NOISE = 0.004


def score(config: RunConfig, seed: int) -> float:
    """A made-up score: wider is better by .001 a step, and each run is noisy in its own repeatable way."""
    noise = np.random.default_rng(zlib.crc32(f"{config.key()}{seed}".encode())).normal(0, NOISE)
    return 0.25 + 0.001 * config.hidden_size / 16 + float(noise)


def finish(study: optuna.Study, trial: optuna.Trial) -> None:
    """End a trial as a worker would."""
    spec = spec_of(study)
    config = suggest(spec, trial)
    seed = trial.user_attrs.get("seed", spec.trial_seed(trial.number))
    value = score(config, seed)
    attributes: dict[str, Any] = {"configuration": config.active(), "key": config.key(), "seed": seed}
    attributes |= {"select_mean": value, "report_mean": value - 0.01, "report_t0": 0.3, "report_t1": 0.2}
    for name, attribute in attributes.items():
        trial.set_user_attr(name, attribute)
    trial.report(value, 0)
    study.tell(trial, value)


def search(study: optuna.Study, count: int) -> None:
    for _ in range(count):
        finish(study, study.ask())


def serve(study: optuna.Study, limit: int = 1000) -> int:
    """Work off the queued replicates, as a worker does, asking for the next round whenever none is left."""
    done = 0
    while done < limit:
        target = find_replicates(study)
        waiting = [] if target is None else target.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not waiting:
            if not advance(study._storage, study.study_name):
                return done
            continue
        assert target is not None
        assert target._storage.set_trial_state_values(waiting[0]._trial_id, TrialState.RUNNING)
        finish(target, optuna.Trial(target, waiting[0]._trial_id))
        done += 1
    return done
