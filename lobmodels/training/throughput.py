"""Measures how long an epoch of one run takes when several train at once on a device, and which number is best."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from lobmodels.config import RunConfig
from lobmodels.errors import DeviceMemoryError
from lobmodels.training import recording
from lobmodels.training.batches import RunData
from lobmodels.training.run import TrainingRun
from lobmodels.training.turns import Job

COUNTS = (1, 2, 4, 8)
WARM = recording.WARM + 2  # rounds before the clock starts: a GPU's steps are recorded by then
LEAST, ROUNDS = 1.0, 5  # seconds and rounds that are measured at least
GAIN = 1.05  # so many times as fast, or the smaller number is kept


def at_once(config: RunConfig, data: RunData, most: int = COUNTS[-1]) -> Job[dict[int, float]]:
    """Seconds of an epoch a run, for each of `COUNTS` runs at once up to `most`, measured with `config` on `data`.

    Infinite where memory is too small. Ends early where more runs at once are no faster.
    """
    seconds: dict[int, float] = {}
    for count in (c for c in COUNTS if c <= most):
        try:
            seconds[count] = yield from epoch_seconds(config, data, count)
        except DeviceMemoryError:
            seconds[count] = math.inf
        if data.device.type == "cuda":
            torch.cuda.empty_cache()  # what these runs took is needed by the next
        if best_of(seconds) != count:
            break
    return seconds


def best_of(seconds: Mapping[int, float]) -> int:
    """The smallest number of runs at once that no larger one beats by the factor `GAIN`."""
    best = 1
    for count in sorted(seconds):
        if seconds[count] * GAIN < seconds[best]:
            best = count
    return best


def described(seconds: Mapping[int, float]) -> str:
    """The measurement in one line."""
    found = [f"{count}: {'no memory' if math.isinf(s) else f'{s:.2f} s'}" for count, s in seconds.items()]
    return f"seconds of an epoch by runs at once: {', '.join(found)}; {best_of(seconds)} train at once from here"


def epoch_seconds(config: RunConfig, data: RunData, count: int, least: float = LEAST) -> Job[float]:
    """Seconds of an epoch a run, while `count` runs of `config` take turns for `least` seconds or longer.

    Counted in training steps: seconds of a round, over the runs, times the steps of an epoch. Raises
    `DeviceMemoryError`.
    """
    turns = [_steps(config, seed, data) for seed in range(count)]
    for _ in range(WARM):
        for run in turns:
            next(run)
        yield
    _wait(data.device)
    begun, rounds = time.perf_counter(), 0
    while rounds < ROUNDS or time.perf_counter() - begun < least:
        for run in turns:
            next(run)
        rounds += 1
        yield
    _wait(data.device)
    epoch = math.ceil(len(data.train) / config.batch_size)
    return (time.perf_counter() - begun) / (rounds * count) * epoch


def _steps(config: RunConfig, seed: int, data: RunData) -> Iterator[None]:
    """The training steps of a run without end, on a stream of its own."""
    stream = torch.cuda.Stream(data.device) if data.device.type == "cuda" else None

    def entered() -> AbstractContextManager[Any]:
        return nullcontext() if stream is None else torch.cuda.stream(stream)

    with entered():
        run = TrainingRun(config.model_copy(update={"scheduler": "none"}), seed, data)  # others end with the last epoch
    while True:
        steps = run.train_pass()
        for _ in range(math.ceil(len(data.train) / config.batch_size)):
            with entered():
                next(steps)
            yield


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
