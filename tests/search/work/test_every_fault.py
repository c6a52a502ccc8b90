"""Any exception at any stage of a trial ends that trial with its reason, and never a slot."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search.study.open import open_study
from search.study.record import TrialRecord, read_trial
from search.study.status import status_of
from search.work import supervisor
from search.work.failure import failure_of
from search.work.options import WorkOptions
from search.work.supervisor import Slot, supervise
from storage.backends.registry import open_store
from storage.dashboard.server import Settings, listening
from storage.optuna_internals import study_id_of
from tests.machines import assert_sound, create, small_study, trials
from tests.search.work import faulty_slot
from tests.search.work.faulty_slot import AFTER, FAULTS, STAGES, planned

ROOT = Path(__file__).parents[3]
SLOTS = {"some": 2, "all": 4}  # by plan


def run(name: str, url: str, data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Supervise slots that meet the faults of the plan `name`; returns the log."""
    monkeypatch.setenv(faulty_slot.PLAN, name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(supervisor, "COMMAND", faulty_slot.COMMAND)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE", 0.2)
    options = WorkOptions(device="cpu", keep_folder=folder, checkpoint_every=0.0, grace=60.0)
    log = folder / "supervisor.log"
    with log.open("w") as file:
        summary = supervise(url, "small", data, options, [Slot("cpu", 1)] * SLOTS[name], Console(file=file, width=200))
    assert summary.stopped, log.read_text()
    return log.read_text()


def shown_by_the_dashboard(url: str) -> dict[int, str]:
    """Reason by trial, as the dashboard's page receives it."""
    study_id = study_id_of(open_study(url, "small"))
    with listening(open_store(url), Settings(port=0)) as server:
        threading.Thread(target=server.run, daemon=True).start()
        with urllib.request.urlopen(f"{server.url}/api/studies/{study_id}?after=0", timeout=300) as answer:
            document: dict[str, Any] = json.load(answer)
    attributes = {trial["number"]: trial["user_attrs"] for trial in document["trials"]}
    reasons = {n: {a["key"]: a["value"] for a in found}.get("reason") for n, found in attributes.items()}
    return {number: reason for number, reason in reasons.items() if reason}


def table(records: list[TrialRecord], plan: list[tuple[faulty_slot.Fault, str]]) -> str:
    """By stage: how many faults, and how their trials ended."""
    lines = [f"{'stage':12} faults  ended"]
    for stage in dict.fromkeys(stage for _, stage in plan):
        ends = Counter(record.state for record, (_, at) in zip(records, plan, strict=False) if at == stage)
        lines.append(f"{stage:12} {ends.total():6}  " + ", ".join(f"{n} {state}" for state, n in ends.items()))
    return "\n".join(lines)


@pytest.mark.parametrize(
    "name", ["some", pytest.param("all", marks=[pytest.mark.soak, pytest.mark.timeout(3600)])], ids=str
)
def test_a_fault_ends_one_trial(name: str, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several slots, a fault in each trial: no slot is lost, no trial is stuck, and `status` and the dashboard show
    every reason; a broken device asks for a fresh process and nothing else does; the trials without a fault complete.
    """
    plan = planned(name)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    create(url, small_study(trials=len(plan) + SLOTS[name], epochs=2))
    log = run(name, url, small_data, tmp_path, monkeypatch)
    records = [read_trial("small", trial) for trial in trials(url)]
    expected = ["complete" if stage == AFTER else "failed" for _, stage in plan]
    print("\n" + table(records, plan))
    assert [record.state for record in records[: len(plan)]] == expected, log
    assert all(record.state == "complete" for record in records[len(plan) :])
    assert len(records) >= len(plan) + SLOTS[name]
    failed = [record for record in records if record.state == "failed"]
    assert all(record.reason and record.failure for record in failed)
    assert {n: reason for n, _, reason in status_of(open_study(url, "small")).failures} == {
        record.number: record.reason for record in failed
    }
    shown = shown_by_the_dashboard(url)
    assert all(shown[record.number] == record.reason for record in failed)
    broken = sum(failure_of(fault()).broken_device for fault, stage in plan if stage != AFTER)
    assert log.count("needs a fresh process: starting again") == broken
    assert "crashed" not in log and "Traceback" not in log
    assert_sound(url)


def test_the_plan_is_complete() -> None:
    """At least twenty kinds of exception; the fast part has each of them, and each stage."""
    assert len(FAULTS) >= 20 and len({str(failure_of(fault()).reason) for fault in FAULTS}) == len(FAULTS)
    assert {stage for _, stage in planned("some")} == {*STAGES, AFTER}
    assert len(planned("all")) == len(FAULTS) * (len(STAGES) + 1)
