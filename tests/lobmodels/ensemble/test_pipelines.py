"""A submission computes a plugin's features by a graph, once for all members that share them, equal to training."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lobmodels.checkpoint import Checkpoint
from lobmodels.ensemble.bundle import Bundle, read_submission, write_submission
from lobmodels.ensemble.cost import graph_microseconds
from lobmodels.ensemble.graph import check, graph_bytes
from lobmodels.ensemble.integrity import check_digests, check_stored
from lobmodels.ensemble.pipelines import Pipelines, slots
from lobmodels.errors import BundleError
from lobmodels.own_features import CODE
from lobmodels.plugins.loading import load_file
from lobmodels.schema import LOB
from tests.lobmodels.ensemble.made_runs import rows, run
from tests.plugin_files import blocks_of_files, forgotten


@pytest.fixture(autouse=True)
def _plugin(tmp_path: Path) -> Iterator[None]:
    with forgotten():
        for name in ("pressure.py", "causal.py"):
            (tmp_path / name).write_text(blocks_of_files()[name])
            load_file(tmp_path / name)
        yield


def own(name: str = "own#1", seed: int = 1, **values: Any) -> Checkpoint:
    """An untrained run that reads both groups of the page."""
    parameters = {"hidden_size": 8, "num_layers": 1, "depth": True, "pressure": True, **values}
    return run(name, seed, **parameters)


def members() -> list[Checkpoint]:
    """Own features with and without built-in ones, two values of the parameter, a plain run, a plugin's network."""
    return [
        own(normalizer="zscore", derived=True, lag=True),
        own("own#2", 2, half_life=30.0),
        own("own#3", 3, half_life=30.0, hidden_size=6),
        run("plain#0", 4, hidden_size=8, num_layers=1, derived=True),
        own("net#5", 5, architecture="causal_conv", taps=4),
    ]


def stepped(predictor: Any, raw: np.ndarray) -> np.ndarray:
    """Predictions (N, T, K), a row at a time."""
    return np.array([[predictor.predict(i, t, True, row) for t, row in enumerate(s)] for i, s in enumerate(raw)])


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_online_features_are_those_of_training(backend: str, tmp_path: Path) -> None:
    """Read back from the zip, with sequences one after the other: predictions to 1e-5, and what each network reads."""
    bundle, raw = Bundle.of(members()), rows(3, 60)
    write_submission(tmp_path / "s.zip", bundle)
    submission = read_submission(tmp_path / "s.zip")
    assert check_digests(submission)
    predictor = submission.bundle().predictor(backend)
    assert predictor.backend == f"{backend}+onnx"
    assert np.abs(stepped(predictor, raw) - bundle.predict(raw)).max() < 1e-5
    one = Bundle.of([members()[1]])
    assert np.abs(stepped(one.predictor(backend), raw) - one.predict(raw)).max() < 1e-5


def test_equal_groups_are_computed_once() -> None:
    """Four members, two values of a parameter: two graphs of one group, one of the other."""
    bundle = Bundle.of(members())
    names = [(group.name, dict(group.settings)) for group in bundle.inputs.own]
    assert names == [("depth", {}), ("pressure", {"half_life": 10.0}), ("pressure", {"half_life": 30.0})]
    assert [name for name in bundle.tensors() if name.startswith("own.")] == [f"own.{i}.graph" for i in range(3)]
    assert len(bundle.inputs.distinct) == 4 and bundle.inputs.indices == [0, 1, 1, 2, 3]
    assert set(graph_microseconds(bundle)) == {"features depth", "features pressure", "net#5"}


def test_without_own_features_nothing_mentions_them() -> None:
    """The manifest of other members is what it was."""
    manifest = Bundle.of([run("plain#0", hidden_size=4, derived=True)]).manifest()
    assert "own" not in manifest and "own" not in manifest["pipelines"][0]
    assert slots(LOB) == list(range(32))


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_rows_that_break_the_contract(backend: str) -> None:
    """A value that is not finite keeps the column's last one, for own features as for built-in ones."""
    bundle, raw = Bundle.of([own(derived=True)]), rows(1, 30)
    broken, repaired = raw.copy(), raw.copy()
    broken[0, 10, 12], repaired[0, 10, 12] = np.nan, raw[0, 9, 12]
    broken[0, 0, 18], repaired[0, 0, 18] = np.inf, 0.0
    broken[0, 20, 12], repaired[0, 20, 12] = 1e20, 1e6
    predictor = bundle.predictor(backend)
    found = stepped(predictor, broken)
    assert np.isfinite(found).all() and np.array_equal(found, stepped(predictor, repaired))


def test_the_whole_ensemble_as_one_graph() -> None:
    """`--onnx` takes own features along, with their state."""
    bundle = Bundle.of([own(normalizer="zscore", derived=True), own("own#2", 2, half_life=30.0)])
    assert check(graph_bytes(bundle), bundle) < 1e-5


def test_what_was_changed_is_named(tmp_path: Path) -> None:
    """A graph of a group that is not the exported one, by the digests and by the stored runs."""
    path, (first, *_) = tmp_path / "s.zip", members()
    write_submission(path, Bundle.of([first]))
    submission = read_submission(path)
    check_stored(submission, {first.name: first})
    submission.arrays["own.1.graph"] = submission.arrays["own.1.graph"].copy()
    submission.arrays["own.1.graph"][40] ^= 1
    for call in (lambda: check_digests(submission), lambda: check_stored(submission, {first.name: first})):
        with pytest.raises(BundleError, match="the graph of the feature group pressure is not that of"):
            call()


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin where the networks are read back, onnx where the graph is written."""
    path = tmp_path / "s.zip"
    write_submission(path, Bundle.of([own()]))
    pipelines = Pipelines([own().pipeline])
    del CODE._entries["pressure"]
    with pytest.raises(BundleError, match="pressure is a feature group that a plugin defines: name its file"):
        read_submission(path).bundle()
    monkeypatch.setitem(sys.modules, "onnx", None)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="feature group depth needs an ONNX graph, and onnx is not installed"):
        pipelines.tensors()
