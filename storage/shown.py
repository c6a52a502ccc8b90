"""A storage as the dashboard should see it: without the long attributes that no page can show.

optuna-dashboard puts every user attribute of every trial on its pages and into every answer, cut off after a thousand
characters. A history is a table and a curve among the trial's files; a configuration is its parameters and the
study's fixed values. Both, as text, push the trial's page out of the window and double what is sent.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study._frozen import FrozenStudy
from optuna.study._study_direction import StudyDirection
from optuna.trial import FrozenTrial, TrialState

LONG = frozenset({"history", "configuration", "spec", "key", "checkpoint", "note_turn"})


class ShownStorage(BaseStorage):
    """`inner` with the attributes named in `LONG` left out of studies and trials. Everything else is passed on.

    For reading only: a copy of a study that was made through it would lack them.
    """

    def __init__(self, inner: BaseStorage) -> None:
        self.inner = inner
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

    # Passed on --------------------------------------------------------------------------------------------------

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        return self.inner.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        self.inner.delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self.inner.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self.inner.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self.inner.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self.inner.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self.inner.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self.inner.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self.inner.get_study_system_attrs(study_id)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        return self.inner.create_new_trial(study_id, template_trial)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self.inner.set_trial_param(trial_id, param_name, param_value_internal, distribution)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self.inner.get_trial_id_from_study_id_trial_number(study_id, trial_number)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        return self.inner.set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self.inner.set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.inner.set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.inner.set_trial_system_attr(trial_id, key, value)


def _short(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name not in LONG}
