"""Promises of the slots' supervisor, with real processes: every slot works, a crashed one is started again."""

import json
import os
import pty
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from optuna.trial import TrialState
from rich.console import Console

from search.cli import main
from search.errors import RunNotStoredError, SearchError
from search.study.halt import StopRequest, request_stop
from search.study.open import open_study
from search.work import supervisor
from search.work.events import Event
from search.work.exits import Exit
from search.work.options import WorkOptions, WorkSummary
from search.work.repeats import MOST
from search.work.stopping import Stop
from search.work.supervisor import Slot, pause_after, plan, supervise
from tests.machines import CONTEXT, assert_sound, create, small_study, trials, wait_until

COMMAND = [sys.executable, "-c", "from search.cli import main; main()"]


class Supervised:
    """`lobtuna work --slots N` as a process, a fork of one that has torch loaded; its log is a file."""

    def __init__(self, url: str, data: Path, folder: Path, *options: str) -> None:
        self.log = folder / "supervisor.log"
        self.log.touch()
        arguments = ["work", "small", "--data", str(data), "--grace", "5", "--checkpoint-every", "0", *options]
        self.process = CONTEXT.Process(target=_command, args=(arguments, url, folder, self.log), daemon=True)
        self.process.start()

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        self.process.join(400)
        assert self.process.exitcode is not None, self.log.read_text()
        return self.process.exitcode

    def slots(self) -> list[psutil.Process]:
        """The processes of the slots."""
        return psutil.Process(self.process.pid).children()

    def wait_for(self, pattern: str, timeout: float = 300.0) -> None:
        """Wait until the log shows `pattern`."""
        end = time.monotonic() + timeout
        while not re.search(pattern, self.log.read_text()):
            assert time.monotonic() < end and self.process.is_alive(), self.log.read_text()
            time.sleep(0.05)


def _command(arguments: list[str], url: str, folder: Path, log: Path) -> None:
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), 2)
    os.environ |= {"LOBTUNA_STORAGE": url, "PYTHONPATH": str(Path(__file__).parents[3])}
    os.chdir(folder)
    main(arguments)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """URL of a new database file."""
    yield f"sqlite:///{tmp_path / 'study.db'}"


def test_slots_share_a_study_and_a_killed_one_returns(url: str, small_data: Path, tmp_path: Path) -> None:
    """Two slots work side by side; one that is killed is started again and its trial goes on; all ends well."""
    create(url, small_study(trials=2, epochs=150))
    supervised = Supervised(url, small_data, tmp_path, "--slots", "2")
    supervised.wait_for(r"\[0\] small #\d")
    supervised.wait_for(r"\[1\] small #\d")
    arguments = " ".join(part for slot in supervised.slots() for part in slot.cmdline())
    assert "sqlite" not in arguments, "the URL is not for everyone who can run ps"
    supervised.slots()[0].kill()
    supervised.wait_for("crashed .signal SIGKILL.: starting again")
    assert supervised.ended() == 0, supervised.log.read_text()
    assert_sound(url)
    *once, twice = sorted(trial.user_attrs["attempt"] for trial in trials(url))
    assert twice == 2 and set(once) == {1} and len(once) in (1, 2)  # two slots may exceed the budget by one trial
    assert {trial.state for trial in trials(url)} == {TrialState.COMPLETE}


def test_one_signal_stops_all_slots_well(url: str, small_data: Path, tmp_path: Path) -> None:
    """SIGTERM to the supervisor: every slot hands its trial back, all are gone, exit 0."""
    create(url, small_study(trials=50, epochs=5000))
    supervised = Supervised(url, small_data, tmp_path, "--slots", "2")
    supervised.wait_for(r"\[0\] small #\d")
    supervised.wait_for(r"\[1\] small #\d")
    slots = supervised.slots()
    supervised.process.terminate()
    assert supervised.ended() == 0, supervised.log.read_text()
    assert not any(slot.is_running() for slot in slots)
    assert {trial.state for trial in trials(url)} == {TrialState.WAITING}


def test_a_stop_reaches_a_slot_that_is_starting_again(url: str, small_data: Path, tmp_path: Path) -> None:
    """One of two slots was killed and its next process has not looked yet when `stop` is asked: both end."""
    create(url, small_study(trials=50, epochs=5000))
    supervised = Supervised(url, small_data, tmp_path, "--slots", "2")
    supervised.wait_for(r"\[0\] small #\d")
    supervised.wait_for(r"\[1\] small #\d")
    first = supervised.slots()
    first[1].kill()
    wait_until(lambda: len(set(supervised.slots()) - set(first)) == 1, "the slot is starting again")
    request_stop(open_study(url, "small"), StopRequest("host"))
    supervised.process.join(60)
    log = supervised.log.read_text()
    assert supervised.process.exitcode == 0, log
    assert log.count("small: stopped, lobtuna stop on host") == 2
    assert TrialState.COMPLETE not in {trial.state for trial in trials(url)}


@pytest.mark.soak
def test_a_closed_terminal_stops_all_slots_well(url: str, small_data: Path, tmp_path: Path) -> None:
    """The terminal of a running supervisor goes away (SIGHUP, and every further line is an error): the trial is handed
    back, exit 0."""
    create(url, small_study(trials=50, epochs=5000))
    options = ["work", "small", "--data", str(small_data), "--checkpoint-every", "0", "--slots", "1"]
    environment = {**os.environ, "LOBTUNA_STORAGE": url, "PYTHONPATH": str(Path(__file__).parents[3])}
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execve(sys.executable, [*COMMAND, *options], environment)
    while trials(url) == [] or not trials(url)[0].intermediate_values:
        os.read(terminal, 65536)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [trial.state for trial in trials(url)] == [TrialState.WAITING]


def test_slots_do_not_outlive_their_supervisor(url: str, small_data: Path, tmp_path: Path) -> None:
    """kill -9 of the supervisor: its slots notice, hand back and end."""
    create(url, small_study(trials=50, epochs=5000))
    supervised = Supervised(url, small_data, tmp_path, "--slots", "1")
    supervised.wait_for(r"small #\d")
    (slot,) = supervised.slots()
    supervised.process.kill()
    supervised.ended()
    slot.wait(400)
    assert [trial.state for trial in trials(url)] == [TrialState.WAITING]


def test_an_expected_failure_is_said_once_and_not_repeated(url: str, tmp_path: Path) -> None:
    """Every slot fails for a reason told in one line: no restart, exit 1."""
    create(url, small_study())
    supervised = Supervised(url, tmp_path / "nowhere", tmp_path, "--slots", "1")
    assert supervised.ended() == 1
    log = supervised.log.read_text()
    assert log.startswith("lobtuna: ") and "nowhere" in log and log.count("\n") == 1


def test_a_slot_started_anew_waits_for_a_standby_to_be_the_server(
    postgres_url: str, small_data: Path, tmp_path: Path
) -> None:
    """Its first process could write to the database, so that refusing writes is an outage and no wrong database."""
    create(postgres_url, small_study(trials=1, epochs=150))
    supervised = Supervised(postgres_url, small_data, tmp_path, "--slots", "1")
    supervised.wait_for(r"small #0  epoch")
    (slot,) = supervised.slots()
    slot.suspend()  # so that it is not the one that says what is waited for
    refuse_writes(postgres_url, True)
    slot.kill()
    supervised.wait_for("cannot be written.*waits until it is back")
    refuse_writes(postgres_url, False)
    assert supervised.ended() == 0
    assert_sound(postgres_url)
    assert [trial.state for trial in trials(postgres_url)] == [TrialState.COMPLETE]


def refuse_writes(url: str, refuse: bool) -> None:
    """Let the server refuse every write of a new connection, as a standby does, or not; connections are cut."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {"on" if refuse else "off"}')
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            [name],
        )


def scripted(monkeypatch: pytest.MonkeyPatch, folder: Path, *lives: tuple[list[Event], int]) -> None:
    """Slots whose process emits these events and ends with this code, the next one when it is started again."""
    script = [[[event.to_line().decode() for event in events], code] for events, code in lives]
    monkeypatch.setattr(supervisor, "COMMAND", (sys.executable, "-c", LIFE, json.dumps(script), str(folder / "lives")))


LIFE = """
import json, os, sys
lives, count = json.loads(sys.argv[1]), open(sys.argv[2], "a+")
count.write("."); count.flush(); count.seek(0)
events, code = lives[len(count.read()) - 1]
descriptor = json.load(sys.stdin)["events"]
for line in events:
    os.write(descriptor, line.encode())
os.kill(os.getpid(), -code) if code < 0 else os._exit(code)
"""
READY = Event("ready", "small")


def run_scripted(folder: Path) -> tuple[WorkSummary, str]:
    """Supervise one scripted slot; what it did, and the log."""
    log = folder / "log"
    with log.open("w") as file:
        found = supervise(
            "sqlite:///x", "small", folder, WorkOptions(), [Slot("cpu", 1)], Console(file=file, width=200)
        )
    return found, log.read_text()


def test_all_but_an_expected_end_are_followed_by_a_fresh_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash, a kill, a broken device, a database that went away: each is told."""
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE", 0.04)
    codes = [Exit.CRASHED, -signal.SIGSEGV, Exit.RESTART, Exit.LATER, Exit.DONE]
    scripted(monkeypatch, tmp_path, *(([READY], int(code)) for code in codes))
    _, log = run_scripted(tmp_path)
    told = ["crashed (exit 70)", "crashed (signal SIGSEGV)", "needs a fresh process", "lost the database"]
    assert [line.partition(":")[0] for line in log.splitlines() if "again" in line] == told


TOLD_TO_END = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
descriptor = json.load(sys.stdin)["events"]
os.write(descriptor, sys.argv[1].encode())
os.kill(os.getppid(), signal.SIGTERM)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.02)
print("lobtuna: trial 3 finished, but neither the database nor kept/small-3.run can store it", file=sys.stderr)
sys.exit(69)
"""


def test_a_run_that_could_not_be_stored_is_told_at_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only slot is told to end while it holds a finished run: its last line is the supervisor's own, exit 69."""
    asked = Stop.ask

    def ask(stop: Stop, reason: str) -> None:
        asked(stop, reason)
        (tmp_path / "asked").touch()

    monkeypatch.setattr(Stop, "ask", ask)
    command = (sys.executable, "-c", TOLD_TO_END, READY.to_line().decode(), str(tmp_path / "asked"))
    monkeypatch.setattr(supervisor, "COMMAND", command)
    with pytest.raises(RunNotStoredError, match=r"^trial 3 finished, but neither the database nor kept/small-3\.run"):
        run_scripted(tmp_path)


def test_pauses_grow_up_to_a_minute() -> None:
    """A process that ends soon after its start, again and again, is not started in a busy loop."""
    assert [pause_after(crashes) for crashes in (1, 2, 3, 6, 7, 5000)] == [1.0, 2.0, 4.0, 32.0, 60.0, 60.0]


@pytest.mark.parametrize("life", [([READY], Exit.EXPECTED), ([], Exit.LATER)], ids=["expected", "never reached"])
def test_what_another_process_would_meet_likewise_ends_the_slot(
    life: tuple[list[Event], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expected failure, or a database that was never reached, which is probably a wrong URL."""
    scripted(monkeypatch, tmp_path, life)
    with pytest.raises(SearchError, match="every slot failed"):
        run_scripted(tmp_path)


def test_a_card_that_breaks_under_every_trial_does_not_use_up_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each trial needs a fresh process, so only the supervisor sees that they all fail for one reason."""
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE", 0.01)
    reason = "RuntimeError: CUDA error: uncorrectable ECC error"
    lives = [([READY, Event("end", "small", i, state="failed", text=reason)], int(Exit.RESTART)) for i in range(9)]
    scripted(monkeypatch, tmp_path, *lives)
    with pytest.raises(SearchError, match=f"^{MOST} trials in a row failed here for the same reason: {reason}"):
        run_scripted(tmp_path)
    assert len((tmp_path / "lives").read_text()) == MOST


def test_slots_are_planned() -> None:
    """One thread a slot unless more are asked for; GPUs that are not there are refused."""
    assert plan(None, 2) == [Slot("cpu", 1)] * 2
    assert plan(None, 3, 4) == [Slot("cpu", 4)] * 3
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(SearchError, match="no GPU here"):
            plan("all", None)
