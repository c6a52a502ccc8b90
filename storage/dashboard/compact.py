"""A storage for the dashboard: without the long attributes that no page can show.

optuna-dashboard puts every user attribute of every trial on its pages and into every answer, cut off after a thousand
characters. A history is a table and a curve among the trial's files; a configuration is its parameters and the
study's fixed values. Both, as text, push the trial's page out of the window and double what is sent.
"""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from storage.forwarding import ForwardingStorage
from storage.optuna_internals import FrozenStudy, study_id_of, trial_id_of

LONG = frozenset({"history", "configuration", "spec", "key", "checkpoint", "note_turn"})


class CompactStorage(ForwardingStorage):
    """`inner` with the attributes named in `LONG` left out of studies and trials. Everything else is passed on.

    For reading only: a copy of a study that was made through it would lack them.
    """

    def __init__(self, inner: BaseStorage) -> None:
        super().__init__(inner)
        self._finished: dict[int, FrozenTrial] = {}  # by trial id: they do not change any more

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = [self._compact(trial) for trial in self.inner.get_all_trials(study_id, deepcopy=False, states=states)]
        return copy.deepcopy(trials) if deepcopy else trials

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return copy.deepcopy(self._compact(self.inner.get_trial(trial_id)))

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        return copy.deepcopy(self._compact(self.inner.get_best_trial(study_id)))

    def get_all_studies(self) -> list[FrozenStudy]:
        studies = sorted(self.inner.get_all_studies(), key=study_id_of)
        for study in studies:
            study.user_attrs = _short(study.user_attrs)
        return studies

    def _compact(self, trial: FrozenTrial) -> FrozenTrial:
        trial_id = trial_id_of(trial)
        known = self._finished.get(trial_id)
        if known is not None:
            return known
        compact = copy.copy(trial)
        compact.user_attrs = _short(trial.user_attrs)
        if trial.state.is_finished():
            self._finished[trial_id] = compact
        return compact


def _short(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name not in LONG}
