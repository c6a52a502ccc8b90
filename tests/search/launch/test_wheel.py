"""Promises of `lobtuna wheel`: the whole running code, the same bytes each time, from a checkout or installed."""

import io
import json
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from search.errors import SearchError
from search.launch.source import running_source
from search.launch.wheel import Wheel, pack, read_wheel, running_wheel
from tests.environments import ROOT, beside_the_tests


def contents(wheel: Path | bytes) -> dict[str, bytes]:
    """Files of a wheel by name."""
    with zipfile.ZipFile(io.BytesIO(wheel) if isinstance(wheel, bytes) else wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def packed() -> Wheel:
    """The wheel of the running lobtuna."""
    return running_wheel()


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files under version control, copied: a build leaves its traces here."""
    folder = tmp_path_factory.mktemp("tracked") / "lobtuna"
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def build(folder: Path, what: str) -> Path:
    """What setuptools builds from a source folder: `sdist` or `wheel`."""
    code = f"from setuptools import build_meta as b; b.build_{what}('dist')"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next((folder / "dist").glob("*.tar.gz" if what == "sdist" else "*.whl"))


@pytest.fixture(scope="module")
def built(tracked: Path, packed: Wheel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that would be published: built by setuptools from the sdist."""
    folder = tmp_path_factory.mktemp("sdist")
    shutil.unpack_archive(build(tracked, "sdist"), folder, filter="data")
    return build(folder / f"lobtuna-{packed.version}", "wheel")


def test_it_holds_what_setuptools_builds_from_the_sdist(built: Path, packed: Wheel) -> None:
    """Sdist, then the wheel of that sdist: the same files and bytes, and the same metadata where it counts."""
    theirs, ours = contents(built), contents(packed.content)
    info = f"lobtuna-{packed.version}.dist-info/"
    man = {f"lobtuna-{packed.version}.data/data/share/man/man1/{path.name}" for path in (ROOT / "docs/man").iterdir()}
    theirs_alone = {f"{info}top_level.txt", *man}  # nobody reads a manual on the machines that ours is shipped to
    assert theirs_alone <= set(theirs)
    assert set(theirs) - theirs_alone == set(ours)
    for name in set(ours) - {f"{info}{file}" for file in ("METADATA", "RECORD", "WHEEL")}:
        assert ours[name] == theirs[name], name
    metadata = Parser().parsestr(theirs[f"{info}METADATA"].decode())
    for field in ("Name", "Version", "Requires-Python", "License-Expression", "Summary"):
        assert packed.metadata[field] == metadata[field]
    assert packed.metadata.get_all("Classifier") == metadata.get_all("Classifier")
    required = [{Requirement(text) for text in m.get_all("Requires-Dist")} for m in (packed.metadata, metadata)]
    assert required[0] == required[1]
    for package in ("lobmodels", "lobtuna", "search", "storage"):
        assert f"{package}/py.typed" in ours


def test_equal_code_gives_equal_bytes(packed: Wheel) -> None:
    """Packed again, in another order of files, the digest is the same."""
    source = running_source()
    reversed_files = dict(reversed(source.files.items()))
    assert pack(type(source)(source.version, reversed_files)).sha256 == packed.sha256
    assert {entry.date_time[0] for entry in zipfile.ZipFile(io.BytesIO(packed.content)).infolist()} == {1980}


def test_installed_it_works_elsewhere_and_packs_itself_again(packed: Wheel, tmp_path: Path) -> None:
    """Installed without the checkout, lobtuna trains a small study in another folder and packs the very same wheel."""
    wheel = tmp_path / packed.name
    wheel.write_bytes(packed.content)
    made = beside_the_tests(tmp_path / "environment", without=("numba",))  # new copies of the kernels compile for long
    made.run(made.python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel), cwd=tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    where = made.run(made.python, "-c", "import search; print(search.__file__)", cwd=work).stdout
    assert where.startswith(str(made.folder))
    found = json.loads(made.run("lobtuna", "wheel", "--json", cwd=work).stdout)
    assert found["sha256"] == packed.sha256
    (work / "tiny.yaml").write_text(
        "name: tiny\nparameters: {hidden_size: 4, batch_size: 12, epochs: 1, lr: {choices: [1e-3, 2e-3]}}\n"
        "pruner: {name: none}\nbudget: {trials: 1}\n"
    )
    made.run("lobtuna", "data", "synth", "--output", "lob", "--train", "24", "--valid", "12", "--seed", "1", cwd=work)
    assert "complete" in made.run("lobtuna", "run", "tiny.yaml", "--data", "lob", cwd=work).stderr
    made.run("lobtuna", "report", "tiny", "--output", "report", cwd=work)
    assert "<style>" in (work / "report" / "report.html").read_text()  # files that are not code travel too


@pytest.mark.soak
def test_the_demo_runs_from_the_published_wheel(built: Path, tmp_path: Path) -> None:
    """The whole path, with nothing but the wheel that would be published, in another folder."""
    made = beside_the_tests(tmp_path / "environment")
    made.run(made.python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(built), cwd=tmp_path)
    done = made.run("lobtuna", "demo", cwd=tmp_path, timeout=900)
    assert "Done in" in done.stdout
    assert (tmp_path / "lobtuna-demo" / "submission.zip").is_file()


def test_a_wheel_that_is_none_is_refused(tmp_path: Path, packed: Wheel) -> None:
    """Missing, cut off, another package's, damaged inside: each is said."""
    with pytest.raises(SearchError, match=r"there is no wheel .*write one with lobtuna wheel"):
        read_wheel(tmp_path / packed.name)
    path = tmp_path / packed.name
    path.write_bytes(packed.content[:-5000])
    with pytest.raises(SearchError, match="no wheel, or only a part"):
        read_wheel(path)
    middle = packed.content.index(b"Base of every expected failure")
    path.write_bytes(packed.content[:middle] + b"X" + packed.content[middle + 1 :])
    with pytest.raises(SearchError, match="is damaged"):
        read_wheel(path)
    path.write_bytes(packed.content)
    other = tmp_path / "other-0.1.0-py3-none-any.whl"
    shutil.copy(path, other)
    with pytest.raises(SearchError, match="no wheel of lobtuna"):
        read_wheel(other)
    assert read_wheel(path).sha256 == packed.sha256
