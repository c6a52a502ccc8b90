"""A submission holds all it needs, is the same bytes for the same content, and refuses what is no average."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lobmodels.ensemble.bundle import (
    FILES,
    Bundle,
    open_zip,
    read_submission,
    submission_bytes,
    write_submission,
)
from lobmodels.errors import BundleError, OutputError
from lobmodels.files import zip_bytes
from lobmodels.scoring.limits import members_within_size
from tests.lobmodels.ensemble.made_runs import rows, run


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Three members, two of them alike."""
    runs = [run(f"joint#{i}", i, hidden_size=8, num_layers=1) for i in range(2)]
    return Bundle.of([*runs, run("joint#7", 7, hidden_size=4, derived=True, normalizer="zscore")])


def test_the_same_content_gives_the_same_bytes(bundle: Bundle) -> None:
    """No time, no path, no order of a hash table enters the zip."""
    again = Bundle.of([run(member.name, member.seed, **member.config.active()) for member in bundle.members])
    assert submission_bytes(bundle) == submission_bytes(again)
    assert submission_bytes(bundle) != submission_bytes(Bundle.of(bundle.members, [0.5, 0.3, 0.2]))


def test_the_zip_holds_all_it_needs(bundle: Bundle) -> None:
    """solution.py at the root, stored without compression, dated at the beginning of zip time."""
    with zipfile.ZipFile(io.BytesIO(submission_bytes(bundle))) as archive:
        assert tuple(archive.namelist()) == FILES
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_round_trip(bundle: Bundle, tmp_path: Path) -> None:
    """What is read back is what was written, origins included; the size is told."""
    path = tmp_path / "deep" / "submission.zip"
    size = write_submission(path, bundle)
    submission = read_submission(path)
    assert submission.size == size == path.stat().st_size
    assert submission.names == ["joint#0", "joint#1", "joint#7"]
    origin = submission.manifest["members"][2]["origin"]
    assert origin["configuration"]["derived"] is True and origin["seed"] == 7
    for name, array in bundle.tensors().items():
        assert np.array_equal(submission.arrays[name], array)


def test_rebuilt_members_predict_the_same(bundle: Bundle, tmp_path: Path) -> None:
    """From a zip alone the torch networks come back."""
    write_submission(tmp_path / "s.zip", bundle)
    again = read_submission(tmp_path / "s.zip").bundle()
    raw = rows(1, 20)
    assert np.array_equal(again.predict(raw), bundle.predict(raw))
    assert [member.name for member in again.members] == [member.name for member in bundle.members]


def test_uniform_is_the_default(bundle: Bundle) -> None:
    """A third each, for both targets."""
    assert np.array_equal(bundle.weights, np.full((3, 2), 1 / 3))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.5, 0.5], r"shape \(2,\) for 3 members"),
        ([0.5, 0.5, 0.5], "must sum to 1"),
        ([1.5, -0.5, 0.0], "not negative"),
        ([np.nan, 0.5, 0.5], "finite"),
        ([[1, 0], [0, 1], [0, 0.5]], "must sum to 1"),
    ],
)
def test_weights_that_are_no_average(bundle: Bundle, weights: list[float], message: str) -> None:
    """Wrong count, sum, sign or NaN: refused, never normalised in silence."""
    with pytest.raises(BundleError, match=message):
        Bundle.of(bundle.members, weights)


def test_no_members_and_twins(bundle: Bundle) -> None:
    """Nothing to average, and a member that would count twice, are refused."""
    with pytest.raises(BundleError, match="at least one member"):
        Bundle.of([])
    with pytest.raises(BundleError, match="named twice: joint#0"):
        Bundle.of([bundle.members[0], bundle.members[0]])


def test_too_large(bundle: Bundle, tmp_path: Path) -> None:
    """Past the limit nothing is written, and the message says how many would fit."""
    with pytest.raises(BundleError, match=r"with 3 members, more than 0.06 MB; about \d would fit"):
        write_submission(tmp_path / "s.zip", bundle, max_mb=0.06)
    assert list(tmp_path.iterdir()) == []


def test_fits_into_a_size() -> None:
    """The most leading members that fit stay; where not one does, that is said."""
    runs = [run(f"joint#{i}", i, hidden_size=64, num_layers=1) for i in range(6)]
    sizes = [len(submission_bytes(Bundle.of(runs[:n]))) / 1e6 for n in range(1, 7)]
    for n, size in enumerate(sizes, 1):
        assert members_within_size(lambda n: Bundle.of(runs[:n]), 6, size) == n
    with pytest.raises(BundleError, match="not even one member fits"):
        members_within_size(lambda n: Bundle.of(runs[:n]), 6, sizes[0] / 2)


def test_an_unwritable_place(bundle: Bundle, tmp_path: Path) -> None:
    """A folder that is a file: one line, and no remains."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_submission(tmp_path / "file" / "s.zip", bundle)


def test_foreign_and_damaged_zips(bundle: Bundle, tmp_path: Path) -> None:
    """No file, no zip, somebody else's zip, broken weights, another format: told apart."""
    path = tmp_path / "s.zip"
    with pytest.raises(BundleError, match="no such file"):
        open_zip(path)
    path.write_text("no zip")
    with pytest.raises(BundleError, match="is not a zip"):
        read_submission(path)
    path.write_bytes(zip_bytes({"solution.py": b""}))
    with pytest.raises(BundleError, match=r"not exported by lobtuna.*weights\.safetensors"):
        read_submission(path)
    with zipfile.ZipFile(io.BytesIO(submission_bytes(bundle))) as archive:
        files = {name: archive.read(name) for name in FILES}
    path.write_bytes(zip_bytes(files | {"weights.safetensors": files["weights.safetensors"][:100]}))
    with pytest.raises(BundleError, match="damaged"):
        read_submission(path)
    path.write_bytes(zip_bytes(files | {"manifest.json": b'{"format": 99}'}))
    with pytest.raises(BundleError, match="format 99"):
        read_submission(path)


def test_members_of_other_features_keep_their_own(bundle: Bundle) -> None:
    """Pipelines are shared where they are equal and kept apart where they are not."""
    assert len(bundle.inputs.distinct) == 2
    shifted = dataclasses.replace(bundle.members[2], name="joint#8")
    assert len(Bundle.of([*bundle.members, shifted]).inputs.distinct) == 2
