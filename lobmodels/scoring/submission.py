"""Scores a submission as the challenge would: its own files, in its own process, one thread, one row at a time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lobmodels.data import Sequences
from lobmodels.ensemble.bundle import MEGABYTE, SIZE_LIMIT_MB, SOLUTION, open_zip
from lobmodels.errors import ScoringError
from lobmodels.metric import score
from lobmodels.schema import Schema
from lobmodels.scoring import host as scoring_process
from lobmodels.scoring.promises import known_split, promised_scores, read_manifest

TEST_SEQUENCES = 1500  # of each hidden test set
TIME_LIMIT = 4200.0  # seconds at which time-outs were seen
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"),
    "NUMBA_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",  # the scoring host has no GPU
}
PROMISE_TOLERANCE = 2e-4  # of a correlation: what rounding may change between export and the scoring host
# Environment variables that a submission's untrusted code gets: paths of programs and libraries, language, time zone.
# All others are withheld: storage URLs, cloud keys, tokens.
PASSED_ON = (
    "PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TEMP", "TMP",
    "SYSTEMROOT", "NUMBA_CACHE_DIR", "VIRTUAL_ENV",
)  # fmt: skip
REPEATED_AT_MOST = 2000  # characters from the end of a dead process's stderr that an error quotes


@dataclass(frozen=True)
class Part:
    """Scores on some of the sequences. `name` says which: `all`, `select` or `report`."""

    name: str
    sequences: int
    scores: dict[str, float]  # by target

    @property
    def mean(self) -> float:
        """The score of the submission: the mean over targets."""
        return sum(self.scores.values()) / len(self.scores)


@dataclass(frozen=True)
class Score:
    """Score and cost of a submission. Times are of `predict` alone, on this host."""

    path: Path
    parts: dict[str, Part]  # `all`, and where the submission's validation split is known `select` and `report`
    split: dict[str, NDArray[np.int64]]  # sequences of these two
    predictions: NDArray[np.float64]  # (N, S, K)
    targets: NDArray[np.float32]  # (N, S, K), NaN behind the end of a shorter sequence
    us_per_step: float  # mean
    us_per_step_median: float
    startup_seconds: float
    bytes: int
    backend: str | None  # of a submission made by lobtuna
    fingerprint: str  # of the data
    steps: float  # rows of a sequence, the mean where their lengths differ
    schema: Schema
    promised: dict[str, float] = field(default_factory=dict)  # by part, the mean that the manifest holds for these data

    @property
    def overall(self) -> Part:
        """All sequences."""
        return self.parts["all"]

    @property
    def seconds_for_1500(self) -> float:
        """Extrapolation to a test set: start-up and 1,500 sequences of the mean step."""
        return self.startup_seconds + TEST_SEQUENCES * self.steps * self.us_per_step / 1e6

    @property
    def megabytes(self) -> float:
        """Size of the zip in 10^6 bytes."""
        return self.bytes / MEGABYTE

    def problems(self) -> list[str]:
        """Limits of the challenge that this submission would break, and scores that differ from those at its export."""
        found = self.broken_promises()
        if self.megabytes > SIZE_LIMIT_MB:
            found.append(f"{self.megabytes:.1f} MB is more than the limit of {SIZE_LIMIT_MB:g} MB")
        if self.seconds_for_1500 > TIME_LIMIT:
            found.append(
                f"{self.seconds_for_1500:,.0f} s for 1,500 sequences is more than the limit of {TIME_LIMIT:g} s"
            )
        return found

    def broken_promises(self) -> list[str]:
        """Parts whose score differs from the one in the manifest, in words."""
        wrong = {
            name: mean
            for name, mean in self.promised.items()
            if name in self.parts and abs(self.parts[name].mean - mean) > PROMISE_TOLERANCE
        }
        if not wrong:
            return []
        scored = ", ".join(f"{self.parts[name].mean:.4f} on {name} ({mean:.4f})" for name, mean in wrong.items())
        return [f"it scores {scored}, not what its manifest promised (in brackets): it was changed after export"]

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "submission": str(self.path),
            **self.overall.scores,
            self.schema.metric: self.overall.mean,
            "us_per_step": self.us_per_step,
            "us_per_step_median": self.us_per_step_median,
            "startup_seconds": self.startup_seconds,
            "seconds_for_1500": self.seconds_for_1500,
            "megabytes": self.megabytes,
            "sequences": self.overall.sequences,
            "backend": self.backend,
            "parts": {
                name: {"sequences": part.sequences, **part.scores, self.schema.metric: part.mean}
                for name, part in self.parts.items()
            },
            "promised": self.promised,
            "problems": self.problems(),
        }


def score_submission(
    path: Path | str,
    data: Sequences,
    sequences: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    time_limit: float = TIME_LIMIT,
) -> Score:
    """Run the submission at `path` over `data`, or over its first `sequences`.

    `progress(sequences done, in all)`. Raises `BundleError` for a file that is no zip, `ScoringError` for a
    submission that breaks a rule, dies, or runs longer than `time_limit` seconds.
    """
    path = Path(path)
    if sequences is not None and not 1 <= sequences <= len(data):
        message = f"sequences={sequences} is not between 1 and the {len(data)} of {data.source}"
        raise ScoringError(message, arguments=["sequences"])
    count = len(data) if sequences is None else sequences
    with tempfile.TemporaryDirectory(prefix="lobtuna-score-") as temporary:
        folder, output = Path(temporary, "submission"), Path(temporary, "output")
        output.mkdir()
        unpack(path, folder)
        manifest = read_manifest(folder)
        job = host_job(data, np.arange(count), folder, output)
        answers = run_host(job, path, lambda done: progress(done, count) if progress else None, time_limit)
        predictions = np.load(output / "predictions.npy")
        times = np.load(output / "times.npy")
    targets = np.asarray(data.targets[:count, data.schema.warmup_steps :])
    spent = times[np.arange(times.shape[1]) < data.lengths[:count, None]]
    split = {name: index[index < count] for name, index in known_split(manifest, data).items()}
    indices = {"all": np.arange(count), **{name: index for name, index in split.items() if len(index)}}
    return Score(
        path=path,
        parts={name: _part(name, index, predictions, targets, data.schema) for name, index in indices.items()},
        split=split,
        predictions=predictions,
        targets=targets,
        us_per_step=float(spent.mean()) / 1e3,
        us_per_step_median=float(np.median(spent)) / 1e3,
        startup_seconds=answers["seconds"],
        bytes=path.stat().st_size,
        backend=answers["backend"],
        fingerprint=data.fingerprint,
        steps=float(np.mean(data.lengths)),
        schema=data.schema,
        promised=promised_scores(manifest, data) if count == len(data) else {},
    )


def unpack(path: Path, folder: Path) -> None:
    """The files of a submission in `folder`. Raises `BundleError` for no zip, `ScoringError` without solution.py."""
    with open_zip(path) as archive:
        if SOLUTION not in archive.namelist():
            inside = [name for name in archive.namelist() if name.endswith(f"/{SOLUTION}")]
            where = f"; it has {inside[0]}: zip the files, not their folder" if inside else ""
            raise ScoringError(f"{path} has no {SOLUTION} at its root{where}")
        try:
            archive.extractall(folder)
        except (zipfile.BadZipFile, OSError, RuntimeError) as error:  # RuntimeError: it is encrypted
            raise ScoringError(f"{path} cannot be unpacked: {error}; zip it again") from None


def _part(
    name: str, index: NDArray[Any], predictions: NDArray[np.float64], targets: NDArray[np.float32], schema: Schema
) -> Part:
    values = score(predictions[index], targets[index], schema).tolist()
    return Part(name, len(index), dict(zip(schema.targets, values, strict=True)))


def host_job(data: Sequences, order: NDArray[np.int64], folder: Path, output: Path) -> dict[str, Any]:
    """The job of feeding the sequences at `order` to the submission in `folder`."""
    source = getattr(data.features, "filename", None)
    if source is None:  # not the mapped cache: hand it over in a file
        source = output / "features.npy"
        np.save(source, data.features)
    return {
        "folder": str(folder),
        "output": str(output),
        "features": str(source),
        "order": order.tolist(),
        "lengths": data.lengths[order].tolist(),
        "seq_ix": data.seq_ix[order].tolist(),
        "warmup": data.schema.warmup_steps,
        "targets": len(data.schema.targets),
    }


def run_host(job: dict[str, Any], path: Path, done: Callable[[int], None], time_limit: float) -> dict[str, Any]:
    """Run the job in its own process and return its answers: time and kind of its start. Results are files in the job's
    `output`. Raises `ScoringError` where it breaks a rule, dies, or runs longer than `time_limit` seconds."""
    answers: dict[str, Any] = {}
    with tempfile.TemporaryFile("w+", errors="replace") as stderr, _host(stderr) as process:
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(time_limit, stop)
        timer.start()
        try:
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # it died at once: its exit code is reported below
                process.stdin.write(json.dumps(job))
                process.stdin.close()
            for line in process.stdout:
                message = json.loads(line)
                if "error" in message:
                    raise ScoringError(f"{path}: {message['error']}")
                if "done" in message:
                    done(message["done"])
                answers |= message
            code = process.wait()
        finally:
            timer.cancel()
            _repeat(stderr)
        if late.is_set():
            raise ScoringError(f"{path}: not done after the limit of {time_limit:g} s; make it faster or smaller")
        if "finished" not in answers:
            raise ScoringError(
                f"{path}: its process ended with code {code} before it was done; the end of its stderr is above"
            )
    return answers


@contextlib.contextmanager
def _host(stderr: Any) -> Iterator[subprocess.Popen[str]]:
    """The process, limited to one thread; it is killed at the end of the block."""
    process = subprocess.Popen(
        # -P keeps the script's folder off its path, so that a submission cannot import this project's modules
        [sys.executable, "-P", scoring_process.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={name: os.environ[name] for name in PASSED_ON if name in os.environ} | ONE_THREAD,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _repeat(stderr: Any) -> None:
    """Print the end of what the submission wrote to stderr."""
    size = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, size - REPEATED_AT_MOST))
    text = stderr.read()
    if text:
        print(text, end="" if text.endswith("\n") else "\n", file=sys.stderr)
