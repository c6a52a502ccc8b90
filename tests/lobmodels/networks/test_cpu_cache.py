"""The CPU kernels are compiled once a machine, by one child process; where nothing can be kept, by one a process."""

import importlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import numba
import pytest

from lobmodels.networks import cpu_cache
from lobmodels.networks.cpu_cache import compiled_once, machine_code_folder

# What two processes run: the project's kernels, which take ten seconds to compile, and a module of one small function.
PATIENT = "from lobmodels.networks import cpu_cache\ncpu_cache.SAY_AFTER = 1e6\n"
KERNELS = PATIENT + (
    "import torch, sys\n"
    "from lobmodels.networks.cpu_recurrent import compiled_kernels, recurrent_on_cpu\n"
    "gru = torch.nn.GRU(3, 4)\n"
    "x = torch.randn(5, 2, 3)\n"
    "torch.testing.assert_close(recurrent_on_cpu(gru, x), gru(x)[0])\n"
    "kernels = compiled_kernels()\n"
    "print(sum(f.stats.cache_hits[s] for f in (kernels.forward, kernels.backward) for s in f.stats.cache_hits))\n"
)
SMALL = PATIENT + (
    "cpu_cache.CODE = 'import doubled'\n"
    "with cpu_cache.compiled_once():\n"
    "    import doubled\n"
    "assert doubled.doubled(4) == 8\n"
    "print(sum(doubled.doubled.stats.cache_hits.values()))\n"
)
DOUBLED = "import numba\n\n\n@numba.njit('i8(i8)', cache=True)\ndef doubled(x):\n    return 2 * x\n"
# Children that do not end, that are killed, the first time or always, and that fail; the first ones say that they ran.
NEVER = "import os, time; open('child', 'w').write(str(os.getpid())); time.sleep(600)"
KILLED_ONCE = "import os; os.path.exists('child') or (open('child', 'w'), os.kill(os.getpid(), 9)); import doubled"
KILLED = "import os; open('child', 'a').write('x'); os.kill(os.getpid(), 9)"
FAILS = "raise OSError('no room')"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of processes that can import the module `doubled`, this one among them. Their cache is in its
    `cache/kernels`, and what the child of this one compiles is `doubled`."""
    (tmp_path / "doubled.py").write_text(DOUBLED)
    path = [str(tmp_path), os.environ.get("PYTHONPATH", str(Path(__file__).parents[3]))]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.setenv("LOBTUNA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(cpu_cache, "CODE", "import doubled")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def hits(process: subprocess.Popen[str]) -> int:
    """Functions that the process found compiled."""
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert not err
    return int(out)


def hits_here() -> int:
    """The same, where this process is the one that needs them."""
    sys.modules.pop("doubled", None)
    with compiled_once():
        doubled = importlib.import_module("doubled").doubled
    sys.modules.pop("doubled")
    assert doubled(4) == 8
    return sum(doubled.stats.cache_hits.values())


@pytest.mark.parametrize(
    ("code", "functions"),
    [pytest.param(KERNELS, 2, id="kernels", marks=pytest.mark.soak), pytest.param(SMALL, 1, id="small")],
)
def test_one_process_compiles(code: str, functions: int, folder: Path) -> None:
    """Two processes that start together on a fresh machine both load what one child process has compiled: code that
    runs where it was compiled would round other digits."""
    both = [start(code) for _ in range(2)]
    assert [hits(process) for process in both] == [functions] * 2
    assert len(list(folder.rglob("*.nbc"))) == functions
    assert not list(folder.rglob("*.partial"))


class KillsHolder(logging.Handler):
    """Kills a process once this one says that it waits for it."""

    def __init__(self, holder: subprocess.Popen[str]) -> None:
        super().__init__()
        self.holder = holder

    def emit(self, record: logging.LogRecord) -> None:
        assert record.getMessage() == f"waiting for process {self.holder.pid}, which compiles the CPU kernels"
        self.holder.kill()


def test_a_holder_that_is_killed_holds_up_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock ends with the process that compiled. Another waits no longer, and takes nothing from what was begun."""
    holder = start(SMALL.replace("import doubled'", NEVER.replace("'", '"') + "'"))
    child = int(text_of(folder / "child", holder))
    (partial,) = (folder / "cache" / "kernels").glob("*.partial")
    (partial / "half").write_text("")
    monkeypatch.setattr(cpu_cache, "SAY_AFTER", 0.01)
    handler = KillsHolder(holder)
    cpu_cache.logger.addHandler(handler)
    try:
        assert hits_here() == 1
    finally:
        cpu_cache.logger.removeHandler(handler)
        holder.kill()
        os.kill(child, signal.SIGKILL)
        holder.communicate()
    assert not list(folder.rglob("half")) and not list(folder.rglob("*.partial"))


def text_of(file: Path, process: subprocess.Popen[str]) -> str:
    """What the file holds, once its writer has written it."""
    while not (file.exists() and file.read_text()):
        assert process.poll() is None
        time.sleep(0.02)
    return file.read_text()


def test_a_child_that_was_killed_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system kills it for want of memory at one moment, and not at the next."""
    monkeypatch.setattr(cpu_cache, "CODE", KILLED_ONCE)
    assert hits_here() == 1


@pytest.mark.parametrize(
    ("child", "limit", "why"),
    [
        (KILLED, 600.0, "killed twice, by signal 9"),
        (FAILS, 600.0, "OSError: no room"),
        (NEVER, 0.1, "longer than 0.1 s"),
    ],
)
def test_where_no_child_can_compile(
    child: str, limit: float, why: str, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process compiles itself and says so; it keeps nothing, so that the next process tries a child again."""
    monkeypatch.setattr(cpu_cache, "CODE", child)
    monkeypatch.setattr(cpu_cache, "LIMIT", limit)
    assert hits_here() == 0
    assert f"{why}): this one does" in caplog.text
    assert not machine_code_folder().exists() and not list(folder.rglob("*.partial"))
    if child == KILLED:
        assert (folder / "child").read_text() == "xx"


def test_a_folder_that_cannot_be_written_changes_no_digit(folder: Path) -> None:
    """Where nothing can be kept, a child compiles for each process, which loads what it left."""
    (folder / "cache").write_text("")  # nobody, root included, can make a folder below a file
    assert hits_here() == 1


def test_a_holder_that_hangs_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After longer than a child may take, a process has one of its own compile, and loads what it left."""
    monkeypatch.setattr(cpu_cache, "SAY_AFTER", 0.01)
    monkeypatch.setattr(cpu_cache, "WAIT", 0.01)
    kept = machine_code_folder()
    kept.with_name(f"{kept.name}.4321.partial").mkdir(parents=True)
    with filelock.FileLock(kept.with_suffix(".lock")):
        assert hits_here() == 1
    assert "waiting for process 4321, which" in caplog.text
    assert not kept.exists()


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
    for folders, change in enumerate((lambda: None, lambda: None, touch), start=1):
        change()
        for _ in range(2):
            with compiled_once():
                assert len([path for path in (tmp_path / "numba").iterdir() if path.is_dir()]) == folders
        monkeypatch.setattr(cpu_cache, "__file__", str(copy / "cpu_cache.py"))


def test_what_is_kept_for_one_process_goes_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A temporary folder is used where the cache cannot be written, and nothing is left behind; the log says why."""
    monkeypatch.setattr("lobmodels.networks.cpu_cache.CODE", "")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.INFO, cpu_cache.__name__), compiled_once():
        used = Path(numba.config.CACHE_DIR)
        assert numba.njit("i8(i8)", cache=True)(twice)(4) == 8
    assert not used.exists()
    assert "Not a directory; this process keeps its CPU kernels for itself" in caplog.text


def twice(x: int) -> int:
    return 2 * x
