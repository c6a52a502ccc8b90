"""Promises of a plan at work: it comes to its end with several workers, and after a kill at any point."""

from functools import partial
from pathlib import Path

from optuna.trial import TrialState

from lobmodels.data import load_dataset
from search.ship.plan_export import export_plan
from search.study.open import open_study
from search.study.plan import EnsemblePlan, attempts, begin_plan, phase_of
from tests.machines import Worker, assert_sound, create, small_study, trials
from tests.pace import slow_epochs, stand_still


def _phase(url: str) -> str:
    study = open_study(url, "small")
    plan = EnsemblePlan.of(study.user_attrs)
    assert plan is not None
    return phase_of(plan, attempts(study))


def test_a_plan_survives_kills_and_ends_with_the_fleet(small_data: Path, postgres_url: str, tmp_path: Path) -> None:
    """Workers are killed in the search and among the replicates; two others end the plan, and the export follows."""
    begin_plan(create(postgres_url, small_study(trials=10, epochs=2)))
    first = Worker(postgres_url, "small", small_data, tmp_path, hook=partial(slow_epochs, 0.3))
    first.wait_epoch(0, trial=2)
    first.kill()
    second = Worker(postgres_url, "small", small_data, tmp_path, hook=partial(stand_still, 1, study="small.seeds"))
    second.wait_for(lambda event: event.kind == "epoch" and event.study == "small.seeds")
    second.kill()
    assert _phase(postgres_url) in ("replicates", "ensemble")
    last = [Worker(postgres_url, "small", small_data, tmp_path) for _ in range(2)]
    assert [worker.join() for worker in last] == [0, 0], [worker.error for worker in last]
    assert _phase(postgres_url) == "export"
    assert len(trials(postgres_url)) == 6
    done = [t for t in trials(postgres_url, "small.seeds") if t.state == TrialState.COMPLETE]
    assert len(done) == 4
    assert_sound(postgres_url)
    output = tmp_path / "submission.zip"
    found = export_plan(postgres_url, "small", load_dataset(small_data).valid, output)
    assert not isinstance(found, str) and output.is_file() and _phase(postgres_url) == "done"
    again = export_plan(postgres_url, "small", load_dataset(small_data).valid, output)
    assert again == f"exported to {output}"
