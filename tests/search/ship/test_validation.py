"""Validation tells what an ensemble scores, as its zip will."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import optuna
import pytest

from lobmodels.checkpoint import Checkpoint
from lobmodels.data import Dataset
from lobmodels.ensemble.bundle import Bundle
from lobmodels.metric import weighted_pearson
from search.ship.members import Choice, choose, load_members
from search.ship.validation import judge, validate


@pytest.fixture
def members(study: optuna.Study) -> list[Checkpoint]:
    """Three runs, the second of another scale than the others."""
    first, second, third = load_members(study, choose(study, Choice(top=3)))
    return [first, dataclasses.replace(second, prediction_std=(0.1, 0.9)), third]


def test_expected_scores_are_those_of_the_bundle(
    members: list[Checkpoint], small_data: Path, small_dataset: Dataset
) -> None:
    """On all, selection and report sequences, with the clip, on one scale, members chosen in any order."""
    known = validate(members, small_data)
    bundle = Bundle.of([members[2], members[1]], [[0.3, 0.6], [0.7, 0.4]])
    judgement = judge(members, bundle, "0.3,0.7", known)
    valid = small_dataset.valid
    predicted = bundle.predict(np.asarray(valid.features))[:, valid.schema.warmup_steps :]
    for name, index in known.parts.items():
        expected = weighted_pearson(predicted[index], known.targets[index])
        assert judgement.expected[name] == pytest.approx([*expected, expected.mean()], abs=1e-6)


def test_fitted_weights_do_not_depend_on_the_scale(members: list[Checkpoint], small_data: Path) -> None:
    """A member that is trained to twice the size gets the weight that it had, for it enters on the same scale."""
    known = validate(members, small_data)
    twice = [dataclasses.replace(m, prediction_std=tuple(2 * s for s in m.prediction_std or ())) for m in members[1:2]]
    larger = [members[0], *twice, members[2]]
    predictions = [known.predictions[0], 2 * known.predictions[1], known.predictions[2]]
    again = dataclasses.replace(known, members=tuple(larger), predictions=predictions)
    assert again.fitted("optimised", larger) == pytest.approx(known.fitted("optimised", members), abs=1e-6)
