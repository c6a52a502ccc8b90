"""A run that keeps several epochs is one member to all but the runtime, which computes each of its networks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from lobmodels.ensemble import graph, scale
from lobmodels.ensemble.bundle import Bundle, read_submission, submission_bytes
from lobmodels.errors import CheckpointError
from tests.lobmodels.ensemble.made_runs import rows, run, several

WEIGHTS = np.array([[0.5, 0.2], [0.3, 0.0], [0.2, 0.8]])
SMALL = {"hidden_size": 4, "num_layers": 1, "normalizer": "zscore"}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """A run of one epoch, one of two that weighs nothing for t1, one of three of which some serve one target alone."""
    members = [
        run("joint#0", 0, **SMALL),
        several("joint#4", [(1.0, 0.0), (0.0, 1.0)], architecture="lstm", hidden_size=5, derived=True),
        several("joint.seeds#7", [(0.5, 0.0), (0.5, 0.5), (0.0, 0.5)], **SMALL),
    ]
    return Bundle.of(members, WEIGHTS)


@pytest.fixture(scope="module")
def path(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its zip."""
    found = tmp_path_factory.mktemp("epochs") / "s.zip"
    found.write_bytes(submission_bytes(bundle))
    return found


def test_an_epoch_weighs_its_share_of_its_run(bundle: Bundle) -> None:
    """By name, in the order of the runs and their epochs, the weights of each target sum to 1; the second run's epoch
    for t1 is not shipped, because the run weighs nothing there."""
    found = {place.network.name: place.weight.tolist() for place in bundle.networks}
    assert found == {
        "joint#0": [0.5, 0.2],
        "joint#4@e2": [0.3, 0.0],
        "joint.seeds#7@e2": [0.1, 0.0],
        "joint.seeds#7@e4": [0.1, 0.4],
        "joint.seeds#7@e6": [0.0, 0.4],
    }
    assert [member.name for member in bundle.members] == ["joint#0", "joint#4", "joint.seeds#7"]


def test_the_zip_knows_both(bundle: Bundle, path: Path) -> None:
    """Read back it is the same ensemble of runs: equal members, weights, predictions and bytes."""
    submission = read_submission(path)
    assert submission.runs == ["joint#0", "joint#4", "joint.seeds#7"]
    assert submission.names == [place.network.name for place in bundle.networks]
    again, raw = submission.bundle(), rows(2, 40)
    assert [member.name for member in again.members] == submission.runs
    assert np.array_equal(again.weights, bundle.weights) and np.array_equal(again.factors, bundle.factors)
    assert np.abs(again.predict(raw) - bundle.predict(raw)).max() < 1e-12
    assert json.loads(json.dumps(again.manifest())) == submission.manifest


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_online_it_is_what_the_checkpoints_predict(bundle: Bundle, path: Path, backend: str) -> None:
    """Row by row the average of the runs' own predictions, each on one scale by the spread of the whole run."""
    raw = rows(1, 50, seed=3)
    stds = np.array([member.prediction_std for member in bundle.members])
    assert stds == pytest.approx(np.broadcast_to(stds[0], stds.shape))
    expected = sum(
        weight * member.predict(raw)[0].astype(np.float64)
        for weight, member in zip(WEIGHTS, bundle.members, strict=True)
    )
    online = read_submission(path).bundle().predictor(backend)
    found = np.stack([online.predict(0, t, True, row) for t, row in enumerate(raw[0])])
    assert np.abs(found - expected).max() < 1e-5 and found.std() > 1e-2


def test_the_graph_is_the_same(bundle: Bundle, tmp_path: Path) -> None:
    """The ONNX graph holds every network."""
    session = graph.open_session(graph.write_graph(tmp_path / "s.onnx", bundle).read_bytes())
    raw, state = rows(1, 30, seed=4), graph.initial_state(session)
    expected = bundle.predict(raw)[0]
    for t, row in enumerate(raw[0].astype(np.float64)):
        prediction, state = graph.step(session, row, t, state)
        assert np.abs(prediction - expected[t]).max() < 1e-5


def test_all_epochs_of_a_run_are_scaled_alike() -> None:
    """One factor a run, from the spread of what its epochs predict together, and its predictions are that much
    larger."""
    member = several("joint#4", [(0.5, 1.0), (0.5, 0.0)], **SMALL)
    scaled, raw = scale.rescaled(member, np.array([2.0, 0.5])), rows(1, 30)
    assert np.abs(scaled.predict(raw) - member.predict(raw) * [2.0, 0.5]).max() < 1e-5
    assert scaled.prediction_std == (1.6, 0.25)
    bundle = Bundle.of([member, run("joint#0", 0, **SMALL)])
    assert len(bundle.networks) == 3 and bundle.factors[0] == pytest.approx([0.6 / 0.8, 0.4 / 0.5])


def test_a_run_of_several_networks_is_not_taken_for_one() -> None:
    """Who asks for its network is told; its epochs are runs of one network, on which nothing is known of the spread."""
    member = several("joint#4", [(0.5, 1.0), (0.5, 0.0)], **SMALL)
    with pytest.raises(CheckpointError, match="joint#4 keeps 2 epochs, each a network: take one of `singles`"):
        member.network()
    assert [one.name for one in member.singles] == ["joint#4@e2", "joint#4@e4"]
    assert all(one.prediction_std is None and not one.epochs for one in member.singles)
    one = dataclasses.replace(member.singles[0], name="joint#4")
    assert one.singles == (one,) and one.shares.tolist() == [[1, 1]]
    assert member.parameters == 2 * one.parameters
