"""One contract over every backend: Optuna's interface, claims, beats, recovery, artifacts."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from storage.artifacts import download, upload
from storage.backends.grpc_server import make_server
from storage.backends.registry import KINDS, open_store
from storage.claims import Batch, Claim
from storage.errors import ArtifactError, ClaimLost
from storage.fleet import Fleet
from storage.store import artifacts_of, store_of
from storage.worker import background
from storage.worker.background import BackgroundStorage
from tests.machines import wait_until
from tests.storage.bench import Bench


@pytest.fixture(params=[kind.module for kind in KINDS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty storage of each registered kind."""
    if request.param == "grpc":
        server, port = make_server(open_store(request.getfixturevalue("postgres_url")), "127.0.0.1", 0)
        server.start()
        yield f"grpc://127.0.0.1:{port}"
        server.stop(None)
        return
    urls = {
        "sqlite": lambda: f"sqlite:///{tmp_path / 'study.db'}",
        "journal": lambda: f"journal://{tmp_path / 'study.log'}",
        "postgresql": lambda: request.getfixturevalue("postgres_url"),
    }
    yield urls[request.param]()


class TestEveryBackend:
    """What workers rely on, whatever the URL."""

    def test_the_store_is_found_again_from_a_study(self, url: str) -> None:
        """A study loaded through the storage leads to the store, and so does a worker's own view of it."""
        bench = Bench(url)
        assert store_of(bench.study) is store_of(bench.mine) is store_of(bench.inner) is bench.store

    def test_a_trial_travels_whole(self, url: str) -> None:
        """Parameters, reports, attributes and the value of a told trial are what was asked and reported."""
        bench = Bench(url)
        trial = bench.mine.ask()
        x, kind = trial.suggest_float("x", 1e-4, 1.0, log=True), trial.suggest_categorical("kind", ["a", None])
        for epoch in range(3):
            trial.report(0.1 * epoch, epoch)
        trial.set_user_attr("history", [{"epoch": 0, "loss": 0.5}])
        bench.storage.refresh()
        bench.mine.tell(trial, 0.25)
        stored = bench.fresh()
        assert (stored.state, stored.value) == (TrialState.COMPLETE, 0.25)
        assert stored.params == {"x": x, "kind": kind}
        assert stored.intermediate_values == {0: 0.0, 1: 0.1, 2: 0.2}
        assert stored.user_attrs["history"] == [{"epoch": 0, "loss": 0.5}]

    def test_a_batch_is_repeated_without_effect(self, url: str) -> None:
        """The same outcome written twice is stored once, as after a lost answer."""
        bench = Bench(url)
        trial = bench.mine.ask()
        running = bench.storage.running
        assert running is not None
        batch = Batch(user_attrs={"a": 1}, intermediate={0: 0.5}, state=TrialState.COMPLETE, values=[1.0])
        for _ in range(2):
            bench.storage.fleet.write(trial._trial_id, running.claim, batch)
        bench.storage.drop()
        assert bench.fresh().value == 1.0
        assert len(bench.study.trials) == 1

    def test_a_queued_trial_is_taken_once(self, url: str) -> None:
        """Of several claims one wins, and its repetition is still the winner's."""
        bench = Bench(url)
        bench.study.enqueue_trial({"x": 0.5})
        trial_id = bench.study.trials[0]._trial_id
        claims = [Claim(f"host:{i}") for i in range(4)]
        won = [claim for claim in claims if bench.storage.fleet.claim(trial_id, claim)]
        assert len(won) == 1
        assert bench.storage.fleet.claim(trial_id, won[0])

    def test_a_trial_handed_back_is_next(self, url: str) -> None:
        """A handed-back trial keeps number, parameters and reports, and is taken before a new one begins."""
        bench = Bench(url)
        trial = bench.mine.ask()
        x = trial.suggest_float("x", 0, 1)
        trial.report(0.3, 0)
        bench.storage.end(Batch(state=TrialState.WAITING))
        again = bench.mine.ask()
        assert again.number == trial.number
        assert again.suggest_float("x", 0, 1) == x
        assert bench.storage.own().intermediate_values == {0: 0.3}
        bench.mine.tell(again, 1.0)
        assert len(bench.study.trials) == 1

    def test_a_silent_worker_loses_its_trial(self, url: str) -> None:
        """After its grace a silent trial is queued again, its former owner cannot write, and in the end it is failed
        with the reason."""
        bench = Bench(url, grace=0.6)
        peer = open_store(url).fleet
        study_id = bench.study._study_id
        for losses in (1, 2):
            trial = bench.mine.ask()
            former = bench.storage.running
            assert former is not None
            former.heartbeat.stop()
            assert _recover(peer, study_id, max_retries=1) == [(trial.number, losses, losses == 2)]
            with pytest.raises(ClaimLost):
                peer.write(trial._trial_id, former.claim, Batch(user_attrs={"late": True}))
            bench.storage.drop()
        assert bench.fresh().state == TrialState.FAIL
        assert "2 workers vanished" in bench.fresh().user_attrs["reason"]
        assert "late" not in bench.fresh().user_attrs

    def test_a_beating_worker_keeps_its_trial(self, url: str) -> None:
        """Beats alone, without a report, keep a trial far beyond its grace."""
        bench = Bench(url, grace=0.8)
        beaten, beat = [0.0], bench.store.fleet.beat

        def noted(trial_id: int, claim: Claim) -> bool:
            alive = beat(trial_id, claim)
            beaten.append(time.monotonic())
            return alive

        bench.store.fleet.beat = noted  # type: ignore[method-assign]
        trial = bench.mine.ask()
        assert bench.storage.running is not None
        beaten[0] = time.monotonic()
        claim, peer = bench.storage.running.claim, open_store(url).fleet
        while time.monotonic() < beaten[0] + 2.0:
            if time.monotonic() > beaten[-1] + 0.3:  # this machine is so busy that the thread's beat is late
                assert bench.store.fleet.beat(trial._trial_id, claim)
            assert peer.recover(bench.study._study_id, max_retries=3) == []
            time.sleep(0.05)
        assert len(beaten) > 4
        bench.mine.tell(trial, 1.0)

    @pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.FAIL, TrialState.WAITING], ids=lambda s: s.name)
    def test_a_beat_beside_the_end_is_no_loss(
        self, url: str, state: TrialState, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A beat that reaches the database when the end was just written finds no claim: the trial is not lost."""
        bench = Bench(url, grace=0.4)
        ended, answered = threading.Event(), threading.Event()
        write, beat = bench.store.fleet.write, bench.store.fleet.beat
        answers: list[bool] = []

        def held_beat(trial_id: int, claim: Claim) -> bool:
            assert ended.wait(300)
            answers.append(beat(trial_id, claim))
            return answers[-1]

        def write_then_wait(trial_id: int, claim: Claim, batch: Batch) -> None:
            write(trial_id, claim, batch)
            if batch.state is not None:
                ended.set()
                answered.wait(300)

        bench.store.fleet.beat = held_beat  # type: ignore[method-assign]
        bench.store.fleet.write = write_then_wait  # type: ignore[method-assign]
        lost = background.Running._lost

        def told(running: background.Running) -> None:
            lost(running)
            answered.set()

        monkeypatch.setattr(background.Running, "_lost", told)
        trial = bench.mine.ask()
        time.sleep(0.2)  # the first beat, a quarter of the grace after the start, is on its way
        bench.storage.end(Batch(state=state, values=[1.0] if state == TrialState.COMPLETE else None))
        assert answers == [False]
        assert bench.fresh(trial.number).state == state

    def test_trials_without_a_beat_are_named(self, url: str) -> None:
        """`unheard` names running trials until they beat again."""
        bench = Bench(url, grace=4.0)
        peer = open_store(url).fleet
        trial = bench.mine.ask()
        since = peer.now()
        while peer.unheard(bench.study._study_id, since + 1e-6) != [trial.number]:
            since = peer.now()  # there was a beat between the two calls
        wait_until(lambda: peer.unheard(bench.study._study_id, since + 1e-6) == [], "a beat")
        bench.mine.tell(trial, 1.0)

    def test_a_seized_trial_takes_the_result_at_hand(self, url: str) -> None:
        """Whoever has the finished result may end the trial; the one still running it learns that it lost it."""
        bench = Bench(url)
        trial = bench.mine.ask()
        claim = Claim("host:2")
        bench.storage.fleet.seize(trial._trial_id, claim)
        bench.storage.fleet.write(trial._trial_id, claim, Batch(state=TrialState.COMPLETE, values=[0.5]))
        with pytest.raises(ClaimLost):
            bench.storage.end(Batch(state=TrialState.COMPLETE, values=[0.1]))
        bench.storage.drop()
        assert bench.fresh().value == 0.5

    def test_of_several_definitions_at_once_one_stays_whole(self, url: str) -> None:
        """One caller is told that its attributes are stored, and they are; the others, that theirs are not. So it is
        when they replace it; a repeat of the call that succeeded is told so again."""
        benches = [Bench(url) for _ in range(4)]
        barrier, study_id = threading.Barrier(4), benches[0].study._study_id

        def define(number: int, old: str | None) -> bool:
            barrier.wait()
            new = {"made": f"{old}{number}", "by": [number]}
            return benches[number].store.fleet.redefine(study_id, "made", old, new)

        old = None
        for _ in range(5):
            with ThreadPoolExecutor(4) as pool:
                told = list(pool.map(define, range(4), [old] * 4))
            (number,) = [number for number in range(4) if told[number]]
            stored = benches[0].inner.get_study_user_attrs(study_id)
            assert stored == {"made": f"{old}{number}", "by": [number]}
            assert benches[1].store.fleet.redefine(study_id, "made", old, stored)
            old = stored["made"]

    def test_artifacts_come_back_as_they_went(self, url: str) -> None:
        """Megabytes survive chunking, are listed by size and age, and are gone once removed."""
        bench = Bench(url)
        store = artifacts_of(bench.study)
        data = bytes(range(256)) * 10_000
        trial = bench.mine.ask()
        artifact_id = upload(store, trial, bench.storage, data, "weights.safetensors")
        bench.mine.tell(trial, 1.0)
        assert download(store, artifact_id) == data
        (entry,) = store.entries()
        assert (entry.artifact_id, entry.size) == (artifact_id, len(data))
        assert -1 < entry.age < 600
        meta = optuna.artifacts.get_all_artifact_meta(bench.fresh(), storage=bench.inner)
        assert [(m.artifact_id, m.filename) for m in meta] == [(artifact_id, "weights.safetensors")]
        store.remove(artifact_id)
        with pytest.raises(ArtifactError, match="not in its store"):
            download(store, artifact_id)
        with pytest.raises(optuna.artifacts.exceptions.ArtifactNotFound):
            store.remove(artifact_id)

    def test_a_deleted_study_ends_its_trials(self, url: str) -> None:
        """A worker whose study is deleted learns it with its next write; a journal's with its next question."""
        bench = Bench(url)
        bench.mine.ask()
        optuna.delete_study(study_name="s", storage=bench.inner)
        if url.startswith("journal"):
            bench.storage.drop()
            with pytest.raises(KeyError):
                bench.mine.ask()
            return
        with pytest.raises(ClaimLost, match="deleted"):
            bench.storage.end(Batch(user_attrs={"a": 1}, state=TrialState.FAIL))
        bench.storage.drop()

    def test_threads_share_one_storage(self, url: str) -> None:
        """Eight threads that ask and tell through one storage get eight numbers."""
        bench = Bench(url)

        def run() -> None:
            own = BackgroundStorage(bench.store, bench.study._study_id, Claim("host:t"))
            study = optuna.Study("s", own, sampler=optuna.samplers.RandomSampler())
            study.tell(study.ask(), 1.0)

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(trial.number for trial in bench.study.trials) == list(range(8))


def _recover(fleet: Fleet, study_id: int, max_retries: int) -> list[tuple[int, int, bool]]:
    """Look until something was found; the first look may be what starts an observer's stopwatch."""
    end = time.monotonic() + 300.0
    while time.monotonic() < end:
        found = fleet.recover(study_id, max_retries)
        if found:
            return [(r.number, r.losses, r.given_up) for r in found]
        time.sleep(0.1)
    return []
