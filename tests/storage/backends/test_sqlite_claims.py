"""Processes that claim queued trials of one SQLite file."""

import os
from pathlib import Path

import optuna

from storage.backends.registry import open_storage
from storage.claims import Claim
from tests.machines import CONTEXT


def _take_all(url: str, queue) -> None:  # type: ignore[no-untyped-def]
    """Take queued trials until there are none."""
    storage = open_storage(url)
    fleet, study_id = storage.store.fleet, storage.get_study_id_from_name("s")
    claim, taken = Claim(f"host:{os.getpid()}"), []
    for trial in storage.get_all_trials(study_id, deepcopy=False):
        if fleet.claim(trial._trial_id, claim.renewed()):
            taken.append(trial.number)
    queue.put(taken)


def test_eight_processes_on_one_file(tmp_path: Path) -> None:
    """Eight processes that grab at the same 64 queued trials of one SQLite file get each of them exactly once."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="s", storage=open_storage(url), direction="maximize")
    for i in range(64):
        study.enqueue_trial({"x": i / 64})
    queue = CONTEXT.Queue()
    processes = [CONTEXT.Process(target=_take_all, args=(url, queue)) for _ in range(8)]
    for process in processes:
        process.start()
    taken = [queue.get(timeout=300) for _ in processes]
    for process in processes:
        process.join(60)
    assert sorted(number for some in taken for number in some) == list(range(64))
