"""The scoring process by itself: its loop and its rules, on rows of any width, driven by a job on stdin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lobmodels.scoring import host

ECHO = """
import numpy as np
class PredictionModel:
    def predict(self, point):
        if not point.need_prediction:
            return None
        return np.array([point.step_in_seq, point.state[0]], dtype=float)
"""


def score(tmp_path: Path, source: str, **changes: Any) -> tuple[list[dict[str, Any]], str]:
    """Messages and stderr of the process for a submission of this source, over 3 sequences of 4 rows of 5 columns."""
    (tmp_path / "solution.py").write_text(source)
    np.save(tmp_path / "features.npy", np.arange(60.0).reshape(3, 4, 5))
    folder = str(tmp_path)
    job = {"folder": folder, "output": folder, "features": str(tmp_path / "features.npy"), "targets": 2, "warmup": 1}
    job |= {"order": [0, 2], "lengths": [4, 4], "seq_ix": [7, 9], **changes}
    command = [sys.executable, "-P", host.__file__]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, timeout=400)
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_it_imports_numpy_alone() -> None:
    """Nothing of this project is loaded beside a submission, which may have to bring its own copy."""
    code = f"import runpy, sys; runpy.run_path({host.__file__!r}); print([m for m in sys.modules if 'lobmodels' in m])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd="/")
    assert done.stdout.strip() == "[]"


def test_rows_are_fed_in_order(tmp_path: Path) -> None:
    """Each sequence from its first step, predictions of the scored steps kept, a line for each sequence done."""
    messages, _ = score(tmp_path, ECHO)
    assert [message["done"] for message in messages if "done" in message] == [1, 2]
    assert messages[0]["backend"] is None and messages[-1] == {"finished": True}
    predictions = np.load(tmp_path / "predictions.npy")
    assert predictions.shape == (2, 3, 2) and np.load(tmp_path / "times.npy").shape == (2, 4)
    assert predictions[:, :, 0].tolist() == [[1, 2, 3]] * 2
    assert predictions[:, :, 1].tolist() == [[5, 10, 15], [45, 50, 55]]


def test_joined_is_one_sequence(tmp_path: Path) -> None:
    """All rows under one name, one after the other."""
    score(tmp_path, ECHO, joined=True)
    assert np.load(tmp_path / "predictions.npy")[0, :, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_prints_go_to_stderr(tmp_path: Path) -> None:
    """A submission that prints does not disturb the answers."""
    messages, err = score(tmp_path, "print('hello', flush=True)\n" + ECHO)
    assert messages[-1] == {"finished": True} and "hello" in err


def test_an_absent_module_is_absent(tmp_path: Path) -> None:
    """What the job names cannot be imported by the submission."""
    messages, _ = score(tmp_path, "import json\nimport fractions\n" + ECHO, absent=["fractions"])
    assert "solution.py cannot be imported: ModuleNotFoundError" in messages[-1]["error"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("np.zeros(2)", "returned array([0., 0.]) where no prediction is needed, not None at sequence 7, step 0"),
        ("np.zeros(3) if p.need_prediction else None", "returned an array of shape (3,), not (2,)"),
        ("[0, 0] if p.need_prediction else None", "returned a list, not an ndarray of shape (2,)"),
        ("None", "returned None where a prediction is needed at sequence 7, step 1"),
        ("np.array([0, np.nan]) if p.need_prediction else None", "which is not finite numbers"),
        ("1 / 0", "predict raised ZeroDivisionError: division by zero at sequence 7, step 0"),
        ("exit(3)", "predict raised SystemExit: 3"),
    ],
)
def test_a_broken_rule_names_its_row(tmp_path: Path, answer: str, error: str) -> None:
    """The rule, the value, the sequence and the step, in one message."""
    source = f"import numpy as np\nclass PredictionModel:\n    def predict(self, p):\n        return {answer}\n"
    messages, _ = score(tmp_path, source)
    assert error in messages[-1]["error"]


def test_no_class(tmp_path: Path) -> None:
    """A solution without the class that the challenge asks for, or one that cannot be made."""
    assert score(tmp_path, "x = 1")[0][-1]["error"] == "solution.py has no class PredictionModel"
    broken = "class PredictionModel:\n    def __init__(self):\n        raise OSError('no file')\n"
    assert score(tmp_path, broken)[0][-1]["error"] == "PredictionModel() raised OSError: no file"
