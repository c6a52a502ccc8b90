"""The ONNX graph is the same ensemble, features, attention and resets included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lobmodels.ensemble import graph
from lobmodels.ensemble.bundle import Bundle
from lobmodels.errors import BundleError
from tests.lobmodels.ensemble.made_runs import rows, run

ALL = {"derived": True, "temporal": True, "interaction": True, "microstructure": True, "lag": True}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Every architecture, block, head and feature group, two members stacked, weights per target."""
    runs = [
        run("joint#0", 0, hidden_size=8),
        run("joint#1", 1, hidden_size=8),
        run("joint#2", 2, hidden_size=6, input_block="projection", head="mlp", normalizer="zscore", **ALL),
        run("joint#3", 3, architecture="gru_attention", hidden_size=8, attention_window=6, derived=True),
        run("joint#4", 4, architecture="lstm", hidden_size=5),
    ]
    return Bundle.of(runs, np.random.default_rng(0).dirichlet(np.ones(5), 2).T)


def test_equals_torch(bundle: Bundle, tmp_path: Path) -> None:
    """onnxruntime, fed row by row, gives the batch predictions of torch within 1e-5."""
    path = graph.write_graph(tmp_path / "ensemble.onnx", bundle)
    session = graph.open_session(path.read_bytes())
    raw = rows(2, 40)
    expected = bundle.predict(raw)
    for sequence, target in zip(raw, expected, strict=True):
        state = graph.initial_state(session)
        for t, row in enumerate(sequence.astype(np.float64)):
            prediction, state = graph.step(session, row, t, state)
            assert np.abs(prediction - target[t]).max() < 1e-5


def test_stacks_members_of_one_shape(bundle: Bundle) -> None:
    """Two members of one shape share their products: the graph has one input state for both."""
    session = graph.open_session(graph.graph_bytes(bundle))
    shapes = {entry.name: entry.shape for entry in session.get_inputs()}
    assert shapes["state.stack0.h0"] == [2, 1, 8]
    assert shapes["row"] == [32] and shapes["state.rows"] == [16, 32]


def test_deterministic(bundle: Bundle) -> None:
    """The same bundle gives the same bytes."""
    assert graph.graph_bytes(bundle) == graph.graph_bytes(bundle)


def test_a_graph_that_differs_is_not_kept(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check in onnxruntime decides, before anything is written."""
    monkeypatch.setattr(graph, "LIMIT", 0.5)
    with pytest.raises(BundleError, match="differs from the runtime"):
        graph.write_graph(tmp_path / "ensemble.onnx", bundle)
    assert list(tmp_path.iterdir()) == []


def test_without_onnx(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named."""
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(BundleError, match=r"pip install 'lobtuna\[onnx\]'"):
        graph.graph_bytes(bundle)
