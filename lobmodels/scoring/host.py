"""The process in which a submission is scored: the challenge's loop and checks, without anything of this project.

Run as a script by `lobmodels.scoring.submission` with a JSON job on stdin; answers with JSON lines on stdout. It
imports numpy alone, so that a submission that lacks a module fails here as it would in the challenge.
"""

from __future__ import annotations

import contextlib
import json
import logging
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
    """Score according to the job on stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    _pin()
    job = json.loads(sys.stdin.read())
    # The submission's own output goes to stderr; the pipe to the parent carries answers only.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        try:
            _score(job, channel)
        except Broken as error:
            _send(channel, error=str(error))


def _pin() -> None:
    """Bind this process to the core it runs on, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        return
    with contextlib.suppress(OSError, ValueError, IndexError):  # without access to /proc it runs unbound
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        os.sched_setaffinity(0, {int(fields[36])})


def _score(job: dict[str, Any], channel: TextIO) -> None:
    for name in job.get("absent", ()):
        sys.modules[name] = None  # type: ignore[assignment]  # importing it fails, as on a host without it
        logging.disable(logging.WARNING)  # the submission's warning about it is expected here
    started = time.perf_counter()
    model = _build(Path(job["folder"]))
    backend = getattr(getattr(model, "ensemble", None), "backend", None)
    _send(channel, seconds=time.perf_counter() - started, backend=backend)
    features = np.load(job["features"], mmap_mode="r")  # (N, T, F)
    fed = [
        (int(seq_ix), np.asarray(features[index, :length]))
        for index, seq_ix, length in zip(job["order"], job["seq_ix"], job["lengths"], strict=True)
    ]
    steps = features.shape[1]  # behind the end of a shorter sequence, predictions and times stay 0
    if job.get("joined"):  # one long sequence: the state must go on
        fed = [(fed[0][0], np.concatenate([rows for _, rows in fed]))]
        steps = len(fed[0][1])
    warmup, targets = job["warmup"], job["targets"]
    predictions = np.zeros((len(fed), steps - warmup, targets))
    times = np.zeros((len(fed), steps), np.int64)
    probe = _Probe(model) if job.get("probe") else None
    for i, (seq_ix, values) in enumerate(fed):
        _sequence(model, _rows(seq_ix, values, warmup), warmup, targets, predictions[i], times[i], probe)
        _send(channel, done=i + 1)
    output = Path(job["output"])
    np.save(output / "predictions.npy", predictions)
    np.save(output / "times.npy", times)
    if probe is not None:
        probe.save(output)
    _send(channel, finished=True)


class _Probe:
    """Records inputs and predictions of a lobtuna submission's networks at every step, warm-up included."""

    def __init__(self, model: Any) -> None:
        self.ensemble = model.ensemble
        self.ensemble.strict = True  # during verification a row out of order is an error, not a fresh start
        self.inputs: list[np.ndarray] = []
        self.members: list[np.ndarray] = []

    def look(self) -> None:
        self.inputs.append(np.concatenate(self.ensemble.inputs))
        self.members.append(self.ensemble.members)

    def save(self, output: Path) -> None:
        for name, rows in (("inputs", self.inputs), ("members", self.members)):
            array = np.stack(rows)  # of all sequences, one behind the other
            np.save(output / f"{name}.npy", array)


def _build(folder: Path) -> Any:
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        import solution  # type: ignore[import-not-found]  # the submission's
    except BaseException as error:
        raise Broken(f"solution.py cannot be imported: {_in_one_line(error)}") from error
    if not hasattr(solution, "PredictionModel"):
        raise Broken("solution.py has no class PredictionModel")
    try:
        return solution.PredictionModel()
    except BaseException as error:
        raise Broken(f"PredictionModel() raised {_in_one_line(error)}") from error


def _rows(seq_ix: int, features: np.ndarray, warmup: int) -> np.ndarray:
    """Rows of one sequence as `DataFrame.values` holds them: objects, because the columns differ in type."""
    rows = np.empty((len(features), 3 + features.shape[1]), object)
    for t, row in enumerate(rows):
        row[:3] = seq_ix, t, t >= warmup
    rows[:, 3:] = features.astype(object)
    return rows


def _sequence(
    model: Any,
    rows: np.ndarray,
    warmup: int,
    targets: int,
    predictions: np.ndarray,
    times: np.ndarray,
    probe: _Probe | None = None,
) -> None:
    """One sequence through the submission; fills predictions (T - warmup, K) and nanoseconds (T,)."""
    for t, row in enumerate(rows):
        point = DataPoint(row[0], row[1], row[2], row[3:])
        started = time.perf_counter_ns()
        try:
            prediction = model.predict(point)
        except BaseException as error:
            raise Broken(f"predict raised {_in_one_line(error)} at sequence {row[0]}, step {row[1]}") from error
        times[t] = time.perf_counter_ns() - started
        problem = _problem(prediction, point.need_prediction, targets)
        if problem:
            raise Broken(f"predict {problem} at sequence {row[0]}, step {row[1]}")
        if point.need_prediction:
            predictions[t - warmup] = prediction
        if probe is not None:
            probe.look()


def _problem(prediction: Any, needed: bool, targets: int) -> str | None:
    """The rule that a prediction breaks, or None."""
    if not needed:
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


def _in_one_line(error: BaseException) -> str:
    """An error of the submission in one line; its traceback goes to stderr."""
    traceback.print_exception(error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def _send(channel: TextIO, **message: Any) -> None:
    print(json.dumps(message), file=channel, flush=True)


if __name__ == "__main__":
    main()
