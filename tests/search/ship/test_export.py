"""From a study's runs to submissions: weighed as asked, within the limits, compared with uniform weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lobmodels.data import Dataset
from lobmodels.data.synthetic import write_dataset
from lobmodels.ensemble.bundle import read_submission
from lobmodels.errors import BundleError
from search.errors import SearchError
from search.ship.export import Request, ship
from tests.search.trained_pool import SCORES, add_runs, make_study


def test_no_finished_run(tmp_path: Path, small_dataset: Dataset) -> None:
    """An empty study has nothing to export, and the next command is named."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    make_study(url, small_dataset.valid)
    with pytest.raises(SearchError, match="has no complete run yet: lobtuna work joint"):
        ship(url, "joint", Request(), tmp_path / "s.zip")
    assert not (tmp_path / "s.zip").exists()


def test_uniform_is_the_default(url: str, tmp_path: Path) -> None:
    """One zip, equal weights, equal bytes when repeated; no data needed."""
    (shipment,) = ship(url, "joint", Request(top=3), tmp_path / "a.zip")
    ship(url, "joint", Request(top=3), tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    members = read_submission(tmp_path / "a.zip").manifest["members"]
    assert [member["name"] for member in members] == ["joint.seeds#0", "joint#1", "joint#3"]
    assert {tuple(member["weight"]) for member in members} == {(1 / 3, 1 / 3)}
    assert shipment.remarks == ()


def test_uniform_on_the_data(url: str, tmp_path: Path, small_data: Path) -> None:
    """With the data, the ensemble's score is told on selection and report sequences, by name."""
    (shipment,) = ship(url, "joint", Request(top=3), tmp_path / "a.zip", small_data)
    assert set(shipment.scores) == {"select", "report", "uniform_select", "uniform_report"}
    assert shipment.scores["report"] == shipment.scores["uniform_report"]


@pytest.mark.parametrize("how", ["optimised", "shrunk", "greedy"])
def test_fitted_weights_stand_beside_uniform_ones(url: str, tmp_path: Path, small_data: Path, how: str) -> None:
    """Fitted on selection, compared on report sequences, and told whether they beat uniform weights there."""
    (shipment,) = ship(url, "joint", Request(top=4, weights=how), tmp_path / "a.zip", small_data)
    scores = shipment.scores
    assert shipment.bundle.weights.sum(0) == pytest.approx([1, 1])
    if how != "shrunk":
        assert scores["select"] >= scores["uniform_select"] - 1e-9
    *idle, remark = shipment.remarks
    assert len(shipment.bundle.members) == 4 or idle[0].startswith("not shipped, because they weigh nothing: joint")
    assert f"{how} weights on the 3 report sequences: {scores['report']:.4f}" in remark
    assert ("do not beat" in remark) == (scores["report"] <= scores["uniform_report"])


def test_fitted_weights_need_data(url: str, tmp_path: Path) -> None:
    """Nothing can be fitted without validation sequences."""
    with pytest.raises(BundleError, match="greedy weights are fitted on validation sequences; name them"):
        ship(url, "joint", Request(weights="greedy"), tmp_path / "a.zip")


def test_given_weights(url: str, tmp_path: Path) -> None:
    """Families, lists and files weigh as they say; without data the missing comparison is told."""
    request = Request(top=3, weights="gru=0.4,gru_attention=0.6")
    (shipment,) = ship(url, "joint", request, tmp_path / "a.zip")
    assert shipment.bundle.weights[:, 0] == pytest.approx([0.2, 0.6, 0.2])
    assert "were not compared with uniform ones" in shipment.remarks[0]
    (tmp_path / "w.json").write_text(json.dumps({"joint#1": 1}))
    (shipment,) = ship(url, "joint", Request(top=3, weights=str(tmp_path / "w.json")), tmp_path / "b.zip")
    assert [member.name for member in shipment.bundle.members] == ["joint#1"]
    assert shipment.remarks[0] == "not shipped, because they weigh nothing: joint.seeds#0, joint#3"
    for wrong, message in {
        "gru=0.5,lstm=0.5": "name lstm",
        "gru=much": "is not FAMILY=NUMBER",
        "0.5,0.5": "2 numbers for 3 members",
        "0.5,0.5,0.5": "must sum to 1",
    }.items():
        with pytest.raises(BundleError, match=message):
            ship(url, "joint", Request(top=3, weights=wrong), tmp_path / "c.zip")
    (tmp_path / "w.json").write_text(json.dumps({"joint#1": [1]}))
    with pytest.raises(BundleError, match="a weight is a number, or a list of one for each of t0, t1"):
        ship(url, "joint", Request(top=3, weights=str(tmp_path / "w.json")), tmp_path / "c.zip")
    with pytest.raises(BundleError, match=r"may leave members out, and weights '0\.5,0\.3,0\.2' are for all of them"):
        ship(url, "joint", Request(top=3, weights="0.5,0.3,0.2", max_mb=20), tmp_path / "c.zip")
    assert not (tmp_path / "c.zip").exists()


def test_other_data_is_refused(url: str, tmp_path: Path) -> None:
    """Weights are not fitted on sequences that the runs were not validated on."""
    from lobmodels.data.synthetic import write_dataset

    write_dataset(tmp_path / "other", train=2, valid=4, seed=1)
    with pytest.raises(BundleError, match="was validated on other data"):
        ship(url, "joint", Request(weights="optimised"), tmp_path / "a.zip", tmp_path / "other")


def test_candidates(url: str, tmp_path: Path, small_data: Path) -> None:
    """Three variants of the same members and a manifest that compares them."""
    shipments = ship(url, "joint", Request(top=3, candidates=True), tmp_path / "s.zip", small_data)
    assert [s.path.name for s in shipments] == ["s-conservative.zip", "s-optimised.zip", "s-shrunk.zip"]
    manifest = json.loads((tmp_path / "s-candidates.json").read_text())
    assert set(manifest["candidates"]) == {"conservative", "optimised", "shrunk"}
    for entry, shipment in zip(manifest["candidates"].values(), shipments, strict=True):
        assert Path(entry["path"]) == shipment.path and shipment.path.is_file()
        assert {"select", "report"} <= set(entry["scores"])
    assert np.allclose(shipments[0].bundle.weights, 1 / 3)
    with pytest.raises(BundleError, match="leave out `weights`"):
        ship(url, "joint", Request(candidates=True, weights="1"), tmp_path / "s.zip", small_data)


def test_fits_size_and_time(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--max-mb and --max-seconds leave the last members out and say which; nothing fits: nothing is written."""
    full = ship(url, "joint", Request(top=4), tmp_path / "a.zip")[0].bytes
    (shipment,) = ship(url, "joint", Request(top=4, max_mb=full / 1e6 - 1e-6), tmp_path / "b.zip")
    assert len(shipment.bundle.members) == 3
    assert shipment.remarks == ("3 of 4 members fit the limits; left out: joint#2",)
    seconds = {1: 40.0, 2: 70.0, 3: 100.0, 4: 130.0}
    monkeypatch.setattr("lobmodels.scoring.limits.seconds_for_1500", lambda bundle: seconds[len(bundle.members)])
    (shipment,) = ship(url, "joint", Request(top=4, max_seconds=75), tmp_path / "c.zip")
    assert len(shipment.bundle.members) == 2
    with pytest.raises(BundleError, match="not even one member fits into max_seconds=30: it takes 40 s"):
        ship(url, "joint", Request(top=4, max_seconds=30), tmp_path / "d.zip")
    assert not (tmp_path / "d.zip").exists()


def test_an_existing_zip_is_not_overwritten(url: str, tmp_path: Path) -> None:
    """Refused before any work, and replaced when asked."""
    path = tmp_path / "s-shrunk.zip"
    path.write_text("the one that was sent")
    with pytest.raises(BundleError, match="exists and would be overwritten"):
        ship(url, "joint", Request(top=2, candidates=True), tmp_path / "s.zip", tmp_path)
    with pytest.raises(BundleError, match="exists and would be overwritten"):
        ship(url, "joint", Request(top=2), path)
    assert path.read_text() == "the one that was sent" and not (tmp_path / "s-conservative.zip").exists()
    ship(url, "joint", Request(top=2, force=True), path)
    assert read_submission(path).names == ["joint.seeds#0", "joint#1"]


def test_members_for_each_target(url: str, tmp_path: Path, small_data: Path) -> None:
    """Each target is the uniform average of its own best runs; what cannot go with it is refused."""
    (shipment,) = ship(url, "joint", Request(by_target=(1, 3)), tmp_path / "a.zip", small_data)
    weights = {
        member.name: w.tolist() for member, w in zip(shipment.bundle.members, shipment.bundle.weights, strict=True)
    }
    assert weights == {"joint.seeds#0": [1, 1 / 3], "joint#1": [0, 1 / 3], "joint#3": [0, 1 / 3]}
    assert shipment.weights == "each target's" and "on the 3 report sequences" in shipment.remarks[0]
    for other in ({"weights": "greedy"}, {"candidates": True}, {"max_mb": 3.0}):
        with pytest.raises(BundleError, match="chosen for each target are averaged uniformly"):
            ship(url, "joint", Request(by_target=(1, 3), **other), tmp_path / "b.zip", small_data)


def test_old_members_are_averaged_as_they_are(tmp_path: Path, small_dataset: Dataset, small_data: Path) -> None:
    """Without data it is said that members could not be brought to one scale; with data they are."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = make_study(url, small_dataset.valid)
    add_runs(study, small_dataset.valid, SCORES[:2], prediction_std=None)
    (plain,) = ship(url, "joint", Request(top=2), tmp_path / "a.zip")
    assert "joint#1, joint#0: trained by an older lobtuna" in plain.remarks[0] and (plain.bundle.factors == 1).all()
    (scaled,) = ship(url, "joint", Request(top=2), tmp_path / "b.zip", small_data)
    stds = np.array([member.prediction_std for member in scaled.bundle.members])
    assert scaled.remarks == () and stds[0] == pytest.approx(stds[1]) and (scaled.bundle.factors != 1).all()


def test_a_file_of_weights_names_the_members(url: str, tmp_path: Path) -> None:
    """Those that it weighs are shipped, whichever the default would be; other ways to choose are not overruled."""
    path = tmp_path / "weights.json"
    path.write_text(json.dumps({"joint#0": 0.25, "joint#4": 0.75}))
    (shipment,) = ship(url, "joint", Request(weights=str(path)), tmp_path / "a.zip")
    assert {m.name: w[0] for m, w in zip(shipment.bundle.members, shipment.bundle.weights, strict=True)} == {
        "joint#0": 0.25,
        "joint#4": 0.75,
    }
    with pytest.raises(BundleError, match=r"names joint#0, joint#4, but the members are"):
        ship(url, "joint", Request(weights=str(path), top=1), tmp_path / "b.zip")


def test_other_data_is_refused_before_anything_is_predicted(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How alike runs predict is measured on the study's own data alone."""
    write_dataset(tmp_path / "other", train=2, valid=4, seed=8)
    monkeypatch.setattr("lobmodels.checkpoint.Checkpoint.predict", None)
    with pytest.raises(BundleError, match="was validated on other data"):
        ship(url, "joint", Request(), tmp_path / "a.zip", tmp_path / "other")


def test_a_file_with_numbers_for_the_targets_is_refused(url: str, tmp_path: Path) -> None:
    """In one line: it names no member."""
    path = tmp_path / "weights.json"
    path.write_text(json.dumps({"t0": 0.5, "t1": 0.5}))
    with pytest.raises(BundleError, match="holds no weights for t0, t1"):
        ship(url, "joint", Request(weights=str(path)), tmp_path / "a.zip")
