"""Promises of the pinned requirements: complete, exact, without torch; a missing or old package is refused."""

import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from search.errors import SearchError
from search.launch.pins import pins, torch_version
from search.launch.wheel import running_wheel


def test_they_are_exact_complete_and_without_torch() -> None:
    """Each is the version installed here; each need of each, markers considered, is among them; torch is not."""
    found = dict(line.split("==") for line in pins(running_wheel().requires))
    assert {"numpy", "optuna", "psycopg-binary", "sqlalchemy", "typer"} <= set(found)
    assert not {"torch", "lobtuna", "sympy", "pytest", "boto3"} & set(found)
    for name, version in found.items():
        assert metadata.version(name).partition("+")[0] == version
        for need in map(Requirement, metadata.requires(name) or []):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert canonicalize_name(need.name) in found, f"{name} needs {need}"


def test_pip_finds_nothing_left_to_ask_for() -> None:
    """pip, asked for exactly these, finds them all satisfied here and needs no index."""
    asked = [*pins(running_wheel().requires, {"s3", "grpc"})]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-index", "--dry-run", "--quiet", "--report", "-", *asked],
        capture_output=True, text=True, env={"PATH": "", "PIP_CONFIG_FILE": "/dev/null"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"install": []' in done.stdout


def test_extras_add_what_they_name() -> None:
    """The grpc extra brings grpcio, the s3 extra boto3 and what it needs."""
    requires = running_wheel().requires
    plain = set(pins(requires))
    assert {line.split("==")[0] for line in set(pins(requires, {"grpc"})) - plain} >= {"grpcio", "protobuf"}
    assert {line.split("==")[0] for line in set(pins(requires, {"s3"})) - plain} >= {"boto3", "botocore", "jmespath"}


def test_an_environment_that_is_not_sound_is_refused() -> None:
    """A package that is missing, or too old for lobtuna, is named with the command that installs it."""
    with pytest.raises(SearchError, match=r"lobtuna needs no-such-package.*pip install 'no-such-package>=1'"):
        pins(["no-such-package>=1"])
    with pytest.raises(SearchError, match=r"lobtuna needs numpy>=99, installed here is .*pip install 'numpy>=99'"):
        pins(["numpy>=99"])


def test_torch_is_named_without_its_build() -> None:
    """2.6.0+cpu is 2.6.0: an index has only that."""
    assert torch_version() == metadata.version("torch").partition("+")[0]
