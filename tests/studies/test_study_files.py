"""Every study file of the repository: loaded, its baselines built, and one epoch of each trained."""

import re
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from lobmodels.config import RunConfig
from lobmodels.data import Dataset, Sequences
from lobmodels.features import feature_names
from lobmodels.networks import build_network
from lobmodels.training.run import RunData, TrainingRun
from search.study.pruners import build_pruner
from search.studyfile.space import suggest, to_params
from search.studyfile.spec import load_spec

FILES = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))
SPECS = {path.stem: load_spec(path) for path in FILES}
BASELINES = [(name, i) for name, spec in SPECS.items() for i in range(len(spec.baselines))]


@pytest.fixture(scope="module")
def tiny(small_dataset: Dataset) -> Dataset:
    """Eight sequences of synthetic data: enough for an epoch of every network."""

    def head(part: Sequences) -> Sequences:
        return replace(part, features=part.features[:4], targets=part.targets[:4], seq_ix=part.seq_ix[:4])

    return replace(small_dataset, train=head(small_dataset.train), valid=head(small_dataset.valid))


def baseline(name: str, i: int) -> RunConfig:
    return RunConfig.parse(SPECS[name].baselines[i])


def test_the_studies_of_the_findings_are_there() -> None:
    """Each file is named as its study, and the two winners can be repeated from a file of their own."""
    assert set(SPECS) >= {"joint", "tightwd", "attention", "vanilla", "smoke"}
    assert all(spec.name == name and spec.baselines for name, spec in SPECS.items())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_opens_with_question_budget_and_command(path: Path) -> None:
    """Whoever opens the file knows what it asks, what it costs and how it is started."""
    spec = SPECS[path.stem]
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ") and lines[0].endswith("?") and spec.question == lines[0][2:]
    head = "\n".join(line for line in lines[:6] if line.startswith("#"))
    assert f"lobtuna run studies/{path.name} --data" in head
    assert re.search(rf"\b{spec.budget.trials} trials\b", head)
    assert spec.budget.hours is None or re.search(rf"\b{spec.budget.hours:g} GPU hours\b", head)


@pytest.mark.parametrize(("name", "i"), BASELINES)
def test_a_baseline_trains(name: str, i: int, tiny: Dataset) -> None:
    """One epoch on synthetic data gives a finite score, and the baseline is a point that the sampler can name."""
    spec = SPECS[name]
    config = baseline(name, i)
    study = optuna.create_study()
    study.enqueue_trial(to_params(spec, config))
    assert suggest(spec, study.ask()) == config
    small = RunConfig.parse({**config.active(), "batch_size": 4})
    run = TrainingRun(small, 0, RunData.prepare(tiny, small, "cpu", spec.validation.report_fraction))
    record = run.train_epoch()
    assert -1 <= record.mean <= 1 and record.loss == record.loss


@pytest.mark.parametrize(
    ("name", "i", "parameters"),
    [
        ("vanilla", 0, 68_866),
        ("joint", 0, 68_866),
        ("tightwd", 0, 267_626),
        ("joint", 1, 267_626),
        ("joint", 2, 211_010),
        ("attention", 1, 351_434),
    ],
)
def test_baselines_are_the_published_networks(name: str, i: int, parameters: int) -> None:
    """The parameter counts of the findings, so that a published result is repeated by naming its study."""
    config = baseline(name, i)
    network = build_network(config, 32 + len(feature_names(config.feature_groups())))
    assert sum(weights.numel() for weights in network.parameters()) == parameters


def test_the_late_winner_is_a_baseline_and_baselines_are_never_pruned() -> None:
    """Vanilla peaks at epochs 15 to 20: in both spaces it runs to its end however slowly it begins."""
    for name in ("joint", "vanilla"):
        assert SPECS[name].pruner.name == "halving"
        study = optuna.create_study(direction="maximize", pruner=build_pruner(SPECS[name]))
        for attributes, expected in (({}, True), ({"baseline": 1}, False)):
            for _ in range(8):
                better = study.ask()
                better.report(0.3, 0)
                study.tell(better, 0.3)
            study.enqueue_trial({}, user_attrs=attributes)
            trial = study.ask()
            trial.report(0.1, 0)
            assert trial.should_prune() is expected
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    assert baseline("joint", 0).key() == baseline("vanilla", 0).model_copy(update={"early_stopping": 10}).key()
