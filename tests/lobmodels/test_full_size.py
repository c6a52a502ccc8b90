"""The challenge's own size, 10,721 + 1,444 sequences: made, checked, loaded and profiled within the promised bounds."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

CLI = "from search.cli import main; main()"
LOAD = """
import time
start = time.perf_counter()
from lobmodels.data import load_dataset
import sys
data = load_dataset(sys.argv[1])
assert len(data.train) == 10721 and len(data.valid) == 1444
total = data.valid.features[-1].sum()
print(time.perf_counter() - start)
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, float, float]]:
    """Runs Python in a process of its own with a cache of its own: (stdout, CPU seconds, peak GiB of memory)."""
    cache = tmp_path_factory.mktemp("full-cache")

    def run(*arguments: str) -> tuple[str, float, float]:
        command = [sys.executable, *arguments]
        environment = {**os.environ, "LOBTUNA_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, output
        assert isinstance(usage, resource.struct_rusage)
        return output, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20

    return run


@pytest.fixture(scope="module")
def full_data(tmp_path_factory: pytest.TempPathFactory, measured) -> Path:  # type: ignore[no-untyped-def]
    """A synthetic set of the challenge's size."""
    folder = tmp_path_factory.mktemp("full")
    arguments = ["data", "synth", "--output", str(folder), "--train", "10721", "--valid", "1444"]
    _, seconds, peak = measured("-c", CLI, *arguments)
    print(f"\nsynth {seconds:.0f} s of CPU, {peak:.2f} GiB")
    assert peak < 2
    return folder


def test_conversion_is_lean_and_loading_instant(full_data: Path, measured) -> None:  # type: ignore[no-untyped-def]
    """Converting stays under 1.5 GiB although the arrays have 1.7; loading again, imports and all, takes under 3 s."""
    output, _, peak = measured("-c", LOAD, str(full_data))
    print(f"\nconversion {float(output):.1f} s, {peak:.2f} GiB")
    assert peak < 1.5
    again, _, peak = measured("-c", LOAD, str(full_data))
    print(f"load from the cache {float(again):.3f} s, {peak:.2f} GiB")
    assert float(again) < 3


def test_check(full_data: Path, measured) -> None:  # type: ignore[no-untyped-def]
    """`data check` reads everything in bounded memory."""
    output, seconds, peak = measured("-c", CLI, "data", "check", str(full_data))
    print(f"\ncheck {seconds:.0f} s of CPU, {peak:.2f} GiB")
    assert "the format is kept" in output and "10,721" in output
    assert peak < 1.5


def test_profile(full_data: Path, tmp_path: Path, measured) -> None:  # type: ignore[no-untyped-def]
    """A profile takes at most two minutes of one core's time and less than 4 GiB, mapped files included."""
    arguments = ["data", "profile", str(full_data), "--output", str(tmp_path)]
    _, seconds, peak = measured("-c", CLI, *arguments)
    print(f"\nprofile {seconds:.0f} s of CPU, {peak:.2f} GiB")
    assert seconds < 120 and peak < 4
    assert (tmp_path / "profile.html").stat().st_size < 8e6
