"""From a study with folds to its submissions: what each trial trains, and that no report sequence is among it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from lobmodels.config import RunConfig
from lobmodels.data import Dataset, SplitRule
from lobmodels.ensemble.bundle import read_submission
from lobmodels.errors import BundleError
from search.errors import SearchError
from search.ship.analysis import analyse_pool
from search.ship.export import Request, ship
from search.study.open import open_study
from search.study.record import read_trial
from search.study.refit import choose_ranked, refit
from search.study.replication import choose, find_replicates, rank_study, replicate
from search.study.runs import finished_runs, load_checkpoint, refit_runs
from search.work.options import WorkOptions
from search.work.task import Task
from search.work.worker import work
from tests.machines import create, small_study

FOLDS = {"validation": {"folds": 3}}
WORK = WorkOptions(device="cpu")


@pytest.fixture(scope="module")
def url(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study of two configurations on three folds, each refitted once."""
    found = f"sqlite:///{tmp_path_factory.mktemp('folds') / 'study.db'}"
    create(found, small_study(trials=2, epochs=3, **FOLDS))
    work(found, "small", small_data, options=WORK)
    study = open_study(found, "small")
    assert replicate(study, choose(study), seeds=1, folds=3).queued == 4
    work(found, "small", small_data, options=WORK)
    refit(open_study(found, "small"), choose_ranked(study, None), 1)
    refit(open_study(found, "small"), choose_ranked(study, 1), 1, with_report=True)
    work(found, "small", small_data, options=WORK)
    return found


def test_runs_are_trained_on_their_folds(url: str, small_dataset: Dataset) -> None:
    """The search is on fold 0, each replicate where it was queued; what a checkpoint says is what its sums are of."""
    study = open_study(url, "small")
    target = find_replicates(study)
    assert target is not None
    runs = [*finished_runs(study), *finished_runs(target)]
    assert sorted((run.key, run.fold) for run in runs) == sorted({(r.key, f) for r in runs for f in range(3)})
    for run in runs:
        checkpoint = load_checkpoint(study if run.study == "small" else target, run)
        assert checkpoint.rule == SplitRule(0.25, "folds", 3, run.fold or 0)
        part = small_dataset.partition(checkpoint.rule)
        sums = checkpoint.sequence_sums
        assert (len(sums["select"]), len(sums["report"])) == (len(part.select), len(part.report))
    ranking = rank_study(study)
    assert ranking.resampled and [row.n for row in ranking.rows] == [3, 3]


def test_refits_are_members_that_say_what_they_are(url: str, tmp_path: Path, small_data: Path) -> None:
    """They are exported when asked for, never by default, and the manifest says that they were not validated."""
    (shipment,) = ship(url, "small", Request(refit=True), tmp_path / "refit.zip", small_data)
    members = read_submission(tmp_path / "refit.zip").manifest["members"]
    assert len(members) == 2 and all(member["origin"]["validated"] is False for member in members)
    assert any("2 of 2 members are refits, not validated themselves" in remark for remark in shipment.remarks)
    assert set(shipment.scores) == {"report", "uniform_report"}
    (last,) = ship(url, "small", Request(refit=True, with_report=True), tmp_path / "last.zip", small_data)
    assert "trained on the report sequences too" in last.remarks[-1] and last.scores == {}
    (usual,) = ship(url, "small", Request(), tmp_path / "usual.zip", small_data)
    assert all(member.rule.validated for member in usual.bundle.members) and usual.remarks == ()
    (wide,) = ship(url, "small", Request(configurations=2), tmp_path / "wide.zip", small_data)
    assert len(wide.bundle.members) == 6 and wide.remarks == ()
    for request, said in (
        (Request(refit=True, weights="shrunk"), "a refit holds none out"),
        (Request(with_report=True), "says which refits to take"),
    ):
        with pytest.raises(BundleError, match=said):
            ship(url, "small", request, tmp_path / "no.zip", small_data)


@pytest.mark.parametrize("how", ["shrunk", "optimised"])
def test_weights_are_fitted_out_of_fold(url: str, tmp_path: Path, small_data: Path, how: str) -> None:
    """The runs of a configuration share its weight: no run is weighed by what it has memorised."""
    (shipment,) = ship(url, "small", Request(weights=how), tmp_path / f"{how}.zip", small_data)
    weights: dict[str, set[Any]] = {}
    for member, weight in zip(shipment.bundle.members, shipment.bundle.weights, strict=True):
        weights.setdefault(member.config.key(), set()).add(tuple(weight.round(12).tolist()))
    assert all(len(each) == 1 for each in weights.values())
    np.testing.assert_allclose(shipment.bundle.weights.sum(0), 1.0)


def test_configurations_are_analysed_out_of_fold(url: str, tmp_path: Path, small_data: Path) -> None:
    """The models are configurations, on all sequences but report; the weights' file names their runs."""
    analysis, _ = analyse_pool(url, "small", small_data, tmp_path)
    assert len(analysis.names) == 2 and analysis.counts["select"] == 33 and analysis.counts["report"] == 3
    for variant in analysis.optimal_weights["variants"].values():
        assert len(variant["weights"]) == 6
        np.testing.assert_allclose(np.sum(list(variant["weights"].values()), 0), 1.0)


def test_a_refit_trains_as_long_as_its_runs_say(url: str, small_dataset: Dataset) -> None:
    """The plan is computed from the data at hand: median best epoch, in steps; all but the report sequences train."""
    target = open_study(url, "small.seeds")
    runs = refit_runs(target)
    assert len(runs) == 3
    for run in runs:
        record = read_trial("small.seeds", target.trials[run.number])
        task = Task.of(small_study(epochs=3, **FOLDS), record, RunConfig.parse(record.configuration))
        plan, order = task.plan(small_dataset), record.refit
        assert plan is not None and order is not None and run.epochs == plan.epochs
        fold_steps, steps = (
            math.ceil(len(small_dataset.partition(rule).train) / 12)
            for rule in (SplitRule(0.25, "folds", 3), task.rule)
        )
        best = float(np.median([earlier.best for earlier in order.runs]))
        assert plan.epochs == max(1, round(best * fold_steps / steps)) and run.value == order.promised


def test_a_search_trial_has_the_seed_of_its_number() -> None:
    """Without folds a task has none, and the fixed split."""
    study = optuna.create_study()
    study.ask()
    task = Task.of(small_study(seed=5), read_trial("small", study.trials[0]), RunConfig.parse({}))
    assert (task.seed, task.fold, task.rule, task.order) == (5, None, SplitRule(), None)


def test_without_refits_there_is_nothing_to_ship(small_data: Path, tmp_path: Path) -> None:
    """The next command is named."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, small_study(trials=1, epochs=1))
    work(url, "small", small_data, options=WORK)
    with pytest.raises(SearchError, match="no complete refit of this kind: lobtuna refit small"):
        ship(url, "small", Request(refit=True), tmp_path / "a.zip")
