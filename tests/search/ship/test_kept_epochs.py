"""A study that searches how many epochs a run keeps, from its study file to the scored submission."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import optuna
import pytest

from lobmodels.data import Dataset
from lobmodels.ensemble.bundle import read_submission, write_submission
from lobmodels.errors import BundleError
from lobmodels.metric import score as score_of
from search.ship.analysis import analyse_pool
from search.ship.export import Request, ship
from search.ship.score import score
from search.ship.verify import verify
from search.study.open import open_study
from search.study.record import read_trial
from search.study.refit import choose_ranked, refit
from search.study.replication import find_replicates
from search.study.runs import finished_runs, load_checkpoint, refit_runs
from search.studyfile.spec import StudySpec
from search.work.options import WorkOptions
from search.work.worker import work
from tests.machines import create

WORK = WorkOptions(device="cpu")
STUDY = {
    "name": "kept",
    "parameters": {
        "hidden_size": 4,
        "num_layers": 1,
        "batch_size": 12,
        "epochs": 4,
        "lr": {"float": [3e-3, 3e-2], "log": True},
        "snapshots": {"int": [1, 4]},
        "epoch_per_target": {"choices": [False, True]},
    },
    "pruner": {"name": "none"},
    "budget": {"trials": 5},
    "seed": 3,
}


@pytest.fixture(scope="module")
def url(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The study with its five runs, and a refit of each configuration."""
    found = f"sqlite:///{tmp_path_factory.mktemp('kept') / 'study.db'}"
    create(found, StudySpec.from_json(STUDY))
    work(found, "kept", small_data, options=WORK)
    study = open_study(found, "kept")
    refit(study, choose_ranked(study, None), 1)
    work(found, "kept", small_data, options=WORK)
    return found


@pytest.fixture(scope="module")
def study(url: str) -> optuna.Study:
    """The study, opened."""
    return open_study(url, "kept")


@pytest.fixture(scope="module")
def path(url: str, tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> Path:
    """All its runs as a submission."""
    found = tmp_path_factory.mktemp("zip") / "s.zip"
    ship(url, "kept", Request(top=5), found, small_data)
    return found


def test_a_runs_value_is_what_its_epochs_score_together(study: optuna.Study, small_dataset: Dataset) -> None:
    """Not the best epoch's: what the sampler learns from is what would be shipped."""
    runs = finished_runs(study)
    assert len(runs) == 5
    several = 0
    for run in runs:
        member, config = load_checkpoint(study, run), run.config
        assert max(1, len(member.epochs)) <= config.snapshots * (2 if config.epoch_per_target else 1)
        assert len(member.epochs) != 1 and (len(member.epochs) >= config.snapshots or config.snapshots == 1)
        select = small_dataset.partition(member.rule).select - len(small_dataset.train)
        warmup = small_dataset.schema.warmup_steps
        predicted = member.predict(small_dataset.valid.features[select])[:, warmup:]
        expected = score_of(predicted, small_dataset.valid.targets[select][:, warmup:], small_dataset.schema)
        assert run.value == pytest.approx(expected.mean(), abs=1e-5)
        record = read_trial("kept", study.trials[run.number])
        assert record.parameters == member.parameters
        several += bool(member.epochs)
    assert several >= 2, "a study of single epochs would prove nothing"


def test_the_submission_is_verified_and_scored(url: str, path: Path, small_data: Path, study: optuna.Study) -> None:
    """Every network against torch, with and without numba, its weights against the stored runs; the score is the one
    that the manifest promises."""
    submission = read_submission(path)
    assert len(submission.runs) == 5 and len(submission.names) > 5
    found = verify(path, small_data, storage=url)
    assert found.ok, found.failed
    assert [check.backend for check in found.checks if check.name == "weights"] == ["digests", "stored"]
    (scored,) = score([path], small_data).scores
    promised = submission.expected
    assert promised is not None and scored.overall.mean == pytest.approx(promised.scores["all"][-1], abs=1e-4)
    assert set(submission.runs) == {run.name for run in finished_runs(study)}


def test_an_epoch_in_anothers_place_is_refused(url: str, path: Path, tmp_path: Path, small_data: Path) -> None:
    """Whole in itself, but not what was trained: the stored run says so."""
    bundle = read_submission(path).bundle()
    k, member = next((k, m) for k, m in enumerate(bundle.members) if len(m.epochs) > 1)
    first, second, *rest = member.epochs
    swapped = (dataclasses.replace(first, weights=second.weights), dataclasses.replace(second, weights=first.weights))
    members = [*bundle.members]
    members[k] = dataclasses.replace(member, epochs=(*swapped, *rest))
    write_submission(tmp_path / "s.zip", dataclasses.replace(bundle, members=tuple(members)))
    names = [single.name for single in member.singles[:2]]
    with pytest.raises(BundleError, match=f"{names[0]} holds the weights of {names[1]}"):
        verify(tmp_path / "s.zip", small_data, storage=url)


def test_members_are_runs_to_the_analysis(url: str, small_data: Path, tmp_path: Path) -> None:
    """`ensemble` weighs runs, not their epochs."""
    analysis, _ = analyse_pool(url, "kept", small_data, tmp_path)
    assert all("@e" not in name for name in analysis.names)


def test_refits_keep_the_epochs_that_their_runs_say(study: optuna.Study, url: str, tmp_path: Path) -> None:
    """The last ones, up to the best epoch of each target where each has its own; they are shipped like any member."""
    seeds = find_replicates(study)
    assert seeds is not None
    runs = refit_runs(seeds)
    assert len(runs) == 5
    for run in runs:
        member, config, order = load_checkpoint(seeds, run), run.config, run.refit
        assert order is not None and member.score is None
        assert all(bool(earlier.by_target) == config.epoch_per_target for earlier in order.runs)
        kept = [kept.epoch for kept in member.epochs] or [member.best_epoch]
        assert max(kept) == run.epochs - 1
        if not config.epoch_per_target:
            assert kept == list(range(max(0, run.epochs - config.snapshots), run.epochs))
        np.testing.assert_allclose(member.shares.sum(0), 1.0)
    (shipment,) = ship(url, "kept", Request(refit=True), tmp_path / "refit.zip")
    assert {member.name for member in shipment.bundle.members} <= {run.name for run in runs}
