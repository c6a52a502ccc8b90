"""A file of a finished run is stored by one process at a time, and is free again when that process is gone."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from search.errors import SearchError
from search.work.file_lock import held, left_behind, lock

HOLD = "import sys, time; from pathlib import Path; from search.work.file_lock import held\n"
HOLD += "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "joint-3.run"
    path.write_bytes(b"a run")
    return path


def test_one_at_a_time_until_it_is_gone(file: Path) -> None:
    """While another process holds it, it is refused; after a kill -9 it is taken."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(SearchError, match=r"joint-3\.run is being stored by another process"), held(file):
            pass
        with left_behind(file) as found:
            assert found is None
        other.send_signal(signal.SIGKILL)
    with held(file), left_behind(file) as found:
        assert found is None
    with left_behind(file) as found:
        assert found is not None and found.read() == b"a run"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Whoever reads it says so; nothing is left behind of it."""
    with held(tmp_path / "none.run"), left_behind(tmp_path / "none.run") as found:
        assert found is None


def test_a_file_that_was_replaced_is_another(file: Path) -> None:
    """A lock on a removed file does not hold the one that took its name."""
    with file.open("rb") as old:
        lock(old)
        file.unlink()
        file.write_bytes(b"another run")
        with left_behind(file) as found:
            assert found is not None
