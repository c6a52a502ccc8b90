"""A submission's zip depends on its files alone."""

from pathlib import Path

import pytest

from lobmodels.ensemble.archive import open_zip, zip_bytes
from lobmodels.errors import BundleError


def test_equal_files_give_equal_bytes(tmp_path: Path) -> None:
    """No time, no compression, the order given; what was put in comes out."""
    files = {"solution.py": b"x = 1\n", "weights": bytes(range(256))}
    data = zip_bytes(files)
    assert data == zip_bytes(files)
    (tmp_path / "s.zip").write_bytes(data)
    with open_zip(tmp_path / "s.zip") as archive:
        assert archive.namelist() == list(files) and archive.read("weights") == files["weights"]


def test_what_is_no_zip(tmp_path: Path) -> None:
    """A file that is missing, and one that is something else."""
    with pytest.raises(BundleError, match="no such file"):
        open_zip(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("text")
    with pytest.raises(BundleError, match="is not a zip"):
        open_zip(tmp_path / "text.zip")
