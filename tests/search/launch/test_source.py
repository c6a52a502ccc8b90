"""Promises about what is packed: all of the running lobtuna, nothing else, and nothing changed behind pip's back."""

import io
import zipfile
from importlib.metadata import PathDistribution, distribution
from pathlib import Path

import pytest

from search.errors import SearchError
from search.launch.source import from_checkout, from_installation, running_source
from search.launch.wheel import Wheel, pack, running_wheel
from tests.environments import ROOT


@pytest.fixture(scope="module")
def packed() -> Wheel:
    """The wheel of the running lobtuna."""
    return running_wheel()


def test_the_running_checkout_is_found_whole() -> None:
    """Code, the files beside it and the licence; nothing that was only built or left there."""
    files = running_source().files
    assert {"search/cli/demo.yaml", "search/report/page.css", "lobmodels/ensemble/runtime.py"} <= set(files)
    assert files["search/errors.py"] == (ROOT / "search" / "errors.py").read_bytes()
    assert not [name for name in files if "__pycache__" in name or name.startswith(("tests/", "docs/"))]


def test_a_file_changed_after_installation_is_named(tmp_path: Path, packed: Wheel) -> None:
    """What pip recorded and what is there are compared: a digest never vouches for code nobody built."""
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        archive.extractall(tmp_path)
    distribution = PathDistribution(tmp_path / f"lobtuna-{packed.version}.dist-info")
    assert pack(from_installation(distribution, tmp_path)).sha256 == packed.sha256
    (tmp_path / "search" / "errors.py").write_text("# changed\n")
    with pytest.raises(SearchError, match=r"errors\.py was changed after it was installed"):
        from_installation(distribution, tmp_path)


def test_code_that_pip_did_not_install_is_refused(tmp_path: Path, packed: Wheel) -> None:
    """A copy of the packages on PYTHONPATH is neither a checkout nor an installation."""
    with pytest.raises(SearchError, match="neither a checkout nor where pip installed it"):
        from_installation(distribution("lobtuna"), tmp_path)


def test_a_checkout_of_another_version_is_refused(tmp_path: Path) -> None:
    """Studies are marked with the installed version: a wheel of another would be refused by every study."""
    text = (ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(text.replace('version = "', 'version = "9', 1))
    with pytest.raises(SearchError, match=r"says version 9.*but lobtuna is installed as.*pip install -e"):
        from_checkout(tmp_path)
