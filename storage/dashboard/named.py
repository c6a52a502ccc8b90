"""A storage for the dashboard in which every study's objective has a name: "Objective 0" says nothing of a score."""

from __future__ import annotations

from collections.abc import Callable

from optuna.storages import BaseStorage

from storage.forwarding import ForwardingStorage
from storage.optuna_internals import METRIC_NAMES, FrozenStudy

Naming = Callable[[FrozenStudy], str | None]


class NamedStorage(ForwardingStorage):
    """`inner`, where studies of one objective that hold no name for it have the one that `naming` gives, if any.

    The name is added as studies are read and never stored: studies of every age have it.
    """

    def __init__(self, inner: BaseStorage, naming: Naming) -> None:
        super().__init__(inner)
        self._naming = naming

    def get_all_studies(self) -> list[FrozenStudy]:
        studies = self.inner.get_all_studies()
        for study in studies:
            name = self._naming(study) if len(study.directions) == 1 else None
            if name is not None:
                study.system_attrs = {METRIC_NAMES: [name], **study.system_attrs}
        return studies
