"""A storage as the dashboard should see it: without the long attributes that no page can show.

optuna-dashboard puts every user attribute of every trial on its pages and into every answer, cut off after a thousand
characters. A history is a table and a curve among the trial's files; a configuration is its parameters and the
study's fixed values. Both, as text, push the trial's page out of the window and double what is sent.
"""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any

from optuna.storages import BaseStorage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from storage.forwarding import ForwardingStorage

LONG = frozenset({"history", "configuration", "spec", "key", "checkpoint", "note_turn"})


class ShownStorage(ForwardingStorage):
    """`inner` with the attributes named in `LONG` left out of studies and trials. Everything else is passed on.

    For reading only: a copy of a study that was made through it would lack them.
    """

    def __init__(self, inner: BaseStorage) -> None:
        super().__init__(inner)
        self._finished: dict[int, FrozenTrial] = {}  # by trial id: they do not change any more

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = [self._shown(trial) for trial in self.inner.get_all_trials(study_id, deepcopy=False, states=states)]
        return copy.deepcopy(trials) if deepcopy else trials

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return copy.deepcopy(self._shown(self.inner.get_trial(trial_id)))

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        return copy.deepcopy(self._shown(self.inner.get_best_trial(study_id)))

    def get_all_studies(self) -> list[FrozenStudy]:
        studies = sorted(self.inner.get_all_studies(), key=lambda study: study._study_id)
        for study in studies:
            study.user_attrs = _short(study.user_attrs)
        return studies

    def _shown(self, trial: FrozenTrial) -> FrozenTrial:
        known = self._finished.get(trial._trial_id)
        if known is not None:
            return known
        shown = copy.copy(trial)
        shown.user_attrs = _short(trial.user_attrs)
        if trial.state.is_finished():
            self._finished[trial._trial_id] = shown
        return shown


def _short(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name not in LONG}
