"""The studies of a database at a glance: one line for a search, its revisions and its replicates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage

from search.study.open import SEEDS
from search.study.record import REVISION_OF, SPEC, read_trial
from search.study.runs import best_run, run_of
from search.study.status import count
from storage.optuna_internals import FrozenStudy


@dataclass(frozen=True)
class ListedStudy:
    """One search study. `best` is the highest mean on the selection sequences; None where no trial is complete."""

    name: str
    trials: dict[str, int]  # by state
    best: float | None
    revision_of: str | None
    replicates: dict[str, int] | None  # trials of its study of replicates, None where there is none
    ours: bool  # whether lobtuna created it

    def to_json(self) -> dict[str, Any]:
        """The line as plain JSON."""
        return vars(self)


def list_studies(storage: BaseStorage) -> list[ListedStudy]:
    """Every study of the database but those of replicates, which are part of their search's line; by name."""
    records = {record.study_name: record for record in storage.get_all_studies()}
    names = sorted(record.study_name for record in find_searches(records))
    return [_listed(storage, name, records[name].user_attrs, name + SEEDS in records) for name in names]


def find_searches(records: Mapping[str, FrozenStudy]) -> list[FrozenStudy]:
    """Those of a database's studies, by name, that do not hold another one's replicates."""
    return [
        record for name, record in records.items() if not (name.endswith(SEEDS) and name.removesuffix(SEEDS) in records)
    ]


def _listed(storage: BaseStorage, name: str, attributes: dict[str, Any], replicated: bool) -> ListedStudy:
    trials = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
    best = best_run(run for trial in trials if (run := run_of(read_trial(name, trial))) is not None)
    replicates = optuna.load_study(study_name=name + SEEDS, storage=storage) if replicated else None
    return ListedStudy(
        name=name,
        trials=count(trials),
        best=None if best is None else best.value,
        revision_of=attributes.get(REVISION_OF),
        replicates=None if replicates is None else count(replicates.get_trials(deepcopy=False)),
        ours=SPEC in attributes,
    )
