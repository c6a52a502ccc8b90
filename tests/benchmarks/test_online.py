"""What one step of an ensemble costs: ours against what entrants ship, against onnxruntime, and against memory itself.

One process on one core and one thread. The contenders of a case take turns in short slices, a round after the other,
so that what else the machine does meets them alike; ratios are taken within a round, and their medians printed. Ours is
the whole of `predict`: conversion of the row, features, normalisers, networks, average. The others are given finished
network inputs, a favour of some microseconds. The floor reads every weight once, in order, and computes nothing.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.table import Table

from lobmodels.checkpoint import Checkpoint
from lobmodels.ensemble import graph
from lobmodels.ensemble.bundle import MEGABYTE, Bundle, submission_bytes, write_submission
from lobmodels.inputs import as_tensor
from tests.lobmodels.ensemble.made_runs import rows, run, several

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]
STEPS = 1000
ROUNDS = 31
STARTS = 3
SLICE = 0.03  # seconds of each contender in a round

VANILLA: dict[str, Any] = {"hidden_size": 64, "num_layers": 3}
TIGHT: dict[str, Any] = {
    "hidden_size": 144,
    "num_layers": 2,
    "input_block": "projection",
    "head": "mlp",
    "derived": True,
    "normalizer": "zscore",
}
ATTENTION = {**TIGHT, "architecture": "gru_attention", "hidden_size": 128}
CASES = {
    "1 x gru 3x64": [VANILLA],
    "10 x gru 3x64": [VANILLA] * 10,
    "1 x gru 2x144 + derived": [TIGHT],
    "5 x gru 2x144 + derived": [TIGHT] * 5,
    "5 x gru 2x144 + 2 x attention 2x128": [TIGHT] * 5 + [ATTENTION] * 2,
}
Step = Callable[[int], Any]  # advances a contender by the t-th row of a sequence


@pytest.fixture(autouse=True)
def _one_core() -> Iterator[None]:
    """One thread on one core."""
    threads, cores = torch.get_num_threads(), None
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(cores)})
    yield
    torch.set_num_threads(threads)
    if cores is not None:
        os.sched_setaffinity(0, cores)


@pytest.mark.parametrize("case", CASES)
def test_step(case: str) -> None:
    """Prints microseconds a step of every contender and its ratio to our compiled step."""
    members = [run(f"joint#{i}", i, 1.0, **values) for i, values in enumerate(CASES[case])]
    raw = rows(1, STEPS)[0]
    contenders = {
        "ours, numba": ours(members, raw, "numba"),
        "ours, numpy": ours(members, raw, "numpy"),
        "torch module a model": torch_modules(members, raw),
        "onnxruntime session a model": sessions(members, raw),
        "our ONNX graph": one_graph(members, raw),
        "floor: weights read once": floor(members),
    }
    times = interleave(contenders)
    base = times["ours, numba"]
    table = Table(title=f"{case}: one step, medians of {ROUNDS} interleaved rounds")
    for column in ("", "us", "/ ours, numba", "/ ours, numpy"):
        table.add_column(column, justify="right" if column else "left")
    for name, found in times.items():
        ratios = (ratio(found, base), ratio(found, times["ours, numpy"]))
        table.add_row(name, f"{statistics.median(found) * 1e6:.1f}", *(f"{value:.2f}" for value in ratios))
    Console(width=100).print(table)


@pytest.mark.parametrize("width", [64, 144])
def test_kept_epochs(width: int) -> None:
    """Prints the processor time of a step, and the size, of a run that keeps so many epochs, with the compiled step."""
    values, raw = {"hidden_size": width, "num_layers": 2}, rows(1, STEPS)[0]
    table = Table(title=f"epochs kept of a gru 2x{width}: one step, best median of {STARTS}")
    for column in ("epochs", "us", "MB"):
        table.add_column(column, justify="right")
    for n in (1, 2, 4, 8):
        member = run("joint#0", **values) if n == 1 else several("joint#0", [(1 / n, 1 / n)] * n, **values)
        step = ours([member], raw, "numba")
        size = len(submission_bytes(Bundle.of([member]))) / MEGABYTE
        table.add_row(str(n), f"{min(processor(step) for _ in range(STARTS)) * 1e6:.1f}", f"{size:.2f}")
    Console(width=100).print(table)


def processor(step: Step) -> float:
    """Median seconds of processor time of a step, which other work on the machine hardly changes."""
    taken = []
    for t in range(STEPS):
        started = time.process_time_ns()
        step(t)
        taken.append(time.process_time_ns() - started)
    return statistics.median(taken) / 1e9


def test_start(tmp_path: Path) -> None:
    """Prints the seconds from nothing to a submission that is ready, in fresh processes."""
    table = Table(title=f"start-up of a submission in a fresh process, medians of {STARTS}")
    for column in ("", "python + numpy s", "solution.py + PredictionModel() s"):
        table.add_column(column, justify="right" if column else "left")
    code = (
        "import time; a = time.perf_counter(); import numpy; b = time.perf_counter(); import solution; "
        "m = solution.PredictionModel(); assert m.ensemble.backend == 'numba'; print(b - a, time.perf_counter() - b)"
    )
    for case, values in CASES.items():
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        write_submission(folder / "s.zip", Bundle.of([run(f"joint#{i}", i, **v) for i, v in enumerate(values)]))
        with zipfile.ZipFile(folder / "s.zip") as archive:
            archive.extractall(folder)
        done = [
            subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True).stdout
            for _ in range(STARTS)
        ]
        medians = np.median([[float(value) for value in line.split()] for line in done], 0)
        table.add_row(case, *(f"{value:.2f}" for value in medians))
    Console(width=100).print(table)


def ratio(found: list[float], base: list[float]) -> float:
    """Median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(found, base, strict=True))


def interleave(contenders: dict[str, Step]) -> dict[str, list[float]]:
    """Seconds a step of each contender in each round."""
    counts = {name: max(20, int(SLICE / seconds(step, 20))) for name, step in contenders.items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, step in contenders.items():
            seconds(step, max(10, counts[name] // 10))  # its weights come back into the cache
            times[name].append(seconds(step, counts[name]))
    return times


def seconds(step: Step, count: int) -> float:
    """Seconds a step, over `count` of them."""
    started = time.perf_counter()
    for t in range(count):
        step(t % STEPS)
    return (time.perf_counter() - started) / count


def ours(members: list[Checkpoint], raw: np.ndarray, backend: str) -> Step:
    """`predict` on rows as the challenge hands them over: objects."""
    predictor = Bundle.of(members).predictor(backend)
    objects = list(raw.astype(object))
    return lambda t: predictor.predict(0, t, True, objects[t])


def torch_modules(members: list[Checkpoint], raw: np.ndarray) -> Step:
    """Each member's network, one after the other, stepped in inference mode; their mean."""
    networks = [member.network() for member in members]
    inputs = [member.pipeline(as_tensor(raw[None]))[0].unsqueeze(1) for member in members]  # (T, 1, F)
    states = [network.initial_state(1) for network in networks]

    def step(t: int) -> Any:
        total: Any = 0.0
        with torch.inference_mode():
            for i, network in enumerate(networks):
                y, states[i] = network.forward_step(inputs[i][t], states[i])
                total = total + y
            return (total / len(networks)).numpy()[0]

    return step


def sessions(members: list[Checkpoint], raw: np.ndarray) -> Step:
    """Each member as an onnxruntime session of its own on one thread; their mean."""
    from tests.benchmarks.sessions import Session

    found = [Session(member) for member in members]
    inputs = [member.pipeline(as_tensor(raw[None]))[0].numpy()[:, None, None] for member in members]  # (T, 1, 1, F)

    def step(t: int) -> Any:
        total = found[0].step(inputs[0][t])
        for i in range(1, len(found)):
            total = total + found[i].step(inputs[i][t])
        return total[0, 0] / len(found)

    return step


def one_graph(members: list[Checkpoint], raw: np.ndarray) -> Step:
    """The graph of `export --onnx`, raw row in, its state fed back."""
    session = graph.open_session(graph.graph_bytes(Bundle.of(members)))
    state, wide = graph.initial_state(session), raw.astype(np.float64)

    def step(t: int) -> Any:
        nonlocal state
        y, state = graph.step(session, wide[t], t, state)
        return y

    return step


def floor(members: list[Checkpoint]) -> Step:
    """One pass over as many float32 numbers as the members have weights."""
    import numba

    @numba.njit(fastmath=True)  # type: ignore[misc]
    def read(w: np.ndarray) -> np.float32:
        total = np.float32(0)
        for i in range(w.shape[0]):
            total += w[i]
        return total

    weights = np.concatenate([tensor.numpy().ravel() for member in members for tensor in member.weights.values()])
    return lambda t: read(weights)
