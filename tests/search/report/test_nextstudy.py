"""The next study file: what is dropped goes with what depends on it; few trials change nothing."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage

from search.report.effects import Effects, effects
from search.report.nextstudy import next_study
from search.report.record import Study, read_study
from search.study.ranking import Ranking
from search.studyfile.parameters import Fixed, FloatRange
from search.studyfile.spec import StudySpec, load_spec
from tests.made_study import make_study


def test_what_depends_on_a_dropped_choice_goes_with_it(known: Study, found: Effects) -> None:
    """When only mse is left, the parameters of the other losses are gone from the file."""
    following = next_study(known, found)
    losses = {a.name: a for a in following.advice}["loss"].next
    assert "pearson_combined" not in str(losses)
    assert "pearson_alpha" not in following.text


def test_few_trials_change_nothing() -> None:
    """From a handful of runs the ranges stay, and the file says so by saying nothing."""
    study = read_study(make_study(InMemoryStorage(), 15))
    following = next_study(study, effects(study))
    assert not any(a.changed for a in following.advice)
    assert "the same ranges" in following.text


def gaining(known: Study) -> Study:
    """The study with its best runs ended by the epoch limit while they were still gaining."""
    limit = known.spec.parameters["epochs"].value  # type: ignore[union-attr]
    trials = [
        replace(t, reason="epochs", best_epoch=t.epochs - 1) if t.state == "complete" else t for t in known.trials
    ]
    assert limit == 30
    return replace(known, trials=tuple(trials))


def test_more_epochs_keep_the_baselines(known: Study, found: Effects) -> None:
    """A raised epoch limit is for all runs: the best configurations stay baselines, and the file can be read."""
    following = next_study(gaining(known), found)
    spec = load(following.text)
    assert spec.parameters["epochs"] == Fixed(value=45)
    best = [row.configuration for row in known.ranking.rows[:3]]
    assert len(spec.baselines) == len({repr(b) for b in best}) == 3
    for baseline, configuration in zip(spec.baselines, best, strict=True):
        assert baseline["epochs"] == 45
        assert baseline["lr"] == pytest.approx(configuration["lr"], rel=1e-3)
        assert baseline["hidden_size"] == configuration["hidden_size"]
    assert "starting from the best of joint" in following.text and "No run was complete" not in following.text


def test_what_is_said_where_there_is_no_baseline(known: Study) -> None:
    """No complete run, and best runs outside the ranges, are different reasons."""
    empty = replace(known, trials=tuple(known.of("pruned")), ranking=Ranking(()))
    assert "No run was complete to start from" in next_study(empty, None).text
    row = replace(known.ranking.rows[0], configuration={**known.ranking.rows[0].configuration, "loss": "huber"})
    foreign = replace(known, ranking=Ranking((row,)))
    assert "None of the best runs lies in these ranges" in next_study(foreign, None).text


def test_rounding_keeps_a_baseline_in_its_range(known: Study) -> None:
    """A value that four digits would move beyond the end of its range is written in full."""
    lr = FloatRange(float=(2.000049e-4, 3e-3), log=True)
    spec = known.spec.model_copy(update={"parameters": {**known.spec.parameters, "lr": lr}})
    row = replace(known.ranking.rows[0], configuration={**known.ranking.rows[0].configuration, "lr": 2.00004951e-4})
    (baseline,) = load(next_study(replace(known, spec=spec, ranking=Ranking((row,))), None).text).baselines
    assert baseline["lr"] == pytest.approx(2.00004951e-4, rel=1e-8)


def load(text: str) -> StudySpec:
    """The text as `create` reads it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "next.yaml"
        path.write_text(text)
        return load_spec(path)
