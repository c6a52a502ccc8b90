"""The dashboard of a study of any size answers while workers write to it."""

from __future__ import annotations

import json
import statistics
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import pytest
from optuna.trial import TrialState

from storage.backends.registry import open_storage
from storage.claims import Batch, Claim
from storage.dashboard.server import Settings, listening
from storage.store import StoreStorage
from storage.worker.background import BackgroundStorage
from tests.made_study import make_study

WRITERS = 8


@contextmanager
def writing(storage: StoreStorage, study_id: int, pause: float) -> Iterator[list[int]]:
    """Eight workers that finish one short trial after another; yields the numbers of those that ended."""
    done, over = [], threading.Event()

    def work(number: int) -> None:
        own = BackgroundStorage(storage.store, study_id, Claim(f"host:{number}"))
        study = optuna.Study("joint", own, sampler=optuna.samplers.RandomSampler())
        while not over.is_set():
            trial = study.ask()
            x = trial.suggest_float("lr", 2e-4, 3e-3, log=True)
            for epoch in range(3):
                over.wait(pause)
                own.put(Batch(intermediate={epoch: x}))
            own.end(Batch(user_attrs={"worker": f"host:{number}"}, state=TrialState.COMPLETE, values=[x]))
            done.append(trial.number)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(WRITERS)]
    for worker in workers:
        worker.start()
    try:
        yield done
    finally:
        over.set()
        for worker in workers:
            worker.join(300)


@pytest.mark.parametrize("trials", [100, pytest.param(2000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
def test_the_dashboard_answers_while_workers_write(postgres_url: str, trials: int) -> None:
    """Every request is answered, with all trials, those being written among them some seconds later."""
    storage = open_storage(postgres_url)
    study = make_study(storage, trials)
    seconds, shown = [], 0
    with listening(storage.store, Settings(port=0)) as server, writing(storage, study._study_id, pause=0.3) as done:
        threading.Thread(target=server.run, daemon=True).start()
        deadline = time.monotonic() + 600
        while shown < trials + WRITERS and time.monotonic() < deadline:
            started = time.perf_counter()
            with urllib.request.urlopen(f"{server.url}/api/studies/{study._study_id}?after=0", timeout=300) as answer:
                shown = len(json.load(answer)["trials"])
            seconds.append(time.perf_counter() - started)
            assert shown >= trials
            with urllib.request.urlopen(f"{server.url}/dashboard/studies/{study._study_id}", timeout=300) as page:
                assert page.status == 200
            time.sleep(0.5)
    assert shown >= trials + WRITERS and len(done) >= WRITERS
    print(
        f"dashboard over {trials:,} trials, {WRITERS} workers writing: {statistics.median(seconds):.2f} s an answer, "
        f"{max(seconds):.2f} s at most"
    )
