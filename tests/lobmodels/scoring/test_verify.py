"""`verify` passes what is right and finds what is wrong: weights, features, a forgotten reset."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from lobmodels.data import Dataset
from lobmodels.ensemble.bundle import FILES, WEIGHTS, Bundle, read_submission, submission_bytes
from lobmodels.errors import BundleError, ScoringError
from lobmodels.files import zip_bytes
from lobmodels.scoring.verify import verify
from tests.lobmodels.ensemble.made_runs import run

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """The files of a good submission."""
    runs = [
        run("joint#0", 0, 1.0, hidden_size=4, num_layers=1, derived=True, normalizer="zscore"),
        run("joint#1", 1, 1.0, architecture="gru_attention", hidden_size=4, num_layers=1, attention_window=7),
    ]
    with zipfile.ZipFile(io.BytesIO(submission_bytes(Bundle.of(runs, [0.7, 0.3])))) as archive:
        return {name: archive.read(name) for name in FILES}


@pytest.fixture
def submission(files: dict[str, bytes], tmp_path: Path) -> Callable[..., Path]:
    """Writes the submission with some files replaced."""

    def write(**changes: bytes) -> Path:
        path = tmp_path / "submission.zip"
        path.write_bytes(zip_bytes(files | {name.replace("_py", ".py"): data for name, data in changes.items()}))
        return path

    return write


@pytest.fixture
def failed(monkeypatch: pytest.MonkeyPatch, small_dataset: Dataset) -> Callable[[Path], set[str]]:
    """Names of the checks that fail with the numpy step; the compiled one takes seconds to compile."""
    monkeypatch.setattr("lobmodels.scoring.verify.BACKENDS", {"numpy": ("numba",)})
    return lambda path: {check.name for check in verify(path, small_dataset.valid) if not check.ok}


def test_a_good_submission(submission: Callable[..., Path], small_dataset: Dataset) -> None:
    """Every check with the compiled step and without numba; features agree to the bit."""
    steps: list[tuple[int, int]] = []
    checks = verify(submission(), small_dataset.valid, progress=lambda *done: steps.append(done))
    assert {(check.name, check.backend) for check in checks} == {
        ("size, MB", "zip"),
        ("weights", "digests"),
        *((name, backend) for name in NAMES for backend in ("numba", "numpy")),
    }
    assert all(check.ok for check in checks)
    assert max(check.difference for check in checks if check.name == "features") == 0.0
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


NAMES = ("reset", "no reset", "average", "features", "repeat")


def test_a_forgotten_reset(
    submission: Callable[..., Path], files: dict[str, bytes], failed: Callable[[Path], set[str]]
) -> None:
    """A runtime that keeps its state over sequences is found out; that it goes on within one is not held against it."""
    start = b"    def _reset(self) -> None:\n"
    broken = files["runtime.py"].replace(start + b"        self._step.reset()\n", start, 1)
    assert broken != files["runtime.py"]
    assert failed(submission(runtime_py=broken)) == {"reset", "repeat", "average"}


def test_other_features(
    submission: Callable[..., Path], files: dict[str, bytes], failed: Callable[[Path], set[str]]
) -> None:
    """Features that are not those of the training are told by name."""
    broken = files["features.py"].replace(b"out[7] = bid\n", b"out[7] = bid + 0.01\n")
    assert broken != files["features.py"]
    assert "features" in failed(submission(features_py=broken))


def test_other_weights(
    submission: Callable[..., Path], files: dict[str, bytes], failed: Callable[[Path], set[str]]
) -> None:
    """Weights of the average that the runtime does not apply as the manifest says."""
    broken = files["runtime.py"].replace(b'member["weight"] for member', b"[0.5, 0.5] for member")
    assert broken != files["runtime.py"]
    assert failed(submission(runtime_py=broken)) == {"average"}


def test_incomplete(submission: Callable[..., Path], files: dict[str, bytes], small_dataset: Dataset) -> None:
    """A member without its normaliser never gets as far as a score."""
    manifest = json.loads(files["manifest.json"])
    manifest["pipelines"][1]["normalizer"] = True
    path = submission()
    path.write_bytes(zip_bytes(files | {"manifest.json": json.dumps(manifest).encode()}))
    with pytest.raises(BundleError, match=r"joint#1 is incomplete \('pipeline.1.mean'\)"):
        verify(path, small_dataset.valid)


def test_needs_two_sequences(submission: Callable[..., Path], small_dataset: Dataset) -> None:
    """One sequence shows no reset."""
    with pytest.raises(ScoringError, match="sequences=1 is not between 2 and the 12"):
        verify(submission(), small_dataset.valid, sequences=1)


def test_a_ruined_submission(submission: Callable[..., Path], files: dict[str, bytes], small_dataset: Dataset) -> None:
    """Weights that are consistent in themselves but not those of the export never get as far as a comparison."""
    path = submission()
    arrays = read_submission(path).arrays
    ruined = {name: a * np.float32(0.3) if name.startswith("member.") else a for name, a in arrays.items()}
    path.write_bytes(zip_bytes(files | {WEIGHTS: safetensors.numpy.save(ruined)}))
    with pytest.raises(BundleError, match=r"joint#0 is not that of its manifest.*joint#1 is not that"):
        verify(path, small_dataset.valid)


def test_rows_out_of_order_stay_an_error(
    submission: Callable[..., Path], files: dict[str, bytes], failed: Callable[[Path], set[str]]
) -> None:
    """A submission that starts afresh by itself is found out: the proof is strict."""
    broken = files["solution.py"].replace(b"data_point.step_in_seq", b"data_point.step_in_seq + 1")
    assert broken != files["solution.py"]
    with pytest.raises(ScoringError, match="starts at step 1; a sequence must start at step 0"):
        failed(submission(solution_py=broken))
