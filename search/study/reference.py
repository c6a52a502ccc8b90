"""Forecasts that a study's runs are read beside: a ridge regression on one row, and the ensemble that can be shipped.

Each is scored once on the study's validation sequences and stored with the study, so that every reader without the data
sees it: the first worker scores the ridge, `report --data` the ensemble.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from numpy.typing import NDArray

from lobmodels.bootstrap import score_interval
from lobmodels.metric import metric_of
from search.study.record import ENSEMBLE, RIDGE

if TYPE_CHECKING:
    from lobmodels.data import Dataset
    from search.studyfile.spec import ValidationSpec


@dataclass(frozen=True)
class Score:
    """A mean weighted Pearson with its 90 % interval, where one is known."""

    value: float
    low: float | None = None
    high: float | None = None

    @staticmethod
    def over_sequences(runs: Sequence[NDArray[np.float64]]) -> Score:
        """The mean score of runs with these sums (N, 6, targets), and how it varies over sequences drawn again."""
        return Score(*score_interval(runs))

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" ({self.low:.4f}..{self.high:.4f})"
        return f"{self.value:.4f}{interval}"


@dataclass(frozen=True)
class Reference:
    """A forecast scored on the selection and on the report sequences; None where there are none of a kind, as with
    folds, whose runs select on different ones.

    `members` are the runs of an ensemble, by name, `runs` how many were complete when it was scored.
    """

    select: Score | None
    report: Score | None
    members: tuple[str, ...] = ()
    runs: int = 0

    @staticmethod
    def of(
        sums: NDArray[np.float64],
        select: NDArray[np.int64],
        report: NDArray[np.int64],
        members: Sequence[str] = (),
        runs: int = 0,
    ) -> Reference:
        """From the sums (N, 6, targets) of all validation sequences and the indices of both parts."""
        parts = [Score.over_sequences([sums[index]]) if len(index) else None for index in (select, report)]
        return Reference(parts[0], parts[1], tuple(members), runs)


@dataclass(frozen=True)
class References:
    """A study's references; None where one is not known. `stored`: whether the study has them, for every reader."""

    ridge: Reference | None = None
    ensemble: Reference | None = None
    stored: bool = True

    @staticmethod
    def read(attributes: Mapping[str, Any]) -> References:
        """Those among a study's attributes."""
        return References(read_reference(attributes, RIDGE), read_reference(attributes, ENSEMBLE))


def store_reference(study: optuna.Study, name: str, reference: Reference) -> None:
    """Keep a reference with the study under `name`, one of `record.RIDGE` and `record.ENSEMBLE`."""
    study.set_user_attr(name, asdict(reference))


def read_reference(attributes: Mapping[str, Any], name: str) -> Reference | None:
    """What `store_reference` kept among a study's attributes; None where there is nothing, or something else."""
    document = attributes.get(name)
    try:
        select, report, members = (document[part] for part in ("select", "report", "members"))  # type: ignore[index]
        scores = [None if part is None else Score(**part) for part in (select, report)]
        return Reference(scores[0], scores[1], tuple(map(str, members)), int(document["runs"]))  # type: ignore[index]
    except (TypeError, KeyError):
        return None


def ensure_ridge(study: optuna.Study, dataset: Dataset, validation: ValidationSpec) -> None:
    """Score a ridge regression on the study's data and store it, unless one is there or none can be scored."""
    if read_reference(study.user_attrs, RIDGE) is None:
        ridge = score_ridge(dataset, validation)
        if ridge is not None:
            store_reference(study, RIDGE, ridge)


def score_ridge(dataset: Dataset, validation: ValidationSpec) -> Reference | None:
    """Scores of a ridge regression that was fitted on train.parquet. None where sequences differ in length or the
    metric is no correlation: the report then shows runs alone."""
    from lobmodels.data import validation_split
    from lobmodels.profile.row_ridge import row_ridge_sums

    if dataset.schema.variable_length or not metric_of(dataset.schema).correlates:
        return None
    select, report = validation_split(len(dataset.valid), validation.report_fraction)
    if validation.count is not None:
        select = select[:0]
    return Reference.of(row_ridge_sums(dataset.train, dataset.valid), select, report)
