"""`score` is the challenge's loop with the challenge's checks, around the submission's real files."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lobmodels.data import Dataset, Sequences, validation_split
from lobmodels.ensemble.bundle import Bundle, Expected, read_submission, write_submission
from lobmodels.errors import BundleError, ScoringError
from lobmodels.files import zip_bytes
from lobmodels.metric import weighted_pearson
from lobmodels.scoring.submission import Score, known_split, score_submission, unpack
from tests.lobmodels.ensemble.made_runs import run

CONSTANT = """
import numpy as np
class PredictionModel:
    def predict(self, data_point):
        return np.array([0.5, -0.5]) if data_point.need_prediction else None
"""


@pytest.fixture(scope="module")
def data(small_dataset: Dataset) -> Sequences:
    """Twelve synthetic validation sequences."""
    return small_dataset.valid


@pytest.fixture(scope="module")
def submission(tmp_path_factory: pytest.TempPathFactory, data: Sequences) -> Path:
    """Two members with features, exported."""
    runs = [
        dataclasses.replace(run("joint#0", 0, 1.0, hidden_size=8, num_layers=1), valid_fingerprint=data.fingerprint),
        dataclasses.replace(
            run("joint#1", 1, 1.0, hidden_size=8, num_layers=1, derived=True, normalizer="zscore"),
            valid_fingerprint=data.fingerprint,
        ),
    ]
    path = tmp_path_factory.mktemp("submission") / "submission.zip"
    write_submission(path, Bundle.of(runs))
    return path


@pytest.fixture
def foreign(tmp_path: Path) -> Callable[[str], Path]:
    """Writes somebody else's submission from the source of its solution.py."""

    def write(source: str, name: str = "solution.py") -> Path:
        path = tmp_path / "foreign.zip"
        path.write_bytes(zip_bytes({name: source.encode()}))
        return path

    return write


@pytest.fixture(scope="module")
def score(submission: Path, data: Sequences) -> Score:
    """The submission scored over all sequences."""
    return score_submission(submission, data)


@pytest.fixture(scope="module")
def model(submission: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The model of the submission, imported from its unpacked files as the challenge imports it."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(submission) as archive:
        archive.extractall(folder)
    modules, path = dict(sys.modules), list(sys.path)
    spec = importlib.util.spec_from_file_location("solution", folder / "solution.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.PredictionModel()
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        if name in {"runtime", "features"}:
            del sys.modules[name]


def challenge_loop(model: Any, frame: pd.DataFrame) -> np.ndarray:
    """The challenge's own scorer: rows of `DataFrame.values`, ids as they come."""
    predictions, targets = [], []
    for row in frame.values:
        point = SimpleNamespace(seq_ix=row[0], step_in_seq=row[1], need_prediction=row[2], state=row[3:35])
        prediction = model.predict(point)
        if point.need_prediction:
            assert prediction.shape == (2,)
            predictions.append(prediction)
            targets.append(row[35:])
        else:
            assert prediction is None
    return weighted_pearson(np.array(predictions, float), np.array(targets, float))


@pytest.mark.parametrize("ids", [int, float])
def test_equals_the_challenges_loop(score: Score, model: Any, small_data: Path, ids: type) -> None:
    """Rows of `DataFrame.values`, an object array, give the very numbers that `score` gives; so do float ids."""
    frame = pd.read_parquet(small_data / "valid.parquet").astype({"seq_ix": ids, "step_in_seq": ids})
    assert frame.values.dtype == object
    assert [*score.overall.scores.values()] == challenge_loop(model, frame).tolist()
    assert score.overall.mean == sum(score.overall.scores.values()) / 2


def test_equals_torch(score: Score, data: Sequences) -> None:
    """The submission's predictions are the members' average."""
    members = [
        run("joint#0", 0, 1.0, hidden_size=8, num_layers=1),
        run("joint#1", 1, 1.0, hidden_size=8, num_layers=1, derived=True, normalizer="zscore"),
    ]
    expected = Bundle.of(members).predict(np.array(data.features))[:, 99:]
    assert score.backend == "numba"
    assert np.abs(score.predictions - expected).max() < 1e-5


def test_cost(foreign: Callable[[str], Path], data: Sequences) -> None:
    """Size and times are those of the zip and of `predict`; progress counts sequences."""
    seen: list[tuple[int, int]] = []
    path = foreign(CONSTANT)
    document = score_submission(path, data, 2, lambda *done: seen.append(done)).document()
    assert seen == [(1, 2), (2, 2)]
    assert document["megabytes"] == path.stat().st_size / 1e6
    assert document["sequences"] == 2
    assert document["us_per_step_median"] > 0 and document["startup_seconds"] > 0
    expected = document["startup_seconds"] + 1.5 * document["us_per_step"]
    assert document["seconds_for_1500"] == pytest.approx(expected)
    assert document["problems"] == []


@pytest.mark.parametrize(
    ("cost", "problem"),
    [({"bytes": 21_000_000}, "21.0 MB is more than"), ({"us_per_step": 2800.0}, "s for 1,500 sequences is more than")],
)
def test_too_large_or_too_slow(score: Score, cost: dict[str, Any], problem: str) -> None:
    """A limit that would be broken is told, with the number."""
    assert score.problems() == []
    assert problem in dataclasses.replace(score, **cost).problems()[0]


def test_names_the_sequences_that_selection_saw(score: Score, data: Sequences) -> None:
    """Where the validation split is known, selection and report sequences are scored apart."""
    select, report = validation_split(len(data), 0.25)
    counts = {name: part.sequences for name, part in score.parts.items()}
    assert counts == {"all": len(data), "select": len(select), "report": len(report)}
    expected = weighted_pearson(score.predictions[report], score.targets[report])
    assert [*score.parts["report"].scores.values()] == expected.tolist()


def test_a_broken_promise_is_told(score: Score, submission: Path, data: Sequences, tmp_path: Path) -> None:
    """The manifest's expected scores on these data are compared with what was scored; those on others are not."""
    scores = {name: [*part.scores.values(), part.mean] for name, part in score.parts.items()}
    bundle = read_submission(submission).bundle()

    def problems(fingerprint: str, shift: float) -> list[str]:
        shifted = scores | {"report": [value + shift for value in scores["report"]]}
        path = tmp_path / "promising.zip"
        write_submission(path, dataclasses.replace(bundle, expected=Expected(fingerprint, shifted)))
        return score_submission(path, data).problems()

    assert problems(data.fingerprint, 0.0) == [] == problems("other data", 0.1)
    (told,) = problems(data.fingerprint, 0.1)
    mean = scores["report"][2]
    assert f"scores {mean:.4f} on report ({mean + 0.1:.4f}), not what its manifest promised" in told


def test_a_submission_survives_other_data(submission: Path, data: Sequences, capfd: pytest.CaptureFixture[str]) -> None:
    """solution.py starts afresh where a sequence starts late, goes on, and says so once on stderr."""
    job = "import sys; sys.path.insert(0, sys.argv[1])\n"
    job += "import solution, numpy as np; from types import SimpleNamespace as P\n"
    job += "m = solution.PredictionModel()\n"
    job += "for t in (*range(99, 120), *range(150, 160)): assert np.isfinite(m.predict(P(seq_ix=1, step_in_seq=t, "
    job += "need_prediction=True, state=np.ones(32)))).all()\n"
    with tempfile.TemporaryDirectory() as folder:
        unpack(submission, Path(folder))
        subprocess.run([sys.executable, "-c", job, folder], check=True, timeout=400)
    assert capfd.readouterr().err.count("starts afresh") == 1


def test_unknown_split(foreign: Callable[[str], Path], submission: Path, data: Sequences) -> None:
    """On other data, and for somebody else's submission, nothing is claimed about a split."""
    assert set(score_submission(foreign(CONSTANT), data, 1).parts) == {"all"}
    with zipfile.ZipFile(submission) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert set(known_split(manifest, data)) == {"select", "report"}
    assert known_split(manifest, dataclasses.replace(data, fingerprint="other")) == {}
    manifest["members"][0]["origin"]["report_fraction"] = 0.5
    assert known_split(manifest, data) == {}


def test_a_constant_scores_zero(foreign: Callable[[str], Path], data: Sequences) -> None:
    """No variance, no correlation: 0, not NaN."""
    assert score_submission(foreign(CONSTANT), data, 1).overall.mean == 0.0


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        ("raise KeyError('lost')", "predict raised KeyError: 'lost' at sequence 31, step 0"),
        ("return np.zeros(2)", r"returned array\(\[0., 0.\]\) where no prediction is needed, not None at .* step 0"),
        ("return None", "returned None where a prediction is needed at sequence 31, step 99"),
        ("return np.zeros(3) if asked else None", r"shape \(3,\), not \(2,\) at sequence 31, step 99"),
        ("return np.zeros((1, 2)) if asked else None", r"shape \(1, 2\), not \(2,\)"),
        ("return [0.0, 0.0] if asked else None", r"returned a list, not an ndarray of shape \(2,\)"),
        ("return np.array([0, np.nan]) if asked else None", "not finite numbers"),
        ("return np.array(['a', 'b']) if asked else None", "not finite numbers"),
        ("import os; os._exit(3)", "ended with code 3 before it was done"),
        ("raise SystemExit(0)", "predict raised SystemExit: 0"),
    ],
)
def test_broken_rules(foreign: Callable[[str], Path], data: Sequences, predict: str, message: str) -> None:
    """Every rule of the challenge is checked, and the message says where it was broken."""
    source = f"""
import numpy as np
class PredictionModel:
    def predict(self, data_point):
        asked = data_point.need_prediction
        {predict}
"""
    with pytest.raises(ScoringError, match=message):
        score_submission(foreign(source), data, 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import moonphase", "solution.py cannot be imported: ModuleNotFoundError: No module named 'moonphase'"),
        ("def predict(): (", "cannot be imported: SyntaxError"),
        ("x = 1", "no class PredictionModel"),
        ("class PredictionModel:\n    def __init__(self): 1 / 0", r"PredictionModel\(\) raised ZeroDivisionError"),
        ("import schema", "No module named 'schema'"),
    ],
)
def test_broken_solutions(foreign: Callable[[str], Path], data: Sequences, source: str, message: str) -> None:
    """A solution that cannot start says why; modules of this project are not lent to it."""
    with pytest.raises(ScoringError, match=message):
        score_submission(foreign(source), data, 1)


def test_no_solution(foreign: Callable[..., Path], data: Sequences) -> None:
    """A zip without solution.py at its root, and the hint where it is one folder down."""
    with pytest.raises(ScoringError, match=r"no solution\.py at its root$"):
        score_submission(foreign("", "readme.txt"), data)
    with pytest.raises(ScoringError, match=r"zip the files, not their folder"):
        score_submission(foreign(CONSTANT, "mine/solution.py"), data)


def test_no_zip(tmp_path: Path, data: Sequences) -> None:
    """A missing file and a file that is no zip are told apart."""
    with pytest.raises(BundleError, match="no such file"):
        score_submission(tmp_path / "none.zip", data)
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(BundleError, match="is not a zip"):
        score_submission(tmp_path / "text.zip", data)


def test_a_submission_that_hangs_is_ended(foreign: Callable[[str], Path], data: Sequences) -> None:
    """At the time limit the process is killed and the limit named."""
    source = "import time\nclass PredictionModel:\n    def predict(self, p): time.sleep(60)"
    with pytest.raises(ScoringError, match="not done after the limit of 1 s"):
        score_submission(foreign(source), data, 1, time_limit=1.0)


def test_prints_do_not_disturb(
    foreign: Callable[[str], Path], data: Sequences, capfd: pytest.CaptureFixture[str]
) -> None:
    """What a submission prints lands on stderr, and the score is not disturbed."""
    source = CONSTANT.replace("        return", '        print(\'{"error": "no"}\')\n        return', 1)
    assert score_submission(foreign(source), data, 1).overall.mean == 0.0
    captured = capfd.readouterr()
    assert captured.out == "" and '{"error": "no"}' in captured.err


def test_one_thread(foreign: Callable[[str], Path], data: Sequences) -> None:
    """The process may use one core, and is told so."""
    source = """

import os
import numpy as np
class PredictionModel:
    def __init__(self):
        assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "1"
        assert not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) == 1
    def predict(self, data_point):
        return np.zeros(2) if data_point.need_prediction else None
"""
    score_submission(foreign(source), data, 1)


def test_leaves_nothing_behind(
    submission: Path, data: Sequences, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the scorer nor the submission keeps a file: no cache, nowhere."""
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    score_submission(submission, data, 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [0, 13])
def test_number_of_sequences(submission: Path, data: Sequences, count: int) -> None:
    """A number of sequences that the data does not have is refused."""
    with pytest.raises(ScoringError, match="between 1 and the 12"):
        score_submission(submission, data, count)


def test_a_strangers_code_sees_no_secret(
    foreign: Callable[[str], Path], data: Sequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storage URLs, cloud keys and tokens of the user are not in the environment of a submission."""
    for name in ("LOBTUNA_STORAGE", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PGPASSWORD", "HOME"):
        monkeypatch.setenv(name, "s3cret")
    source = SOLUTION_THAT_ASSERTS.format(check='all("s3cret" not in value for value in os.environ.values())')
    assert score_submission(foreign(source), data, 1).overall.sequences == 1


SOLUTION_THAT_ASSERTS = """
import os
import numpy as np

assert {check}, "a secret is in the environment"


class PredictionModel:
    def predict(self, point):
        return np.zeros(2) if point.need_prediction else None
"""
