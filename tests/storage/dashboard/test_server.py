"""The dashboard as served: unsafe settings refused, every study's files found, a database that is away."""

import io
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest

from storage.artifacts import upload
from storage.backends.registry import open_storage
from storage.dashboard.server import EveryStudysArtifacts, Server, Settings, listening, read_credentials
from storage.errors import DashboardError
from storage.store import StoreStorage
from tests.servers import TcpProxy

PASSWORD = "correct horse battery"


@contextmanager
def served(storage: StoreStorage, **settings: object) -> Iterator[Server]:
    """A dashboard that answers in a thread, on a free port."""
    with listening(storage.store, Settings(port=0, **settings)) as server:  # type: ignore[arg-type]
        threading.Thread(target=server.run, daemon=True).start()
        yield server


def get(url: str, method: str = "GET", timeout: float = 120.0) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture
def storage(tmp_path: Path) -> StoreStorage:
    return open_storage(f"sqlite:///{tmp_path}/studies.db")


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    path.chmod(0o600)
    return path


def test_other_machines_need_a_password(storage: StoreStorage, password_file: Path) -> None:
    """Listening on an address that others can reach is refused without --auth, and says what to do."""
    with pytest.raises(DashboardError, match=r"--auth USER:PASSWORD-FILE.*ssh -L"):
        Settings(host="0.0.0.0").rules()
    rules = Settings(host="0.0.0.0", auth=f"quant:{password_file}").rules()
    assert rules.credentials == read_credentials(f"quant:{password_file}")
    assert rules.hosts is None
    assert "localhost" in (Settings().rules().hosts or ())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_password_others_can_read_is_refused(password_file: Path, mode: int) -> None:
    """Any right of group or others on the password file is refused with the command that mends it."""
    password_file.chmod(mode)
    with pytest.raises(DashboardError, match=f"mode {mode:o}.*chmod 600"):
        read_credentials(f"quant:{password_file}")


def test_password_files_that_are_none(tmp_path: Path, password_file: Path) -> None:
    """Missing, a folder, not text, short, empty, two lines: one clear error each, none of which shows the content."""
    for auth in ("quant", ":file", "quant:"):
        with pytest.raises(DashboardError, match="must be USER:PASSWORD-FILE"):
            read_credentials(auth)
    with pytest.raises(DashboardError, match="No such file"):
        read_credentials(f"quant:{tmp_path}/none")
    with pytest.raises(DashboardError, match="Is a directory"):
        read_credentials(f"quant:{tmp_path}")
    for content in (b"\xff\xfe\x00 not text at all", b"", b"short\n", b"first line of it\nsecond line of it\n"):
        password_file.write_bytes(content)
        with pytest.raises(DashboardError) as caught:
            read_credentials(f"quant:{password_file}")
        assert "first line" not in str(caught.value)
        assert "short" not in str(caught.value)


def test_the_password_is_asked_for(storage: StoreStorage, password_file: Path) -> None:
    """The served application answers 401 without the password and 200 with it."""
    with served(storage, host="127.0.0.1", auth=f"quant:{password_file}") as server:
        assert get(f"{server.url}/api/studies")[0] == 401
        manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        manager.add_password(None, server.url, "quant", PASSWORD)
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager))
        assert opener.open(f"{server.url}/api/studies", timeout=120).status == 200


def test_a_port_that_is_taken(storage: StoreStorage) -> None:
    """A second dashboard on the same port is told to take another."""
    with served(storage) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(DashboardError, match=f"--port {port + 1}"), listening(storage.store, Settings(port=port)):
            pass


def test_deleting_is_refused_unless_writable(storage: StoreStorage) -> None:
    """The delete request of the application's own button is refused by default, and works with --writable."""
    study = optuna.create_study(storage=storage, study_name="precious")
    with served(storage) as server:
        assert get(f"{server.url}/api/studies/{study._study_id}", "DELETE")[0] == 403
        assert get(f"{server.url}/api/studies/{study._study_id}?after=0")[0] == 200
    with served(storage, writable=True) as server:
        request = urllib.request.Request(
            f"{server.url}/api/studies/{study._study_id}",
            method="DELETE",
            data=b"{}",
            headers={"Content-Type": "application/json"},
        )
        assert urllib.request.urlopen(request, timeout=120).status == 204
    assert not storage.get_all_studies()


def test_long_attributes_stay_in_the_database(storage: StoreStorage) -> None:
    """Histories and specs do not go to the browser; what a person reads does; the stored trial is unchanged."""
    study = optuna.create_study(storage=storage, study_name="s")
    study.set_user_attr("spec", {"name": "s", "parameters": {}})
    trial = study.ask()
    for name, value in (("history", [{"epoch": 0}] * 50), ("seed", 3), ("reason", "early_stopping")):
        trial.set_user_attr(name, value)
    study.tell(trial, 0.5)
    with served(storage) as server:
        detail = json.loads(get(f"{server.url}/api/studies/{study._study_id}?after=0")[1])
    assert {a["key"] for a in detail["trials"][0]["user_attrs"]} == {"seed", "reason"}
    assert {a["key"] for a in detail["best_trials"][0]["user_attrs"]} == {"seed", "reason"}
    assert not detail["user_attrs"]
    assert len(study.trials[0].user_attrs["history"]) == 50


def test_files_of_every_study_are_found(storage: StoreStorage, tmp_path: Path) -> None:
    """Studies may keep their files in different places; one dashboard serves them all."""
    for name, url in (("here", None), ("there", str(tmp_path / "folder"))):
        study = optuna.create_study(storage=storage, study_name=name)
        if url is not None:
            study.set_user_attr("artifacts", url)
        trial = study.ask()
        data = f"epoch,mean\n0,{name}\n".encode()
        artifact = upload(storage.store.artifacts_for(url), trial, storage, data, "history.csv", "text/csv")
        study.tell(trial, 1.0)
        with served(storage) as server:
            address = f"{server.url}/artifacts/{study._study_id}/{trial._trial_id}/{artifact}"
            assert get(address) == (200, data)
    with pytest.raises(optuna.artifacts.exceptions.ArtifactNotFound):
        EveryStudysArtifacts(storage.store).open_reader("00" * 16)
    every = EveryStudysArtifacts(storage.store)
    every.write("0a" * 16, io.BytesIO(b"by hand"))
    every.remove("0a" * 16)
    with pytest.raises(optuna.artifacts.exceptions.ArtifactNotFound):
        every.remove("0a" * 16)


def test_a_database_that_goes_away(postgres_server, postgres_url: str) -> None:  # type: ignore[no-untyped-def]
    """While the database is away pages say so and reload; once it is back they show the study again."""
    proxy = TcpProxy(postgres_server.port)
    url = postgres_url.replace(f":{postgres_server.port}/", f":{proxy.port}/")
    storage = open_storage(url, patience=1.0)
    study = optuna.create_study(storage=storage, study_name="s")
    detail = f"/api/studies/{study._study_id}?after=0"
    with served(storage) as server:
        assert get(server.url + detail)[0] == 200
        proxy.accepting = False
        proxy.cut()
        status, body = get(f"{server.url}/dashboard/studies/{study._study_id}")
        assert status in (200, 503)  # the page itself needs the database only where its schema is looked at
        status, body = get(server.url + detail)
        assert status == 500
        assert b"s3cr3t" not in body
        proxy.accepting = True
        deadline = time.monotonic() + 120
        while get(server.url + detail)[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.3)
    proxy.close()
