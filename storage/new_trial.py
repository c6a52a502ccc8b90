"""A trial at the moment it begins, before anything is known about it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, TrialState


def new_trial(
    number: int, trial_id: int, started: datetime | None, system_attrs: dict[str, Any] | None = None
) -> FrozenTrial:
    """A running trial without parameters, reports or attributes other than `system_attrs`."""
    return FrozenTrial(
        number=number,
        trial_id=trial_id,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=started,
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs=system_attrs or {},
        intermediate_values={},
    )
