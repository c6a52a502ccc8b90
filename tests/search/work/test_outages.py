"""The database, its server, the network or the disk fail under real workers: finished work stays, the rest goes on."""

import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.cli import main
from search.work import kept as kept_runs
from search.work.exits import Exit
from storage.backends.registry import open_store
from storage.claims import Claim
from storage.tables import claims
from tests.machines import (
    CONTEXT,
    Worker,
    assert_sound,
    create,
    outcome_of,
    small_study,
    trials,
    wait_stored,
    weights_of,
)
from tests.pace import each, slow_epochs, stand_still, stand_still_until_stopped
from tests.search.work.faults import main_done
from tests.servers import Postgres, TcpProxy, free_port

Held = Callable[[int], Callable[[], None]]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that a test makes once the fault is there: runs that stand still go on then."""
    return tmp_path / "gate"


@pytest.fixture
def held(gate: Path) -> Held:
    """`held(epoch)`: a worker's hook, its runs stand still in that epoch until `gate` is there."""
    return lambda epoch: partial(stand_still, epoch, gate)


@pytest.mark.parametrize(
    ("workers", "outage"), [(2, 6.0), pytest.param(4, 20.0, marks=pytest.mark.soak)], ids=["short", "long"]
)
def test_postgres_restarted_under_workers(
    workers: int, outage: float, own_postgres: Postgres, small_data: Path, tmp_path: Path, gate: Path, held: Held
) -> None:
    """The server goes away under working workers for longer than their grace and comes back: all of them go on,
    nothing is lost or done twice."""
    url = own_postgres.create_database()
    create(url, small_study(trials=2 * workers, epochs=6))
    options = {"hook": held(1), "grace": 5.0, "patience": 60.0}
    fleet = [Worker(url, "small", small_data, tmp_path, **options) for _ in range(workers)]
    for worker in fleet:
        worker.wait_epoch(0)
    own_postgres.stop("fast")
    gate.touch()
    time.sleep(outage)
    own_postgres.start()
    assert [worker.join() for worker in fleet] == [0] * workers
    assert_sound(url)
    done = trials(url)
    assert 2 * workers <= len(done) < 3 * workers
    assert all(trial.state == TrialState.COMPLETE and trial.user_attrs["attempt"] == 1 for trial in done)


@pytest.mark.soak
def test_an_outage_longer_than_patience(
    own_postgres: Postgres, small_data: Path, tmp_path: Path, gate: Path, held: Held
) -> None:
    """The server is down for several times the workers' patience. Both finish their runs in the outage, keep them and
    wait, hand in what they have, and go on by themselves; no file is left."""
    url = own_postgres.create_database()
    create(url, small_study(trials=4, epochs=6))
    options = {"hook": held(2), "grace": 4.0, "patience": 1.0}
    fleet = [Worker(url, "small", small_data, tmp_path, **options) for _ in range(2)]
    for worker in fleet:
        worker.wait_epoch(1)
    own_postgres.stop("fast")
    gate.touch()
    for worker in fleet:
        worker.wait_for(lambda event: event.kind == "note" and "is kept in" in event.text)
    kept = sorted(path.name for path in tmp_path.glob("*.run"))
    time.sleep(2.0)
    own_postgres.start()
    assert kept == ["small-0.run", "small-1.run"]
    assert [worker.join() for worker in fleet] == [0, 0], [worker.error for worker in fleet]
    assert not list(tmp_path.glob("*.run"))
    assert_sound(url)
    done = trials(url)
    assert 4 <= len(done) <= 5 and all(trial.state == TrialState.COMPLETE for trial in done)


def test_an_outage_between_two_trials(own_postgres: Postgres, small_data: Path, tmp_path: Path) -> None:
    """A worker that waits for work while the server is down goes on when it is back; a signal ends it at once, too."""
    url = own_postgres.create_database()
    create(url, small_study(trials=1, epochs=1))
    fleet = [Worker(url, "small", small_data, tmp_path, grace=2.0, patience=0.5, wait=True) for _ in range(2)]
    for worker in fleet:
        worker.wait_for(lambda event: event.kind == "wait")
    own_postgres.stop("immediate")
    for worker in fleet:
        worker.wait_for(lambda event: event.kind == "note" and "waits until it is back" in event.text)
    fleet[1].terminate()
    assert fleet[1].join() == 0, fleet[1].error
    own_postgres.start()
    fleet[0].wait_for(lambda event: event.kind == "note" and "is back" in event.text)
    fleet[0].terminate()
    assert fleet[0].join() == 0, fleet[0].error
    assert_sound(url)


def test_told_to_end_in_an_outage(own_postgres: Postgres, small_data: Path, tmp_path: Path) -> None:
    """A worker in the middle of a run that is told to end while the server is down ends without an error, and says
    what becomes of the trial; another one resumes it."""
    url = own_postgres.create_database()
    create(url, small_study(trials=1, epochs=6))
    options = {"hook": partial(stand_still_until_stopped, 2), "grace": 2.0, "patience": 0.5}
    worker = Worker(url, "small", small_data, tmp_path, **options)
    wait_stored(url, epochs=1)
    own_postgres.stop("fast")
    worker.terminate()
    assert worker.join() == 0, worker.error
    (end,) = [event for event in worker.events if event.kind == "end"]
    assert (end.state, "resumes this trial" in end.text) == ("left", True)
    own_postgres.start()
    peer = Worker(url, "small", small_data, tmp_path, grace=2.0)
    assert peer.wait_for(lambda event: event.kind == "resume").trial == 0
    assert peer.join() == 0, peer.error
    assert_sound(url)


def test_a_worker_killed_with_a_finished_run(
    own_postgres: Postgres, small_data: Path, tmp_path: Path, gate: Path, held: Held
) -> None:
    """The server is down, the finished run is on disk, and its worker is killed while it waits: the next worker in
    that folder stores it, and nothing is trained twice."""
    url = own_postgres.create_database()
    create(url, small_study(trials=1, epochs=3))
    worker = Worker(url, "small", small_data, tmp_path, hook=held(1), grace=2.0, patience=0.5)
    worker.wait_epoch(0)
    own_postgres.stop("fast")
    gate.touch()
    worker.wait_for(lambda event: event.kind == "note" and "is kept in" in event.text)
    worker.kill()
    own_postgres.start()
    peer = Worker(url, "small", small_data, tmp_path, grace=2.0)
    peer.wait_for(lambda event: event.kind == "note" and "an earlier worker had kept" in event.text)
    assert peer.join() == 0, peer.error
    assert not [event for event in peer.events if event.kind == "epoch"]
    assert not list(tmp_path.glob("*.run"))
    assert_sound(url)


def no_time_left() -> None:
    """Two seconds of last tries after a stop."""
    kept_runs.LAST_TRIES = 2.0


def test_a_finished_run_that_nothing_can_take(
    own_postgres: Postgres, small_data: Path, tmp_path: Path, gate: Path, held: Callable[[int], Callable[[], None]]
) -> None:
    """The server is down, and the folder for finished runs cannot be written. A worker that is told to end says that
    its run could be stored nowhere and ends with exit 69; another goes on at the last stored epoch. A worker that is
    not told to end writes the run as soon as the folder can be written, and only then may it be told to end."""
    url = own_postgres.create_database()
    create(url, small_study(trials=2, epochs=4))
    folders = [tmp_path / "full", tmp_path / "soon-free"]
    for folder in folders:
        folder.write_text("not a folder")
    options = {"hook": partial(each, held(2), no_time_left), "grace": 2.0, "patience": 0.5}
    fleet = [Worker(url, "small", small_data, tmp_path, keep_folder=folder, **options) for folder in folders]
    for worker in fleet:
        worker.wait_epoch(1)
    own_postgres.stop("fast")
    gate.touch()
    lost = fleet[0].wait_for(lambda event: "neither the database nor" in event.text).trial
    fleet[0].terminate()
    assert fleet[0].join() == Exit.LATER
    assert fleet[0].error.startswith(f"trial {lost} finished, but neither the database nor {folders[0]}")
    assert fleet[0].error.endswith("2 s after the stop (SIGTERM); any worker goes on at its last stored epoch")
    fleet[1].wait_for(lambda event: "neither the database nor" in event.text)
    folders[1].unlink()
    fleet[1].wait_for(lambda event: "is kept in" in event.text)
    fleet[1].terminate()
    assert fleet[1].join() == Exit.LATER and "is saved in" in fleet[1].error, fleet[1].error
    own_postgres.start()
    peer = Worker(url, "small", small_data, tmp_path, keep_folder=folders[1], grace=2.0)
    assert peer.wait_for(lambda event: event.kind == "resume").trial == lost
    assert peer.join() == 0, peer.error
    assert any("an earlier worker had kept" in event.text for event in peer.events)
    assert_sound(url)


def test_postgres_gone_for_good(
    own_postgres: Postgres, small_data: Path, tmp_path: Path, gate: Path, held: Held
) -> None:
    """A run that finishes while the server is down is kept on disk when its worker is told to end, and is handed in
    once there is a server again: same number, same weights; a second hand-in changes nothing."""
    url = own_postgres.create_database()
    create(url, small_study(trials=1, epochs=4))
    (tmp_path / "kept").mkdir()
    kept_in = tmp_path / "kept"
    worker = Worker(url, "small", small_data, kept_in, hook=held(2), grace=1.0, patience=2.0)
    worker.wait_epoch(1)
    own_postgres.stop("immediate")
    gate.touch()
    worker.wait_for(lambda event: event.kind == "note" and "is kept in" in event.text)
    worker.terminate()
    assert worker.join() == Exit.LATER
    assert "lobtuna submit" in worker.error
    assert "s3cr3t" not in worker.log.read_text() + worker.said
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


def test_connections_cut_mid_transaction(postgres_server, small_data: Path, tmp_path: Path, gate: Path) -> None:  # type: ignore[no-untyped-def]
    """Connections that are reset again and again, in whatever they are doing, cost time and nothing else."""
    direct = postgres_server.create_database()
    proxy = TcpProxy(postgres_server.port)
    url = direct.replace(f":{postgres_server.port}/", f":{proxy.port}/")
    create(direct, small_study(trials=6, epochs=4))
    enough = tmp_path / "enough"
    hook = partial(each, partial(slow_epochs, 0.1), partial(stand_still, 0, gate), partial(stand_still, 2, enough))
    workers = [Worker(url, "small", small_data, tmp_path, hook=hook, grace=60.0) for _ in range(2)]
    for worker in workers:
        worker.wait_for(lambda event: event.kind == "start")
    gate.touch()
    cuts = 0
    while any(worker.process.is_alive() for worker in workers):
        time.sleep(0.15)
        proxy.cut()
        cuts += 1
        if cuts > 10:
            enough.touch()
    assert [worker.join() for worker in workers] == [0, 0], [worker.error for worker in workers]
    assert cuts > 10
    assert_sound(direct)
    done = trials(direct)
    assert 6 <= len(done) <= 7
    assert all(trial.state == TrialState.COMPLETE and trial.user_attrs["attempt"] == 1 for trial in done)
    proxy.close()


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


def test_a_full_disk(small_disk: Path, small_data: Path, tmp_path: Path, gate: Path, held: Held) -> None:
    """The disk of the database is full when a run is stored: the run is kept elsewhere, the note says so, and once
    there is room the worker itself hands it in."""
    url = f"sqlite:///{small_disk / 'study.db'}"
    create(url, small_study(trials=1, epochs=3))
    options = {"hook": held(1), "patience": 1.0, "grace": 600.0, "checkpoint_every": 600.0}
    worker = Worker(url, "small", small_data, tmp_path, **options)
    worker.wait_epoch(0)
    with (small_disk / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"x" * 4096)
        except OSError:
            pass
    gate.touch()
    note = worker.wait_for(lambda event: event.kind == "note" and "is kept in" in event.text)
    assert "full" in note.text
    assert len(list(tmp_path.glob("*.run"))) == 1
    (small_disk / "filler").unlink()
    assert worker.join() == 0, worker.error
    assert not list(tmp_path.glob("*.run"))
    assert_sound(url)
    assert trials(url)[0].state == TrialState.COMPLETE


def _serve(url: str, port: int, ready) -> None:  # type: ignore[no-untyped-def]
    """`lobtuna proxy` in a process of its own."""
    ready.set()
    main(["proxy", "--storage", url, "--port", str(port)])


def test_the_last_worker_does_not_leave_a_dead_ones_trial(small_data: Path, tmp_path: Path) -> None:
    """A worker died with the study's last trial, and then the database's clock was set back by an hour: its last beat
    lies in the future. The worker that is left waits until it knows, and trains the trial."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study, store = create(url, small_study(trials=1, epochs=1)), open_store(url)
    store.fleet.seize(study.ask()._trial_id, Claim("gone:1", grace=2.0))
    assert store.engine is not None
    with store.engine.begin() as connection:
        connection.execute(claims.update().values(beat=claims.c.beat + 3600.0))
    assert Worker(url, "small", small_data, tmp_path).join() == 0
    assert [trial.state for trial in trials(url)] == [TrialState.COMPLETE]


def test_a_fleet_behind_the_proxy(
    undisturbed,  # type: ignore[no-untyped-def]
    small_data: Path,
    postgres_url: str,
    tmp_path: Path,
    gate: Path,
) -> None:
    """Workers that reach the database through the proxy alone: one is killed and taken over, the proxy itself is
    killed and started again, and the study ends as if nothing had happened."""
    port = free_port()
    url = f"grpc://127.0.0.1:{port}"
    create(postgres_url, small_study(trials=2, epochs=4))
    proxy = _start_proxy(postgres_url, port)
    victim = Worker(url, "small", small_data, tmp_path, hook=partial(stand_still, 2))
    wait_stored(postgres_url, epochs=2)
    victim.kill()
    peer = Worker(url, "small", small_data, tmp_path, hook=partial(stand_still, 3, gate, trial=0), grace=60.0)
    peer.wait_for(lambda event: event.kind == "resume" and event.trial == 0)
    proxy.kill()
    proxy.join(300)
    gate.touch()
    proxy = _start_proxy(postgres_url, port)
    assert peer.join() == 0, peer.error
    assert_sound(url)
    assert (outcome_of(postgres_url), list(weights_of(postgres_url))) == undisturbed
    proxy.terminate()
    proxy.join(300)
    assert proxy.exitcode == 0


def _start_proxy(url: str, port: int):  # type: ignore[no-untyped-def]
    ready = CONTEXT.Event()
    proxy = CONTEXT.Process(target=_serve, args=(url, port, ready), daemon=True)
    proxy.start()
    assert ready.wait(120)
    return proxy
