"""Options travel whole: a slot works with every option that its supervisor was given."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from search.work.options import WorkOptions, WorkSummary

# A value for every field that differs from its default: a field without one fails the tests below.
OTHER: dict[str, Any] = {
    "device": "cuda:1",
    "threads": 3,
    "trials": 7,
    "time_limit": 90.0,
    "wait": True,
    "grace": 12.5,
    "checkpoint_every": 5.0,
    "patience": 3.0,
    "background": False,
    "keep_folder": Path("saved/runs"),
    "runs_per_device": 3,
    "follow_parent": True,
    "known_stop": "0123abcd",
    "wrote": True,
    "plugins": ("mine/causal.py",),
    "trust_plugins": True,
}


def test_every_option_survives_the_way_to_a_slot() -> None:
    """JSON and back loses no field, at its default or not."""
    default, other = WorkOptions(), WorkOptions(**OTHER)
    for field in dataclasses.fields(WorkOptions):
        assert getattr(default, field.name) != getattr(other, field.name), f"OTHER needs another {field.name}"
    for options in (default, other):
        assert WorkOptions.from_json(json.loads(json.dumps(options.to_json()))) == options


def test_a_summary_counts_what_ended_here() -> None:
    """Trials that were handed back or lost have not ended."""
    summary = WorkSummary()
    for state in ("complete", "complete", "pruned", "failed", "handed back", "lost", "kept"):
        summary.count(state)
    assert summary.outcomes["complete"] == 2
    assert summary.trials == 5


def test_how_many_train_at_once() -> None:
    """Without a number a GPU is measured, from one run to eight or to the trials of this worker; a CPU trains one."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert WorkOptions().runs_at_once(cpu) == (1, 1)
    assert WorkOptions().runs_at_once(gpu) == (8, 1)
    assert WorkOptions(trials=3).runs_at_once(gpu) == (3, 1)
    for device in (cpu, gpu):
        assert WorkOptions(runs_per_device=4).runs_at_once(device) == (4, 4)
