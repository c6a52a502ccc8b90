"""A worker holds no transaction while it trains: open ones keep a server from cleaning up, and fill a pooler."""

from functools import partial
from pathlib import Path

import sqlalchemy as sa

from storage.backends.registry import open_store
from tests.machines import Worker, create, small_study, wait_until
from tests.pace import stand_still


def test_no_transaction_is_open_in_the_middle_of_an_epoch(small_data: Path, postgres_url: str, tmp_path: Path) -> None:
    """The run stands still in its second epoch; its worker is connected, and soon no connection has a transaction. A
    beat or a report has one for a moment; one that was held for the run would stay."""
    create(postgres_url, small_study(trials=1, epochs=3))
    store, until = open_store(postgres_url), tmp_path / "go-on"
    driver = postgres_url.replace("postgresql://", "postgresql+psycopg://")
    observer = sa.create_engine(driver, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    worker = Worker(postgres_url, "small", small_data, tmp_path, hook=partial(stand_still, 1, until), grace=60.0)
    worker.wait_epoch(0)
    assert store.engine is not None
    with observer.connect() as connection, store.engine.connect() as held:

        def sessions(what: str) -> int:
            query = sa.text(f"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lobtuna' AND {what}")
            return int(connection.scalar(query) or 0)

        held.execute(sa.text("SELECT 1"))
        assert sessions("state = 'idle in transaction'"), "what is looked for can be seen"
        held.rollback()
        assert sessions("true") >= 2, "this process and the worker are connected"
        wait_until(lambda: not sessions("xact_start IS NOT NULL"), "no transaction is open")
    until.touch()
    assert worker.join() == 0
