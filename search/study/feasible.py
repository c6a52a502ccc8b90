"""Refuses a study of which no trial can be trained on the data, before it spends its budget on finding that out."""

from __future__ import annotations

from lobmodels.config import RunConfig
from search.errors import SearchError
from search.studyfile.parameters import FloatRange, IntRange, Parameter
from search.studyfile.spec import StudySpec


def require_trainable(spec: StudySpec, train_sequences: int) -> None:
    """Raise `SearchError` where even the smallest batch size of the space is larger than the data."""
    parameter = spec.parameters.get("batch_size")
    smallest = RunConfig.model_fields["batch_size"].default if parameter is None else _smallest(parameter)
    if smallest <= train_sequences:
        return
    written = "the default" if parameter is None else "the least of the study"
    raise SearchError(
        f"study {spec.name!r} cannot be trained on this data: batch_size={smallest:g}, {written}, is larger than its "
        f"{train_sequences} train sequences; set batch_size to {train_sequences} or less in the study file and run "
        "lobtuna create FILE --revise"
    )


def _smallest(parameter: Parameter) -> float:
    if isinstance(parameter, (IntRange, FloatRange)):
        return min(float(value) for value in (parameter.bounds[0], *parameter.extra))
    return min(float(value) for value in parameter.values() or ())
