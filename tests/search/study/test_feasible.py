"""A study that no trial can be trained on is refused at once; one that some can is not."""

from typing import Any

import pytest

from search.errors import SearchError
from search.study.feasible import require_trainable
from search.studyfile.spec import StudySpec


def spec(**parameters: Any) -> StudySpec:
    return StudySpec.from_json({"name": "s", "parameters": {"lr": {"float": [1e-3, 1e-2]}, **parameters}})


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"batch_size": 121},
        {"batch_size": {"choices": [128, 256]}},
        {"batch_size": {"int": [121, 256]}},
        {"batch_size": {"int": [128, 256], "step": 32, "or": [200]}},
    ],
    ids=str,
)
def test_a_batch_that_is_always_too_large_is_refused(parameters: dict[str, Any]) -> None:
    """Fixed, by default, or everywhere in its range: the refusal names value, data and the next command."""
    with pytest.raises(SearchError, match=r"batch_size=\d+, .*larger than its 120 train sequences; .*--revise"):
        require_trainable(spec(**parameters), 120)


@pytest.mark.parametrize(
    "parameters",
    [
        {"batch_size": 120},
        {"batch_size": {"choices": [64, 256]}},
        {"batch_size": {"int": [64, 256]}},
        {"batch_size": {"int": [128, 256], "step": 32, "or": [16]}},
    ],
    ids=str,
)
def test_a_batch_that_can_fit_is_not(parameters: dict[str, Any]) -> None:
    """Trials that draw a larger one fail alone, and the sampler learns from it."""
    require_trainable(spec(**parameters), 120)
