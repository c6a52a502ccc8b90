"""What the start page says of a database: first lines, plain Optuna's studies, and when it is read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

import search.report.start as start
from search.report.headline import headline
from search.report.record import read_study
from search.report.start import MOST, PERIOD, StartReader
from search.study.record import VERSION
from storage.backends.registry import open_storage
from storage.errors import DashboardError
from storage.store import StoreStorage
from tests.made_study import make_study
from tests.servers import TcpProxy


@pytest.fixture
def storage(tmp_path: Path) -> StoreStorage:
    return open_storage(f"sqlite:///{tmp_path}/studies.db")


def test_first_lines(storage: StoreStorage) -> None:
    """A study has the headline that the report shows, and a link to its replicates, which are no entry of their own; a
    study of plain Optuna has its counts; one of a newer lobtuna says so and hides no other."""
    study = make_study(storage, 20, replicates=(2, 2))
    optuna.create_study(storage=storage, study_name="foreign").add_trial(optuna.trial.create_trial(value=1.0))
    newer = make_study(storage, 0, spec=start_spec("newer"))
    newer.set_user_attr(VERSION, "99.0.0")
    first, foreign, joint = StartReader(storage)().entries
    assert (first.name, foreign.name, joint.name) == ("newer", "foreign", "joint")
    assert "created by lobtuna 99.0.0" in first.problem
    assert foreign.lines[0] == ("Trials", "1 complete") and "plain Optuna" in foreign.lines[1][1]
    known = headline(read_study(study))
    assert joint.rows == known.cells() and joint.command == known.step.command
    assert ("Budget", known.budget) in joint.lines
    assert joint.replicates_id == 2


def start_spec(name: str) -> Any:
    """The made study's definition under another name."""
    from search.studyfile.spec import StudySpec
    from tests.made_study import SPEC

    return StudySpec.from_json(SPEC.to_json() | {"name": name})


def test_read_when_due(storage: StoreStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the period nothing is read; after it first lines are computed again only where something changed."""
    computed: list[str] = []
    study, now = make_study(storage, 5), [0.0]
    monkeypatch.setattr(start, "headline", lambda record: computed.append(record.name) or headline(record))
    reader = StartReader(storage, clock=lambda: now[0])
    assert reader() is reader()
    now[0] += PERIOD
    reader()
    assert computed == ["joint"]
    study.ask()
    reader()
    assert computed == ["joint"]
    now[0] += PERIOD
    assert "1 running" in reader().entries[0].lines[0][1]
    assert computed == ["joint", "joint"]


def test_many_studies(storage: StoreStorage) -> None:
    """Of more studies than fit, the older ones are a name and a link, and none of their trials is read."""
    for number in range(MOST + 2):
        optuna.create_study(storage=storage, study_name=f"s{number}")
    entries = StartReader(storage)().entries
    assert [e.name for e in entries] == [f"s{number}" for number in reversed(range(MOST + 2))]
    assert [bool(e.lines) for e in entries] == [True] * MOST + [False] * 2


def test_a_database_that_goes_away(postgres_server: Any, postgres_url: str) -> None:
    """Away, it is one line without the password; back, the studies are there again."""
    proxy, now = TcpProxy(postgres_server.port), [0.0]
    url = postgres_url.replace(f":{postgres_server.port}/", f":{proxy.port}/")
    storage = open_storage(url, patience=1.0)
    optuna.create_study(storage=storage, study_name="s")
    reader = StartReader(storage, clock=lambda: now[0])
    reader()
    proxy.accepting = False
    proxy.cut()
    now[0] += PERIOD
    with pytest.raises(DashboardError, match="The database cannot be read: ") as caught:
        reader()
    assert "\n" not in str(caught.value) and "s3cr3t" not in str(caught.value)
    proxy.accepting = True
    now[0] += PERIOD
    assert [entry.name for entry in reader().entries] == ["s"]
    proxy.close()
