"""What every test may use: the real data where it is at hand, a small data set, a private cache, one thread."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# How long an example takes says how busy the machine is, and nothing about what is tested.
# Each run has the same examples, so that none fails by chance; `make soak` looks for new ones.
for name, repeated in (("repeated", True), ("exploring", False)):
    hypothesis.settings.register_profile(
        name,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
        print_blob=True,
        derandomize=repeated,
    )
hypothesis.settings.load_profile("repeated")

# One thread a test process: two of them share two cores, and child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Compiling the CPU kernels takes seconds: once a checkout, not once a test process.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "numba"))

REAL_LOB = Path(__file__).parents[2] / "shared" / "data" / "real_lob"


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted-data cache of this test run alone."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session", autouse=True)
def _private_environment(cache_dir: Path) -> None:
    """Tests neither read nor fill the user's cache, and see none of the user's settings."""
    os.environ["LOBTUNA_CACHE"] = str(cache_dir)
    for name in ("LOBTUNA_STORAGE", "LOBTUNA_DATA"):
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """What a test draws does not depend on which tests ran before it in this process."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(20)


@pytest.fixture(autouse=True)
def _no_worker_is_left() -> Iterator[None]:
    """A test's workers end with it: what a failed test leaves would slow the others down, and never end."""
    yield
    if (machines := sys.modules.get("tests.machines")) is not None:
        machines.kill_all()


@pytest.fixture(scope="session")
def real_lob() -> Path:
    """Folder of the real order-book data; skips where it is not beside the checkout."""
    if not (REAL_LOB / "train.parquet").is_file():
        pytest.skip("the real order-book data is not beside this checkout")
    return REAL_LOB


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a synthetic data set of 24 train and 12 validation sequences."""
    from lobmodels.data.synthetic import write_dataset

    folder = tmp_path_factory.mktemp("small")
    write_dataset(folder, train=24, valid=12, seed=7)
    return folder


@pytest.fixture(scope="session")
def small_dataset(small_data: Path):  # type: ignore[no-untyped-def]
    """`small_data`, loaded."""
    from lobmodels.data import load_dataset

    return load_dataset(small_data)


@pytest.fixture(scope="session")
def postgres_server():  # type: ignore[no-untyped-def]
    """A real PostgreSQL server of this test process; `tests.servers.Postgres`."""
    from tests.servers import Postgres

    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def postgres_url(postgres_server) -> str:  # type: ignore[no-untyped-def]
    """URL of a fresh, empty PostgreSQL database."""
    return postgres_server.create_database()


# Files with long tests go first, or one core would wait for the other at the end of a run. Each of their tests may run
# on either core.
LONG = (
    "test_readme.py",
    "test_demo.py",
    "test_first_study_page.py",
    "test_chaos.py",
    "test_every_fault.py",
    "test_outages.py",
    "test_supervisor.py",
    "test_notebook.py",
    "test_wheel.py",
    "test_sql_recovery.py",
    "test_faults.py",
    "test_lane.py",
    "test_own_parts.py",
    "test_runtime.py",
)
# All other files run on one core each, which makes their fixtures once. These begin first.
LONG_TOGETHER = ("test_end_to_end.py", "test_plugins_page.py", "test_machine_pages.py", "test_data_page.py")
# Likewise whole folders: one browser, which compiles the pages' scripts once; one study with its report.
FOLDERS_TOGETHER = ("browser", "report")


def pytest_configure(config: pytest.Config) -> None:
    """Let xdist hand out groups in the order given below; it would sort them by the number of their tests."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order tests for a run on several cores."""
    items.sort(key=lambda item: _turn(item.path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out whole groups. Marks of `xdist_group` would do nothing: xdist 3.8 writes them to a name of a test that
    pytest 9.2 does not read any more."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Grouped(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return Grouped(config, log)


def _turn(path: Path) -> int:
    """When a file's tests begin: those that keep one core busy for long first."""
    if path.parent.name in FOLDERS_TOGETHER or path.name in LONG_TOGETHER:
        return 0
    return 1 if path.name in LONG else 2


def _group(nodeid: str) -> str:
    """What the test belongs to: itself, its file, or its folder."""
    path = Path(nodeid.partition("::")[0])
    if path.name in LONG:
        return nodeid
    return str(path.parent if path.parent.name in FOLDERS_TOGETHER else path)
