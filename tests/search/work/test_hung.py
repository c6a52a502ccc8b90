"""A run that hangs costs the worker's other runs nothing: they are handed back before the process ends."""

import subprocess
import sys
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.study.record import read_trial
from search.work.exits import Exit
from storage.claims import LOSSES
from tests.machines import create, small_study, trials
from tests.search.work.faulty_slot import BESIDE, FOLDER, HANGS, LIMIT, PLAN

ROOT = Path(__file__).parents[3]
CODE = """
import os
from tests.search.work import faulty_slot
from search.work.options import WorkOptions
from search.work.worker import work
faulty_slot.install()
options = WorkOptions(device="cpu", runs_per_device=3, checkpoint_every=0.0, grace=600.0)
work({url!r}, "small", {data!r}, options=options, end_process=os._exit)
"""


def test_the_other_runs_are_handed_back(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trial 1 hangs beside two others, once each has trained an epoch. The process ends and asks to be replaced; the
    two are queued at once, without a loss, and the third stays claimed until its grace is over."""
    for name, value in ((PLAN, "hangs"), (FOLDER, str(tmp_path)), (LIMIT, "2.0"), (BESIDE, "3")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for number in range(len(HANGS)):
        if number != 1:
            (tmp_path / f"{number}.hung").touch()
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, small_study(trials=3, epochs=5000))
    code = CODE.format(url=url, data=str(small_data))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=400)
    assert done.returncode == Exit.RESTART, done.stderr
    states = [trial.state for trial in trials(url)]
    assert states == [TrialState.WAITING, TrialState.RUNNING, TrialState.WAITING]
    for trial in trials(url):
        assert LOSSES not in trial.system_attrs
        stored = read_trial("small", trial).stored_state
        assert stored is not None and stored.epoch >= 1
