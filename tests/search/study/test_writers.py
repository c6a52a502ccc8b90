"""What a worker writes about a trial is read back whole, and a failure is nobody's result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import PercentilePruner
from optuna.trial import TrialState

from lobmodels.training.epochs import EpochRecord
from search.errors import SearchError
from search.report.importance import importance
from search.report.record import read_study
from search.study import record
from search.study.create import create_study
from search.study.open import spec_of
from search.study.ranking import rank_runs
from search.study.record import STATES, StoredState, read_trial
from search.study.replication import choose, find_replicates, replicate
from search.study.revise import revise
from search.study.runs import best_run, finished_runs, run_of
from search.study.status import status_of
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
from search.studyfile.space import suggest
from storage.claims import Batch
from tests.search.study.frozen_trials import CONFIG, frozen
from tests.search.study.made_trials import finish, spec

SCORE = st.floats(-1, 1)
SECONDS = st.floats(1e-3, 1e4)


@st.composite
def histories(draw: Any) -> list[EpochRecord]:
    """Up to six epochs of a run."""
    fields = dict.fromkeys(("loss", "mean", "lr", "grad_norm"), SCORE)
    scores = st.fixed_dictionaries(dict.fromkeys(("t0", "t1"), SCORE))
    epochs = draw(st.integers(1, 6))
    return [
        EpochRecord(
            epoch=i,
            scores=draw(scores),
            train_seconds=1.0,
            seconds=draw(SECONDS),
            **{n: draw(s) for n, s in fields.items()},
        )
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
    assert [set(epoch) for epoch in read.history] == [set(history[0].document())] * len(history)
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


def fail(study: optuna.Study, kind: str) -> None:
    """A trial that fails in its third epoch, after two good ones, as a worker leaves it in the database."""
    trial = study.ask()
    seed = trial.user_attrs.get("seed", trial.number)
    batch = write_start(suggest(spec_of(study), trial), seed, "host:1", "cpu", 1)
    for step in range(2):
        batch.intermediate[step] = 0.9
    batch.merge(write_failure(kind, f"{kind}: epoch 3", 2))
    for name, value in batch.user_attrs.items():
        trial.set_user_attr(name, value)
    for step, value in batch.intermediate.items():
        trial.report(value, step)
    assert batch.state is not None
    study.tell(trial, state=batch.state)


def test_nobody_takes_a_failure_for_a_result(tmp_path: Path) -> None:
    """Best run, ranking, replication, pruner, importance and report are the same without it; status and the report
    count it as failed, and the budget as begun."""
    study = create_study(spec(budget={"trials": 99}), f"sqlite:///{tmp_path / 'study.db'}")
    finish(study, 42)

    def seen() -> list[Any]:
        report = read_study(study)
        runs = finished_runs(study, pruned=True)
        ranked = [row.trial for row in rank_runs(finished_runs(study)).rows]
        pruner = PercentilePruner(50.0, n_startup_trials=1, n_warmup_steps=0)
        probe = study.get_trials(deepcopy=True)[2]
        drawn = [(t.number, t.value) for t in report.scored], len(report.of("pruned")), report.best
        chosen = [run.number for run in choose(study, top=3)]
        found = importance(report)
        assert found is not None
        return [runs, best_run(runs), ranked, chosen, pruner.prune(study, probe), vars(found), drawn]

    before = seen()
    for kind in record.FAILURES:
        fail(study, kind)
    for was, now in zip(before, seen(), strict=True):
        np.testing.assert_equal(now, was)
    status = status_of(study)
    assert status.trials == {"complete": 28, "pruned": 14, "failed": 4, "running": 0, "waiting": 0}
    kinds = [(42 + i, kind, f"{kind}: epoch 3") for i, kind in enumerate(record.FAILURES)]
    assert status.failures == tuple(reversed(kinds)) and status.budget.trials == 46
    assert [record.value for record in read_study(study).of("failed")] == [0.9] * 4  # of its epochs, not of its end
    assert [record.means for record in read_study(study).of("failed")] == [[0.9, 0.9]] * 4


def test_a_study_of_failures_says_why_there_is_no_run(tmp_path: Path) -> None:
    """Although Optuna calls the trials pruned."""
    study = create_study(spec(baselines=()), f"sqlite:///{tmp_path / 'study.db'}")
    fail(study, record.DIVERGED)
    with pytest.raises(SearchError, match=r"no complete run.*diverged: epoch 3"):
        choose(study)


def test_a_replicate_that_diverged_can_be_queued_again(tmp_path: Path) -> None:
    """`replicate` counts it as failed, and `--retry` repeats it, as any failed one."""
    study = create_study(spec(), f"sqlite:///{tmp_path / 'study.db'}")
    finish(study, 1)
    chosen = choose(study)
    assert replicate(study, chosen, 2).queued == 1
    seeds = find_replicates(study)
    assert seeds is not None
    fail(seeds, record.DIVERGED)
    assert (replicate(study, chosen, 2).failed, replicate(study, chosen, 2).queued) == (1, 0)
    assert replicate(study, chosen, 2, retry=True).queued == 1


def test_a_revision_learns_from_the_failures_before_it(tmp_path: Path) -> None:
    """They are imported as what they are: failed, and a warning to the sampler."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = create_study(spec(baselines=()), url)
    fail(study, record.DIVERGED)
    fail(study, record.ERROR)
    revised = revise(spec(baselines=(), pruner={"name": "none"}), url)
    assert revised.imported == 1 and status_of(revised.study).trials["failed"] == 1
    assert revised.study.get_trials()[0].intermediate_values[2] == record.WORST
