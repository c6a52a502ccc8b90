"""A study that no trial can be trained on is refused at once; one that some can is not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lobmodels.data import Dataset, load_dataset
from lobmodels.data.synthetic import write_dataset
from lobmodels.errors import DataError
from search.errors import SearchError, SpecError
from search.study.feasible import dead_groups, require_trainable
from search.studyfile.spec import StudySpec
from tests.lobmodels.own_data import VARIABLE, write_data

TRAIN = 24  # sequences of `small_dataset`


def spec(validation: dict[str, Any] | None = None, **parameters: Any) -> StudySpec:
    document = {"name": "s", "parameters": {"lr": {"float": [1e-3, 1e-2]}, **parameters}}
    return StudySpec.from_json({**document, "validation": validation or {}})


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"batch_size": TRAIN + 1},
        {"batch_size": {"choices": [32, 64]}},
        {"batch_size": {"int": [TRAIN + 1, 256]}},
        {"batch_size": {"int": [32, 256], "step": 32, "or": [200]}},
        {"batch_size": {"choices": [32, 64], "when": {"head": "mlp"}}, "head": {"choices": ["linear", "mlp"]}},
    ],
    ids=str,
)
def test_a_batch_that_is_always_too_large_is_refused(parameters: dict[str, Any], small_dataset: Dataset) -> None:
    """Fixed, by default, or everywhere in its range: the refusal names value, data and the next step."""
    said = rf"batch_size=\d+ \(.*\) is larger than its {TRAIN} train sequences; set batch_size to {TRAIN} or less"
    with pytest.raises(SearchError, match=said + " in the study file$"):
        require_trainable(spec(**parameters), small_dataset)
    with pytest.raises(SearchError, match=said + ".* and run lobtuna create FILE --revise$"):
        require_trainable(spec(**parameters), small_dataset, created=True)


@pytest.mark.parametrize(
    "parameters",
    [
        {"batch_size": TRAIN},
        {"batch_size": {"choices": [12, 256]}},
        {"batch_size": {"int": [12, 256]}},
        {"batch_size": {"int": [128, 256], "step": 32, "or": [16]}},
        {"batch_size": {"choices": [12, 64], "when": {"head": "mlp"}}, "head": {"choices": ["linear", "mlp"]}},
    ],
    ids=str,
)
def test_a_batch_that_can_fit_is_not(parameters: dict[str, Any], small_dataset: Dataset) -> None:
    """Trials that draw a larger one fail alone."""
    require_trainable(spec(**parameters), small_dataset)


def test_validation_sequences_that_cannot_be_split_are_refused(tmp_path: Path) -> None:
    """One sequence cannot both select and report."""
    write_dataset(tmp_path, train=TRAIN, valid=1, seed=7)
    dataset = load_dataset(tmp_path)
    with pytest.raises(DataError, match="1 validation sequence cannot be split; set report_fraction to 0"):
        require_trainable(spec(batch_size=12), dataset)
    require_trainable(spec({"report_fraction": 0.0}, batch_size=12), dataset)


def test_what_the_data_does_not_decide_is_refused_with_the_file() -> None:
    """Heads that do not divide a fixed width need no data to be refused."""
    with pytest.raises(SpecError, match="hidden_size=30 must be a multiple of attention_heads=4"):
        spec(architecture="gru_attention", hidden_size=30, attention_heads=4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"derived": True}, r"derived reads columns that it does not have \(p0, p1, p2, p3 and 24 more\)"),
        ({"lag": {"choices": [False, True]}}, r"lag reads columns that it does not have \(p0, p6, v0, dp0\)"),
        ({"loss": {"choices": ["mse", "weighted_pearson"]}}, "clip null: choose another loss"),
        ({"t0_weight": {"float": [0.5, 2.0]}}, "t0_weight weigh two targets, and it has 1"),
    ],
)
def test_what_the_schema_does_not_allow_is_refused(parameters: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Feature groups without their columns, losses and weights made for other data: at create, not in every trial."""
    dataset = load_dataset(write_data(tmp_path / "data", VARIABLE))
    with pytest.raises(SearchError, match=message):
        require_trainable(spec(batch_size=4, **parameters), dataset)


def test_constant_features_are_told(small_dataset: Dataset, tmp_path: Path) -> None:
    """A searched group that is constant on the data is named with its columns; good data and other groups are not."""
    searched = {name: {"choices": [False, True]} for name in ("interaction", "derived")}
    assert dead_groups(spec(**searched), small_dataset) == []
    features = small_dataset.train.features.copy()
    features[..., 6] = features[..., 0]
    same = replace(small_dataset, train=replace(small_dataset.train, features=features))
    assert dead_groups(spec(**searched), same) == [
        "feature group derived: spread_0 (1 of 10 columns) is constant on this data",
        "feature group interaction: spread_0_p0, spread_0_v2 (2 of 3 columns) are constant on this data",
    ]
    assert dead_groups(spec(), same) == []
