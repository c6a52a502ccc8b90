"""What the score of a study is called where its trials are shown: the metric of its data, on the selection sequences.

Optuna's own place for such a name is an attribute that `set_metric_names` writes. It would have to be written when the
study is created, before any data has said by which metric it is scored, and older studies would lack it. So the
dashboard asks here instead, and nothing is written.
"""

from __future__ import annotations

from lobmodels.metric import METRICS
from lobmodels.schema import Schema
from search.study.record import SCHEMA, SPEC
from storage.optuna_internals import FrozenStudy


def objective_name(study: FrozenStudy) -> str | None:
    """The name of the study's score; None for a study that lobtuna did not create, or whose schema is damaged. A metric
    of a plugin whose source is not known here goes by the name that the data gives it."""
    if SPEC not in study.user_attrs:
        return None
    try:
        metric = Schema.of(study.user_attrs.get(SCHEMA)).metric
    except (TypeError, KeyError):  # a page about other studies must open all the same
        return None
    return f"{METRICS[metric].short if metric in METRICS else metric}, selection"
