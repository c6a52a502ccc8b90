"""The CPU kernels are compiled once a machine, by one process, and not kept where no folder can be written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import filelock
import numba
import pytest

from lobmodels.networks import cpu_cache
from lobmodels.networks.cpu_cache import compiled_once, machine_code_folder

# What two processes run: the project's kernels, which take ten seconds to compile, and a module of one small function.
KERNELS = (
    "import torch, sys\n"
    "from lobmodels.networks.cpu_recurrent import compiled_kernels, recurrent_on_cpu\n"
    "gru = torch.nn.GRU(3, 4)\n"
    "x = torch.randn(5, 2, 3)\n"
    "torch.testing.assert_close(recurrent_on_cpu(gru, x), gru(x)[0])\n"
    "kernels = compiled_kernels()\n"
    "print(sum(f.stats.cache_hits[s] for f in (kernels.forward, kernels.backward) for s in f.stats.cache_hits))\n"
)
SMALL = (
    "from lobmodels.networks import cpu_cache\n"
    "cpu_cache.CODE = 'import doubled'\n"
    "with cpu_cache.compiled_once():\n"
    "    import doubled\n"
    "assert doubled.doubled(4) == 8\n"
    "print(sum(doubled.doubled.stats.cache_hits.values()))\n"
)
DOUBLED = "import numba\n\n\n@numba.njit('i8(i8)', cache=True)\ndef doubled(x):\n    return 2 * x\n"


def start(code: str, **environment: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("LOBTUNA_CACHE", "NUMBA_CACHE_DIR")}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=kept | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def hits(process: subprocess.Popen[str]) -> int:
    """Functions that the process found compiled."""
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert not err
    return int(out)


@pytest.mark.parametrize(
    ("code", "functions"),
    [pytest.param(KERNELS, 2, id="kernels", marks=pytest.mark.soak), pytest.param(SMALL, 1, id="small")],
)
def test_one_process_compiles(code: str, functions: int, tmp_path: Path) -> None:
    """Two processes that start together on a fresh machine both load what one child process has compiled: code that
    runs where it was compiled would round other digits."""
    (tmp_path / "doubled.py").write_text(DOUBLED)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", str(Path(__file__).parents[3]))])
    both = [start(code, LOBTUNA_CACHE=str(tmp_path / "cache"), PYTHONPATH=path) for _ in range(2)]
    assert [hits(process) for process in both] == [functions] * 2
    assert len(list(tmp_path.rglob("*.nbc"))) == functions


def test_where_machine_code_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Numba's own setting wins over the project's cache folder; new sources get a new folder."""
    monkeypatch.setattr("lobmodels.networks.cpu_cache.CODE", "")  # nothing is compiled
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("LOBTUNA_CACHE", str(tmp_path / "project"))
    assert machine_code_folder().parent == tmp_path / "project" / "kernels"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "numba"))
    folder = machine_code_folder()
    assert folder.parent == tmp_path / "numba"
    with compiled_once():
        assert str(folder) == numba.config.CACHE_DIR
    assert str(tmp_path / "numba") == numba.config.CACHE_DIR
    monkeypatch.setattr("lobmodels.networks.cpu_cache.SOURCES", ("cpu_kernels.py",))
    assert machine_code_folder() != folder


def test_another_copy_of_the_sources_is_compiled_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Numba looks code up by the path and the time of its source: a second checkout, or one installed again, finds
    nothing of the first, and its first process must not be the one that compiles."""
    monkeypatch.setattr("lobmodels.networks.cpu_cache.CODE", "")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "numba"))
    copy = Path(shutil.copytree(Path(cpu_cache.__file__).parent, tmp_path / "copy"))
    touch = lambda: os.utime(copy / cpu_cache.SOURCES[0], (1, 1))  # noqa: E731
    for stamps, change in enumerate((lambda: None, lambda: None, touch), start=1):
        change()
        for _ in range(2):
            with compiled_once():
                assert len(list((tmp_path / "numba").rglob("compiled-*"))) == stamps
        monkeypatch.setattr(cpu_cache, "__file__", str(copy / "cpu_cache.py"))


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing can be kept, functions compile all the same, and nothing is left behind."""
    (tmp_path / "file").write_text("")  # nobody, root included, can make a folder below a file
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file" / "cache"))
    with compiled_once():
        used = Path(numba.config.CACHE_DIR)
        assert numba.njit("i8(i8)", cache=True)(twice)(4) == 8
    assert not used.exists()


def test_a_process_that_compiles_for_ever_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After a while a process compiles for itself."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("lobmodels.networks.cpu_cache.WAIT", 0.1)
    folder = machine_code_folder()
    folder.mkdir()
    with filelock.FileLock(folder / "compile.lock"), compiled_once():
        assert numba.njit("i8(i8)", cache=True)(twice)(4) == 8


def twice(x: int) -> int:
    return 2 * x
