"""A submission that is not what was exported, or not what was trained, is refused by name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from lobmodels.checkpoint import Checkpoint
from lobmodels.ensemble.bundle import MANIFEST, WEIGHTS, Bundle, read_submission, submission_bytes
from lobmodels.ensemble.digests import array_digests, sealed
from lobmodels.ensemble.integrity import check_digests, check_stored
from lobmodels.errors import BundleError
from lobmodels.files import zip_bytes
from tests.lobmodels.ensemble.made_runs import run, several

Arrays = dict[str, np.ndarray]
Change = Callable[[dict[str, Any], Arrays], None]


def trained(first: int = 0) -> list[Checkpoint]:
    """Three runs of two scales: the first two differ in their normaliser alone, the third has none."""
    runs = [
        run(f"joint#{first}", first, hidden_size=4, num_layers=1, normalizer="zscore"),
        run(f"joint#{first + 1}", first + 1, hidden_size=4, num_layers=1, normalizer="zscore"),
        run(f"joint#{first + 2}", first + 2, hidden_size=4, num_layers=1),
    ]
    normalizer = runs[1].pipeline.normalizer
    assert normalizer is not None
    other = dataclasses.replace(normalizer, mean=normalizer.mean + 1)
    pipeline = dataclasses.replace(runs[1].pipeline, normalizer=other)
    runs[1] = dataclasses.replace(runs[1], pipeline=pipeline, prediction_std=(1.3, 2.1))
    return runs


def of_epochs() -> list[Checkpoint]:
    """A run of three epochs, of which two serve a target each, and a run of one."""
    shares = [(0.5, 0.0), (0.5, 0.5), (0.0, 0.5)]
    return [several("joint#5", shares, hidden_size=4, num_layers=1), run("joint#6", 6, hidden_size=4, num_layers=1)]


def damaged(folder: Path, change: Change, redo: bool, runs: Callable[[], list[Checkpoint]] = trained) -> Path:
    """The submission of `runs()` after a change; with `redo` its digests are made to fit, as a forger would."""
    path = folder / "submission.zip"
    path.write_bytes(submission_bytes(Bundle.of(runs())))
    submission = read_submission(path)
    manifest, arrays = json.loads(json.dumps(submission.manifest)), dict(submission.arrays)
    change(manifest, arrays)
    if redo:
        manifest = sealed({**manifest, "digests": array_digests(arrays)})
    path.write_bytes(
        zip_bytes(
            {
                "solution.py": b"",
                "runtime.py": b"",
                "features.py": b"",
                MANIFEST: json.dumps(manifest).encode(),
                WEIGHTS: safetensors.numpy.save({name: np.ascontiguousarray(a) for name, a in arrays.items()}),
            }
        )
    )
    return path


def ruin(_: dict[str, Any], arrays: Arrays) -> None:
    """Every weight of every member times .3."""
    for name in arrays:
        if name.startswith("member."):
            arrays[name] = arrays[name] * np.float32(0.3)


def ruin_one(_: dict[str, Any], arrays: Arrays) -> None:
    """One value of one weight."""
    changed = arrays["member.1.head.bias"].copy()
    changed[0] += 1e-6
    arrays["member.1.head.bias"] = changed


def swap_normalizers(_: dict[str, Any], arrays: Arrays) -> None:
    """Each member reads the other's normaliser."""
    arrays["pipeline.0.mean"], arrays["pipeline.1.mean"] = arrays["pipeline.1.mean"], arrays["pipeline.0.mean"]


def permute(_: dict[str, Any], arrays: Arrays) -> None:
    """The weights of two members under each other's name."""
    for name in [name for name in arrays if name.startswith("member.0.")]:
        other = name.replace("member.0.", "member.1.")
        arrays[name], arrays[other] = arrays[other], arrays[name]


def permute_the_manifest(manifest: dict[str, Any], _: Arrays) -> None:
    """The entries of two members in each other's place."""
    manifest["members"][0], manifest["members"][1] = manifest["members"][1], manifest["members"][0]


def stale(manifest: dict[str, Any], arrays: Arrays) -> None:
    """The manifest of an earlier export, whole by itself, beside newer weights."""
    other = Bundle.of(trained(first=7))
    manifest.clear()
    manifest.update(json.loads(json.dumps(other.manifest())))
    for name in arrays:  # inputs differ as well
        if name.startswith("pipeline."):
            arrays[name] = arrays[name] + 1


def reweigh(manifest: dict[str, Any], _: Arrays) -> None:
    """Other weights in the average."""
    for member, weight in zip(manifest["members"], (0.6, 0.2, 0.2), strict=True):
        member["weight"] = [weight, weight]


def rescale(manifest: dict[str, Any], arrays: Arrays) -> None:
    """A member's last layer and its scale, which fit each other."""
    manifest["members"][0]["scale"] = [9 * value for value in manifest["members"][0]["scale"]]
    for part in ("weight", "bias"):
        arrays[f"member.0.head.{part}"] = arrays[f"member.0.head.{part}"] * np.float32(9)


def test_what_was_exported_is_accepted(tmp_path: Path) -> None:
    """Members of different scales, with and without normalisers, against digests and against stored checkpoints."""
    submission = read_submission(damaged(tmp_path, lambda *_: None, redo=False))
    assert check_digests(submission) is True
    check_stored(submission, {member.name: member for member in trained()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (ruin, "joint#0 is not that of its manifest in head.bias, head.weight, recurrent.bias_hh_l0.*joint#1.*joint#2"),
        (ruin_one, r"joint#1 is not that of its manifest in head.bias\. Do not send it"),
        (swap_normalizers, "the normaliser of joint#0 is not that of its manifest; the normaliser of joint#1 is not"),
        (permute, "joint#0 holds the weights of joint#1; joint#1 holds the weights of joint#0"),
        (permute_the_manifest, "manifest.json was changed after export"),
        (stale, r"no array is what its manifest says.*another export \(members joint#7, joint#8, joint#9\)"),
        (reweigh, "manifest.json was changed after export"),
    ],
)
def test_what_was_changed_is_refused_by_its_digests(tmp_path: Path, change: Change, message: str) -> None:
    """Without the study at hand."""
    with pytest.raises(BundleError, match=message):
        check_digests(read_submission(damaged(tmp_path, change, redo=False)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (ruin, "joint#0 is not that of the stored checkpoints in head.bias.*joint#1.*joint#2"),
        (ruin_one, r"joint#1 is not that of the stored checkpoints in head.bias\. Do not send it"),
        (swap_normalizers, "the normaliser of joint#0 is not that of the stored checkpoints"),
        (permute, "joint#0 holds the weights of joint#1; joint#1 holds the weights of joint#0"),
        (permute_the_manifest, "joint#1 is described with another pipeline than its run has"),
        (stale, "there is no stored checkpoint of joint#7, joint#8, joint#9"),
        (rescale, r"joint#0 is scaled by \["),
    ],
)
def test_what_was_not_trained_is_refused(tmp_path: Path, change: Change, message: str) -> None:
    """Against the stored checkpoints even digests that were made to fit do not help."""
    submission = read_submission(damaged(tmp_path, change, redo=True))
    with pytest.raises(BundleError, match=message):
        check_stored(submission, {member.name: member for member in trained()})


def shift_the_shares(manifest: dict[str, Any], _: Arrays) -> None:
    """Other shares of the epochs, which sum to 1, with the weights that they give."""
    for member, shares in zip(manifest["members"], ([0.9, 0.0], [0.1, 0.5]), strict=False):
        member["run"]["shares"] = shares
        member["weight"] = [share / 2 for share in shares]


def reweigh_an_epoch(manifest: dict[str, Any], _: Arrays) -> None:
    """Other weights of two epochs, whose shares are left as they are."""
    for member, weight in zip(manifest["members"], (0.4, 0.1), strict=False):
        member["weight"] = [weight, member["weight"][1]]


def leave_out_an_epoch(manifest: dict[str, Any], arrays: Arrays) -> None:
    """The last epoch of the run, its share given to the one before."""
    del manifest["members"][2]
    manifest["members"][1]["weight"][1] = 0.5
    for name in [name for name in arrays if name.startswith("member.2.")]:
        arrays[name] = arrays.pop(name.replace("member.2.", "member.3."))


def test_a_run_of_several_epochs_is_accepted(tmp_path: Path) -> None:
    """Its epochs are found in the stored checkpoint of the run."""
    submission = read_submission(damaged(tmp_path, lambda *_: None, redo=False, runs=of_epochs))
    assert submission.names == ["joint#5@e2", "joint#5@e4", "joint#5@e6", "joint#6"]
    assert check_digests(submission) is True
    check_stored(submission, {member.name: member for member in of_epochs()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (ruin_one, r"joint#5@e4 is not that of the stored checkpoints in head.bias\. Do not send it"),
        (permute, "joint#5@e2 holds the weights of joint#5@e4; joint#5@e4 holds the weights of joint#5@e2"),
        (permute_the_manifest, "it holds joint#5@e4, joint#5@e2, joint#5@e6, joint#6, and its runs consist of joint#5"),
        (shift_the_shares, "joint#5@e2 is described with another weight and run than its run has; joint#5@e4 is"),
        (reweigh_an_epoch, "joint#5@e2 is described with another weight than its run has; joint#5@e4 is described"),
        (
            leave_out_an_epoch,
            r"it holds joint#5@e2, joint#5@e4, joint#6, and its runs consist of joint#5@e2, joint#5@e4",
        ),
    ],
)
def test_epochs_that_were_not_trained_so_are_refused(tmp_path: Path, change: Change, message: str) -> None:
    """Though the digests were made to fit; a weight that was changed, by its digest as well."""
    submission = read_submission(damaged(tmp_path, change, redo=True, runs=of_epochs))
    with pytest.raises(BundleError, match=message):
        check_stored(submission, {member.name: member for member in of_epochs()})
    if change in (ruin_one, permute):
        with pytest.raises(BundleError, match="joint#5@e4"):
            check_digests(read_submission(damaged(tmp_path, change, redo=False, runs=of_epochs)))


def test_a_zip_of_the_first_versions(tmp_path: Path) -> None:
    """Nothing in it says what was exported; the stored checkpoints do."""

    def age(manifest: dict[str, Any], _: Arrays) -> None:
        for key in ("digests", "seal", "expected"):
            del manifest[key]
        for member in manifest["members"]:
            del member["scale"]

    runs = [dataclasses.replace(member, prediction_std=(0.4, 0.4)) for member in trained()]
    path = tmp_path / "submission.zip"
    path.write_bytes(submission_bytes(Bundle.of(runs)))
    submission = read_submission(path)
    age(submission.manifest, {})
    assert check_digests(submission) is False
    check_stored(submission, {member.name: member for member in runs})
