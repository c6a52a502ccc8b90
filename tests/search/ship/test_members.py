"""The members of an ensemble are the runs that were asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import optuna
import pytest

from lobmodels.data import Dataset
from search.errors import SearchError
from search.ship.members import Choice, choose, load_members, weights_by_target
from search.study.record import SCHEMA
from tests.search.trained_pool import SCORES, add_replicate, add_runs, make_study


def names(study: optuna.Study, **choice: object) -> list[str]:
    return [run.name for run in choose(study, Choice(**choice))]  # type: ignore[arg-type]


def test_best_runs_first_replicates_included(study: optuna.Study) -> None:
    """The K best by selection score, whether the search or `replicate` made them."""
    assert names(study, top=3) == ["joint.seeds#0", "joint#1", "joint#3"]
    assert len(names(study)) == 6


def test_more_than_there_are(study: optuna.Study) -> None:
    """Too large a K is refused with what there is."""
    with pytest.raises(
        SearchError, match=r"--top 9: study 'joint' has 6 runs with weights; take them all with --top 6"
    ):
        names(study, top=9)


def test_at_most_so_many_of_one_configuration(study: optuna.Study) -> None:
    """--per-config 1 takes the best run of each configuration; --top counts what is left."""
    assert names(study, per_config=1) == ["joint.seeds#0", "joint#1", "joint#2"]
    with pytest.raises(SearchError, match="has 3 runs with weights at --per-config 1"):
        names(study, top=4, per_config=1)


def test_named_members(study: optuna.Study) -> None:
    """Exactly those named, in their order, by number or by full name."""
    assert names(study, members=("3", "joint.seeds#0", "joint#0")) == ["joint#3", "joint.seeds#0", "joint#0"]
    with pytest.raises(SearchError, match=r"--members 44: no run of that name.*there are joint\.seeds#0, joint#1"):
        names(study, members=("44",))
    with pytest.raises(SearchError, match="--members best: no run"):
        names(study, members=("best",))
    with pytest.raises(SearchError, match="names joint#3 twice"):
        names(study, members=("3", "joint#3"))


def test_members_carry_the_names_of_their_runs(study: optuna.Study) -> None:
    """Checkpoints are those of the runs."""
    members = load_members(study, choose(study, Choice(top=2)))
    assert [(member.name, member.score) for member in members] == [("joint.seeds#0", 0.27), ("joint#1", 0.26)]


def test_runs_past_the_retention_limit(tmp_path: Path, small_dataset: Dataset) -> None:
    """A run whose weights may have been removed is no candidate, though its record is there."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = make_study(url, small_dataset.valid, checkpoints={"keep": 2})
    add_runs(study, small_dataset.valid, SCORES)
    assert names(study) == ["joint#1", "joint#3"]


def test_configurations_enter_with_their_seeds(study: optuna.Study) -> None:
    """Configurations in the order of `rank`, each with at most so many runs, its own first and then by seed."""
    assert names(study, configurations=1) == ["joint#0", "joint#3", "joint.seeds#0"]
    assert names(study, configurations=2, seeds=1) == ["joint#0", "joint#1"]
    with pytest.raises(SearchError, match=r"--configurations 4: study 'joint' has 3 with stored weights"):
        names(study, configurations=4)


def test_the_default_is_the_best_average(study: optuna.Study) -> None:
    """At most twenty runs, from the whole pool, as `--best 20` takes them."""
    assert names(study) == names(study, best=20)
    assert names(study, best=2) == names(study)[:2]


def test_a_metric_that_is_no_correlation_has_no_best_average(tmp_path: Path, small_dataset: Dataset) -> None:
    """The expectation holds for correlations alone: --best says so, and the default is then the best single runs, and
    the configurations once something was repeated."""
    schema = dataclasses.replace(small_dataset.schema, metric="r2")
    study = make_study(f"sqlite:///{tmp_path / 'study.db'}", small_dataset.valid)
    study.set_user_attr(SCHEMA, schema.document())
    add_runs(study, small_dataset.valid, SCORES)
    with pytest.raises(SearchError, match="--best expects a score that is a correlation, and the data's metric is r2"):
        names(study, best=3)
    assert names(study)[:2] == ["joint#1", "joint#3"]
    for i in range(5):
        add_replicate(study, small_dataset.valid, 0.24, 1_000_000 + i)
    found = names(study)
    assert found[:4] == ["joint#0", "joint#3", "joint.seeds#0", "joint.seeds#1"]
    assert sorted(found[4:]) == ["joint#1", "joint#2", "joint#4"]


def test_one_way_to_choose(study: optuna.Study) -> None:
    """Ways that contradict each other are named."""
    with pytest.raises(SearchError, match="--configurations and --top are different ways to choose members"):
        names(study, configurations=2, top=3)
    with pytest.raises(SearchError, match="--top and --members are different ways"):
        names(study, top=3, members=("3",))


def test_members_by_target(study: optuna.Study) -> None:
    """The best runs on each target, each once, and what each weighs."""
    runs = choose(study, Choice(by_target=(2, 1)))
    assert [run.name for run in runs] == ["joint.seeds#0", "joint#1"]
    assert weights_by_target(runs, (2, 1), ("t0", "t1")).tolist() == [[0.5, 1], [0.5, 0]]
    with pytest.raises(SearchError, match=r"--top-t1 7: study 'joint' has 6 runs with weights and scores on t1"):
        names(study, by_target=(1, 7))
