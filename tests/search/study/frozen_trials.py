"""Trials as a database holds them after a worker's writes, made without a database."""

from datetime import datetime

from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from lobmodels.config import RunConfig
from storage.claims import Batch

CONFIG = RunConfig.parse({"lr": 2e-3, "hidden_size": 16, "derived": True})


def frozen(batch: Batch, state: TrialState = TrialState.RUNNING, number: int = 7) -> FrozenTrial:
    """The trial as a database holds it after `batch`."""
    state = batch.state or state
    return FrozenTrial(
        number=number,
        trial_id=number + 100,
        state=state,
        value=None,
        values=batch.values,
        datetime_start=datetime(2026, 3, 2),
        datetime_complete=datetime(2026, 3, 3) if state.is_finished() else None,
        params={"lr": 2e-3},
        distributions={"lr": FloatDistribution(1e-4, 1e-1, log=True)},
        user_attrs=batch.user_attrs,
        system_attrs=batch.system_attrs,
        intermediate_values=batch.intermediate,
    )
