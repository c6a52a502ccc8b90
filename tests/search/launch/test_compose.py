"""Promises of `lobtuna launch compose`: Compose takes the project, and its commands work in the order it gives them."""

from __future__ import annotations

import base64
import json
import re
import shlex
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import yaml
from compose_spec import ComposeSpecification
from optuna.trial import TrialState
from typer.testing import CliRunner

from search.cli import app
from search.errors import SearchError
from search.launch import compose
from search.studyfile.spec import load_spec
from tests.environments import Environment, beside_the_tests
from tests.machines import assert_sound, create, small_study, trials
from tests.search.launch.jobs import job
from tests.servers import PASSWORD, Postgres, free_port

QUOTED = quote(PASSWORD, safe="")  # as a URL has it


@pytest.mark.parametrize("gpus", [False, True])
def test_the_project_is_valid(gpus: bool, tmp_path: Path) -> None:
    """The Compose specification takes it, no password is in it, and the commands are ours."""
    files = compose.files(job(workers=2), gpus, tmp_path)
    text = str(files[tmp_path / "compose.yaml"])
    document = yaml.safe_load(text)
    ComposeSpecification.model_validate(document)
    assert "&id" not in text
    services = document["services"]
    assert services["worker"]["deploy"]["replicas"] == 2
    assert "${POSTGRES_PASSWORD:?" in services["worker"]["environment"]["PGPASSWORD"]
    assert ("resources" in services["worker"]["deploy"]) == gpus
    assert ("whl/cpu" in str(files[tmp_path / "Dockerfile"])) != gpus
    for service in ("dashboard", "worker"):
        name, *options = services[service]["command"][1:]
        shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
        assert all(option in shown for option in options if option.startswith("--")), (service, options)


def test_every_service_survives_a_restart_of_the_host(tmp_path: Path) -> None:
    """Servers come back by themselves, data lies in named volumes, and nobody starts before what they need."""
    services = compose.project(job(), gpus=False)["services"]
    assert {name: service["restart"] for name, service in services.items()} == {
        "db": "unless-stopped",
        "study": "on-failure",  # it ends well, and must not be run for ever
        "dashboard": "unless-stopped",
        "worker": "unless-stopped",
    }
    assert services["db"]["volumes"] == ["database:/var/lib/postgresql/data"]
    assert "-h 127.0.0.1" in services["db"]["healthcheck"]["test"][1]
    for name in ("dashboard", "worker"):
        assert services[name]["depends_on"] == {
            "db": {"condition": "service_healthy"},
            "study": {"condition": "service_completed_successfully"},
        }


def test_a_revision_begins_anew_and_replicates_are_refused(tmp_path: Path) -> None:
    """No study file can be called joint@2: in the project's own database it is joint."""
    files = compose.files(job("joint@2"), False, tmp_path)
    assert yaml.safe_load(files[tmp_path / "study.yaml"])["name"] == "joint"
    assert yaml.safe_load(files[tmp_path / "compose.yaml"])["services"]["worker"]["command"][1:3] == ["work", "joint"]
    with pytest.raises(SearchError, match="launch joint"):
        compose.files(job("joint.seeds"), False, tmp_path)


@pytest.fixture
def database() -> Iterator[tuple[Postgres, str]]:
    """A server of its own that asks for passwords, as the image's does, with its URL without one."""
    server = Postgres()
    try:
        name = server.create_database().rpartition("/")[2]
        rules = "local all all trust\nhost all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (server.folder / "pg_hba.conf").write_text(rules)
        server.stop()
        server.start()
        yield server, f"postgresql://{name}@127.0.0.1:{server.port}/{name}"
    finally:
        server.close()


class Host:
    """Runs the project's commands as Docker would, but in one clean environment and with folders for volumes."""

    def __init__(self, project: Path, environment: Environment, url: str, folder: Path, data: Path) -> None:
        self.environment, self.folder = environment, folder
        self.services = yaml.safe_load((project / "compose.yaml").read_text())["services"]
        self.port = free_port()
        self.places = {compose.FOLDER: str(folder / "image"), "/data": str(data), "8080": str(self.port)}
        self.places[compose.DASHBOARD_PASSWORD] = str(project / "dashboard-password")
        self.url = url
        (folder / "image").mkdir()
        self._build(project)

    def _build(self, project: Path) -> None:
        """COPY and RUN of the Dockerfile, in their order."""
        image = self.folder / "image"
        for line in (project / "Dockerfile").read_text().splitlines():
            what, _, rest = line.partition(" ")
            if what == "COPY":
                subprocess.run(["cp", "-r", *_copied(project / rest.split()[0], image)], check=True)
            elif what == "RUN":
                words = [self._place(word) for word in shlex.split(rest.replace('--torch-index "$TORCH_INDEX"', ""))]
                self.environment.run(*words, cwd=self.folder)

    def start(self, name: str) -> subprocess.Popen[str]:
        """A service's command with its environment, every variable of the project filled in."""
        service = self.services[name]
        variables = {k: self.url if v == compose.URL else _filled(v) for k, v in service["environment"].items()}
        variables["LOBTUNA_CACHE"] = str(self.folder / "cache")
        command = [self._place(_filled(word)) for word in service["command"]]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment.variables(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _place(self, word: str) -> str:
        for there, here in self.places.items():
            word = re.sub(rf"(?<![\w/]){re.escape(there)}(?![\w-])", here, word)
        return word


def _copied(source: Path, image: Path) -> list[str]:
    return [str(path) for path in source.iterdir()] + [str(image)] if source.is_dir() else [str(source), str(image)]


def _filled(text: str) -> str:
    """Compose's own ${NAME:-default} and ${NAME:?message}, with what a person wrote into .env."""
    text = re.sub(r"\$\{POSTGRES_PASSWORD:\?[^}]*\}", PASSWORD.replace("\\", r"\\"), text)
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_its_commands_work_in_their_order(database: tuple[Postgres, str], small_data: Path, tmp_path: Path) -> None:
    """Image, study, dashboard, worker, through a restart of the database and a password that no URL could hold."""
    server, url = database
    spec = small_study("joint", trials=3, epochs=2).model_copy(update={"question": "Which?"})
    create(f"sqlite:///{tmp_path / 'here.db'}", spec)
    project = tmp_path / "stack"
    arguments = ["launch", "compose", "joint", "--storage", f"sqlite:///{tmp_path / 'here.db'}"]
    done = CliRunner().invoke(app, [*arguments, "--output", str(project)])
    assert done.exit_code == 0, done.output
    assert load_spec(project / "study.yaml") == spec
    (project / "dashboard-password").write_text("a secret of the dashboard\n")
    (project / "dashboard-password").chmod(0o600)
    host = Host(project, beside_the_tests(tmp_path / "environment"), url, tmp_path, small_data)

    for _ in range(2):  # and again, as after a restart
        study = host.start("study")
        assert "joint" in study.communicate(timeout=400)[0]
        assert study.returncode == 0
    full = url.replace("@", f":{QUOTED}@")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url)
    worker, dashboard = host.start("worker"), host.start("dashboard")
    try:
        _wait(lambda: any(t.state == TrialState.COMPLETE for t in trials(full, "joint")))
        server.stop("immediate")
        server.start()
        _wait(lambda: [t.state for t in trials(full, "joint")] == [TrialState.COMPLETE] * 3)
        _wait(lambda: _status(host.port, None) != 0 or _ended(dashboard))
        assert _status(host.port, None) == 401
        assert _status(host.port, "lobtuna:a secret of the dashboard") == 200
        worker.send_signal(signal.SIGTERM)
        printed = worker.communicate(timeout=400)[0]
        assert worker.returncode == 0, printed
        assert PASSWORD not in printed
    finally:
        for process in (worker, dashboard):
            process.terminate()
            process.communicate(timeout=400)
    assert_sound(full, "joint")


@pytest.mark.soak
def test_a_study_revised_since_is_enough(database: tuple[Postgres, str], small_data: Path, tmp_path: Path) -> None:
    """Another definition under the name: create refuses, and the service ends well because the study is there."""
    _, url = database
    project = tmp_path / "stack"
    for path, content in compose.files(job("joint"), False, project).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    host = Host(project, beside_the_tests(tmp_path / "environment"), url, tmp_path, small_data)
    create(url.replace("@", f":{QUOTED}@"), small_study("joint", trials=7))
    study = host.start("study")
    printed = study.communicate(timeout=400)[0]
    assert study.returncode == 0 and "is there already with another definition" in printed


def _ended(process: subprocess.Popen[str]) -> bool:
    """False while it runs; fails the test with what it printed once it does not."""
    assert process.poll() is None, process.communicate()[0]
    return False


def _wait(condition: Any, timeout: float = 400.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.5)


def _status(port: int, user: str | None) -> int:
    """HTTP status of the dashboard's studies for this user; 0 while nobody listens."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/studies")
    if user is not None:
        request.add_header("Authorization", f"Basic {base64.b64encode(user.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert any(study["study_name"] == "joint" for study in json.load(answer)["study_summaries"])
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError:
        return 0
