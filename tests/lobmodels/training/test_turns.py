"""Jobs of several threads take turns in one, step by step; each gets its own result or error, on its own stream."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import torch

from lobmodels.config import RunConfig
from lobmodels.data import Dataset
from lobmodels.training.batches import RunData
from lobmodels.training.run import TrainingRun
from lobmodels.training.turns import Job, JobDropped, Turns, until_computed
from tests.lobmodels.training.fake_cuda import FakeCuda
from tests.lobmodels.training.short_data import short_dataset
from tests.lobmodels.training.test_run import RECIPES, start, without_time


def together(turns: Turns, calls: list[Callable[[], Any]]) -> list[Future[Any]]:
    """Each call in a thread of its own, all handed in before the first step, while the jobs are served here."""
    waiting = threading.Barrier(len(calls) + 1)

    def begun(call: Callable[[], Any]) -> Any:
        waiting.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(begun, call) for call in calls]
        waiting.wait()
        turns.serve(lambda: not all(future.done() for future in futures))
    return futures


def counting(name: str, steps: int, seen: list[str], threads: set[int]) -> Job[str]:
    """A job of so many steps that notes each."""
    for _ in range(steps):
        seen.append(name)
        threads.add(threading.get_ident())
        yield
    return name * steps


def test_steps_alternate_in_one_thread() -> None:
    """No job has two steps in a row while others wait; all are taken in the thread that serves."""
    turns, seen, threads = Turns(), list[str](), set[int]()
    jobs = {name: counting(name, 30, seen, threads) for name in "abc"}
    results = together(turns, [lambda job=job: turns.do(job) for job in jobs.values()])  # type: ignore[misc]
    assert [future.result() for future in results] == ["a" * 30, "b" * 30, "c" * 30]
    assert threads == {threading.get_ident()}
    all_there = max(seen.index(name) for name in "abc")
    crowded = seen[all_there : len(seen) - 30]
    assert all(a != b for a, b in pairwise(crowded))


def test_an_error_belongs_to_its_job() -> None:
    """One job's exception is raised where it was handed in, with its traceback; the others end as usual."""

    def failing() -> Job[None]:
        yield
        raise ValueError("mine")

    turns, seen = Turns(), list[str]()
    bad, good = together(turns, [lambda: turns.do(failing()), lambda: turns.do(counting("a", 9, seen, set()))])
    with pytest.raises(ValueError, match="mine") as caught:
        bad.result()
    assert any(entry.name == "failing" for entry in caught.traceback)
    assert good.result() == "a" * 9


def test_an_error_that_ends_all() -> None:
    """After the loss of the device no other job takes a step: each is told that it was dropped, and so is every later
    one."""

    def lost() -> Job[None]:
        yield
        raise RuntimeError("CUDA error")

    turns, seen = Turns(lambda error: "CUDA" in str(error)), list[str]()
    bad, good = together(turns, [lambda: turns.do(lost()), lambda: turns.do(counting("a", 10**6, seen, set()))])
    assert isinstance(bad.exception(), RuntimeError) and isinstance(good.exception(), JobDropped)
    with pytest.raises(JobDropped, match="another run lost the device: CUDA error"):
        turns.call(lambda: None)


def test_jobs_are_dropped_while_a_step_hangs() -> None:
    """From any thread: those who wait for other jobs than the hanging one are free at once."""
    turns, hanging, free = Turns(), threading.Event(), threading.Event()

    def hangs() -> Job[str]:
        hanging.set()
        assert free.wait(300)
        return "over"
        yield

    def drops() -> None:
        assert hanging.wait(300)
        turns.drop("it hangs")

    def other() -> Job[None]:
        while True:
            yield

    def waits() -> None:
        try:
            turns.do(other())
        finally:
            free.set()

    stuck, dropped, _ = together(turns, [lambda: turns.do(hangs()), waits, drops])
    assert stuck.result() == "over"
    assert isinstance(dropped.exception(), JobDropped)


def test_contexts_are_entered_for_each_step() -> None:
    """A stream or a watchdog holds while the job computes, and not while others do."""
    turns, inside = Turns(), list[str]()
    trace: list[tuple[str, ...]] = []

    def job(name: str) -> Job[None]:
        for _ in range(3):
            trace.append(tuple(inside))
            yield

    def around(name: str) -> Callable[[], Any]:
        @contextmanager
        def entered() -> Iterator[None]:
            inside.append(name)
            yield
            inside.remove(name)

        return entered

    together(turns, [lambda n=n: turns.do(job(n), around(n), around(n.upper())) for n in "ab"])  # type: ignore[misc]
    assert sorted(trace) == [("a", "A")] * 3 + [("b", "B")] * 3 and inside == []


def test_runs_that_take_turns_are_what_each_is_alone(small_dataset: Dataset) -> None:
    """All recipes of the tests of a run at once, each resumed in the middle: histories and weights are those of the run
    alone, bit for bit."""

    def alone(recipe: str) -> TrainingRun:
        run = start(small_dataset, **RECIPES[recipe])
        while not run.finished:
            run.train_epoch()
        return run

    def in_turns(turns: Turns, recipe: str) -> TrainingRun:
        first = turns.call(lambda: start(small_dataset, **RECIPES[recipe]))
        for _ in range(2):
            turns.do(first.steps())
        state = turns.call(first.state)
        run = turns.call(lambda: start(small_dataset, **RECIPES[recipe]))
        turns.call(lambda: run.restore(state))
        while not run.finished:
            turns.do(run.steps())
        return run

    turns = Turns()
    futures = together(turns, [lambda r=recipe: in_turns(turns, r) for recipe in RECIPES])  # type: ignore[misc]
    for recipe, future in zip(RECIPES, futures, strict=True):
        expected, found = alone(recipe), future.result()
        assert [without_time(r) for r in found.history] == [without_time(r) for r in expected.history]
        ours, theirs = found.result().weights, expected.result().weights
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), recipe


@pytest.mark.parametrize("free", [1 << 34, 0], ids=["resident", "streamed"])
def test_a_stream_for_each_run(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU three runs read the same data on three streams: no operation races with another's, none of a run is left
    on the default stream, and each run is what it is alone."""
    recipes: list[dict[str, Any]] = [
        {"architecture": "gru", "ema_decay": 0.9},
        {"architecture": "lstm", "scheduler": "onecycle"},
        {"architecture": "gru_attention", "attention_window": 9, "attention_dropout": 0.0},
    ]
    with FakeCuda(monkeypatch, free=free):
        dataset = short_dataset()
        device = torch.device("cuda:0")
        base = {"hidden_size": 12, "num_layers": 2, "batch_size": 3, "epochs": 2, "lr": 3e-3}
        configs = [RunConfig.parse(base | recipe) for recipe in recipes]
        data = RunData.prepare(dataset, configs[0], device)
        torch.cuda.synchronize(device)
        default = torch.cuda.current_stream(device)
        before = default.knows[default]  # type: ignore[attr-defined]

        def trained(config: RunConfig, stream: Any) -> TrainingRun:
            around = lambda: torch.cuda.stream(stream)  # noqa: E731
            run = turns.call(lambda: TrainingRun(config, 3, data), around)
            while not run.finished:
                turns.do(run.steps(), around)
            turns.call(run.result, around)
            return run

        turns = Turns()
        streams = [torch.cuda.Stream(device) for _ in configs]
        pairs = zip(configs, streams, strict=True)
        runs = together(turns, [lambda c=c, s=s: trained(c, s) for c, s in pairs])  # type: ignore[misc]
        found = [future.result() for future in runs]
        assert default.knows[default] == before  # type: ignore[attr-defined]
        for config, run in zip(configs, found, strict=True):
            single = TrainingRun(config, 3, data)
            while not single.finished:
                single.train_epoch()
            assert [without_time(r) for r in run.history] == [without_time(r) for r in single.history]


def test_others_have_their_turn_while_a_device_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run at the end of its epoch does not block the host: it pauses until its stream has caught up."""
    with FakeCuda(monkeypatch):
        answers = [True, False, False]
        monkeypatch.setattr(torch.cuda.Event, "query", lambda _: answers.pop())
        assert len(list(until_computed(torch.device("cuda:0")))) == 2
    assert list(until_computed(torch.device("cpu"))) == []
