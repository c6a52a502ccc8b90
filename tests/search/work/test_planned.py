"""Promises of a plan at work: it comes to its end with several workers, and after a kill in any phase."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import FrozenTrial

import search.ship.plan_export
import search.study.plan
from search.study.open import open_study
from search.study.orders import FIRST_SEED
from search.study.plan import EnsemblePlan, attempts, begin_plan, phase_of
from search.study.record import FOLD, KEY, SEED
from tests.called import Command
from tests.machines import Worker, assert_sound, create, small_study, trials, wait_until
from tests.pace import LOOK, each, stand_still
from tests.search.work.planner import complete_replicates, replicates

CONFIGURATIONS = 2  # of these plans: the few replicates of a small budget are then enough for all phases
FURTHER = FIRST_SEED + 1  # the first seed of a replicate that is not among the first ones
TRIALS = 10  # six of the search, one replicate of each of two configurations, two where the ensemble gains most
URLS = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}  # the fixture of each database
OPTIONS = ("--device", "cpu", "--grace", "2", "--checkpoint-every", "0", "--plan", "ensemble")


def small_plan() -> None:
    """A hook: the plan repeats the best two configurations."""
    search.study.plan.CONFIGURATIONS = CONFIGURATIONS


def stand_still_in_the_export(reached: Path) -> None:
    """A hook: the command stands still when it is about to write the submission."""

    def still(*arguments: Any) -> Any:
        reached.touch()
        while True:
            time.sleep(LOOK)

    search.ship.plan_export.ship = still  # type: ignore[attr-defined]


def _file(folder: Path, **terms: Any) -> Path:
    """A study file; its runs take a moment."""
    document = small_study(trials=TRIALS, epochs=1, **terms).to_json()
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({"name": "small", **document}))
    return path


def _plan_command(url: str, data: Path, folder: Path, *more: str, hook: Callable[[], None] | None = None) -> Command:
    hooks = [small_plan] if hook is None else [small_plan, hook]
    given = ("run", folder / "small.yaml", "--storage", url, "--data", data, "--output", folder / "submission.zip")
    return Command(folder, *given, *OPTIONS, *more, hook=partial(each, *hooks))


def _phase(url: str) -> str:
    study = open_study(url, "small")
    plan = EnsemblePlan.of(study.user_attrs)
    assert plan is not None
    return phase_of(plan, attempts(study))


def _assert_planned(url: str, output: Path, *, lanes: int = 1, folds: int = 1) -> None:
    """The budget is kept, phases came in order, every replicate was trained exactly once, and one zip is there."""
    assert_sound(url)
    searched, ran = trials(url), complete_replicates(url, "small")
    assert {trial.state.name for trial in searched} == {"COMPLETE"}
    assert TRIALS <= len(searched) + len(ran) < TRIALS + lanes, (len(searched), len(ran))
    plan = EnsemblePlan.of(open_study(url, "small").user_attrs)
    assert plan is not None and len(plan.chosen) == CONFIGURATIONS
    first = [trial for trial in ran if _order(trial, folds) < plan.seeds]
    assert len(first) == len(plan.first) * plan.seeds and {trial.user_attrs[KEY] for trial in ran} <= set(plan.keys)
    _assert_after(ran, searched)
    _assert_after([trial for trial in ran if _order(trial, folds) >= plan.seeds], first)
    assert plan.ended == "the budget is spent" and plan.exported == str(output.resolve()) and output.is_file()
    assert sorted(output.parent.glob("*.zip")) == [output] and not list(output.parent.glob(".*.partial*"))


def _order(trial: FrozenTrial, folds: int) -> int:
    """Which of its configuration's replicates a trial is, from 0: new folds come before new seeds."""
    seed, fold = trial.user_attrs[SEED] - FIRST_SEED, trial.user_attrs.get(FOLD)
    return seed if fold is None else seed * folds + (fold - 1) % folds


def _assert_after(later: list[FrozenTrial], earlier: list[FrozenTrial]) -> None:
    """None of `later` was begun before all of `earlier` had ended."""
    for trial in earlier:
        assert trial.datetime_complete is not None
        assert all(one.datetime_start is not None and one.datetime_start >= trial.datetime_complete for one in later)


def _assert_verified(folder: Path, data: Path) -> None:
    verified = Command(folder, "verify", folder / "submission.zip", "--data", data)
    assert verified.join() == 0, verified.said


@pytest.mark.parametrize("backend", ["postgresql", pytest.param("sqlite", marks=pytest.mark.soak)])
def test_two_workers_of_three_runs_each_end_one_plan(
    backend: str, small_data: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Two of the same commands at once: all phases in their order, one export, which `verify` finds to be what was
    trained; the same command again says that it is done and changes nothing."""
    url = request.getfixturevalue(URLS[backend])
    output = tmp_path / "submission.zip"
    _file(tmp_path)
    both = [_plan_command(url, small_data, tmp_path, "--runs-per-device", "3", "--json") for _ in range(2)]
    assert [command.join() for command in both] == [0, 0], [command.said for command in both]
    _assert_planned(url, output, lanes=6)
    assert sorted('"submission": null' in command.said for command in both) == [False, True]
    written, rows = output.read_bytes(), len(trials(url)) + len(replicates(url, "small"))
    again = _plan_command(url, small_data, tmp_path)
    assert again.join() == 0 and f"exported to {output}" in " ".join(again.said.split()), again.said
    assert output.read_bytes() == written and len(trials(url)) + len(replicates(url, "small")) == rows
    if backend == "sqlite":
        _assert_verified(tmp_path, small_data)


def test_a_plan_through_the_grpc_server(small_data: Path, tmp_path: Path) -> None:
    """The command needs nothing but the address of `lobtuna proxy`."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    _file(tmp_path)
    created = Command(tmp_path, "create", tmp_path / "small.yaml", "--storage", url)
    assert created.join() == 0, created.said
    proxy = Command(tmp_path, "proxy", "--storage", url, "--port", "0")
    wait_until(lambda: "grpc://" in proxy.said and proxy.said.endswith("\n"), "the proxy says where it listens")
    address = proxy.said.split(" at ")[1].strip()
    command = _plan_command(address, small_data, tmp_path)
    assert command.join() == 0, command.said
    _assert_planned(url, tmp_path / "submission.zip")


def test_a_plan_over_folds(small_data: Path, tmp_path: Path) -> None:
    """The search selects on fold 0, replicates on the others first, each with its own seed; all folds are shipped."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    _file(tmp_path, validation={"folds": 3})
    command = _plan_command(url, small_data, tmp_path)
    assert command.join() == 0, command.said
    _assert_planned(url, tmp_path / "submission.zip", folds=3)
    assert {trial.user_attrs[FOLD] for trial in trials(url)} == {0}
    plan = EnsemblePlan.of(open_study(url, "small").user_attrs)
    assert plan is not None
    ran = complete_replicates(url, "small")
    cells = {
        key: [(t.user_attrs[SEED] - FIRST_SEED, t.user_attrs[FOLD]) for t in ran if t.user_attrs[KEY] == key]
        for key in plan.keys
    }
    assert all(found == [(0, 1), (1, 2), (2, 0)][: len(found)] and found for found in cells.values()), cells
    _assert_verified(tmp_path, small_data)


PHASES = {
    "search": {"study": "small"},
    "replicates": {"study": "small.seeds"},
    "ensemble": {"study": "small.seeds", "seeds_from": FURTHER},
}


@pytest.mark.parametrize("backend", ["postgresql", pytest.param("sqlite", marks=pytest.mark.soak)])
@pytest.mark.parametrize("phase", ["search", pytest.param("replicates", marks=pytest.mark.soak), "ensemble", "export"])
def test_one_is_killed_and_the_other_ends_the_plan(
    phase: str, backend: str, small_data: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """kill -9 in the middle of a run, or of the export: the other command recovers what was lost, and exports."""
    url, reached = request.getfixturevalue(URLS[backend]), tmp_path / "reached"
    _file(tmp_path)
    if phase == "export":
        still = partial(stand_still_in_the_export, reached)
    else:
        still = partial(stand_still, 0, reached=reached, **PHASES[phase])
    lost = _plan_command(url, small_data, tmp_path, hook=still)
    wait_until(reached.exists, f"the command is in its {phase}", timeout=400.0)
    other = _plan_command(url, small_data, tmp_path)
    wait_until(lambda: "working on" in other.said, "the other works on the study", timeout=400.0)
    assert _phase(url) == phase
    lost.kill()
    assert other.join() == 0, other.said
    _assert_planned(url, tmp_path / "submission.zip")


def test_what_is_queued_beyond_the_searchs_share_is_not_waited_for(
    small_data: Path, sqlite_url: str, tmp_path: Path
) -> None:
    """Four baselines, and a search of three trials: the fourth stays in the queue, and the plan goes on."""
    baselines = [{"lr": lr, "head": "mlp"} for lr in (1e-3, 2e-3, 4e-3, 8e-3)]
    study = create(sqlite_url, small_study(trials=5, epochs=1, baselines=baselines))
    begin_plan(study)
    worker = Worker(sqlite_url, "small", small_data, tmp_path)
    assert worker.join() == 0, worker.error
    assert [trial.state.name for trial in trials(sqlite_url)] == ["COMPLETE"] * 3 + ["WAITING"]
    assert len(complete_replicates(sqlite_url, "small")) == 2 and _phase(sqlite_url) == "export"
