"""Faults injected into real worker processes: whatever dies, finished work stays and unfinished work is picked up."""

import datetime
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from search.cli import main
from search.study.open import open_study
from search.study.record import RESUME
from storage.backends.registry import open_storage, open_store
from storage.claims import Claim
from storage.store import artifacts_of
from storage.tables import artifacts, chunks
from tests.machines import CONTEXT, Worker, assert_sound, create, outcome_of, small_study, trials, weights_of
from tests.servers import Postgres, TcpProxy, free_port


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of a new database file."""
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture(scope="module")
def undisturbed(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list, list[bytes]]:
    """Outcome and weights of the study of these tests when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    url = f"sqlite:///{folder / 'study.db'}"
    create(url, small_study(trials=2, epochs=4))
    assert Worker(url, "small", small_data, folder).join() == 0
    assert_sound(url)
    return outcome_of(url), list(weights_of(url))


def test_two_undisturbed_studies_are_equal(undisturbed, small_data: Path, sqlite_url: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """One worker on a CPU gives the same trials, values and weights, bit for bit, every time."""
    create(sqlite_url, small_study(trials=2, epochs=4))
    assert Worker(sqlite_url, "small", small_data, tmp_path).join() == 0
    assert (outcome_of(sqlite_url), list(weights_of(sqlite_url))) == undisturbed


def test_killed_in_the_middle_of_an_epoch(undisturbed, small_data: Path, sqlite_url: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """kill -9 between epochs and within one: a peer goes on from the last stored epoch, and the study ends as if
    nothing had happened, bit for bit."""
    create(sqlite_url, small_study(trials=2, epochs=4))
    victim = Worker(sqlite_url, "small", small_data, tmp_path)
    victim.wait_epoch(1, trial=0)
    victim.kill()
    assert [trial.state for trial in trials(sqlite_url)] == [TrialState.RUNNING]
    peer = Worker(sqlite_url, "small", small_data, tmp_path)
    resumed = peer.wait_for(lambda event: event.kind == "resume")
    assert peer.join() == 0
    assert resumed.trial == 0
    assert resumed.epoch is not None and resumed.epoch >= 1
    assert any(event.kind == "recovered" and event.trial == 0 for event in peer.events)
    assert_sound(sqlite_url)
    assert (outcome_of(sqlite_url), list(weights_of(sqlite_url))) == undisturbed
    assert trials(sqlite_url)[0].user_attrs["attempt"] == 2


def _die_while_uploading() -> None:
    """kill -9 itself inside the transaction that stores the weights of a finished run."""
    from sqlalchemy import event

    from search.work import rescue

    upload_all = rescue.upload_all

    def armed(store, items):  # type: ignore[no-untyped-def]
        event.listen(store.engine, "after_cursor_execute", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        return upload_all(store, items)

    rescue.upload_all = armed


def _die_after_uploading() -> None:
    """kill -9 itself after the bytes are stored and before the outcome is."""
    from search.work import trial

    store_files = trial.store_files

    def armed(store, files):  # type: ignore[no-untyped-def]
        store_files(store, files)
        os.kill(os.getpid(), signal.SIGKILL)

    trial.store_files = armed


@pytest.mark.parametrize("hook", [_die_while_uploading, _die_after_uploading])
def test_killed_around_the_upload(hook, undisturbed, small_data: Path, sqlite_url: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A worker that dies while it stores a finished run leaves no half-written checkpoint, and the run is finished by
    another with the same result; bytes that nothing refers to are swept up."""
    create(sqlite_url, small_study(trials=2, epochs=4))
    victim = Worker(sqlite_url, "small", small_data, tmp_path, hook=hook)
    assert victim.join() == -signal.SIGKILL
    assert [trial.state for trial in trials(sqlite_url)] == [TrialState.RUNNING]
    assert Worker(sqlite_url, "small", small_data, tmp_path).join() == 0
    assert_sound(sqlite_url)
    assert (outcome_of(sqlite_url), list(weights_of(sqlite_url))) == undisturbed
    orphans = 2 if hook is _die_after_uploading else 0
    time.sleep(1.1)
    main_done(["gc", "--storage", sqlite_url, "--older-than", "1s"])
    store = artifacts_of(open_study(sqlite_url, "small"))
    assert len(list(store.entries())) == 2 * 2, f"{orphans} orphans should be gone, and nothing else"
    assert_sound(sqlite_url)


def main_done(arguments: list[str]) -> None:
    """Run a command that ends well."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0


def _die_at_once() -> None:
    """kill -9 itself in the first epoch of every trial."""
    from lobmodels.training.run import TrainingRun

    TrainingRun.train_epoch = lambda self: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment,method-assign]


def test_a_trial_that_kills_its_workers_is_given_up(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """After `max_retries` further attempts the trial fails with its reason, and the study goes on."""
    create(sqlite_url, small_study(trials=2, epochs=2, max_retries=1))
    for _ in range(2):
        victim = Worker(sqlite_url, "small", small_data, tmp_path, hook=_die_at_once, grace=1.0)
        assert victim.join() == -signal.SIGKILL
        time.sleep(1.1)  # the grace, so that the next worker finds the trial and not a free place beside it
    assert Worker(sqlite_url, "small", small_data, tmp_path, grace=1.0).join() == 0
    first, second = trials(sqlite_url)
    assert first.state == TrialState.FAIL
    assert first.user_attrs["reason"].startswith("given up: 2 workers vanished")
    assert second.state == TrialState.COMPLETE
    assert_sound(sqlite_url)


def test_a_signal_hands_the_trial_back(undisturbed, small_data: Path, sqlite_url: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """SIGTERM ends the epoch, stores it, queues the trial and exits 0 without waiting for any grace; the next worker
    goes on, to the same result, and no attempt is counted."""
    create(sqlite_url, small_study(trials=2, epochs=4))
    leaving = Worker(sqlite_url, "small", small_data, tmp_path, grace=600.0, checkpoint_every=600.0)
    leaving.wait_epoch(0, trial=0)
    leaving.terminate()
    assert leaving.join() == 0
    (trial,) = trials(sqlite_url)
    assert trial.state == TrialState.WAITING
    peer = Worker(sqlite_url, "small", small_data, tmp_path, grace=600.0)
    assert peer.wait_for(lambda event: event.kind == "resume").epoch == len(trial.intermediate_values)
    assert peer.join() == 0
    assert_sound(sqlite_url)
    assert (outcome_of(sqlite_url), list(weights_of(sqlite_url))) == undisturbed
    assert trials(sqlite_url)[0].user_attrs["attempt"] == 1


def _slow_epochs() -> None:
    """Epochs that take longer than the test has patience."""
    from lobmodels.training.run import TrainingRun

    train_epoch = TrainingRun.train_epoch

    def slow(self):  # type: ignore[no-untyped-def]
        if self.epoch >= 1:
            time.sleep(30.0)
        return train_epoch(self)

    TrainingRun.train_epoch = slow  # type: ignore[method-assign]


def test_a_second_signal_ends_at_once(undisturbed, small_data: Path, sqlite_url: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Two SIGTERMs end the process within the epoch; the epochs before it are stored and taken up."""
    create(sqlite_url, small_study(trials=2, epochs=4))
    leaving = Worker(sqlite_url, "small", small_data, tmp_path, hook=_slow_epochs, checkpoint_every=600.0)
    leaving.wait_epoch(0, trial=0)
    leaving.terminate()
    end = time.monotonic() + 20.0
    while RESUME not in trials(sqlite_url)[0].system_attrs:
        assert time.monotonic() < end
        time.sleep(0.1)
    started = time.monotonic()
    leaving.terminate()
    assert leaving.join() == 128 + signal.SIGTERM
    assert time.monotonic() - started < 5.0
    peer = Worker(sqlite_url, "small", small_data, tmp_path)
    assert peer.wait_for(lambda event: event.kind == "resume").epoch == 1
    assert peer.join() == 0
    assert (outcome_of(sqlite_url), list(weights_of(sqlite_url))) == undisturbed


def test_a_time_limit_hands_the_trial_back(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """A worker leaves before its time limit, trial queued, exit 0."""
    create(sqlite_url, small_study(trials=1, epochs=500))
    started = time.monotonic()
    worker = Worker(sqlite_url, "small", small_data, tmp_path, time_limit=14.0)
    assert worker.join() == 0
    assert time.monotonic() - started < 14.0 + 10.0, "the limit counts from when the process is up"
    assert worker.events[-1].text == "time limit"
    assert trials(sqlite_url)[0].state == TrialState.WAITING


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that a test may stop."""
    server = Postgres()
    yield server
    server.close()


@pytest.mark.parametrize(
    ("workers", "outage"), [(2, 6.0), pytest.param(4, 20.0, marks=pytest.mark.soak)], ids=["short", "long"]
)
def test_postgres_restarted_under_workers(
    workers: int, outage: float, own_postgres: Postgres, small_data: Path, tmp_path: Path
) -> None:
    """The server goes away under working workers for longer than their grace and comes back: all of them go on,
    nothing is lost or done twice."""
    url = own_postgres.create_database()
    create(url, small_study(trials=2 * workers, epochs=6))
    fleet = [Worker(url, "small", small_data, tmp_path, grace=5.0, patience=60.0) for _ in range(workers)]
    for worker in fleet:
        worker.wait_epoch(0)
    own_postgres.stop("fast")
    time.sleep(outage)
    own_postgres.start()
    assert [worker.join() for worker in fleet] == [0] * workers
    assert_sound(url)
    done = trials(url)
    assert 2 * workers <= len(done) < 3 * workers
    assert all(trial.state == TrialState.COMPLETE and trial.user_attrs["attempt"] == 1 for trial in done)


def test_postgres_gone_for_good(own_postgres: Postgres, small_data: Path, tmp_path: Path) -> None:
    """A run that finishes while the server is down is kept on disk, and is handed in once there is a server again:
    same number, same weights; a second hand-in changes nothing."""
    url = own_postgres.create_database()
    create(url, small_study(trials=1, epochs=4))
    (tmp_path / "kept").mkdir()
    worker = Worker(url, "small", small_data, tmp_path / "kept", grace=1.0, patience=2.0)
    worker.wait_epoch(1)
    own_postgres.stop("immediate")
    assert worker.join() == 1
    assert "lobtuna submit" in worker.error
    assert "s3cr3t" not in worker.log.read_text()
    (kept,) = (tmp_path / "kept").glob("*.run")
    copy = tmp_path / "copy.run"
    copy.write_bytes(kept.read_bytes())
    own_postgres.start()
    main_done(["submit", str(kept), "--storage", url])
    assert_sound(url)
    (trial,) = trials(url)
    assert (trial.state, len(trial.intermediate_values), trial.params.keys()) == (
        TrialState.COMPLETE,
        4,
        {"lr", "head"},
    )
    assert not kept.exists()
    main_done(["submit", str(copy), "--storage", url])
    assert len(trials(url)) == 1


def test_connections_cut_mid_transaction(postgres_server, small_data: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Connections that are reset again and again, in whatever they are doing, cost time and nothing else."""
    direct = postgres_server.create_database()
    proxy = TcpProxy(postgres_server.port)
    url = direct.replace(f":{postgres_server.port}/", f":{proxy.port}/")
    create(direct, small_study(trials=4, epochs=4))
    workers = [Worker(url, "small", small_data, tmp_path, grace=60.0) for _ in range(2)]
    for worker in workers:
        worker.wait_for(lambda event: event.kind == "start")
    cuts = 0
    while any(worker.process.is_alive() for worker in workers):
        time.sleep(0.15)
        proxy.cut()
        cuts += 1
    assert [worker.join() for worker in workers] == [0, 0], [worker.error for worker in workers]
    assert cuts > 10
    assert_sound(direct)
    done = trials(direct)
    assert 4 <= len(done) <= 5
    assert all(trial.state == TrialState.COMPLETE and trial.user_attrs["attempt"] == 1 for trial in done)
    proxy.close()


def _an_hour_ahead() -> None:
    """A machine whose clock is wrong by an hour."""
    real_time, real = time.time, datetime.datetime

    class Ahead(real):  # type: ignore[misc,valid-type]
        @classmethod
        def now(cls, tz=None):  # type: ignore[no-untyped-def]
            return real.now(tz) + datetime.timedelta(hours=1)

    time.time = lambda: real_time() + 3600.0
    datetime.datetime = Ahead  # type: ignore[misc]
    import optuna.storages._rdb.storage as rdb

    import storage.backends.sql_fleet
    import storage.worker.background

    rdb.datetime = storage.worker.background.datetime = storage.backends.sql_fleet.datetime = Ahead  # type: ignore[misc,assignment]


def test_clocks_an_hour_apart(small_data: Path, postgres_url: str, tmp_path: Path) -> None:
    """Workers whose clocks differ by an hour leave each other's trials alone, and still notice a dead one."""
    create(postgres_url, small_study(trials=4, epochs=4))
    ahead = Worker(postgres_url, "small", small_data, tmp_path, hook=_an_hour_ahead, grace=5.0)
    behind = Worker(postgres_url, "small", small_data, tmp_path, grace=5.0)
    for worker in (ahead, behind):
        worker.wait_epoch(1)
    behind.kill()
    assert ahead.join() == 0
    recovered = [event for event in ahead.events if event.kind == "recovered"]
    assert len(recovered) == 1
    assert_sound(postgres_url)
    attempts = sorted(trial.user_attrs["attempt"] for trial in trials(postgres_url))
    assert attempts == [1, 1, 1, 2]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(small_disk: Path, small_data: Path, tmp_path: Path) -> None:
    """The disk of the database is full when a run is stored: the run is kept elsewhere, the error says so, and once
    there is room it is handed in."""
    url = f"sqlite:///{small_disk / 'study.db'}"
    create(url, small_study(trials=1, epochs=3))
    worker = Worker(url, "small", small_data, tmp_path, patience=1.0, grace=600.0, checkpoint_every=600.0)
    worker.wait_epoch(0)
    with (small_disk / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"x" * 4096)
        except OSError:
            pass
    assert worker.join() == 1
    assert "lobtuna submit" in worker.error
    assert "full" in worker.error
    (small_disk / "filler").unlink()
    (kept,) = tmp_path.glob("*.run")
    main_done(["submit", str(kept), "--storage", url])
    assert_sound(url)
    assert trials(url)[0].state == TrialState.COMPLETE


def test_a_corrupted_state_is_not_resumed_from(
    undisturbed,
    small_data: Path,
    sqlite_url: str,
    tmp_path: Path,  # type: ignore[no-untyped-def]
) -> None:
    """A stored state with one changed byte is noticed; the run starts over and ends as it would have."""
    create(sqlite_url, small_study(trials=2, epochs=4))
    leaving = Worker(sqlite_url, "small", small_data, tmp_path)
    leaving.wait_epoch(1, trial=0)
    leaving.terminate()
    assert leaving.join() == 0
    _corrupt(sqlite_url)
    peer = Worker(sqlite_url, "small", small_data, tmp_path)
    assert "corrupt" in peer.wait_for(lambda event: event.kind == "note").text
    assert peer.join() == 0
    assert outcome_of(sqlite_url) == undisturbed[0]


def test_a_corrupted_checkpoint_is_not_read(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """Weights with one changed byte are refused with the artifact's name."""
    create(sqlite_url, small_study(trials=1, epochs=1))
    assert Worker(sqlite_url, "small", small_data, tmp_path).join() == 0
    _corrupt(sqlite_url)
    with pytest.raises(Exception, match="is corrupt"):
        assert_sound(sqlite_url)


def _corrupt(url: str) -> None:
    """Change one byte of every stored artifact."""
    engine = open_store(url).engine
    assert engine is not None
    with engine.begin() as connection:
        for row in connection.execute(sa.select(chunks)).all():
            body = bytes(row.body[:-1]) + bytes([row.body[-1] ^ 1])
            own = (chunks.c.artifact_id == row.artifact_id) & (chunks.c.number == row.number)
            connection.execute(chunks.update().where(own).values(body=body))
        assert connection.scalar(sa.select(sa.func.count()).select_from(artifacts))


def test_other_data_and_other_versions_are_refused(
    small_data: Path, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker with other data, or of another lobtuna, says so and touches nothing."""
    from lobmodels.data.synthetic import write_dataset

    study = create(sqlite_url, small_study(trials=1, epochs=1))
    assert Worker(sqlite_url, "small", small_data, tmp_path).join() == 0
    before = outcome_of(sqlite_url)
    other = tmp_path / "other"
    other.mkdir()
    write_dataset(other, train=24, valid=12, seed=8)
    stranger = Worker(sqlite_url, "small", other, tmp_path)
    assert stranger.join() == 1
    assert "belongs to data" in stranger.error
    study.set_user_attr("lobtuna_version", "9.9.0")
    newer = Worker(sqlite_url, "small", small_data, tmp_path)
    assert newer.join() == 1
    assert "created by lobtuna 9.9.0" in newer.error
    assert outcome_of(sqlite_url) == before


def test_a_study_deleted_under_a_worker(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """The worker ends with one line; nothing of the study comes back."""
    create(sqlite_url, small_study(trials=3, epochs=50))
    worker = Worker(sqlite_url, "small", small_data, tmp_path)
    worker.wait_epoch(0)
    optuna.delete_study(study_name="small", storage=open_storage(sqlite_url))
    assert worker.join() == 1
    assert "was deleted" in worker.error
    assert optuna.get_all_study_names(open_storage(sqlite_url)) == []


def _take_all(url: str, queue) -> None:  # type: ignore[no-untyped-def]
    """Take queued trials until there are none."""
    storage = open_storage(url)
    fleet, study_id = storage.store.fleet, storage.get_study_id_from_name("s")
    claim, taken = Claim(f"host:{os.getpid()}"), []
    for trial in storage.get_all_trials(study_id, deepcopy=False):
        if fleet.claim(trial._trial_id, claim.renewed()):
            taken.append(trial.number)
    queue.put(taken)


def test_eight_processes_on_one_file(sqlite_url: str) -> None:
    """Eight processes that grab at the same 64 queued trials of one SQLite file get each of them exactly once."""
    study = optuna.create_study(study_name="s", storage=open_storage(sqlite_url), direction="maximize")
    for i in range(64):
        study.enqueue_trial({"x": i / 64})
    queue = CONTEXT.Queue()
    processes = [CONTEXT.Process(target=_take_all, args=(sqlite_url, queue)) for _ in range(8)]
    for process in processes:
        process.start()
    taken = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(10)
    assert sorted(number for some in taken for number in some) == list(range(64))


def test_the_budget_holds_over_all_workers(small_data: Path, postgres_url: str, tmp_path: Path) -> None:
    """Three workers that race for the last trials overshoot the budget by less than three."""
    create(postgres_url, small_study(trials=4, epochs=1))
    workers = [Worker(postgres_url, "small", small_data, tmp_path) for _ in range(3)]
    assert [worker.join() for worker in workers] == [0, 0, 0]
    assert 4 <= len(trials(postgres_url)) < 4 + 3
    assert_sound(postgres_url)


def test_replicates_come_first(small_data: Path, sqlite_url: str, tmp_path: Path) -> None:
    """Queued replicates are run before the study goes on, with the seed they carry; none is invented."""
    create(sqlite_url, small_study(trials=1, epochs=1))
    seeds = create(sqlite_url, small_study("small.seeds", trials=1000, epochs=1))
    seeds.enqueue_trial({"lr": 2e-3, "head": "linear"}, user_attrs={"seed": 77, "parent": 0})
    worker = Worker(sqlite_url, "small", small_data, tmp_path)
    assert worker.join() == 0
    ended = [(event.study, event.trial) for event in worker.events if event.kind == "end"]
    assert ended == [("small.seeds", 0), ("small", 0)]
    (replicate,) = trials(sqlite_url, "small.seeds")
    assert replicate.user_attrs["seed"] == 77
    assert_sound(sqlite_url, "small.seeds")


def _serve(url: str, port: int, ready) -> None:  # type: ignore[no-untyped-def]
    """`lobtuna proxy` in a process of its own."""
    ready.set()
    main(["proxy", "--storage", url, "--port", str(port)])


def test_a_fleet_behind_the_proxy(undisturbed, small_data: Path, postgres_url: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Workers that reach the database through the proxy alone: one is killed and taken over, the proxy itself is
    killed and started again, and the study ends as if nothing had happened."""
    port = free_port()
    url = f"grpc://127.0.0.1:{port}"
    create(postgres_url, small_study(trials=2, epochs=4))
    proxy = _start_proxy(postgres_url, port)
    victim = Worker(url, "small", small_data, tmp_path)
    victim.wait_epoch(1, trial=0)
    victim.kill()
    peer = Worker(url, "small", small_data, tmp_path, grace=60.0)
    peer.wait_for(lambda event: event.kind == "resume" and event.trial == 0)
    proxy.kill()
    proxy.join(10)
    proxy = _start_proxy(postgres_url, port)
    assert peer.join() == 0, peer.error
    assert_sound(url)
    assert (outcome_of(postgres_url), list(weights_of(postgres_url))) == undisturbed
    proxy.terminate()
    proxy.join(10)
    assert proxy.exitcode == 0


def _start_proxy(url: str, port: int):  # type: ignore[no-untyped-def]
    ready = CONTEXT.Event()
    proxy = CONTEXT.Process(target=_serve, args=(url, port, ready), daemon=True)
    proxy.start()
    assert ready.wait(30)
    return proxy
