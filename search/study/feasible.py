"""Refuses a study of which no trial can be trained on the data, before its budget is spent on failures.

What does not depend on the data, such as heads that do not divide the width, is refused when the study file is read.
"""

from __future__ import annotations

from lobmodels.config import RunConfig
from lobmodels.data import Dataset
from search.errors import SearchError
from search.studyfile.parameters import FloatRange, IntRange, Parameter
from search.studyfile.spec import StudySpec


def require_trainable(spec: StudySpec, dataset: Dataset, *, created: bool = False) -> None:
    """Raise `SearchError` where even the smallest batch size of the space is larger than the data, `DataError` where
    its sequences cannot be divided as the study says. `created`: whether the study is in the database already."""
    folds = range(spec.validation.count or 1)
    least = min(len(dataset.partition(spec.validation.rule(fold)).train) for fold in folds)
    smallest, origin = _smallest_batch(spec)
    if smallest <= least:
        return
    remedy = f"set batch_size to {least} or less in the study file"
    raise SearchError(
        f"study {spec.name!r} cannot be trained on this data: batch_size={smallest:g} ({origin}) is larger than its "
        f"{least} train sequences; {remedy}{' and run lobtuna create FILE --revise' if created else ''}"
    )


def _smallest_batch(spec: StudySpec) -> tuple[float, str]:
    """The least batch size that a trial can have, and where it comes from."""
    default = float(RunConfig.model_fields["batch_size"].default)
    parameter = spec.parameters.get("batch_size")
    if parameter is None:
        return default, "the default"
    least = _smallest(parameter)
    if parameter.when and default < least:  # where its conditions do not hold, the default does
        return default, "the default"
    return least, "the least in the study"


def _smallest(parameter: Parameter) -> float:
    if isinstance(parameter, (IntRange, FloatRange)):
        return min(float(value) for value in (parameter.bounds[0], *parameter.extra))
    return min(float(value) for value in parameter.values() or ())
