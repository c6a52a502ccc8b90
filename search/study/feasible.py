"""Refuses a study of which no trial can be trained on the data, before its budget is spent on failures.

What does not depend on the data, such as heads that do not divide the width, is refused when the study file is read.
"""

from __future__ import annotations

from lobmodels.config import FEATURE_FLAGS, RunConfig, own_feature_flags
from lobmodels.data import Dataset
from lobmodels.inputs import missing_columns
from lobmodels.metric import METRICS
from lobmodels.profile.dead import constant_features, group_line, sampled
from lobmodels.schema import Schema
from lobmodels.training.losses import refused_by
from search.errors import SearchError
from search.studyfile.parameters import FloatRange, IntRange, Parameter
from search.studyfile.spec import StudySpec


def require_trainable(spec: StudySpec, dataset: Dataset, *, created: bool = False) -> None:
    """Raise `SearchError` where even the smallest batch size of the space is larger than the data, or where the data's
    schema does not allow what the study searches; `DataError` where its sequences cannot be divided as the study says.
    `created`: whether the study is in the database already."""
    folds = range(spec.validation.count or 1)
    least = min(len(dataset.partition(spec.validation.rule(fold)).train) for fold in folds)
    require_allowed(spec, dataset.schema)
    smallest, origin = _smallest_batch(spec)
    if smallest <= least:
        return
    remedy = f"set batch_size to {least} or less in the study file"
    raise SearchError(
        f"study {spec.name!r} cannot be trained on this data: batch_size={smallest:g} ({origin}) is larger than its "
        f"{least} train sequences; {remedy}{' and run lobtuna create FILE --revise' if created else ''}"
    )


def require_allowed(spec: StudySpec, schema: Schema) -> None:
    """Raise `SearchError` for feature groups, losses and target weights that data of this schema does not allow, and
    for a metric that nobody defines: a trial could only fail, or compute something else than it says."""
    problems = []
    if schema.metric not in METRICS:
        problems.append(
            f"it is scored by the metric {schema.metric!r} of a plugin, which the study does not hold: create it with "
            "--plugin FILE and with this data as --data"
        )
    for group in used_groups(spec):
        missing = missing_columns(group, schema)
        if missing:
            more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
            problems.append(f"{group} reads columns that it does not have ({', '.join(missing[:4])}{more})")
    losses = spec.parameters.get("loss")
    for loss in losses.values() or () if losses is not None else ():
        problems += refused_by(RunConfig.parse({"loss": loss}), schema)
    weights = [name for name in ("t0_weight", "t1_weight") if name in spec.parameters]
    if weights and len(schema.targets) != 2:
        problems.append(f"{' and '.join(weights)} weigh two targets, and it has {len(schema.targets)}")
    if problems:
        raise SearchError(
            f"study {spec.name!r} cannot be trained on this data: {'; '.join(problems)}; change the study file"
        )


def used_groups(spec: StudySpec) -> tuple[str, ...]:
    """The feature groups that some trial of the study may switch on."""
    names = (name for name in (*FEATURE_FLAGS, *own_feature_flags()) if name in spec.parameters)
    return tuple(name for name in names if True in (spec.parameters[name].values() or ()))


def dead_groups(spec: StudySpec, dataset: Dataset) -> list[str]:
    """One line for each feature group that the study may switch on and that has constant features on this data, as far
    as the train sequences that are looked at show."""
    wanted = used_groups(spec)
    found = constant_features(sampled(dataset.train), dataset.schema) if wanted else {}
    return [f"{group_line(group, found[group])} on this data" for group in wanted if group in found]


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
