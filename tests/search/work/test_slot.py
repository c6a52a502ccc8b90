"""A slot's process: it reads its job from stdin, tells its supervisor everything, and keeps the URL to itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
from optuna.trial import TrialState

from search.work.events import Event
from search.work.exits import Exit
from search.work.options import WorkOptions
from search.work.slot import COMMAND, SlotJob
from tests.machines import create, small_study, trials

ROOT = Path(__file__).parents[3]
PASSWORD = "s3cr3t"


def start(job: SlotJob, writer: int) -> subprocess.Popen[bytes]:
    """The slot's process, its job still to be sent."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(COMMAND, env=environment, pass_fds=[writer], stdin=pipe, stdout=pipe, stderr=pipe)


def test_a_job_survives_its_way() -> None:
    """What a supervisor sends is what a slot reads."""
    job = SlotJob("postgresql://u:p@h/db", "joint", Path("lob data"), WorkOptions(trials=2, background=False), 7)
    assert SlotJob.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_a_slot_works_and_tells_its_supervisor(small_data: Path, tmp_path: Path) -> None:
    """Two trials are trained, every event arrives, stdout stays empty, exit 0."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, small_study(trials=2, epochs=2))
    reader, writer = os.pipe()
    options = WorkOptions(device="cpu", keep_folder=tmp_path)
    job = SlotJob(url, "small", small_data, options, writer)
    slot = start(job, writer)
    os.close(writer)
    out, err = slot.communicate(json.dumps(job.to_json()).encode(), timeout=400)
    with os.fdopen(reader, "rb") as events:
        kinds = [Event.from_line(line).kind for line in events]
    assert (slot.returncode, out) == (0, b""), err
    assert kinds[0] == "ready" and kinds[-1] == "stop" and kinds.count("end") == 2 and kinds.count("epoch") == 4
    assert [trial.state for trial in trials(url)] == [TrialState.COMPLETE] * 2


def test_nobody_can_read_the_password_of_a_slot(tmp_path: Path) -> None:
    """The URL is neither among the arguments nor in the environment, and an error does not repeat the password."""
    reader, writer = os.pipe()
    url = f"postgresql://me:{PASSWORD}@127.0.0.1:1/db"
    job = SlotJob(url, "small", tmp_path, WorkOptions(device="cpu", patience=0.0), writer)
    slot = start(job, writer)
    process = psutil.Process(slot.pid)
    shown = " ".join([*process.cmdline(), *process.environ().values()])
    _, err = slot.communicate(json.dumps(job.to_json()).encode(), timeout=400)
    os.close(writer)
    os.close(reader)
    assert PASSWORD not in shown
    assert slot.returncode == Exit.LATER  # nothing answers there
    lines = err.decode().strip().splitlines()
    assert lines[-1].startswith("lobtuna: ") and "Traceback" not in err.decode() and PASSWORD not in err.decode()


def test_the_supervisor_needs_no_torch() -> None:
    """Its slots do; it stays small beside them."""
    code = "import sys, search.work.supervisor; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
