"""Undisturbed studies and databases that a test may break."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import Worker, assert_sound, create, kill_all, outcome_of, small_study, weights_of
from tests.servers import Postgres


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of a new database file."""
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture(scope="session")
def undisturbed(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list, list[bytes]]:
    """Outcome and weights of the study of these tests when nothing goes wrong."""
    folder = tmp_path_factory.mktemp("undisturbed")
    url = f"sqlite:///{folder / 'study.db'}"
    create(url, small_study(trials=2, epochs=4))
    assert Worker(url, "small", small_data, folder).join() == 0
    assert_sound(url)
    return outcome_of(url), list(weights_of(url))


@pytest.fixture(scope="session")
def stoppable_server() -> Iterator[Postgres]:
    """A server beside the one that most tests share."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def own_postgres(stoppable_server: Postgres) -> Iterator[Postgres]:
    """A running server that a test may stop."""
    yield stoppable_server
    kill_all()  # nobody writes to it while it may be starting
    if not stoppable_server.answers():
        stoppable_server.start()
