"""The process a submission is scored in: the challenge's loop and its checks, and nothing of this project around it.

Run as a script by `lobmodels.scoring` with a JSON job on stdin; answers with JSON lines on stdout. It imports numpy
alone, so that a submission that forgot to bring a module fails here as it would fail there.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np


@dataclass
class DataPoint:
    """What the challenge hands to `predict`."""

    seq_ix: int
    step_in_seq: int
    need_prediction: bool
    state: np.ndarray


class Broken(Exception):
    """The submission broke a rule; the message is for its author."""


def main() -> None:
    """Score as the job on stdin says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    _pin()
    job = json.loads(sys.stdin.read())
    # What the submission prints goes to stderr; the pipe to the parent is ours alone.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        try:
            _score(job, channel)
        except Broken as error:
            _tell(channel, error=str(error))


def _pin() -> None:
    """Bind this process to the core it runs on, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        return
    with contextlib.suppress(OSError, ValueError, IndexError):  # /proc is hidden, or forbids it: it runs unbound
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        os.sched_setaffinity(0, {int(fields[36])})


def _score(job: dict[str, Any], channel: TextIO) -> None:
    started = time.perf_counter()
    model = _build(Path(job["folder"]))
    backend = getattr(getattr(model, "ensemble", None), "backend", None)
    _tell(channel, seconds=time.perf_counter() - started, backend=backend)
    features = np.load(job["features"], mmap_mode="r")  # (N, T, 32)
    count, steps = len(job["order"]), features.shape[1]
    predictions = np.zeros((count, steps - job["warmup"], job["targets"]))
    times = np.zeros((count, steps), np.int64)
    for i, index in enumerate(job["order"]):
        rows = _rows(int(job["seq_ix"][i]), np.asarray(features[index]), job["warmup"])
        _sequence(model, rows, job["warmup"], job["targets"], predictions[i], times[i])
        _tell(channel, done=i + 1)
    output = Path(job["output"])
    np.save(output / "predictions.npy", predictions)
    np.save(output / "times.npy", times)
    _tell(channel, finished=True)


def _build(folder: Path) -> Any:
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        import solution  # type: ignore[import-not-found]  # the submission's
    except BaseException as error:
        raise Broken(f"solution.py cannot be imported: {_told(error)}") from error
    if not hasattr(solution, "PredictionModel"):
        raise Broken("solution.py has no class PredictionModel")
    try:
        return solution.PredictionModel()
    except BaseException as error:
        raise Broken(f"PredictionModel() raised {_told(error)}") from error


def _rows(seq_ix: int, features: np.ndarray, warmup: int) -> np.ndarray:
    """Rows of one sequence as `DataFrame.values` holds them: objects, because the columns differ in type."""
    rows = np.empty((len(features), 3 + features.shape[1]), object)
    for t, row in enumerate(rows):
        row[:3] = seq_ix, t, t >= warmup
    rows[:, 3:] = features.astype(object)
    return rows


def _sequence(
    model: Any, rows: np.ndarray, warmup: int, targets: int, predictions: np.ndarray, times: np.ndarray
) -> None:
    """One sequence through the submission; fills predictions (T - warmup, 2) and nanoseconds (T,)."""
    for t, row in enumerate(rows):
        point = DataPoint(row[0], row[1], row[2], row[3:])
        started = time.perf_counter_ns()
        try:
            prediction = model.predict(point)
        except BaseException as error:
            raise Broken(f"predict raised {_told(error)} at sequence {row[0]}, step {row[1]}") from error
        times[t] = time.perf_counter_ns() - started
        problem = _problem(prediction, point.need_prediction, targets)
        if problem:
            raise Broken(f"predict {problem} at sequence {row[0]}, step {row[1]}")
        if point.need_prediction:
            predictions[t - warmup] = prediction


def _problem(prediction: Any, asked: bool, targets: int) -> str | None:
    """The rule a prediction breaks."""
    if not asked:
        return None if prediction is None else f"returned {_short(prediction)} where no prediction is needed, not None"
    if prediction is None:
        return "returned None where a prediction is needed"
    if not isinstance(prediction, np.ndarray):
        return f"returned a {type(prediction).__name__}, not an ndarray of shape ({targets},)"
    if prediction.shape != (targets,):
        return f"returned an array of shape {prediction.shape}, not ({targets},)"
    if prediction.dtype.kind not in "fiu" or not np.isfinite(prediction).all():
        return f"returned {_short(prediction)}, which is not finite numbers"
    return None


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _told(error: BaseException) -> str:
    """An error of the submission in one line; its traceback goes to stderr."""
    traceback.print_exception(error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def _tell(channel: TextIO, **message: Any) -> None:
    print(json.dumps(message), file=channel, flush=True)


if __name__ == "__main__":
    main()
