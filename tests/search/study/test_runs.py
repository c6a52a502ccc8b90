"""Finished runs as the commands after the search see them."""

import pytest

from lobmodels.config import RunConfig
from search.study.create import create_study
from search.study.runs import best_run, finished_runs
from tests.search.study.made_trials import DOCUMENT, finish, spec


def test_runs_show_scores_and_the_best(url: str) -> None:
    """Complete runs by number; pruned ones on request, with their best epoch's value; failed ones never."""
    study = create_study(spec(), url)
    finish(study, 8)
    finish(study, 1, fail=True)
    runs = finished_runs(study)
    assert [run.number for run in runs] == [0, 1, 3, 4, 6, 7]
    assert runs[0].value == pytest.approx(0.3) and runs[0].select["t0"] == pytest.approx(0.4) and runs[0].report == {}
    assert runs[0].config == RunConfig.parse({**DOCUMENT["baselines"][0], "epochs": 20})
    assert best_run(runs) == runs[0] and best_run([]) is None
    pruned = next(run for run in finished_runs(study, pruned=True) if run.state == "pruned")
    assert pruned.value == pytest.approx(max(study.trials[2].intermediate_values.values()))
