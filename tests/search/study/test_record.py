"""What a worker writes about a trial is read back whole; what others left there is read without an error."""

from __future__ import annotations

import ast
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from lobmodels.config import RunConfig
from lobmodels.training.run import EpochRecord
from search.study import record
from search.study.record import STATES, StoredState, is_duplicate, read_trial, seconds_of
from search.study.runs import run_of
from search.study.writers import (
    queued_baseline,
    queued_replicate,
    write_epoch,
    write_failure,
    write_scores,
    write_start,
    write_stored_state,
    write_training,
)
from storage.claims import Batch
from storage.dashboard.compact import LONG

SCORE = st.floats(-1, 1)
SECONDS = st.floats(1e-3, 1e4)
CONFIG = RunConfig.parse({"lr": 2e-3, "hidden_size": 16, "derived": True})


def frozen(batch: Batch, state: TrialState = TrialState.RUNNING, number: int = 7) -> FrozenTrial:
    """The trial as a database holds it after `batch`."""
    state = batch.state or state
    return FrozenTrial(
        number=number,
        trial_id=number + 100,
        state=state,
        value=None,
        values=batch.values,
        datetime_start=datetime(2026, 3, 2),
        datetime_complete=datetime(2026, 3, 3) if state.is_finished() else None,
        params={"lr": 2e-3},
        distributions={"lr": FloatDistribution(1e-4, 1e-1, log=True)},
        user_attrs=batch.user_attrs,
        system_attrs=batch.system_attrs,
        intermediate_values=batch.intermediate,
    )


@st.composite
def histories(draw: Any) -> list[EpochRecord]:
    """Up to six epochs of a run."""
    fields = dict.fromkeys(("loss", "t0", "t1", "mean", "lr", "grad_norm"), SCORE)
    epochs = draw(st.integers(1, 6))
    return [
        EpochRecord(epoch=i, train_seconds=1.0, seconds=draw(SECONDS), **{n: draw(s) for n, s in fields.items()})
        for i in range(epochs)
    ]


@settings(max_examples=60, deadline=None)
@given(
    histories(),
    st.integers(0, 2**31),
    st.sampled_from(["complete", "pruned", "failed", "running", "waiting"]),
    st.fixed_dictionaries(dict.fromkeys(("t0", "t1", "mean"), SCORE)),
    st.booleans(),
)
def test_what_is_written_is_read_back(
    history: list[EpochRecord], seed: int, state: str, select: dict[str, float], reported: bool
) -> None:
    """Every field that a worker stores from start to end, in whatever state the trial ended."""
    best = max(range(len(history)), key=lambda i: history[i].mean)
    batch = write_start(CONFIG, seed, "host:1", "Tesla T4", 2)
    spent = 0.0
    for epoch in history:
        spent += epoch.seconds
        batch.merge(write_epoch(epoch, spent))
    batch.merge(write_stored_state("artifact-1", len(history)))
    batch.merge(write_training(history, best, "all epochs"))
    batch.state = {word: s for s, word in STATES.items()}[state]
    if state == "complete":
        batch.merge(write_scores({"select": select, "report": select if reported else None}, 1234))
        batch.values = [history[best].mean]
    read = read_trial("s", frozen(batch))
    assert (read.study, read.number, read.name, read.state) == ("s", 7, "s#7", state)
    assert (read.configuration, read.configured, read.key, read.seed) == (CONFIG.active(), True, CONFIG.key(), seed)
    assert (read.worker, read.device, read.attempt, read.reason) == ("host:1", "Tesla T4", 2, "all epochs")
    assert read.value == history[best].mean
    assert (read.epochs, read.best_epoch) == (len(history), best)
    assert read.seconds == sum(epoch.seconds for epoch in history) == pytest.approx(spent)
    assert read.seconds_per_epoch == read.seconds / len(history)
    assert read.means == pytest.approx([epoch.mean for epoch in history], rel=1e-5, abs=1e-12)
    assert [set(epoch) for epoch in read.history] == [set(vars(history[0]))] * len(history)
    assert read.stored_state == StoredState("artifact-1", len(history))
    complete = state == "complete"
    assert read.select == (select if complete else {}) and read.parameters == (1234 if complete else None)
    assert read.report == (select if complete and reported else {})
    assert (run_of(read) is not None) == (state in ("complete", "pruned"))


def test_a_queued_trial_says_what_it_is_for() -> None:
    """A baseline knows its place in the file, a replicate its parent and its seed; neither has run."""
    baseline = read_trial("s", frozen(Batch(user_attrs=queued_baseline(CONFIG, 2)), TrialState.WAITING))
    assert (baseline.key, baseline.baseline, baseline.configured) == (CONFIG.key(), 2, False)
    attributes = queued_replicate(CONFIG.key(), parent=3, seed=77)
    replicate = read_trial("s.seeds", frozen(Batch(user_attrs=attributes), TrialState.WAITING))
    assert (replicate.key, replicate.parent, replicate.seed, replicate.epochs) == (CONFIG.key(), 3, 77, 0)


def test_a_trial_that_failed_at_once_has_its_reason() -> None:
    """Nothing was trained, nothing can be ranked."""
    read = read_trial("s", frozen(write_failure(record.ERROR, "KeyError: 'x'", 0)))
    assert (read.state, read.failure, read.reason) == ("failed", "error", "KeyError: 'x'")
    assert (read.value, run_of(read)) == (None, None)


@pytest.mark.parametrize("kind", record.FAILURES)
def test_a_failure_is_a_failure_whatever_optuna_is_told(kind: str) -> None:
    """A run that diverged or found no memory is pruned for the sampler, and failed for everybody else."""
    trial = frozen(write_failure(kind, "why", 3))
    teaches = kind in ("diverged", "out of memory")
    assert trial.state == (TrialState.PRUNED if teaches else TrialState.FAIL)
    assert trial.intermediate_values == ({3: -1.0} if teaches else {})
    read = read_trial("s", trial)
    assert (read.state, read.failure, run_of(read)) == ("failed", kind, None)


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.none(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip
KEYS = [value for name, value in vars(record).items() if name.isupper() and isinstance(value, str)]


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*KEYS, "select_mean", "report_t0"]), JUNK),
    JUNK,
    st.sampled_from(sorted(STATES, key=lambda state: state.value)),
)
def test_damaged_attributes_count_as_missing(attrs: dict[str, Any], stored: Any, state: TrialState) -> None:
    """Whatever stands in a trial, its record is readable, and nothing of it becomes a run by accident."""
    batch = Batch(user_attrs=attrs, system_attrs={record.RESUME: stored}, state=state)
    batch.values = [0.25] if state == TrialState.COMPLETE else None
    trial = frozen(batch)
    read = read_trial("s", trial)
    assert read.seconds == seconds_of(trial) >= 0
    assert read.value is None or math.isfinite(read.value)
    assert len(read.means) == len(read.best_so_far) == read.epochs
    assert is_duplicate(trial) == (attrs.get("reason") == "queued twice")
    run = run_of(read)
    if run is not None:
        assert isinstance(attrs["configuration"], dict) and isinstance(attrs["key"], str)
        assert isinstance(attrs["seed"], int)


def test_the_first_versions_stored_no_key() -> None:
    """The key follows from the configuration, where there is a valid one."""
    batch = write_start(CONFIG, 0, "host:1", "cpu", 1)
    del batch.user_attrs["key"]
    assert read_trial("s", frozen(batch)).key == CONFIG.key()
    batch.user_attrs["configuration"] = {"architecture": "elman"}
    assert read_trial("s", frozen(batch)).key is None


def test_the_dashboard_shortens_attributes_that_exist() -> None:
    """Its list of long attributes names keys of the record and no others: it would shorten nothing."""
    assert set(LONG) <= set(KEYS)


def literal_keys(path: Path) -> list[str]:
    """Attribute keys that a module writes as literals where it reads or sets attributes."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        arguments: list[ast.expr] = []
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith(("user_attrs", "system_attrs")):
            arguments = [node.slice]
        elif isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            if function.endswith(("_attrs.get", "_attrs.pop", "set_user_attr")):
                arguments = node.args[:1]
            elif function.endswith(("_user_attr", "_system_attr")):  # a storage's: the id comes first
                arguments = node.args[1:2]
        found += [
            f"{path}:{a.lineno} {a.value!r}"
            for a in arguments
            if isinstance(a, ast.Constant) and isinstance(a.value, str)
        ]
    return found


def test_no_other_module_names_an_attribute() -> None:
    """Keys are written once, in the record (or in `storage`, which needs some itself)."""
    root = Path(__file__).parents[3] / "search"
    assert [key for path in sorted(root.rglob("*.py")) for key in literal_keys(path)] == []
